//! The shard: owner of all layer 2 to 4 state of one thread.

use crate::cx::Cx;
use crate::domain::Domain;
use crate::packet::Path;
use crate::sockets::Sockets;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Result};

/// Interfaces, routes, neighbours.
#[derive(Default)]
pub struct Net {}

impl Net {
    /// How `dst` is reached: interface, source address, MTU. `oif` forces the interface (0: none), `src`
    /// is the address the socket is bound to, if any.
    ///
    /// # Errors
    /// ENETUNREACH without a route, EHOSTUNREACH for a reject route, ENETDOWN when the interface is down,
    /// EADDRNOTAVAIL when `src` is not ours.
    pub fn path(&self, dst: IpAddr, src: Option<IpAddr>, oif: u32) -> Result<Path> {
        let _ = (dst, src, oif);
        Err(Errno::ENETUNREACH)
    }

    /// Whether `a` is an address of this host (of interface `ifindex`, 0 for any).
    pub fn is_local(&self, a: IpAddr, ifindex: u32) -> bool {
        let _ = (a, ifindex);
        false
    }
}

/// All layer 2 to 4 state, owned by one packet thread.
pub struct Shard {
    /// Context.
    pub cx: Cx,
    /// Interfaces, routes, neighbours.
    pub net: Net,
    /// Sockets.
    pub sockets: Sockets,
    /// The families that this variant has.
    pub domains: Vec<Box<dyn Domain>>,
}

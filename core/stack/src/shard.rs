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

    /// One more socket wants multicast group `group` on interface `ifindex`. Calls nest: the group is left
    /// when every join was undone by a [`Net::leave_group`].
    ///
    /// # Errors
    /// ENODEV without such an interface, ENOBUFS at the limit of groups.
    pub fn join_group(&mut self, cx: &mut Cx, ifindex: u32, group: IpAddr) -> Result<()> {
        let _ = (cx, ifindex, group);
        Err(Errno::ENODEV)
    }

    /// Undoes one [`Net::join_group`].
    pub fn leave_group(&mut self, cx: &mut Cx, ifindex: u32, group: IpAddr) {
        let _ = (cx, ifindex, group);
    }

    /// Index of the interface of this name (or enXX alias), 0 for none.
    pub fn ifindex_of(&self, name: &str) -> u32 {
        let _ = name;
        0
    }

    /// Name of an interface.
    pub fn ifname(&self, ifindex: u32) -> Option<&str> {
        let _ = ifindex;
        None
    }

    /// Index of the interface that has this address, 0 for none.
    pub fn if_with_addr(&self, a: IpAddr) -> u32 {
        let _ = a;
        0
    }

    /// Primary address of this family of an interface.
    pub fn primary_addr(&self, ifindex: u32, family: crate::Family) -> Option<IpAddr> {
        let _ = (ifindex, family);
        None
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

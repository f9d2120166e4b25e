//! TUN and TAP: interfaces whose device is a program (tun(4), tap(4)).
//!
//! `tunN` carries IP packets point to point, `tapN` Ethernet frames. Each has a node that one program at a time opens; what
//! it writes is received by the interface, what the interface sends it reads. Here is only the interface; the node
//! and the program's descriptor are the socket server's. The link is up while a program has the node open: what is sent without one
//! is dropped, and counted, as on any interface without a carrier.

use crate::iface::{IfAttach, Interface};
use crate::shard::Shard;
use alloc::string::ToString;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result};
use iopkt_ctl::{IfKind, LinkState};
use iopkt_mbuf::Mbuf;

/// MTU of both kinds at first.
pub const MTU: u32 = 1500;
/// Largest MTU of both kinds.
pub const MAX_MTU: u32 = 16_384;

/// Which kind of node an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

impl Node {
    /// The kind that a cloner of this name makes.
    pub fn of(prefix: &str) -> Option<Node> {
        match prefix {
            "tun" => Some(Node::Tun),
            "tap" => Some(Node::Tap),
            _ => None,
        }
    }
}

impl Shard {
    /// Makes a TUN or TAP interface (`ifconfig tun0 create`).
    ///
    /// # Errors
    /// EINVAL for another name, EEXIST, ENOSPC at the limit of interfaces.
    pub fn create_node(&mut self, name: &str) -> Result<u32> {
        let (prefix, unit) = Interface::split_name(name).ok_or(Errno::EINVAL)?;
        let node = Node::of(prefix).ok_or(Errno::EINVAL)?;
        if self.net.interfaces().any(|i| i.name == name) {
            return Err(Errno::EEXIST);
        }
        let mut mac = [0; 6];
        if node == Node::Tap {
            // A unicast address that nobody has been given: NetBSD's first three bytes.
            let r = self.cx.rng.next_u64().to_ne_bytes();
            mac = [0xf2, 0x0b, 0xa4, r[0], r[1], r[2]];
        }
        let attach = IfAttach {
            unit: Some(unit),
            kind: if node == Node::Tap { IfKind::Ethernet } else { IfKind::PointToPoint },
            mtu: MTU,
            max_mtu: MAX_MTU,
            link: LinkState::Down,
            media: node == Node::Tap,
            driver: Default::default(),
            ..IfAttach::ethernet(prefix, mac)
        };
        let index = self.attach(attach)?;
        if let Some(i) = self.net.iface_mut(index) {
            debug_assert_eq!(i.name, name.to_string());
            i.node = Some(node);
            i.alias = None; // en0 means hardware
        }
        self.net.nodes_changed += 1;
        Ok(index)
    }

    /// Whether a program has the node of an interface open: the state of its link.
    pub fn node_opened(&mut self, ifindex: u32, open: bool) {
        let link = if open { LinkState::Up } else { LinkState::Down };
        self.link_changed(ifindex, link, (0, 0), true);
        if !open && let Some(i) = self.net.iface_mut(ifindex) {
            let left: Vec<Mbuf> = i.tx.drain(..).collect();
            for m in left {
                self.cx.drop(m, crate::Why::IfDown);
            }
        }
    }
}

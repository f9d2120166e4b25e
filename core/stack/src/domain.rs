//! An address family as the shard sees it. A variant is made of the domains that its `main` names.

use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{Family, IpOut};
use crate::sockets::Sockets;
use core::net::IpAddr;
use iopkt_base::Instant;
use iopkt_ctl::{Reply, Request};
use iopkt_mbuf::Mbuf;

/// Everything of a shard but its domains: what a domain gets beside itself.
pub struct Layers<'a> {
    /// Clock, randomness, memory, counters, queues.
    pub cx: &'a mut Cx,
    /// Interfaces, routes, neighbours.
    pub net: &'a mut Net,
    /// Sockets.
    pub sockets: &'a mut Sockets,
}

/// Something that happened to an interface and may matter to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It arrived.
    Attached(u32),
    /// It is gone, with its addresses, groups, routes and neighbours.
    Detached(u32),
    /// It went up or down.
    Flags(u32),
    /// Its link went up or down.
    Link(u32),
    /// It has this new address.
    AddrAdded(u32, IpAddr),
    /// It lost this address.
    AddrRemoved(u32, IpAddr),
    /// It listens to a group from now on (first user).
    Joined(u32, IpAddr),
    /// It does not listen to a group any more (last user).
    Left(u32, IpAddr),
    /// What its users of a group hear changed ([`crate::Net::group_filter`]).
    Filtered(u32, IpAddr),
}

/// A network-layer protocol family (BSD's `domain`), one instance per shard.
pub trait Domain: Send {
    /// Which family.
    fn family(&self) -> Family;

    /// Ethernet types it takes.
    fn ethertypes(&self) -> &'static [u16];

    /// A received packet of one of its types, link header removed.
    fn input(&mut self, l: &mut Layers<'_>, ethertype: u16, m: Mbuf);

    /// A transport packet to send: add the network header, find the way, append frames to `cx.frames`.
    fn output(&mut self, l: &mut Layers<'_>, o: IpOut);

    /// Does what is due at `cx.now`, the solicitations and failures of the neighbour cache among it.
    fn tick(&mut self, l: &mut Layers<'_>);

    /// When [`Domain::tick`] wants to be called next, [`Instant::FAR`] for never.
    fn deadline(&self) -> Instant;

    /// A configuration request; `None` when it is none of its business. A listing of sysctl variables (name
    /// "") is answered with its own ones only.
    fn ctl(&mut self, l: &mut Layers<'_>, r: &Request) -> Option<Reply>;

    /// An interface came, went, or changed its flags, link, addresses or groups.
    fn changed(&mut self, l: &mut Layers<'_>, c: Change);
}

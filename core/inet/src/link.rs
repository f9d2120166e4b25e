//! The last step down: a finished IP packet to the link of an interface.

use crate::Inet;
use core::net::IpAddr;
use iopkt_base::Errno;
use iopkt_ctl::IfKind;
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Family, Hop, HopKind, IcmpErr, Layers, Why, ether};
use iopkt_wire::ethernet::{BROADCAST, TYPE_IPV4, multicast_mac};
use iopkt_wire::ipv4;

impl Inet {
    /// Sends a packet with its IP header to the next hop.
    pub(crate) fn link_output(&mut self, l: &mut Layers<'_>, h: &Hop, mut m: Mbuf) {
        let Some(kind) = l.net.iface(h.ifindex).map(|i| i.kind) else {
            return l.cx.drop(m, Why::IfDown);
        };
        match (h.kind, kind) {
            (HopKind::Blackhole, _) => l.cx.drop(m, Why::NoRoute),
            (_, IfKind::Loopback | IfKind::PointToPoint) => {
                m.set_ifindex(h.ifindex);
                l.cx.frames.push_back((h.ifindex, m));
            }
            (HopKind::Broadcast, IfKind::Ethernet) => self.ether_output(l, h.ifindex, BROADCAST, m),
            (HopKind::Multicast, IfKind::Ethernet) => {
                self.ether_output(l, h.ifindex, multicast_mac(h.next), m)
            }
            (HopKind::Unicast | HopKind::Local, IfKind::Ethernet) => {
                let known = l.net.neigh.resolve(l.cx, h.ifindex, h.next, m);
                if let Some((mac, m)) = known {
                    self.ether_output(l, h.ifindex, mac, m);
                }
                if l.net.neigh.asks() {
                    self.send_solicits(l);
                }
            }
        }
    }

    pub(crate) fn ether_output(&mut self, l: &mut Layers<'_>, ifindex: u32, mac: [u8; 6], m: Mbuf) {
        match l.net.iface(ifindex) {
            Some(i) => ether::output(l.cx, i, mac, TYPE_IPV4, m),
            None => l.cx.drop(m, Why::IfDown),
        }
    }

    /// Questions of the neighbour cache go out, packets that nobody answered for are reported to their
    /// sockets.
    pub(crate) fn neighbours_tick(&mut self, l: &mut Layers<'_>) {
        self.send_solicits(l);
        while let Some(u) = l.net.neigh.next_unreachable(Family::V4) {
            report(l, u.m.as_slice(), Errno::EHOSTUNREACH, 0);
            l.cx.drop(u.m, Why::NoNeighbour);
        }
    }
}

/// Tells the socket that sent a packet why it did not get anywhere.
pub(crate) fn report(l: &mut Layers<'_>, packet: &[u8], errno: Errno, mtu: u32) {
    let Some(h) = ipv4::Header::parse_unchecked(packet) else { return };
    let mut head = [0; 8];
    if let Some(b) = packet.get(h.header_len..) {
        let n = b.len().min(8);
        head[..n].copy_from_slice(&b[..n]);
    }
    let e = IcmpErr {
        dst: IpAddr::V4(h.dst),
        src: IpAddr::V4(h.src),
        proto: h.proto,
        head,
        errno,
        mtu,
        hard: false,
        from: IpAddr::V4(h.src),
        icmp: (iopkt_wire::icmp4::ty::UNREACHABLE, if mtu == 0 { 1 } else { 4 }),
    };
    l.sockets.icmp_error(l.cx, l.net, &e);
}

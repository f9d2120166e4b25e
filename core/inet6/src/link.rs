//! The last step down: a finished packet to the link of an interface; and what the neighbour cache wants from the domain.

use crate::Inet6;
use core::net::IpAddr;
use iopkt_base::{Errno, zone};
use iopkt_ctl::IfKind;
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Family, Hop, HopKind, IcmpErr, LO0, Layers, Why, ether};
use iopkt_wire::ethernet::{TYPE_IPV6, multicast_mac};
use iopkt_wire::icmp6::{ty, unreach};
use iopkt_wire::ipv6;

impl Inet6 {
    /// Sends a packet with its IP header to the next hop.
    pub(crate) fn link_output(&mut self, l: &mut Layers<'_>, h: &Hop, mut m: Mbuf) {
        let Some(kind) = l.net.iface(h.ifindex).map(|i| i.kind) else {
            return l.cx.drop(m, Why::IfDown);
        };
        match (h.kind, kind) {
            (HopKind::Blackhole, _) => l.cx.drop(m, Why::NoRoute),
            (HopKind::Local, _) => {
                // To an address of another link's zone: it arrives as if that link had brought it, or the zone were lost.
                let z = zone::of_ip(&h.next);
                m.set_ifindex(if z == 0 { h.ifindex } else { z });
                l.cx.frames.push_back((LO0, m));
            }
            (_, IfKind::Loopback | IfKind::PointToPoint) => {
                m.set_ifindex(h.ifindex);
                l.cx.frames.push_back((h.ifindex, m));
            }
            (HopKind::Multicast | HopKind::Broadcast, IfKind::Ethernet) => {
                self.ether_output(l, h.ifindex, multicast_mac(h.next), m);
            }
            (HopKind::Unicast, IfKind::Ethernet) => {
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
            Some(i) => ether::output(l.cx, i, mac, TYPE_IPV6, m),
            None => l.cx.drop(m, Why::IfDown),
        }
    }

    /// Questions of the neighbour cache go out, packets that nobody answered for are reported to their sockets.
    pub(crate) fn neighbours_tick(&mut self, l: &mut Layers<'_>) {
        // [RFC4861 7.2.2e]
        self.send_solicits(l);
        while let Some((ifindex, who)) = l.net.neigh.next_lost() {
            self.router_lost(l, ifindex, who);
        }
        while let Some(u) = l.net.neigh.next_unreachable(Family::V6) {
            // One that was on its way through: its source hears of it.
            if self.t.forwarding && u.m.ifindex() != 0 {
                self.icmp6_error(l, &u.m, ty::UNREACHABLE, unreach::ADDRESS, 0);
                self.router_lost(l, u.ifindex, u.target);
                l.cx.drop(u.m, Why::NoNeighbour);
                continue;
            }
            report(l, u.m.as_slice(), u.ifindex, Errno::EHOSTUNREACH, 0);
            self.router_lost(l, u.ifindex, u.target);
            l.cx.drop(u.m, Why::NoNeighbour);
        }
    }
}

/// Tells the socket that sent a packet why it did not get anywhere. `packet` is as on the wire, for interface `ifindex`.
pub(crate) fn report(l: &mut Layers<'_>, packet: &[u8], ifindex: u32, errno: Errno, mtu: u32) {
    let Some(h) = ipv6::Header::parse_unchecked(packet) else { return };
    let mut chain = ipv6::Chain::new(packet, h.next);
    if chain.by_ref().any(|e| e.is_err()) {
        return;
    }
    let upper = chain.upper();
    let mut head = [0; 8];
    if let Some(b) = packet.get(upper.at..) {
        let n = b.len().min(8);
        head[..n].copy_from_slice(&b[..n]);
    }
    let src = IpAddr::V6(zone::embed(h.src, ifindex));
    let e = IcmpErr {
        dst: IpAddr::V6(zone::embed(h.dst, ifindex)),
        src,
        proto: upper.proto,
        head,
        errno,
        mtu,
        hard: false,
        from: src,
        icmp: if mtu == 0 { (ty::UNREACHABLE, unreach::ADDRESS) } else { (ty::TOO_BIG, 0) },
    };
    l.sockets.icmp_error(l.cx, l.net, &e);
}

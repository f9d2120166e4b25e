//! IP output: header, identification, the way, broadcast and multicast copies, fragments or refusal.

use crate::Inet;
use crate::link::report;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::Errno;
use iopkt_mbuf::{Chain, Mbuf, flags};
use iopkt_stack::{Cx, Hop, HopKind, IpOut, LO0, Layers, Stat, Why, ether, gso};
use iopkt_wire::ethernet::TYPE_IPV4;
use iopkt_wire::ipv4::{HEADER_LEN, Header, MAX_LEN, Template, set_checksum};

/// IP identification: a counter per hashed (source, destination, protocol), so that identifications repeat as
/// late as possible for one pair (RFC 6864) and say little about traffic with others.
#[derive(Default)]
pub(crate) struct Idents {
    next: Vec<u16>,
}

impl Idents {
    /// The first of `n` identifications in a row: each piece of a super-segment gets one.
    fn take(&mut self, cx: &mut Cx, src: Ipv4Addr, dst: Ipv4Addr, proto: u8, n: u16) -> u16 {
        if self.next.is_empty() {
            self.next = (0..1024).map(|_| cx.rng.next_u16()).collect();
        }
        let h = cx.secret.hash(&[b"ipid", &src.octets(), &dst.octets(), &[proto]]);
        let at = (h % 1024) as usize;
        self.next[at] = self.next[at].wrapping_add(n);
        self.next[at].wrapping_sub(n - 1)
    }
}

impl Inet {
    pub(crate) fn ip_output(&mut self, l: &mut Layers<'_>, o: IpOut) {
        let (IpAddr::V4(mut src), IpAddr::V4(dst)) = (o.src, o.dst) else {
            l.cx.drop_all(o.rest, Why::BadAddress);
            return l.cx.drop(o.m, Why::BadAddress);
        };
        let h = match self.way.find(l.net, o.dst, o.oif, o.dontroute) {
            Ok(h) => h,
            Err(e) => {
                if e == Errno::ENETUNREACH {
                    l.net.tell_miss(l.cx, o.dst);
                }
                return self.no_way(l, o, e);
            }
        };
        if let (true, Some(IpAddr::V4(s))) = (src.is_unspecified() && h.kind != HopKind::Broadcast, h.src) {
            src = s;
        }
        // 127/8 must never leave the host (RFC 1122 3.2.1.3 (g)).
        if h.kind != HopKind::Local && (src.is_loopback() || dst.is_loopback()) && !loops(l, &h) {
            l.cx.counters.inc(Stat::IpOutNoRoute);
            return self.no_way(l, o, Errno::EADDRNOTAVAIL);
        }
        if o.hdrincl {
            l.cx.counters.inc(Stat::IpOutRaw);
            return self.output_raw(l, src, h, o);
        }
        l.cx.counters.inc(Stat::IpOutLocal);
        let total = HEADER_LEN + o.options.len() + o.m.len();
        if total > MAX_LEN || o.options.len() > 40 || !o.options.len().is_multiple_of(4) {
            l.cx.drop_all(o.rest, Why::BadLength);
            return l.cx.drop(o.m, Why::BadLength);
        }
        // What is never cut needs no identification that is its own (RFC 6864 4.1).
        let id = if o.df {
            l.cx.rng.next_u16()
        } else {
            self.idents.take(l.cx, src, dst, o.proto, gso::at_most(&o.m) as u16)
        };
        let hdr = Header {
            header_len: HEADER_LEN + o.options.len(),
            tos: o.tos,
            total_len: total,
            id,
            df: o.df,
            mf: false,
            frag: 0,
            ttl: o.ttl,
            proto: o.proto,
            src,
            dst,
        };
        let n = hdr.header_len;
        let Some(mut m) = l.cx.prepend(o.m, n) else {
            l.cx.drop_all(o.rest, Why::NoMemory);
            return l.cx.counters.inc(Stat::IpOutNoBufs);
        };
        hdr.emit(m.as_mut_slice(), &o.options);
        count_use(l, &h, &hdr, 1 + o.rest.len());
        if o.rest.is_empty() {
            return self.send(l, &h, &hdr, o.mcast_loop, m);
        }
        let template = Template::of(&m.as_slice()[..n]);
        self.send(l, &h, &hdr, o.mcast_loop, m);
        match template {
            Some(t) => self.output_rest(l, &h, hdr, &t, o.mcast_loop, o.rest),
            None => l.cx.drop_all(o.rest, Why::BadLength),
        }
    }

    /// The packets that follow one and have its header.
    fn output_rest(
        &mut self,
        l: &mut Layers<'_>,
        h: &Hop,
        mut hdr: Header,
        t: &Template,
        mcast_loop: bool,
        mut rest: Chain,
    ) {
        l.cx.counters.add(Stat::IpOutLocal, rest.len() as u64);
        let link = ether::Train::to(l, h, TYPE_IPV4).filter(|_| hdr.ttl > 0);
        while let Some(m) = rest.pop() {
            hdr.total_len = t.len() + m.len();
            if hdr.total_len > MAX_LEN {
                l.cx.drop(m, Why::BadLength);
                continue;
            }
            // As Linux does with the pieces of a super-segment: they count up, whether anybody needs it or not.
            hdr.id = if hdr.df {
                hdr.id.wrapping_add(1)
            } else {
                self.idents.take(l.cx, hdr.src, hdr.dst, hdr.proto, 1)
            };
            if let Some(link) = link.as_ref().filter(|_| hdr.total_len <= h.mtu as usize) {
                let put = |b: &mut [u8]| t.emit(b, hdr.total_len as u16, hdr.id);
                if !link.push(l.cx, m, t.len(), put) {
                    l.cx.counters.inc(Stat::IpOutNoBufs);
                }
                continue;
            }
            let Some(mut m) = l.cx.prepend(m, t.len()) else {
                l.cx.counters.inc(Stat::IpOutNoBufs);
                continue;
            };
            t.emit(m.as_mut_slice(), hdr.total_len as u16, hdr.id);
            self.send(l, h, &hdr, mcast_loop, m);
        }
    }

    /// A packet whose header a program made: length, checksum and what it left zero are filled in, as Linux
    /// does (raw(7)).
    fn output_raw(&mut self, l: &mut Layers<'_>, src: Ipv4Addr, h: Hop, o: IpOut) {
        let mut m = o.m;
        let Some(mut hdr) = Header::parse_unchecked(m.as_slice()).filter(|x| x.header_len <= m.len()) else {
            return l.cx.drop(m, Why::BadIpHeader);
        };
        if m.len() > MAX_LEN {
            return l.cx.drop(m, Why::BadLength);
        }
        hdr.total_len = m.len();
        if hdr.id == 0 {
            hdr.id = self.idents.take(l.cx, hdr.src, hdr.dst, hdr.proto, 1);
        }
        if hdr.src.is_unspecified() {
            hdr.src = src;
        }
        let b = m.as_mut_slice();
        b[2..4].copy_from_slice(&(hdr.total_len as u16).to_be_bytes());
        b[4..6].copy_from_slice(&hdr.id.to_be_bytes());
        b[12..16].copy_from_slice(&hdr.src.octets());
        set_checksum(&mut b[..hdr.header_len]);
        count_use(l, &h, &hdr, 1);
        self.send(l, &h, &hdr, o.mcast_loop, m);
    }

    /// A packet with its header: copies for ourselves, then the link, in pieces if need be.
    fn send(&mut self, l: &mut Layers<'_>, h: &Hop, hdr: &Header, mcast_loop: bool, m: Mbuf) {
        match h.kind {
            HopKind::Multicast => {
                let member = l.net.is_member(h.ifindex, IpAddr::V4(hdr.dst));
                if member && mcast_loop {
                    loop_copy(l, h.ifindex, &m, flags::MCAST);
                }
                if hdr.ttl == 0 || loops(l, h) {
                    // Restricted to this host (RFC 1112 6.1), or nobody is behind the interface.
                    return l.cx.drop(m, Why::Handled);
                }
            }
            HopKind::Broadcast => loop_copy(l, h.ifindex, &m, flags::BCAST),
            _ if hdr.ttl == 0 => return l.cx.drop(m, Why::TtlExpired),
            _ => {}
        }
        if gso::unit(&m, hdr.header_len) <= h.mtu as usize {
            return self.link_output(l, h, m);
        }
        // Pieces that are too big for the path as it has become are made anew, whatever they allow.
        if hdr.df || m.meta().gso_type != 0 {
            l.cx.counters.inc(Stat::IpCantFragment);
            report(l, m.as_slice(), Errno::EMSGSIZE, h.mtu);
            return l.cx.drop(m, Why::NeedsFragmenting);
        }
        self.fragment(l, h, hdr, m);
    }

    fn no_way(&mut self, l: &mut Layers<'_>, o: IpOut, e: Errno) {
        l.cx.counters.inc(Stat::IpOutNoRoute);
        let mut head = [0; 8];
        let b = o.m.as_slice();
        let n = b.len().min(8);
        head[..n].copy_from_slice(&b[..n]);
        let err = iopkt_stack::IcmpErr {
            dst: o.dst,
            src: o.src,
            proto: o.proto,
            head,
            errno: e,
            mtu: 0,
            hard: false,
            from: o.src,
            icmp: (iopkt_wire::icmp4::ty::UNREACHABLE, 0),
        };
        if !o.hdrincl {
            l.sockets.icmp_error(l.cx, l.net, &err);
        }
        l.cx.drop(o.m, Why::NoRoute);
        l.cx.drop_all(o.rest, Why::NoRoute);
    }
}

/// Counts packets for the route that they take.
fn count_use(l: &mut Layers<'_>, h: &Hop, hdr: &Header, n: usize) {
    if let Some((plen, gw)) = h.route {
        l.net.routes.count_use(IpAddr::V4(hdr.dst), plen, gw, h.ifindex, n as u64);
    }
}

fn loops(l: &Layers<'_>, h: &Hop) -> bool {
    l.net.iface(h.ifindex).is_some_and(|i| i.is_loopback())
}

/// Queues a copy of a broadcast or multicast packet for our own sockets, as if `ifindex` had received it.
fn loop_copy(l: &mut Layers<'_>, ifindex: u32, m: &Mbuf, mark: u32) {
    let Some(mut c) = l.cx.copy(m) else { return };
    c.set_ifindex(ifindex);
    c.set_flags(mark | flags::LOOP);
    l.cx.frames.push_back((LO0, c));
}

//! IP output: header, flow label, the way, multicast copies, fragments or refusal.

use crate::ifstats::IfStat;
use crate::link::report;
use crate::{Inet6, Stat6};
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Errno, zone};
use iopkt_mbuf::{Chain, Mbuf, flags};
use iopkt_stack::sockets::read_wire;
use iopkt_stack::{Hop, HopKind, IcmpErr, IpOut, LO0, Layers, Why, ether, gso};
use iopkt_wire::ethernet::TYPE_IPV6;
use iopkt_wire::icmp6::{ty, unreach};
use iopkt_wire::ipv6::{HEADER_LEN, Header, MAX_LEN, next};

impl Inet6 {
    pub(crate) fn ip6_output(&mut self, l: &mut Layers<'_>, o: IpOut) {
        // [RFC4862 5.4d]
        let (IpAddr::V6(mut src), IpAddr::V6(dst)) = (o.src, o.dst) else {
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
        if !self.disabled.is_empty() && self.disabled.contains(&h.ifindex) {
            return self.no_way(l, o, Errno::ENETDOWN);
        }
        if let (true, Some(IpAddr::V6(s))) = (src.is_unspecified(), h.src) {
            src = s;
        }
        // RFC 4291 2.5.3: ::1 never leaves the host. Nor does a link-local address its link.
        let out = h.kind != HopKind::Local && !loops(l, &h);
        let strange = |a: &Ipv6Addr| zone::of(a) != 0 && zone::of(a) != h.ifindex;
        if out && (src.is_loopback() || dst.is_loopback() || strange(&src)) {
            self.stats.inc(Stat6::BadScope);
            return self.no_way(l, o, Errno::EADDRNOTAVAIL);
        }
        if out && self.dad.is_unsure(&src) && !o.hdrincl {
            l.cx.drop_all(o.rest, Why::BadAddress);
            return l.cx.drop(o.m, Why::BadAddress);
        }
        if let Some((plen, gw)) = h.route {
            l.net.routes.count_use(o.dst, plen, gw, h.ifindex, 1 + o.rest.len() as u64);
        }
        if o.hdrincl {
            return self.output_raw(l, h, o);
        }
        self.stats.inc(Stat6::OutLocal);
        self.per_if.add(h.ifindex, IfStat::Sent, 1);
        if o.proto == next::ICMP6
            && let Some(ty) = o.m.as_slice().first()
        {
            self.stats.icmp(*ty, true);
            self.per_if.icmp(h.ifindex, *ty, true);
        }
        let (first, label, ext) = read_wire(&o.options).unwrap_or((o.proto, None, &[]));
        if HEADER_LEN + ext.len() + o.m.len() > MAX_LEN {
            l.cx.drop_all(o.rest, Why::BadLength);
            return l.cx.drop(o.m, Why::BadLength);
        }
        let hdr = Header {
            traffic_class: o.tos,
            flow_label: label.unwrap_or_else(|| self.flow_label(l, &o, src, dst)),
            payload_len: ext.len() + o.m.len(),
            next: first,
            hop_limit: o.ttl,
            src: zone::strip(src),
            dst: zone::strip(dst),
        };
        let Some(mut m) = l.cx.prepend(o.m, HEADER_LEN + ext.len()) else {
            l.cx.drop_all(o.rest, Why::NoMemory);
            return self.stats.inc(Stat6::OutNoBufs);
        };
        hdr.emit(m.as_mut_slice());
        put(m.as_mut_slice(), ext);
        self.send(l, &h, &hdr, o.mcast_loop, o.df, m);
        if !o.rest.is_empty() {
            self.output_rest(l, &h, hdr, ext, o.mcast_loop, o.df, o.rest);
        }
    }

    /// The packets that follow one and have its header, but for the length.
    #[allow(clippy::too_many_arguments)] // what they have in common
    fn output_rest(
        &mut self,
        l: &mut Layers<'_>,
        h: &Hop,
        mut hdr: Header,
        ext: &[u8],
        mcast_loop: bool,
        df: bool,
        mut rest: Chain,
    ) {
        self.stats.add(Stat6::OutLocal, rest.len() as u64);
        self.per_if.add(h.ifindex, IfStat::Sent, rest.len() as u64);
        let link = ether::Train::to(l, h, TYPE_IPV6).filter(|_| hdr.hop_limit > 0);
        let mut template = [0; HEADER_LEN];
        hdr.emit(&mut template);
        while let Some(m) = rest.pop() {
            hdr.payload_len = ext.len() + m.len();
            if HEADER_LEN + hdr.payload_len > MAX_LEN {
                l.cx.drop(m, Why::BadLength);
                continue;
            }
            let plain = ext.is_empty() && HEADER_LEN + m.len() <= h.mtu as usize;
            if let Some(link) = link.as_ref().filter(|_| plain) {
                [template[4], template[5]] = (m.len() as u16).to_be_bytes();
                let put = |b: &mut [u8]| {
                    if let Some(b) = b.first_chunk_mut() {
                        *b = template;
                    }
                };
                if !link.push(l.cx, m, HEADER_LEN, put) {
                    self.stats.inc(Stat6::OutNoBufs);
                }
                continue;
            }
            let Some(mut m) = l.cx.prepend(m, HEADER_LEN + ext.len()) else {
                self.stats.inc(Stat6::OutNoBufs);
                continue;
            };
            hdr.emit(m.as_mut_slice());
            put(m.as_mut_slice(), ext);
            self.send(l, h, &hdr, mcast_loop, df, m);
        }
    }

    /// A label that is the same for all packets of a flow and says nothing else (RFC 6437 3).
    // [RFC6437 3a] [RFC6437 3b]
    fn flow_label(&self, l: &Layers<'_>, o: &IpOut, src: Ipv6Addr, dst: Ipv6Addr) -> u32 {
        // [RFC6437 2a]
        if !self.t.auto_flowlabel {
            return 0;
        }
        // The ports of TCP and UDP stand first.
        let ports =
            o.m.as_slice()
                .first_chunk::<4>()
                .filter(|_| matches!(o.proto, 6 | 17))
                .copied()
                .unwrap_or_default();
        let h = l.cx.secret.hash(&[b"flow", &src.octets(), &dst.octets(), &[o.proto], &ports]);
        (h as u32 & 0xf_ffff).max(1)
    }

    /// A packet whose header a program made.
    fn output_raw(&mut self, l: &mut Layers<'_>, h: Hop, o: IpOut) {
        self.stats.inc(Stat6::OutRaw);
        let mut m = o.m;
        let Some(mut hdr) = Header::parse_unchecked(m.as_slice()) else {
            return l.cx.drop(m, Why::BadIpHeader);
        };
        if m.len() > MAX_LEN {
            return l.cx.drop(m, Why::BadLength);
        }
        hdr.payload_len = m.len() - HEADER_LEN;
        hdr.emit(m.as_mut_slice());
        self.send(l, &h, &hdr, o.mcast_loop, true, m);
    }

    /// A packet with its header: copies for ourselves, then the link, in pieces if need be.
    fn send(&mut self, l: &mut Layers<'_>, h: &Hop, hdr: &Header, mcast_loop: bool, df: bool, m: Mbuf) {
        if h.kind == HopKind::Multicast {
            let group = IpAddr::V6(zone::embed(hdr.dst, h.ifindex));
            if mcast_loop && l.net.is_member(h.ifindex, group) {
                loop_copy(l, h.ifindex, &m);
            }
            // ff01::/16 never leaves the node (RFC 4291 2.7).
            let inside = hdr.dst.segments()[0] & 15 <= 1;
            if hdr.hop_limit == 0 || inside || loops(l, h) {
                return l.cx.drop(m, Why::Handled);
            }
        } else if hdr.hop_limit == 0 && h.kind != HopKind::Local {
            return l.cx.drop(m, Why::TtlExpired);
        }
        if gso::unit(&m, HEADER_LEN) <= h.mtu as usize {
            return self.link_output(l, h, m);
        }
        // Pieces that are too big for the path as it has become are made anew, whatever they allow.
        if df || m.meta().gso_type != 0 {
            self.stats.inc(Stat6::CantFragment);
            self.per_if.add(h.ifindex, IfStat::CantFragment, 1);
            report(l, m.as_slice(), h.ifindex, Errno::EMSGSIZE, h.mtu);
            return l.cx.drop(m, Why::NeedsFragmenting);
        }
        self.fragment(l, h, hdr, m);
    }

    fn no_way(&mut self, l: &mut Layers<'_>, o: IpOut, e: Errno) {
        self.stats.inc(Stat6::OutNoRoute);
        let mut head = [0; 8];
        let b = o.m.as_slice();
        let n = b.len().min(8);
        head[..n].copy_from_slice(&b[..n]);
        let err = IcmpErr {
            dst: o.dst,
            src: o.src,
            proto: o.proto,
            head,
            errno: e,
            mtu: 0,
            hard: false,
            from: o.src,
            icmp: (ty::UNREACHABLE, unreach::NO_ROUTE),
        };
        if !o.hdrincl {
            l.sockets.icmp_error(l.cx, l.net, &err);
        }
        l.cx.drop(o.m, Why::NoRoute);
        l.cx.drop_all(o.rest, Why::NoRoute);
    }
}

/// Writes extension headers behind the fixed one.
fn put(packet: &mut [u8], ext: &[u8]) {
    if let Some(to) = packet.get_mut(HEADER_LEN..HEADER_LEN + ext.len()) {
        to.copy_from_slice(ext);
    }
}

fn loops(l: &Layers<'_>, h: &Hop) -> bool {
    l.net.iface(h.ifindex).is_some_and(|i| i.is_loopback())
}

/// Queues a copy of a multicast packet for our own sockets, as if `ifindex` had received it.
fn loop_copy(l: &mut Layers<'_>, ifindex: u32, m: &Mbuf) {
    let Some(mut c) = l.cx.copy(m) else { return };
    c.set_ifindex(ifindex);
    c.set_flags(flags::MCAST | flags::LOOP);
    l.cx.frames.push_back((LO0, c));
}

//! ICMPv6 input (RFC 4443): echo, errors about our packets; Neighbour Discovery and MLD are handed on.
//!
//! Every good message is shown to raw and ping sockets too.

use crate::input::Packet;
use crate::{Inet6, Stat6, errors};
use core::net::IpAddr;
use iopkt_base::{Errno, zone};
use iopkt_mbuf::Mbuf;
use iopkt_stack::{HopKind, IcmpErr, IpInfo, Layers, Why};
use iopkt_wire::icmp6::{Bad, Header, is_error, ty, unreach};
use iopkt_wire::ipv6::{self, Chain, Fragment, MIN_MTU, next};

impl Inet6 {
    pub(crate) fn icmp6_input(&mut self, l: &mut Layers<'_>, info: &IpInfo, p: &Packet, m: Mbuf) {
        let hl = usize::from(info.hdr_len);
        let h = match Header::parse(&m.as_slice()[hl..], p.h.src, p.h.dst) {
            Ok(h) => h,
            Err(bad) => {
                self.stats.inc(match bad {
                    Bad::Short => Stat6::IcmpTooShort,
                    // [RFC4443 2.3]
                    Bad::Checksum => Stat6::IcmpBadChecksum,
                });
                return l.cx.drop(m, Why::BadIcmp);
            }
        };
        self.stats.icmp(h.ty, false);
        self.per_if.icmp(info.ifindex, h.ty, false);
        // Sockets see every message before we take it apart.
        let Some(m) = l.sockets.input(l.cx, l.net, info, m) else { return };
        let ok = match h.ty {
            // Nobody who is on the link cuts them; who is not would pass what looks at frames (RFC 6980 5).
            ty::ROUTER_SOLICIT..=ty::REDIRECT if p.cut => self.cut_discovery(h.ty),
            // [RFC4443 4.1]
            ty::ECHO => return self.reflect(l, info, &h, m),
            ty::NODE_QUERY => return self.node_query(l, info, m),
            ty::NEIGHBOR_SOLICIT => self.ns_input(l, p, &h, hl, &m),
            ty::NEIGHBOR_ADVERT => self.na_input(l, p, &h, hl, &m),
            ty::ROUTER_ADVERT => self.ra_input(l, p, &h, hl, &m),
            ty::REDIRECT => self.redirect_input(l, p, &h, hl, &m),
            ty::ROUTER_SOLICIT if self.t.forwarding => self.rs_input(l, p, &h, hl, &m),
            ty::MLD_QUERY | ty::MLD_REPORT | ty::MLD2_REPORT | ty::MLD_DONE => {
                self.mld_input(l, p, &h, hl, &m)
            }
            // [RFC4443 3.1d] [RFC4443 3.2b] [RFC4443 3.3b] [RFC4443 3.4b]
            t if is_error(t) => self.error_input(l, info, &h, &m.as_slice()[hl + 8..]),
            // [RFC4443 2.4b]
            _ => true,
        };
        l.cx.drop(m, if ok { Why::Handled } else { Why::BadIcmp });
    }

    /// Counts a message of Neighbour Discovery that came with a fragment header.
    fn cut_discovery(&mut self, t: u8) -> bool {
        // [RFC6980 5b]
        self.stats.inc(match t {
            ty::ROUTER_SOLICIT => Stat6::BadRs,
            ty::ROUTER_ADVERT => Stat6::BadRa,
            ty::NEIGHBOR_SOLICIT => Stat6::BadNs,
            ty::NEIGHBOR_ADVERT => Stat6::BadNa,
            _ => Stat6::BadRedirect,
        });
        false
    }

    /// Answers an echo request with its own content, in its own buffer (RFC 4443 4.2: to a group or an
    /// anycast address from an address of the interface).
    fn reflect(&mut self, l: &mut Layers<'_>, info: &IpInfo, h: &Header, mut m: Mbuf) {
        let IpAddr::V6(to) = info.src else { return l.cx.drop(m, Why::BadAddress) };
        if to.is_unspecified() {
            return l.cx.drop(m, Why::BadAddress);
        }
        // [RFC4443 2.2] [RFC4443 4.2]
        let shared = info.multicast || self.is_anycast(l, info.dst);
        let from = if shared { l.net.source_for(info.ifindex, info.src) } else { Some(info.dst) };
        let Some(IpAddr::V6(from)) = from else { return l.cx.drop(m, Why::NoRoute) };
        m.trim_front(usize::from(info.hdr_len));
        let reply = Header { ty: ty::ECHO_REPLY, code: 0, rest: h.rest };
        reply.emit(m.as_mut_slice(), zone::strip(from), zone::strip(to));
        let hops = l.net.default_hops(m.ifindex(), false);
        m.clear_flags(u32::MAX);
        m.set_ifindex(0);
        if m.len() > MIN_MTU - ipv6::HEADER_LEN && !self.echoed.contains(&Some(to)) {
            self.echoed.rotate_right(1);
            self.echoed[0] = Some(to);
        }
        self.stats.inc(Stat6::IcmpReflected);
        errors::send(l.cx, from, to, hops, 0, m);
    }

    /// An error about a packet of ours. False when it cannot be one.
    fn error_input(&mut self, l: &mut Layers<'_>, info: &IpInfo, h: &Header, quoted: &[u8]) -> bool {
        let Some(q) = ipv6::Header::parse_unchecked(quoted) else {
            self.stats.inc(Stat6::IcmpBadLength);
            return false;
        };
        let (src, dst) = (zone::embed(q.src, info.ifindex), zone::embed(q.dst, info.ifindex));
        if !l.net.is_local(src.into(), 0) {
            return false;
        }
        let mut chain = Chain::new(quoted, q.next);
        let mut later = false;
        for e in chain.by_ref() {
            let Ok(e) = e else {
                self.stats.inc(Stat6::IcmpBadLength);
                return false;
            };
            later |= e.kind == next::FRAGMENT && Fragment::parse(e.bytes).is_none_or(|f| f.offset != 0);
        }
        // A piece without the transport's header: whose it is nobody can say.
        if later {
            return true;
        }
        // [RFC4443 2.4d]
        let upper = chain.upper();
        let Some(head) = quoted.get(upper.at..).and_then(|b| b.first_chunk::<8>()).copied() else {
            self.stats.inc(Stat6::IcmpBadLength);
            return false;
        };
        let Some((errno, hard)) = meaning(h) else {
            self.stats.inc(Stat6::IcmpBadCode);
            return false;
        };
        let mut mtu = 0;
        if h.ty == ty::TOO_BIG {
            // [RFC8201 4]
            mtu = match self.path_mtu(l, h.word(), dst.into()) {
                Some(m) => m,
                None => return true,
            };
        }
        let e = IcmpErr {
            dst: dst.into(),
            src: src.into(),
            proto: upper.proto,
            head,
            errno,
            mtu,
            hard,
            from: info.src,
            icmp: (h.ty, h.code),
        };
        l.sockets.icmp_error_quoting(l.cx, l.net, &e, &quoted[upper.at..]);
        // No socket sent our answers to echo requests: those that were too long for the smallest link are remembered.
        let reply = upper.proto == next::ICMP6 && head[0] == ty::ECHO_REPLY;
        if reply && mtu != 0 && self.echoed.contains(&Some(dst)) {
            l.net.pmtu.lower(l.cx.now, dst.into(), mtu);
        }
        true
    }

    /// RFC 8201 section 4: the new MTU of a path; `None` when it says nothing new. Never below the smallest that links
    /// may have: no atomic fragments are made for a smaller one (RFC 8021).
    fn path_mtu(&mut self, l: &mut Layers<'_>, said: u32, dst: IpAddr) -> Option<u32> {
        let now = l.net.hop(dst, 0, false).ok().filter(|x| x.kind == HopKind::Unicast)?.mtu;
        // [RFC8201 4b] [RFC8200 5a]
        if said < MIN_MTU as u32 {
            return None;
        }
        if said >= now {
            return Some(now);
        }
        self.stats.inc(Stat6::IcmpPmtuChanges);
        Some(said)
    }
}

/// What an error means to a program (Linux's `icmpv6_err_convert`), and whether it may end a connection.
fn meaning(h: &Header) -> Option<(Errno, bool)> {
    Some(match (h.ty, h.code) {
        (ty::UNREACHABLE, unreach::NO_ROUTE) => (Errno::ENETUNREACH, false),
        (ty::UNREACHABLE, unreach::PROHIBITED | unreach::POLICY | unreach::REJECT) => (Errno::EACCES, true),
        (ty::UNREACHABLE, unreach::SCOPE | unreach::ADDRESS) => (Errno::EHOSTUNREACH, false),
        (ty::UNREACHABLE, unreach::PORT) => (Errno::ECONNREFUSED, true),
        (ty::TOO_BIG, _) => (Errno::EMSGSIZE, false),
        (ty::TIME_EXCEEDED, 0 | 1) => (Errno::EHOSTUNREACH, false),
        (ty::PARAM_PROBLEM, 1) => (Errno::EPROTO, true),
        (ty::PARAM_PROBLEM, 0 | 2 | 3) => (Errno::EPROTO, false),
        // Errors of a kind that is not known are the transport's business all the same. [RFC4443 2.4a]
        (t, _) if !(ty::UNREACHABLE..=ty::PARAM_PROBLEM).contains(&t) => (Errno::EPROTO, false),
        _ => return None,
    })
}

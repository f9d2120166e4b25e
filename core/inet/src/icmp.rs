//! ICMP input (RFC 792, RFC 1122 3.2.2): echo, timestamp, errors about our packets, redirects.
//!
//! Address mask and information requests are not answered (RFC 6918), source quench is ignored (RFC 6633).
//! Every message is shown to raw and ping sockets too.

use crate::Inet;
use crate::errors::send;
use crate::options::copied_back;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Duration, Errno, Instant};
use iopkt_ctl::rtf;
use iopkt_mbuf::Mbuf;
use iopkt_stack::route::{Origin, Route};
use iopkt_stack::{HopKind, IcmpErr, IpInfo, Layers, RtKind, Stat, Why};
use iopkt_wire::icmp4::{Bad, Header, is_error, ty, unreach};
use iopkt_wire::ipv4;

/// Smallest path MTU that is believed: below it an attacker gains more than a path (Linux's `min_pmtu`).
pub(crate) const MIN_PMTU: u32 = 552;
/// MTUs that links have (RFC 1191 section 7.1), for routers that do not say.
const PLATEAUS: [u32; 11] = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
/// Milliseconds for timestamps, with the high bit that says "not universal time" (RFC 792): the stack has no
/// wall clock.
pub(crate) fn timestamp(now: Instant) -> u32 {
    (now.as_millis() % 86_400_000) as u32 | 0x8000_0000
}

impl Inet {
    pub(crate) fn icmp_input(&mut self, l: &mut Layers<'_>, info: &IpInfo, m: Mbuf) {
        let hl = usize::from(info.hdr_len);
        let h = match Header::parse(&m.as_slice()[hl..]) {
            Ok(h) => h,
            Err(bad) => {
                l.cx.counters.inc(match bad {
                    Bad::Short => Stat::IcmpTooShort,
                    Bad::Checksum => Stat::IcmpBadChecksum,
                });
                return l.cx.drop(m, Why::BadIcmp);
            }
        };
        l.cx.counters.icmp(h.ty, false);
        // Sockets see every message before we take it apart.
        let Some(m) = l.sockets.input(l.cx, l.net, info, m) else { return };
        match h.ty {
            ty::ECHO => self.reflect(l, info, &h, ty::ECHO_REPLY, m),
            ty::TIMESTAMP if m.len() >= hl + 20 => self.reflect(l, info, &h, ty::TIMESTAMP_REPLY, m),
            ty::TIMESTAMP => {
                l.cx.counters.inc(Stat::IcmpBadLength);
                l.cx.drop(m, Why::BadIcmp);
            }
            ty::REDIRECT => {
                self.redirect(l, info, &h, &m.as_slice()[hl + 8..]);
                l.cx.drop(m, Why::Handled);
            }
            t if is_error(t) => {
                let ok = self.error_input(l, info, &h, &m.as_slice()[hl + 8..]);
                l.cx.drop(m, if ok { Why::Handled } else { Why::BadIcmp });
            }
            _ => l.cx.drop(m, Why::Handled),
        }
    }

    /// Answers a request with its own content, in its own buffer.
    fn reflect(&mut self, l: &mut Layers<'_>, info: &IpInfo, h: &Header, reply: u8, mut m: Mbuf) {
        if info.multicast && !self.t.bmcastecho {
            l.cx.counters.inc(Stat::IcmpBcastEcho);
            return l.cx.drop(m, Why::Handled);
        }
        let IpAddr::V4(to) = info.src else { return l.cx.drop(m, Why::BadAddress) };
        if to.is_unspecified() {
            return l.cx.drop(m, Why::BadAddress);
        }
        // RFC 1122 3.2.2.6: the reply comes from the address that was asked.
        let from = if info.multicast { l.net.source_for(info.ifindex, info.src) } else { Some(info.dst) };
        let Some(from) = from else { return l.cx.drop(m, Why::NoRoute) };
        let hl = usize::from(info.hdr_len);
        let options = copied_back(&m.as_slice()[ipv4::HEADER_LEN..hl]);
        m.trim_front(hl);
        if reply == ty::TIMESTAMP_REPLY {
            m.truncate(20);
            let now = timestamp(l.cx.now).to_be_bytes();
            m.as_mut_slice()[12..16].copy_from_slice(&now);
            m.as_mut_slice()[16..20].copy_from_slice(&now);
        }
        Header { ty: reply, code: 0, rest: h.rest }.emit(m.as_mut_slice());
        m.clear_flags(u32::MAX);
        m.set_ifindex(0);
        l.cx.counters.inc(Stat::IcmpReflected);
        l.cx.counters.icmp(reply, true);
        send(l.cx, from, info.src, self.t.ttl, info.tos, options, m);
    }

    /// An error about a packet of ours. False when it cannot be one.
    fn error_input(&mut self, l: &mut Layers<'_>, info: &IpInfo, h: &Header, quoted: &[u8]) -> bool {
        let Some(q) = ipv4::Header::parse_unchecked(quoted) else {
            l.cx.counters.inc(Stat::IcmpBadLength);
            return false;
        };
        // We cannot have sent it: not our source, or to everybody (RFC 5927 4.1).
        if !l.net.is_local(IpAddr::V4(q.src), 0) || q.frag != 0 || info.multicast {
            return false;
        }
        let Some((errno, hard)) = meaning(h) else {
            if h.ty == ty::UNREACHABLE {
                l.cx.counters.inc(Stat::IcmpBadCode);
            }
            // [RFC9293 MUST-55]
            return h.ty == ty::SOURCE_QUENCH;
        };
        let mut head = [0; 8];
        let Some(b) = quoted.get(q.header_len..q.header_len + 8) else {
            l.cx.counters.inc(Stat::IcmpBadLength);
            return false;
        };
        head.copy_from_slice(b);
        let mut mtu = 0;
        if (h.ty, h.code) == (ty::UNREACHABLE, unreach::NEED_FRAG) {
            mtu = match self.path_mtu(l, h, &q) {
                Some(m) => m,
                None => return true,
            };
        }
        let e = IcmpErr {
            dst: IpAddr::V4(q.dst),
            src: IpAddr::V4(q.src),
            proto: q.proto,
            head,
            errno,
            mtu,
            hard,
            from: info.src,
            icmp: (h.ty, h.code),
        };
        l.sockets.icmp_error_quoting(l.cx, l.net, &e, quoted.get(q.header_len..).unwrap_or(&[]));
        true
    }

    /// RFC 1191: the new MTU of a path; `None` when it is not to be believed or changes nothing.
    fn path_mtu(&mut self, l: &mut Layers<'_>, h: &Header, q: &ipv4::Header) -> Option<u32> {
        let dst = IpAddr::V4(q.dst);
        let now = l.net.hop(dst, 0, false).ok().filter(|x| x.kind == HopKind::Unicast)?.mtu;
        // Whether what is quoted of a stream says "don't fragment" is not looked at (Linux does the same): the connection checks
        // that it is of its own. A datagram that does not say it could have been cut.
        if !self.t.mtudisc || q.proto != 6 && !q.df {
            return None;
        }
        let mut mtu = u32::from(h.mtu());
        if mtu == 0 {
            // An old router: the next plateau below what was sent (section 7).
            // [RFC1191 5]
            mtu = PLATEAUS.iter().copied().find(|p| (*p as usize) < q.total_len).unwrap_or(68);
        }
        let mtu = mtu.max(MIN_PMTU);
        if mtu >= now {
            // Nothing new, but the packet was lost: the transport may send it again in the size known now.
            return Some(now);
        }
        l.cx.counters.inc(Stat::IcmpPmtuChanges);
        // Noted when a socket knows the packet, of a stream when it is in flight. [RFC5927 4.1]
        Some(mtu)
    }

    /// RFC 1122 3.2.2.2: a better first hop for one destination. Believed only from the gateway in use, about
    /// a packet of ours, for a gateway on the same network.
    fn redirect(&mut self, l: &mut Layers<'_>, info: &IpInfo, h: &Header, quoted: &[u8]) {
        let gw = IpAddr::V4(Ipv4Addr::from(h.rest));
        let q = ipv4::Header::parse_unchecked(quoted);
        let ok = |q: &ipv4::Header| {
            let dst = IpAddr::V4(q.dst);
            let hop = l.net.hop(dst, 0, false).ok()?;
            let via = l.net.hop(gw, info.ifindex, true).ok()?;
            let fits = l.net.is_local(IpAddr::V4(q.src), 0)
                && hop.kind == HopKind::Unicast
                && hop.next == info.src
                && hop.ifindex == info.ifindex
                && hop.next != dst
                && via.kind == HopKind::Unicast
                && via.ifindex == info.ifindex
                && via.route.is_some()
                && gw != info.src;
            fits.then_some(dst)
        };
        let dst = q.as_ref().and_then(ok).filter(|_| self.t.rediraccept && h.code <= 3);
        let Some(dst) = dst.filter(|d| self.redirects.has_room(d, iopkt_stack::MAX_REDIRECTS)) else {
            return l.cx.counters.inc(Stat::IcmpRedirectsIgnored);
        };
        l.net.routes.remove_if(|r| r.origin == Origin::Redirect && r.dst == dst);
        let mut r = Route::on_link(dst, 32, info.ifindex, None, Origin::Redirect);
        r.gateway = Some(gw);
        r.flags |= rtf::GATEWAY | rtf::DYNAMIC;
        let until = l.cx.now + Duration::from_secs(self.t.redirtimeout.into());
        r.expires = until;
        if l.net.routes.add(r.clone()).is_ok() {
            l.net.tell_route(l.cx, RtKind::Redirect, &r, Some(info.src));
            self.redirects.note(dst, until);
            self.reckon();
        }
    }
}

/// What an error means to a program (Linux's `icmp_err_convert`), and whether it may end a connection.
fn meaning(h: &Header) -> Option<(Errno, bool)> {
    Some(match (h.ty, h.code) {
        (ty::UNREACHABLE, unreach::PROTOCOL) => (Errno::ENOPROTOOPT, true),
        (ty::UNREACHABLE, unreach::PORT) => (Errno::ECONNREFUSED, true),
        (ty::UNREACHABLE, unreach::NEED_FRAG) => (Errno::EMSGSIZE, false),
        (ty::UNREACHABLE, unreach::SRC_ROUTE) => (Errno::EOPNOTSUPP, false),
        (
            ty::UNREACHABLE,
            unreach::NET | unreach::NET_UNKNOWN | unreach::NET_PROHIB | unreach::TOS_NET | unreach::ISOLATED,
        ) => (Errno::ENETUNREACH, false),
        (ty::UNREACHABLE, unreach::HOST_UNKNOWN) => (Errno::EHOSTDOWN, false),
        (ty::UNREACHABLE, 0..=15) => (Errno::EHOSTUNREACH, false),
        (ty::TIME_EXCEEDED, 0 | 1) => (Errno::EHOSTUNREACH, false),
        (ty::PARAM_PROBLEM, _) => (Errno::EPROTO, false),
        _ => return None,
    })
}

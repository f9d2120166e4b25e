//! Options at IPPROTO_IPV6 (ipv6(7), RFC 3493, RFC 3542) and ICMP6_FILTER.
//!
//! They are about IPv6 packets only: what an IPv6 socket sends to a mapped IPv4 address goes by its options at IPPROTO_IP. Routing
//! headers are not sent: type 0 is gone (RFC 5095), mobility and segment routing are not spoken. Extension headers are in `ext6`,
//! groups in `mcast6`. `docs/socket-options.md` has a row for each.

use super::Sockets;
use super::ext6::{self, Ext6};
use super::options::{flag, int, put, put_int};
use super::sock::{Opts, Sock, pmtudisc};
use super::types::{SockId, SockType, proto};
use crate::cx::Cx;
use crate::net::{LO0, Net};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use iopkt_base::{Errno, Result, zone};

/// Names at IPPROTO_IPV6 (linux/in6.h).
#[allow(missing_docs)]
pub(crate) mod ip6 {
    pub const ADDRFORM: i32 = 1;
    pub const PKTINFO_OLD: i32 = 2;
    pub const HOPOPTS_OLD: i32 = 3;
    pub const DSTOPTS_OLD: i32 = 4;
    pub const RTHDR_OLD: i32 = 5;
    pub const PKTOPTIONS_OLD: i32 = 6;
    pub const CHECKSUM: i32 = 7;
    pub const HOPLIMIT_OLD: i32 = 8;
    pub const FLOWINFO: i32 = 11;
    pub const UNICAST_HOPS: i32 = 16;
    pub const MULTICAST_IF: i32 = 17;
    pub const MULTICAST_HOPS: i32 = 18;
    pub const MULTICAST_LOOP: i32 = 19;
    pub const JOIN_GROUP: i32 = 20;
    pub const LEAVE_GROUP: i32 = 21;
    pub const ROUTER_ALERT: i32 = 22;
    pub const MTU_DISCOVER: i32 = 23;
    pub const MTU: i32 = 24;
    pub const RECVERR: i32 = 25;
    pub const V6ONLY: i32 = 26;
    pub const JOIN_ANYCAST: i32 = 27;
    pub const LEAVE_ANYCAST: i32 = 28;
    pub const MULTICAST_ALL: i32 = 29;
    pub const ROUTER_ALERT_ISOLATE: i32 = 30;
    pub const RECVERR_RFC4884: i32 = 31;
    pub const FLOWLABEL_MGR: i32 = 32;
    pub const FLOWINFO_SEND: i32 = 33;
    pub const IPSEC_POLICY: i32 = 34;
    pub const XFRM_POLICY: i32 = 35;
    pub const HDRINCL: i32 = 36;
    pub const MCAST_JOIN_GROUP: i32 = 42;
    pub const MCAST_MSFILTER: i32 = 48;
    pub const RECVPKTINFO: i32 = 49;
    pub const PKTINFO: i32 = 50;
    pub const RECVHOPLIMIT: i32 = 51;
    pub const RECVHOPOPTS: i32 = 53;
    pub const HOPOPTS: i32 = 54;
    pub const RTHDRDSTOPTS: i32 = 55;
    pub const RECVRTHDR: i32 = 56;
    pub const RTHDR: i32 = 57;
    pub const RECVDSTOPTS: i32 = 58;
    pub const DSTOPTS: i32 = 59;
    pub const RECVPATHMTU: i32 = 60;
    pub const PATHMTU: i32 = 61;
    pub const DONTFRAG: i32 = 62;
    pub const RECVTCLASS: i32 = 66;
    pub const TCLASS: i32 = 67;
    pub const AUTOFLOWLABEL: i32 = 70;
    pub const ADDR_PREFERENCES: i32 = 72;
    pub const MINHOPCOUNT: i32 = 73;
    pub const RECVORIGDSTADDR: i32 = 74;
    pub const TRANSPARENT: i32 = 75;
    pub const UNICAST_IF: i32 = 76;
    pub const RECVFRAGSIZE: i32 = 77;
    pub const FREEBIND: i32 = 78;
}

/// Options that are on or off and are kept as bits of [`Opts6::flags`].
const FLAGS: [i32; 23] = [
    ip6::PKTINFO_OLD,
    ip6::HOPOPTS_OLD,
    ip6::DSTOPTS_OLD,
    ip6::RTHDR_OLD,
    ip6::HOPLIMIT_OLD,
    ip6::FLOWINFO,
    ip6::RECVERR,
    ip6::MULTICAST_ALL,
    ip6::MULTICAST_LOOP,
    ip6::ROUTER_ALERT_ISOLATE,
    ip6::RECVERR_RFC4884,
    ip6::FLOWINFO_SEND,
    ip6::RECVPKTINFO,
    ip6::RECVHOPLIMIT,
    ip6::RECVHOPOPTS,
    ip6::RECVRTHDR,
    ip6::RECVDSTOPTS,
    ip6::RECVPATHMTU,
    ip6::DONTFRAG,
    ip6::RECVTCLASS,
    ip6::AUTOFLOWLABEL,
    ip6::RECVORIGDSTADDR,
    ip6::RECVFRAGSIZE,
];

/// Those of them that ask for control messages, in the order of [`super::RecvWants::v6`]'s bits.
const ASKS: [i32; 13] = [
    ip6::RECVPKTINFO,
    ip6::RECVHOPLIMIT,
    ip6::RECVTCLASS,
    ip6::RECVHOPOPTS,
    ip6::RECVRTHDR,
    ip6::RECVDSTOPTS,
    ip6::RECVORIGDSTADDR,
    ip6::FLOWINFO,
    ip6::PKTINFO_OLD,
    ip6::HOPLIMIT_OLD,
    ip6::HOPOPTS_OLD,
    ip6::RTHDR_OLD,
    ip6::DSTOPTS_OLD,
];
/// The options of which an extension header or the flow label must be kept with a datagram.
const NEED_HEADERS: [i32; 7] = [
    ip6::RECVHOPOPTS,
    ip6::RECVRTHDR,
    ip6::RECVDSTOPTS,
    ip6::FLOWINFO,
    ip6::HOPOPTS_OLD,
    ip6::RTHDR_OLD,
    ip6::DSTOPTS_OLD,
];

const fn bits<const N: usize>(names: [i32; N]) -> u128 {
    let (mut all, mut i) = (0, 0);
    while i < N {
        all |= 1 << names[i];
        i += 1;
    }
    all
}

/// IPV6_ADDR_PREFERENCES (RFC 5014).
mod prefer {
    pub const TMP: u32 = 1;
    pub const PUBLIC: u32 = 2;
    pub const COA: u32 = 4;
    pub const CGA: u32 = 8;
    pub const PUBTMP_DEFAULT: u32 = 0x100;
    pub const HOME: u32 = 0x400;
    pub const NONCGA: u32 = 0x800;
}

/// `sizeof(struct in6_pktinfo)` and `sizeof(struct ip6_mtuinfo)`.
const PKTINFO_LEN: usize = 20;
const MTUINFO_LEN: usize = 32;
/// Longest extension header that setsockopt takes (Linux: 8 * 255).
const HEADER_MAX: usize = 2040;

/// What an IPv6 socket has for its IPv6 packets.
#[derive(Clone, Debug)]
pub(crate) struct Opts6 {
    /// On/off options: a bit for each number.
    pub flags: u128,
    /// The flow label that connect(2) named, with IPV6_FLOWINFO_SEND.
    pub flow: Option<u32>,
    /// IPV6_UNICAST_HOPS, `None` for the stack's.
    pub hops: Option<u8>,
    pub mcast_hops: u8,
    pub tclass: u8,
    /// IPV6_PMTUDISC_*, the same numbers as IPv4's.
    pub mtu_discover: u8,
    pub mcast_if: u32,
    pub unicast_if: u32,
    pub min_hops: u8,
    /// IPV6_MTU: longest packet that is sent in one piece, 0 for none.
    pub frag_size: u32,
    /// RFC 5014's bits.
    pub prefer: u32,
    /// IPV6_CHECKSUM: where a raw socket's checksum stands.
    pub checksum: Option<u32>,
    /// IPV6_PKTINFO: source address and interface of every datagram.
    pub pktinfo: Option<(Ipv6Addr, u32)>,
    /// IPV6_HOPOPTS and its like, for every packet.
    pub sticky: Option<Box<Ext6>>,
    /// What of them and of the flow label goes with each packet, as [`crate::IpOut::options`] has it.
    pub wire: Vec<u8>,
}

impl Default for Opts6 {
    fn default() -> Opts6 {
        Opts6 {
            flags: bits([ip6::MULTICAST_ALL, ip6::MULTICAST_LOOP, ip6::AUTOFLOWLABEL]),
            flow: None,
            hops: None,
            mcast_hops: 1,
            tclass: 0,
            mtu_discover: pmtudisc::WANT,
            mcast_if: 0,
            unicast_if: 0,
            min_hops: 0,
            frag_size: 0,
            prefer: 0,
            checksum: None,
            pktinfo: None,
            sticky: None,
            wire: Vec::new(),
        }
    }
}

impl Opts6 {
    /// Whether an on/off option is on.
    pub fn flag(&self, name: i32) -> bool {
        self.flags >> name & 1 != 0
    }

    /// The control messages that it asks for.
    pub fn asks(&self) -> u32 {
        let on = |(i, n): (usize, &i32)| u32::from(self.flag(*n)) << i;
        ASKS.iter().enumerate().map(on).fold(0, |all, b| all | b)
    }

    /// Whether extension headers or flow labels of received packets are of interest.
    pub fn needs_headers(&self) -> bool {
        self.flags & bits(NEED_HEADERS) != 0
    }

    /// The flow label that is not the stack's choice: the one that connect(2) named; 0, without IPV6_AUTOFLOWLABEL.
    /// [RFC6437 3c]
    pub fn label(&self) -> Option<u32> {
        self.flow.or(if self.flag(ip6::AUTOFLOWLABEL) { None } else { Some(0) })
    }
}

impl Opts {
    /// IP_TTL or IPV6_UNICAST_HOPS; `None` for what the interface says.
    pub fn hop_limit(&self, v4: bool) -> Option<u8> {
        if v4 { self.ttl } else { self.v6.hops }
    }

    /// IP_TOS or IPV6_TCLASS.
    pub fn class(&self, v4: bool) -> u8 {
        if v4 { self.tos } else { self.v6.tclass }
    }

    /// IP_MTU_DISCOVER or IPV6_MTU_DISCOVER.
    pub fn discover(&self, v4: bool) -> u8 {
        if v4 { self.mtu_discover } else { self.v6.mtu_discover }
    }

    /// IP_RECVERR or IPV6_RECVERR.
    pub fn hears_errors(&self, v4: bool) -> bool {
        if v4 { self.recverr } else { self.v6.flag(ip6::RECVERR) }
    }

    /// IP_MULTICAST_LOOP or IPV6_MULTICAST_LOOP.
    pub fn loops_groups(&self, v4: bool) -> bool {
        if v4 { self.mcast_loop } else { self.v6.flag(ip6::MULTICAST_LOOP) }
    }

    /// What goes between network and transport header: IPv4 options, or extension headers.
    pub fn between(&self, v4: bool) -> &Vec<u8> {
        if v4 { &self.ip_options } else { &self.v6.wire }
    }

    /// Bytes of it in a packet.
    pub fn between_len(&self, v4: bool) -> usize {
        if v4 { self.ip_options.len() } else { ext6::wire_len(&self.v6.wire) }
    }
}

/// A number in a range; an `int` at least.
fn range(v: &[u8], lo: i32, hi: i32) -> Result<i32> {
    int(v).and_then(|n| if (lo..=hi).contains(&n) { Ok(n) } else { Err(Errno::EINVAL) })
}

/// The hops that packets of a socket get whose options do not say: those of the way to its peer, else the stack's own.
pub(super) fn used_hops(s: &Sock, net: &Net, v4: bool) -> u8 {
    let to = s.remote.map(|r| r.ip()).filter(|a| a.is_ipv4() == v4);
    let hop = to.and_then(|a| net.hop(a, s.opt.bound_dev, false).ok());
    net.default_hops(hop.map_or(LO0, |h| h.ifindex), v4)
}

/// -1 for the default.
fn hops(v: &[u8]) -> Result<Option<u8>> {
    range(v, -1, 255).map(|n| u8::try_from(n).ok())
}

/// What Linux makes of a value that may be too short: 0.
fn loose(v: &[u8]) -> i32 {
    int(v).unwrap_or(0)
}

fn preferences(old: u32, v: &[u8]) -> Result<u32> {
    use prefer::*;
    let v = int(v)? as u32;
    let (mut new, mut mask) = (0, !0);
    match v & (PUBLIC | TMP | PUBTMP_DEFAULT) {
        0 => {}
        n @ (PUBLIC | TMP) => (new, mask) = (n, !(PUBLIC | TMP)),
        PUBTMP_DEFAULT => mask = !(PUBLIC | TMP),
        _ => return Err(Errno::EINVAL),
    }
    match v & (HOME | COA) {
        0 => {}
        COA => (new, mask) = (new | COA, mask & !COA),
        HOME => mask &= !COA,
        _ => return Err(Errno::EINVAL),
    }
    if v & (CGA | NONCGA) == CGA | NONCGA {
        return Err(Errno::EINVAL);
    }
    Ok(old & mask | new)
}

fn told_preferences(p: u32) -> u32 {
    use prefer::*;
    let first = match p & (TMP | PUBLIC) {
        0 => PUBTMP_DEFAULT,
        n => n,
    };
    first | if p & COA != 0 { COA } else { HOME }
}

impl Sockets {
    pub(super) fn set_ip6(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        let stream = s.ty == SockType::Stream;
        if FLAGS.contains(&name) {
            set_flag(s, name, v)?;
            rewire(s);
            return Ok(());
        }
        let o = &mut s.opt;
        match name {
            ip6::MULTICAST_HOPS | ip6::MULTICAST_IF if stream => return Err(Errno::ENOPROTOOPT),
            ip6::UNICAST_HOPS => o.v6.hops = hops(v)?,
            ip6::MULTICAST_HOPS => o.v6.mcast_hops = hops(v)?.unwrap_or(1),
            ip6::MTU_DISCOVER => o.v6.mtu_discover = range(v, 0, i32::from(pmtudisc::OMIT))? as u8,
            ip6::MTU => match int(v)? {
                n @ (0 | 1280..) => o.v6.frag_size = n as u32,
                _ => return Err(Errno::EINVAL),
            },
            ip6::MINHOPCOUNT => o.v6.min_hops = range(v, 0, 255)? as u8,
            ip6::V6ONLY if s.lport != 0 || s.ty == SockType::Raw => return Err(Errno::EINVAL),
            ip6::V6ONLY => o.v6only = flag(v)?,
            // The two ECN bits of a stream are the stack's.
            ip6::TCLASS => {
                let n = range(v, -1, 255)?.max(0) as u8;
                o.v6.tclass = if stream { n & !3 } else { n };
            }
            ip6::ADDR_PREFERENCES => o.v6.prefer = preferences(o.v6.prefer, v)?,
            ip6::FREEBIND => o.freebind = flag(v)?,
            ip6::TRANSPARENT => {
                let bit = 1 << super::opt_ip::ip::TRANSPARENT;
                o.ip_flags = if flag(v)? { o.ip_flags | bit } else { o.ip_flags & !bit };
            }
            ip6::HDRINCL if s.ty == SockType::Raw => o.hdrincl = flag(v)?,
            ip6::CHECKSUM if s.ty == SockType::Raw => set_checksum(s, v)?,
            ip6::ADDRFORM => return addr_form(s, v),
            ip6::PKTOPTIONS_OLD if v.len() < 16 => {}
            ip6::PKTOPTIONS_OLD => return Err(Errno::EINVAL),
            // Packets of other hosts are not handed out; sockets of other protocols hear the same from Linux.
            ip6::ROUTER_ALERT => return int(v).and(Err(Errno::ENOPROTOOPT)),
            ip6::JOIN_ANYCAST | ip6::LEAVE_ANYCAST if v.len() < 20 => return Err(Errno::EINVAL),
            ip6::JOIN_ANYCAST | ip6::LEAVE_ANYCAST => return Err(Errno::EOPNOTSUPP),
            ip6::FLOWLABEL_MGR if v.len() < 32 => return Err(Errno::EINVAL),
            ip6::FLOWLABEL_MGR => return Err(Errno::EOPNOTSUPP),
            ip6::IPSEC_POLICY | ip6::XFRM_POLICY if v.is_empty() => return Err(Errno::EMSGSIZE),
            ip6::IPSEC_POLICY => return Err(Errno::EOPNOTSUPP),
            ip6::XFRM_POLICY => return Err(Errno::EINVAL),
            ip6::PKTINFO => return set_pktinfo(s, v),
            ip6::HOPOPTS | ip6::RTHDRDSTOPTS | ip6::RTHDR | ip6::DSTOPTS => return set_header(s, name, v),
            ip6::UNICAST_IF => {
                let i = u32::from_be_bytes(v.try_into().map_err(|_| Errno::EINVAL)?);
                o.v6.unicast_if = interface(net, o.bound_dev, i, Errno::EADDRNOTAVAIL)?;
            }
            ip6::MULTICAST_IF => {
                let i = int(v)? as u32;
                o.v6.mcast_if = interface(net, o.bound_dev, i, Errno::ENODEV)?;
            }
            ip6::JOIN_GROUP | ip6::LEAVE_GROUP | ip6::MCAST_JOIN_GROUP..=ip6::MCAST_MSFILTER => {
                return self.set_membership6(cx, net, id, name, v);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.touch(cx, id);
        Ok(())
    }

    pub(super) fn get_ip6(&mut self, net: &Net, id: SockId, name: i32, out: &mut [u8]) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let o = &s.opt;
        if FLAGS.contains(&name) {
            return Ok(put_int(out, i32::from(o.v6.flag(name))));
        }
        let v = match name {
            ip6::UNICAST_HOPS => i32::from(o.v6.hops.unwrap_or_else(|| used_hops(s, net, false))),
            ip6::MULTICAST_HOPS => i32::from(o.v6.mcast_hops),
            ip6::MULTICAST_IF => o.v6.mcast_if as i32,
            ip6::UNICAST_IF => o.v6.unicast_if.to_be() as i32,
            ip6::MTU_DISCOVER => i32::from(o.v6.mtu_discover),
            ip6::MINHOPCOUNT => i32::from(o.v6.min_hops),
            ip6::V6ONLY => i32::from(o.v6only),
            ip6::TCLASS => i32::from(o.v6.tclass),
            ip6::ADDR_PREFERENCES => told_preferences(o.v6.prefer) as i32,
            ip6::FREEBIND => i32::from(o.freebind),
            ip6::TRANSPARENT => i32::from(o.ip_flag(super::opt_ip::ip::TRANSPARENT)),
            ip6::HDRINCL if s.ty == SockType::Raw => i32::from(o.hdrincl),
            ip6::CHECKSUM if s.ty == SockType::Raw => told_checksum(s),
            ip6::ROUTER_ALERT => 0,
            ip6::ADDRFORM if s.ty == SockType::Raw || s.is_ping() => return Err(Errno::ENOPROTOOPT),
            ip6::ADDRFORM if s.remote.is_none() => return Err(Errno::ENOTCONN),
            ip6::ADDRFORM => 10,
            // Control messages of the SYN: nothing is kept of it.
            ip6::PKTOPTIONS_OLD if s.ty == SockType::Stream => return Ok(0),
            ip6::HOPOPTS | ip6::RTHDRDSTOPTS | ip6::RTHDR | ip6::DSTOPTS => {
                let kept = o.v6.sticky.as_ref().and_then(|e| e.get(slot_of(name)));
                return Ok(put(out, kept.unwrap_or(&[])));
            }
            ip6::FLOWLABEL_MGR if out.len() < 32 => return Err(Errno::EINVAL),
            ip6::FLOWLABEL_MGR => return Err(Errno::ENOENT),
            ip6::MTU => self.path_mtu(net, id)?,
            ip6::PATHMTU => {
                if out.len() < MTUINFO_LEN {
                    return Err(Errno::EINVAL);
                }
                let mtu = self.path_mtu(net, id)? as u32;
                let peer = self.table.get(id)?.remote.ok_or(Errno::ENOTCONN)?;
                return Ok(put(out, &mtu_info(peer, mtu)));
            }
            ip6::MCAST_MSFILTER => return self.get_msfilter6(net, id, out),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(put_int(out, v))
    }
}

/// A `struct ip6_mtuinfo`: the address of a destination, and the MTU of the path to it.
pub fn mtu_info(to: SocketAddr, mtu: u32) -> [u8; MTUINFO_LEN] {
    let mut b = [0; MTUINFO_LEN];
    b[..2].copy_from_slice(&10u16.to_ne_bytes());
    if let IpAddr::V6(a) = to.ip() {
        b[8..24].copy_from_slice(&zone::strip(a).octets());
        b[24..28].copy_from_slice(&zone::of(&a).to_ne_bytes());
    }
    b[28..].copy_from_slice(&mtu.to_ne_bytes());
    b
}

fn interface(net: &Net, bound: u32, i: u32, unknown: Errno) -> Result<u32> {
    if i != 0 && net.ifname(i).is_none() {
        return Err(unknown);
    }
    if i != 0 && bound != 0 && bound != i { Err(Errno::EINVAL) } else { Ok(i) }
}

fn set_flag(s: &mut Sock, name: i32, v: &[u8]) -> Result<()> {
    let on = match name {
        ip6::DONTFRAG | ip6::AUTOFLOWLABEL | ip6::RECVFRAGSIZE => loose(v) != 0,
        ip6::MULTICAST_LOOP | ip6::RECVERR_RFC4884 => range(v, 0, 1)? != 0,
        _ => flag(v)?,
    };
    let f = &mut s.opt.v6.flags;
    *f = if on { *f | 1 << name } else { *f & !(1 << name) };
    if name == ip6::RECVERR && !on {
        s.errors.clear();
    }
    Ok(())
}

/// connect(2) to an address: its flow label is that of all packets, with IPV6_FLOWINFO_SEND.
pub(super) fn set_flow(s: &mut Sock, to: Option<SocketAddr>) {
    let said = match to {
        Some(SocketAddr::V6(a)) if s.opt.v6.flag(ip6::FLOWINFO_SEND) => u32::from_be(a.flowinfo()) & 0xf_ffff,
        _ => 0,
    };
    let flow = Some(said).filter(|f| *f != 0);
    if s.opt.v6.flow != flow {
        s.opt.v6.flow = flow;
        rewire(s);
    }
}

/// What goes with every packet changed.
fn rewire(s: &mut Sock) {
    let o = &mut s.opt.v6;
    o.wire = ext6::wire(o.sticky.as_deref(), None, o.label(), s.proto);
}

/// IPV6_CHECKSUM: an even offset, or -1; of ICMPv6 it is known (RFC 3542 section 3.1).
fn set_checksum(s: &mut Sock, v: &[u8]) -> Result<()> {
    let at = int(v)?;
    if s.proto == proto::ICMP6 || (at > 0 && at & 1 != 0) {
        return Err(Errno::EINVAL);
    }
    s.opt.v6.checksum = u32::try_from(at).ok();
    Ok(())
}

fn told_checksum(s: &Sock) -> i32 {
    match s.proto {
        proto::ICMP6 => 2,
        _ => s.opt.v6.checksum.map_or(-1, |n| n as i32),
    }
}

/// IPV6_ADDRFORM would make an IPv4 socket of this one, if it were connected to a mapped address: here it stays what it is.
fn addr_form(s: &Sock, v: &[u8]) -> Result<()> {
    Err(match int(v)? {
        2 if s.ty == SockType::Raw || s.is_ping() => Errno::ENOPROTOOPT,
        2 if s.remote.is_none() => Errno::ENOTCONN,
        2 => Errno::EADDRNOTAVAIL,
        _ => Errno::EINVAL,
    })
}

fn set_pktinfo(s: &mut Sock, v: &[u8]) -> Result<()> {
    let v = v.first_chunk::<PKTINFO_LEN>().ok_or(Errno::EINVAL)?;
    let (addr, index) = v.split_at(16);
    let addr: [u8; 16] = addr.try_into().map_err(|_| Errno::EINVAL)?;
    let (addr, index) = (Ipv6Addr::from(addr), int(index)? as u32);
    if s.opt.bound_dev != 0 && index != 0 && s.opt.bound_dev != index {
        return Err(Errno::EINVAL);
    }
    s.opt.v6.pktinfo = Some((addr, index)).filter(|p| *p != (Ipv6Addr::UNSPECIFIED, 0));
    Ok(())
}

fn slot_of(name: i32) -> u8 {
    match name {
        ip6::HOPOPTS => ext6::HOP,
        ip6::RTHDRDSTOPTS => ext6::DST_BEFORE,
        ip6::RTHDR => ext6::ROUTING,
        _ => ext6::DST,
    }
}

/// A sticky extension header; an empty value takes it away (RFC 3542 section 4.2).
fn set_header(s: &mut Sock, name: i32, v: &[u8]) -> Result<()> {
    if !v.is_empty() {
        let fits = v.len() >= 8 && v.len().is_multiple_of(8) && v.len() <= HEADER_MAX;
        if !fits || name == ip6::RTHDR {
            return Err(Errno::EINVAL);
        }
        let said = (usize::from(v[1]) + 1) * 8;
        if said > v.len() {
            return Err(Errno::EINVAL);
        }
    }
    let e = s.opt.v6.sticky.get_or_insert_default();
    e.headers.retain(|h| h.0 != slot_of(name));
    if !v.is_empty() {
        let said = (usize::from(v[1]) + 1) * 8;
        e.headers.push((slot_of(name), v[..said].to_vec()));
    }
    rewire(s);
    Ok(())
}

/// ICMP6_FILTER: a `struct icmp6_filter`, as much of it as the program gives.
pub(super) fn set_filter6(s: &mut Sock, v: &[u8]) -> Result<()> {
    let f = &mut s.dgram()?.icmp6_filter;
    for (b, new) in f.iter_mut().zip(v) {
        *b = *new;
    }
    Ok(())
}

/// Whether ICMP6_FILTER keeps a type from a socket. A set bit blocks (linux/icmpv6.h); words are the machine's.
pub(super) fn filtered6(f: &[u8; 32], ty: u8) -> bool {
    let at = usize::from(ty >> 5) * 4;
    let w = u32::from_ne_bytes([f[at], f[at + 1], f[at + 2], f[at + 3]]);
    w >> (ty & 31) & 1 != 0
}

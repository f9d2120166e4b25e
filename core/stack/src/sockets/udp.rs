//! UDP (RFC 768, RFC 8085, RFC 1122 section 4.1): datagrams to ports.
//!
//! Input checks length and checksum (0 means none on IPv4, and is an error on IPv6), then asks the
//! demultiplexer: a unicast goes to the best fit, a multicast or broadcast to every fit (with
//! `reuseport_unicast`, a unicast to SO_REUSEPORT sockets too). ICMP errors reach connected sockets, and with
//! IP_RECVERR unconnected ones. Output always sums.
//!
//! UDP-Lite (RFC 3828) is the same with another protocol number and, in place of the length, how much the checksum covers.
//! What a program sends piece by piece (UDP_CORK, MSG_MORE) or at once for several datagrams (UDP_SEGMENT) is in `cork`.
//!
//! Not done: checksum-less IPv6 tunnels (RFC 6935), jumbograms.

use super::demux::{ConnKey, Packet};
use super::dgram::{Like, max_transport, real_dst, shape, way};
use super::sock::{Body, Sock};
use super::types::{SendOpts, SockId, ev, proto};
use super::{Sockets, ports};
use crate::counters::Why;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{IcmpErr, IpInfo};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Result};
use iopkt_ctl::{IFCAP_UDP4CSUM, IFCAP_UDP6CSUM};
use iopkt_mbuf::Mbuf;
use iopkt_wire::checksum::{Sum, pseudo};

/// Length of the header, bytes.
pub(crate) const HEADER: usize = 8;

/// How a datagram was sent. One more to the same destination goes so too, as long as neither network nor socket changed.
pub(crate) struct Again {
    /// [`Net::version`] and [`Sock::changed`].
    net: u64,
    sock: u64,
    /// What the program named.
    to: Option<SocketAddr>,
    /// Payload that fits the path in one piece.
    most: usize,
    ports: [[u8; 2]; 2],
    sum: Summed,
    priority: u8,
    like: Like,
}

/// Who sums, and the pseudo-header's sum for a length of zero.
enum Summed {
    Not,
    ByDevice(Sum),
    Here(Sum),
}

/// RFC 768: a sum of zero is sent as all ones, zero means "not summed".
fn nonzero(sum: Sum) -> u16 {
    // [RFC8200 8.1b]
    if sum.finish() == 0 { 0xffff } else { sum.finish() }
}

impl Again {
    #[inline]
    fn send(&self, cx: &mut Cx, m: Mbuf) -> Result<()> {
        self.send_with(cx, Vec::new(), m)
    }

    #[inline]
    fn send_with(&self, cx: &mut Cx, options: Vec<u8>, mut m: Mbuf) -> Result<()> {
        let len = (m.len() + HEADER) as u16;
        let h = m.prepend(HEADER).ok_or(Errno::ENOBUFS)?;
        h[..4].copy_from_slice(self.ports.as_flattened());
        h[4..6].copy_from_slice(&len.to_be_bytes());
        h[6..8].fill(0);
        let sum = match self.sum {
            Summed::Not => 0,
            Summed::ByDevice(mut sum) => {
                m.set_csum_partial(0, iopkt_wire::udp::CHECKSUM_OFFSET as u16);
                sum.add_u16(len);
                sum.partial()
            }
            Summed::Here(mut sum) => {
                sum.add_u16(len);
                sum.add(m.as_slice());
                nonzero(sum)
            }
        };
        m.as_mut_slice()[6..8].copy_from_slice(&sum.to_be_bytes());
        m.set_priority(self.priority);
        self.like.down(cx, options, m);
        Ok(())
    }
}

struct Header {
    sport: u16,
    dport: u16,
    len: usize,
    /// Bytes under the checksum.
    covered: usize,
}

/// Reads and checks the header of a datagram.
fn parse(info: &IpInfo, b: &[u8]) -> core::result::Result<Header, Why> {
    let h = b.first_chunk::<HEADER>().ok_or(Why::BadTransportHeader)?;
    if info.proto == proto::UDPLITE {
        return parse_lite(info, b, h);
    }
    let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
    let body = b.get(..len).filter(|_| len >= HEADER).ok_or(Why::BadLength)?;
    let unsummed = h[6] == 0 && h[7] == 0;
    // RFC 8200 section 8.1: over IPv6 the checksum is not optional.
    let good = match (unsummed, info.dst) {
        (true, IpAddr::V4(_)) => true,
        // [RFC8200 8.1a]
        (true, IpAddr::V6(_)) => false,
        (false, _) if info.csum_ok => true,
        (false, _) => {
            let mut sum = pseudo(info.src, info.dst, proto::UDP, len as u32);
            sum.add(body);
            sum.is_valid()
        }
    };
    if !good {
        return Err(Why::BadTransportChecksum);
    }
    Ok(Header {
        sport: u16::from_be_bytes([h[0], h[1]]),
        dport: u16::from_be_bytes([h[2], h[3]]),
        len,
        covered: len,
    })
}

/// The header of a UDP-Lite datagram: the field of the length says what the checksum covers, 0 all of it (RFC 3828
/// section 3.1). There is always a checksum.
fn parse_lite(info: &IpInfo, b: &[u8], h: &[u8; HEADER]) -> core::result::Result<Header, Why> {
    let covered = match usize::from(u16::from_be_bytes([h[4], h[5]])) {
        0 => b.len(),
        n @ HEADER.. if n <= b.len() => n,
        _ => return Err(Why::BadLength),
    };
    let mut sum = pseudo(info.src, info.dst, proto::UDPLITE, b.len() as u32);
    sum.add(&b[..covered]);
    if h[6..8] == [0, 0] || !sum.is_valid() {
        return Err(Why::BadTransportChecksum);
    }
    let port = |at| u16::from_be_bytes([h[at], h[at + 1]]);
    Ok(Header { sport: port(0), dport: port(2), len: b.len(), covered })
}

/// How many bytes of a datagram (header included) a socket takes: SO_ATTACH_FILTER may want fewer of it, or none; a UDP-Lite
/// socket none whose checksum covers too little.
fn admits(s: &Sock, info: &IpInfo, m: &Mbuf, h: &Header) -> Option<usize> {
    let least = usize::from(s.opt.udp.coverage.1);
    if info.proto == proto::UDPLITE && h.covered < h.len && (least == 0 || h.covered < least) {
        return None;
    }
    let Some(f) = &s.opt.filter else { return Some(h.len) };
    let b = m.as_slice().get(usize::from(info.hdr_len)..)?;
    let n = f.run(b, b.len() as u32, &super::dgram::aux(info)) as usize;
    if n == 0 { None } else { Some(n.clamp(HEADER, h.len)) }
}

/// Whether a socket takes a datagram, which is cut to what it wants of it.
fn passes(s: &Sock, info: &IpInfo, m: &mut Mbuf, h: &Header) -> bool {
    if s.opt.filter.is_none() && info.proto == proto::UDP {
        return true;
    }
    let n = admits(s, info, m, h);
    m.truncate(usize::from(info.hdr_len) + n.unwrap_or(h.len));
    n.is_some()
}

impl Sockets {
    /// A received datagram; `Some` when its port is closed.
    pub(super) fn udp_input(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        info: &IpInfo,
        mut m: Mbuf,
    ) -> Option<Mbuf> {
        self.stats.of(&info.src).udp.received += 1;
        let at = usize::from(info.hdr_len);
        let h = match parse(info, m.as_slice().get(at..).unwrap_or(&[])) {
            Ok(h) => h,
            Err(why) => {
                self.stats.of(&info.src).udp.bad(why);
                cx.drop(m, why);
                return None;
            }
        };
        let from = SocketAddr::new(info.src, h.sport);
        let p = Packet {
            proto: info.proto,
            src: from,
            dst: SocketAddr::new(info.dst, h.dport),
            ifindex: info.ifindex,
        };
        // A unicast packet in a link-level broadcast is still one host's.
        let many = info.dst.is_multicast() || (info.multicast && !net.is_local(info.dst, 0));
        if many || cx.cfg.reuseport_unicast {
            return self.udp_fan_out(cx, info, &p, &h, many, m);
        }
        m.truncate(at + h.len);
        let Some(slot) = self.demux.find_in_group(&self.table, &p, &m.as_slice()[at + HEADER..]) else {
            self.stats.of(&info.src).udp.no_socket += 1;
            return Some(m);
        };
        if !self.table.at(slot).is_some_and(|s| passes(s, info, &mut m, &h)) {
            self.stats.of(&info.src).udp.filtered += 1;
            cx.drop(m, Why::SocketFilter);
            return None;
        }
        let ext = self.headers_for(slot, info, &m);
        m.trim_front(at + HEADER);
        let got = self.deliver(cx, slot, from, info, m, ext);
        self.stats.of(&info.src).udp.delivered += u64::from(got);
        if !cx.train.is_empty() && info.proto == proto::UDP {
            self.take_datagrams(cx, net, slot, from, info);
        }
        None
    }

    /// Takes the frames of `cx.train` behind a datagram that this socket has just got, and counts them as if each had come the
    /// whole way: whoever looks at the bytes of each (filters, raw sockets) gets them so.
    fn take_datagrams(&mut self, cx: &mut Cx, net: &mut Net, slot: u32, from: SocketAddr, info: &IpInfo) {
        let each = |s: &Sock| s.opt.filter.is_some() || s.opt.chooser.is_some() || s.opt.v6.needs_headers();
        if !self.demux.raws.is_empty() || self.table.at(slot).is_none_or(each) {
            return;
        }
        let (skip, mut n, mut bytes, mut taken) = (cx.train_skip, 0, 0, 0);
        while let Some(mut m) = cx.train.pop() {
            (n, bytes) = (n + 1, bytes + m.len() as u64);
            m.trim_front(skip);
            taken += u64::from(self.deliver(cx, slot, from, info, m, None));
        }
        let u = &mut self.stats.of(&info.src).udp;
        (u.received, u.delivered) = (u.received + n, u.delivered + taken);
        if let Some(i) = net.iface_io(info.ifindex) {
            i.counters.ipackets += n;
            i.counters.ibytes += bytes;
        }
    }

    /// A datagram for all sockets that fit; a unicast one only for all of a SO_REUSEPORT group.
    fn udp_fan_out(
        &mut self,
        cx: &mut Cx,
        info: &IpInfo,
        p: &Packet,
        h: &Header,
        many: bool,
        mut m: Mbuf,
    ) -> Option<Mbuf> {
        let mut slots = core::mem::take(&mut self.scratch);
        slots.clear();
        if many {
            self.demux.find_all(&self.table, p, &mut slots);
        } else if let Some(best) = self.demux.find(&self.table, p) {
            if self.table.at(best).is_some_and(|s| s.opt.reuseport && s.remote.is_none()) {
                self.demux.find_all(&self.table, p, &mut slots);
                slots.retain(|i| *i == best || self.table.at(*i).is_some_and(|s| s.opt.reuseport));
            } else {
                slots.push(best);
            }
        }
        m.truncate(usize::from(info.hdr_len) + h.len);
        slots.retain(|i| self.table.at(*i).is_some_and(|s| admits(s, info, &m, h) == Some(h.len)));
        let rest = if let Some((last, others)) = slots.split_last() {
            let at = usize::from(info.hdr_len) + HEADER;
            let n = self.deliver_copies(cx, others, p.src, info, &m.as_slice()[at..], Some(&m));
            let ext = self.headers_for(*last, info, &m);
            m.trim_front(at);
            let got = n + u64::from(self.deliver(cx, *last, p.src, info, m, ext));
            self.stats.of(&info.src).udp.delivered += got;
            None
        } else {
            if many {
                self.stats.of(&info.src).udp.no_socket_mcast += 1;
            } else {
                self.stats.of(&info.src).udp.no_socket += 1;
            }
            Some(m)
        };
        self.scratch = slots;
        rest
    }

    /// Sends a datagram; the common checks are done.
    pub(super) fn udp_send(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        mut m: Mbuf,
    ) -> Result<()> {
        let asked = to;
        let s = self.table.io(id)?;
        if let Body::Dgram(d) = &s.body
            && let Some(a) = &d.again
            && (a.net, a.sock, a.to) == (net.version(), s.changed, asked)
            && m.len() <= a.most
            && opts.is_plain()
        {
            a.send(cx, m)?;
            self.stats.of(&a.like.dst).udp.sent += 1;
            return Ok(());
        }
        let to = to.or(s.remote).ok_or(Errno::EDESTADDRREQ)?;
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        let len = m.len() + HEADER;
        if len > max_transport(s.family) {
            return Err(self.no_datagram(cx, net, id, Some(to), opts));
        }
        if s.lport == 0 {
            self.autobind(cx, id)?;
        }
        let s = self.table.get(id)?;
        let dst = real_dst(to.ip());
        let path = way(s, cx, net, dst, opts)?;
        let (like, options) = match shape(s, &path, dst, opts, s.proto, len) {
            Ok(x) => x,
            Err(e) => {
                if e == Errno::EMSGSIZE {
                    self.too_long(cx, id, to, path.mtu);
                }
                return Err(e);
            }
        };
        let lite = s.proto == proto::UDPLITE;
        let ports = [s.lport.to_be_bytes(), to.port().to_be_bytes()];
        let plain = !lite && options.is_empty() && opts.is_plain();
        if !lite {
            let cap = if dst.is_ipv4() { IFCAP_UDP4CSUM } else { IFCAP_UDP6CSUM };
            let by_device = net.iface(path.ifindex).is_some_and(|i| i.enabled_tx & cap != 0);
            let a = Again {
                net: net.version(),
                sock: s.changed,
                to: asked,
                most: (path.mtu as usize).saturating_sub(HEADER + if dst.is_ipv4() { 20 } else { 40 }),
                ports,
                sum: match (s.opt.no_check && dst.is_ipv4(), by_device) {
                    (true, _) => Summed::Not,
                    (_, true) => Summed::ByDevice(pseudo(path.src, dst, proto::UDP, 0)),
                    _ => Summed::Here(pseudo(path.src, dst, proto::UDP, 0)),
                },
                priority: s.opt.txprio,
                like,
            };
            let plain = plain && m.len() <= a.most;
            a.send_with(cx, options, m)?;
            if plain && let Ok(d) = self.table.io(id)?.dgram() {
                d.again = Some(a);
            }
        } else {
            let covered = match usize::from(s.opt.udp.coverage.0) {
                n @ HEADER.. if n < len => n,
                _ => len,
            };
            let h = m.prepend(HEADER).ok_or(Errno::ENOBUFS)?;
            h[..4].copy_from_slice(ports.as_flattened());
            h[4..6].copy_from_slice(&(if covered == len { 0 } else { covered as u16 }).to_be_bytes());
            h[6..8].fill(0);
            let mut sum = pseudo(path.src, dst, proto::UDPLITE, len as u32);
            sum.add(&m.as_slice()[..covered]);
            m.as_mut_slice()[6..8].copy_from_slice(&nonzero(sum).to_be_bytes());
            m.set_priority(s.opt.txprio);
            like.down(cx, options, m);
        }
        self.stats.of(&dst).udp.sent += 1;
        Ok(())
    }

    /// Gives a datagram socket a port of the ephemeral range.
    ///
    /// # Errors
    /// EAGAIN when all are taken.
    pub(super) fn autobind(&mut self, cx: &Cx, id: SockId) -> Result<()> {
        let s = self.table.get(id)?;
        let port = self.ports.for_bind(&cx.secret, &self.demux, &self.table, s, s.local);
        let port = port.ok_or(Errno::EAGAIN)?;
        let s = self.table.get_mut(id)?;
        s.lport = port;
        self.demux.add_bound(s.proto, port, id.index);
        Ok(())
    }

    /// connect(2) of a UDP or ping socket.
    pub(super) fn dgram_connect(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        to: Option<SocketAddr>,
    ) -> Result<()> {
        let Some(to) = to else { return self.dgram_disconnect(id) };
        let s = self.table.get_mut(id)?;
        let (dst, old) = (real_dst(to.ip()), s.local);
        if !s.addr_locked {
            // The address that an earlier connect chose is not a wish of the program's.
            s.local = super::sock::unspecified(s.family);
        }
        let path = way(s, cx, net, dst, &SendOpts::default());
        s.local = old;
        let path = path?;
        self.unconnect(id)?;
        if self.table.get(id)?.lport == 0 && self.table.get(id)?.ty != super::SockType::Raw {
            self.autobind(cx, id)?;
        }
        let s = self.table.get_mut(id)?;
        let to = SocketAddr::new(dst, to.port());
        if s.local.is_unspecified() {
            s.local = path.src;
        }
        s.remote = Some(to);
        if !s.is_ping() && s.ty == super::SockType::Dgram {
            self.demux.add_conn(ConnKey::new(s.proto, s.local, s.lport, to), id.index);
        }
        Ok(())
    }

    /// Takes the connection out of the index and forgets an address that it chose.
    pub(super) fn unconnect(&mut self, id: SockId) -> Result<()> {
        let s = self.table.get_mut(id)?;
        if let Some(r) = s.remote.take() {
            self.demux.del_conn(ConnKey::new(s.proto, s.local, s.lport, r), id.index);
            if !s.addr_locked {
                s.local = super::sock::unspecified(s.family);
            }
        }
        Ok(())
    }

    /// connect(2) with AF_UNSPEC: no peer any more, and a port that nobody asked for goes back.
    fn dgram_disconnect(&mut self, id: SockId) -> Result<()> {
        self.unconnect(id)?;
        let s = self.table.get_mut(id)?;
        s.err = None;
        if !s.port_locked && s.lport != 0 {
            self.demux.del_bound(s.proto, s.lport, id.index);
            s.lport = 0;
        }
        Ok(())
    }

    /// An ICMP error about a datagram of ours: told to the connected socket, or with IP_RECVERR to the bound
    /// one (RFC 1122 section 4.1.3.3). Whether a socket may have sent it.
    pub(super) fn udp_error(&mut self, e: &IcmpErr, quote: &[u8]) -> bool {
        let (lport, rport) =
            (u16::from_be_bytes([e.head[0], e.head[1]]), u16::from_be_bytes([e.head[2], e.head[3]]));
        let remote = SocketAddr::new(e.dst, rport);
        let k = ConnKey::new(e.proto, e.src, lport, remote);
        let conn = self.demux.find_conn(&self.table, k, 0);
        let p = Packet { proto: e.proto, src: remote, dst: SocketAddr::new(e.src, lport), ifindex: 0 };
        let Some(slot) = conn.or_else(|| self.demux.find(&self.table, &p)) else { return false };
        let Some(s) = self.table.at_mut(slot) else { return false };
        let (v4, recverr) = (e.dst.is_ipv4(), s.opt.hears_errors(e.dst.is_ipv4()));
        if s.remote.is_none() && !recverr {
            return true;
        }
        // Linux: a path MTU is an error to who discovers it; soft errors are told only with IP_RECVERR.
        let wanted =
            if e.mtu != 0 { s.opt.discover(v4) != super::sock::pmtudisc::DONT } else { e.hard || recverr };
        if wanted {
            s.put_icmp(e, remote, quote.get(HEADER..).unwrap_or(&[]));
            self.raise(slot, ev::ERROR);
        }
        true
    }

    /// bind(2) for all kinds; see [`Sockets::bind`].
    pub(super) fn bind_port(&mut self, cx: &Cx, id: SockId, local: IpAddr, port: u16) -> Result<()> {
        let s = self.table.get(id)?;
        let port = match port {
            0 if s.opt.bind_no_port && s.proto == proto::TCP => 0,
            0 => self
                .ports
                .for_bind(&cx.secret, &self.demux, &self.table, s, local)
                .ok_or(Errno::EADDRINUSE)?,
            p if ports::conflicts(&self.demux, &self.table, s, local, p) => return Err(Errno::EADDRINUSE),
            p => p,
        };
        let s = self.table.get_mut(id)?;
        s.local = local;
        s.lport = port;
        if port != 0 {
            self.demux.add_bound(s.proto, port, id.index);
            self.inherit_chooser(id);
        }
        Ok(())
    }
}

//! What UDP, raw and ping sockets share: a bounded queue of datagrams in, a path out.

use super::ext6::{self, Ext6};
use super::names::outward;
use super::opt_ip6::ip6;
use super::sock::{Sock, pmtudisc};
use super::types::{Datagram, SendOpts, SockId, SockType, ev, proto};
use super::{Sockets, cork, mcast};
use crate::counters::Why;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{Family, IpInfo, IpOut, Path};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use iopkt_base::{Errno, Result, zone};
use iopkt_mbuf::Mbuf;

/// Charged per datagram beside the buffer that holds it (Linux charges its `truesize`).
const OVERHEAD: usize = 256;
/// Datagrams that may wait as they came; more of them are copied into buffers of their size when that is small.
const AS_THEY_CAME: usize = 32;

/// What a queued datagram is charged: its buffer is taken from all.
pub(super) fn cost(m: &Mbuf) -> usize {
    m.meta().cap as usize + OVERHEAD
}

/// What packets have in common that travel down together ([`IpOut::rest`]), addresses included.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Like {
    src: IpAddr,
    pub dst: IpAddr,
    proto: u8,
    ttl: u8,
    tos: u8,
    df: bool,
    oif: u32,
    dontroute: bool,
    mcast_loop: bool,
}

impl Like {
    fn of(o: &IpOut) -> Like {
        Like {
            src: o.src,
            dst: o.dst,
            proto: o.proto,
            ttl: o.ttl,
            tos: o.tos,
            df: o.df,
            oif: o.oif,
            dontroute: o.dontroute,
            mcast_loop: o.mcast_loop,
        }
    }

    /// Puts a finished transport packet on its way: behind the last one that waits to go down, if it is a datagram like that. Ports
    /// count too: an IPv6 flow label follows from them.
    #[inline]
    pub(super) fn down(&self, cx: &mut Cx, options: Vec<u8>, m: Mbuf) {
        if let Some(last) = cx.down.back_mut()
            && self.proto == proto::UDP
            && Like::of(last) == *self
            && !last.hdrincl
            && last.options.is_empty()
            && options.is_empty()
            && last.m.as_slice().first_chunk::<4>() == m.as_slice().first_chunk()
        {
            return last.rest.push(m);
        }
        let Like { src, dst, proto, ttl, tos, df, oif, dontroute, mcast_loop } = *self;
        let (hdrincl, rest) = (false, Default::default());
        let o =
            IpOut { src, dst, proto, ttl, tos, df, oif, dontroute, hdrincl, options, mcast_loop, m, rest };
        cx.down.push_back(o);
    }
}

/// State of a datagram socket.
#[derive(Default)]
pub(crate) struct Dgram {
    pub rx: VecDeque<Datagram>,
    /// Bytes charged for `rx`.
    pub rx_bytes: usize,
    /// Payload bytes in `rx`.
    pub rx_payload: usize,
    /// Turn in which `tx_bytes` were queued: what was sent before it is gone.
    pub tx_turn: u64,
    pub tx_bytes: usize,
    /// How the UDP datagram before was sent: the next one usually goes so too.
    pub again: Option<super::udp::Again>,
    pub groups: Vec<mcast::Member>,
    /// What is held back until the datagram is complete.
    pub corked: Option<cork::Corked>,
    /// Datagrams dropped for want of room (SO_RXQ_OVFL).
    pub drops: u32,
    /// ICMP_FILTER: set bits are types that a raw ICMP socket does not want.
    pub icmp_filter: u32,
    /// ICMP6_FILTER, likewise.
    pub icmp6_filter: [u8; 32],
}

impl Sockets {
    /// What a socket wants to know of the extension headers of a packet, whose buffer begins with the network header.
    pub(super) fn headers_for(&self, slot: u32, info: &IpInfo, m: &Mbuf) -> Option<Box<Ext6>> {
        let wants = info.dst.is_ipv6() && self.table.at(slot)?.opt.v6.needs_headers();
        if wants { ext6::received(info, m) } else { None }
    }

    /// Queues a datagram for a socket, with what [`Sockets::headers_for`] found; ends it (false) when there is no room or nobody reads.
    pub(super) fn deliver(
        &mut self,
        cx: &mut Cx,
        slot: u32,
        from: SocketAddr,
        info: &IpInfo,
        m: Mbuf,
        ext: Option<Box<Ext6>>,
    ) -> bool {
        let most = self.pressure.datagram_max();
        let Some(s) = self.table.io_at(slot) else {
            cx.drop(m, Why::NoSocket);
            return false;
        };
        let (room, shut, raw) = (s.opt.rcvbuf as usize, s.shut_rd, s.ty == SockType::Raw);
        let Ok(d) = s.dgram() else {
            cx.drop(m, Why::NoSocket);
            return false;
        };
        // Like Linux, one datagram is taken as long as the buffer is not full yet.
        if shut || d.rx_bytes >= room || d.rx.len() > most {
            d.drops = d.drops.wrapping_add(u32::from(!shut));
            let of = self.stats.of(&info.src);
            if raw {
                of.raw.full += 1
            } else {
                of.udp.full += 1
            }
            cx.drop(m, Why::SocketFull);
            return false;
        }
        let m = if d.rx.len() >= AS_THEY_CAME { shrunk(cx, m) } else { m };
        d.rx_bytes += cost(&m);
        d.rx_payload += m.len();
        d.rx.push_back(Datagram {
            from,
            to: info.dst,
            ifindex: info.ifindex,
            ttl: info.ttl,
            tos: info.tos,
            drops: d.drops,
            at: cx.now,
            ext,
            mtu: 0,
            m,
        });
        self.raise(slot, ev::READ);
        true
    }

    /// Gives copies of these bytes, which are of the packet `whole`, to these sockets; returns how many took theirs.
    pub(super) fn deliver_copies(
        &mut self,
        cx: &mut Cx,
        slots: &[u32],
        from: SocketAddr,
        info: &IpInfo,
        bytes: &[u8],
        whole: Option<&Mbuf>,
    ) -> u64 {
        let mut n = 0;
        for &slot in slots {
            match cx.mbufs.copy_of(bytes) {
                Some(c) => {
                    let ext = whole.and_then(|m| self.headers_for(slot, info, m));
                    n += u64::from(self.deliver(cx, slot, from, info, c, ext));
                }
                None => cx.counters.dropped(Why::NoMemory),
            }
        }
        n
    }

    /// Takes the oldest datagram.
    pub fn recv_from(&mut self, cx: &mut Cx, id: SockId) -> Option<Datagram> {
        let _ = cx;
        let s = self.table.io(id).ok()?;
        let d = s.dgram().ok()?;
        let mut g = d.rx.pop_front()?;
        d.rx_bytes -= cost(&g.m);
        d.rx_payload -= g.m.len();
        if s.family == Family::V6 {
            g.from = outward(Family::V6, g.from);
            g.to = outward(Family::V6, SocketAddr::new(g.to, 0)).ip();
        }
        Some(g)
    }

    /// Sends a datagram whose payload is `m` (with headroom for headers); `to` is needed when not connected.
    /// On an error the datagram is gone, as it is with sendto(2).
    ///
    /// # Errors
    /// The pending error of the socket; EDESTADDRREQ, EMSGSIZE, EACCES (broadcast without SO_BROADCAST),
    /// EINVAL (port 0), EPIPE after shutdown, ENOBUFS when the socket has sent [`Sockets::write_space`] in
    /// this turn, EAGAIN without a free port, and those of [`Net::path`].
    pub fn send_to(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        m: Mbuf,
    ) -> Result<()> {
        let turn = self.turn;
        let s = self.table.io(id)?;
        if s.shut_wr {
            return Err(Errno::EPIPE);
        }
        if let Some(e) = s.err.take() {
            return Err(e);
        }
        let flow = match to {
            Some(SocketAddr::V6(a)) if s.opt.v6.flag(ip6::FLOWINFO_SEND) => a.flowinfo(),
            _ => 0,
        };
        let to = to.map(|t| s.inward(t, opts.oif)).transpose()?;
        let changed;
        let opts = if opts.src.is_none() && flow == 0 {
            opts
        } else {
            let mut o = s.send_opts(opts)?;
            if flow != 0 {
                o.ext.get_or_insert_default().flow = Some(u32::from_be(flow));
            }
            changed = o;
            &changed
        };
        let (max, len) = (s.opt.sndbuf as usize, cost(&m));
        let d = s.dgram()?;
        if d.tx_turn != turn {
            (d.tx_turn, d.tx_bytes) = (turn, 0);
        }
        if d.tx_bytes > 0 && d.tx_bytes + len > max {
            self.throttled.push(id);
            return Err(Errno::ENOBUFS);
        }
        d.tx_bytes += len;
        if d.tx_bytes >= max {
            // Told of room next turn, also when it looks before it sends.
            self.throttled.push(id);
        }
        let (kind, ping) = (s.proto, s.is_ping());
        match kind {
            _ if s.ty == super::SockType::Raw => self.raw_send(cx, net, id, to, opts, m),
            _ if ping => self.ping_send(cx, net, id, to, opts, m),
            _ => self.udp_gather(cx, net, id, to, opts, m),
        }
    }

    /// Bytes that a datagram socket may still send in this turn.
    pub(super) fn dgram_space(&self, s: &Sock, d: &Dgram) -> usize {
        let used = if d.tx_turn == self.turn { d.tx_bytes } else { 0 };
        (s.opt.sndbuf as usize).saturating_sub(used)
    }
}

/// The same bytes in a buffer of their size, if that is much smaller and there is one.
fn shrunk(cx: &mut Cx, m: Mbuf) -> Mbuf {
    let pool = cx.mbufs.pool();
    let small = m.len() + pool.config().headroom;
    if small * 2 > m.meta().cap as usize {
        return m;
    }
    match pool.alloc_big(m.len()) {
        Some(mut b) => {
            b.extend_from_slice(m.as_slice());
            cx.mbufs.free(m);
            b
        }
        None => m,
    }
}

/// Linux takes the unspecified address as a destination for the loopback one.
pub(crate) fn real_dst(a: IpAddr) -> IpAddr {
    match a {
        IpAddr::V4(a) if a.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(a) if a.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        a => a,
    }
}

/// Finds the way for a datagram and checks that the socket may go it.
///
/// # Errors
/// Those of [`Net::path`]; EACCES for a broadcast without SO_BROADCAST.
pub(crate) fn way(s: &Sock, cx: &mut Cx, net: &Net, dst: IpAddr, opts: &SendOpts) -> Result<Path> {
    let group = dst.is_multicast();
    let bound = Some(s.local).filter(|a| !a.is_unspecified() && !a.is_multicast());
    let o = &s.opt;
    let v4 = dst.is_ipv4();
    let by_group = o.mcast_addr.filter(|_| group && v4);
    let sticky = o.v6.pktinfo.filter(|_| !v4);
    let asked = opts.src.filter(|a| !a.is_unspecified());
    let sticky_src =
        sticky.map(|p| zone::embed_ip(p.0.into(), p.1)).filter(|a| !a.is_unspecified() && opts.src.is_none());
    if let Some(a) = asked.filter(|a| !v4 && !net.is_local(*a, 0) && !o.binds_anywhere()) {
        // Linux's errno for a control message that lies; zones included.
        return Err(if a.is_multicast() || opts.oif == 0 || net.ifname(opts.oif).is_some() {
            Errno::EINVAL
        } else {
            Errno::ENODEV
        });
    }
    let src = asked.or(sticky_src).or(bound).or(by_group);
    let oif = match (opts.oif, o.bound_dev) {
        (0, 0) => match (sticky, group, v4) {
            (Some((_, i)), ..) if i != 0 => i,
            (_, true, true) => o.mcast_if,
            (_, true, false) => o.v6.mcast_if,
            (_, false, true) => o.unicast_if,
            (_, false, false) => o.v6.unicast_if,
        },
        (0, dev) => dev,
        (oif, _) => oif,
    };
    let mut p = net.path(dst, src, oif).inspect_err(|e| {
        if *e == Errno::ENETUNREACH {
            net.tell_miss(cx, dst);
        }
    })?;
    if p.broadcast && !s.opt.broadcast {
        return Err(Errno::EACCES);
    }
    if opts.dontroute || s.opt.dontroute {
        // Said here, where the sender hears it: only hosts on the link.
        net.hop(dst, oif, true)?;
    }
    if let Some(src) = src {
        p.src = src;
    }
    Ok(p)
}

/// How a transport packet of `len` bytes goes down: what it has in common with others, options and headers in between.
///
/// # Errors
/// EMSGSIZE when it may not be fragmented and is larger than the path MTU.
pub(crate) fn shape(
    s: &Sock,
    p: &Path,
    dst: IpAddr,
    opts: &SendOpts,
    proto: u8,
    len: usize,
) -> Result<(Like, Vec<u8>)> {
    let v4 = dst.is_ipv4();
    let o = &s.opt;
    let options = match (&opts.ext, v4) {
        (Some(e), false) => ext6::wire(o.v6.sticky.as_deref(), Some(e), o.v6.label(), proto),
        // Of a raw socket the protocol is its own, of another what is sent.
        _ => o.between(v4).clone(),
    };
    let between = if v4 { options.len() } else { ext6::wire_len(&options) };
    let ip_len = len + between + if v4 { 20 } else { 40 };
    let fits = ip_len <= p.mtu as usize;
    let dontfrag = !v4 && (opts.dontfrag || o.v6.flag(ip6::DONTFRAG));
    let df = match o.discover(v4) {
        _ if dontfrag && !fits => return Err(Errno::EMSGSIZE),
        pmtudisc::DO | pmtudisc::PROBE if !fits => return Err(Errno::EMSGSIZE),
        pmtudisc::DO | pmtudisc::PROBE => true,
        pmtudisc::WANT => fits,
        _ => false,
    };
    let group = dst.is_multicast();
    let forced = opts.oif != 0 || s.opt.bound_dev != 0 || group;
    let like = Like {
        src: p.src,
        dst,
        proto,
        ttl: opts.ttl.unwrap_or_else(|| s.ttl_for(dst, p.hops)),
        tos: opts.tos.unwrap_or(o.class(v4)),
        df,
        oif: if forced { p.ifindex } else { 0 },
        dontroute: opts.dontroute || s.opt.dontroute,
        mcast_loop: group && o.loops_groups(v4),
    };
    Ok((like, options))
}

/// Puts a finished transport packet on its way.
///
/// # Errors
/// As [`shape`].
pub(crate) fn send(
    s: &Sock,
    cx: &mut Cx,
    p: &Path,
    dst: IpAddr,
    opts: &SendOpts,
    proto: u8,
    mut m: Mbuf,
) -> Result<()> {
    let (like, options) = shape(s, p, dst, opts, proto, m.len())?;
    m.set_priority(s.opt.txprio);
    like.down(cx, options, m);
    Ok(())
}

/// What a socket filter may ask of a packet.
pub(crate) fn aux(info: &IpInfo) -> iopkt_bpf::Aux {
    let protocol = if info.dst.is_ipv4() { 0x0800 } else { 0x86dd };
    iopkt_bpf::Aux { protocol, ifindex: info.ifindex, ..iopkt_bpf::Aux::default() }
}

/// Largest payload of an IP packet.
pub(crate) fn max_transport(f: Family) -> usize {
    match f {
        Family::V4 => 65_535 - 20,
        Family::V6 => 65_535,
    }
}

/// Whether a protocol number is ICMP's in either family.
pub(crate) fn is_icmp(p: u8) -> bool {
    p == proto::ICMP || p == proto::ICMP6
}

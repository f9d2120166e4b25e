//! TCP segments and errors on their way in (RFC 9293 section 3.10.7, RFC 5927 for ICMP).

use super::Sockets;
use super::demux::{ConnKey, Packet};
use super::pressure::Pressure;
use super::sock::Body;
use super::types::proto;
use crate::counters::Why;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{IcmpErr, IpInfo, IpOut};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::Duration;
use iopkt_mbuf::Mbuf;
use iopkt_tcp::{Csum, SegOut, Segment, Seq, State, what};
use iopkt_wire::checksum::pseudo;
use iopkt_wire::tcp::Flags;

/// A parsed segment with the ends it names.
pub(crate) struct Arrived {
    pub seg: Segment,
    /// Here.
    pub local: SocketAddr,
    /// There.
    pub remote: SocketAddr,
    /// Payload bytes.
    pub len: usize,
}

impl Sockets {
    /// A received segment.
    pub(super) fn tcp_input(&mut self, cx: &mut Cx, net: &mut Net, info: &IpInfo, mut m: Mbuf) {
        self.stats.of(&info.src).tcp.received += 1;
        // [RFC9293 MUST-57] [RFC9293 MUST-63]
        // RFC 9293 section 3.10.7 (MUST-57): no connection is with a group.
        if info.dst.is_multicast()
            || info.src.is_multicast()
            || (info.multicast && !net.is_local(info.dst, 0))
        {
            return cx.drop(m, Why::BadAddress);
        }
        m.trim_front(usize::from(info.hdr_len));
        if !info.csum_ok {
            let mut sum = pseudo(info.src, info.dst, proto::TCP, m.len() as u32);
            // [RFC9293 MUST-3]
            sum.add(m.as_slice());
            if !sum.is_valid() {
                self.stats.of(&info.src).tcp.bad_checksum += 1;
                return cx.drop(m, Why::BadTransportChecksum);
            }
        }
        let Ok((mut seg, sport, dport)) = Segment::from_mbuf(&mut m) else {
            self.stats.of(&info.src).tcp.short += 1;
            return cx.drop(m, Why::BadTransportHeader);
        };
        seg.ecn = info.tos & 3;
        let a = Arrived {
            seg,
            local: SocketAddr::new(info.dst, dport),
            remote: SocketAddr::new(info.src, sport),
            len: m.len(),
        };
        let p = Packet { proto: proto::TCP, src: a.remote, dst: a.local, ifindex: info.ifindex };
        // [RFC9293 MUST-42]
        match self.demux.find(&self.table, &p) {
            None => self.no_connection(cx, net, &a, m),
            Some(slot) if self.table.at(slot).is_some_and(|s| s.is_listening()) => {
                self.listener_input(cx, net, slot, &a, m, None);
            }
            Some(slot) => self.conn_input(cx, net, slot, &a, m),
        }
    }

    fn conn_input(&mut self, cx: &mut Cx, net: &mut Net, slot: u32, a: &Arrived, mut m: Mbuf) {
        if self.accept_full(slot) {
            // The handshake may not end while the program does not accept; the peer will ask again.
            self.stats.of(&a.remote.ip()).tcp.listen_overflow += 1;
            return cx.drop(m, Why::ListenOverflow);
        }
        let most = self.pressure.stream_max();
        let Some(s) = self.table.at_mut(slot) else { return cx.drop(m, Why::NoSocket) };
        let Body::Conn(c) = &mut s.body else { return cx.drop(m, Why::NoSocket) };
        let mut seg = a.seg;
        let ahead = seg.seq != c.tcb.rcv_nxt();
        if !m.is_empty() && (c.tcb.readable() > most || (ahead && self.pressure >= Pressure::High)) {
            // The header still counts, the data will come again.
            self.stats.of(&a.remote.ip()).tcp.pressed += 1;
            m.truncate(0);
            seg.flags = seg.flags.without(Flags::FIN | Flags::PSH);
        }
        let ifindex = m.ifindex();
        let mut out = c.tcb.input(cx.now, &seg, m);
        if !cx.train.is_empty() {
            self.take_train(cx, net, slot, ifindex, seg.seq + a.len as u32, &mut out);
        }
        if out.what & what::REUSE != 0 {
            return self.reuse(cx, net, slot, a, out.spare);
        }
        self.apply(cx, net, slot, out);
    }

    /// A SYN may follow a connection in TIME-WAIT (RFC 6191): the old one goes, the listener gets the SYN.
    fn reuse(&mut self, cx: &mut Cx, net: &mut Net, slot: u32, a: &Arrived, spare: Option<Mbuf>) {
        let Some(s) = self.table.at(slot) else { return };
        let Body::Conn(c) = &s.body else { return };
        // Linux leaves 65535 and a bit between the old numbers and the new.
        // [RFC6191 2c]
        let above = c.tcb.snd_max() + 65_537;
        if c.orphan {
            self.discard(cx, net, slot);
        } else {
            self.unlink(slot);
        }
        let Some(m) = spare else { return };
        let p = Packet { proto: proto::TCP, src: a.remote, dst: a.local, ifindex: m.ifindex() };
        match self.demux.find(&self.table, &p) {
            Some(l) if self.table.at(l).is_some_and(|s| s.is_listening()) => {
                self.listener_input(cx, net, l, a, m, Some(above));
            }
            _ => self.no_connection(cx, net, a, m),
        }
    }

    /// CLOSED: everything but a reset is answered with one (RFC 9293 section 3.10.7.1).
    pub(super) fn no_connection(&mut self, cx: &mut Cx, net: &Net, a: &Arrived, m: Mbuf) {
        let hops = net.default_hops(m.ifindex(), a.local.is_ipv4());
        cx.drop(m, Why::NoSocket);
        self.stats.of(&a.remote.ip()).tcp.no_socket += 1;
        // At the pace at which they are answered: a scan must not fill the log.
        let first = a.seg.flags.has(Flags::SYN) && !a.seg.flags.has(Flags::ACK);
        if self.reset(cx, a, hops) && first && self.tune.log_refused {
            cx.log(5, alloc::format!("Connection attempt to TCP {} from {}", a.local, a.remote));
        }
    }

    /// Sends the reset that answers a segment; whether there was one to send.
    fn reset(&mut self, cx: &mut Cx, a: &Arrived, hops: u8) -> bool {
        let Some(seg) =
            iopkt_tcp::listen::reset(&a.seg, a.len).filter(|_| self.rst_allowed(cx, &a.remote.ip()))
        else {
            return false;
        };
        self.stats.of(&a.remote.ip()).tcp.resets_sent += 1;
        self.bare(cx, a, &seg, hops);
        true
    }

    /// Sends a segment that belongs to no connection, in answer to `a`.
    pub(super) fn bare(&mut self, cx: &mut Cx, a: &Arrived, seg: &SegOut<'_>, ttl: u8) {
        let Some(mut m) = cx.mbufs.alloc() else { return };
        let (src, dst) = (a.local.ip(), a.remote.ip());
        let sum = pseudo(src, dst, proto::TCP, seg.len() as u32);
        if !seg.write(a.local.port(), a.remote.port(), &mut m, sum, Csum::Full) {
            return cx.drop(m, Why::NoMemory);
        }
        self.stats.of(&src).tcp.sent += 1;
        cx.down.push_back(IpOut {
            src,
            dst,
            proto: proto::TCP,
            ttl,
            tos: 0,
            df: true,
            oif: 0,
            dontroute: false,
            hdrincl: false,
            options: Vec::new(),
            mcast_loop: false,
            m,
            rest: Default::default(),
        });
    }

    fn rst_allowed(&mut self, cx: &Cx, to: &IpAddr) -> bool {
        let (since, n) = &mut self.rst_rate;
        if cx.now.since(*since) >= Duration::from_secs(1) {
            (*since, *n) = (cx.now, 0);
        }
        *n += 1;
        let most = self.policy.rst_pps;
        if *n > most {
            self.stats.of(to).tcp.resets_limited += 1;
        }
        *n <= most
    }

    /// An ICMP error about a segment of ours.
    pub(super) fn tcp_error(&mut self, cx: &mut Cx, net: &mut Net, e: &IcmpErr) {
        let h = &e.head;
        let (lport, rport) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        let seq = Seq(u32::from_be_bytes([h[4], h[5], h[6], h[7]]));
        let k = ConnKey::new(proto::TCP, e.src, lport, SocketAddr::new(e.dst, rport));
        let Some(slot) = self.demux.find_conn(&self.table, k, 0) else { return };
        let Some(s) = self.table.at_mut(slot) else { return };
        let recverr = s.opt.hears_errors(e.src.is_ipv4());
        let fixed = if e.src.is_ipv4() { 40 } else { 60 };
        let Body::Conn(c) = &mut s.body else { return };
        self.stats.of(&e.src).tcp.icmp_stray += u64::from(!c.tcb.is_in_flight(seq));
        let out = if e.mtu != 0 {
            let mss = e.mtu.saturating_sub(fixed).min(65_535) as u16;
            if c.tcb.is_in_flight(seq) {
                net.pmtu.lower(cx.now, e.dst, e.mtu);
            }
            // [RFC8201 5.4a]
            c.tcb.set_path_mss(mss, Some(seq))
        } else {
            // [RFC9293 MUST-47] [RFC9293 SHLD-20] [RFC9293 SHLD-25]
            if recverr && c.tcb.is_synchronized() {
                s.err = Some(e.errno);
            }
            // RFC 5461 section 4: who tries to connect is told at once of soft errors too, as Linux does; waiting
            // would only keep the program from its next address.
            let opening = match c.tcb.state() {
                State::SynSent => true,
                // Linux ends those too that no program has accepted; RFC 9293 MUST-56 does not want that of soft errors.
                State::SynReceived => self.policy.unreach_ends && c.parent.is_some(),
                _ => false,
            };
            c.tcb.icmp(seq, e.errno, e.hard || opening)
        };
        self.apply(cx, net, slot, out);
    }
}

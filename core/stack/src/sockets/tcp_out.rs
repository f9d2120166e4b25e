//! Segments on their way out: what the machines of the dirty list have to say, once per turn.

use super::Sockets;
use super::sock::{Body, Sock, pmtudisc};
use super::types::proto;
use crate::counters::Why;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{IpOut, Path};
use core::net::{IpAddr, SocketAddr};
use iopkt_base::Duration;
use iopkt_ctl::{IFCAP_TCP4CSUM, IFCAP_TCP6CSUM, IFCAP_TSO4, IFCAP_TSO6};
use iopkt_mbuf::{Chain, Mbuf, flags, gso};
use iopkt_tcp::{Config, Csum, SegOut};
use iopkt_wire::checksum::pseudo;
use iopkt_wire::tcp::Flags;

/// Segments that one connection may send in one turn before the others have theirs.
const SEGMENTS_PER_TURN: usize = 64;
/// Bytes that it may send in one turn, when segments are large.
const BYTES_PER_TURN: usize = 512 << 10;
/// Payload of a super-segment at most: an IP packet with the largest headers, options apart.
const SUPER_MAX: u32 = 65_535 - 40 - 60;
/// Pieces of a super-segment at most.
const PIECES: u32 = 32;
/// Packets on their way down at which the rest waits for the next turn.
const DOWN_MAX: usize = 1024;
/// Frames waiting for a device at which connections wait too; the queue itself takes more.
const QUEUE_MAX: usize = 512;
/// A device that has room says so, and that makes a turn; this is how long we rely on it.
const HOLD: Duration = Duration::from_millis(2);

impl Sockets {
    /// Puts a connection on the dirty list.
    pub(super) fn dirty(&mut self, slot: u32) {
        if let Some(Sock { body: Body::Conn(c), .. }) = self.table.at_mut(slot)
            && !core::mem::replace(&mut c.dirty, true)
        {
            self.dirties.push(slot);
        }
    }

    /// Asks everything on the dirty list for segments.
    ///
    /// Who would send to a device that has a long queue already is held back (what waits there is late, and what
    /// does not fit is lost), and asked again when a turn finds the queue shorter.
    pub(super) fn tcp_output(&mut self, cx: &mut Cx, net: &Net) {
        let mut list = core::mem::take(&mut self.dirties);
        list.append(&mut self.held);
        // Packets that follow others on their way down.
        let mut behind = 0;
        for slot in list.drain(..) {
            if let Some(Sock { body: Body::Conn(c), .. }) = self.table.at(slot) {
                if cx.down.len() + behind >= DOWN_MAX {
                    self.dirties.push(slot);
                    continue;
                }
                if net.iface(c.ifindex).is_some_and(|i| i.tx.len() >= QUEUE_MAX) {
                    self.held.push(slot);
                    self.held_until = cx.now + HOLD;
                    continue;
                }
            }
            let offload = match self.table.at_mut(slot) {
                Some(Sock { body: Body::Conn(c), remote, opt, .. }) => {
                    c.dirty = false;
                    let v4 = remote.is_some_and(|r| r.is_ipv4());
                    let (sum, tso) =
                        if v4 { (IFCAP_TCP4CSUM, IFCAP_TSO4) } else { (IFCAP_TCP6CSUM, IFCAP_TSO6) };
                    let i = net.iface(c.ifindex);
                    c.hops = i.map_or(c.hops, |i| i.default_hops(v4));
                    let i = i.filter(|_| !c.local);
                    // Nobody cuts behind extension headers but the stack itself.
                    let tso = if v4 || opt.v6.wire.is_empty() { tso } else { 0 };
                    c.tcb.set_tso_max(match i {
                        Some(i) if i.enabled_tx & tso != 0 => SUPER_MAX - opt.between_len(v4) as u32,
                        // Cut here, piece by piece into packets: all above is done once for them.
                        Some(_) => PIECES * c.tcb.mss(),
                        None => 0,
                    });
                    i.map_or((false, false), |i| (i.enabled_tx & sum != 0, i.enabled_tx & tso != 0))
                }
                _ => continue,
            };
            let (more, followers) = self.flush(cx, slot, offload.0, offload.1);
            behind += followers;
            if more {
                self.dirty(slot);
            }
        }
        // Whoever is dirty again waits for the next turn; the list that was drained keeps its memory.
        list.append(&mut self.dirties);
        self.dirties = list;
    }

    /// Sends what one connection has to send; true when it has more.
    pub(super) fn flush_one(&mut self, cx: &mut Cx, slot: u32) -> bool {
        self.flush(cx, slot, false, false).0
    }

    /// The same; with `offload` the device completes checksums (the shard does it where that turns out wrong), with `tso` it cuts.
    /// The second number counts packets that follow others.
    fn flush(&mut self, cx: &mut Cx, slot: u32, offload: bool, tso: bool) -> (bool, usize) {
        let Some(s) = self.table.at_mut(slot) else { return (false, 0) };
        let (src, lport, opt) = (s.local, s.lport, &s.opt);
        let (Some(remote), Body::Conn(c)) = (s.remote, &mut s.body) else { return (false, 0) };
        let dst = remote.ip();
        let kind = if dst.is_ipv4() { gso::TCP4 } else { gso::TCP6 };
        // The two ECN bits of a stream are the machine's (RFC 3168), whatever IP_TOS said.
        // [RFC9293 MUST-49] [RFC9293 MUST-48] [RFC9293 SHLD-21] [RFC9293 SHLD-22]
        let v4 = dst.is_ipv4();
        let (ttl, tos) = (opt.hop_limit(v4).unwrap_or(c.hops), opt.class(v4) & !3);
        // [RFC1191 3]
        let df = !matches!(opt.discover(v4), pmtudisc::DONT | pmtudisc::OMIT);
        let (oif, dontroute, txprio) = (opt.bound_dev, opt.dontroute, opt.txprio);
        let (mut sent, mut bytes, mut starved, c_local) = (0, 0, false, c.local);
        let mut followers = 0;
        let now = cx.now;
        // Once for many segments: the neighbour cache looks at it when it would otherwise wonder.
        let heard = if v4 { 0 } else { c.tcb.stats().bytes_acked + c.tcb.stats().bytes_in };
        let mut progress = heard != c.heard;
        c.tcb.output(now, &mut |seg: &SegOut<'_>| {
            if sent >= SEGMENTS_PER_TURN || bytes >= BYTES_PER_TURN {
                return false;
            }
            let csum = if c_local || offload || seg.gso_size != 0 { Csum::Partial } else { Csum::Full };
            let packets = if seg.gso_size == 0 || tso {
                packet(cx, seg, (src, lport), remote, csum).map(|m| (m, Chain::new()))
            } else {
                train(cx, seg, (src, lport), remote, txprio)
            };
            let Some((mut m, rest)) = packets else {
                starved = true;
                return false;
            };
            sent += 1 + rest.len();
            followers += rest.len();
            bytes += seg.len();
            if seg.gso_size != 0 && tso {
                let ecn = if seg.flags.has(Flags::CWR) { gso::ECN } else { 0 };
                m.set_gso(kind | ecn, seg.gso_size);
            }
            m.set_priority(txprio);
            if core::mem::take(&mut progress) {
                m.set_flags(flags::PROGRESS);
            }
            cx.down.push_back(IpOut {
                src,
                dst,
                proto: proto::TCP,
                ttl,
                tos: if seg.ect { tos | 2 } else { tos },
                df,
                oif,
                dontroute,
                hdrincl: false,
                // [RFC9293 MUST-51]
                options: opt.between(v4).clone(),
                mcast_loop: false,
                m,
                rest,
            });
            true
        });
        if sent > 0 {
            c.heard = heard;
        }
        self.stats.of(&dst).tcp.sent += sent as u64;
        let more = c.tcb.wants_output() && !starved;
        let next = c.tcb.deadline();
        self.tell_written(slot);
        self.timers.at_latest(slot, next);
        if starved {
            // Memory comes back when others are done; asking all the time would not bring it sooner.
            self.timers.at_latest(slot, now + Duration::from_millis(1));
        }
        (more, followers)
    }

    /// Settings of a new connection, from the socket's options and the path.
    pub(super) fn tcp_config(
        &self,
        cx: &Cx,
        s: &Sock,
        path: &Path,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Config {
        let t = &s.opt.tcp;
        let v4 = local.is_ipv4();
        // [RFC8200 8.3]
        let fixed = (if v4 { 40 } else { 60 }) + s.opt.between_len(v4) as u32;
        let mss = path.mtu.saturating_sub(fixed).clamp(48, 65_495) as u16;
        let user = t.maxseg.filter(|m| *m != 0).unwrap_or(u16::MAX);
        let secs = |n: u32| Duration::from_secs(u64::from(n));
        let rcvbuf = match t.window_clamp {
            0 => s.opt.rcvbuf,
            clamp => s.opt.rcvbuf.min(clamp),
        };
        Config {
            sndbuf: s.opt.sndbuf + super::tcp::slack(self.policy.sndbuf_overhead),
            rcvbuf,
            rcvbuf_max: super::sock::BUF_MAX.max(rcvbuf),
            sndbuf_auto: self.tune.snd_auto(s.opt.sndbuf),
            rcvbuf_auto: self.tune.rcv_auto(rcvbuf),
            // [RFC9293 MUST-67] [RFC9293 SHLD-6]
            mss_in: mss.min(user),
            mss_path: mss.min(user),
            init_cwnd: self.tune.init_win(path),
            cc: t.cc,
            max_pacing: s.opt.max_pacing,
            nodelay: t.nodelay,
            cork: t.cork,
            min_tso: self.policy.min_tso,
            missing_ts: self.policy.missing_ts,
            ack_delay: Duration::from_millis(self.policy.ack_delay.into()),
            bare_probes: self.policy.bare_probes,
            reduce_cwnd: self.policy.reduce_cwnd,
            delack: t.delack(),
            sack: t.sack,
            window_scaling: t.scaling,
            timestamps: t.timestamps,
            keepalive: s.opt.keepalive,
            keep_idle: secs(t.keep_idle),
            keep_interval: secs(t.keep_intvl),
            keep_count: t.keep_cnt,
            user_timeout: Duration::from_millis(u64::from(t.user_timeout)),
            syn_retries: t.syn_cnt,
            fin_wait2: secs(t.linger2),
            ecn: self.tune.ecn,
            ecn_asks: self.tune.ecn_asks,
            msl: secs(self.policy.msl),
            retries: self.policy.retries2,
            invalid_pause: Duration::from_millis(self.policy.invalid_ms.into()),
            mtu_probing: self.policy.mtu_probing,
            base_mss: self.policy.base_mss,
            ts_offset: iopkt_tcp::isn::ts_offset(&cx.secret, local, remote),
            ..Config::default()
        }
    }
}

/// A packet for a segment; `None` without memory.
fn packet(cx: &mut Cx, seg: &SegOut<'_>, from: (IpAddr, u16), to: SocketAddr, csum: Csum) -> Option<Mbuf> {
    let len = seg.len();
    let mut m = cx.mbufs.alloc_len(len)?;
    let sum = pseudo(from.0, to.ip(), proto::TCP, len as u32);
    if !seg.write(from.1, to.port(), &mut m, sum, csum) {
        cx.drop(m, Why::NoMemory);
        return None;
    }
    Some(m)
}

/// Packets for the pieces of a super-segment: the first, and those that follow it. `None` without memory for all of
/// them.
fn train(
    cx: &mut Cx,
    seg: &SegOut<'_>,
    from: (IpAddr, u16),
    to: SocketAddr,
    priority: u8,
) -> Option<(Mbuf, Chain)> {
    let mut pieces = seg.pieces(from.1, to.port(), pseudo(from.0, to.ip(), proto::TCP, 0));
    let mut next = |cx: &mut Cx| {
        let len = pieces.next_len()?;
        let m = cx.mbufs.alloc_len(len);
        Some(m.and_then(|mut m| {
            m.set_priority(priority);
            pieces.write(&mut m).then_some(m)
        }))
    };
    let first = next(cx)??;
    let mut rest = Chain::new();
    while let Some(m) = next(cx) {
        rest.push(m?);
    }
    Some((first, rest))
}

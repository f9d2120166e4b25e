//! What new sockets begin with: NetBSD's `net.inet.tcp` and `net.inet.udp` variables that have a counterpart here.
//!
//! A change acts on sockets made later; accepted connections take after their listener. The defaults are those of the
//! stack (socket(7), tcp(7)), not NetBSD's; the units are NetBSD's: times of keepalives in half seconds, ticks in hundredths
//! of a second.

use super::Sockets;
use super::sock::{BUF_MAX, BUF_MIN, Opts};
use super::types::SockType;
use crate::packet::Path;
use iopkt_tcp::{CcKind, Ecn};

/// The variables. Sizes are in bytes.
pub(crate) const NAMES: [&str; 27] = [
    "net.inet.tcp.sendspace",
    "net.inet.tcp.recvspace",
    "net.inet.tcp.sack.enable",
    "net.inet.tcp.rfc1323",
    "net.inet.tcp.timestamps",
    "net.inet.tcp.window_scaling",
    "net.inet.tcp.syn_retries",
    "net.inet.tcp.newreno",
    "net.inet.tcp.keepidle",
    "net.inet.tcp.keepintvl",
    "net.inet.tcp.keepcnt",
    "net.inet.tcp.delack_ticks",
    "net.inet.tcp.init_win",
    "net.inet.tcp.init_win_local",
    "net.inet.tcp.log_refused",
    "net.inet.tcp.sendbuf_auto",
    "net.inet.tcp.sendbuf_max",
    "net.inet.tcp.recvbuf_auto",
    "net.inet.tcp.recvbuf_max",
    "net.inet.tcp.ecn.enable",
    "net.inet.tcp.ecn.maxretries",
    "net.inet.tcp.notsent_lowat",
    "net.inet.udp.checksum",
    "net.inet.udp.sendspace",
    "net.inet.udp.recvspace",
    "net.inet6.ip6.defmcasthlim",
    "net.inet6.ip6.v6only",
];

/// Longest keepalive time: Linux's `MAX_TCP_KEEPIDLE`, seconds.
const KEEP_MAX: u32 = 32_767;
/// Values of `ecn.enable`: Linux's `tcp_ecn` (NetBSD's 0 and 1 mean the same).
const ECN: [Ecn; 3] = [Ecn::Off, Ecn::Request, Ecn::Accept];
/// To what buffers grow: Linux's `tcp_wmem` and `tcp_rmem`, bytes.
const SND_MAX: u32 = 4 << 20;
const RCV_MAX: u32 = 6 << 20;
/// Milliseconds in a tick.
const TICK: u16 = 10;

/// Options of new sockets.
pub(crate) struct Tune {
    tcp: Opts,
    udp: Opts,
    /// Initial windows in segments (RFC 6928): beyond a router, and on the same network.
    init_win: [u8; 2],
    /// Connections to closed ports are logged.
    pub log_refused: bool,
    /// Explicit congestion notification, and how many SYNs ask for it.
    pub ecn: Ecn,
    pub ecn_asks: u8,
    /// Buffers grow by themselves, and to what: send, receive.
    auto: [(bool, u32); 2],
    /// TCP_NOTSENT_LOWAT of those that have none of their own, bytes; 0 for none.
    pub notsent_lowat: u32,
}

impl Default for Tune {
    fn default() -> Self {
        Tune {
            tcp: Opts::default(),
            udp: Opts::default(),
            init_win: [10, 10],
            log_refused: false,
            ecn: Ecn::Accept,
            ecn_asks: 1,
            auto: [(true, SND_MAX), (true, RCV_MAX)],
            notsent_lowat: 0,
        }
    }
}

impl Tune {
    /// TCP_NOTSENT_LOWAT of a socket.
    pub fn lowat(&self, o: &Opts) -> u32 {
        if o.tcp.notsent_lowat == 0 { self.notsent_lowat } else { o.tcp.notsent_lowat }
    }

    pub fn opts(&self, ty: SockType) -> &Opts {
        match ty {
            SockType::Stream => &self.tcp,
            SockType::Dgram | SockType::Raw => &self.udp,
        }
    }

    /// The initial window of a connection, segments.
    pub fn init_win(&self, path: &Path) -> u8 {
        self.init_win[usize::from(path.local || path.on_link)]
    }

    /// To what the send buffer of a connection grows by itself, bytes; 0 when its size is another than the default: a wish.
    pub fn snd_auto(&self, size: u32) -> u32 {
        let (on, max) = self.auto[0];
        if on && size == self.tcp.sndbuf { max } else { 0 }
    }

    /// The same for the receive buffer.
    pub fn rcv_auto(&self, size: u32) -> u32 {
        let (on, max) = self.auto[1];
        if on && size == self.tcp.rcvbuf { max } else { 0 }
    }

    /// The congestion controller of new sockets.
    pub fn cc(&mut self) -> &mut CcKind {
        &mut self.tcp.tcp.cc
    }

    fn get(&self, name: &str) -> Option<u32> {
        let t = &self.tcp.tcp;
        Some(match name {
            "net.inet.tcp.sendspace" => self.tcp.sndbuf,
            "net.inet.tcp.recvspace" => self.tcp.rcvbuf,
            "net.inet.tcp.sack.enable" => t.sack.into(),
            "net.inet.tcp.rfc1323" => (t.timestamps && t.scaling).into(),
            "net.inet.tcp.timestamps" => t.timestamps.into(),
            "net.inet.tcp.window_scaling" => t.scaling.into(),
            "net.inet.tcp.syn_retries" => t.syn_cnt.into(),
            "net.inet.tcp.newreno" => (t.cc == CcKind::NewReno).into(),
            "net.inet.tcp.keepidle" => t.keep_idle * 2,
            "net.inet.tcp.keepintvl" => t.keep_intvl * 2,
            "net.inet.tcp.keepcnt" => t.keep_cnt.into(),
            "net.inet.tcp.delack_ticks" => (t.delack_ms / TICK).into(),
            "net.inet.tcp.init_win" => self.init_win[0].into(),
            "net.inet.tcp.init_win_local" => self.init_win[1].into(),
            "net.inet.tcp.log_refused" => self.log_refused.into(),
            "net.inet.tcp.sendbuf_auto" => self.auto[0].0.into(),
            "net.inet.tcp.sendbuf_max" => self.auto[0].1,
            "net.inet.tcp.recvbuf_auto" => self.auto[1].0.into(),
            "net.inet.tcp.recvbuf_max" => self.auto[1].1,
            "net.inet.tcp.ecn.enable" => ECN.iter().position(|e| *e == self.ecn).unwrap_or(0) as u32,
            "net.inet.tcp.notsent_lowat" => self.notsent_lowat,
            "net.inet.tcp.ecn.maxretries" => self.ecn_asks.into(),
            "net.inet.udp.checksum" => (!self.udp.no_check).into(),
            "net.inet.udp.sendspace" => self.udp.sndbuf,
            "net.inet.udp.recvspace" => self.udp.rcvbuf,
            "net.inet6.ip6.defmcasthlim" => self.udp.v6.mcast_hops.into(),
            "net.inet6.ip6.v6only" => self.tcp.v6only.into(),
            _ => return None,
        })
    }

    /// Sets a variable; false when the value is out of range.
    fn set(&mut self, name: &str, v: u32) -> bool {
        let size = (BUF_MIN..=BUF_MAX).contains(&v).then_some(v);
        let flag = (v <= 1).then_some(v == 1);
        // Half seconds to whole ones, upwards.
        let secs = Some(v.div_ceil(2)).filter(|s| (1..=KEEP_MAX).contains(s));
        let segments = u8::try_from(v).ok().filter(|n| (1..=64).contains(n));
        let t = &mut self.tcp.tcp;
        match name {
            "net.inet.tcp.sendspace" => put(&mut self.tcp.sndbuf, size),
            "net.inet.tcp.recvspace" => put(&mut self.tcp.rcvbuf, size),
            "net.inet.tcp.sack.enable" => put(&mut t.sack, flag),
            "net.inet.tcp.rfc1323" => put(&mut t.timestamps, flag) && put(&mut t.scaling, flag),
            "net.inet.tcp.timestamps" => put(&mut t.timestamps, flag),
            "net.inet.tcp.window_scaling" => put(&mut t.scaling, flag),
            "net.inet.tcp.syn_retries" => {
                put(&mut t.syn_cnt, u8::try_from(v).ok().filter(|n| (1..=127).contains(n)))
            }
            // NetBSD: 1 chooses NewReno; here 0 is CUBIC.
            "net.inet.tcp.newreno" => {
                put(&mut t.cc, flag.map(|on| if on { CcKind::NewReno } else { CcKind::Cubic }))
            }
            "net.inet.tcp.keepidle" => put(&mut t.keep_idle, secs),
            "net.inet.tcp.keepintvl" => put(&mut t.keep_intvl, secs),
            "net.inet.tcp.keepcnt" => {
                put(&mut t.keep_cnt, u8::try_from(v).ok().filter(|n| (1..=127).contains(n)))
            }
            // RFC 9293: less than half a second.
            "net.inet.tcp.delack_ticks" => put(&mut t.delack_ms, (v < 50).then(|| v as u16 * TICK)),
            "net.inet.tcp.init_win" => put(&mut self.init_win[0], segments),
            "net.inet.tcp.init_win_local" => put(&mut self.init_win[1], segments),
            "net.inet.tcp.log_refused" => put(&mut self.log_refused, flag),
            "net.inet.tcp.sendbuf_auto" => put(&mut self.auto[0].0, flag),
            "net.inet.tcp.sendbuf_max" => put(&mut self.auto[0].1, size),
            "net.inet.tcp.recvbuf_auto" => put(&mut self.auto[1].0, flag),
            "net.inet.tcp.recvbuf_max" => put(&mut self.auto[1].1, size),
            "net.inet.tcp.ecn.enable" => put(&mut self.ecn, ECN.get(v as usize).copied()),
            "net.inet.tcp.ecn.maxretries" => {
                put(&mut self.ecn_asks, u8::try_from(v).ok().filter(|n| (1..=127).contains(n)))
            }
            "net.inet.tcp.notsent_lowat" => put(&mut self.notsent_lowat, Some(v)),
            "net.inet.udp.checksum" => put(&mut self.udp.no_check, flag.map(|on| !on)),
            "net.inet.udp.sendspace" => put(&mut self.udp.sndbuf, size),
            "net.inet.udp.recvspace" => put(&mut self.udp.rcvbuf, size),
            "net.inet6.ip6.defmcasthlim" => {
                put(&mut self.udp.v6.mcast_hops, u8::try_from(v).ok().filter(|n| *n > 0))
            }
            "net.inet6.ip6.v6only" => match flag {
                Some(on) => {
                    (self.tcp.v6only, self.udp.v6only) = (on, on);
                    true
                }
                None => false,
            },
            _ => false,
        }
    }
}

fn put<T>(place: &mut T, v: Option<T>) -> bool {
    v.map(|v| *place = v).is_some()
}

impl Sockets {
    /// The congestion controller of new sockets, to read or to change.
    pub fn default_cc(&mut self) -> &mut CcKind {
        self.tune.cc()
    }

    /// The names of all variables of sockets.
    pub fn tunables() -> impl Iterator<Item = &'static &'static str> {
        NAMES.iter().chain(&super::policy::NAMES)
    }

    /// The value of a variable of sockets.
    pub fn tunable(&self, name: &str) -> Option<u32> {
        self.tune.get(name).or_else(|| self.policy(name))
    }

    /// Changes a variable of sockets; false (and no change) when there is none of this name or the value is out of its range.
    pub fn set_tunable(&mut self, name: &str, v: u32) -> bool {
        self.tune.set(name, v) || self.set_policy(name, v)
    }
}

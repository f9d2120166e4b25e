//! Options at IPPROTO_TCP (tcp(7)).
//!
//! TCP_CORK overrides TCP_NODELAY: a partial segment waits until it is turned off, or for a retransmission time-out. TCP_LINGER2, TCP_SYNCNT and
//! TCP_MAXSEG act on the connection that there is, too. What is only told or refused is in `opt_tcp_rest`.

use super::Sockets;
use super::fastopen::{self, FastOpts};
use super::options::{flag, int, put, put_int};
use super::sock::{Body, Opts, Sock};
use super::types::SockId;
use crate::cx::Cx;
use crate::net::Net;
use iopkt_base::{Duration, Errno, Result};
use iopkt_tcp::CcKind;

/// Names (linux/tcp.h).
#[allow(missing_docs)]
pub(crate) mod tcp {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const SYNCNT: i32 = 7;
    pub const LINGER2: i32 = 8;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const WINDOW_CLAMP: i32 = 10;
    pub const INFO: i32 = 11;
    pub const QUICKACK: i32 = 12;
    pub const CONGESTION: i32 = 13;
    pub const USER_TIMEOUT: i32 = 18;
}

/// Least TCP_WINDOW_CLAMP: half of the least receive buffer.
const CLAMP_MIN: i32 = 1152;
/// Seconds of TCP_LINGER2: the usual value, and most.
const LINGER2: u32 = 60;
const LINGER2_MAX: u32 = 120;

/// TCP_DEFER_ACCEPT, seconds: Linux waits for whole retransmissions of its SYN-ACK (after 1, 2, 4 ... seconds, 120 at
/// most, 255 times), and tells what they come to.
fn defer(secs: i32) -> u32 {
    let (mut period, mut step) = (1, 1);
    for _ in 0..254 {
        if secs <= period {
            break;
        }
        step = (step * 2).min(120);
        period += step;
    }
    if secs <= 0 { 0 } else { period as u32 }
}

/// Settings of a stream.
#[derive(Clone, Debug)]
pub(crate) struct TcpOpts {
    pub nodelay: bool,
    pub cork: bool,
    pub quickack: bool,
    pub cc: CcKind,
    pub maxseg: Option<u16>,
    /// Seconds.
    pub keep_idle: u32,
    pub keep_intvl: u32,
    pub keep_cnt: u8,
    pub syn_cnt: u8,
    /// Milliseconds, 0 for none.
    pub user_timeout: u32,
    /// Seconds, 0 for off.
    pub defer_accept: u32,
    /// Seconds an orphan may stay in FIN-WAIT-2.
    pub linger2: u32,
    /// Bytes, 0 for none.
    pub window_clamp: u32,
    /// Longest delay of an ACK, milliseconds.
    pub delack_ms: u16,
    /// TCP_QUICKACK was turned off.
    pub delays: bool,
    /// TCP_THIN_LINEAR_TIMEOUTS.
    pub thin_linear: bool,
    /// TCP_NOTSENT_LOWAT, bytes; 0 for none.
    pub notsent_lowat: u32,
    /// TCP_INQ.
    pub inq: bool,
    /// Offer selective acknowledgements; window scaling and timestamps (RFC 7323, once 1323).
    pub sack: bool,
    pub timestamps: bool,
    pub scaling: bool,
    /// Fast Open (RFC 7413).
    pub fast: FastOpts,
}

impl Default for TcpOpts {
    /// Linux's defaults (tcp(7)).
    fn default() -> TcpOpts {
        TcpOpts {
            nodelay: false,
            cork: false,
            quickack: false,
            cc: CcKind::Cubic,
            maxseg: None,
            keep_idle: 7200,
            keep_intvl: 75,
            keep_cnt: 9,
            syn_cnt: 6,
            user_timeout: 0,
            defer_accept: 0,
            linger2: 60,
            window_clamp: 0,
            delack_ms: 40,
            delays: false,
            thin_linear: false,
            notsent_lowat: 0,
            inq: false,
            sack: true,
            timestamps: true,
            scaling: true,
            fast: FastOpts::default(),
        }
    }
}

impl TcpOpts {
    /// Longest delay of an ACK.
    pub fn delack(&self) -> Duration {
        if self.quickack { Duration::ZERO } else { Duration::from_millis(self.delack_ms.into()) }
    }
}

fn within(v: i32, lo: i32, hi: i32) -> Result<u32> {
    if (lo..=hi).contains(&v) { Ok(v as u32) } else { Err(Errno::EINVAL) }
}

impl Sockets {
    pub(super) fn set_tcp(&mut self, cx: &mut Cx, id: SockId, name: i32, v: &[u8]) -> Result<()> {
        if let fastopen::tcp::FASTOPEN
        | fastopen::tcp::FASTOPEN_CONNECT
        | fastopen::tcp::FASTOPEN_KEY
        | fastopen::tcp::FASTOPEN_NO_COOKIE = name
        {
            return self.set_fast(cx, id, name, v);
        }
        let messages = self.messages;
        let s = self.table.get_mut(id)?;
        let fresh = matches!(s.body, Body::Idle | Body::Listen(_));
        let t = &mut s.opt.tcp;
        match name {
            tcp::NODELAY => {
                t.nodelay = flag(v)?;
                // tcp(7): setting it flushes what waits, TCP_CORK or not.
                if let (true, Body::Conn(c)) = (t.nodelay, &mut s.body) {
                    c.tcb.push();
                }
            }
            tcp::CORK => t.cork = flag(v)?,
            tcp::QUICKACK => (t.quickack, t.delays) = (flag(v)?, !flag(v)?),
            // Linux takes 88 to 32767, and 0 for "as it comes".
            tcp::MAXSEG => match int(v)? {
                0 => t.maxseg = None,
                n => t.maxseg = Some(within(n, 88, 32_767)? as u16),
            },
            tcp::KEEPIDLE => t.keep_idle = within(int(v)?, 1, 32_767)?,
            tcp::KEEPINTVL => t.keep_intvl = within(int(v)?, 1, 32_767)?,
            tcp::KEEPCNT => t.keep_cnt = within(int(v)?, 1, 127)? as u8,
            tcp::SYNCNT => t.syn_cnt = within(int(v)?, 1, 127)? as u8,
            tcp::LINGER2 => {
                t.linger2 = match int(v)? {
                    ..0 => 0,
                    0 => LINGER2,
                    n => (n as u32).min(LINGER2_MAX),
                }
            }
            tcp::DEFER_ACCEPT => t.defer_accept = defer(int(v)?),
            tcp::WINDOW_CLAMP => match int(v)? {
                0 if !fresh => return Err(Errno::EINVAL),
                0 => t.window_clamp = 0,
                n => t.window_clamp = n.max(CLAMP_MIN) as u32,
            },
            tcp::USER_TIMEOUT => t.user_timeout = within(int(v)?, 0, i32::MAX)?,
            tcp::CONGESTION => {
                let name = v.split(|b| *b == 0).next().unwrap_or(&[]);
                if v.is_empty() {
                    return Err(Errno::EINVAL);
                }
                t.cc = CcKind::by_name(name).ok_or(Errno::ENOENT)?;
                let kind = t.cc;
                if let Body::Conn(c) = &mut s.body {
                    c.tcb.set_congestion(kind);
                }
            }
            _ => super::opt_tcp_rest::set(s, name, v, messages)?,
        }
        self.touch(cx, id);
        Ok(())
    }

    pub(super) fn get_tcp(
        &mut self,
        cx: &Cx,
        net: &Net,
        id: SockId,
        name: i32,
        out: &mut [u8],
    ) -> Result<usize> {
        let _ = net;
        let s = self.table.get(id)?;
        let t = &s.opt.tcp;
        let v = match name {
            tcp::NODELAY => i32::from(t.nodelay),
            tcp::CORK => i32::from(t.cork),
            tcp::QUICKACK => i32::from(!t.delays),
            tcp::MAXSEG => match &s.body {
                Body::Conn(c) => c.tcb.info(cx.now).snd_mss as i32,
                _ => i32::from(t.maxseg.unwrap_or(536)),
            },
            tcp::KEEPIDLE => t.keep_idle as i32,
            tcp::KEEPINTVL => t.keep_intvl as i32,
            tcp::KEEPCNT => i32::from(t.keep_cnt),
            tcp::SYNCNT => i32::from(t.syn_cnt),
            tcp::LINGER2 if t.linger2 == 0 => -1,
            tcp::LINGER2 => t.linger2 as i32,
            tcp::DEFER_ACCEPT => t.defer_accept as i32,
            tcp::WINDOW_CLAMP => t.window_clamp as i32,
            tcp::USER_TIMEOUT => t.user_timeout as i32,
            tcp::CONGESTION => {
                // TCP_CA_NAME_MAX bytes.
                let mut b = [0; 16];
                put(&mut b, t.cc.name().as_bytes());
                return Ok(put(out, &b));
            }
            tcp::INFO => return Ok(put(out, &super::tcp_info::info(s, cx.now))),
            _ => {
                return match super::opt_tcp_rest::get(s, cx.now, name, out) {
                    Err(Errno::ENOPROTOOPT) => self.get_fast(id, name, out),
                    r => r,
                };
            }
        };
        Ok(put_int(out, v))
    }

    /// Tells a connection's machine of changed options.
    pub(super) fn touch(&mut self, cx: &mut Cx, id: SockId) {
        let Ok(Sock { opt, body: Body::Conn(c), .. }) = self.table.get_mut(id) else { return };
        apply(opt, c, cx);
        self.dirty(id.index);
        self.rearm(id.index);
    }
}

/// Sets what may change in the life of a connection.
fn apply(o: &Opts, c: &mut super::tcp::Conn, cx: &Cx) {
    let t = &o.tcp;
    let secs = |n: u32| Duration::from_secs(u64::from(n));
    c.tcb.set_nodelay(t.nodelay);
    c.tcb.set_cork(t.cork);
    c.tcb.set_delack(t.delack());
    c.tcb.set_keepalive(cx.now, o.keepalive, secs(t.keep_idle), secs(t.keep_intvl), t.keep_cnt);
    c.tcb.set_max_segment(t.maxseg);
    c.tcb.set_syn_retries(t.syn_cnt);
    c.tcb.set_fin_wait2(secs(t.linger2));
    c.tcb.set_user_timeout(Duration::from_millis(u64::from(t.user_timeout)));
    c.tcb.set_max_pacing(o.max_pacing);
    c.set_buffers(o.sndbuf, if t.window_clamp == 0 { o.rcvbuf } else { o.rcvbuf.min(t.window_clamp) });
}

//! TCP_INFO in Linux's layout (`struct tcp_info`, linux/tcp.h).

use super::sock::{Body, Sock};
use iopkt_base::{Duration, Instant};
use iopkt_tcp::{Info, State};

/// Length of the structure as of Linux 6.18: the last fields are those of accurate ECN, which is not here (0).
pub(crate) const LEN: usize = 280;

/// Linux's numbers of the states.
fn number(s: State) -> u8 {
    match s {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

struct Out([u8; LEN]);

impl Out {
    fn u32(&mut self, at: usize, v: u32) {
        self.0[at..at + 4].copy_from_slice(&v.to_ne_bytes());
    }
    fn u64(&mut self, at: usize, v: u64) {
        self.0[at..at + 8].copy_from_slice(&v.to_ne_bytes());
    }
}

fn us(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

fn ms(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

/// The structure for a stream.
pub(crate) fn info(s: &Sock, now: Instant) -> [u8; LEN] {
    let mut o = Out([0; LEN]);
    match &s.body {
        Body::Conn(c) => fill(&mut o, &c.tcb.info(now)),
        Body::Listen(l) => {
            o.0[0] = 10;
            // Linux tells a listener's queue where others have what is in flight.
            o.u32(24, l.ready.len() as u32);
            o.u32(28, l.backlog as u32);
        }
        _ => o.0[0] = 7,
    }
    o.0
}

fn fill(o: &mut Out, i: &Info) {
    let mss = i.snd_mss.max(1);
    let segs = |bytes: u32| bytes.div_ceil(mss);
    o.0[0] = number(i.state);
    o.0[1] = i.ca_state;
    o.0[2] = i.retransmits;
    o.0[4] = i.backoff;
    // TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE, TCPI_OPT_ECN, TCPI_OPT_ECN_SEEN.
    let scaled = i.scale.0 != 0 || i.scale.1 != 0;
    o.0[5] = u8::from(i.timestamps) | u8::from(i.sack) << 1 | u8::from(scaled) << 2;
    o.0[5] |= u8::from(i.ecn.0) << 3 | u8::from(i.ecn.1) << 4;
    // TCPI_OPT_SYN_DATA.
    o.0[5] |= u8::from(i.fast_open.0) << 5;
    // Two bits above tcpi_delivery_rate_app_limited.
    o.0[7] |= (i.fast_open.1 as u8) << 1;
    o.0[6] = i.scale.0 | i.scale.1 << 4;
    o.u32(8, us(i.rto));
    o.u32(12, 40_000);
    o.u32(16, i.snd_mss);
    o.u32(20, i.rcv_mss);
    o.u32(24, segs(i.queued.0));
    o.u32(28, segs(i.sacked_lost.0));
    o.u32(32, segs(i.sacked_lost.1));
    o.u32(36, segs(i.repeated));
    o.u32(44, ms(i.idle.0));
    o.u32(52, ms(i.data_idle));
    o.u32(56, ms(i.idle.1));
    o.u32(60, i.snd_mss + 40 + if i.timestamps { 12 } else { 0 });
    o.u32(64, i.rcv_wnd);
    o.u32(68, us(i.rtt.0));
    o.u32(72, us(i.rtt.1));
    o.u32(76, if i.ssthresh == u32::MAX { 0x7fff_ffff } else { i.ssthresh / mss });
    o.u32(80, (i.cwnd / mss).max(1));
    o.u32(84, i.snd_mss);
    o.u32(88, i.reordering);
    o.u32(96, i.rcv_wnd);
    o.u32(100, i.stats.retransmits);
    let (pacing, max, delivery, app_limited) = i.rate;
    o.u64(104, pacing);
    o.u64(112, max);
    o.0[7] |= u8::from(app_limited);
    o.u64(160, delivery);
    for (at, t) in [(168, i.limits.0), (176, i.limits.1), (184, i.limits.2)] {
        o.u64(at, t.as_micros() as u64);
    }
    // The SYN counts as one.
    let opened = u32::from(i.state >= State::Established);
    o.u32(192, i.delivered.div_ceil(mss) + opened);
    o.u32(196, i.stats.ece_in);
    o.u64(120, i.stats.bytes_acked);
    o.u64(128, i.stats.bytes_in);
    o.u32(136, u32::try_from(i.stats.segs_out).unwrap_or(u32::MAX));
    o.u32(140, u32::try_from(i.stats.segs_in).unwrap_or(u32::MAX));
    o.u32(144, i.queued.1);
    o.u32(148, us(i.rtt.2));
    o.u64(200, i.stats.bytes_acked + u64::from(i.queued.0));
    o.u32(220, i.reorder_seen);
    o.u32(224, i.stats.ooo);
    o.u32(228, i.snd_wnd);
    o.u32(232, i.rcv_wnd);
}

impl super::Sockets {
    /// What a connection waits for and how long still, and how often it has sent or asked in vain (`ss -o`).
    pub fn timer(&self, id: super::SockId, now: Instant) -> Option<(iopkt_tcp::Waits, Duration, u8)> {
        match &self.table.get(id).ok()?.body {
            Body::Conn(c) => {
                let i = c.tcb.info(now);
                i.timer.map(|(what, left)| (what, left, i.retransmits))
            }
            _ => None,
        }
    }
}

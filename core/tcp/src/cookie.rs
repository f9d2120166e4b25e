//! SYN cookies (RFC 4987 section 3.6): a SYN-ACK whose sequence number holds all that must be remembered, so that a
//! flood of SYNs costs no memory.
//!
//! The 32 bits: 3 bits of a table of MSS values, 5 bits of a counter of 64 s, 24 bits of a keyed hash over the ends,
//! the peer's sequence number, the counter and those 3 bits. With the timestamps option, its TSval carries what
//! else was agreed (window scale, SACK) in its low 6 bits, as Linux does. A guess succeeds with 2^-23 while a
//! cookie lives (two counter steps).

use crate::config::{Config, MAX_WSCALE, MSS_DEFAULT};
use crate::ecn::Ecn;
use crate::isn::flow_bytes;
use crate::outcome::Outcome;
use crate::output::bare;
use crate::segment::{SegOut, Segment};
use crate::seq::Seq;
use crate::tcb::{State, Tcb, scale_for};
use core::net::SocketAddr;
use iopkt_base::{Instant, Keyed};
use iopkt_wire::tcp::{Flags, Options, Timestamps};

/// MSS values a cookie can express; the largest that does not exceed the peer's is taken.
const MSS_TABLE: [u16; 8] = [216, 536, 1220, 1300, 1400, 1440, 1460, 8960];
/// Low bits of TSval: 4 of the peer's window scale (15: none), 1 SACK permitted, 1 ECN asked for.
const TS_BITS: u32 = 6;

fn counter(now: Instant) -> u32 {
    (now.as_secs() / 64) as u32 & 31
}

fn mac(key: &Keyed, flow: &[u8; 36], irs: Seq, count: u32, mss: u32) -> u32 {
    let meta = (count << 3 | mss).to_be_bytes();
    key.hash(&[b"syncookie", flow, &irs.0.to_be_bytes(), &meta]) as u32 & 0x00ff_ffff
}

/// The SYN-ACK for `syn`, with nothing kept. `cfg` is what the listener's connections get.
pub fn syn_ack(
    key: &Keyed,
    now: Instant,
    cfg: &Config,
    local: SocketAddr,
    remote: SocketAddr,
    syn: &Segment,
) -> SegOut<'static> {
    // [RFC4987 3.6a]
    let flow = flow_bytes(local, remote);
    let peer = syn.options.mss.unwrap_or(MSS_DEFAULT);
    let mss = MSS_TABLE.iter().rposition(|m| *m <= peer).unwrap_or(0) as u32;
    let count = counter(now);
    let seq = Seq(mss << 29 | count << 24 | mac(key, &flow, syn.seq, count, mss));
    let ts = syn.options.timestamps.filter(|_| cfg.timestamps);
    let scale = syn.options.window_scale.filter(|_| cfg.window_scaling && ts.is_some());
    let sack = syn.options.sack_permitted && cfg.sack && ts.is_some();
    let ecn = ts.is_some() && cfg.ecn != Ecn::Off && syn.flags.has(Flags::ECE | Flags::CWR) && syn.ecn == 0;
    // [RFC4987 3.6b]
    let bits =
        u32::from(scale.map_or(15, |s| s.min(MAX_WSCALE))) | u32::from(sack) << 4 | u32::from(ecn) << 5;
    let clock = ((now.as_nanos() >> 20) as u32).wrapping_add(cfg.ts_offset);
    // Never ahead of the clock: the connection's later timestamps must not be smaller.
    let val = clock & !((1 << TS_BITS) - 1) | bits;
    let val = if val.wrapping_sub(clock) as i32 > 0 { val.wrapping_sub(1 << TS_BITS) } else { val };
    SegOut {
        window: cfg.rcvbuf.min(65535) as u16,
        options: Options {
            mss: Some(cfg.mss_in),
            window_scale: scale.map(|_| scale_for(cfg.rcvbuf_max.max(cfg.rcvbuf).max(cfg.rcvbuf_auto))),
            sack_permitted: sack,
            timestamps: ts.map(|t| Timestamps { val, ecr: t.val }),
            ..Options::NONE
        },
        ..bare(seq, syn.seq + 1, Flags::SYN | Flags::ACK | if ecn { Flags::ECE } else { Flags::NONE })
    }
}

/// Whether the ACK `seg` completes a handshake by cookie; the connection then, ESTABLISHED (and what its
/// owner should know). Feed `seg` to [`Tcb::input`] next when it has payload or a FIN.
pub fn check(
    key: &Keyed,
    now: Instant,
    cfg: &Config,
    local: SocketAddr,
    remote: SocketAddr,
    seg: &Segment,
) -> Option<(Tcb, Outcome)> {
    if !seg.flags.has(Flags::ACK) || seg.flags.any(Flags::SYN | Flags::RST) {
        return None;
    }
    let flow = flow_bytes(local, remote);
    let iss = seg.ack - 1;
    let (mss, count) = (iss.0 >> 29, iss.0 >> 24 & 31);
    // [RFC4987 3.6a]
    let age = counter(now).wrapping_sub(count) & 31;
    // [RFC4987 3.6c]
    if age > 1 || mac(key, &flow, seg.seq - 1, count, mss) != iss.0 & 0x00ff_ffff {
        return None;
    }
    let bits = seg.options.timestamps.filter(|_| cfg.timestamps);
    let ecr = bits.map_or(15, |t| t.ecr);
    let scale = ecr & 15;
    let syn = Segment {
        seq: seg.seq - 1,
        ack: Seq(0),
        flags: Flags::SYN | if ecr & 32 != 0 { Flags::ECE | Flags::CWR } else { Flags::NONE },
        window: seg.window,
        options: Options {
            mss: Some(MSS_TABLE[mss as usize]),
            window_scale: (scale != 15).then_some(scale as u8),
            sack_permitted: ecr & 16 != 0,
            timestamps: bits,
            ..Options::NONE
        },
        ..Segment::default()
    };
    let mut t = Tcb::accept(now, cfg, iss, &syn);
    debug_assert_eq!(t.state(), State::SynReceived);
    t.snd.nxt = iss + 1;
    t.snd.max = t.snd.nxt;
    t.rcv.adv = t.rcv.nxt + cfg.rcvbuf.min(65535);
    let mut o = Outcome::default();
    // When the SYN-ACK went is not known: no round-trip sample.
    let rtt = t.rtt;
    t.establish(now, &Segment { options: Options::NONE, ..*seg }, &mut o);
    t.rtt = rtt;
    Some((t, o))
}

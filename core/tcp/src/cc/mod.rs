//! Congestion control: what decides the congestion window when nothing is being repaired.
//!
//! The machine owns [`Window`] and does loss recovery itself (recovery.rs); a [`Controller`] answers two
//! questions: how the window grows, and what is left of it after congestion. That split is RFC 5681's, and it is
//! what CUBIC, NewReno and a rate-based controller (through [`Controller::pacing_rate`]) have in common.

mod bbr;
mod cubic;
mod hystart;
mod newreno;

pub use bbr::Bbr;
pub use cubic::Cubic;
pub use hystart::HyStart;
pub use newreno::NewReno;

pub use crate::rate::RateSample;

use crate::config::CcKind;
use crate::seq::Seq;
use alloc::boxed::Box;
use core::fmt::Debug;
use iopkt_base::{Duration, Instant};

/// Congestion window state, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold.
    pub ssthresh: u32,
    /// Sender's maximum segment size (payload).
    pub mss: u32,
}

impl Window {
    /// Initial window of `segments` segments (RFC 6928: at most max(2 * MSS, 14600) bytes for 10).
    pub fn new(mss: u32, segments: u8) -> Self {
        // [RFC5681 3.1-iw]
        // [RFC6928 2]
        let n = u32::from(segments.max(1));
        let limit = (2 * mss).max(n * 1460);
        Window { cwnd: (n * mss).min(limit), ssthresh: u32::MAX, mss }
    }

    /// Whether the window grows exponentially.
    #[inline]
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Slow start's growth (RFC 5681 3.1 with RFC 3465's byte counting); returns acknowledged bytes that are
    /// left over once the threshold is reached.
    pub fn slow_start(&mut self, acked: u32) -> u32 {
        // [RFC5681 3.1]
        let grown = self.cwnd.saturating_add(acked).min(self.ssthresh);
        let used = grown - self.cwnd;
        self.cwnd = grown;
        acked - used
    }
}

/// What an acknowledgment tells a controller.
#[derive(Clone, Copy, Debug)]
pub struct AckInfo {
    /// Time of this turn.
    pub now: Instant,
    /// Bytes newly acknowledged (cumulatively or by SACK).
    pub acked: u32,
    /// This acknowledgment's round-trip sample.
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Bytes in flight before the acknowledgment.
    pub in_flight: u32,
    /// SND.UNA after it, and SND.NXT: where rounds end and begin.
    pub una: Seq,
    /// See [`AckInfo::una`].
    pub nxt: Seq,
}

#[cfg(test)]
impl AckInfo {
    /// An acknowledgment of so many bytes of which nothing else is known.
    fn test(now: Instant, acked: u32) -> AckInfo {
        let (rtt, srtt) = (None, Duration::ZERO);
        AckInfo { now, acked, rtt, srtt, in_flight: 0, una: Seq(0), nxt: Seq(0) }
    }
}

/// What any acknowledgment, in recovery too, tells a controller that rules the window alone.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Time of this turn.
    pub now: Instant,
    /// All bytes delivered so far, modulo 2^32.
    pub delivered: u32,
    /// Bytes newly acknowledged or SACKed, and newly found lost.
    pub acked: u32,
    /// See [`Sample::acked`].
    pub newly_lost: u32,
    /// Bytes in flight after it.
    pub in_flight: u32,
    /// The window, not the program, limits what is in flight.
    pub cwnd_limited: bool,
    /// Its round-trip time.
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Rate sample of the newest segment delivered.
    pub rate: Option<RateSample>,
    /// The same of the newest segment found lost.
    pub lost: Option<RateSample>,
}

/// A congestion controller.
pub trait Controller: Debug + Send {
    /// Bytes were acknowledged outside of loss recovery, while the window was what limited the sender.
    fn on_ack(&mut self, w: &mut Window, a: &AckInfo);

    /// Congestion (loss found by duplicate ACKs or SACK, or an ECN mark): sets `w.ssthresh`. The machine then
    /// lowers `w.cwnd` to it in its own way.
    fn on_congestion(&mut self, w: &mut Window, now: Instant, in_flight: u32);

    /// Congestion that a router reported by a mark (RFC 3168): sets `w.ssthresh` as for a loss.
    fn on_ecn(&mut self, w: &mut Window, now: Instant, in_flight: u32) {
        self.on_congestion(w, now, in_flight);
    }

    /// The retransmission timer expired for the first time on this data: sets `w.ssthresh`; the machine sets
    /// `w.cwnd` to one segment.
    fn on_timeout(&mut self, w: &mut Window, now: Instant, in_flight: u32);

    /// Any acknowledgment, in whatever mode of recovery: for controllers that [rule](Controller::rules).
    fn on_sample(&mut self, _w: &mut Window, _s: &Sample) {}

    /// Recovery ended.
    fn on_recovered(&mut self, _w: &mut Window) {}

    /// The controller sets `w.cwnd` in every mode, in [`Controller::on_sample`]; else the machine does in recovery.
    fn rules(&self) -> bool {
        false
    }

    /// An acknowledgment came while the program, not the window, limited the sender.
    fn on_app_limited(&mut self, _now: Instant) {}

    /// Nothing was in flight for `idle`.
    fn on_idle(&mut self, _w: &mut Window, _idle: Duration) {}

    /// The last congestion event proved spurious: restores what it took.
    fn undo(&mut self, w: &mut Window);

    /// Bytes per second to pace at; `None` to leave it to the machine.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// Name, as TCP_CONGESTION knows it.
    fn name(&self) -> &'static str;
}

/// A controller of one of the built-in kinds, held without an allocation, or any other.
#[derive(Debug)]
pub enum Cc {
    /// RFC 9438.
    Cubic(Cubic),
    /// RFC 5681.
    NewReno(NewReno),
    /// draft-ietf-ccwg-bbr.
    Bbr(Box<Bbr>),
    /// Somebody else's.
    Other(Box<dyn Controller>),
}

impl Cc {
    /// A controller of this kind; `seed` is for those that do things at random times.
    pub fn new(kind: CcKind, seed: u64) -> Cc {
        match kind {
            CcKind::Cubic => Cc::Cubic(Cubic::default()),
            CcKind::NewReno => Cc::NewReno(NewReno::default()),
            CcKind::Bbr => Cc::Bbr(Box::new(Bbr::new(seed))),
        }
    }

    /// The controller behind its trait.
    #[inline]
    pub fn get(&mut self) -> &mut dyn Controller {
        match self {
            Cc::Cubic(c) => c,
            Cc::NewReno(c) => c,
            Cc::Bbr(c) => &mut **c,
            Cc::Other(c) => &mut **c,
        }
    }

    /// [`Controller::rules`], without a call for those that do not.
    #[inline]
    pub fn rules(&self) -> bool {
        match self {
            Cc::Cubic(_) | Cc::NewReno(_) => false,
            Cc::Bbr(_) => true,
            Cc::Other(c) => c.rules(),
        }
    }

    /// Name, as TCP_CONGESTION knows it.
    pub fn name(&self) -> &'static str {
        match self {
            Cc::Cubic(c) => c.name(),
            Cc::NewReno(c) => c.name(),
            Cc::Bbr(c) => c.name(),
            Cc::Other(c) => c.name(),
        }
    }
}

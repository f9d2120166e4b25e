//! Congestion control: what decides the congestion window when nothing is being repaired.
//!
//! The machine owns [`Window`] and does loss recovery itself (recovery.rs); a [`Controller`] answers two
//! questions: how the window grows, and what is left of it after congestion. That split is RFC 5681's, and it is
//! what CUBIC, NewReno and a rate-based controller (through [`Controller::pacing_rate`]) have in common.

mod cubic;
mod newreno;

pub use cubic::Cubic;
pub use newreno::NewReno;

use crate::config::CcKind;
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
        //= RFC6928-2
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
        //= RFC5681-3.1
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
    /// Somebody else's.
    Other(Box<dyn Controller>),
}

impl Cc {
    /// A controller of this kind.
    pub fn new(kind: CcKind) -> Cc {
        match kind {
            CcKind::Cubic => Cc::Cubic(Cubic::default()),
            CcKind::NewReno => Cc::NewReno(NewReno::default()),
        }
    }

    /// The controller behind its trait.
    #[inline]
    pub fn get(&mut self) -> &mut dyn Controller {
        match self {
            Cc::Cubic(c) => c,
            Cc::NewReno(c) => c,
            Cc::Other(c) => &mut **c,
        }
    }

    /// Name, as TCP_CONGESTION knows it.
    pub fn name(&self) -> &'static str {
        match self {
            Cc::Cubic(c) => c.name(),
            Cc::NewReno(c) => c.name(),
            Cc::Other(c) => c.name(),
        }
    }
}

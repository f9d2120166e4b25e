//! Reno's window (RFC 5681), counting bytes (RFC 3465). Its fast recovery is the machine's (RFC 6582).

use super::hystart::HyStart;
use super::{AckInfo, Controller, Window};
use iopkt_base::Instant;

/// RFC 5681 congestion avoidance.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewReno {
    /// Bytes acknowledged since the window last grew by a segment.
    acked: u32,
    hystart: HyStart,
    /// Window and threshold before the last reduction.
    prior: Option<(u32, u32)>,
}

impl Controller for NewReno {
    fn on_ack(&mut self, w: &mut Window, a: &AckInfo) {
        let left = if w.in_slow_start() { self.hystart.grow(w, a) } else { a.acked };
        if left == 0 {
            return;
        }
        // [RFC5681 3.1]
        self.acked = self.acked.saturating_add(left);
        if self.acked >= w.cwnd {
            self.acked -= w.cwnd;
            w.cwnd = w.cwnd.saturating_add(w.mss);
        }
    }

    fn on_congestion(&mut self, w: &mut Window, _now: Instant, in_flight: u32) {
        // [RFC5681 3.2]
        self.prior = Some((w.cwnd, w.ssthresh));
        w.ssthresh = (in_flight / 2).max(2 * w.mss);
        self.acked = 0;
    }

    fn on_timeout(&mut self, w: &mut Window, now: Instant, in_flight: u32) {
        self.on_congestion(w, now, in_flight);
    }

    fn undo(&mut self, w: &mut Window) {
        if let Some((cwnd, ssthresh)) = self.prior.take() {
            w.cwnd = w.cwnd.max(cwnd);
            w.ssthresh = w.ssthresh.max(ssthresh);
        }
    }

    fn name(&self) -> &'static str {
        "reno"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(acked: u32) -> AckInfo {
        AckInfo::test(Instant::ZERO, acked)
    }

    #[test]
    fn doubles_in_slow_start_then_adds_a_segment_a_window() {
        // [RFC5681 3.1]
        let mut w = Window::new(1000, 10);
        assert_eq!(w.cwnd, 10_000);
        let mut c = NewReno::default();
        for _ in 0..10 {
            c.on_ack(&mut w, &ack(1000));
        }
        assert_eq!(w.cwnd, 20_000);
        c.on_congestion(&mut w, Instant::ZERO, 20_000);
        // [RFC5681 3.2]
        assert_eq!(w.ssthresh, 10_000);
        w.cwnd = w.ssthresh;
        for _ in 0..10 {
            c.on_ack(&mut w, &ack(1000));
        }
        assert_eq!(w.cwnd, 11_000);
        c.undo(&mut w);
        assert_eq!((w.cwnd, w.ssthresh), (20_000, u32::MAX));
        c.on_timeout(&mut w, Instant::ZERO, 1000);
        assert_eq!(w.ssthresh, 2000);
    }
}

//! Buffers that grow with the path: the receive buffer by what the program takes in a round trip (dynamic right-sizing, as
//! Linux does it), the send buffer by the congestion window.
//!
//! A receiver cannot know the sender's window, but it sees what arrives and is read in a round trip: when that grows, the
//! sender is in need of twice as much room. A round trip is measured by the peer's echo of a timestamp that we sent when it
//! began, without timestamps by the smoothed round-trip time.
//!
//! Both only grow, up to their limits, and neither moves once the program has chosen a size (SO_SNDBUF, SO_RCVBUF).

use crate::segment::Segment;
use crate::seq::Seq;
use crate::tcb::Tcb;
use iopkt_base::Instant;

/// State of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Auto {
    /// Most bytes of either buffer, 0 for a size that stays.
    pub(crate) snd_max: u32,
    pub(crate) rcv_max: u32,
    /// Where the program's reading stood when this round trip began, and our timestamp clock.
    from: Seq,
    mark: u32,
    /// When it began; [`Instant::FAR`] before the first data.
    since: Instant,
    /// Most that was read in a round trip.
    space: u32,
}

impl Auto {
    pub(crate) fn new(snd_max: u32, rcv_max: u32) -> Auto {
        Auto { snd_max, rcv_max, from: Seq(0), mark: 0, since: Instant::FAR, space: 0 }
    }
}

impl Tcb {
    /// The sequence number up to which the program has read.
    fn reading(&self) -> Seq {
        self.rcv.nxt - u32::from(self.rcv.fin) - self.inq.len() as u32 - self.rcv.held
    }

    /// In-order data came: at the end of a round trip, looks whether the receive buffer is too small.
    #[inline]
    pub(crate) fn tune_receive(&mut self, now: Instant, seg: &Segment) {
        if self.auto.rcv_max > self.rcv.limit {
            self.tune_receive_on(now, seg);
        }
    }

    fn tune_receive_on(&mut self, now: Instant, seg: &Segment) {
        let since = self.auto.since;
        if since == Instant::FAR {
            return self.tune_begin(now);
        }
        let over = match seg.options.timestamps.filter(|_| self.ts.on) {
            Some(t) => t.ecr.wrapping_sub(self.auto.mark) as i32 > 0,
            None => !self.rtt.srtt().is_zero() && now.since(since) >= self.rtt.srtt(),
        };
        if !over {
            return;
        }
        let copied = self.reading().since(self.auto.from);
        if copied > self.auto.space {
            let mss = u32::from(self.rcv.mss);
            let want = u64::from(copied) * 2 + u64::from(mss) * 16;
            // A sender in slow start will have twice as much next time.
            let grown = match self.auto.space {
                0 => 0,
                s => want * u64::from(copied - s) / u64::from(s),
            };
            let want = u32::try_from(want + 2 * grown.min(want)).unwrap_or(u32::MAX).min(self.auto.rcv_max);
            self.rcv.limit = self.rcv.limit.max(want);
            self.auto.space = copied;
        }
        self.tune_begin(now);
    }

    fn tune_begin(&mut self, now: Instant) {
        (self.auto.from, self.auto.mark, self.auto.since) = (self.reading(), self.ts_now(now), now);
    }

    /// The congestion window grew: the send buffer holds two of it, one in flight and one to follow.
    #[inline]
    pub(crate) fn tune_send(&mut self) {
        let want = self.win.cwnd.saturating_mul(2).min(self.auto.snd_max);
        if want as usize > self.out.limit() {
            self.out.set_limit(want as usize);
        }
    }

    /// Most bytes that the buffers may grow to by themselves (send, receive); 0 leaves one at its size.
    pub fn set_auto(&mut self, snd_max: u32, rcv_max: u32) {
        (self.auto.snd_max, self.auto.rcv_max) = (snd_max, rcv_max);
    }
}

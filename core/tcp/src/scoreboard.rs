//! What is in flight: one record per segment sent and not yet acknowledged, with its time and fate.
//!
//! The records are contiguous from SND.UNA to SND.NXT. They carry what RFC 6675 needs (SACKed, lost,
//! retransmitted) and what RACK-TLP (RFC 8985), F-RTO and rate sampling will need (when sent, how often). A
//! record splits where an acknowledgment, a SACK block or a smaller MSS cuts it.

use crate::rack::Rack;
use crate::rate::Stamp;
use crate::seq::Seq;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use iopkt_base::{Duration, Instant};

const SACKED: u8 = 1;
const LOST: u8 = 2;
/// A retransmission of it is in flight.
const RETX: u8 = 4;
/// It was retransmitted at some time: no round-trip sample (Karn).
const EVER_RETX: u8 = 8;
/// Its last byte went with PSH.
const PUSHED: u8 = 16;

/// A segment that was called lost: what its rate sample is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) stamp: Stamp,
}

/// One segment in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) start: Seq,
    pub(crate) end: Seq,
    /// When it was last sent.
    pub(crate) at: Instant,
    /// State when it was last sent, for rate samples.
    pub(crate) stamp: Stamp,
    flags: u8,
}

/// Notes the stamp of the segment that was called lost last.
fn newest(at: &mut Option<Box<Lost>>, stamp: Stamp) {
    match at {
        Some(l) => l.stamp = stamp,
        at => *at = Some(Box::new(Lost { stamp })),
    }
}

impl Sent {
    #[inline]
    fn len(&self) -> u32 {
        self.end.since(self.start)
    }
    #[inline]
    fn has(&self, f: u8) -> bool {
        self.flags & f != 0
    }
}

/// What a cumulative acknowledgment removed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acked {
    /// Bytes of it that no SACK had reported before.
    pub(crate) fresh: u32,
    /// Send time of the newest segment that was sent once only.
    pub(crate) sent_at: Option<Instant>,
    /// Something that was retransmitted is among it.
    pub(crate) retx: bool,
    /// Retransmissions were under way, and they were not what this answers.
    pub(crate) originals: u32,
}

/// The records and their sums.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    q: VecDeque<Sent>,
    sacked: u32,
    lost: u32,
    retx: u32,
    /// End of the highest SACKed record; counts when `sacked > 0`.
    high: Seq,
    /// No record below is lost and not retransmitted.
    hint: Seq,
    /// Bytes ever called lost, modulo 2^32, and the newest segment of them since somebody asked.
    lost_ever: u32,
    lost_last: Option<Box<Lost>>,
}

impl Scoreboard {
    pub(crate) fn is_empty(&self) -> bool {
        self.q.is_empty()
    }

    pub(crate) fn records(&self) -> usize {
        self.q.len()
    }

    pub(crate) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes in flight that were sent more than once.
    pub(crate) fn repeated(&self) -> u32 {
        let again = |s: &&Sent| s.has(RETX) || s.has(EVER_RETX) && !s.has(SACKED | LOST);
        self.q.iter().filter(again).map(Sent::len).sum()
    }

    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    /// Lost bytes that have not been sent again.
    pub(crate) fn lost_unsent(&self) -> u32 {
        self.lost.saturating_sub(self.retx)
    }

    /// Bytes ever called lost, modulo 2^32.
    #[inline]
    pub(crate) fn lost_ever(&self) -> u32 {
        self.lost_ever
    }

    /// The newest segment called lost since the last call.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        self.lost_last.take().map(|l| *l)
    }

    pub(crate) fn front(&self) -> Option<&Sent> {
        self.q.front()
    }

    /// RFC 6675's "pipe" [RFC6675 3-pipe] for `outstanding` = SND.NXT - SND.UNA bytes.
    #[inline]
    pub(crate) fn pipe(&self, outstanding: u32) -> u32 {
        (outstanding + self.retx).saturating_sub(self.sacked + self.lost)
    }

    /// A new segment went out; `again` says that its bytes were sent before all the same (a window probe).
    #[inline]
    pub(crate) fn push(
        &mut self,
        start: Seq,
        end: Seq,
        at: Instant,
        (again, pushed): (bool, bool),
        stamp: Stamp,
    ) {
        if self.q.is_empty() {
            self.hint = start;
        }
        self.q.push_back(Sent {
            start,
            end,
            at,
            stamp,
            flags: if again { EVER_RETX } else { 0 } | if pushed { PUSHED } else { 0 },
        });
    }

    fn uncount(&mut self, flags: u8, n: u32) {
        if flags & SACKED != 0 {
            self.sacked -= n;
            return;
        }
        if flags & LOST != 0 {
            self.lost -= n;
        }
        if flags & RETX != 0 {
            self.retx -= n;
        }
    }

    /// Cumulative acknowledgment up to `upto`. What was sent at `echo_end` or later did not cause it.
    #[inline]
    pub(crate) fn ack(
        &mut self,
        upto: Seq,
        rack: &mut Rack,
        now: Instant,
        min_rtt: Duration,
        echo_end: Instant,
    ) -> Acked {
        let mut r = Acked::default();
        // It must never fall half a turn of the circle behind.
        self.hint = self.hint.max(upto);
        while let Some(s) = self.q.front_mut() {
            if s.start.ge(upto) {
                break;
            }
            let whole = s.end.le(upto);
            let n = if whole { s.len() } else { upto.since(s.start) };
            let (flags, at, start, end, stamp) = (s.flags, s.at, s.start, s.end, s.stamp);
            if whole {
                self.q.pop_front();
            } else {
                s.start = upto;
            }
            self.uncount(flags, n);
            if flags & SACKED == 0 {
                rack.never_again |= flags & (LOST | EVER_RETX) == LOST;
                r.fresh += n;
                // [RFC8985 6.2-2]
                if flags & EVER_RETX != 0 && at >= echo_end {
                    r.originals += u32::from(flags & RETX != 0);
                } else {
                    rack.delivered((start, upto.min(end)), at, &stamp, flags & EVER_RETX != 0, now, min_rtt);
                }
            }
            if flags & EVER_RETX != 0 {
                r.retx = true;
            } else if flags & SACKED == 0 {
                // A SACKed one arrived earlier than this acknowledgment says.
                r.sent_at = Some(at);
            }
        }
        r
    }

    /// Whether the segment that ended at `end` went with PSH.
    pub(crate) fn was_pushed(&self, end: Seq) -> bool {
        self.q.get(self.index_of(end - 1)).is_some_and(|s| s.end == end && s.has(PUSHED))
    }

    fn index_of(&self, at: Seq) -> usize {
        self.q.partition_point(|s| s.end.le(at))
    }

    /// Makes `at` a record boundary; returns the index of the record that starts there.
    fn cut(&mut self, at: Seq) -> usize {
        let i = self.index_of(at);
        if let Some(s) = self.q.get_mut(i)
            && s.start.lt(at)
        {
            let mut tail = *s;
            s.flags &= !PUSHED;
            s.end = at;
            tail.start = at;
            self.q.insert(i + 1, tail);
            return i + 1;
        }
        i
    }

    /// The first place from `at` on where what was sent was cut into segments.
    fn wire_edge(&self, at: Seq, mss: u32) -> Seq {
        match self.q.get(self.index_of(at)) {
            Some(s) if s.start.lt(at) && !s.has(SACKED) => {
                (s.start + at.since(s.start).div_ceil(mss) * mss).min(s.end)
            }
            _ => at,
        }
    }

    /// One SACK block; returns bytes newly SACKed. The block was checked to lie in `(una, nxt]`.
    ///
    /// A record is cut only where it was cut on the wire, at multiples of `mss`: what is left over at the block's edges does not
    /// count. Else a peer could make us keep, and send again, every second byte by itself (CVE-2019-11478).
    pub(crate) fn sack(
        &mut self,
        left: Seq,
        right: Seq,
        mss: u32,
        rack: &mut Rack,
        now: Instant,
        min_rtt: Duration,
    ) -> u32 {
        let mut fresh = 0;
        let from = self.cut(self.wire_edge(left, mss));
        let mut i = from;
        let mut end = left;
        while let Some(s) = self.q.get_mut(i) {
            if s.start.ge(right) {
                break;
            }
            if s.end.gt(right) {
                let at = s.start + right.since(s.start) / mss * mss;
                if s.has(SACKED) || at == s.start {
                    break;
                }
                self.cut(at);
                continue;
            }
            end = s.end;
            if !s.has(SACKED) {
                let (flags, n) = (s.flags, s.len());
                rack.never_again |= flags & (LOST | EVER_RETX) == LOST;
                rack.delivered((s.start, s.end), s.at, &s.stamp, flags & EVER_RETX != 0, now, min_rtt);
                s.flags = (s.flags & EVER_RETX) | SACKED;
                self.uncount(flags, n);
                self.sacked += n;
                fresh += n;
            }
            i += 1;
        }
        if fresh > 0 {
            self.high = if self.sacked == fresh { end } else { self.high.max(end) };
            self.join_sacked(from);
        }
        fresh
    }

    /// Joins SACKed neighbours, so that the cost of a long run of them is that of one record.
    fn join_sacked(&mut self, mut i: usize) {
        i = i.saturating_sub(1);
        while let (Some(a), Some(b)) = (self.q.get(i), self.q.get(i + 1)) {
            if a.has(SACKED) && b.has(SACKED) {
                let end = b.end;
                self.q.remove(i + 1);
                self.q[i].end = end;
            } else if a.has(SACKED) {
                break;
            } else {
                i += 1;
                if !self.q[i].has(SACKED) {
                    break;
                }
            }
        }
    }

    fn mark(&mut self, i: usize) -> u32 {
        let Some(s) = self.q.get_mut(i) else { return 0 };
        if s.has(SACKED | LOST) {
            return 0;
        }
        let n = s.len();
        s.flags |= LOST;
        let start = s.start;
        self.lost += n;
        self.lost_ever = self.lost_ever.wrapping_add(n);
        newest(&mut self.lost_last, s.stamp);
        // A retransmission by the rescue rule may be in flight; then it still is.
        if start.lt(self.hint) {
            self.hint = start;
        }
        n
    }

    /// Marks what was sent before the most recently sent delivered segment and is overdue: older than `wait`.
    /// Returns bytes newly marked, and how long until the last of the others is overdue.
    pub(crate) fn mark_by_time(
        &mut self,
        now: Instant,
        rack: &Rack,
        wait: Duration,
    ) -> (u32, Option<Duration>) {
        let (mut newly, mut later) = (0, None);
        for s in &mut self.q {
            if s.has(SACKED) {
                continue;
            }
            // What went again at the same instant as the newest delivered one may have gone after it.
            if rack.is_before(s.at, s.end) || (s.at == rack.xmit && s.has(RETX)) {
                if s.has(EVER_RETX) {
                    continue;
                }
                // Everything behind it was sent later still.
                break;
            }
            if s.flags & (LOST | RETX) == LOST {
                continue;
            }
            let due = s.at + wait;
            if due > now {
                later = later.max(Some(due.since(now)));
                continue;
            }
            let n = s.len();
            if s.has(RETX) {
                s.flags &= !RETX;
                self.retx -= n;
            }
            if !s.has(LOST) {
                s.flags |= LOST;
                self.lost += n;
            }
            self.lost_ever = self.lost_ever.wrapping_add(n);
            newest(&mut self.lost_last, s.stamp);
            newly += n;
            self.hint = self.hint.min(s.start);
        }
        (newly, later)
    }

    /// Marks the first record (at most `mss` bytes of it) lost, by duplicate ACKs without SACK, or by a
    /// partial ACK. Returns bytes newly marked.
    pub(crate) fn mark_head(&mut self, mss: u32) -> u32 {
        let Some(s) = self.q.front() else { return 0 };
        let at = s.start + mss;
        if s.end.gt(at) {
            self.cut(at);
        }
        self.mark(0)
    }

    /// Marks what is larger than `mss` lost: the path does not take it any more.
    pub(crate) fn mark_bigger(&mut self, mss: u32) -> u32 {
        let mut n = 0;
        for i in 0..self.q.len() {
            if self.q[i].len() > mss {
                n += self.mark(i);
            }
        }
        n
    }

    /// What was marked lost and not sent again yet counts as in flight: the reason for the marks was none.
    pub(crate) fn unmark(&mut self) {
        for s in &mut self.q {
            if s.flags & (LOST | RETX) == LOST {
                s.flags &= !LOST;
                self.lost -= s.end.since(s.start);
            }
        }
    }

    /// The retransmission timer expired: all that is not SACKed counts as lost, retransmissions too.
    pub(crate) fn mark_all(&mut self) {
        // [RFC6675 5.1]
        self.lost = 0;
        self.retx = 0;
        for s in &mut self.q {
            if !s.has(SACKED) {
                if !s.has(LOST) {
                    self.lost_ever = self.lost_ever.wrapping_add(s.len());
                }
                s.flags = (s.flags & EVER_RETX) | LOST;
                self.lost += s.len();
            }
        }
        if let Some(s) = self.q.front() {
            self.hint = s.start;
        }
    }

    /// Forgets SACK reports: the receiver has reneged (RFC 2018 section 8).
    pub(crate) fn forget_sacks(&mut self) {
        for s in &mut self.q {
            s.flags &= !SACKED;
        }
        self.sacked = 0;
    }

    /// Whether the first record is SACKed, which only a reneging receiver's can be.
    pub(crate) fn reneged(&self) -> bool {
        self.q.front().is_some_and(|s| s.has(SACKED))
    }

    /// The lowest lost range that has no retransmission in flight: NextSeg() rule 1.
    pub(crate) fn next_lost(&mut self) -> Option<(Seq, Seq)> {
        // [RFC6675 4-NextSeg-1]
        if self.lost == 0 {
            return None;
        }
        let mut i = self.index_of(self.hint);
        while let Some(s) = self.q.get(i) {
            if s.has(LOST) && !s.has(RETX | SACKED) {
                self.hint = s.start;
                return Some((s.start, s.end));
            }
            i += 1;
        }
        if let Some(s) = self.q.back() {
            self.hint = s.end;
        }
        None
    }

    /// The first range that is neither SACKed nor retransmitted, below the highest SACKed byte: NextSeg()
    /// rule 3. Used when there is no new data.
    pub(crate) fn next_hole(&self) -> Option<(Seq, Seq)> {
        // [RFC6675 4-NextSeg-3]
        if self.sacked == 0 {
            return None;
        }
        let s = self.q.iter().find(|s| !s.has(SACKED | RETX | EVER_RETX))?;
        s.start.lt(self.high).then_some((s.start, s.end))
    }

    /// The last range of at most `full` bytes that is not SACKed: what a tail loss probe repeats.
    pub(crate) fn last(&mut self, full: u32) -> Option<(Seq, Seq)> {
        let i = self.q.iter().rposition(|s| !s.has(SACKED))?;
        let (start, end) = (self.q[i].start, self.q[i].end);
        let from = if end.since(start) > full { end - full } else { start };
        self.cut(from);
        Some((from, end))
    }

    /// `[start, end)` (the front part of a record that `next_lost` or `next_hole` gave) went out again.
    pub(crate) fn retransmitted(&mut self, start: Seq, end: Seq, at: Instant, stamp: Stamp) {
        self.cut(end);
        let i = self.index_of(start);
        if let Some(s) = self.q.get_mut(i) {
            if !s.has(RETX | SACKED) {
                self.retx += s.len();
                s.flags |= RETX;
            }
            s.flags |= EVER_RETX;
            (s.at, s.stamp) = (at, stamp);
        }
    }

    /// Forgets the records from `from` on: they count as never sent.
    pub(crate) fn unsend(&mut self, from: Seq) {
        let i = self.cut(from);
        while self.q.len() > i {
            if let Some(s) = self.q.pop_back() {
                self.uncount(s.flags, s.len());
            }
        }
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        *self = Scoreboard::default();
    }

    /// Gives memory back.
    pub(crate) fn shrink(&mut self) {
        if self.q.is_empty() {
            self.q = VecDeque::new();
        }
    }

    /// The sums agree with the records: for tests and debug builds.
    pub(crate) fn is_consistent(&self, una: Seq, nxt: Seq) -> bool {
        let (mut sacked, mut lost, mut retx, mut at) = (0, 0, 0, una);
        for s in &self.q {
            if s.start != at || !s.start.lt(s.end) {
                return false;
            }
            at = s.end;
            if s.has(SACKED) {
                sacked += s.len();
                continue;
            }
            lost += if s.has(LOST) { s.len() } else { 0 };
            retx += if s.has(RETX) { s.len() } else { 0 };
        }
        at == nxt && (sacked, lost, retx) == (self.sacked, self.lost, self.retx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MSS: u32 = 100;

    proptest! {
        /// Whatever is sent, SACKed, called lost, sent again and acknowledged: the sums are those of the records, and what is in
        /// flight is never more than what was sent and not acknowledged, and what went again.
        #[test]
        fn sums_and_records_agree(ops in proptest::collection::vec((0u8..9, 0u32..40, 1u32..12), 1..120), base in any::<u32>()) {
            // [RFC6675 3-pipe]
            let (mut b, mut rack) = (Scoreboard::default(), Rack::default());
            let (mut una, mut nxt) = (Seq(base), Seq(base));
            let mut now = Instant::ZERO;
            for (op, at, n) in ops {
                now += Duration::from_millis(u64::from(n));
                let len = nxt.since(una);
                match op {
                    0..=2 => {
                        b.push(nxt, nxt + n * 10, now, (false, false), Stamp::default());
                        nxt += n * 10;
                    }
                    3 if len > 0 => {
                        let upto = una + (at * 25).min(len);
                        b.ack(upto, &mut rack, now, Duration::ZERO, Instant::FAR);
                        una = upto;
                    }
                    4 | 5 if len > 1 => {
                        let l = una + 1 + at * 20 % (len - 1).max(1);
                        let r = (l + n * 30).min(nxt);
                        if l.lt(r) {
                            b.sack(l, r, MSS, &mut rack, now, Duration::ZERO);
                        }
                    }
                    6 => {
                        b.mark_by_time(now, &rack, Duration::from_millis(u64::from(at)));
                    }
                    7 => {
                        if let Some((s, e)) = b.next_lost() {
                            b.retransmitted(s, e.min(s + MSS), now, Stamp::default());
                        }
                    }
                    8 if at > 30 => b.mark_all(),
                    8 if at > 25 => b.unmark(),
                    _ => {
                        b.mark_head(MSS);
                    }
                }
                prop_assert!(b.is_consistent(una, nxt), "{b:?}");
                let out = nxt.since(una);
                prop_assert!(b.pipe(out) <= out + b.retx);
                prop_assert!(b.sacked + b.lost <= out && b.retx + b.sacked <= out);
                if let Some((s, e)) = b.next_lost() {
                    prop_assert!(s.ge(una) && s.lt(e) && e.le(nxt));
                }
            }
        }
    }
}

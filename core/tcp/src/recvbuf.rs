//! The receive side's storage: a queue of in-order buffers, and a bounded store of those that came early.
//!
//! Payload is never copied, with one exception: a small payload is appended to the buffer before it when that
//! has room, because a peer that sends byte by byte would otherwise pin a whole cluster for each byte.

use crate::seq::Seq;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use iopkt_mbuf::Mbuf;
use iopkt_wire::tcp::{MAX_SACK, SackBlocks};

/// Payloads up to this many bytes are joined to the buffer before them.
const JOIN_MAX: usize = 512;

/// In-order data that waits for the program.
#[derive(Debug, Default)]
pub struct RecvQueue {
    q: VecDeque<Mbuf>,
    bytes: usize,
}

impl RecvQueue {
    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a payload; hands a buffer back that is not needed any more.
    #[inline]
    pub fn push(&mut self, m: Mbuf) -> Option<Mbuf> {
        if m.is_empty() {
            return Some(m);
        }
        self.bytes += m.len();
        if m.len() <= JOIN_MAX
            && let Some(last) = self.q.back_mut()
            && last.extend_from_slice(m.as_slice())
        {
            return Some(m);
        }
        self.q.push_back(m);
        None
    }

    /// The first pieces of the data, in order, without removing them; returns how many slots were filled.
    pub fn peek<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        let mut n = 0;
        for (slot, m) in out.iter_mut().zip(&self.q) {
            *slot = m.as_slice();
            n += 1;
        }
        n
    }

    /// Removes `n` bytes (all, when there are fewer); emptied buffers go to `free`.
    pub fn consume(&mut self, n: usize, free: &mut impl FnMut(Mbuf)) -> usize {
        let n = n.min(self.bytes);
        let mut left = n;
        while left > 0 {
            let Some(m) = self.q.front_mut() else { break };
            if m.len() > left {
                m.trim_front(left);
                break;
            }
            left -= m.len();
            if let Some(m) = self.q.pop_front() {
                free(m);
            }
        }
        self.bytes -= n;
        n
    }

    /// Takes the first buffer whole (zero copy to another stack or a bridge).
    pub fn pop(&mut self) -> Option<Mbuf> {
        let m = self.q.pop_front()?;
        self.bytes -= m.len();
        Some(m)
    }

    /// Gives memory of the queue itself back.
    pub fn shrink(&mut self) {
        if self.q.is_empty() {
            self.q = VecDeque::new();
        }
    }
}

/// What became of an early payload.
#[derive(Debug)]
pub enum Stored {
    /// Kept.
    Kept,
    /// All of it was there already.
    Duplicate(Mbuf),
    /// No room; the peer will send it again.
    Full(Mbuf),
}

#[derive(Debug)]
struct Early {
    seq: Seq,
    m: Mbuf,
}

#[derive(Debug, Default)]
struct Store {
    /// Payloads sorted by sequence number, disjoint.
    segs: VecDeque<Early>,
    /// The same as ranges, adjacent ones joined: sorted, disjoint.
    ranges: Vec<(Seq, Seq)>,
    /// Starts of ranges by recency of change: RFC 2018 wants the newest first and the others repeated.
    recent: [Option<Seq>; MAX_SACK],
    bytes: usize,
}

/// Out-of-order payloads. Takes no memory while there are none.
#[derive(Debug, Default)]
pub struct Reassembly {
    s: Option<Box<Store>>,
}

impl Reassembly {
    /// Whether nothing is stored.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.s.is_none()
    }

    /// Stores a payload that starts at `seq`, after a gap; at most `max` buffers are kept.
    pub fn insert(&mut self, seq: Seq, m: Mbuf, max: usize) -> Stored {
        if m.is_empty() {
            return Stored::Duplicate(m);
        }
        let s = self.s.get_or_insert_with(Box::default);
        let r = s.insert(seq, m, max);
        if s.segs.is_empty() {
            self.s = None;
        }
        r
    }

    /// Moves what has become in-order at `next` to the queue; returns the new `next`. Buffers that are not
    /// needed go to `free`.
    pub fn advance(&mut self, mut next: Seq, to: &mut RecvQueue, free: &mut impl FnMut(Mbuf)) -> Seq {
        let Some(s) = &mut self.s else { return next };
        while let Some(e) = s.segs.front() {
            if e.seq.gt(next) {
                break;
            }
            let Some(Early { seq, mut m }) = s.segs.pop_front() else { break };
            s.bytes -= m.len();
            m.trim_front(next.since(seq) as usize);
            next += m.len() as u32;
            if let Some(m) = to.push(m) {
                free(m);
            }
        }
        s.ranges.retain(|r| r.1.gt(next));
        if s.segs.is_empty() {
            self.s = None;
        }
        next
    }

    /// SACK blocks to report, most recently changed first (RFC 2018 section 4).
    pub fn sack(&self) -> SackBlocks {
        let mut out = SackBlocks::NONE;
        let Some(s) = &self.s else { return out };
        // [RFC2018 4]
        // [RFC2018 3-first]
        for start in s.recent.iter().flatten() {
            if let Some(r) = s.find(*start)
                && !out.as_slice().contains(&(r.0.0, r.1.0))
            {
                out.push(r.0.0, r.1.0);
            }
        }
        for r in &s.ranges {
            if !out.as_slice().contains(&(r.0.0, r.1.0)) && !out.push(r.0.0, r.1.0) {
                break;
            }
        }
        out
    }

    /// End of the highest payload.
    pub fn high(&self) -> Option<Seq> {
        self.s.as_ref()?.ranges.last().map(|r| r.1)
    }

    /// Forgets everything.
    pub fn clear(&mut self, free: &mut impl FnMut(Mbuf)) {
        if let Some(s) = self.s.take() {
            s.segs.into_iter().for_each(|e| free(e.m));
        }
    }
}

impl Store {
    fn find(&self, at: Seq) -> Option<(Seq, Seq)> {
        let i = self.ranges.partition_point(|r| r.1.le(at));
        self.ranges.get(i).copied().filter(|r| r.0.le(at))
    }

    fn insert(&mut self, mut seq: Seq, mut m: Mbuf, max: usize) -> Stored {
        let mut end = seq + m.len() as u32;
        // Cut off what is there already at the front.
        if let Some(r) = self.find(seq) {
            self.touch(r.0);
            if r.1.ge(end) {
                return Stored::Duplicate(m);
            }
            m.trim_front(r.1.since(seq) as usize);
            seq = r.1;
        }
        let mut i = self.segs.partition_point(|e| e.seq.lt(seq));
        // Stored pieces that the new one covers entirely go; one that it covers in part cuts it.
        while let Some(e) = self.segs.get(i) {
            let e_end = e.seq + e.m.len() as u32;
            if e.seq.ge(end) {
                break;
            }
            if e_end.gt(end) {
                m.truncate(e.seq.since(seq) as usize);
                end = e.seq;
                break;
            }
            if let Some(e) = self.segs.remove(i) {
                self.bytes -= e.m.len();
            }
        }
        let len = m.len();
        if !self.join(i, seq, &m) {
            if self.segs.len() >= max {
                // What was covered is gone, so the ranges must be made anew; a rare case.
                self.rebuild();
                return Stored::Full(m);
            }
            i = i.min(self.segs.len());
            self.segs.insert(i, Early { seq, m });
        }
        self.bytes += len;
        self.add_range(seq, end);
        Stored::Kept
    }

    /// Copies a small payload behind the piece before it.
    fn join(&mut self, i: usize, seq: Seq, m: &Mbuf) -> bool {
        if m.len() > JOIN_MAX || i == 0 {
            return false;
        }
        let Some(before) = self.segs.get_mut(i - 1) else { return false };
        before.seq + before.m.len() as u32 == seq && before.m.extend_from_slice(m.as_slice())
    }

    fn rebuild(&mut self) {
        self.ranges.clear();
        for e in &self.segs {
            let end = e.seq + e.m.len() as u32;
            match self.ranges.last_mut() {
                Some(r) if r.1 == e.seq => r.1 = end,
                _ => self.ranges.push((e.seq, end)),
            }
        }
    }

    fn add_range(&mut self, from: Seq, to: Seq) {
        let i = self.ranges.partition_point(|r| r.1.lt(from));
        let mut j = i;
        let (mut from, mut to) = (from, to);
        while let Some(r) = self.ranges.get(j)
            && r.0.le(to)
        {
            from = from.min(r.0);
            to = to.max(r.1);
            j += 1;
        }
        if j == i + 1 {
            self.ranges[i] = (from, to);
        } else {
            self.ranges.splice(i..j, [(from, to)]);
        }
        self.touch(from);
    }

    fn touch(&mut self, start: Seq) {
        let old = self.recent;
        self.recent = [None; MAX_SACK];
        self.recent[0] = Some(start);
        let rest = old.iter().flatten().filter(|s| **s != start);
        for (slot, s) in self.recent[1..].iter_mut().zip(rest) {
            *slot = Some(*s);
        }
    }
}

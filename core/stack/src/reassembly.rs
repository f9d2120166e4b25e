//! Datagrams that come in pieces, as both families keep them.
//!
//! Pieces are kept sorted, as the buffers they came in. One that overlaps another, or goes beyond the end, ends the whole datagram
//! (RFC 5722), where it is strict those of its pieces too that come later; an exact duplicate is only dropped. Bounded: datagrams (at the limit the oldest goes), [`MAX_PIECES`] of a
//! datagram, 16 pieces per datagram allowed in all. What is counted, and what the headers become, is the family's own.

use crate::counters::Why;
use crate::cx::Cx;
use crate::hash::{KeyedMap, KeyedState};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::hash::Hash;
use iopkt_base::{Instant, Keyed};
use iopkt_mbuf::Mbuf;

/// Most pieces of a datagram: 64 KiB in pieces of 512 bytes, and some.
pub const MAX_PIECES: usize = 160;

/// One piece: bytes `start..end` of the datagram, the packet that they are in, and what the family knows of its headers.
pub struct Piece<X> {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// The packet.
    pub m: Mbuf,
    /// Of the family.
    pub head: X,
}

/// A datagram, complete or not.
pub struct Datagram<X> {
    /// Its pieces, in order.
    pub pieces: Vec<Piece<X>>,
    /// Its length in bytes, once the last piece is here.
    pub len: Option<usize>,
    have: usize,
    until: Instant,
    /// Pieces of it overlapped: those that come still are for nothing (RFC 5722 section 4).
    dead: bool,
}

/// What became of a piece. What was not kept has been dropped.
pub enum Put<X> {
    /// It waits for others.
    Waits,
    /// It was the last that was missing.
    Whole(Datagram<X>),
    /// There is no room for another datagram.
    NoRoom,
    /// It was here already.
    Duplicate,
    /// It and the others, so many, ended: they overlap, or do not agree about the end.
    Bad {
        /// How many others.
        others: u64,
        /// It overlaps another.
        overlaps: bool,
    },
}

/// Datagrams that are not complete.
pub struct Reassembly<K, X> {
    map: KeyedMap<K, Datagram<X>>,
    ages: BTreeSet<(Instant, K)>,
    pieces: usize,
    /// A datagram whose pieces overlap stays dead for its time.
    strict: bool,
}

impl<K: Copy + Ord + Hash, X> Reassembly<K, X> {
    /// An empty table, hashed with a key of its own.
    pub fn new(secret: &Keyed, name: &str) -> Self {
        let map = KeyedMap::with_hasher(KeyedState::new(secret, name));
        Reassembly { map, ages: BTreeSet::new(), pieces: 0, strict: false }
    }

    /// The same, and pieces that come after an overlap was found are for nothing (RFC 5722 section 4). Where identifications come again
    /// soon, others' would be lost.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// When the next datagram has waited long enough.
    pub fn deadline(&self) -> Instant {
        self.ages.first().map_or(Instant::FAR, |a| a.0)
    }

    /// Takes a datagram out that has waited long enough.
    pub fn expired(&mut self, now: Instant) -> Option<Datagram<X>> {
        let key = self.ages.first().filter(|a| a.0 <= now)?.1;
        self.take(&key)
    }

    fn take(&mut self, key: &K) -> Option<Datagram<X>> {
        let d = self.map.remove(key)?;
        self.ages.remove(&(d.until, *key));
        self.pieces -= d.pieces.len();
        Some(d)
    }

    /// Ends a datagram; returns how many pieces it had.
    fn discard(&mut self, cx: &mut Cx, key: &K, why: Why) -> u64 {
        let pieces = self.take(key).map_or(Vec::new(), |d| d.pieces);
        let n = pieces.len() as u64;
        for p in pieces {
            cx.drop(p.m, why);
        }
        n
    }

    /// Makes sure that one more piece, perhaps of one more datagram, may be kept; `None` when that cannot be, else how many
    /// pieces ended for it.
    fn make_room(&mut self, cx: &mut Cx, key: &K, max: usize) -> Option<u64> {
        if max == 0 {
            return None;
        }
        let mut ended = 0;
        while (self.map.len() >= max && !self.map.contains_key(key)) || self.pieces >= max.saturating_mul(16)
        {
            let oldest = self.ages.first()?.1;
            ended += self.discard(cx, &oldest, Why::ReassemblyLimit);
        }
        Some(ended)
    }

    /// Takes a piece (`more`: not the last one). `limit` is the domain's setting of how many datagrams may be here, negative for
    /// none but [`crate::Config::max_reassembly`]; a new one ends at `until`. Also says how many pieces of others ended to make room.
    pub fn put(
        &mut self,
        cx: &mut Cx,
        key: K,
        limit: i64,
        until: Instant,
        more: bool,
        p: Piece<X>,
    ) -> (u64, Put<X>) {
        let max = usize::try_from(limit).unwrap_or(usize::MAX).min(cx.cfg.max_reassembly);
        let Some(ended) = self.make_room(cx, &key, max) else {
            cx.drop(p.m, Why::ReassemblyLimit);
            return (0, Put::NoRoom);
        };
        if !self.map.contains_key(&key) {
            self.ages.insert((until, key));
        }
        let fresh = || Datagram { pieces: Vec::new(), len: None, have: 0, until, dead: false };
        let d = self.map.entry(key).or_insert_with(fresh);
        if d.dead {
            cx.drop(p.m, Why::BadFragment);
            return (ended, Put::Duplicate);
        }
        let at = d.pieces.partition_point(|x| x.start < p.start);
        let same = d.pieces.get(at).is_some_and(|x| x.start == p.start && x.end == p.end);
        if same && (more || d.len == Some(p.end)) {
            cx.drop(p.m, Why::BadFragment);
            return (ended, Put::Duplicate);
        }
        let overlaps =
            at > 0 && d.pieces[at - 1].end > p.start || d.pieces.get(at).is_some_and(|x| x.start < p.end);
        let beyond = match d.len {
            Some(len) => p.end > len || (!more && p.end != len),
            None => !more && d.pieces.last().is_some_and(|x| x.end > p.end),
        };
        if overlaps || beyond || d.pieces.len() >= MAX_PIECES {
            let why = if overlaps || beyond { Why::BadFragment } else { Why::ReassemblyLimit };
            let others = if self.strict && overlaps {
                d.dead = true;
                let gone = core::mem::take(&mut d.pieces);
                self.pieces -= gone.len();
                let n = gone.len() as u64;
                gone.into_iter().for_each(|x| cx.drop(x.m, why));
                n
            } else {
                self.discard(cx, &key, why)
            };
            cx.drop(p.m, why);
            return (ended, Put::Bad { others, overlaps });
        }
        if !more {
            d.len = Some(p.end);
        }
        d.have += p.end - p.start;
        d.pieces.insert(at, p);
        self.pieces += 1;
        // No overlaps and nothing beyond the end: as many bytes as the length says means all of them.
        let whole = d.len == Some(d.have);
        let got = if whole { self.take(&key) } else { None };
        (ended, got.map_or(Put::Waits, Put::Whole))
    }
}

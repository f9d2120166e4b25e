//! Room in the neighbour cache, and who goes when there is none (RFC 6583 sections 7.1 and 7.3).
//!
//! Entries are ranked by what is known of them, and those of a lower rank go first: whoever floods the cache, by
//! asking for us under ever other names or by making us ask for addresses that are not there, takes only
//! the places of those whom nobody heard of before. Nobody is refused: the flood's own entries make room for a new one.

use super::{Entry, KEEP, Key, Neighbours, RECENT, State};
use crate::counters::Why;
use crate::cx::Cx;

/// What is known of a neighbour; its timer stands in the list of its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// Asked for, and no answer yet.
    Unresolved,
    /// It said something itself; whether it can hear us nobody knows.
    Heard,
    /// It has answered us.
    Proven,
    /// It has answered us, and is asked whether it is still there since it is used.
    Polled,
}

/// How many ranks there are.
pub(super) const RANKS: usize = 4;
/// Most entries that get another chance because they were used, when room is made.
const CHANCES: usize = 64;
/// Most entries that go for one that comes.
const LOWERED: usize = 8;

impl Entry {
    pub(super) fn rank(&self) -> Rank {
        match self.state {
            State::Incomplete => Rank::Unresolved,
            _ if !self.proven => Rank::Heard,
            State::Delay | State::Probe => Rank::Polled,
            State::Reachable | State::Stale => Rank::Proven,
        }
    }
}

impl Neighbours {
    /// Entries that are asked for and not known yet.
    pub(crate) fn incomplete(&self) -> usize {
        self.timers[Rank::Unresolved as usize].len()
    }

    /// Room for one that is to be asked for: they are half of the table at most, and at that limit the one goes that has
    /// waited for some time.
    pub(super) fn room_to_ask(&mut self, cx: &mut Cx) -> bool {
        if self.incomplete() >= cx.cfg.max_neighbours / 2 {
            self.remove_first(cx, Rank::Unresolved);
        }
        self.make_room(cx)
    }

    /// Room for one who speaks to us unasked: strangers fill at most three quarters of the table, the rest is for those
    /// whom we want to reach.
    pub(super) fn room_to_hear(&mut self, cx: &mut Cx) -> bool {
        // [RFC6583 7.1]
        self.map.len() < cx.cfg.max_neighbours / 4 * 3 || self.remove_unused(cx, Rank::Heard)
    }

    /// Makes sure that one more entry may be added. False: the table is full of permanent entries.
    pub(super) fn make_room(&mut self, cx: &mut Cx) -> bool {
        // [RFC6583 6.2]
        // More than one at a time where the limit was lowered, but not all of that at one packet's cost.
        for _ in 0..LOWERED {
            if self.map.len() < cx.cfg.max_neighbours {
                return true;
            }
            let gone = self.remove_unused(cx, Rank::Heard)
                || self.remove_unused(cx, Rank::Proven)
                || self.remove_first(cx, Rank::Unresolved)
                || self.remove_first(cx, Rank::Polled);
            if !gone {
                return false;
            }
        }
        true
    }

    /// Removes the entry of this rank whose timer would have fired first.
    fn remove_first(&mut self, cx: &mut Cx, rank: Rank) -> bool {
        let Some((_, k)) = self.timers[rank as usize].first().copied() else { return false };
        let why = if rank == Rank::Unresolved { Why::HoldQueueFull } else { Why::NoNeighbour };
        self.remove(cx, k, why)
    }

    /// Removes the entry of this rank that nobody has used for the longest time: timers are not set anew at each use, so those that were
    /// used since go behind. (IPv4 has no proof of a neighbour that has asked first; it is known by its use.)
    fn remove_unused(&mut self, cx: &mut Cx, rank: Rank) -> bool {
        for _ in 0..CHANCES {
            let Some((at, k)) = self.timers[rank as usize].first().copied() else { return false };
            let due =
                self.map.get(&k).filter(|e| matches!(e.state, State::Reachable | State::Stale)).map(|e| {
                    // What is known of its use is up to `RECENT` old.
                    let used = if e.used > e.born { e.used + RECENT * 2 } else { e.used };
                    used.max(e.confirmed) + KEEP
                });
            match due {
                Some(due) if due > at => self.arm(k, due),
                _ => return self.remove(cx, k, Why::NoNeighbour),
            }
        }
        self.remove_first(cx, rank)
    }

    /// The timer that fires first.
    pub(super) fn first_timer(&self) -> Option<(iopkt_base::Instant, Key)> {
        self.timers.iter().filter_map(|t| t.first().copied()).min()
    }
}

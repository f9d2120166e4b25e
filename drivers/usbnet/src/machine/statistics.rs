//! The device's own counters (GET_ETHERNET_STATISTIC): asked for one after the other when somebody looks, when the
//! link comes up, and now and then while there is traffic; never on an idle device.

/// Statistics of ECM 1.2, table 9, by selector from 1.
pub const NAMES: [&str; 29] = [
    "Frames Transmitted OK",
    "Frames Received OK",
    "Frames Not Transmitted",
    "Frames Received In Error",
    "Frames Missed, No Buffer",
    "Directed Bytes Transmitted",
    "Directed Frames Transmitted",
    "Multicast Bytes Transmitted",
    "Multicast Frames Transmitted",
    "Broadcast Bytes Transmitted",
    "Broadcast Frames Transmitted",
    "Directed Bytes Received",
    "Directed Frames Received",
    "Multicast Bytes Received",
    "Multicast Frames Received",
    "Broadcast Bytes Received",
    "Broadcast Frames Received",
    "CRC Errors on Reception",
    "Transmit Queue Length",
    "Alignment Errors on Reception",
    "Transmits With One Collision",
    "Transmits With More Collisions",
    "Transmits Deferred",
    "Transmits Failed, Collisions",
    "Receive Overruns",
    "Transmit Underruns",
    "Heartbeat Failures",
    "Carrier Losses on Transmit",
    "Late Collisions on Transmit",
];

/// How old they may get while there is traffic, nanoseconds.
const STALE: u64 = 10_000_000_000;

/// What the device has counted.
#[derive(Debug)]
pub struct Statistics {
    /// Those that the device has, bit `selector - 1`.
    have: u32,
    /// Those still to ask for in this round.
    due: u32,
    /// Those that were answered at least once.
    known: u32,
    values: [u32; NAMES.len()],
    /// When the last round ended.
    at: Option<u64>,
}

impl Statistics {
    pub(super) fn new(have: u32) -> Statistics {
        let have = have & ((1 << NAMES.len()) - 1);
        Statistics { have, due: 0, known: 0, values: [0; NAMES.len()], at: None }
    }

    /// Begins a round, unless one is under way.
    pub(super) fn refresh(&mut self) {
        if self.due == 0 {
            self.due = self.have;
        }
    }

    /// There is traffic at `now`.
    pub(super) fn traffic(&mut self, now: u64) {
        if self.at.is_some_and(|t| now.saturating_sub(t) >= STALE) {
            self.refresh();
        }
    }

    /// The next selector to ask for.
    pub(super) fn next(&self) -> Option<u16> {
        (self.due != 0).then(|| self.due.trailing_zeros() as u16 + 1)
    }

    /// The answer; `None` when the device refused, which it will do again.
    pub(super) fn answer(&mut self, selector: u16, value: Option<u32>, now: u64) {
        let i = usize::from(selector).wrapping_sub(1);
        let Some(v) = self.values.get_mut(i) else { return };
        let bit = 1 << i;
        match value {
            Some(n) => {
                *v = n;
                self.known |= bit;
            }
            None => self.have &= !bit,
        }
        self.due &= self.have & !bit;
        if self.due == 0 {
            self.at = Some(now);
        }
    }

    /// The round is given up: there are more urgent things.
    pub(super) fn abandon(&mut self) {
        self.due = 0;
    }

    /// Name and value of each that is known.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        let known = |i: &usize| self.known & (1 << i) != 0;
        (0..NAMES.len()).filter(known).map(|i| (NAMES[i], self.values[i]))
    }

    /// How old they are at `now`, nanoseconds; `None` before the first round has ended.
    pub fn age(&self, now: u64) -> Option<u64> {
        self.at.map(|t| now.saturating_sub(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_asks_for_each_once_and_not_again_for_what_was_refused() {
        let mut s = Statistics::new(0b10011 | 1 << 31);
        assert_eq!(s.next(), None, "nobody looks");
        s.refresh();
        assert_eq!(s.next(), Some(1));
        s.answer(1, Some(7), 10);
        assert_eq!(s.next(), Some(2));
        s.answer(2, None, 11);
        assert_eq!((s.next(), s.age(20)), (Some(5), None));
        s.answer(5, Some(9), 12);
        assert_eq!((s.next(), s.age(20)), (None, Some(8)));
        let v: Vec<_> = s.values().collect();
        assert_eq!(v, [("Frames Transmitted OK", 7), ("Frames Missed, No Buffer", 9)]);
        s.traffic(12 + STALE - 1);
        assert_eq!(s.next(), None);
        s.traffic(12 + STALE);
        assert_eq!(s.next(), Some(1));
        s.answer(1, Some(8), 30);
        assert_eq!(s.next(), Some(5), "2 was refused");
        s.answer(99, Some(1), 31);
        s.answer(0, Some(1), 31);
    }
}

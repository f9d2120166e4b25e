//! What the neighbour cache does by itself: asks again, polls, gives up, forgets.

use super::times::silence;
use super::{KEEP, Key, Neighbours, Solicit, State, Unreachable};
use crate::counters::{Stat, Why};
use crate::cx::Cx;
use iopkt_base::Instant;

impl Neighbours {
    /// Sets an entry's timer, and puts it where it belongs: call it whenever the state has changed.
    pub(crate) fn arm(&mut self, key: Key, at: Instant) {
        if let Some(e) = self.map.get_mut(&key) {
            if e.timer != Instant::FAR {
                self.timers[e.rank as usize].remove(&(e.timer, key));
            }
            e.timer = at;
            e.rank = e.rank();
            if at != Instant::FAR {
                self.timers[e.rank as usize].insert((at, key));
            }
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, cx: &mut Cx) {
        while let Some((at, key)) = self.first_timer()
            && at <= cx.now
        {
            self.fire(cx, key);
        }
    }

    fn fire(&mut self, cx: &mut Cx, key: Key) {
        // [RFC4861 7.2.2a] [RFC4861 7.3.3a] [RFC4861 7.3.3b] [RFC6583 7.2]
        self.recent = None;
        let t = self.times_of(&key);
        let Some(e) = self.map.get_mut(&key) else {
            // Cannot be: entry and timer go together. Taking the timer away keeps the turn finite all the same.
            self.timers.iter_mut().for_each(|l| l.retain(|t| t.1 != key));
            return;
        };
        match e.state {
            State::Incomplete | State::Probe
                if e.tries < if e.state == State::Probe { t.tries.0 } else { t.tries.1 } =>
            {
                e.tries += 1;
                let unicast = (e.state == State::Probe).then_some(e.mac);
                self.solicits.push_back(Solicit { ifindex: key.0, target: key.1, unicast });
                self.arm(key, cx.now + t.retry);
            }
            State::Incomplete => {
                cx.counters.inc(Stat::ArpTimeouts);
                let held = core::mem::take(&mut e.held);
                self.held -= held.len();
                self.unreachable.extend(held.into_iter().map(|m| Unreachable {
                    ifindex: key.0,
                    target: key.1,
                    m,
                }));
                self.remove(cx, key, Why::NoNeighbour);
            }
            State::Probe if cx.now.since(e.confirmed) >= silence(&key.1, t) => {
                // It does not answer any more: the next packet asks everybody, or goes another way.
                cx.counters.inc(Stat::ArpTimeouts);
                self.remove(cx, key, Why::NoNeighbour);
                if key.1.is_ipv6() {
                    self.lost.push_back(key);
                }
            }
            // Nobody confirmed it since it was used.
            State::Delay if cx.now.since(e.confirmed) >= t.delay => {
                e.state = State::Probe;
                e.tries = 1;
                let mac = e.mac;
                self.solicits.push_back(Solicit { ifindex: key.0, target: key.1, unicast: Some(mac) });
                self.arm(key, cx.now + t.retry);
            }
            State::Reachable | State::Stale | State::Delay | State::Probe => {
                if cx.now.since(e.used.max(e.confirmed)) >= KEEP {
                    self.remove(cx, key, Why::NoNeighbour);
                } else {
                    if e.state != State::Stale {
                        e.state = State::Reachable;
                    }
                    let at = e.used.max(e.confirmed) + KEEP;
                    self.arm(key, at);
                }
            }
        }
    }

    /// When [`Neighbours::tick`] wants to be called next.
    pub fn deadline(&self) -> Instant {
        self.first_timer().map_or(Instant::FAR, |t| t.0)
    }
}

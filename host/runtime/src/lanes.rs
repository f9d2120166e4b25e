//! Which packet thread runs which device, and at what priority.
//!
//! Devices are dealt to the threads so that each has as few as possible; one with a `priority=` of its own looks for a
//! thread that has none. A thread runs at the highest priority of its devices, or at `rx_prio` when none of them says anything. So
//! priorities hold where each interface that has one has a thread to itself (`-t`); where it has not, the log says so.

use std::sync::{Arc, Mutex, PoisonError};

/// Devices of a thread: a number to give the place back by, and the priority, if any.
type Lane = Vec<(u64, Option<u8>)>;

/// Priorities of the devices on each thread; `None` for a device without one.
#[derive(Debug)]
pub(crate) struct Lanes {
    threads: Mutex<Vec<Lane>>,
    /// The first thread that takes devices: 1 when the stack has a thread of its own (`-D`).
    first: usize,
}

/// A device's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Seat {
    lanes: Arc<Lanes>,
    thread: usize,
    id: u64,
}

impl Lanes {
    /// For `threads` threads; with `first` 1, the first of them gets no devices.
    pub(crate) fn new(threads: usize, first: usize) -> Arc<Lanes> {
        Arc::new(Lanes { threads: Mutex::new(vec![Vec::new(); threads]), first: first.min(threads - 1) })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<Lane>) -> R) -> R {
        f(&mut self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place for a device. The text is a warning: priorities cannot be held.
    pub(crate) fn deal(self: &Arc<Lanes>, priority: Option<u8>) -> (Seat, Option<String>) {
        let (thread, id, other) = self.with(|t| {
            let cost = |l: &Lane| {
                // A thread with the same priority is as good as an empty one's second best; one with another is the last.
                let strange = l.iter().filter(|d| d.1 != priority).count();
                if priority.is_some() || l.iter().any(|d| d.1.is_some()) {
                    (strange, l.len())
                } else {
                    (0, l.len())
                }
            };
            let thread = (self.first..t.len()).min_by_key(|i| cost(&t[*i])).unwrap_or(0);
            let id = t.iter().flatten().map(|d| d.0 + 1).max().unwrap_or(0);
            let other = t[thread].iter().map(|d| d.1).find(|p| *p != priority);
            t[thread].push((id, priority));
            (thread, id, other)
        });
        let show = |p: Option<u8>| p.map_or("no priority of its own".to_owned(), |p| format!("priority {p}"));
        let warning = other.map(|o| {
            format!(
                "more interfaces with priorities than packet threads: one with {} shares packet thread {thread} with \
                 one with {}, and priorities are not honoured properly; start with a thread for each (-t N)",
                show(priority),
                show(o)
            )
        });
        (Seat { lanes: self.clone(), thread, id }, warning)
    }

    /// What the devices of a thread ask for.
    pub(crate) fn priority(&self, thread: usize) -> Option<u8> {
        self.with(|t| t[thread].iter().filter_map(|d| d.1).max())
    }
}

impl Seat {
    /// Number of the packet thread.
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lanes.with(|t| t[self.thread].retain(|d| d.0 != self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deal(l: &Arc<Lanes>, p: Option<u8>) -> (Seat, usize, bool) {
        let (s, w) = l.deal(p);
        let t = s.thread();
        (s, t, w.is_some())
    }

    #[test]
    fn devices_go_where_there_are_least() {
        let l = Lanes::new(3, 0);
        let seats: Vec<_> = (0..7).map(|_| deal(&l, None)).collect();
        assert_eq!(seats.iter().map(|s| s.1).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
        assert!(seats.iter().all(|s| !s.2));
        drop(seats.into_iter().nth(1));
        assert_eq!(deal(&l, None).1, 0, "all places were given back");
    }

    #[test]
    fn the_stacks_own_thread_gets_none() {
        let l = Lanes::new(3, 1);
        let seats: Vec<_> = (0..4).map(|_| deal(&l, None)).collect();
        assert_eq!(seats.iter().map(|s| s.1).collect::<Vec<_>>(), [1, 2, 1, 2]);
    }

    #[test]
    fn a_thread_for_each_priority_or_a_warning() {
        // The manual's example: -t2, two boards.
        let l = Lanes::new(2, 0);
        let a = deal(&l, Some(20));
        let b = deal(&l, Some(50));
        assert_eq!((a.1, a.2, b.1, b.2), (0, false, 1, false));
        assert_eq!((l.priority(0), l.priority(1)), (Some(20), Some(50)));
        // The same priority again disturbs nobody; another one does.
        let c = deal(&l, Some(50));
        assert_eq!((c.1, c.2), (1, false));
        let (d, w) = l.deal(Some(30));
        assert!(w.unwrap().contains("not honoured properly"));
        assert_eq!((d.thread(), l.priority(0)), (0, Some(30)), "the highest counts");
        drop(d);
        assert_eq!(l.priority(0), Some(20));
        // So does one without, which looks for the least harm.
        let (e, w) = l.deal(None);
        assert!(w.unwrap().contains("no priority of its own"));
        assert_eq!(e.thread(), 0);
        // One thread for two.
        let l = Lanes::new(1, 0);
        let _a = deal(&l, Some(20));
        assert!(deal(&l, Some(50)).2);
    }
}

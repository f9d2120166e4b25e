//! The two shards of `ours`, each on a thread of its own, joined by a ring of frames each way. Who has nothing to do spins
//! for a bounded time, then gives up its CPU, then sleeps.

use crate::ours::{connect, host, listen, pattern, read, write};
use iopkt_base::Instant;
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::Family;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Barrier;
use std::time::Duration;

/// Frames that a ring holds.
const RING: usize = 1024;

/// What an end does between receiving and sending; returns whether it goes on.
type Step<'a> = dyn FnMut(&mut crate::ours::Host) -> bool + 'a;

struct Lane {
    rx: Consumer<Mbuf>,
    tx: Producer<Mbuf>,
    /// Frames that the ring had no room for.
    left: Vec<Mbuf>,
    batch: Vec<Mbuf>,
    idle: u32,
}

impl Lane {
    fn new(rx: Consumer<Mbuf>, tx: Producer<Mbuf>) -> Lane {
        Lane { rx, tx, left: Vec::new(), batch: Vec::new(), idle: 0 }
    }

    fn turn(&mut self, h: &mut crate::ours::Host, start: std::time::Instant, step: &mut Step<'_>) -> bool {
        h.s.begin(Instant::from_nanos(1_000_000 + start.elapsed().as_nanos() as u64));
        while let Ok(m) = self.rx.pop() {
            self.batch.push(m);
        }
        let came = self.batch.len();
        h.s.input(h.ifindex, &mut self.batch);
        let on = step(h);
        h.s.turn();
        h.s.cx.events.clear();
        // A device whose ring is full takes no more.
        let room = self.tx.slots().saturating_sub(self.left.len());
        let went = h.s.take_frames_max(h.ifindex, room, &mut self.left);
        for m in self.left.drain(..) {
            if let Err(rtrb::PushError::Full(m)) = self.tx.push(m) {
                self.batch.push(m);
            }
        }
        self.left.append(&mut self.batch);
        self.rest(came + went == 0);
        on
    }

    fn rest(&mut self, idle: bool) {
        self.idle = if idle { self.idle + 1 } else { 0 };
        match self.idle {
            0..200 => std::hint::spin_loop(),
            200..2000 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(20)),
        }
    }
}

/// As `ours::transfer`.
pub fn transfer(total: usize, buffer: usize, check: bool) -> f64 {
    let pool = Pool::new(PoolConfig::default());
    let ((atx, brx), (btx, arx)) = (RingBuffer::new(RING), RingBuffer::new(RING));
    let (ready, done) = (Barrier::new(2), std::sync::atomic::AtomicBool::new(false));
    let pattern = pattern();
    std::thread::scope(|s| {
        s.spawn(|| {
            let (mut h, mut lane, mut sent) = (host(1, &pool, Family::V4), Lane::new(arx, atx), 0);
            let id = connect(&mut h, buffer);
            ready.wait();
            let start = std::time::Instant::now();
            let mut step = |h: &mut crate::ours::Host| {
                sent += write(h, id, &pattern, sent, total);
                !done.load(std::sync::atomic::Ordering::Acquire)
            };
            while lane.turn(&mut h, start, &mut step) {}
        });
        let (mut h, mut lane, mut got, mut conn) = (host(2, &pool, Family::V4), Lane::new(brx, btx), 0, None);
        let id = listen(&mut h, buffer);
        ready.wait();
        let start = std::time::Instant::now();
        let mut step = |h: &mut crate::ours::Host| {
            if conn.is_none() {
                conn = h.s.sockets.accept(&mut h.s.cx, id).ok().map(|x| x.0);
            }
            if let Some(c) = conn {
                got += read(h, c, check.then_some(&pattern[..]), got);
            }
            got < total
        };
        while lane.turn(&mut h, start, &mut step) {}
        let took = start.elapsed().as_secs_f64();
        done.store(true, std::sync::atomic::Ordering::Release);
        took
    })
}

//! The runs behind the tables.

use iopkt_base::{Duration, Rng};
use iopkt_sim::{Faults, Flow, World};
use iopkt_stack::sockets::SockId;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does the rows on all cores; their results are in the rows' order.
pub fn in_parallel<T: Sync, R: Send>(rows: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some((i, row)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, rows.get(i)?)))
                {
                    let r = f(row);
                    done.lock().expect("no row failed").push((i, r));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no row failed");
    done.sort_by_key(|x| x.0);
    done.into_iter().map(|x| x.1).collect()
}

const SOL_SOCKET: i32 = 1;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const IPPROTO_TCP: i32 = 6;
const TCP_CONGESTION: i32 = 13;

fn set(w: &mut World, h: usize, id: SockId, level: i32, name: i32, v: &[u8]) -> bool {
    let s = &mut w.hosts[h].shard;
    s.sockets.setsockopt(&mut s.cx, &mut s.net, id, level, name, v).is_ok()
}

/// Those of the congestion controllers that this stack has.
pub fn available() -> Vec<&'static str> {
    let mut w = World::new(2, 1, Faults::default());
    let (a, _) = w.connect(0, 1, 80);
    ["cubic", "reno", "bbr"]
        .into_iter()
        .filter(|c| set(&mut w, 0, a, IPPROTO_TCP, TCP_CONGESTION, c.as_bytes()))
        .collect()
}

/// What came of some transfers, summed.
#[derive(Debug, Default)]
pub struct Sums {
    /// Mbit/s of payload.
    pub goodput: f64,
    /// Frames that the links lost.
    pub lost: u64,
    /// Segments retransmitted.
    pub again: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
}

fn counter(w: &World, h: usize, text: &str) -> u64 {
    let all = w.hosts[h].shard.sockets.stats();
    all.iter().find(|c| c.text == text).map(|c| c.value).expect("a counter of this text")
}

/// Sends `bytes` over a fresh connection for each of the seeds; `buffer` sets both ends' socket buffers, 0 leaves them.
pub fn one(f: Faults, bytes: u64, seeds: std::ops::Range<u64>, buffer: u32) -> Sums {
    let (mut sums, mut secs, mut total) = (Sums::default(), 0.0, 0);
    for seed in seeds {
        let mut w = World::new(2, seed, f);
        w.pcap.stop();
        let l = w.hosts[1].listen(80);
        let id = w.hosts[0].open();
        if buffer > 0 {
            for (h, id) in [(0, id), (1, l)] {
                // Linux doubles what it is told.
                for name in [SO_SNDBUF, SO_RCVBUF] {
                    assert!(set(&mut w, h, id, SOL_SOCKET, name, &(buffer / 2).to_ne_bytes()));
                }
            }
        }
        w.hosts[0].connect_to(id, iopkt_sim::sa(2, 80));
        let b = w.accepted(1, l);
        let start = w.now;
        let mut flow = Flow::new((0, id), (1, b), seed, bytes);
        let done = w.run(Duration::from_secs(3600), |w| {
            flow.step(&mut w.hosts);
            flow.done()
        });
        assert!(done, "{f:?}: stuck: {flow:?}");
        secs += (w.now - start).as_secs_f64();
        total += bytes;
        sums.lost += w.links.iter().flatten().map(|l| l.lost).sum::<u64>();
        sums.again += counter(&w, 0, "{} data packets retransmitted");
        sums.timeouts += counter(&w, 0, "{} retransmit timeouts");
    }
    sums.goodput = total as f64 * 8.0 / 1e6 / secs;
    sums
}

/// A flow through the bottleneck: its controller, and its delay each way.
pub struct Lane {
    /// TCP_CONGESTION.
    pub cc: &'static str,
    /// Of its own link.
    pub delay: Duration,
}

/// What flows made of a bottleneck.
#[derive(Debug)]
pub struct Shares {
    /// Mbit/s of each.
    pub goodput: Vec<f64>,
    /// Mean and longest wait in the queue, ms.
    pub mean_wait: f64,
    pub longest_wait: f64,
    /// Frames lost in the queue.
    pub lost: u64,
}

/// 60 s of flows that never end, after 20 s in which they found their shares. One host each; the receiver's host is
/// behind the bottleneck.
pub fn long(neck: Faults, lanes: &[Lane], seed: u64) -> Shares {
    let n = lanes.len();
    let mut w = World::new(n as u8 + 1, seed, Faults::default());
    w.pcap.stop();
    w.switched = true;
    for (i, l) in lanes.iter().enumerate() {
        w.links[i][n].faults.delay = l.delay;
        w.links[n][i].faults.delay = l.delay;
    }
    w.set_neck(n, neck);
    let mut rng = Rng::new(seed);
    let mut flows: Vec<Flow> = Vec::new();
    for (i, l) in lanes.iter().enumerate() {
        let (a, b) = w.connect(i, n, 80 + i as u16);
        assert!(set(&mut w, i, a, IPPROTO_TCP, TCP_CONGESTION, l.cc.as_bytes()), "{}", l.cc);
        flows.push(Flow::new((i, a), (n, b), i as u64, u64::MAX / 4));
        // Clocks of flows that start together stay together; these do not.
        let apart = Duration::from_millis(150 + u64::from(rng.below(100)));
        w.run(apart, |w| {
            flows.iter_mut().for_each(|f| f.step(&mut w.hosts));
            false
        });
    }
    let mut go = |w: &mut World, secs| {
        w.run(Duration::from_secs(secs), |w| {
            flows.iter_mut().for_each(|f| f.step(&mut w.hosts));
            false
        });
        flows.iter().map(|f| f.read).collect::<Vec<u64>>()
    };
    let before = go(&mut w, 20);
    let q = w.necks[n].as_mut().expect("a bottleneck");
    let (sent, lost, waited) = (q.sent, q.lost, q.waited);
    q.longest = Duration::ZERO;
    let after = go(&mut w, 60);
    let q = w.necks[n].as_ref().expect("a bottleneck");
    let passed = (q.sent - sent) - (q.lost - lost);
    Shares {
        goodput: before.iter().zip(&after).map(|(a, b)| (b - a) as f64 * 8.0 / 60e6).collect(),
        mean_wait: (q.waited - waited).as_secs_f64() * 1e3 / passed as f64,
        longest_wait: q.longest.as_secs_f64() * 1e3,
        lost: q.lost - lost,
    }
}

/// Jain's index: 1 when all have the same, 1/n when one has all.
pub fn jain(x: &[f64]) -> f64 {
    let (s, q) = x.iter().fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
    s * s / (x.len() as f64 * q)
}

//! Throughput of two connections back to back in memory: `cargo run --release -p iopkt-tcp --example two_tcbs [MiB] [mss] [tso]`.
//!
//! Every segment is really made (header, options, one copy with checksum) and really parsed and verified, as
//! between two stacks without IP; the receiver checks the bytes it reads. Prints one line: MiB/s and segments.

use iopkt_base::{Duration, Instant};
use iopkt_mbuf::{Cache, Mbuf, Pool, PoolConfig};
use iopkt_tcp::{Config, Csum, SegOut, Segment, Seq, Tcb};
use iopkt_wire::checksum::pseudo_v4;
use std::collections::VecDeque;

const ENDS: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];

fn output(t: &mut Tcb, from: usize, now: Instant, cache: &mut Cache, wire: &mut VecDeque<Mbuf>) {
    t.output(now, &mut |s: &SegOut<'_>| {
        let len = s.len();
        let Some(mut m) = cache.alloc_len(len) else { return false };
        let sum = pseudo_v4(ENDS[from], ENDS[1 - from], 6, len as u32);
        if !s.write(1000, 2000, &mut m, sum, Csum::Full) {
            return false;
        }
        wire.push_back(m);
        true
    });
}

fn input(t: &mut Tcb, to: usize, now: Instant, cache: &mut Cache, mut m: Mbuf) {
    let mut sum = pseudo_v4(ENDS[1 - to], ENDS[to], 6, m.len() as u32);
    sum.add(m.as_slice());
    assert!(sum.is_valid());
    let (seg, _, _) = Segment::from_mbuf(&mut m).expect("own segments parse");
    if let Some(m) = t.input(now, &seg, m).spare {
        cache.free(m);
    }
}

fn main() {
    let arg = |i: usize, d: u64| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(d);
    let (total, mss, tso) = (arg(1, 256) << 20, arg(2, 1460) as u16, arg(3, 0) as u32);
    let cfg = Config {
        sndbuf: 1 << 20,
        rcvbuf: 1 << 20,
        mss_in: mss,
        mss_path: mss,
        tso_max: tso,
        ..Config::default()
    };
    let mut cache = Pool::new(PoolConfig::default()).cache(1024);
    let mut now = Instant::from_millis(1);
    let mut a = Tcb::connect(now, &cfg, Seq(1));
    let mut b: Option<Tcb> = None;
    let data: Vec<u8> = (0..1 << 16).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut wire, mut back) = (VecDeque::new(), VecDeque::new());
    let (mut wrote, mut read, mut segs) = (0u64, 0u64, 0u64);
    let start = std::time::Instant::now();
    while read < total {
        now += Duration::from_micros(20);
        while wrote < total && a.write_space() > 0 {
            let at = (wrote % data.len() as u64) as usize;
            let n = data.len().min(at + (total - wrote) as usize);
            match a.write(&data[at..n]) {
                Ok(0) | Err(_) => break,
                Ok(n) => wrote += n as u64,
            }
        }
        if a.deadline() <= now {
            a.tick(now);
        }
        output(&mut a, 0, now, &mut cache, &mut wire);
        segs += wire.len() as u64;
        // A batch at a time, as drivers deliver.
        while !wire.is_empty() {
            for _ in 0..32 {
                let Some(mut m) = wire.pop_front() else { break };
                match &mut b {
                    Some(b) => input(b, 1, now, &mut cache, m),
                    None => {
                        let (seg, _, _) = Segment::from_mbuf(&mut m).expect("own segments parse");
                        b = Some(Tcb::accept(now, &cfg, Seq(77), &seg));
                        cache.free(m);
                    }
                }
            }
            let Some(b) = &mut b else { continue };
            loop {
                let mut slots: [&[u8]; 16] = [&[]; 16];
                let k = b.peek(&mut slots);
                let mut n = 0;
                for s in &slots[..k] {
                    let at = ((read + n as u64) % data.len() as u64) as usize;
                    let first = s.len().min(data.len() - at);
                    assert!(s[..first] == data[at..at + first] && s[first..] == data[..s.len() - first]);
                    n += s.len();
                }
                if n == 0 {
                    break;
                }
                read += n as u64;
                b.consume(n, |m| cache.free(m));
            }
            output(b, 1, now, &mut cache, &mut back);
        }
        if let Some(b) = b.as_mut().filter(|b| b.deadline() <= now) {
            b.tick(now);
            output(b, 1, now, &mut cache, &mut back);
        }
        for m in back.drain(..) {
            input(&mut a, 0, now, &mut cache, m);
        }
    }
    let t = start.elapsed().as_secs_f64();
    let s = a.stats();
    println!(
        "{} MiB in {t:.3} s: {:.0} MiB/s, {:.2} Gbit/s, {segs} segments, {:.0} ns each, {} retransmitted",
        total >> 20,
        total as f64 / t / 1048576.0,
        total as f64 * 8.0 / t / 1e9,
        t * 1e9 / segs as f64,
        s.retransmits
    );
}

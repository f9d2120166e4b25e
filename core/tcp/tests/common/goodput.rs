//! Goodput over a bad path, in virtual time: what the example prints and the test bounds.

use super::{Faults, Net, pattern};
use iopkt_base::Duration;
use iopkt_tcp::{CcKind, Config};

/// A path of 100 Mbit/s with a queue of 256 full packets, the same both ways.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Round-trip time of an empty path.
    pub rtt: Duration,
    /// Chance of a packet to be lost, to be late by up to a millisecond.
    pub loss: f64,
    pub reorder: f64,
    /// Largest super-segment, 0 for none; whether acknowledgments get lost too.
    pub tso: u32,
    pub acks: bool,
}

/// What came of some transfers, summed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub bytes: u64,
    pub secs: f64,
    pub segments: u64,
    /// Data segments that the path lost.
    pub lost: u64,
    pub retransmits: u64,
    pub timeouts: u64,
    pub recoveries: u64,
    pub undos: u64,
    pub probes: u64,
}

/// Bytes per second of the path.
pub const RATE: u64 = 12_500_000;

impl Figures {
    /// Mbit/s.
    pub fn goodput(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.secs
    }

    /// Retransmissions of what had arrived or was still to arrive: each lost segment needs just one.
    pub fn spurious(&self) -> u64 {
        self.retransmits.saturating_sub(self.lost)
    }
}

/// Sends `bytes` over `path` for each of these seeds.
pub fn measure(path: Path, bytes: usize, seeds: core::ops::Range<u64>, cc: CcKind) -> Figures {
    let mut f = Figures::default();
    let data = pattern(bytes, 1);
    for seed in seeds {
        let cfg = Config { sndbuf: 1 << 20, rcvbuf: 1 << 20, cc, tso_max: path.tso, ..Config::default() };
        let mut n = Net::new(seed, cfg, cfg);
        n.ends[1].listening = true;
        n.set_links(Faults {
            delay: path.rtt / 2,
            loss: path.loss,
            reorder: path.reorder,
            late: Duration::from_millis(1),
            rate: RATE * 8,
            queue: 256,
            ..Faults::default()
        });
        n.cuts = true;
        if !path.acks {
            n.links[1].faults.loss = 0.0;
        }
        n.connect(0);
        assert!(n.run_until(Duration::from_secs(100), |n| n.established()));
        let start = n.now;
        n.send(0, &data);
        assert!(n.run_until(Duration::from_secs(600), |n| n.ends[1].got.len() == bytes), "{path:?}: stuck");
        assert!(n.ends[1].got == data, "{path:?}: bytes differ");
        let s = *n.tcb(0).stats();
        f.bytes += bytes as u64;
        f.secs += n.now.since(start).as_secs_f64();
        f.segments += n.count(0, |s| s.len > 0) as u64;
        f.lost += n.count(0, |s| s.len > 0 && s.dropped) as u64;
        f.retransmits += u64::from(s.retransmits);
        f.timeouts += u64::from(s.timeouts);
        f.recoveries += u64::from(s.recoveries);
        f.undos += u64::from(s.undos);
        f.probes += u64::from(s.tail_probes);
    }
    f
}

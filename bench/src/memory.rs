//! TCP in memory: two of our shards beside two smoltcp interfaces.

use crate::options::Options;
use crate::report::{Better, Row, Stat, Table};
use crate::{ours, smol};

const TOTAL: usize = 256 << 20;

pub fn measure(o: &Options) -> Table {
    let mut rows = Vec::new();
    for buffer in [65_535, 262_144, 1 << 20] {
        ours::transfer(8 << 20, buffer, true);
        smol::transfer(8 << 20, buffer, true);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let rate = |t: f64| TOTAL as f64 * 8e-9 / t;
        // Taken in turns, so that a disturbance of the machine meets both.
        for _ in 0..o.runs {
            a.push(rate(ours::transfer(TOTAL, buffer, false)));
            b.push(rate(smol::transfer(TOTAL, buffer, false)));
        }
        rows.push(Row::beside(
            format!("socket buffers of {buffer} bytes"),
            Stat::new(a),
            "smoltcp",
            Stat::new(b),
        ));
    }
    Table {
        title: "TCP between two stacks in memory".into(),
        unit: "Gbit/s",
        better: Better::Higher,
        conditions: vec![
            format!("{} MiB a run, {} runs in turns, median (min..max); one thread", TOTAL >> 20, o.runs),
            "Ethernet frames, MTU 1500, checksums computed and verified on both sides; frames change hands as buffers".into(),
            "before: 8 MiB on each, every byte compared".into(),
        ],
        rows,
    }
}

//! TCP and UDP in memory: two of our shards beside two smoltcp interfaces.

use crate::options::Options;
use crate::report::{Better, Row, Stat, Table};
use crate::{datagrams, ours, smol, threads};

const TOTAL: usize = 256 << 20;
const DATAGRAMS: u64 = 2_000_000;

pub fn measure(o: &Options) -> Vec<Table> {
    vec![streams(o), udp(o)]
}

fn streams(o: &Options) -> Table {
    let mut rows = Vec::new();
    for buffer in [65_535, 262_144, 1 << 20] {
        ours::transfer(8 << 20, buffer, true);
        threads::transfer(8 << 20, buffer, true);
        smol::transfer(8 << 20, buffer, true);
        let (mut a, mut t, mut b) = (Vec::new(), Vec::new(), Vec::new());
        let rate = |t: f64| TOTAL as f64 * 8e-9 / t;
        // Taken in turns, so that a disturbance of the machine meets all.
        for _ in 0..o.runs {
            a.push(rate(ours::transfer(TOTAL, buffer, false)));
            b.push(rate(smol::transfer(TOTAL, buffer, false)));
            t.push(rate(threads::transfer(TOTAL, buffer, false)));
        }
        let peer = Stat::new(b);
        let what = format!("socket buffers of {buffer} bytes");
        rows.push(Row::beside(what.clone(), Stat::new(a), "smoltcp", peer.clone()));
        rows.push(Row::beside(format!("{what}, a thread each"), Stat::new(t), "smoltcp, one thread", peer));
    }
    Table {
        title: "TCP between two stacks in memory".into(),
        unit: "Gbit/s",
        better: Better::Higher,
        conditions: vec![
            format!("{} MiB a run, {} runs in turns, median (min..max); one thread but where it says otherwise", TOTAL >> 20, o.runs),
            "Ethernet frames, MTU 1500, checksums computed and verified on both sides; frames change hands as buffers".into(),
            "before: 8 MiB on each, every byte compared".into(),
        ],
        rows,
    }
}

fn udp(o: &Options) -> Table {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..o.runs {
        a.push(DATAGRAMS as f64 * 1e-6 / datagrams::ours(DATAGRAMS));
        b.push(DATAGRAMS as f64 * 1e-6 / datagrams::smol(DATAGRAMS));
    }
    Table {
        title: "UDP between two stacks in memory".into(),
        unit: "million datagrams/s",
        better: Better::Higher,
        conditions: vec![
            format!(
                "{DATAGRAMS} datagrams a run, {} runs in turns, median (min..max); one thread, 32 in flight",
                o.runs
            ),
            "each numbered and compared; Ethernet frames, checksums computed and verified".into(),
        ],
        rows: vec![Row::beside("64 bytes of payload", Stat::new(a), "smoltcp", Stat::new(b))],
    }
}

//! TCP and UDP in memory: two of our shards beside two smoltcp interfaces.

use crate::options::Options;
use crate::report::{Better, Row, Stat, Table};
use crate::{datagrams, ours, smol, threads};
use iopkt_stack::Family;

const TOTAL: usize = 256 << 20;
const DATAGRAMS: u64 = 2_000_000;

pub fn measure(o: &Options) -> Vec<Table> {
    vec![streams(o), udp(o)]
}

fn streams(o: &Options) -> Table {
    let mut rows = Vec::new();
    for buffer in [65_535, 262_144, 1 << 20] {
        ours::transfer(Family::V4, 8 << 20, buffer, true);
        ours::transfer(Family::V6, 8 << 20, buffer, true);
        threads::transfer(8 << 20, buffer, true);
        smol::transfer(8 << 20, buffer, true);
        let [mut a, mut a6, mut t, mut b] = [const { Vec::new() }; 4];
        let rate = |t: f64| TOTAL as f64 * 8e-9 / t;
        // Taken in turns, so that a disturbance of the machine meets all.
        for _ in 0..o.runs {
            a.push(rate(ours::transfer(Family::V4, TOTAL, buffer, false)));
            a6.push(rate(ours::transfer(Family::V6, TOTAL, buffer, false)));
            b.push(rate(smol::transfer(TOTAL, buffer, false)));
            t.push(rate(threads::transfer(TOTAL, buffer, false)));
        }
        let peer = Stat::new(b);
        let what = format!("socket buffers of {buffer} bytes");
        let v4 = Stat::new(a);
        rows.push(Row::beside(what.clone(), v4.clone(), "smoltcp", peer.clone()));
        rows.push(Row::beside(format!("{what}, over IPv6"), Stat::new(a6), "ours over IPv4", v4));
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
    let [mut a, mut a6, mut b] = [const { Vec::new() }; 3];
    let rate = |t: f64| DATAGRAMS as f64 * 1e-6 / t;
    for _ in 0..o.runs {
        a.push(rate(datagrams::ours(Family::V4, DATAGRAMS)));
        a6.push(rate(datagrams::ours(Family::V6, DATAGRAMS)));
        b.push(rate(datagrams::smol(DATAGRAMS)));
    }
    let v4 = Stat::new(a);
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
        rows: vec![
            Row::beside("64 bytes of payload", v4.clone(), "smoltcp", Stat::new(b)),
            Row::beside("64 bytes of payload, over IPv6", Stat::new(a6), "ours over IPv4", v4),
        ],
    }
}

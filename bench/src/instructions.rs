//! Instructions per packet, counted by valgrind: what a shared machine cannot blur.

use crate::report::{Better, Row, Stat, Table};
use crate::{Skip, datagrams, ours, smol};
use iopkt_stack::Family;
use std::process::Command;

/// Payload of a full segment: of 1500 bytes, ours spend 12 on timestamps (RFC 7323), smoltcp does not have them.
const OURS: usize = 1448;
const OURS_V6: usize = 1428;
const SMOL: usize = 1460;
const BUFFER: usize = 65_535;

/// Work that can be counted by its name: `n` packets of it.
pub fn once(what: &str, n: usize) -> Option<f64> {
    Some(match what {
        "ours" => ours::transfer(Family::V4, n * OURS, BUFFER, false),
        "ours6" => ours::transfer(Family::V6, n * OURS_V6, BUFFER, false),
        "smoltcp" => smol::transfer(n * SMOL, BUFFER, false),
        "ours-udp" => datagrams::ours(Family::V4, n as u64),
        "ours6-udp" => datagrams::ours(Family::V6, n as u64),
        "smoltcp-udp" => datagrams::smol(n as u64),
        _ => return None,
    })
}

/// Instructions of a packet: the difference between two runs, so that start and end do not count.
fn count(what: &str, n: usize) -> Result<f64, Skip> {
    let run = |n: usize| -> Result<f64, Skip> {
        let me = std::env::current_exe().map_err(|e| Skip(e.to_string()))?;
        let out = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(me)
            .args(["__once", what, &n.to_string()])
            // Counted as one instruction a byte where a processor does dozens at a time.
            .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1000000000")
            .output()
            .map_err(|e| Skip(format!("valgrind: {e}; apt install valgrind")))?;
        let text = String::from_utf8_lossy(&out.stderr);
        let n = text.lines().find_map(|l| l.split_once("Collected : ")?.1.trim().parse().ok());
        n.ok_or_else(|| Skip(format!("valgrind said nothing of instructions: {text}")))
    };
    Ok((run(2 * n)? - run(n)?) / n as f64)
}

pub fn measure() -> Result<Table, Skip> {
    let mut rows = Vec::new();
    for (what, ours, ours6, peer) in [
        ("TCP, a full segment", "ours", "ours6", "smoltcp"),
        ("UDP, 64 bytes", "ours-udp", "ours6-udp", "smoltcp-udp"),
    ] {
        let one = |what| Ok::<_, Skip>(Stat::new(vec![count(what, 8000)?]));
        let v4 = one(ours)?;
        rows.push(Row::beside(what, v4.clone(), "smoltcp", one(peer)?));
        rows.push(Row::beside(format!("{what}, over IPv6"), one(ours6)?, "ours over IPv4", v4));
    }
    Ok(Table {
        title: "Instructions per packet between two stacks in memory".into(),
        unit: "instructions",
        better: Better::Lower,
        conditions: vec![
            "callgrind; both ends, the program's write and read, acknowledgments, all copies and checksums"
                .into(),
            format!(
                "socket buffers of {BUFFER} bytes, MTU 1500; difference of a run of 16,000 packets to one of 8000"
            ),
        ],
        rows,
    })
}

//! IPv6 beside IPv4, each on the same way in turns: ours over TAP with offloads, and the kernel over veth for comparison.

use crate::options::Options;
use crate::path::{Kind, Path};
use crate::programs::{self, ECHO, Skip};
use crate::report::{Better, Row, Stat, Table};
use crate::tcp::{Dir, PORT, Runs, once};

const TRIPS: usize = 3000;

/// What is measured of each family.
#[derive(Default)]
struct Seen {
    sends: Runs,
    receives: Runs,
    median: Vec<f64>,
}

pub fn measure(o: &Options) -> Result<Vec<Table>, Skip> {
    programs::need(&["ip", "ping", "iperf3", "python3", "taskset"])?;
    let mut ways: Vec<(Path, [String; 2])> = [Kind::Tap, Kind::Veth].map(|k| set_up(k, o)).into();
    let mut seen: Vec<[Seen; 2]> = ways.iter().map(|_| Default::default()).collect();
    for _ in 0..o.runs {
        for ((p, echo), s) in ways.iter_mut().zip(&mut seen) {
            for (six, s) in [false, true].into_iter().zip(s) {
                p.six = six;
                once(p, Dir::Send, o.seconds, &mut s.sends);
                once(p, Dir::Receive, o.seconds, &mut s.receives);
                let to = p.near_address();
                let line = format!("{} tcp {to} {ECHO} 64 {TRIPS}", echo[usize::from(six)]);
                let v = programs::json(&p.run(&p.far_line(&line)), "the echo client");
                s.median.push(programs::number(&v, "/median"));
            }
        }
    }
    let names = ways.iter().map(|(p, _)| p.kind.name());
    let rows = |f: fn(&Seen) -> &[f64], what: &str| -> Vec<Row> {
        let row = |(name, [four, six]): (&str, &[Seen; 2])| {
            let [four, six] = [four, six].map(|s| Stat::new(f(s).to_vec()));
            Row::beside(format!("{name}{what}, IPv6"), six, "the same, IPv4", four)
        };
        names.clone().zip(&seen).map(row).collect()
    };
    let mut bulk = rows(|s| &s.sends.gbit, " sends");
    bulk.extend(rows(|s| &s.receives.gbit, " receives"));
    let conditions = vec![
        format!(
            "{} s a run, {} runs, the families in turns on one way, median (min..max)",
            o.seconds, o.runs
        ),
        o.pin.words("io-pkt"),
        "a segment of IPv6 carries 20 bytes less at the same MTU; before: 1 MiB echoed over each, compared"
            .into(),
    ];
    let table = |title: &str, unit, better, rows| Table {
        title: title.into(),
        unit,
        better,
        conditions: conditions.clone(),
        rows,
    };
    Ok(vec![
        table("IPv6 beside IPv4, iperf3", "Gbit/s", Better::Higher, bulk),
        table(
            "IPv6 beside IPv4, TCP 64 B there and back, median",
            "µs",
            Better::Lower,
            rows(|s| &s.median, ""),
        ),
    ])
}

/// A way, and the command line of the echo program for each family.
fn set_up(kind: Kind, o: &Options) -> (Path, [String; 2]) {
    let mut p = Path::dual(kind, o);
    let echo = [false, true].map(|six| {
        p.six = six;
        let echo = programs::echo_server(&mut p);
        programs::verify(&p, &echo, 1 << 20);
        echo
    });
    p.serve(&p.far_line(&format!("iperf3 -s -p {PORT}")));
    (p, echo)
}

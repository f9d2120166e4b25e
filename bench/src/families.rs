//! IPv6 beside IPv4, each on the same way in turns: what the other benchmarks measure over IPv4, ours over TAP with and without
//! offloads, and the kernel over veth for comparison.

use crate::connections;
use crate::options::Options;
use crate::path::{Kind, Path};
use crate::programs::{self, ECHO, Skip};
use crate::report::{Better, Row, Stat, Table};
use crate::tcp::{Dir, PORT, Runs, once};
use serde_json::Value;

const TRIPS: usize = 3000;
/// Of the iperf3 server at the near end, for two programs on one stack.
const LOCAL: u16 = PORT + 1;

/// A way with its servers.
struct Way {
    path: Path,
    /// The echo program.
    echo: String,
    /// This program, for connections.
    me: String,
}

/// One measurement: what it is called, which ways have it, and a run of it.
struct What {
    name: &'static str,
    kinds: &'static [Kind],
    run: fn(&Way, &Options) -> f64,
}

const ALL: &[Kind] = &[Kind::Tap, Kind::TapPlain, Kind::Veth];
const PLAIN_NEEDS_NONE: &[Kind] = &[Kind::Tap, Kind::Veth];

const BULK: [What; 4] = [
    What { name: "sends", kinds: ALL, run: |w, o| bulk(w, Dir::Send, o) },
    What { name: "receives", kinds: ALL, run: |w, o| bulk(w, Dir::Receive, o) },
    What {
        name: "two programs on one stack",
        kinds: PLAIN_NEEDS_NONE,
        run: |w, o| number(&local(w, o, ""), "/end/sum_received/bits_per_second") / 1e9,
    },
    What {
        name: "the same, UDP, 1400 B",
        kinds: PLAIN_NEEDS_NONE,
        run: |w, o| {
            let v = local(w, o, "-u -l 1400 -b 0");
            let got = number(&v, "/end/sum/packets") - number(&v, "/end/sum/lost_packets");
            got * 1400.0 * 8.0 / number(&v, "/end/sum/seconds") / 1e9
        },
    },
];

const TRIP: [What; 1] = [What { name: "64 B there and back", kinds: ALL, run: |w, _| trips(w) }];

const RATE: [What; 4] = [
    What { name: "accepts, one client", kinds: PLAIN_NEEDS_NONE, run: |w, o| rate(w, o, false, 1) },
    What { name: "accepts, 16 clients", kinds: PLAIN_NEEDS_NONE, run: |w, o| rate(w, o, false, 16) },
    What { name: "connects, one client", kinds: PLAIN_NEEDS_NONE, run: |w, o| rate(w, o, true, 1) },
    What { name: "connects, 16 clients", kinds: PLAIN_NEEDS_NONE, run: |w, o| rate(w, o, true, 16) },
];

pub fn measure(o: &Options) -> Result<Vec<Table>, Skip> {
    programs::need(&["ip", "ping", "iperf3", "python3", "taskset"])?;
    let mut ways: Vec<Way> = ALL.iter().map(|k| set_up(*k, o)).collect();
    let conditions = vec![
        format!(
            "{} s a run, {} runs, the families in turns on one way, median (min..max)",
            o.seconds, o.runs
        ),
        o.pin.words("io-pkt"),
        "a segment of IPv6 carries 20 bytes less at the same MTU; before: 1 MiB echoed over each, compared"
            .into(),
    ];
    let mut table = |title: &str, unit, better, what: &[What]| Table {
        title: format!("IPv6 beside IPv4, {title}"),
        unit,
        better,
        conditions: conditions.clone(),
        rows: what.iter().flat_map(|w| rows(w, &mut ways, o)).collect(),
    };
    Ok(vec![
        table("iperf3", "Gbit/s", Better::Higher, &BULK),
        table("median time", "µs", Better::Lower, &TRIP),
        table("connections, one request each", "connections/s", Better::Higher, &RATE),
    ])
}

/// A row for each way that has this measurement.
fn rows(what: &What, ways: &mut [Way], o: &Options) -> Vec<Row> {
    let mut ways: Vec<(&mut Way, [Vec<f64>; 2])> = ways
        .iter_mut()
        .filter(|w| what.kinds.contains(&w.path.kind))
        .map(|w| (w, Default::default()))
        .collect();
    for _ in 0..o.runs {
        for (w, seen) in &mut ways {
            for (six, seen) in [false, true].into_iter().zip(seen) {
                w.path.six = six;
                seen.push((what.run)(w, o));
            }
        }
    }
    let row = |(w, [four, six]): (&mut Way, [Vec<f64>; 2])| {
        let name = format!("{}, {}, IPv6", w.path.kind.name(), what.name);
        Row::beside(name, Stat::new(six), "the same, IPv4", Stat::new(four))
    };
    ways.into_iter().map(row).collect()
}

/// A way whose ends have both families, and what serves at them.
fn set_up(kind: Kind, o: &Options) -> Way {
    let path = Path::dual(kind, o);
    let me = std::env::current_exe().expect("path of this program").display().to_string();
    let mut w = Way { path, echo: String::new(), me };
    w.path.serve(&w.path.far_line(&format!("iperf3 -s -p {PORT}")));
    w.path.serve(&w.path.near_line(&format!("iperf3 -s -p {LOCAL}")));
    w.path.run(&w.path.far_line("sysctl -qw net.ipv4.ip_local_port_range='1024 65000'"));
    for six in [false, true] {
        w.path.six = six;
        w.echo = programs::echo_server(&mut w.path);
        programs::verify(&w.path, &w.echo, 1 << 20);
        let answer = |at: &str| format!("{} {} {at} {}", w.me, connections::SERVER, connections::PORT);
        let (far, near) = (answer(w.path.far_address()), answer(w.path.near_address()));
        w.path.serve(&w.path.far_line(&far));
        w.path.serve(&w.path.near_line(&near));
        for inside in [false, true] {
            w.path.wait(&line(&w, inside, 1, 0));
        }
    }
    w
}

fn number(v: &Value, at: &str) -> f64 {
    programs::number(v, at)
}

fn bulk(w: &Way, dir: Dir, o: &Options) -> f64 {
    let mut r = Runs::default();
    once(&w.path, dir, o.seconds, &mut r);
    r.gbit[0]
}

/// iperf3 between two programs at the near end, by its own address.
fn local(w: &Way, o: &Options, args: &str) -> Value {
    let to = w.path.near_address();
    let line = format!("iperf3 -c {to} -p {LOCAL} -t {} -J {args} || true", o.seconds);
    for _ in 0..100 {
        let v = programs::json(&w.path.run(&w.path.near_line(&line)), "iperf3");
        if v.get("error").is_none_or(Value::is_null) {
            return v;
        }
        // The server may be busy with the end of the last run.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("`{line}` never succeeded");
}

fn trips(w: &Way) -> f64 {
    let line = format!("{} tcp {} {ECHO} 64 {TRIPS}", w.echo, w.path.near_address());
    number(&programs::json(&w.path.run(&w.path.far_line(&line)), "the echo client"), "/median")
}

/// The command line of a client: `inside`, at the near end, it connects to the far one.
fn line(w: &Way, inside: bool, clients: u32, seconds: u64) -> String {
    let to = if inside { w.path.far_address() } else { w.path.near_address() };
    let line = format!("{} {} {to} {} {clients} {seconds}", w.me, connections::CLIENT, connections::PORT);
    if inside { w.path.near_line(&line) } else { w.path.far_line(&line) }
}

fn rate(w: &Way, o: &Options, inside: bool, clients: u32) -> f64 {
    let v = programs::json(&w.path.run(&line(w, inside, clients, o.seconds)), "the client");
    number(&v, "/count") / number(&v, "/seconds")
}

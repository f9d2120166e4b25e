//! Request and response: a client of the kernel, a server that is an unmodified program on ours or on the kernel.

use crate::options::Options;
use crate::path::{Kind, NEAR, Path};
use crate::programs::{self, ECHO, Skip};
use crate::report::{Better, Row, Stat, Table};

const TRIPS: usize = 3000;
const REDIS: u16 = 6379;
const REQUESTS: usize = 20_000;

/// What is measured on each way; the first index of the results.
const WHAT: [&str; 4] = ["TCP 64 B, median", "TCP 64 B, 99 of 100", "UDP 64 B, median", "ping 56 B, average"];

pub fn measure(o: &Options) -> Result<Vec<Table>, Skip> {
    programs::need(&["ip", "ping", "python3", "taskset"])?;
    let redis = programs::need(&["redis-server", "redis-benchmark", "redis-cli"]);
    let kinds = [Kind::Veth, Kind::KernelTap, Kind::Tap, Kind::Ecm];
    let mut paths: Vec<Path> = kinds.iter().map(|k| Path::new(*k, o)).collect();
    let mut echo = Vec::new();
    for p in &mut paths {
        let line = programs::echo_server(p);
        programs::verify(p, &line, 1 << 20);
        echo.push(line);
        if redis.is_ok() {
            start_redis(p);
        }
    }
    let mut times = vec![vec![Vec::new(); kinds.len()]; WHAT.len()];
    let mut rates = vec![vec![Vec::new(); kinds.len()]; 2];
    for _ in 0..o.runs {
        for (i, p) in paths.iter().enumerate() {
            let trips = |kind: &str| {
                let out = p.run(&p.far_line(&format!("{} {kind} {NEAR} {ECHO} 64 {TRIPS}", echo[i])));
                programs::json(&out, "the echo client")
            };
            let (tcp, udp) = (trips("tcp"), trips("udp"));
            times[0][i].push(programs::number(&tcp, "/median"));
            times[1][i].push(programs::number(&tcp, "/p99"));
            times[2][i].push(programs::number(&udp, "/median"));
            times[3][i].push(ping(p));
            if redis.is_ok() {
                for (row, clients) in [1, 50].into_iter().enumerate() {
                    rates[row][i].push(requests(p, clients));
                }
            }
        }
    }
    let mut tables = vec![Table {
        title: "round trip, request and response".into(),
        unit: "µs",
        better: Better::Lower,
        conditions: conditions(o),
        rows: rows(&WHAT, &times),
    }];
    match redis {
        Ok(()) => tables.push(Table {
            title: "redis, GET of 64 bytes".into(),
            unit: "requests/s",
            better: Better::Higher,
            conditions: vec![format!(
                "redis-server on ours or the kernel's end, redis-benchmark of the kernel: {REQUESTS} requests a run, the \
                 value read back and compared afterwards; else as above"
            )],
            rows: rows(&["1 connection", "50 connections"], &rates),
        }),
        Err(Skip(why)) => eprintln!("SKIPPED redis: {why}"),
    }
    Ok(tables)
}

fn rows(what: &[&str], results: &[Vec<Vec<f64>>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, r) in what.iter().zip(results) {
        // In the order of the ways: veth, kernel TAP, our TAP, our ecm.
        for (name, ours) in [("io-pkt, TAP", 2), ("io-pkt, ecm", 3)] {
            for (peer_name, peer) in [("kernel, TAP", 1), ("kernel, veth", 0)] {
                let (a, b) = (Stat::new(r[ours].clone()), Stat::new(r[peer].clone()));
                rows.push(Row::beside(format!("{what}: {name}"), a, peer_name, b));
            }
        }
    }
    rows
}

fn start_redis(p: &mut Path) {
    let server = programs::find("redis-server").unwrap_or_default();
    let line = format!("{server} --bind {NEAR} --port {REDIS} --save '' --appendonly no --protected-mode no");
    p.serve(&p.near_line(&line));
    p.wait(&p.far_line(&format!("redis-cli -h {NEAR} -p {REDIS} ping")));
    p.run(&p.far_line(&format!("redis-cli -h {NEAR} -p {REDIS} set k64 {}", "v".repeat(64))));
}

/// Requests per second of so many clients.
fn requests(p: &Path, clients: usize) -> f64 {
    let line = format!("redis-benchmark -h {NEAR} -p {REDIS} -c {clients} -n {REQUESTS} -d 64 --csv GET k64");
    let out = p.run(&p.far_line(&line));
    let back = p.run(&p.far_line(&format!("redis-cli -h {NEAR} -p {REDIS} get k64")));
    assert_eq!(back.trim(), "v".repeat(64), "{}: redis gave another value", p.kind.name());
    let last = out.lines().last().unwrap_or_default();
    let rate = last.rsplit_once("k64\"").map_or(last, |x| x.1);
    let rate = rate.trim_start_matches(',').split(',').next().unwrap_or_default();
    rate.trim_matches('"').parse().unwrap_or_else(|_| panic!("redis-benchmark printed no rate: {out}"))
}

/// Average of 500 echoes, as the kernel's ping counts it, in microseconds.
fn ping(p: &Path) -> f64 {
    let out = p.run(&p.far_line(&format!("{} -q -c 500 -i 0.002 {NEAR}", programs::kernel_ping())));
    assert!(out.contains(" 0% packet loss"), "{}: {out}", p.kind.name());
    let times = out.lines().find_map(|l| l.strip_prefix("rtt ")?.split_once(" = ")).map(|x| x.1);
    let avg = times.and_then(|t| t.split('/').nth(1)).and_then(|t| t.parse::<f64>().ok());
    avg.unwrap_or_else(|| panic!("ping printed no times: {out}")) * 1000.0
}

fn conditions(o: &Options) -> Vec<String> {
    vec![
        format!(
            "{TRIPS} round trips (500 echoes of ping) a run, {} runs in turns, median (min..max)",
            o.runs
        ),
        "client and server python3, TCP_NODELAY, each reply compared with its request; one message under way"
            .into(),
        format!("MTU 1500; {}", o.pin.words("io-pkt, or the carrier of frames,")),
    ]
}

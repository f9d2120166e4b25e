//! Two unmodified programs on one stack, over 127.0.0.1, beside two on the kernel's loopback.

use crate::options::{Options, Pin};
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};
use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use serde_json::Value;
use std::time::Duration;

/// Ports of iperf3's servers: ours, the kernel's.
const PORTS: [u16; 2] = [5301, 5302];
const LIMIT: Duration = Duration::from_secs(20);

/// What is run on each side.
const WHAT: [(&str, &str); 3] =
    [("TCP, 128 KiB writes", ""), ("UDP, 64 B", "-u -l 64 -b 0"), ("UDP, 1400 B", "-u -l 1400 -b 0")];

/// The three ways.
const WAYS: [&str; 3] = ["io-pkt", "io-pkt, join_local=0", "kernel, lo"];

struct Side {
    lab: Lab,
    ns: Netns,
    pin: Pin,
}

impl Side {
    fn new(o: &Options) -> Side {
        let mut s = Side { lab: Lab::new("bench"), ns: Netns::new(), pin: o.pin };
        s.ns.exec("ip link set lo up");
        s.lab.spawn(&format!("{} io-pkt-v4-hc --foreground", s.cpu(0)));
        s.lab.wait(LIMIT, "sysctl net.inet.tcp.joined");
        for (port, ours) in PORTS.into_iter().zip([true, false]) {
            let line = format!("iperf3 -s -B 127.0.0.1 -p {port}");
            let line = s.line(ours, 0, &line);
            s.lab.spawn(&line);
        }
        s
    }

    fn cpu(&self, n: usize) -> String {
        self.pin.on(n)
    }

    fn line(&self, ours: bool, cpu: usize, line: &str) -> String {
        match ours {
            true => format!("{} io-pkt-run {line}", self.cpu(cpu)),
            false => format!("ip netns exec {} {} {line}", self.ns.name, self.cpu(cpu)),
        }
    }

    /// One run of the client; iperf3's report.
    fn once(&self, ours: bool, args: &str, seconds: u64) -> Value {
        let port = PORTS[usize::from(!ours)];
        let line = format!("iperf3 -c 127.0.0.1 -p {port} -t {seconds} -J {args} || true");
        let line = self.line(ours, 1, &line);
        // The server may not be there yet, or be busy with the end of the last run.
        for _ in 0..100 {
            let v = programs::json(&self.lab.sh(&line), "iperf3");
            if v.get("error").is_none_or(Value::is_null) {
                return v;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("`{line}` never succeeded");
    }
}

pub fn measure(o: &Options) -> Result<Vec<Table>, Skip> {
    programs::need(&["ip", "iperf3", "taskset"])?;
    let side = Side::new(o);
    let mut tables = Vec::new();
    for (what, args) in WHAT {
        let udp = !args.is_empty();
        let mut got: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); WAYS.len()];
        for _ in 0..o.runs {
            for (way, (rate, lost)) in got.iter_mut().enumerate() {
                let ours = way < 2;
                if ours {
                    side.lab.sh(&format!("sysctl -w net.inet.tcp.join_local={}", 1 - way));
                }
                let v = side.once(ours, args, o.seconds);
                let n = |at: &str| programs::number(&v, at);
                if udp {
                    let (sent, gone) = (n("/end/sum/packets"), n("/end/sum/lost_packets"));
                    rate.push((sent - gone) / n("/end/sum/seconds") / 1000.0);
                    lost.push(gone / sent.max(1.0) * 100.0);
                } else {
                    rate.push(n("/end/sum_received/bits_per_second") / 1e9);
                }
            }
        }
        let kernel = got.pop().unwrap_or_default();
        let note =
            |l: Vec<f64>| if udp { format!("{:.1}% lost", Stat::new(l).median()) } else { String::new() };
        let mut rows = Vec::new();
        for (way, (rate, lost)) in WAYS.iter().zip(got) {
            // Datagrams are not joined.
            if udp && way.contains("join") {
                continue;
            }
            let peer = Stat::new(kernel.0.clone());
            rows.push(Row::beside(*way, Stat::new(rate), WAYS[2], peer).note(note(lost)));
        }
        rows.push(Row::alone(WAYS[2], Stat::new(kernel.0)).note(note(kernel.1)));
        tables.push(Table {
            title: format!("two programs on one stack, {what}"),
            unit: if udp { "1000 datagrams/s received" } else { "Gbit/s" },
            better: Better::Higher,
            conditions: conditions(o),
            rows,
        });
    }
    Ok(tables)
}

fn conditions(o: &Options) -> Vec<String> {
    let free = o.pin == Pin::Free;
    let pins = if free { "none" } else { "io-pkt and the server on CPU 0, the client on CPU 1" };
    vec![
        format!("iperf3 at both ends under io-pkt-run, or on the kernel's lo; {} s a run", o.seconds),
        format!("{} runs taken in turns, median (min..max); pinning: {pins}", o.runs),
    ]
}

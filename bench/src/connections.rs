//! Connections per second: connect, a request of 64 bytes, the same back, close.
//!
//! Server and client are this program under other names, ordinary sockets of the standard library: the same at each
//! end, on each way. The server closes first, as one of HTTP does; it takes connections one after the other.

use crate::options::Options;
use crate::path::{FAR, Kind, NEAR, Path};
use crate::procfs;
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// `__serve ADDR PORT`: answers for ever.
pub const SERVER: &str = "__serve";
/// `__connect ADDR PORT CLIENTS SECONDS`: prints what came of it.
pub const CLIENT: &str = "__connect";

pub const PORT: u16 = 7010;
const LEN: usize = 64;
const LIMIT: Duration = Duration::from_secs(20);

fn address(args: &[String]) -> Result<SocketAddr, String> {
    let [addr, port, ..] = args else { return Err("needs an address and a port".into()) };
    let addr: IpAddr = addr.parse().map_err(|e| format!("{addr}: {e}"))?;
    Ok((addr, port.parse().map_err(|e| format!("{port}: {e}"))?).into())
}

/// The server.
///
/// # Errors
/// It cannot listen, or accept.
pub fn serve(args: &[String]) -> Result<std::convert::Infallible, String> {
    let l = TcpListener::bind(address(args)?).map_err(|e| format!("listen: {e}"))?;
    loop {
        let (mut c, _) = l.accept().map_err(|e| format!("accept: {e}"))?;
        let mut b = [0; LEN];
        // A client that goes away is its own concern.
        let _ = c.read_exact(&mut b).and_then(|()| c.write_all(&b));
    }
}

/// The client: so many threads, each with one connection at a time. Prints connections, seconds and the median time of one.
///
/// # Errors
/// A connection fails, or brings other bytes back.
pub fn connect(args: &[String]) -> Result<(), String> {
    let to = address(args)?;
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok()).ok_or("needs two numbers");
    let (clients, seconds) = (number(2)?, number(3)?);
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..clients).map(|n| std::thread::spawn(move || many(to, n, end))).collect();
    let mut times = Vec::new();
    for t in threads {
        times.extend(t.join().map_err(|_| "a thread panicked")??);
    }
    let took = start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).ok_or("no connection")?;
    println!("{}", serde_json::json!({ "count": times.len(), "seconds": took, "median": median }));
    Ok(())
}

fn many(to: SocketAddr, n: u64, end: Instant) -> Result<Vec<f64>, String> {
    let mut times = Vec::new();
    let mut at = Instant::now();
    loop {
        let said = |what: &str, e: std::io::Error| format!("connection {}: {what}: {e}", times.len());
        let mut s = TcpStream::connect(to).map_err(|e| said("connect", e))?;
        s.set_read_timeout(Some(LIMIT)).map_err(|e| said("time limit", e))?;
        let request = [(n as u8) ^ times.len() as u8; LEN];
        s.write_all(&request).map_err(|e| said("write", e))?;
        let mut back = Vec::with_capacity(LEN + 1);
        s.read_to_end(&mut back).map_err(|e| said("read", e))?;
        if back != request {
            return Err(format!("connection {}: {} other bytes came back", times.len(), back.len()));
        }
        drop(s);
        let now = Instant::now();
        times.push((now - at).as_secs_f64() * 1e6);
        at = now;
        if at >= end {
            return Ok(times);
        }
    }
}

/// What is measured: who connects, and with how many at a time.
const WHAT: [(bool, u32, &str); 4] = [
    (false, 1, "accepts, one client"),
    (false, 16, "accepts, 16 clients"),
    (true, 1, "connects, one client"),
    (true, 16, "connects, 16 clients"),
];

pub fn measure(o: &Options) -> Result<Table, Skip> {
    programs::need(&["ip", "taskset"])?;
    let mut kinds = vec![Kind::Tap, Kind::Veth, Kind::KernelTap];
    let mut conditions = vec![
        format!("{LEN} bytes there and back, then the server closes; {} s a run, {} runs in turns, median (min..max)", o.seconds, o.runs),
        "client and server: this program with the standard library's sockets; the server one thread, a client a thread each".into(),
        format!("MTU 1500; {}", o.pin.words("the stack (io-pkt, runsc, the carrier of frames)")),
    ];
    match programs::find("runsc") {
        Some(_) => kinds.push(Kind::Gvisor),
        None => conditions.push("not measured: gVisor (runsc is not installed)".into()),
    }
    let me = std::env::current_exe().expect("path of this program").display().to_string();
    let mut paths: Vec<Path> = kinds.iter().map(|k| Path::new(*k, o)).collect();
    for p in &mut paths {
        p.run(&p.far_line("sysctl -qw net.ipv4.ip_local_port_range='1024 65000'"));
        p.serve(&p.far_line(&format!("{me} {SERVER} {FAR} {PORT}")));
        p.serve(&p.near_line(&format!("{me} {SERVER} {NEAR} {PORT}")));
        p.wait(&p.far_line(&format!("{me} {CLIENT} {NEAR} {PORT} 1 0")));
    }
    // Two sandboxes cannot share an interface: the one that connects has its own.
    let mut inside = programs::find("runsc").map(|_| Path::new(Kind::Gvisor, o));
    if let Some(p) = &mut inside {
        p.serve(&p.far_line(&format!("{me} {SERVER} {FAR} {PORT}")));
    }
    let mut rows = Vec::new();
    for (ours, clients, what) in WHAT {
        let mut rates = vec![Vec::new(); kinds.len()];
        let mut cpu = Vec::new();
        for _ in 0..o.runs {
            for (p, rate) in paths.iter().zip(&mut rates) {
                let p = inside.as_ref().filter(|_| ours && p.kind == Kind::Gvisor).unwrap_or(p);
                let to = if ours { FAR } else { NEAR };
                let line = format!("{me} {CLIENT} {to} {PORT} {clients} {}", o.seconds);
                let before = p.middle.map(procfs::cpu_ns);
                let out = p.run(&if ours { p.near_line(&line) } else { p.far_line(&line) });
                let v = programs::json(&out, "the client");
                let count = programs::number(&v, "/count");
                rate.push(count / programs::number(&v, "/seconds"));
                if let (Kind::Tap, Some(m), Some(b)) = (p.kind, p.middle, before) {
                    cpu.push((procfs::cpu_ns(m) - b) as f64 / count / 1000.0);
                }
            }
        }
        let mut note = format!("io-pkt: {:.1} µs of CPU a connection", Stat::new(cpu).median());
        for (k, peer) in kinds.iter().zip(&rates).skip(1) {
            let row = Row::beside(what, Stat::new(rates[0].clone()), k.name(), Stat::new(peer.clone()));
            rows.push(row.note(std::mem::take(&mut note)));
        }
    }
    Ok(Table {
        title: "connections, one request each".into(),
        unit: "connections/s",
        better: Better::Higher,
        conditions,
        rows,
    })
}

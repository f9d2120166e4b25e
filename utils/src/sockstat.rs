//! `sockstat`: which programs have which sockets of the stack.

use crate::getopt;
use crate::names::Names;
use crate::netstat::sockets::{Local, endpoint};
use crate::netstat::{all_sockets, local_sockets};
use crate::tool::{Failure, Outcome, Stack, print, print_json};
use iopkt_ctl::SockInfo;
use std::collections::HashMap;
use std::fmt::Write;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: sockstat [-46clnuv] [-f family] [-p ports] [--json]
  -4 -6 -u       only IPv4, IPv6, AF_LOCAL sockets
  -f family      inet, inet6, local or unix
  -c -l          only connected, only listening sockets
  -n             numbers instead of names
  -p ports       only these ports: 22,80-90
  -v             sockets that no running program holds, too
SOCK=/prefix selects the stack.";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Row {
    user: String,
    command: String,
    pid: u32,
    fd: Option<u32>,
    proto: String,
    local: String,
    foreign: String,
}

/// Who holds a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process.
    pub pid: u32,
    /// Its number for it.
    pub fd: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its name.
    pub command: String,
}

/// What was asked for.
#[derive(Debug, Default)]
struct Wanted {
    four: bool,
    six: bool,
    local: bool,
    connected: bool,
    listening: bool,
    ports: Option<Vec<(u16, u16)>>,
}

impl Wanted {
    fn has(&self, k: &SockInfo) -> bool {
        let any = !self.four && !self.six && !self.local;
        let family = any || if k.family == 6 { self.six } else { self.four };
        let listens = k.state == "LISTEN" || k.proto != "tcp" && k.remote.is_none();
        let state = match (self.connected, self.listening) {
            (true, false) => k.remote.is_some(),
            (false, true) => listens,
            _ => true,
        };
        let port = |p: u16| self.ports.as_ref().is_none_or(|l| l.iter().any(|(a, b)| (*a..=*b).contains(&p)));
        family && state && (port(k.local.port()) || k.remote.is_some_and(|r| port(r.port())))
    }
}

/// `22,80-90`.
fn ports(v: &str) -> Option<Vec<(u16, u16)>> {
    v.split(',')
        .map(|p| match p.split_once('-') {
            Some((a, b)) => Some((a.parse().ok()?, b.parse().ok()?)).filter(|(a, b)| a <= b),
            None => p.parse().ok().map(|n| (n, n)),
        })
        .collect()
}

/// Runs the tool.
///
/// # Errors
/// Usage, no stack.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("46cf:lnp:uv", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    if let Some(w) = f.rest.first() {
        return Err(Failure::usage(format!("{w}: not expected"), USAGE));
    }
    let mut w = Wanted {
        four: f.has('4'),
        six: f.has('6'),
        local: f.has('u'),
        connected: f.has('c'),
        listening: f.has('l'),
        ports: None,
    };
    match f.value('f') {
        None => {}
        Some("inet") => w.four = true,
        Some("inet6") => w.six = true,
        Some("local" | "unix") => w.local = true,
        Some(o) => return Err(Failure::new(format!("{o}: unknown address family"))),
    }
    if let Some(v) = f.value('p') {
        w.ports = Some(ports(v).ok_or_else(|| Failure::new(format!("{v}: ports are written 22,80-90")))?);
    }
    let all = all_sockets(s)?;
    let holders = holders();
    let names = Names::new(f.has('n'));
    let mut rows: Vec<Row> = Vec::new();
    for k in all.iter().filter(|k| w.has(k)) {
        rows.extend(of_socket(k, &holders, f.has('v'), f.has('n'), &names));
    }
    if w.local || !w.four && !w.six && w.ports.is_none() {
        for l in
            local_sockets().iter().filter(|l| (!w.listening || l.listening) && (!w.connected || !l.listening))
        {
            rows.extend(of_local(l, &holders, f.has('n')));
        }
    }
    rows.sort_by(|a, b| (a.pid, a.fd, &a.local).cmp(&(b.pid, b.fd, &b.local)));
    if f.has('J') { print_json(&rows) } else { print(&table(&rows)) }
}

fn of_socket(
    k: &SockInfo,
    holders: &HashMap<u64, Vec<Holder>>,
    idle: bool,
    numeric: bool,
    names: &Names,
) -> Vec<Row> {
    let row = |uid: u32, command: String, pid, fd| Row {
        user: user(uid, numeric),
        command,
        pid,
        fd,
        proto: if k.family == 6 { format!("{}6", k.proto) } else { k.proto.clone() },
        local: endpoint(Some(k.local), k.zone.as_deref(), &k.proto, names),
        foreign: endpoint(k.remote, k.zone.as_deref(), &k.proto, names),
    };
    match holders.get(&k.ino).filter(|_| k.ino != 0) {
        Some(l) => l.iter().map(|h| row(h.uid, node(&h.command), h.pid, Some(h.fd))).collect(),
        // Orphans, connections in TIME-WAIT, and programs whose descriptors we may not look at.
        None if idle || k.ino != 0 => vec![row(k.uid, node("?"), k.pid, None)],
        None => Vec::new(),
    }
}

fn of_local(l: &Local, holders: &HashMap<u64, Vec<Holder>>, numeric: bool) -> Vec<Row> {
    let of = holders.get(&l.inode).map_or(&[][..], Vec::as_slice);
    let row = |h: &Holder| Row {
        user: user(h.uid, numeric),
        command: node(&h.command),
        pid: h.pid,
        fd: Some(h.fd),
        proto: l.kind.into(),
        local: l.path.clone(),
        foreign: if l.listening { "*".into() } else { "-".into() },
    };
    of.iter().map(row).collect()
}

/// `NODE:CMD`: programs of other nodes do not reach a stack here.
fn node(command: &str) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{command}", name.trim().split('.').next().unwrap_or(""))
}

/// A user's name in /etc/passwd.
fn user(uid: u32, numeric: bool) -> String {
    let found = || {
        let text = std::fs::read_to_string("/etc/passwd").ok()?;
        text.lines().find_map(|l| {
            let mut w = l.split(':');
            let name = w.next()?;
            (w.nth(1)? == uid.to_string()).then(|| name.to_string())
        })
    };
    if numeric { uid.to_string() } else { found().unwrap_or_else(|| uid.to_string()) }
}

/// All sockets that processes hold, by inode number. What we may not look at is left out.
fn holders() -> HashMap<u64, Vec<Holder>> {
    use std::os::unix::fs::MetadataExt;
    let mut m: HashMap<u64, Vec<Holder>> = HashMap::new();
    let Ok(dir) = std::fs::read_dir("/proc") else { return m };
    for p in dir.flatten() {
        let Some(pid) = p.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let (Ok(fds), Ok(meta)) = (std::fs::read_dir(p.path().join("fd")), p.metadata()) else { continue };
        let command = std::fs::read_to_string(p.path().join("comm")).unwrap_or_default().trim().to_string();
        for f in fds.flatten() {
            let Some(fd) = f.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let Ok(to) = std::fs::read_link(f.path()) else { continue };
            let ino = to.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(ino) = ino {
                let h = Holder { pid, fd, uid: meta.uid(), command: command.clone() };
                m.entry(ino).or_default().push(h);
            }
        }
    }
    m
}

fn table(rows: &[Row]) -> String {
    let mut o = format!(
        "{:<8} {:<20} {:>7} {:>4} {:<9} {:<22} FOREIGN ADDRESS\n",
        "USER", "NODE:CMD", "PID", "FD", "PROTO", "LOCAL ADDRESS"
    );
    for r in rows {
        let fd = r.fd.map_or_else(|| "-".into(), |n| n.to_string());
        let _ = writeln!(
            o,
            "{:<8} {:<20} {:>7} {fd:>4} {:<9} {:<22} {}",
            r.user, r.command, r.pid, r.proto, r.local, r.foreign
        );
    }
    o
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sock(proto: &str, local: &str, remote: Option<&str>, state: &str, ino: u64) -> SockInfo {
        SockInfo {
            proto: proto.into(),
            family: 4,
            recv_q: 0,
            send_q: 0,
            local: local.parse().expect("address"),
            remote: remote.map(|r| r.parse().expect("address")),
            state: state.into(),
            pid: 9,
            id: 1,
            ino,
            uid: 0,
            zone: None,
        }
    }

    #[test]
    fn choices() {
        let l = sock("tcp", "0.0.0.0:22", None, "LISTEN", 5);
        let c = sock("tcp", "10.0.0.1:80", Some("10.0.0.2:5000"), "ESTABLISHED", 6);
        let u = sock("udp", "0.0.0.0:53", None, "", 7);
        let has = |w: &Wanted| [&l, &c, &u].map(|k| w.has(k));
        let w = Wanted::default;
        assert_eq!(has(&w()), [true; 3]);
        assert_eq!(has(&Wanted { connected: true, ..w() }), [false, true, false]);
        assert_eq!(has(&Wanted { listening: true, ..w() }), [true, false, true]);
        assert_eq!(has(&Wanted { six: true, ..w() }), [false; 3]);
        assert_eq!(has(&Wanted { ports: ports("20-30,5000"), ..w() }), [true, true, false]);
        for bad in ["", "x", "9-3", "70000", "1,,2"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_line_for_each_holder() {
        let names = Names::new(true);
        let h = |pid, fd| Holder { pid, fd, uid: 0, command: "sshd".into() };
        let m = HashMap::from([(5, vec![h(10, 3), h(11, 4)])]);
        let k = sock("tcp", "0.0.0.0:22", None, "LISTEN", 5);
        let rows = of_socket(&k, &m, false, true, &names);
        assert_eq!(rows.iter().map(|r| (r.pid, r.fd)).collect::<Vec<_>>(), [(10, Some(3)), (11, Some(4))]);
        let t = table(&rows);
        let w: Vec<Vec<&str>> = t.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(
            w[0],
            ["USER", "NODE:CMD", "PID", "FD", "PROTO", "LOCAL", "ADDRESS", "FOREIGN", "ADDRESS"]
        );
        assert_eq!(w[1][2..], ["10", "3", "tcp", "*.22", "*.*"]);
        assert!(w[1][1].ends_with(":sshd"));
        // Nobody's: only when asked for.
        let orphan = sock("tcp", "10.0.0.1:80", Some("10.0.0.2:5000"), "TIME_WAIT", 0);
        assert!(of_socket(&orphan, &m, false, true, &names).is_empty());
        assert_eq!(of_socket(&orphan, &m, true, true, &names)[0].fd, None);
    }

    #[test]
    fn this_process_holds_its_sockets() {
        use std::os::fd::AsRawFd;
        let (a, _b) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let ino = std::fs::read_link(format!("/proc/self/fd/{}", a.as_raw_fd())).expect("a link");
        let ino: u64 = ino
            .to_str()
            .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
            .expect("a number");
        let all = holders();
        assert!(all[&ino].iter().any(|h| h.pid == std::process::id() && h.fd == a.as_raw_fd() as u32));
    }
}

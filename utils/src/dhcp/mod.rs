//! `dhcp.client`: configures an interface by DHCP.
//!
//! The machine is [`iopkt_autoconf::dhcp`]; this is its place in the world: a packet socket (the interface has no address yet),
//! time, signals, and [`apply`], which does with a lease what the options say. One process an interface, in the background.

mod apply;
mod frame;
mod options;

use crate::conn::Conn;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print};
use apply::Applied;
use frame::Heard;
use iopkt_autoconf::dhcp::{Action, Client, Config, Why};
use iopkt_base::Instant;
use iopkt_client::{PacketSocket, UdpSocket};
use iopkt_ctl::{IfKind, Ifconf, Reply, Request, iff};
use iopkt_slog::{Severity, Sink, Writer, major};
use iopkt_sys::lock::LockFile;
use iopkt_sys::paths::Root;
use iopkt_sys::process::{self, Started};
use iopkt_sys::signal::Signals;
use iopkt_sys::{Epoll, Interest, clock, random};
use options::Options;
pub use options::USAGE;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// No interface after `-I` polls.
const NO_INTERFACE: u8 = 2;
/// No server answered.
const NO_SERVER: u8 = 3;
/// Pause between polls for the interface.
const POLL: Duration = Duration::from_secs(2);

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no permission, no interface (2), no server (3).
pub fn run(args: &[String]) -> Outcome {
    let Some(o) = Options::parse(args)? else { return print(&format!("{USAGE}\n")) };
    // What can fail at once fails in front.
    drop(Conn::open().map_err(Failure::new)?);
    let mut started = process::background().map_err(|e| Failure::new(format!("background: {e}")))?;
    let r = Service::begin(&o, &mut started).and_then(|mut s| s.serve(&mut started));
    let code = match r {
        Ok(code) => code,
        Err(f) => {
            iopkt_slog::init("dhcp.client", major::NETWORK, None).line(Severity::Error, &f.message);
            eprintln!("dhcp.client: {}", f.message);
            f.code as u8
        }
    };
    started.failed(code);
    Ok(code.into())
}

fn failure(code: u8, text: impl Into<String>) -> Failure {
    Failure { message: text.into(), code: code.into() }
}

/// Below the root, with the prefix of this stack.
fn place(name: &str) -> PathBuf {
    Root::find().with_prefix(std::env::var_os("SOCK").unwrap_or_default(), name)
}

/// Waits for the interface.
fn interface(conn: &mut Conn, o: &Options) -> Result<Ifconf, Failure> {
    for poll in 0..=o.polls {
        if poll > 0 {
            std::thread::sleep(POLL);
        }
        // One that is named may not be there yet: an error then is no answer.
        let list = match conn.ask(&Request::Interfaces { name: o.interface.clone() }).map_err(Failure::new)? {
            Reply::Interfaces(l) => l,
            Reply::Err { .. } => continue,
            r => return Err(odd(&r)),
        };
        if let Some(i) = list.into_iter().find(|i| i.kind == IfKind::Ethernet) {
            return Ok(i);
        }
        if let Some(name) = &o.interface {
            return Err(failure(NO_INTERFACE, format!("{name}: not an Ethernet interface")));
        }
    }
    let what =
        o.interface.as_ref().map_or("no Ethernet interface".into(), |n| format!("{n}: no such interface"));
    Err(failure(NO_INTERFACE, format!("{what}; load its driver first (mount -T io-pkt devnp-X.so)")))
}

struct Service<'a> {
    o: &'a Options,
    conn: Conn,
    sink: &'static Sink,
    interface: Ifconf,
    packets: PacketSocket,
    /// Keeps the port, so that the stack does not call it unreachable; renewals go out by it.
    port: UdpSocket,
    signals: Signals,
    machine: Client,
    applied: Option<Applied>,
    /// When it gives up, while it has no lease.
    limit: Instant,
    _lock: LockFile,
}

impl<'a> Service<'a> {
    fn begin(o: &'a Options, started: &mut Started) -> Result<Service<'a>, Failure> {
        let signals = Signals::new(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPWR])
            .map_err(|e| Failure::new(format!("signals: {e}")))?;
        let sink = iopkt_slog::init("dhcp.client", major::NETWORK, Writer::open(&Root::find()).ok());
        if o.debug {
            sink.console(Some(Severity::Debug2));
        }
        let mut conn = Conn::open().map_err(Failure::new)?;
        let interface = interface(&mut conn, o)?;
        let name = interface.name.clone();
        let lock = lock(&name)?;
        let said = |what: &str, e: std::io::Error| Failure::new(format!("{what}: {e}"));
        ask(&mut conn, &name, &Request::SetFlags { name: name.clone(), set: iff::UP, clear: 0 })?;
        let packets = PacketSocket::open(conn.session()).map_err(|e| said("packet socket", e))?;
        packets.filter(&frame::filter(o.client_port)).map_err(|e| said("packet filter", e))?;
        packets.bind(interface.index).map_err(|e| said(&name, e))?;
        let port = SocketAddr::from((Ipv4Addr::UNSPECIFIED, o.client_port));
        let port =
            UdpSocket::bind(conn.session(), port).map_err(|e| said(&format!("port {}", o.client_port), e))?;
        port.set_nonblocking(true).map_err(|e| said("port", e))?;
        let mut seed = [0; 8];
        random::fill(&mut seed).map_err(|e| said("random numbers", e))?;
        let mut machine = Client::new(config(o, interface.mac), u64::from_ne_bytes(seed));
        let now = clock::monotonic();
        machine.start(now);
        let limit = o.limit.map_or(Instant::FAR, |d| now + d);
        sink.line(Severity::Info, &format!("{name}: looking for a DHCP server"));
        if !o.wait {
            started.ok().map_err(|e| said("/dev/null", e))?;
        }
        Ok(Service {
            o,
            conn,
            sink,
            interface,
            packets,
            port,
            signals,
            machine,
            applied: None,
            limit,
            _lock: lock,
        })
    }

    /// Until a signal, or until nothing is left to be done. Returns the exit code.
    fn serve(&mut self, started: &mut Started) -> Result<u8, Failure> {
        let said = |e: std::io::Error| Failure::new(e.to_string());
        let epoll = Epoll::new().map_err(said)?;
        epoll.add(&self.packets, 0, Interest::READ).map_err(said)?;
        epoll.add(&self.port, 1, Interest::READ).map_err(said)?;
        epoll.add(&self.signals, 2, Interest::READ).map_err(said)?;
        let mut ready = Vec::new();
        loop {
            let now = clock::monotonic();
            let until = self.machine.deadline().min(self.limit);
            let timeout = (until != Instant::FAR).then(|| until.since(now));
            ready.clear();
            epoll.wait(&mut ready, 4, timeout).map_err(said)?;
            if let Some(signal) = self.signals.next() {
                if signal != libc::SIGPWR {
                    self.give_back();
                } else if let Some(a) = self.applied.take() {
                    a.leave(self.sink);
                }
                return Ok(0);
            }
            self.drain()?;
            self.receive()?;
            let now = clock::monotonic();
            if self.drive(|m, out| m.tick(now, &mut |a| out.push(a)))? {
                return Ok(NO_SERVER);
            }
            if self.applied.is_some() {
                self.limit = Instant::FAR;
                started.ok().map_err(said)?;
            } else if now >= self.limit {
                let text = format!("{}: no DHCP server has answered", self.interface.name);
                return Err(failure(NO_SERVER, text));
            }
        }
    }

    /// What comes to the port has been seen by the packet socket.
    fn drain(&self) -> Result<(), Failure> {
        let mut sink = [0; 1];
        loop {
            match self.port.recv_meta(&mut sink) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Err(Failure::new("the stack has ended"));
                }
                // An error of an earlier datagram (a server that is gone): the machine's time-outs deal with it.
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Result<(), Failure> {
        loop {
            let mut actions = Vec::new();
            let now = clock::monotonic();
            match self.packets.receive() {
                Ok(None) => return Ok(()),
                Ok(Some((f, bytes))) => match frame::heard(bytes, self.o.client_port, f.csum_pending) {
                    Some(Heard::Arp(p)) => self.machine.arp(now, &p, &mut |a| actions.push(a)),
                    Some(Heard::Message(b)) => self.machine.receive(now, b, &mut |a| actions.push(a)),
                    None => {}
                },
                Err(e) => {
                    let why = match e.kind() {
                        std::io::ErrorKind::ConnectionReset => "the stack has ended".into(),
                        _ => format!("{}: {e}: the interface is gone", self.interface.name),
                    };
                    return Err(Failure::new(why));
                }
            }
            for a in actions {
                self.act(a)?;
            }
        }
    }

    /// Gives the machine something and does what it says; true when it has stopped for good.
    fn drive(&mut self, f: impl FnOnce(&mut Client, &mut Vec<Action>)) -> Result<bool, Failure> {
        let mut actions = Vec::new();
        f(&mut self.machine, &mut actions);
        let over = actions.contains(&Action::GaveUp);
        for a in actions {
            self.act(a)?;
        }
        Ok(over)
    }

    fn act(&mut self, action: Action) -> Result<(), Failure> {
        let name = self.interface.name.clone();
        match action {
            Action::Broadcast(m) => {
                let src = self.machine.lease().map_or(Ipv4Addr::UNSPECIFIED, |l| l.addr);
                let ports = (self.o.client_port, self.o.server_port);
                self.send(&frame::broadcast(self.interface.mac, src, ports, &m), m.len());
            }
            Action::Unicast(to, m) => self.unicast(to, &m),
            Action::Arp(p) => self.send(&p.broadcast(), 0),
            Action::Bound(l) => {
                let text = format!("{name}: {}/{} from {}", l.addr, l.prefix_len, l.server);
                self.sink.line(Severity::Info, &text);
                self.applied = Some(Applied::bind(self.o, &mut self.conn, &self.interface, &l, self.sink)?);
            }
            Action::Renewed(l) => {
                self.sink.line(Severity::Debug1, &format!("{name}: {} goes on", l.addr));
                if let Some(a) = &mut self.applied {
                    a.renew(self.o, &mut self.conn, &l, self.sink)?;
                }
            }
            Action::Lost(addr, why) => {
                let why = if why == Why::Expired { "its time is over" } else { "the server refuses it" };
                self.sink.line(Severity::Warning, &format!("{name}: {addr} is lost: {why}"));
                if let Some(a) = self.applied.take() {
                    a.remove(self.o, &mut self.conn, "EXPIRE", self.sink);
                }
            }
            Action::Conflict(addr, mac) => {
                let mac = mac.map(|b| format!("{b:02x}")).join(":");
                self.sink.line(Severity::Warning, &format!("{name}: {addr} is used by {mac}: declined"));
            }
            Action::GaveUp => {
                let text =
                    format!("{name}: {} offered addresses were in use: given up (-A)", self.o.conflicts);
                return Err(failure(NO_SERVER, text));
            }
        }
        Ok(())
    }

    fn send(&self, f: &[u8], message: usize) {
        if message > 0 {
            self.sink
                .line(Severity::Debug1, &format!("{}: {message} bytes to every server", self.interface.name));
        }
        if let Err(e) = self.packets.send(f) {
            self.sink.line(Severity::Warning, &format!("{}: sending: {e}", self.interface.name));
        }
    }

    fn unicast(&self, to: Ipv4Addr, m: &[u8]) {
        self.sink.line(Severity::Debug1, &format!("{}: {} bytes to {to}", self.interface.name, m.len()));
        if let Err(e) = self.port.send_to(m, (to, self.o.server_port).into()) {
            self.sink.line(Severity::Warning, &format!("{to}: sending: {e}"));
        }
    }

    /// The end: the server and the stack get the address back.
    fn give_back(&mut self) {
        if let Some((server, m)) = self.machine.release(clock::monotonic()) {
            self.unicast(server, &m);
            self.sink.line(Severity::Info, &format!("{}: given back to {server}", self.interface.name));
        }
        if let Some(a) = self.applied.take() {
            a.remove(self.o, &mut self.conn, "RELEASE", self.sink);
        }
    }
}

/// One process an interface.
fn lock(name: &str) -> Result<LockFile, Failure> {
    let path = place(&format!("/run/dhcp.client.{name}.pid"));
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| Failure::new(format!("{}: {e}", dir.display())))?;
    }
    match LockFile::take(&path) {
        Ok(Ok(l)) => Ok(l),
        Ok(Err(pid)) => {
            Err(Failure::new(format!("{name}: a dhcp.client (pid {pid}) is at work on it already")))
        }
        Err(e) => Err(Failure::new(format!("{}: {e}", path.display()))),
    }
}

fn config(o: &Options, mac: [u8; 6]) -> Config {
    Config {
        mac,
        // RFC 2132 9.14: a type, 1 for a hardware address, 0 for anything else.
        client_id: match &o.ident {
            Some(text) => [&[0], text.as_bytes()].concat(),
            None => [&[1], &mac[..]].concat(),
        },
        host_name: o.host_name.clone(),
        server: o.server,
        broadcast: !o.unicast,
        conflicts: o.conflicts,
    }
}

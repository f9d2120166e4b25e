//! io-usb: the USB stack manager.
//!
//! It serves USB/IP on `<root>/dev/usb` (and on TCP when asked), for `devnp-ecm`, `usb` and stock tools. Its devices
//! are simulated ([`bus`]), this machine's own ([`usbfs`]) or those of another server ([`remote`]), under one numbering
//! ([`places`]). One thread does everything that does not block: see [`serve`].

mod bus;
mod command;
mod conn;
mod control;
mod far;
mod mail;
mod options;
mod places;
mod real;
mod remote;
mod serve;
mod usbfs;

use iopkt_slog::{Severity, Writer, major};
use iopkt_sys::lock::LockFile;
use iopkt_sys::process::{self, Started};
use iopkt_sys::signal::{self, Signals};
use iopkt_sys::{Root, clock, unix};
use mail::Mailbox;
use options::{HELP, Invocation, Serve};
use places::{Places, Policy};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use serve::{Listener, Server};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use usbfs::uevent::Uevents;

const SIGINT: i32 = 2;
const SIGHUP: i32 = 1;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;

fn main() -> ExitCode {
    let r = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Help) => say(&format!("{HELP}{}\n", indent(iopkt_gadget::faults::HELP))),
        Ok(Invocation::Version) => say(&format!("io-usb {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Control { name, command }) => command::run(&Root::find(), &name, &command),
        Ok(Invocation::Serve(s)) => return start(&s),
        Err(e) => Err(e),
    };
    match r {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "io-usb: {e}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|e| format!("standard output: {e}"))
}

fn indent(text: &str) -> String {
    text.lines().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

fn start(s: &Serve) -> ExitCode {
    // Signals first: a thread made later would not have them blocked, and SIGTERM may come at once.
    let mut started = Started::nobody();
    let r = Signals::new(&[SIGTERM, SIGINT]).and_then(|signals| {
        signal::ignore(SIGPIPE);
        if !s.foreground {
            signal::ignore(SIGHUP);
            started = process::background()?;
        }
        serve(s, signals, &mut started)
    });
    match r {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::error!("{e}");
            let _ = writeln!(io::stderr(), "io-usb: {e}");
            started.failed(1);
            ExitCode::FAILURE
        }
    }
}

fn serve(s: &Serve, signals: Signals, started: &mut Started) -> io::Result<()> {
    let root = Root::find();
    let path = root.prepare(&s.name)?;
    let _name = Name::take(path.clone(), &s.name)?;
    let writer = Writer::open(&root);
    if let Err(e) = &writer {
        let _ = writeln!(io::stderr(), "io-usb: {e}; logging to the console");
    }
    let sink = iopkt_slog::init("io-usb", major::USB, writer.ok());
    if s.verbose > 0 {
        sink.console(Some(if s.verbose > 1 { Severity::Debug2 } else { Severity::Info }));
    }
    if let Some(p) = s.priority
        && let Err(e) = process::set_priority(p)
    {
        log::warn!("-P {p}: {e} (it needs CAP_SYS_NICE); going on without it");
    }
    let now = clock::monotonic();
    let bus = bus::Bus::new(now, &s.devices)?;
    let mailbox = Mailbox::new()?;
    let policy = Policy { retries: s.retries, timeout: s.timeout, priority: s.enumeration };
    let simulated = !s.devices.is_empty();
    let mut places = Places::new(s.usbfs.clone(), &s.remotes, simulated, policy, &mailbox.post());
    let mut uevents = None;
    if !s.usbfs.is_empty() {
        // First the ears, then the look: what comes between is heard.
        match Uevents::open() {
            Ok(u) => uevents = Some(u),
            Err(e) => log::warn!("no hot-plug events: {e}; io-usb -c rescan looks again"),
        }
        places.scan(now, true)?;
    }
    let unix = unix::listener(&path, SocketType::STREAM, 64, 0o600)?;
    if let Some(g) = &s.group {
        share(&path, g)?;
    }
    let mut listeners = vec![Listener { fd: unix, tcp: false }];
    for a in &s.listen {
        listeners.push(Listener { fd: tcp_listener(a)?, tcp: true });
    }
    let mut server = Server::new(signals, listeners, bus, places, mailbox, uevents)?;
    log::info!("io-usb {} serves {}", env!("CARGO_PKG_VERSION"), path.display());
    started.ok()?;
    server.run()
}

/// Lets a group use the socket.
fn share(path: &Path, group: &str) -> io::Result<()> {
    let failed = |e: io::Error| io::Error::new(e.kind(), format!("-g {group}: {e}"));
    let table = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let by_name = table.lines().find_map(|l| {
        let mut f = l.split(':');
        (f.next() == Some(group)).then(|| f.nth(1)?.parse::<u32>().ok()).flatten()
    });
    let gid = by_name
        .or_else(|| group.parse().ok())
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "no such group in /etc/group")))?;
    std::os::unix::fs::chown(path, None, Some(gid)).map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    std::fs::set_permissions(path, mode).map_err(failed)
}

fn tcp_listener(a: &SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let family = if a.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let make = || -> io::Result<_> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        bind(&fd, a)?;
        listen(&fd, 64)?;
        Ok(fd)
    };
    make().map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {a}: {e}")))
}

/// The name that we serve on: held by a lock beside it, removed in the end.
struct Name {
    path: PathBuf,
    _lock: LockFile,
}

impl Name {
    fn take(path: PathBuf, documented: &str) -> io::Result<Name> {
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        match LockFile::take(lock.as_ref())? {
            Ok(_lock) => {
                // Whoever left it is dead: the lock is ours.
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        Err(io::Error::new(e.kind(), format!("cannot remove stale {}: {e}", path.display())))
                    }
                    _ => Ok(Name { path, _lock }),
                }
            }
            Err(pid) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!(
                    "another io-usb (process {pid}) serves {documented} ({}); end it (io-usb -c stop) or use -n NAME",
                    path.display()
                ),
            )),
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

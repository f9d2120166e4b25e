//! The tools by their names.

use crate::conn::Conn;
use crate::tool::{Failure, Outcome, Stack, print};
use crate::{
    arp, at, dhcp, dhcp6c, dns, dump, if_up, ifconfig, ifwatchd, ip6addrctl, mount, ndp, netstat, nicinfo,
    ping, ping6, resolve, route, rtadvd, rtsol, slogger, sloginfo, sockstat, sysctl, system, traceroute,
    traceroute6, usb, usblauncher, waitfor,
};
use std::ffi::OsString;

/// Every tool.
pub const NAMES: &[&str] = include!("names.in");

/// Runs a tool to its exit code.
pub fn main(name: &str, args: &[OsString]) -> i32 {
    match dispatch(name, args) {
        Ok(code) => code,
        Err(f) => {
            eprintln!("{name}: {}", f.message);
            f.code
        }
    }
}

fn dispatch(name: &str, raw: &[OsString]) -> Outcome {
    let words: Vec<String> = raw.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let args = words.as_slice();
    if args.iter().any(|a| a == "--version") {
        return print(&format!("{name} of io-pkt {}\n", env!("CARGO_PKG_VERSION")));
    }
    if let Some(f) = system::instead(name, args, raw) {
        return Err(f);
    }
    let mut stack = Lazy(None);
    match name {
        "arp" => arp::run(&mut stack, args),
        "at" => at::run(args),
        "dhcp.client" => dhcp::run(args),
        "dhcp6c" => run_dhcp6c(args),
        "if_up" => if_up::run(&mut || Conn::open().map(|c| Box::new(c) as Box<dyn Stack>), args),
        "ifconfig" => ifconfig::run(&mut stack, args),
        "io-pkt-dump" => dump::run(&mut stack, args),
        "ip6addrctl" => ip6addrctl::run(&mut stack, args),
        "mount" => match mount::parse(args)? {
            Some(m) => {
                // The type's number alone finds its stack; SOCK, where it is set, has the say (and is checked).
                if m.instance.is_some() && std::env::var_os("SOCK").is_none() {
                    stack.0 = Some(Conn::open_instance(m.instance)?);
                }
                mount::mount(&mut stack, &m)
            }
            None if args.iter().any(|a| a == "--help") => print(&format!("{}\n", mount::USAGE)),
            None => Err(system::exec(name, raw)),
        },
        "umount" => match mount::parse_umount(args) {
            Some(_) if args == ["--help"] => print(&format!("{}\n", mount::UMOUNT_USAGE)),
            Some(what) => mount::umount(&mut stack, &what),
            None if args.iter().any(|a| a == "--help") => print(&format!("{}\n", mount::UMOUNT_USAGE)),
            None => Err(system::exec(name, raw)),
        },
        "ndp" => ndp::run(&mut stack, args),
        "netstat" => netstat::run(&mut stack, args),
        "nicinfo" => nicinfo::run(&mut stack, args),
        "ping" => ping::ping6(args).map_or_else(|| run_ping(args), |a| run_ping6(&a)),
        "ping6" => run_ping6(args),
        "route" => route::run(&mut stack, args),
        "rtadvd" => run_rtadvd(args),
        "rtsol" | "rtsold" => run_rtsol(name, &mut stack, args),
        "slogger" => slogger::run(args),
        "sloginfo" => sloginfo::run(args),
        "ifwatchd" => ifwatchd::run(args),
        "sockstat" => sockstat::run(&mut stack, args),
        "sysctl" if sysctl::is_systems(args) => Err(system::exec(name, raw)),
        "sysctl" => sysctl::run(&mut stack, args),
        "traceroute" => run_traceroute(args),
        "traceroute6" => match traceroute6::Options::parse(args)? {
            None => print(&format!("{}\n", traceroute6::USAGE)),
            Some(o) => traceroute6::run(Conn::open().map_err(Failure::new)?.session(), &o),
        },
        "usb" => usb::run(args),
        "usblauncher" => usblauncher::run(args),
        "waitfor" => waitfor::run(args),
        _ => Err(Failure::new("no such tool")),
    }
}

/// Connects at the first question, so that usage errors need no stack.
struct Lazy(Option<Conn>);

impl Stack for Lazy {
    fn ask(&mut self, r: &iopkt_ctl::Request) -> Result<iopkt_ctl::Reply, String> {
        if self.0.is_none() {
            self.0 = Some(Conn::open()?);
        }
        match &mut self.0 {
            Some(c) => c.ask(r),
            None => Err("no session".into()),
        }
    }
}

/// A moment passes; Ctrl-C and SIGTERM end the waiting.
fn run_rtsol(name: &str, s: &mut dyn Stack, args: &[String]) -> Outcome {
    let signals = iopkt_sys::signal::Signals::new(&[libc::SIGINT, libc::SIGTERM]).ok();
    let step = std::time::Duration::from_millis(if name == "rtsol" { 100 } else { 500 });
    let mut pause = || {
        std::thread::sleep(step);
        signals.as_ref().is_none_or(|s| s.next().is_none())
    };
    if name == "rtsol" {
        return rtsol::run(s, args, &mut pause);
    }
    let mut w = rtsol::daemon::Real { pause: &mut pause, parts: std::collections::BTreeMap::new() };
    rtsol::daemon::run(s, args, &mut w)
}

fn run_rtadvd(args: &[String]) -> Outcome {
    let Some(o) = rtadvd::Options::parse(args)? else { return print(&format!("{}\n", rtadvd::USAGE)) };
    let conn = Conn::open().map_err(Failure::new)?;
    let all = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];
    let signals = iopkt_sys::signal::Signals::new(&all).map_err(|e| Failure::new(format!("signals: {e}")))?;
    let session = conn.session().clone();
    let mut signal = || {
        Some(match signals.next()? {
            libc::SIGHUP => rtadvd::Order::Reload,
            libc::SIGUSR1 => rtadvd::Order::Dump,
            _ => rtadvd::Order::End,
        })
    };
    let mut random = |below: u32| {
        let mut b = [0; 8];
        // Without randomness the times are the least ones.
        let _ = iopkt_sys::random::fill(&mut b);
        (u64::from_ne_bytes(b) % u64::from(below.max(1))) as u32
    };
    let mut conn = conn;
    rtadvd::run(&mut conn, &session, &o, &mut signal, &mut random)
}

fn run_dhcp6c(args: &[String]) -> Outcome {
    let Some(o) = dhcp6c::Options::parse(args)? else { return print(&format!("{}\n", dhcp6c::USAGE)) };
    let mut conn = Conn::open().map_err(Failure::new)?;
    let signals = iopkt_sys::signal::Signals::new(&[libc::SIGINT, libc::SIGTERM])
        .map_err(|e| Failure::new(format!("signals: {e}")))?;
    let seed = iopkt_sys::random::u64().map_err(|e| Failure::new(format!("randomness: {e}")))?;
    let session = conn.session().clone();
    let mut stop = || signals.next().is_some();
    dhcp6c::run(&mut conn, &session, &o, seed, &iopkt_sys::clock::monotonic, &mut stop)
}

fn run_ping(args: &[String]) -> Outcome {
    let fail = |message: String| Failure { message, code: 2 };
    let Some(o) = ping::Options::parse(args)? else { return print(&format!("{}\n", ping::USAGE)) };
    let conn = Conn::open().map_err(fail)?;
    let to = resolve::host(&mut dns::Net(conn.session()), &o.host).map_err(fail)?;
    let mut s = ping::Icmp::open(conn.session(), &o).map_err(fail)?;
    // Ctrl-C ends it with the summary.
    let signals = iopkt_sys::signal::Signals::new(&[libc::SIGINT, libc::SIGQUIT]).ok();
    let mut names = resolve::Names::new(conn.session(), o.numeric);
    let mut w = ping::World {
        signal: &mut || match signals.as_ref().and_then(|s| s.next()) {
            Some(libc::SIGQUIT) => Some(ping::Signal::Status),
            Some(_) => Some(ping::Signal::Stop),
            None => None,
        },
        name: &mut |a| names.of(a.into()),
        random: &mut |b| {
            // Without randomness the default data does as well.
            let _ = iopkt_sys::random::fill(b);
        },
    };
    ping::run(&mut s, &o, &o.host, to, &mut w)
}

fn run_ping6(args: &[String]) -> Outcome {
    let fail = |message: String| Failure { message, code: 2 };
    let Some(o) = ping6::Options::parse(args)? else { return print(&format!("{}\n", ping6::USAGE)) };
    let conn = Conn::open().map_err(fail)?;
    let (to, zone) = if o.group > 0 {
        (ping6::group_of(&o).map_err(fail)?, None)
    } else {
        resolve::host6(&mut dns::Net(conn.session()), &o.host).map_err(fail)?
    };
    let ifname = zone.as_deref().or(o.interface.as_deref());
    let scope = ping6::scope(conn.session(), to, ifname).map_err(fail)?;
    // Ctrl-C ends it with the summary.
    let signals = iopkt_sys::signal::Signals::new(&[libc::SIGINT]).ok();
    let mut stop = || signals.as_ref().is_some_and(|s| s.next().is_some());
    let mut names = resolve::Names::new(conn.session(), !o.names);
    let mut w = ping6::World { stop: &mut stop, name: &mut |a| names.name(a.into()) };
    ping6::run(conn.session(), &o, (to, ifname, scope), &mut w)
}

fn run_traceroute(args: &[String]) -> Outcome {
    let Some(o) = traceroute::Options::parse(args)? else {
        return print(&format!("{}\n", traceroute::USAGE));
    };
    let conn = Conn::open().map_err(Failure::new)?;
    let to = resolve::host(&mut dns::Net(conn.session()), &o.host).map_err(Failure::new)?;
    let mut net = traceroute::Net::open(conn.session(), &o, to).map_err(Failure::new)?;
    let mut names = resolve::Names::new(conn.session(), o.numeric);
    traceroute::run(&mut net, &o, to, &mut |a| names.name(a.into()))
}

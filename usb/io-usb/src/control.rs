//! Commands that come over the control operation: plug, unplug, faults, state.

use crate::bus::{Bus, World};
use crate::conn::Conn;
use crate::places::Places;
use iopkt_base::Instant;
use iopkt_gadget::at::Terminal;
use iopkt_gadget::faults::{self, Fault};
use iopkt_gadget::{Device, Event, Modem};
use std::fmt::Write;

/// The connections, and their names (of which one is needed while a connection is borrowed).
pub struct Hosts<'a> {
    /// Connections by number.
    pub conns: &'a mut Vec<Option<Conn>>,
    /// Their ids and peers.
    pub peers: Vec<Option<(u64, String)>>,
}

/// Runs a command; the text is for a person.
///
/// # Errors
/// What is wrong, in words.
pub fn run(
    now: Instant,
    command: &str,
    bus: &mut Bus,
    places: &Places,
    hosts: &mut Hosts<'_>,
    events: &mut Vec<(usize, Event)>,
    stop: &mut bool,
) -> Result<String, String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (verb, rest) = words.split_first().ok_or(
        "no command; there are list, rescan, plug, unplug, replug, fault, signal, network, at, stop",
    )?;
    if *verb == "list" || *verb == "stop" {
        if !rest.is_empty() {
            return Err(format!("{verb} takes no arguments"));
        }
        if *verb == "stop" {
            *stop = true;
            return Ok(String::new());
        }
        return Ok(list(bus, places, hosts));
    }
    if !["plug", "unplug", "replug", "fault", "signal", "network", "at"].contains(verb) {
        return Err(format!(
            "unknown command \"{verb}\"; there are list, rescan, plug, unplug, replug, fault, signal, network, at, stop"
        ));
    }
    let (port, args) = which(bus, rest)?;
    let busid = bus.ports[port].busid.clone();
    let done = |said: &str| Ok(format!("{busid} {said}"));
    match *verb {
        "plug" | "unplug" | "replug" if !args.is_empty() => {
            Err(format!("{verb}: \"{}\" is no bus id of ours", args[0]))
        }
        "plug" => match bus.plug(now, port) {
            true => done("plugged in"),
            false => Err(format!("{busid} is plugged in already")),
        },
        "unplug" => match bus.ports[port].device {
            Some(_) => {
                events.push((port, Event::Unplug { torn: false }));
                done("unplugged")
            }
            None => Err(format!("{busid} is not plugged in")),
        },
        "replug" => {
            match bus.ports[port].device {
                Some(_) => events.push((port, Event::Restart)),
                None => drop(bus.plug(now, port)),
            }
            done("replugged")
        }
        "fault" => {
            let f = faults::parse(args)?;
            if let Fault::Link(l) = f {
                bus.ports[port].link = l;
            } else if f == Fault::Clear {
                bus.ports[port].link = faults::LinkFaults::default();
            }
            with_device(bus, hosts, events, port, |d, w| d.fault(now, &f, w))??;
            done("has it")
        }
        "signal" => {
            let n = args.first().and_then(|a| a.parse::<u8>().ok()).filter(|n| *n <= 31 || *n == 99);
            let n = n.filter(|_| args.len() == 1).ok_or("signal needs a number from 0 to 31, or 99")?;
            with_device(bus, hosts, events, port, |d, w| {
                d.with(now, w, |m, io| m.with_radio(io, |r| r.signal = n));
            })?;
            done("has it")
        }
        "network" => {
            let lost = match args {
                ["lost"] => true,
                ["back"] => false,
                _ => return Err("network needs lost or back".into()),
            };
            with_device(bus, hosts, events, port, |d, w| {
                d.with(now, w, |m, io| m.with_radio(io, |r| if lost { r.leave() } else { r.search(now) }));
            })?;
            done("has it")
        }
        _ => at(now, bus, hosts, events, port, args),
    }
}

/// The port that the first word names, or the only one; and the other words.
fn which<'a, 'b>(bus: &Bus, words: &'a [&'b str]) -> Result<(usize, &'a [&'b str]), String> {
    if let Some((first, rest)) = words.split_first() {
        if let Some(i) = bus.find(first) {
            return Ok((i, rest));
        }
        let looks_like_one =
            first.split_once('-').is_some_and(|(a, b)| a.parse::<u8>().is_ok() && b.parse::<u8>().is_ok());
        if looks_like_one {
            return Err(format!("{first}: no such device that is simulated; io-usb -c list shows them"));
        }
    }
    match bus.ports.len() {
        1 => Ok((0, words)),
        0 => Err("there is no simulated device; only those are plugged, unplugged and broken here".into()),
        _ => Err("which device? There are several: give its bus id (io-usb -c list shows them)".into()),
    }
}

fn with_device<R>(
    bus: &mut Bus,
    hosts: &mut Hosts<'_>,
    events: &mut Vec<(usize, Event)>,
    port: usize,
    f: impl FnOnce(&mut Device<Modem>, &mut World<'_>) -> R,
) -> Result<R, String> {
    let p = &mut bus.ports[port];
    let host = p.owner.and_then(|o| hosts.conns[o].as_mut()).map(|c| c.session.replies());
    let d = p.device.as_mut().ok_or_else(|| format!("{} is not plugged in", p.busid))?;
    Ok(f(d, &mut World { host, far: Some(&mut p.far), events, port }))
}

fn at(
    now: Instant,
    bus: &mut Bus,
    hosts: &mut Hosts<'_>,
    events: &mut Vec<(usize, Event)>,
    port: usize,
    args: &[&str],
) -> Result<String, String> {
    let mut line = args.join(" ").into_bytes();
    line.push(b'\r');
    let answer = with_device(bus, hosts, events, port, |d, w| {
        d.with(now, w, |m, io| {
            let mut out = Vec::new();
            m.with_radio(io, |r| Terminal::new(false).input(now, &line, r, &mut out));
            out
        })
    })?;
    let text: String = answer.iter().map(|b| char::from(*b)).collect();
    let lines: Vec<&str> = text.split("\r\n").filter(|l| !l.is_empty()).collect();
    match lines.is_empty() {
        true => Err("the modem says nothing to that: a command line starts with AT".into()),
        false => Ok(lines.join("\n")),
    }
}

fn list(bus: &Bus, places: &Places, hosts: &Hosts<'_>) -> String {
    let mut out = String::new();
    for (i, p) in bus.ports.iter().enumerate() {
        let Some((info, d)) = bus.info(i).zip(p.device.as_ref()) else {
            let _ = writeln!(out, "{}: not plugged in, far side {}", p.busid, p.far.describe());
            continue;
        };
        let m = d.function();
        let user = p.owner.and_then(|o| hosts.peers.get(o).cloned().flatten()).map(|u| u.1);
        let _ = writeln!(
            out,
            "{}: {:04x}:{:04x} address {}, {}, call {}, far side {}",
            p.busid,
            info.vendor,
            info.product,
            info.devnum,
            user.map_or("free".into(), |u| format!("used by {u}")),
            if m.radio().link() { "up" } else { "down" },
            p.far.describe(),
        );
        let c = m.counters();
        let _ = writeln!(
            out,
            "    to host {} frames ({} filtered, {} not fetched, {} bad), from host {} ({} bad, {} without call)",
            c.to_host,
            c.filtered,
            c.no_buffer,
            c.to_host_errors,
            c.from_host,
            c.from_host_errors,
            c.no_carrier,
        );
        if let Some(b) = m.block_counters() {
            let _ = writeln!(
                out,
                "    blocks to host {} (up to {} frames), from host {} (up to {} frames, {} bad, {} gaps)",
                b.to_host, b.to_host_most, b.from_host, b.from_host_most, b.bad, b.gaps
            );
        }
    }
    for p in &places.all {
        let user = |o| hosts.peers.iter().flatten().find(|c| c.0 == o).map(|c| c.1.clone());
        let _ = writeln!(out, "{}", places.line(p, p.owner.and_then(user)));
    }
    out.truncate(out.trim_end().len());
    out
}

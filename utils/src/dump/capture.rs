//! The capture itself: sockets, order, the file.

use super::{Options, filter, pcapng};
use crate::tool::{Failure, Outcome};
use iopkt_client::{Frame, PacketSocket, Session};
use iopkt_ctl::{IfKind, Ifconf};
use iopkt_stack::Why;
use iopkt_sys::clock;
use iopkt_sys::signal::Signals;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

/// Room for frames that wait in the stack, of each interface.
const ROOM: usize = 8 << 20;
/// Frames taken of each interface before they are put in order.
const BATCH: usize = 256;
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;

/// One interface of the capture.
struct Source {
    socket: PacketSocket,
    name: String,
    totals: pcapng::Totals,
    /// Lost, and not said so yet.
    unsaid: u64,
    gone: bool,
}

/// A frame that waits to be written.
struct Held {
    source: usize,
    frame: Frame,
    bytes: Vec<u8>,
}

fn open(session: &Session, o: &Options, i: &Ifconf) -> Result<Source, Failure> {
    let fail = |e: io::Error| {
        let hint = match e.raw_os_error() {
            Some(libc::EPERM) => ": captures are for root and the user that the stack runs as",
            Some(libc::ENETDOWN) => ": the interface is down (ifconfig NAME up)",
            Some(libc::EINVAL) => ": the filter is not sound",
            _ => "",
        };
        Failure::new(format!("{}: {e}{hint}", i.name))
    };
    let socket = PacketSocket::open(session).map_err(fail)?;
    let snap = if o.snap == 0 { u32::MAX } else { o.snap };
    let raw = i.kind == IfKind::PointToPoint;
    let program = match (&o.program, o.expression.as_str()) {
        (Some(p), _) => filter::parse(p).map_err(|e| Failure::new(format!("-F: {e}")))?,
        (None, "") => filter::everything(snap),
        (None, e) => filter::compile(e, raw, if o.snap == 0 { 262_144 } else { o.snap })?,
    };
    let set_up = || {
        socket.filter(&program)?;
        socket.room(ROOM)?;
        if o.drops {
            socket.fates()?;
        }
        if o.promiscuous {
            socket.promiscuous(i.index)?;
        }
        socket.bind(i.index)
    };
    set_up().map_err(fail)?;
    let totals = pcapng::Totals { from: clock::realtime().as_nanos() as u64, ..Default::default() };
    Ok(Source { socket, name: i.name.clone(), totals, unsaid: 0, gone: false })
}

fn describe(o: &Options, i: &Ifconf) -> pcapng::Interface {
    pcapng::Interface {
        name: i.name.clone(),
        description: if i.driver.is_empty() { String::new() } else { format!("io-pkt, devnp-{}", i.driver) },
        link: if i.kind == IfKind::PointToPoint { pcapng::RAW } else { pcapng::ETHERNET },
        snap: o.snap,
        mac: i.mac,
        speed: i.speed_rx,
        filter: o.expression.clone(),
    }
}

/// `epb_flags`: direction in bits 0 and 1, kind of reception in 2 to 4.
fn flags(pkttype: u8) -> u32 {
    match pkttype {
        OUTGOING => 2,
        0 => 1 | 1 << 2,
        1 => 1 | 3 << 2,
        2 => 1 | 2 << 2,
        _ => 1 | 4 << 2,
    }
}

fn comments(f: &Frame) -> Vec<String> {
    let mut v = Vec::new();
    if let Some((_, text)) = f.why.and_then(|w| Why::ALL.get(w)) {
        v.push(format!("dropped: {text}"));
    }
    if f.csum_pending {
        v.push("checksum left to the device".into());
    }
    v
}

/// Captures until told to end.
pub fn run(session: &Session, o: &Options, chosen: &[Ifconf]) -> Outcome {
    let mut out: Box<dyn Write> = if o.file.is_empty() {
        if io::stdout().is_terminal() {
            return Err(Failure::usage("standard output is a terminal; name a file with -w", super::USAGE));
        }
        Box::new(BufWriter::new(io::stdout()))
    } else {
        let f = File::create(&o.file).map_err(|e| Failure::new(format!("{}: {e}", o.file)))?;
        Box::new(BufWriter::new(f))
    };
    let signals = Signals::new(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])
        .map_err(|e| Failure::new(format!("signals: {e}")))?;
    let mut sources = chosen.iter().map(|i| open(session, o, i)).collect::<Result<Vec<_>, _>>()?;
    // The real-time clock minus the stack's.
    let epoch = clock::realtime().as_nanos() as i128 - i128::from(clock::monotonic().as_nanos());
    let wall = |stamp: u64| (i128::from(stamp) + epoch).max(0) as u64;
    let names: Vec<&str> = chosen.iter().map(|i| i.name.as_str()).collect();
    eprintln!("io-pkt-dump: listening on {}", names.join(", "));
    let done = capture(&mut out, o, chosen, &mut sources, &signals, &wall);
    let mut written = 0;
    let ended = done.and_then(|n| {
        written = n;
        for (n, s) in sources.iter_mut().enumerate() {
            s.totals.to = clock::realtime().as_nanos() as u64;
            count(s);
            pcapng::statistics(&mut out, n as u32, &s.totals)?;
        }
        out.flush()
    });
    match ended {
        // Whoever read the pipe has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
        Err(e) => {
            return Err(Failure::new(format!(
                "{}: {e}",
                if o.file.is_empty() { "standard output" } else { &o.file }
            )));
        }
        Ok(()) => {}
    }
    let lost: u64 = sources.iter().map(|s| s.totals.lost).sum();
    eprintln!("io-pkt-dump: {written} packets written, {lost} lost for want of room");
    Ok(0)
}

fn count(s: &mut Source) {
    if let Ok((accepted, lost)) = s.socket.statistics() {
        s.totals.accepted += u64::from(accepted);
        s.totals.lost += u64::from(lost);
        s.unsaid += u64::from(lost);
    }
}

fn capture(
    out: &mut dyn Write,
    o: &Options,
    chosen: &[Ifconf],
    sources: &mut [Source],
    signals: &Signals,
    wall: &dyn Fn(u64) -> u64,
) -> io::Result<u64> {
    let system = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let me = format!("io-pkt-dump of io-pkt {}", env!("CARGO_PKG_VERSION"));
    pcapng::section(out, &me, &format!("Linux {}", system.trim()))?;
    for i in chosen {
        pcapng::interface(out, &describe(o, i))?;
    }
    out.flush()?;
    let mut written = 0;
    let mut held: Vec<Held> = Vec::new();
    let mut stop = false;
    loop {
        stop |= signals.next().is_some();
        for (n, s) in sources.iter_mut().enumerate() {
            take(n, s, o, &mut held);
        }
        if held.is_empty() && (stop || sources.iter().all(|s| s.gone)) {
            return Ok(written);
        }
        held.sort_by_key(|h| h.frame.stamp);
        for h in held.drain(..) {
            let s = &mut sources[h.source];
            let (comments, lost) = (comments(&h.frame), std::mem::take(&mut s.unsaid));
            let p = pcapng::Packet {
                interface: h.source as u32,
                at: wall(h.frame.stamp),
                wire_len: h.frame.wire_len as u32,
                flags: flags(h.frame.pkttype),
                comments: &comments,
                lost,
            };
            pcapng::packet(out, &p, &h.bytes)?;
            (s.totals.written, written) = (s.totals.written + 1, written + 1);
            if written == o.count {
                return Ok(written);
            }
        }
        if o.unbuffered {
            out.flush()?;
        }
        if !stop {
            wait(out, sources, signals)?;
        }
    }
}

/// What an interface has, up to a bound.
fn take(n: usize, s: &mut Source, o: &Options, held: &mut Vec<Held>) {
    for _ in 0..BATCH {
        if s.gone {
            return;
        }
        match s.socket.receive() {
            Ok(None) => return,
            Ok(Some((frame, bytes))) => {
                let (received, sent) = o.directions;
                if if frame.pkttype == OUTGOING { sent } else { received } {
                    held.push(Held { source: n, frame, bytes: bytes.to_vec() });
                }
            }
            Err(e) => {
                eprintln!("io-pkt-dump: {}: {e}: no more of it", s.name);
                s.gone = true;
            }
        }
    }
    count(s);
}

/// Until there is something; what was written goes out first if that takes time.
fn wait(out: &mut dyn Write, sources: &[Source], signals: &Signals) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .filter(|s| !s.gone)
        .map(|s| PollFd::from_borrowed_fd(s.socket.as_fd(), PollFlags::IN))
        .collect();
    fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if matches!(poll(&mut fds, Some(&at_once)), Ok(0)) {
        out.flush()?;
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

//! The thread that keeps the list of a remote server's devices.

use super::{connect, list};
use crate::mail::{Mail, Post};
use iopkt_usbip::op::{self, DeviceInfo, WatchEvent};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

/// How often a server without watch operation is asked.
const POLL: Duration = Duration::from_secs(2);
/// Least time that a server has to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest pause between attempts to reach a server.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Keeps the loop told of what `host` has, as bus number `bus` of the remote ones, for as long as the process lives.
pub fn run(bus: usize, host: &str, timeout: Duration, post: &Post) {
    let mut pause = Duration::from_millis(250);
    let mut quiet = false;
    let mut stock = false;
    // A slow answer is no reason to call everything unplugged.
    let timeout = timeout.max(PATIENCE);
    loop {
        let told = |list| {
            post.send(Mail::List(bus, list));
        };
        let end =
            if stock { poll(host, timeout, &told) } else { watch(host, timeout, &mut stock, bus, post) };
        let (why, had) = match end {
            // No watch operation there: poll from now on.
            Ok(()) => continue,
            Err(r) => r,
        };
        told(Vec::new());
        if had {
            (pause, quiet) = (Duration::from_millis(250), false);
        }
        if !quiet {
            let why = match why.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer".to_owned(),
                _ => why.to_string(),
            };
            log::warn!("-d usbip {host}: {why}; trying again until it answers");
            quiet = true;
        }
        // It may be another server that answers next.
        stock = false;
        sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Why it ended, and whether the server had answered.
type End = Result<(), (io::Error, bool)>;

fn poll(host: &str, timeout: Duration, told: &dyn Fn(Vec<DeviceInfo>)) -> End {
    let mut had = false;
    loop {
        match connect(host, timeout).and_then(|mut s| list(&mut s)) {
            // Told whether it has changed or not: what is not listed may be in use, which only the loop knows.
            Ok(l) => told(l),
            Err(e) => return Err((e, had)),
        }
        had = true;
        sleep(POLL);
    }
}

fn watch(host: &str, timeout: Duration, stock: &mut bool, bus: usize, post: &Post) -> End {
    let early = |e| (e, false);
    let mut s = connect(host, timeout).map_err(early)?;
    s.write_all(&op::request(op::REQ_WATCH)).map_err(early)?;
    // Only the header: events come right behind it.
    let mut head = [0; op::OP_LEN];
    match s.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            *stock = true;
            post.send(Mail::Extended(bus, false));
            return Ok(());
        }
        Err(e) => return Err(early(e)),
    }
    match op::parse_watch(&head) {
        Ok(Some((Ok(()), _))) => {}
        _ => {
            *stock = true;
            post.send(Mail::Extended(bus, false));
            return Ok(());
        }
    }
    post.send(Mail::Extended(bus, true));
    s.set_read_timeout(None).map_err(early)?;
    let e = events(&mut s, &|l| post.send(Mail::List(bus, l)));
    Err((e, true))
}

/// Follows the events until the connection ends.
fn events(s: &mut TcpStream, told: &dyn Fn(Vec<DeviceInfo>)) -> io::Error {
    let (mut got, mut chunk) = (Vec::new(), [0; 4096]);
    let mut devices: Vec<DeviceInfo> = Vec::new();
    let mut settled = false;
    loop {
        loop {
            let (e, n) = match WatchEvent::parse(&got) {
                Ok(Some(e)) => e,
                Ok(None) => break,
                Err(e) => return io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
            };
            got.drain(..n);
            match e {
                WatchEvent::Added(d) if devices.len() < op::MAX_DEVICES as usize => devices.push(d),
                WatchEvent::Added(_) => {}
                WatchEvent::Removed(d) => devices.retain(|x| x.busid != d.busid),
                WatchEvent::Settled => settled = true,
            }
            if settled {
                told(devices.clone());
            }
        }
        match s.read(&mut chunk) {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(n) => got.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return e,
        }
    }
}

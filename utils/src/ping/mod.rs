//! `ping`: ICMP echo, in BSD's words.

mod options;

use crate::tool::{Failure, Outcome, print};
pub use options::{Options, USAGE};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A received ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sender.
    pub from: Ipv4Addr,
    /// TTL that it arrived with.
    pub ttl: u8,
    /// The ICMP message.
    pub icmp: Vec<u8>,
}

/// What ping needs of a socket.
pub trait EchoSocket {
    /// Sends an ICMP message.
    ///
    /// # Errors
    /// What sendto(2) says.
    fn send(&mut self, to: Ipv4Addr, ttl: Option<u8>, icmp: &[u8]) -> std::io::Result<()>;

    /// The next message, `None` when the time is over.
    ///
    /// # Errors
    /// What recvfrom(2) says.
    fn recv(&mut self, wait: Duration) -> std::io::Result<Option<Message>>;
}

/// Counts and times.
#[derive(Default)]
struct Tally {
    sent: u64,
    received: u64,
    duplicates: u64,
    /// Round trips in ms.
    min: f64,
    max: f64,
    sum: f64,
    squares: f64,
}

impl Tally {
    fn round_trip(&mut self, ms: f64) {
        self.min = if self.received == 1 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.sum += ms;
        self.squares += ms * ms;
    }

    fn summary(&self, name: &str, timed: bool) -> String {
        let loss = if self.sent == 0 {
            0.0
        } else {
            100.0 * (self.sent - self.received.min(self.sent)) as f64 / self.sent as f64
        };
        let mut o = format!(
            "\n----{name} PING Statistics----\n{} packets transmitted, {} packets received, ",
            self.sent, self.received
        );
        if self.duplicates > 0 {
            o += &format!("+{} duplicates, ", self.duplicates);
        }
        o += &format!("{}% packet loss\n", trim(loss));
        if timed && self.received > 0 {
            let n = self.received as f64;
            let avg = self.sum / n;
            let dev = (self.squares / n - avg * avg).max(0.0).sqrt();
            o += &format!(
                "round-trip min/avg/max/stddev = {:.3}/{avg:.3}/{:.3}/{dev:.3} ms\n",
                self.min, self.max
            );
        }
        o
    }
}

/// `33.3` but `0` and `100`.
fn trim(v: f64) -> String {
    let s = format!("{v:.1}");
    s.strip_suffix(".0").map_or(s.clone(), str::to_string)
}

/// Runs until the count, the deadline or `interrupted` ends it.
///
/// # Errors
/// The socket fails (a request that cannot be sent is reported and counts as lost).
pub fn run(
    s: &mut dyn EchoSocket,
    o: &Options,
    name: &str,
    to: Ipv4Addr,
    interrupted: &dyn Fn() -> bool,
) -> Outcome {
    print(&format!("PING {name} ({to}): {} data bytes\n", o.size))?;
    let id = std::process::id() as u16;
    let start = Instant::now();
    let mut t = Tally::default();
    let mut seen = vec![false; 65536];
    let mut next = start;
    let timed = o.size >= 8;
    let over = |t: &Tally| o.count.is_some_and(|c| t.sent >= c);
    let mut last_sent = start;
    loop {
        let now = Instant::now();
        if interrupted() || o.deadline.is_some_and(|d| now >= start + d) {
            break;
        }
        if over(&t) {
            if t.received >= t.sent || now >= last_sent + o.wait {
                break;
            }
        } else if now >= next {
            let seq = t.sent as u16;
            seen[usize::from(seq)] = false;
            if let Err(e) = s.send(to, o.ttl, &request(id, seq, start, o.size)) {
                eprintln!("ping: sendto {to}: {}", text_of(&e));
            }
            t.sent += 1;
            (last_sent, next) = (now, next + o.interval);
        }
        let until = if over(&t) { last_sent + o.wait } else { next };
        // In slices, so that an interrupt ends it soon.
        let wait = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        let Some(m) =
            s.recv(wait).map_err(|e| Failure { message: format!("{to}: {}", text_of(&e)), code: 2 })?
        else {
            continue;
        };
        if let Some(line) = answer(&m, start, timed, o.size, &mut t, &mut seen)
            && !o.quiet
        {
            print(&line)?;
        }
    }
    print(&t.summary(name, timed))?;
    Ok(i32::from(t.received == 0))
}

/// BSD's words for an error of the socket.
fn text_of(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |n| iopkt_base::Errno(n).text().to_string())
}

/// An echo request: time sent in the first 8 bytes of data (RFC 792 leaves the data to us).
fn request(id: u16, seq: u16, start: Instant, size: usize) -> Vec<u8> {
    let mut p = vec![8, 0, 0, 0];
    p.extend_from_slice(&id.to_be_bytes());
    p.extend_from_slice(&seq.to_be_bytes());
    p.extend((0..size).map(|i| i as u8));
    if size >= 8 {
        p[8..16].copy_from_slice(&(start.elapsed().as_micros() as u64).to_be_bytes());
    }
    let sum = checksum(&p);
    p[2..4].copy_from_slice(&sum.to_be_bytes());
    p
}

/// RFC 1071, for a packet a second.
fn checksum(p: &[u8]) -> u16 {
    let sum: u32 = p.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Takes an answer: its line, `None` when it is none of ours.
fn answer(
    m: &Message,
    start: Instant,
    timed: bool,
    size: usize,
    t: &mut Tally,
    seen: &mut [bool],
) -> Option<String> {
    let p = &m.icmp;
    if p.len() < 8 {
        return None;
    }
    if let Some(what) = match p[0] {
        3 => Some(
            [
                "Net Unreachable",
                "Host Unreachable",
                "Protocol Unreachable",
                "Port Unreachable",
                "frag needed and DF set",
            ]
            .get(usize::from(p[1]))
            .copied()
            .unwrap_or("Unreachable"),
        ),
        11 => Some("Time to live exceeded"),
        _ => None,
    } {
        return Some(format!("{} bytes from {}: {what}\n", p.len(), m.from));
    }
    let seq = u16::from_be_bytes([p[6], p[7]]);
    if p[0] != 0 || u64::from(seq) >= t.sent.max(1) && t.sent < 65536 {
        return None;
    }
    let again = std::mem::replace(&mut seen[usize::from(seq)], true);
    let mut line = format!("{} bytes from {}: icmp_seq={seq} ttl={}", p.len(), m.from, m.ttl);
    if again {
        t.duplicates += 1;
    } else {
        t.received += 1;
    }
    if let Some(b) = p.get(8..16).filter(|_| timed) {
        let sent = u64::from_be_bytes(b.try_into().unwrap_or_default());
        let ms = (start.elapsed().as_micros() as u64).saturating_sub(sent) as f64 / 1000.0;
        if !again {
            t.round_trip(ms);
        }
        line += &format!(" time={ms:.3} ms");
    }
    if p.len() != 8 + size {
        line += " (wrong data length)";
    }
    Some(line + if again { " DUP!\n" } else { "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Answers every request but those whose number is in `lose`; says some things twice.
    struct Far {
        lose: Vec<u16>,
        twice: Vec<u16>,
        queue: std::collections::VecDeque<Message>,
        asked: Cell<u32>,
    }

    impl EchoSocket for Far {
        fn send(&mut self, to: Ipv4Addr, _: Option<u8>, icmp: &[u8]) -> std::io::Result<()> {
            assert_eq!(checksum(icmp), 0);
            self.asked.set(self.asked.get() + 1);
            let seq = u16::from_be_bytes([icmp[6], icmp[7]]);
            let mut a = icmp.to_vec();
            a[0] = 0;
            for _ in 0..1 + usize::from(self.twice.contains(&seq)) {
                if !self.lose.contains(&seq) {
                    self.queue.push_back(Message { from: to, ttl: 64, icmp: a.clone() });
                }
            }
            Ok(())
        }

        fn recv(&mut self, _: Duration) -> std::io::Result<Option<Message>> {
            Ok(self.queue.pop_front())
        }
    }

    fn go(lose: &[u16], twice: &[u16], size: usize) -> (Outcome, u32) {
        let mut f =
            Far { lose: lose.into(), twice: twice.into(), queue: Default::default(), asked: Cell::new(0) };
        let o = Options {
            count: Some(3),
            interval: Duration::ZERO,
            wait: Duration::ZERO,
            size,
            ..Options::default()
        };
        let r = run(&mut f, &o, "10.1", Ipv4Addr::new(10, 0, 0, 1), &|| false);
        (r, f.asked.get())
    }

    #[test]
    fn exit_codes_tell_whether_anybody_answered() {
        assert_eq!(go(&[], &[1], 56), (Ok(0), 3));
        assert_eq!(go(&[0], &[], 0).0, Ok(0));
        assert_eq!(go(&[0, 1, 2], &[], 56), (Ok(1), 3));
    }

    #[test]
    fn lines_and_summary_in_bsd_words() {
        let start = Instant::now();
        let mut t = Tally { sent: 3, ..Tally::default() };
        let mut seen = vec![false; 65536];
        let mut p = request(1, 2, start, 56);
        p[0] = 0;
        let m = Message { from: Ipv4Addr::new(10, 0, 0, 1), ttl: 64, icmp: p };
        let l = answer(&m, start, true, 56, &mut t, &mut seen).expect("ours");
        assert!(
            l.starts_with("64 bytes from 10.0.0.1: icmp_seq=2 ttl=64 time=") && l.ends_with(" ms\n"),
            "{l}"
        );
        assert!(answer(&m, start, true, 56, &mut t, &mut seen).expect("ours").ends_with(" DUP!\n"));
        let s = t.summary("10.1", true);
        assert!(
            s.contains("3 packets transmitted, 1 packets received, +1 duplicates, 66.7% packet loss\n"),
            "{s}"
        );
        assert!(s.contains("round-trip min/avg/max/stddev = "));
        t = Tally { sent: 3, received: 3, ..Tally::default() };
        assert!(
            t.summary("x", false).contains("3 packets transmitted, 3 packets received, 0% packet loss\n")
        );
        for junk in [&[][..], &[0; 7], &[8; 20]] {
            let m = Message { from: Ipv4Addr::LOCALHOST, ttl: 1, icmp: junk.to_vec() };
            assert_eq!(answer(&m, start, true, 56, &mut t, &mut seen), None);
        }
    }
}

//! One connection: reads a request, answers it, reads the next.

use super::request::{Refusal, Request};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_stack::Shard;
use iopkt_stack::sockets::SockId;
use iopkt_usbip::crc::crc32;

/// Longest request head.
const MAX_HEAD: usize = 16 * 1024;
/// A connection on which nothing moves for so long is ended.
const IDLE: Duration = Duration::from_secs(60);
/// Period of the content of `/bytes/N`.
const PERIOD: u64 = 251;
/// Bytes of that content handed to the stack at once.
const PIECE: usize = 65_536;

/// The content of `/bytes/N`, long enough to be cut from at any phase.
static PATTERN: [u8; PIECE + PERIOD as usize] = {
    let mut p = [0; PIECE + PERIOD as usize];
    let mut i = 0;
    while i < p.len() {
        p[i] = (i % PERIOD as usize) as u8;
        i += 1;
    }
    p
};

#[derive(Debug)]
enum State {
    /// Collecting the head of a request.
    Head,
    /// Taking a body: how it ends, what it was so far, and the answer when it is over.
    Body(Request, u64, u32),
    /// Sending `from..to` of the pattern.
    Stream(u64, u64),
    /// The answer is out (or on its way) and nothing follows: waiting for the client to end too.
    Closing,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    id: SockId,
    state: State,
    head: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    /// No request after this one.
    last: bool,
    idle_at: Instant,
}

enum Step {
    /// Something was done: go on.
    Again,
    /// Nothing can be done until the socket says so.
    Wait,
    /// It is over.
    Over,
}

impl Conn {
    pub(super) fn new(id: SockId, now: Instant) -> Conn {
        let (head, out) = (Vec::new(), Vec::new());
        Conn { id, state: State::Head, head, out, sent: 0, last: false, idle_at: now + IDLE }
    }

    pub(super) fn id(&self) -> SockId {
        self.id
    }

    pub(super) fn deadline(&self) -> Instant {
        self.idle_at
    }

    pub(super) fn has_unread(&self, shard: &Shard) -> bool {
        shard.sockets.readable(self.id) && !shard.sockets.at_eof(self.id)
    }

    /// Does all that can be done now; false when the connection is over.
    pub(super) fn run(&mut self, shard: &mut Shard) -> bool {
        loop {
            match self.step(shard) {
                Step::Again => self.idle_at = shard.cx.now + IDLE,
                Step::Wait => return true,
                Step::Over => return false,
            }
        }
    }

    fn step(&mut self, shard: &mut Shard) -> Step {
        if self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            return match shard.sockets.write(&mut shard.cx, self.id, rest) {
                Ok(n) => {
                    self.sent += n;
                    Step::Again
                }
                Err(Errno::EAGAIN) => Step::Wait,
                Err(_) => Step::Over,
            };
        }
        self.out.clear();
        self.sent = 0;
        match self.state {
            State::Stream(from, to) if from < to => {
                let phase = (from % PERIOD) as usize;
                let n = usize::try_from(to - from).unwrap_or(PIECE).min(PIECE);
                match shard.sockets.write(&mut shard.cx, self.id, &PATTERN[phase..phase + n]) {
                    Ok(n) => {
                        self.state = State::Stream(from + n as u64, to);
                        Step::Again
                    }
                    Err(Errno::EAGAIN) => Step::Wait,
                    Err(_) => Step::Over,
                }
            }
            State::Stream(..) if self.last => self.close(shard),
            State::Stream(..) => {
                self.state = State::Head;
                Step::Again
            }
            _ => self.read(shard),
        }
    }

    fn close(&mut self, shard: &mut Shard) -> Step {
        self.state = State::Closing;
        match shard.sockets.shutdown(&mut shard.cx, self.id, 1) {
            Ok(()) => Step::Again,
            Err(_) => Step::Over,
        }
    }

    fn read(&mut self, shard: &mut Shard) -> Step {
        let mut slices: [&[u8]; 16] = [&[]; 16];
        let Ok(n) = shard.sockets.peek(self.id, &mut slices) else { return Step::Over };
        if n == 0 {
            return if shard.sockets.at_eof(self.id) { Step::Over } else { Step::Wait };
        }
        let mut used = 0;
        for s in &slices[..n] {
            let took = self.take(s);
            used += took;
            if took < s.len() || !self.out.is_empty() {
                break;
            }
        }
        shard.sockets.consume(&mut shard.cx, self.id, used);
        Step::Again
    }

    /// Takes received bytes; returns how many, fewer than there are when an answer must go out first.
    fn take(&mut self, b: &[u8]) -> usize {
        match &mut self.state {
            State::Head => self.take_head(b),
            State::Body(r, count, crc) => match r.body.advance(b) {
                Ok((n, content, over)) => {
                    let content = &b[content];
                    *count += content.len() as u64;
                    *crc = crc32(*crc, content);
                    if over {
                        let text = format!("bytes {count} crc32 {crc:08x}\n");
                        let r = r.clone();
                        self.answer(&r, (200, "OK"), "text/plain", text.as_bytes());
                    }
                    n
                }
                Err(refusal) => {
                    self.refuse(refusal);
                    b.len()
                }
            },
            // Nobody listens any more; taking it keeps the client's sending from ending in a reset.
            State::Closing => b.len(),
            State::Stream(..) => 0,
        }
    }

    fn take_head(&mut self, b: &[u8]) -> usize {
        let before = self.head.len();
        self.head.extend_from_slice(&b[..b.len().min(MAX_HEAD + 4 - before.min(MAX_HEAD))]);
        // Empty lines before a request are ignored (RFC 9112, 2.2).
        let lead = self.head.iter().take_while(|c| matches!(c, b'\r' | b'\n')).count();
        let Some(end) = end_of_head(&self.head[lead..]).map(|e| e + lead) else {
            if self.head.len() > MAX_HEAD {
                self.refuse((431, "Request Header Fields Too Large"));
                return b.len();
            }
            return self.head.len() - before;
        };
        let request = Request::parse(self.head[lead..end].trim_ascii_end());
        self.head.clear();
        match request {
            Ok(r) => self.begin(r),
            Err(refusal) => self.refuse(refusal),
        }
        end.saturating_sub(before)
    }

    fn begin(&mut self, r: Request) {
        self.last = r.close;
        if r.body.is_over() {
            return self.dispatch(&r);
        }
        let sink = r.path == "/sink" && matches!(r.method.as_str(), "POST" | "PUT");
        if !sink {
            // The body of a request that we refuse is not worth reading.
            self.last = true;
            return self.dispatch(&r);
        }
        if r.expects {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.state = State::Body(r, 0, 0);
    }

    fn dispatch(&mut self, r: &Request) {
        let reads = matches!(r.method.as_str(), "GET" | "HEAD");
        match (r.path.as_str(), r.method.as_str()) {
            ("/", _) if reads => self.answer(r, (200, "OK"), "text/html; charset=utf-8", PAGE.as_bytes()),
            ("/sink", "POST" | "PUT") => {
                self.answer(r, (200, "OK"), "text/plain", b"bytes 0 crc32 00000000\n");
            }
            (p, _) if p.starts_with("/bytes/") && reads => match p["/bytes/".len()..].parse::<u64>() {
                Ok(n) => self.stream(r, n),
                Err(_) => self.answer(r, (404, "Not Found"), "text/plain", b"/bytes/N needs a number\n"),
            },
            (p, _) if p == "/" || p == "/sink" || p.starts_with("/bytes/") => {
                self.answer(r, (405, "Method Not Allowed"), "text/plain", b"not with this method\n");
            }
            _ => self.answer(r, (404, "Not Found"), "text/plain", b"there are /, /bytes/N and /sink\n"),
        }
    }

    fn stream(&mut self, r: &Request, n: u64) {
        self.status((200, "OK"), "application/octet-stream", n, "");
        self.state = State::Stream(0, if r.method == "HEAD" { 0 } else { n });
    }

    fn answer(&mut self, r: &Request, status: Refusal, kind: &str, body: &[u8]) {
        let allow = match (status.0, r.path.as_str()) {
            (405, "/sink") => "Allow: POST, PUT\r\n",
            (405, _) => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        self.status(status, kind, body.len() as u64, allow);
        if r.method != "HEAD" {
            self.out.extend_from_slice(body);
        }
        self.state = State::Stream(0, 0);
    }

    fn refuse(&mut self, status: Refusal) {
        self.last = true;
        let text: String = format!("{} {}\n", status.0, status.1);
        self.status(status, "text/plain", text.len() as u64, "");
        self.out.extend_from_slice(text.as_bytes());
        self.state = State::Stream(0, 0);
    }

    fn status(&mut self, (code, phrase): Refusal, kind: &str, length: u64, more: &str) {
        let connection = if self.last { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {code} {phrase}\r\nServer: io-pkt\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Connection: {connection}\r\n{more}\r\n"
        );
        self.out.extend_from_slice(head.as_bytes());
    }
}

/// Index behind the empty line that ends a head.
fn end_of_head(b: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(i) = b[at..].iter().position(|c| *c == b'\n') {
        at += i + 1;
        match &b[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

const PAGE: &str = "<!DOCTYPE html>
<html><head><title>io-pkt</title></head><body>
<h1>It works</h1>
<p>This page comes from the built-in host behind a simulated CDC-ECM modem of io-usb: over TCP on io-pkt's own
stack, Ethernet frames in USB bulk transfers, USB/IP, devnp-ecm.so and io-pkt.</p>
<ul>
<li><code>/bytes/N</code>: N bytes; byte i is i modulo 251</li>
<li><code>/sink</code>: PUT or POST anything; answers with its length and CRC-32</li>
</ul>
</body></html>
";

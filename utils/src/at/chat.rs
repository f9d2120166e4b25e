//! Talking to a modem: a command out, lines back until the final result code.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a modem looks like to the tool.
pub trait Line {
    /// Sends a line (without its end).
    ///
    /// # Errors
    /// The port is gone.
    fn send(&mut self, text: &str) -> io::Result<()>;
    /// The next line that is not empty; `None` when none came in time.
    ///
    /// # Errors
    /// The port is gone.
    fn line(&mut self, wait: Duration) -> io::Result<Option<String>>;
}

/// An AT port.
pub struct Tty {
    f: File,
    part: Vec<u8>,
    lines: VecDeque<String>,
}

impl Tty {
    /// Opens it.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &Path) -> io::Result<Tty> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut o = std::fs::OpenOptions::new();
        let f = o.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path)?;
        Ok(Tty { f, part: Vec::new(), lines: VecDeque::new() })
    }
}

impl Line for Tty {
    fn send(&mut self, text: &str) -> io::Result<()> {
        // A command line is far shorter than what a terminal takes at once.
        self.f.write_all(format!("{text}\r").as_bytes())
    }

    fn line(&mut self, wait: Duration) -> io::Result<Option<String>> {
        let end = Instant::now() + wait;
        loop {
            if let Some(l) = self.lines.pop_front() {
                return Ok(Some(l));
            }
            let left = end.saturating_duration_since(Instant::now());
            let t = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.f, PollFlags::IN)], Some(&t)) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let mut b = [0; 1024];
            match self.f.read(&mut b) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the modem was removed")),
                Ok(n) => self.part.extend_from_slice(&b[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) if e.raw_os_error() == Some(libc::EIO) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the modem was removed"));
                }
                Err(e) => return Err(e),
            }
            while let Some(i) = self.part.iter().position(|b| *b == b'\r' || *b == b'\n') {
                let l: Vec<u8> = self.part.drain(..=i).collect();
                let l = String::from_utf8_lossy(&l).trim().to_string();
                if !l.is_empty() {
                    self.lines.push_back(l);
                }
            }
            self.part.truncate(4096);
        }
    }
}

/// Result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Lines of information, without echo and result.
    pub lines: Vec<String>,
    /// The final result code.
    pub result: String,
}

impl Answer {
    /// Whether it succeeded.
    pub fn ok(&self) -> bool {
        self.result == "OK" || self.result.starts_with("CONNECT")
    }

    /// What stands behind `+NAME: ` in the first line that begins with it.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// The first line.
    pub fn first(&self) -> String {
        self.lines.first().cloned().unwrap_or_default()
    }
}

fn is_final(l: &str) -> bool {
    ["OK", "ERROR", "BUSY", "NO CARRIER", "NO ANSWER", "NO DIALTONE", "COMMAND NOT SUPPORT"].contains(&l)
        || ["+CME ERROR", "+CMS ERROR", "CONNECT"].iter().any(|p| l.starts_with(p))
}

/// Sends a command and collects its answer.
///
/// # Errors
/// The port is gone, or no result came in time.
pub fn ask(m: &mut dyn Line, command: &str, wait: Duration) -> Result<Answer, String> {
    m.send(command).map_err(|e| format!("{command}: {e}"))?;
    let end = Instant::now() + wait;
    let mut lines = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match m.line(left).map_err(|e| format!("{command}: {e}"))? {
            None => return Err(format!("{command}: no answer within {} s", wait.as_secs())),
            Some(l) if l == command => {} // its echo
            Some(l) if is_final(&l) => return Ok(Answer { lines, result: l }),
            Some(l) => lines.push(l),
        }
    }
}

//! The AT channel between `/dev/serecmX` and the modem, without I/O.
//!
//! A modem with a serial function (CDC-ACM) beside its ECM function gets the bytes as they are. One without is
//! spoken to by encapsulated commands (CDC 1.2, section 6.2.1): a line ended by CR is a command, responses are
//! fetched when the device announces them. Both directions are bounded by `bufsz=`: nothing is taken from the
//! terminal while the modem does not take it, and nothing from the modem while nobody reads the terminal.

use std::collections::VecDeque;

/// Buffers of the channel.
pub struct At {
    /// Bytes from the terminal.
    from_tty: VecDeque<u8>,
    /// Bytes for the terminal.
    to_tty: VecDeque<u8>,
    size: usize,
    /// Packet size of the serial function's IN endpoint, 0 without one.
    mps: usize,
    in_urbs: usize,
    /// Bytes of `from_tty` that are on their way.
    out_len: usize,
    scratch: Vec<u8>,
}

impl At {
    /// A channel of `size` bytes each way; `mps` is the packet size of the serial function, 0 without one.
    pub fn new(size: usize, mps: usize) -> At {
        At {
            from_tty: VecDeque::new(),
            to_tty: VecDeque::new(),
            size: size.max(2 * mps),
            mps,
            in_urbs: 0,
            out_len: 0,
            scratch: Vec::new(),
        }
    }

    /// How many bytes may be read from the terminal now.
    pub fn room(&self) -> usize {
        self.size - self.from_tty.len().min(self.size)
    }

    /// Bytes were read from the terminal (at most [`At::room`]).
    pub fn typed(&mut self, bytes: &[u8]) {
        self.from_tty.extend(bytes);
    }

    /// Bytes that wait for the terminal.
    pub fn waiting(&self) -> &[u8] {
        self.to_tty.as_slices().0
    }

    /// The first `n` of [`At::waiting`] were written.
    pub fn written(&mut self, n: usize) {
        self.to_tty.drain(..n.min(self.to_tty.len()));
    }

    /// Length of a receive URB to submit, when there is room for what it may bring.
    pub fn wants_in(&self) -> Option<usize> {
        let free = self.size.saturating_sub(self.to_tty.len() + self.in_urbs * self.mps);
        (self.mps > 0 && self.in_urbs < 2 && free >= self.mps).then_some(self.mps)
    }

    /// It was submitted.
    pub fn in_submitted(&mut self) {
        self.in_urbs += 1;
    }

    /// A receive URB ended.
    pub fn urb_in(&mut self, status: i32, data: &[u8]) {
        self.in_urbs = self.in_urbs.saturating_sub(1);
        if status == 0 || status == iopkt_usbip::status::EREMOTEIO {
            self.to_tty.extend(data);
        }
    }

    /// Bytes to send in one URB; `None` while one is under way or nothing waits.
    pub fn wants_out(&mut self) -> Option<&[u8]> {
        if self.out_len > 0 || self.from_tty.is_empty() {
            return None;
        }
        // Less than a packet, so that no transfer needs a zero-length packet behind it.
        let n = self.from_tty.len().min(self.mps.saturating_sub(1).max(1));
        self.scratch.clear();
        self.scratch.extend(self.from_tty.iter().take(n));
        Some(&self.scratch)
    }

    /// They were submitted.
    pub fn out_submitted(&mut self) {
        self.out_len = self.scratch.len();
    }

    /// The send URB ended; what it did not carry is lost, as on a serial line.
    pub fn urb_out(&mut self, _status: i32) {
        let n = std::mem::take(&mut self.out_len).min(self.from_tty.len());
        self.from_tty.drain(..n);
    }

    /// The next command line, CR included, for an encapsulated command. A line that fills the buffer without
    /// a CR is sent as it is: it can only be refused.
    pub fn command(&mut self) -> Option<Vec<u8>> {
        let end = match self.from_tty.iter().position(|b| *b == b'\r' || *b == b'\n') {
            Some(i) => i + 1,
            None if self.room() == 0 => self.from_tty.len(),
            None => return None,
        };
        let mut line: Vec<u8> = self.from_tty.drain(..end).collect();
        if let Some(l) = line.last_mut().filter(|l| **l == b'\n') {
            *l = b'\r';
        }
        if line == b"\r" { self.command() } else { Some(line) }
    }

    /// Most bytes to ask for in one response; 0 while there is no room worth asking for: what nobody reads stays in
    /// the device.
    pub fn response_len(&self) -> u16 {
        let room = self.size.saturating_sub(self.to_tty.len());
        if room < self.size.min(64) { 0 } else { room.min(4096) as u16 }
    }

    /// A response came. What a terminal that nobody reads has no room for is lost, as on a serial line: the
    /// response has left the device.
    pub fn response(&mut self, data: &[u8]) {
        let room = self.size.saturating_sub(self.to_tty.len());
        self.to_tty.extend(&data[..data.len().min(room)]);
    }

    /// The device takes no encapsulated commands: say so in the terminal's language, so that a program which waits for an answer goes on.
    pub fn refuse(&mut self) {
        self.response(b"\r\nERROR\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_that_nobody_reads_stay_within_the_buffer() {
        let mut a = At::new(100, 0);
        for _ in 0..50 {
            let n = usize::from(a.response_len());
            a.response(&vec![b'x'; n]);
            a.refuse();
        }
        assert_eq!(a.waiting().len(), 100);
        a.written(100);
        a.response(b"OK");
        assert_eq!(a.waiting(), b"OK");
    }

    #[test]
    fn lines_become_commands() {
        let mut a = At::new(64, 0);
        a.typed(b"AT\r\nATI\nAT+C");
        assert_eq!(a.command().as_deref(), Some(&b"AT\r"[..]));
        assert_eq!(a.command().as_deref(), Some(&b"ATI\r"[..]));
        assert_eq!(a.command(), None);
        a.typed(&[b'x'; 60]);
        assert_eq!((a.room(), a.command().map(|l| l.len())), (0, Some(64)));
    }

    #[test]
    fn both_ways_are_bounded() {
        let mut a = At::new(64, 512);
        assert_eq!(a.room(), 1024, "room for two packets at least");
        assert_eq!(a.wants_in(), Some(512));
        a.in_submitted();
        a.in_submitted();
        assert_eq!(a.wants_in(), None);
        a.urb_in(0, &[1; 512]);
        a.urb_in(0, &[2; 512]);
        assert_eq!(a.wants_in(), None, "nobody reads");
        a.written(600);
        assert_eq!(a.wants_in(), Some(512));
        a.typed(&[b'y'; 1000]);
        assert_eq!(a.wants_out().map(<[u8]>::len), Some(511));
        a.out_submitted();
        assert!(a.wants_out().is_none());
        a.urb_out(0);
        assert_eq!(a.wants_out().map(<[u8]>::len), Some(489));
    }
}

//! A stream from one host to another, checked byte by byte.

use iopkt_base::Errno;
use iopkt_stack::Shard;
use iopkt_stack::sockets::SockId;

/// Byte `i` of the stream of this seed: any loss, repetition or exchange shows.
pub fn pattern(seed: u64, i: u64) -> u8 {
    let x = (i ^ seed.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8
}

/// One direction of a connection: who writes, who reads, how far they are.
#[derive(Debug)]
pub struct Flow {
    /// Host and socket of the writer.
    pub from: (usize, SockId),
    /// Host and socket of the reader.
    pub to: (usize, SockId),
    /// Seed of the bytes.
    pub seed: u64,
    /// Bytes to send in all.
    pub total: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes read; each was right.
    pub read: u64,
    /// The writer has said that no more comes.
    pub shut: bool,
    /// The reader has seen the end.
    pub eof: bool,
    /// What ended the flow early.
    pub error: Option<Errno>,
}

impl Flow {
    /// A flow of `total` bytes.
    pub fn new(from: (usize, SockId), to: (usize, SockId), seed: u64, total: u64) -> Flow {
        Flow { from, to, seed, total, written: 0, read: 0, shut: false, eof: false, error: None }
    }

    /// Whether everything arrived, and its end.
    pub fn done(&self) -> bool {
        self.eof && self.read == self.total
    }

    /// Writes and reads what can be written and read now.
    ///
    /// # Panics
    /// A byte is not the one that was sent, or there are more than were sent: the invariant of a stream.
    pub fn step<H: AsMut<Shard>>(&mut self, hosts: &mut [H]) {
        self.write(&mut hosts[self.from.0]);
        self.read(&mut hosts[self.to.0]);
    }

    /// The same with hosts that are not in one slice.
    ///
    /// # Panics
    /// As [`Flow::step`].
    pub fn step_between<H: AsMut<Shard>>(&mut self, hosts: [&mut H; 2]) {
        self.write(hosts[self.from.0]);
        self.read(hosts[self.to.0]);
    }

    /// The writer's part of [`Flow::step`].
    pub fn write<H: AsMut<Shard>>(&mut self, host: &mut H) {
        self.more(host);
        if self.written == self.total && !self.shut {
            let s = host.as_mut();
            self.shut = s.sockets.shutdown(&mut s.cx, self.from.1, 1).is_ok();
        }
    }

    /// The same without saying that it was all.
    pub fn more<H: AsMut<Shard>>(&mut self, host: &mut H) {
        let s = host.as_mut();
        let id = self.from.1;
        let mut chunk = [0; 4096];
        while self.error.is_none() && self.written < self.total {
            // One byte asks a full stream how it is.
            let room = s.sockets.write_space(id).clamp(1, chunk.len());
            let n = (room as u64).min(self.total - self.written) as usize;
            for (i, b) in chunk[..n].iter_mut().enumerate() {
                *b = pattern(self.seed, self.written + i as u64);
            }
            match s.sockets.write(&mut s.cx, id, &chunk[..n]) {
                Ok(0) | Err(Errno::EAGAIN) => return,
                Ok(k) => self.written += k as u64,
                // Not connected yet.
                Err(Errno::ENOTCONN | Errno::EINPROGRESS) => return,
                Err(e) => self.error = Some(e),
            }
        }
    }

    /// The reader's part of [`Flow::step`].
    ///
    /// # Panics
    /// As [`Flow::step`].
    pub fn read<H: AsMut<Shard>>(&mut self, host: &mut H) {
        let s = host.as_mut();
        let id = self.to.1;
        loop {
            let mut n = 0;
            let mut slices: [&[u8]; 16] = [&[]; 16];
            match s.sockets.peek(id, &mut slices) {
                Ok(k) => {
                    for b in slices[..k].iter().flat_map(|s| s.iter()) {
                        let want = pattern(self.seed, self.read + n as u64);
                        assert_eq!(*b, want, "byte {} of the stream is wrong", self.read + n as u64);
                        n += 1;
                    }
                }
                Err(e) => self.error = self.error.or(Some(e)),
            }
            if n == 0 {
                break;
            }
            self.read += n as u64;
            assert!(self.read <= self.written, "more was read than was written");
            s.sockets.consume(&mut s.cx, id, n);
        }
        self.eof |= s.sockets.at_eof(id);
    }
}

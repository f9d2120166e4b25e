//! A byte queue in one piece of memory: filled at the end, read at the front.

use alloc::vec;
use alloc::vec::Vec;

/// Bytes between a socket and a codec. The content is always one slice, so that a parser sees whole messages
/// and one system call moves everything; the price, moving what is left when the end is reached, is paid for
/// the rest of at most one message per turn.
#[derive(Debug, Default)]
pub struct Fifo {
    buf: Vec<u8>,
    head: usize,
    tail: usize,
}

impl Fifo {
    /// A queue that holds `cap` bytes before it must grow.
    pub fn new(cap: usize) -> Fifo {
        Fifo { buf: vec![0; cap], head: 0, tail: 0 }
    }

    /// What is in it.
    pub fn data(&self) -> &[u8] {
        &self.buf[self.head..self.tail]
    }

    /// Number of bytes in it.
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Size of its memory in bytes.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Room to read into, at least `min` bytes of it; [`Fifo::commit`] says how much was used.
    pub fn space(&mut self, min: usize) -> &mut [u8] {
        self.reserve(min);
        &mut self.buf[self.tail..]
    }

    /// Declares the first `n` bytes of [`Fifo::space`] filled (at most as many as there are).
    pub fn commit(&mut self, n: usize) {
        self.tail = (self.tail + n).min(self.buf.len());
    }

    /// Removes `n` bytes at the front (at most as many as there are).
    pub fn consume(&mut self, n: usize) {
        self.head = (self.head + n).min(self.tail);
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
        }
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buf[self.tail..self.tail + bytes.len()].copy_from_slice(bytes);
        self.tail += bytes.len();
    }

    /// The last `n` bytes (at most as many as there are), to change them.
    pub fn last_mut(&mut self, n: usize) -> &mut [u8] {
        let from = self.tail - n.min(self.len());
        &mut self.buf[from..self.tail]
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.head = 0;
        self.tail = 0;
    }

    fn reserve(&mut self, n: usize) {
        if self.buf.len() - self.tail >= n {
            return;
        }
        if self.head > 0 {
            self.buf.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
        if self.buf.len() - self.tail < n {
            let want = (self.tail + n).max(self.buf.len() * 2);
            self.buf.resize(want, 0);
        }
    }
}

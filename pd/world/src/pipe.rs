//! Pipes, for splice(2).

use std::collections::VecDeque;

/// Bytes that a pipe holds (pipe(7): 16 pages).
const ROOM: usize = 65_536;

/// A pipe.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    pub readers: bool,
    pub writers: bool,
}

impl Pipe {
    pub fn open() -> Pipe {
        Pipe { bytes: VecDeque::new(), readers: true, writers: true }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn room(&self) -> usize {
        ROOM - self.bytes.len()
    }

    pub fn push(&mut self, b: &[u8]) -> usize {
        let n = b.len().min(self.room());
        self.bytes.extend(&b[..n]);
        n
    }

    /// Up to `n` bytes, which stay in it until [`Pipe::drop_front`].
    pub fn front(&self, n: usize) -> Vec<u8> {
        self.bytes.iter().take(n).copied().collect()
    }

    pub fn drop_front(&mut self, n: usize) {
        self.bytes.drain(..n.min(self.bytes.len()));
    }
}

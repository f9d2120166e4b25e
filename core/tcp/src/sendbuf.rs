//! The send buffer: a bounded byte ring from the oldest unacknowledged byte to the newest written one.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// First size of a ring; it doubles as it is needed and takes nothing while nothing is buffered.
const FIRST: usize = 1024;

/// A byte ring whose memory grows with its content up to a limit.
#[derive(Debug, Default)]
pub struct SendBuf {
    /// Storage; its length is a power of two, or 0.
    ring: Box<[u8]>,
    /// Where the oldest byte is.
    head: u32,
    len: u32,
    limit: u32,
}

/// Sequence numbers do not reach further.
fn at_most(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX).min(1 << 31)
}

impl SendBuf {
    /// An empty buffer that takes up to `limit` bytes (2 GiB at most).
    pub fn new(limit: usize) -> Self {
        SendBuf { ring: Box::default(), head: 0, len: 0, limit: at_most(limit) }
    }

    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that may still be written.
    #[inline]
    pub fn space(&self) -> usize {
        self.limit.saturating_sub(self.len) as usize
    }

    /// The limit, bytes.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Changes the limit; content above a lower limit stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = at_most(limit);
    }

    /// Appends what fits of `data` and returns how many bytes that was.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.space());
        if self.len() + n > self.ring.len() {
            self.grow(self.len() + n);
        }
        let mask = self.ring.len().wrapping_sub(1);
        let at = (self.head as usize + self.len()) & mask;
        let first = n.min(self.ring.len() - at);
        self.ring[at..at + first].copy_from_slice(&data[..first]);
        self.ring[..n - first].copy_from_slice(&data[first..n]);
        self.len += n as u32;
        n
    }

    fn grow(&mut self, need: usize) {
        let size = need.max(FIRST).next_power_of_two();
        let mut ring = Vec::with_capacity(size);
        let (a, b) = self.range(0, self.len());
        ring.extend_from_slice(a);
        ring.extend_from_slice(b);
        ring.resize(size, 0);
        self.ring = ring.into_boxed_slice();
        self.head = 0;
    }

    /// Bytes `[from, from + n)` counted from the oldest, in up to two pieces; shorter where there are fewer.
    #[inline]
    pub fn range(&self, from: usize, n: usize) -> (&[u8], &[u8]) {
        let n = n.min(self.len().saturating_sub(from));
        if n == 0 {
            return (&[], &[]);
        }
        let at = (self.head as usize + from) & (self.ring.len() - 1);
        let first = n.min(self.ring.len() - at);
        (&self.ring[at..at + first], &self.ring[..n - first])
    }

    /// Forgets the `n` oldest bytes: they are acknowledged.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len());
        self.len -= n as u32;
        // An empty ring starts anew at 0: whole segments then rarely wrap.
        self.head = if self.len == 0 { 0 } else { ((self.head as usize + n) & (self.ring.len() - 1)) as u32 };
    }

    /// Gives memory back when the content is small for it.
    pub fn shrink(&mut self) {
        if self.len == 0 {
            self.ring = Box::default();
        } else if self.ring.len() > FIRST && self.len() < self.ring.len() / 4 {
            self.grow(self.len());
        }
    }

    /// Bytes of storage held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.ring.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_queue(ops in proptest::collection::vec((any::<bool>(), 0usize..3000), 1..200), limit in 1usize..20000) {
            let mut b = SendBuf::new(limit);
            let mut q: VecDeque<u8> = VecDeque::new();
            let mut next = 0u8;
            for (write, n) in ops {
                if write {
                    let data: Vec<u8> = (0..n).map(|i| next.wrapping_add(i as u8)).collect();
                    let k = b.write(&data);
                    prop_assert_eq!(k, n.min(limit - q.len()));
                    q.extend(&data[..k]);
                    next = next.wrapping_add(k as u8);
                } else {
                    b.consume(n);
                    q.drain(..n.min(q.len()));
                    if n % 7 == 0 { b.shrink(); }
                }
                prop_assert_eq!(b.len(), q.len());
                let from = n % (q.len() + 1);
                let (x, y) = b.range(from, n);
                let got: Vec<u8> = x.iter().chain(y).copied().collect();
                let want: Vec<u8> = q.iter().skip(from).take(n).copied().collect();
                prop_assert_eq!(got, want);
            }
        }
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut b = SendBuf::new(100_000);
        assert_eq!(b.held(), 0);
        b.write(&[1; 5000]);
        assert_eq!(b.held(), 8192);
        b.consume(5000);
        b.shrink();
        assert_eq!(b.held(), 0);
    }
}

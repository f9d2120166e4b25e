//! Send buffers counted as Linux counts them (`net.inet.tcp.sndbuf_overhead`), for programs and scripts to which the byte matters.
//!
//! Linux's SO_SNDBUF bounds memory, not bytes: what is written lies in buffers of as much as half of the peer's largest window, each of which
//! costs some hundred bytes besides, and a new one may be begun as long as those that there are take less than the limit. So a small
//! buffer takes more than its size at once, and a buffer of small segments less. A writer that found no room is woken when a third is free.

use super::tcp::Conn;
use alloc::vec::Vec;
use iopkt_base::Result;

/// By how much the machine's buffer is larger than SO_SNDBUF, so that the last buffer that is begun has room: bytes.
pub(crate) const SLACK: u32 = 128 * 1024;

impl Conn {
    fn limit(&self) -> u32 {
        self.tcb.buffers().0.saturating_sub(SLACK)
    }

    /// Most payload of a buffer.
    fn goal(&self) -> u32 {
        let mss = self.tcb.segment_size().max(1);
        ((self.tcb.peer_window() / 2).min(65_536) / mss * mss).max(mss)
    }

    /// What the buffers take.
    fn memory(&self) -> u32 {
        let buffers = self.tcb.records() as u32 + self.tcb.unsent().div_ceil(self.goal());
        self.tcb.unsent_or_unacked() as u32 + buffers * u32::from(self.overhead)
    }

    /// How many of `len` bytes a write takes; `end` is told where in them a buffer is full.
    pub fn linux_room(&self, len: usize, mut end: impl FnMut(usize)) -> usize {
        let (goal, limit, overhead) = (self.goal(), self.limit(), u32::from(self.overhead));
        let mss = self.tcb.segment_size().max(1);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let (mut pending, mut memory, mut taken) = (self.tcb.unsent(), self.memory(), 0);
        let mut window = self.tcb.sendable().saturating_sub(pending);
        // What the last buffer has room for is not asked for.
        let mut tail = (goal - pending % goal) % goal;
        while taken < len {
            if tail == 0 {
                if memory >= limit {
                    break;
                }
                (tail, memory) = (goal, memory + overhead);
            }
            let n = tail.min(len - taken);
            (taken, pending, memory, tail) = (taken + n, pending + n, memory + n, tail - n);
            if tail > 0 {
                break;
            }
            if window > 0 {
                // A full one is sent as far as the windows let it; what is left of it has room again.
                let goes = if window < pending { window - window % mss } else { pending };
                (pending, window) = (pending - goes, window - goes);
                memory += if pending % goal != 0 { overhead } else { 0 };
                tail = (goal - pending % goal) % goal;
            }
            if tail == 0 {
                end(taken as usize);
            }
        }
        taken as usize
    }

    /// Appends to the stream. Each full buffer is a unit of its own, with PSH at its end: Linux sends it so when it has several segments, or
    /// when half of the peer's window was written since the last PSH.
    pub fn linux_write(&mut self, data: &[u8]) -> Result<usize> {
        let mut ends = Vec::new();
        let most = self.linux_room(data.len(), |at| ends.push(at));
        ends.push(most);
        let several = self.goal() > self.tcb.segment_size();
        let (mut from, mut wrote) = (0, 0);
        for to in ends {
            wrote += self.tcb.write(&data[from..to])?;
            let at = self.tcb.stream_at(true);
            let forced = at.wrapping_sub(self.pushed) > self.tcb.peer_window() / 2;
            if to < most && (several || forced) {
                self.tcb.end_record();
                self.pushed = at;
            }
            from = to;
        }
        self.pushed = self.tcb.stream_at(true);
        Ok(wrote)
    }

    /// Whether a writer that found no room is to be woken.
    pub fn linux_roomy(&self) -> bool {
        let memory = self.memory();
        self.limit().saturating_sub(memory) >= memory / 2 && memory < self.limit()
    }
}

//! What nicinfo shows of frames.

use iopkt_sdk::NicInfo;

/// Frames of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Frames.
    pub packets: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// To everybody.
    pub broadcasts: u64,
    /// To groups.
    pub multicasts: u64,
    /// Frames lost for want of memory.
    pub no_memory: u64,
}

impl Counters {
    /// Counts a frame.
    pub fn frame(&mut self, f: &[u8]) {
        self.packets += 1;
        self.bytes += f.len() as u64;
        match f.get(..6) {
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => self.broadcasts += 1,
            Some([first, ..]) if first & 1 != 0 => self.multicasts += 1,
            _ => {}
        }
    }
}

/// The lines of both directions.
pub fn tell(tx: &Counters, rx: &Counters, out: &mut NicInfo<'_>) {
    for (c, verb, word) in [(tx, "Transmitted", "Transmit"), (rx, "Received", "Receive")] {
        out.line("", "");
        out.line(&format!("Packets {verb} OK"), &c.packets.to_string());
        out.line(&format!("Bytes {verb} OK"), &c.bytes.to_string());
        out.line(&format!("Broadcast Packets {verb} OK"), &c.broadcasts.to_string());
        out.line(&format!("Multicast Packets {verb} OK"), &c.multicasts.to_string());
        out.line(&format!("Memory Allocation Failures on {word}"), &c.no_memory.to_string());
    }
}

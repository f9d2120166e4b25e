//! Captures: what a failing run leaves behind for Wireshark.

use iopkt_base::Instant;
use std::io;
use std::path::Path;

/// A capture in pcap's nanosecond format, Ethernet frames, kept in memory up to a bound.
pub struct Pcap {
    bytes: Vec<u8>,
    off: bool,
}

/// Most bytes that are kept; the first part of a run is what explains it.
const LIMIT: usize = 64 << 20;

impl Default for Pcap {
    fn default() -> Self {
        let mut bytes = Vec::new();
        // Magic of nanosecond resolution, version 2.4, zone 0, accuracy 0, snapshot length, LINKTYPE_ETHERNET.
        for w in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            bytes.extend_from_slice(&w.to_le_bytes());
        }
        Pcap { bytes, off: false }
    }
}

impl Pcap {
    /// Keeps nothing from now on, and forgets what it has: for runs that are measured.
    pub fn stop(&mut self) {
        *self = Pcap { off: true, ..Pcap::default() };
    }

    /// Adds a frame.
    pub fn frame(&mut self, at: Instant, frame: &[u8]) {
        if self.off || self.bytes.len() + frame.len() + 16 > LIMIT {
            return;
        }
        let ns = at.as_nanos();
        let len = frame.len() as u32;
        for w in [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, len, len] {
            self.bytes.extend_from_slice(&w.to_le_bytes());
        }
        self.bytes.extend_from_slice(frame);
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_records_have_pcaps_layout() {
        let mut p = Pcap::default();
        p.frame(Instant::from_nanos(1_500_000_001), &[7; 60]);
        let b = p.bytes();
        assert_eq!(&b[..4], &[0x4d, 0x3c, 0xb2, 0xa1]);
        assert_eq!(b.len(), 24 + 16 + 60);
        assert_eq!(&b[24..40], &[1, 0, 0, 0, 0x01, 0x65, 0xcd, 0x1d, 60, 0, 0, 0, 60, 0, 0, 0]);
    }
}

//! Any bytes as an ARP packet: no panic, and what was understood is written back as it came.
#![no_main]

use iopkt_wire::arp::{LEN, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(p) = Packet::parse(data) {
        assert_eq!(p.emit()[2..], data[2..LEN]);
    }
});

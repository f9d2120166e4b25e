//! Any bytes as an IGMP message, with its checksum put right so that the fields are reached.
#![no_main]

use iopkt_wire::checksum::checksum;
use iopkt_wire::igmp::{Bad, Message, records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Message::parse(data);
    let mut b = data.to_vec();
    if b.len() < 8 {
        assert_eq!(Message::parse(&b), Err(Bad::Short));
        return;
    }
    b[2..4].copy_from_slice(&[0, 0]);
    let c = checksum(&b);
    b[2..4].copy_from_slice(&c.to_be_bytes());
    if let Ok(Message::V3Report { records: n }) = Message::parse(&b) {
        assert_eq!(records(&b).count(), usize::from(n));
    }
});

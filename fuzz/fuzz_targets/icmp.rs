//! Any bytes as an ICMP message, with its checksum put right so that the fields are reached.
#![no_main]

use iopkt_wire::checksum::checksum;
use iopkt_wire::icmp4::{Header, is_error};
use iopkt_wire::ipv4;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Header::parse(data);
    let mut b = data.to_vec();
    if b.len() < 8 {
        return;
    }
    b[2..4].copy_from_slice(&[0, 0]);
    let c = checksum(&b);
    b[2..4].copy_from_slice(&c.to_be_bytes());
    let h = Header::parse(&b).expect("a good checksum");
    if is_error(h.ty) {
        let _ = ipv4::Header::parse_unchecked(&b[8..]);
    }
    let mut again = b.clone();
    h.emit(&mut again);
    assert_eq!(again, b);
});

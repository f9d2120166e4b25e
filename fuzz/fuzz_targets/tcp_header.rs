//! Any bytes as a TCP header: no panic, and what was understood survives being written and read again.
#![no_main]

use iopkt_wire::tcp::{HEADER_LEN, Header, MAX_OPTIONS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok((h, len)) = Header::parse(data) else { return };
    assert!(len >= HEADER_LEN && len <= data.len());
    let mut out = [0u8; HEADER_LEN + MAX_OPTIONS];
    let n = h.emit(&mut out).expect("room for any header");
    assert_eq!(n, h.len());
    let (again, m) = Header::parse(&out[..n]).expect("own header");
    assert_eq!(m, n);
    // Blocks that found no room beside the other options may be missing; nothing else.
    assert!(h.options.sack.as_slice().starts_with(again.options.sack.as_slice()));
    let mut expect = h;
    expect.options.sack = again.options.sack;
    assert_eq!(again, expect);
});

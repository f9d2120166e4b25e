//! Any bytes as an IPv4 header and its options: no panic, and a header that is good is written back the same.
#![no_main]

use iopkt_wire::ipv4::{HEADER_LEN, Header, MAX_HEADER_LEN, options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(h) = Header::parse_unchecked(data) {
        assert!((HEADER_LEN..=MAX_HEADER_LEN).contains(&h.header_len));
    }
    if let Ok(h) = Header::parse(data) {
        assert!(h.header_len <= h.total_len && h.total_len <= data.len());
        let opts = &data[HEADER_LEN..h.header_len];
        for o in options(opts).flatten() {
            assert!(o.at + o.bytes.len() <= opts.len());
        }
        let mut out = [0; MAX_HEADER_LEN];
        let n = h.emit(&mut out, opts).expect("own options fit");
        assert_eq!(Header::parse_unchecked(&out[..n]), Some(h));
    }
});

//! Any bytes as a DHCP message: no panic, and its options survive being written and read again.
#![no_main]

use iopkt_wire::dhcp::{Builder, FIXED_LEN, Message, opt};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    if data.len() >= FIXED_LEN + 4 {
        // Ethernet and the cookie: else hardly anything gets beyond them.
        data[1..3].copy_from_slice(&[1, 6]);
        data[FIXED_LEN..FIXED_LEN + 4].copy_from_slice(&[99, 130, 83, 99]);
    }
    let Some(m) = Message::parse(&data) else { return };
    let kind = m.kind().unwrap_or(1);
    let mut out = vec![0; data.len() + 400];
    let mut b = Builder::new(&mut out, &m.header, kind).expect("room");
    let rest: Vec<_> = m.options().filter(|o| o.0 != opt::MESSAGE_TYPE).collect();
    for (code, value) in &rest {
        b = b.option(*code, value);
    }
    let n = b.finish().expect("room for what fitted before");
    let again = Message::parse(&out[..n]).expect("own message");
    assert_eq!((again.header, again.kind()), (m.header, Some(kind)));
    assert!(again.options().skip(1).eq(rest));
});

//! What a person (or a program gone mad) types at the modem.
#![no_main]

use iopkt_base::Instant;
use iopkt_gadget::at::{Identity, Radio, Terminal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut r = Radio::new(Identity::default(), None, true);
    let mut t = Terminal::new(true);
    let mut out = Vec::new();
    for piece in data.chunks(97) {
        t.input(Instant::from_millis(1), piece, &mut r, &mut out);
        r.events.clear();
    }
    // Whatever was set, a new terminal on the same radio works.
    out.clear();
    Terminal::new(false).input(Instant::from_millis(2), b"AT\r", &mut r, &mut out);
    assert_eq!(out, b"\r\nOK\r\n");
});

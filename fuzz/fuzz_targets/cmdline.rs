//! Any words as io-pkt's command line, for each variant: no panic, and a refusal is one line that prints.
#![no_main]

use iopkt_runtime::cmdline::{Command, Variant, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let v = Variant { name: "io-pkt", about: "fuzzed", hc: kind & 1 != 0, v6: kind & 2 != 0, note: "" };
    // Words are separated by NUL, as in /proc/PID/cmdline.
    use std::os::unix::ffi::OsStringExt;
    let words = data.split(|b| *b == 0).map(|w| std::ffi::OsString::from_vec(w.to_vec()));
    match parse(&v, words) {
        Ok(Command::Run(c)) => {
            assert!(c.threads.is_none_or(|n| n > 0));
            assert!(c.drivers.iter().all(|d| !d.name.is_empty()));
        }
        Ok(Command::Print(text)) => assert!(text.ends_with('\n')),
        Err(e) => assert!(!e.0.is_empty() && !e.0.contains(char::is_control), "{:?}", e.0),
    }
});

//! Any text as a script: it runs, or the line that is wrong is named.
#![no_main]

use iopkt_script::{Options, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > 4096 {
        return;
    }
    if let Err(f) = run(text, &Options::default()) {
        assert!(f.line as usize <= text.lines().count() + 1);
    }
});

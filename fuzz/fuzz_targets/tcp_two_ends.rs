//! Two TCP ends over a faulty link, driven by the input: see `core/tcp/tests/common/script.rs`. The first byte's
//! lowest bit says whether segments are forged too.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../core/tcp/tests/common/mod.rs"]
mod common;

fuzz_target!(|data: &[u8]| {
    if let [first, rest @ ..] = data {
        common::script::run(rest, first & 1 != 0);
    }
});

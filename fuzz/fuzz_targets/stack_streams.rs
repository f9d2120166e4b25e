//! Connections between two whole stacks over a faulty link, whose streams must be exact: see `sim/src/script.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iopkt_sim::script::streams(data));

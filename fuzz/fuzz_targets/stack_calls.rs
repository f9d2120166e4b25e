//! Frames, programs' calls, requests, faults and time on two whole stacks: see `sim/src/script.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iopkt_sim::script::calls(data));

//! IPv6 frames into a whole shard with open sockets: see `core/inet6/tests/common/garbage.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../core/inet6/tests/common/mod.rs"]
mod common;

fuzz_target!(|data: &[u8]| common::garbage::run(data));

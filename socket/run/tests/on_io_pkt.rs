//! Socket calls and real programs on the loopback of a real io-pkt-v4.

// kill(2) on processes that the test has started.
#![allow(clippy::undocumented_unsafe_blocks)]

mod support;

#[path = "bodies/calls.rs"]
mod calls;
#[path = "bodies/programs.rs"]
mod programs;

/// For [`support`].
const ON_IO_PKT: bool = true;

//! Socket calls and real programs on the tests' own stack, which is slow enough to see what happens meanwhile.

// kill(2) on processes that the test has started.
#![allow(clippy::undocumented_unsafe_blocks)]

mod support;

#[path = "bodies/calls.rs"]
mod calls;
#[path = "bodies/programs.rs"]
mod programs;

/// For [`support`].
const ON_IO_PKT: bool = false;

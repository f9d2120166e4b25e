//! Threads, epoll, clock, command line: what turns the pure stack into a process.
//!
//! A variant's `main` hands its list of parts to [`main`]; the rest is here. The main thread becomes the
//! control thread (`control`); packet threads (`packet`) run devices (`device`) and, the first of them, the
//! stack (`stack`).

pub mod cmdline;
mod control;
mod crash;
mod culprit;
mod device;
mod env;
mod lanes;
mod limits;
mod msg;
mod names;
mod packet;
mod privilege;
mod spin;
mod stack;
mod start;
mod watch;
mod workers;

pub use limits::Size;
pub use start::{Composition, main};

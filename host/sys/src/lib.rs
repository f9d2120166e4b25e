//! System calls the project needs, made safe; names on disk.
//!
//! What `rustix` already gives in a handy form is used directly by other crates; here is what it lacks or
//! what everybody would otherwise write again: readiness ([`Epoll`]), wake-ups between threads ([`Waker`]),
//! a one-shot timer ([`Timer`]), descriptors over Unix sockets ([`unix`]), signals as a descriptor
//! ([`signal`]), process matters ([`process`]), clocks ([`clock`]), and the rules for names under the
//! root directory ([`paths`]).
//!
//! Errors are `std::io::Error`s that carry the kernel's errno; [`errno`] turns one into the pure crates'
//! [`iopkt_base::Errno`].

pub mod civil;
pub mod clock;
pub mod confine;
mod epoll;
mod event;
pub mod lock;
pub mod memory;
pub mod mmsg;
pub mod paths;
pub mod process;
pub mod random;
pub mod shared;
pub mod signal;
pub mod sockopt;
pub mod tap;
pub mod unix;
pub mod user;

pub use epoll::{Epoll, Event, Interest};
pub use event::{Timer, Waker};
pub use paths::Root;

use iopkt_base::Errno;

/// The kernel's errno inside an error; EIO when it has none.
pub fn errno(e: &std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(Errno::EIO.0))
}

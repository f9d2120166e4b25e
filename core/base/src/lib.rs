//! Time, randomness, errno: the words every pure crate shares.
//!
//! Nothing here can reach the host. Time is an argument ([`Instant`], handed in by whoever runs a turn),
//! randomness is a field ([`Rng`], seeded by whoever makes a shard).
#![no_std]
#![forbid(unsafe_code)]

mod errno;
pub mod md5;
mod rng;
mod time;
pub mod zone;

pub use core::time::Duration;
pub use errno::Errno;
pub use rng::{Keyed, Rng};
pub use time::Instant;

/// Result of a call that fails with a POSIX error number.
pub type Result<T> = core::result::Result<T, Errno>;

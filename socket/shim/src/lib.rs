//! What the preload library and io-pkt-run share.
//!
//! Both turn a program's socket calls into requests to a running stack, one from inside the program, one from outside. This
//! crate holds the parts that do not depend on which: raw system calls, the way to the stack, the session, the control
//! calls on one descriptor, and the header of addressed datagrams.
//!
//! It runs inside programs that nobody here wrote, in signal handlers, between fork and exec, under any lock: so no
//! allocation, no thread-local storage, no panic, and no state but what the caller passes in.
#![cfg_attr(not(test), no_std)]

pub mod dgram;
pub mod ident;
pub mod memory;
pub mod ops;
pub mod path;
pub mod session;
pub mod sys;

/// The value in the sixth argument register by which the preload library's own calls pass the runner's filter.
///
/// Any value that no program has in that register by chance would do.
pub const MAGIC: u64 = 0x696f_2d70_6b74_a51c;

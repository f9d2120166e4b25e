//! Classic BPF (McCanne, Jacobson: The BSD Packet Filter, USENIX 1993): what packet filters of `tcpdump` are
//! compiled to.
//!
//! # Theory of operation
//!
//! A program is a list of instructions of 8 bytes ([`Insn`]) for a machine with an accumulator A, an index register X
//! and 16 words of scratch memory. It looks at one packet and returns how many bytes of it are wanted: 0 for
//! none. [`Program::new`] refuses every program that could do harm: unknown instructions, jumps that leave
//! the program, scratch memory that is not there, constant divisors of 0, a last instruction that is no return.
//! Jumps only lead forward, so a program ends after at most as many steps as it has instructions. What can
//! only be known at run time (a load beyond the packet, a divisor of 0 in X) ends the program with 0: the packet is
//! not wanted. So [`Program::run`] has no error and cannot loop or panic.
//!
//! Two dialects: bpf(4)'s, and Linux's socket filters, which add loads at negative addresses that ask about the packet
//! rather than into it (`SKF_AD_*`); see [`Dialect`].
//!
//! Loads are big-endian; scratch memory and registers begin as 0.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod insn;
mod run;
mod verify;

pub use insn::{INSN_LEN, Insn, ad, op};
pub use run::Aux;
pub use verify::{Dialect, Invalid, MAX_INSNS, Program};

//! A runner for packetdrill's script language over the stack in virtual time.
//!
//! A script is a list of events with times: system calls with their results, packets that come in (`<`), packets that
//! must go out (`>`), shell commands (only sysctl(8) and the usual `defaults.sh` are understood), and
//! `%{ assert ... }%` about TCP_INFO. [`parse::script`] reads it and never panics; [`run::run`] carries it out on an
//! [`iopkt_world::World`] and says at which line, and how, the stack did something else.
//!
//! **Against packetdrill.** The language is packetdrill's; a script of ours that describes common behaviour runs under the real one,
//! too. Differences: times are exact, for nothing else takes time (so a call or packet may be expected at a precise
//! microsecond, within the tolerance); packets that nobody expected are an error at the end of the script at the
//! latest; assertions are evaluated here, without Python (`assert EXPRESSION`, comparisons, arithmetic, and, or, not; names of
//! `struct tcp_info` and of its constants).
//!
//! **Variants.** As packetdrill's suites, a script runs with sockets of IPv4, of IPv6, and of IPv6 with mapped addresses ([`Variant`]); one that
//! names a family says `--ip_version` at its top.
#![forbid(unsafe_code)]

mod assert;
pub mod ast;
mod calls;
mod check;
mod conn;
mod ends;
mod expr;
mod lex;
mod packet;
pub mod parse;
pub mod run;
mod symbols;
mod wire;

pub use ends::Variant;
pub use run::{Failure, Options, run};

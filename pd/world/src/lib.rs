//! One stack in virtual time, as a program of Linux sees it.
//!
//! A [`World`] is a [`iopkt_stack::Shard`] with the IPv4 and IPv6 domains, one point-to-point interface `tun0` whose other end is the
//! caller (IP packets go in by [`World::inject`] and come out by [`World::sent`]), a clock that only the caller moves, and
//! the descriptors of one program. Nothing here waits, sleeps or asks the operating system: two runs with the same
//! calls give the same packets at the same times.
//!
//! **Calls.** What cannot wait (socket, bind, listen, options, close ...) is a method. What can is a [`Call`]: made
//! [`World::begin`], tried by [`World::attempt`] as often as something has changed; `None` means "it blocks". Who
//! drives the world decides what happens meanwhile: the packetdrill interface lets another thread go on, the script
//! runner goes to the next line of its script.
//!
//! **Time.** [`World::advance`] goes from one deadline of the stack to the next, and stops when its caller wants to look.
//! After each packet, call or deadline the stack runs until it has nothing more to do at that instant.
//!
//! Semantics are Linux's (man pages of section 2 and 7), errno by errno, because scripts are written for it.
#![forbid(unsafe_code)]

mod calls;
mod control;
mod counters;
mod fds;
mod name;
mod pipe;
mod poll;
mod recv;
mod send;
mod stack;
pub mod sysctl;
mod urgent;

pub use calls::{Answer, Call, Pending};
pub use fds::{Epoll, File};
pub use name::{decode_name, encode_name};
pub use stack::{Setup, World};

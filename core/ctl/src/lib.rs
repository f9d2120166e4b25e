//! Configuration requests and replies as plain data: what ifconfig, route, arp, netstat, nicinfo, mount and
//! their like ask of a running stack.
//!
//! A [`Request`] travels as the payload of one control message of the socket protocol, its [`Reply`] comes
//! back the same way. Requests about interfaces, addresses, routes, neighbours and sockets are answered by the
//! shard; those that load or unload objects or ask a driver are answered by the runtime. Listings are pages:
//! a reply names the cursor to ask for the rest with.
//!
//! An IPv6 address of link-local scope stands as it is on the wire; the interface that is named beside it is its zone (a
//! socket's address has it in its scope).
//!
//! The encoding is postcard (variable-length integers, no alignment). Client and server come from one build;
//! [`VERSION`] is compared when a session opens. Enums grow only at their end.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod iface;
mod nd;
mod report;
mod request;
mod variables;

pub use iface::*;
pub use nd::*;
pub use report::*;
pub use request::*;
pub use variables::{ROOTS, VARIABLES, Variable, shared, shared_name, variable};

/// Version of this vocabulary; both sides of a session must have the same.
pub const VERSION: u16 = 1;

//! How an interface gets its address without a person: pure machines, driven by packets and time. (IPv6's own way, from router
//! advertisements, is a part of the stack.)
//!
//! [`dhcp`] asks a server for one (RFC 2131).
//! [`dhcp6`] asks for IPv6 addresses, prefixes and names (RFC 8415).
//! [`linklocal`] takes an address of 169.254/16 for itself (RFC 3927, with the conflict detection of RFC 5227).
//!
//! A machine owns its state and nothing else. Its owner hands it what was received and what time it is, does the actions that
//! come back, and calls again at the time that the machine names.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod dhcp;
pub mod dhcp6;
pub mod linklocal;

//! The RFC 9293 machine alone: no sockets, no IP.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

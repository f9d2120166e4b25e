//! USB/IP, USB descriptors and CDC as pure code: codecs for both directions, a sans-IO client and server.
//!
//! USB/IP carries USB requests (URBs) over a byte stream. A connection begins with one *operation*: list the
//! devices ([`op::request`] with [`op::REQ_DEVLIST`]) or import one of them. After an import the same stream
//! carries commands (submit, unlink) one way and replies the other, in any order, joined by a sequence number.
//! The protocol is the Linux kernel's (`Documentation/usb/usbip_protocol.rst`), version 1.1.1; all of its
//! integers are big-endian, while what lies inside (descriptors, set-up packets) is USB and little-endian.
//!
//! - [`client::Client`] is the importing side, [`server::Session`] the exporting side of one connection. Neither
//!   does I/O: bytes go in, events come out, bytes to send are collected. Both allocate when made, not per URB,
//!   and both are bounded.
//! - [`relay::Relay`] stands between the two: it carries the URBs of a session to another server.
//! - [`op`] holds the operations, with three of our own that a stock server need not have: hot-plug events, the
//!   descriptors of a device that somebody else has imported, and control commands for simulated devices.
//! - [`desc`] reads and writes descriptors, [`cdc`] those of communication devices, [`setup`] control requests.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cdc;
pub mod client;
pub mod crc;
pub mod desc;
mod fifo;
pub mod hdr;
pub mod ncm;
pub mod op;
pub mod relay;
pub mod server;
pub mod setup;

pub use fifo::Fifo;
pub use hdr::{Dir, ProtoError, status};

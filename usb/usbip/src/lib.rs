//! USB/IP protocol, USB descriptors, CDC: codecs, a sans-IO client and server.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

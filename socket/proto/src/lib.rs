//! Wire protocol of /dev/socket.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

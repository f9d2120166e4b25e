//! Socket server: sessions, requests and data pumps, without an operating system.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

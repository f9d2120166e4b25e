//! Bytes to values and back, one protocol a file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod tcp;

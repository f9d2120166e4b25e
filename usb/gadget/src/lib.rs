//! Simulated USB devices: the CDC-ECM modem with its AT port.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

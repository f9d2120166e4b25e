//! Bytes to values and back, one protocol a file.
//!
//! Readers check lengths before they read and return a reason or `None`, never panic; builders write into the
//! caller's memory. Numbers are in host byte order in values and in network order in bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arp;
pub mod checksum;
pub mod dhcp;
pub mod dns;
pub mod domains;
pub mod ethernet;
pub mod icmp4;
pub mod icmp6;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod nd;
pub mod nodeinfo;
pub mod tcp;
pub mod udp;

//! The IPv4 domain: ARP, IP, ICMP, IGMP.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

//! Packet memory: pools, buffers, per-thread caches.
//!
//! A packet is always **one** contiguous buffer ([`Mbuf`]): no packet is made of several, so a parser sees a slice and a
//! driver hands over one address. ([`Chain`] is a queue of packets.) Buffers of the common size ("clusters", `mclbytes`) come from a [`Pool`]
//! that is shared by all threads; each thread goes through its own [`Cache`], which touches the shared part
//! once per [`BATCH`] buffers. What does not fit a cluster (a reassembled datagram, a loopback packet, a
//! segment of a large send) is a *big* buffer, allocated for its size and counted against its own limit.
//!
//! An [`Mbuf`] is owned: dropping it gives the buffer back, from whatever thread. Fast paths give it back
//! through their cache ([`Cache::free`]) instead.
//!
//! This is the one core crate that may use `unsafe`: it hands out memory that drivers written in C share.
#![no_std]

extern crate alloc;

mod buf;
mod chain;
mod pool;

pub use buf::{Mbuf, MbufHdr, flags, gso};
pub use chain::Chain;
pub use pool::{BATCH, Cache, Memory, Pool, PoolConfig, PoolStats};

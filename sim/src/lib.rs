//! The simulator: virtual clock, seeds, faulty links, invariants.
//!
//! Real [`iopkt_stack::Shard`]s run on a clock that jumps from event to event, joined by [`Link`]s that delay,
//! lose, reorder, duplicate, damage and shape frames as a seed says. One seed is one run, to the packet: a failure
//! prints its seed and leaves a capture, and the seed becomes a test of its own.
//!
//! [`World`] checks its [invariants](World::check) after every event: frames on the wire are whole, buffers
//! balance at the end, and a network that has nothing to do goes idle.

mod check;
pub mod family;
mod host;
mod link;
mod pcap;
mod programs;
pub mod script;
mod seeds;
mod snapshot;
mod stream;
pub mod v6;
mod world;

pub use host::{Host, sa};
pub use link::{Faults, Item, Link};
pub use pcap::Pcap;
pub use programs::{Answer, af};
pub use seeds::{for_seeds, for_seeds_in_parallel};
pub use snapshot::snapshot;
pub use stream::{Flow, pattern};
pub use world::World;

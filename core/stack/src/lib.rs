//! The shard: interfaces, routes, neighbours, sockets and demultiplexing, for two address families.
//!
//! **Up is a call, down is a queue.** A received frame climbs by plain calls: [`Shard::input`] → [`ether`] →
//! [`Domain::input`] → [`sockets::Sockets::input`]. Anything to send is appended to a queue in [`Cx`]
//! (`cx.down`, then `cx.frames`) that the shard drains in fixed order at the end of the turn. No layer calls
//! back into its caller.
//!
//! All state is owned by one [`Shard`], reached by `&mut`. Time is `cx.now`, randomness `cx.rng` and
//! `cx.secret`; nothing here can reach the host.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod counters;
mod cx;
mod domain;
mod packet;
mod shard;
pub mod sockets;

pub use counters::{Counters, Why};
pub use cx::{Config, Cx, DevOp, Note};
pub use domain::{Domain, Layers};
pub use packet::{Family, IcmpErr, IpInfo, IpOut, Path};
pub use shard::{Net, Shard};

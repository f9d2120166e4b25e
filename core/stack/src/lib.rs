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

mod congctl;
mod counters;
mod ctl;
mod ctl_if;
mod ctl_route;
mod cx;
mod domain;
pub mod ether;
mod group;
pub mod gso;
pub mod hash;
pub mod iface;
mod join;
mod listen;
pub mod neigh;
mod net;
mod net_addr;
mod net_told;
mod packet;
mod path;
mod plain;
pub mod pmtu;
pub mod prefix;
pub mod reassembly;
mod redirects;
pub mod route;
mod rows;
mod rtnote;
mod shard;
pub mod sockets;
mod stats;
mod sysctl;
pub mod tap;
pub mod tun;
pub mod variables;

pub use counters::{Counters, Stat, Why};
pub use cx::{Config, Cx, DevOp, Note};
pub use domain::{Change, Domain, Layers};
pub use group::GroupFilter;
pub use gso::checksum_cap;
pub use iface::{IfAddr, IfAttach, Interface, Life};
pub use listen::Listeners;
pub use net::{LO_MTU, LO0, Net, SourceRule};
pub use packet::{Family, IcmpErr, IpInfo, IpOut, Path};
pub use path::{Hop, HopKind, Way};
pub use plain::Plain;
pub use redirects::{MAX as MAX_REDIRECTS, Redirects};
pub use rtnote::{AddrNote, By, RtKind, RtNote, RtQueue};
pub use shard::Shard;

//! Networks of IPv6: nodes with several interfaces on segments that lose, delay, double, are cut in two and heal.
//!
//! A [`Net`] is what [`crate::World`] is for a single Ethernet: one clock, one seed, one run. Every node is a whole stack, routers'
//! daemons speak by raw sockets, and [what must hold always](Net::turn) is checked in every turn of every node: no source that is
//! not good yet, no two who have one address and could hear each other, tables within their bounds, duplicates found when they are heard.

mod check;
mod daemon;
mod net;
mod node;
mod packet;

pub use daemon::{Daemon, Says, prefix};
pub use net::{Net, Segment};
pub use node::{ETH, Node, Spec, a6, sa6};
pub use packet::{ALL_NODES, Packet, frame, header, nd_frame, solicited_node};

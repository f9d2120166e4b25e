//! The socket server: sessions, requests and data pumps, without an operating system.
//!
//! # Theory of operation
//!
//! [`Server`] stands between programs and one [`iopkt_stack::Shard`]. All it wants of an operating system goes
//! through [`Host`]; `iopkt-sockhost` has the real one, [`mem`] one in memory. It belongs to the packet
//! thread that owns the shard, has no locks, and never waits: [`Server::turn`] looks at what became ready
//! (on the host's side and in `cx.events`), answers requests, moves bytes and datagrams between pairs and
//! sockets, all in bounded portions, and says whether there is more.
//!
//! A program's descriptor is one end of a pair ([`Host::pair`]); its identity is the inode number of that
//! end. Requests carry the descriptor, so there is no table of descriptors for each session, and nothing to keep right over
//! dup(2), fork(2), exec(2) and SCM_RIGHTS. A socket lives until its pair's other end is closed
//! everywhere; sessions may come and go.
//!
//! | File | What |
//! |---|---|
//! | `server` | state, the turn |
//! | `session` | requests in, replies out, configuration requests |
//! | `request` | what is asked about sockets |
//! | `stream` | TCP: connect, pumps, ends |
//! | `listen` | TCP: listen, accept; shutdown |
//! | `join` | TCP: connections between two programs of this stack |
//! | `messages` | datagrams |
//! | `routing`, `rtconv`, `netlink` | AF_ROUTE and AF_NETLINK sockets |
//! | `ioctl` | SIOC* |
//! | `share` | what one user may have |
//! | `nodes` | packet sockets, BPF devices, TUN and TAP |
//! | `gone` | ports of sockets that were closed a moment ago |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod gone;
pub mod host;
mod ioctl;
mod ioctl_set;
mod join;
mod listen;
pub mod mem;
mod messages;
mod netlink;
mod nodes;
mod privilege;
mod procnet;
mod request;
mod routing;
mod rtconv;
mod server;
mod session;
mod share;
mod sock;
mod stream;

pub use host::{ConnId, Cred, EndId, Host, HostEvent, Incoming, NewPair, RingId};
pub use server::{Held, Server, ServerConfig};
pub use session::Ticket;

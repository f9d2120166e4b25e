//! A DHCPv6 client (RFC 8415): addresses, delegated prefixes, servers for names; or, stateless, the names alone.
//!
//! Pure: [`Client6::input`] takes a message from port 546, [`Client6::tick`] the time; [`Client6::next`] gives what is to be done.
//! Solicit → (advertise, the best server) → Request → Bound → Renew at T1 → Rebind at T2 → from the beginning. When the link comes
//! back, Confirm (with prefixes: Rebind) finds out whether it is the same one. Several associations go together (18.2): what a server
//! does not give is asked for again at each renewal; each address and prefix ends by itself.
//!
//! Messages go to the group of servers always: the Server Unicast option and UseMulticast are obsolete and passed over. Reconfigure is
//! not accepted, and servers are not told that it would be (20.4 asks for a key that hardly any server has); such a message is
//! dropped. Bounded: a message is read up to [`MAX_ITEMS`] associations, and addresses, prefixes, servers and domains of each.
//!
//! [`client`] is the machine, [`message`] what it sends, [`reply`] what it reads, [`retry`] the times between.

mod client;
mod message;
mod reply;
mod retry;

use alloc::string::String;
use alloc::vec::Vec;
pub use client::Client6;
use core::net::Ipv6Addr;
use iopkt_base::Instant;

/// Where clients listen, and servers.
pub const CLIENT_PORT: u16 = 546;
/// See [`CLIENT_PORT`].
pub const SERVER_PORT: u16 = 547;
/// All servers and relays of the link.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Most things of a kind that are taken from a message.
pub const MAX_ITEMS: usize = 16;

/// Lifetimes of this many seconds never end.
const INFINITE: u32 = u32::MAX;

/// Message types.
mod msg {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORM: u8 = 11;
}

/// Option codes.
mod opt {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_ADDR: u16 = 5;
    pub const ORO: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS: u16 = 23;
    pub const DOMAINS: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const IA_PREFIX: u16 = 26;
    pub const REFRESH: u16 = 32;
    pub const PD_EXCLUDE: u16 = 67;
    pub const SOL_MAX_RT: u16 = 82;
    pub const INF_MAX_RT: u16 = 83;
}

/// Status codes (21.13).
mod status {
    pub const SUCCESS: u16 = 0;
    pub const UNSPEC_FAIL: u16 = 1;
    pub const NO_BINDING: u16 = 3;
    pub const NOT_ON_LINK: u16 = 4;
    pub const USE_MULTICAST: u16 = 5;
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Config6 {
    /// Who we are (RFC 8415 11).
    pub duid: Vec<u8>,
    /// Number of the first association of each kind, the next has the next one; the same after a restart.
    pub iaid: u32,
    /// So many addresses, each in an association of its own.
    pub addresses: u32,
    /// Prefixes, of these lengths if the server pleases (0: of any).
    pub prefixes: Vec<u8>,
    /// The server may answer a Solicit with a lease at once.
    pub rapid: bool,
}

/// An address or prefix that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The address, or the prefix.
    pub addr: Ipv6Addr,
    /// 128, or the prefix's length.
    pub plen: u8,
    /// Seconds; all ones: for ever.
    pub preferred: u32,
    /// Seconds; all ones: for ever.
    pub valid: u32,
    /// Its association.
    pub iaid: u32,
    /// When it ends.
    pub until: Instant,
    /// A part of a prefix that is the link's to the server, and for nothing behind us (RFC 6603).
    pub excluded: Option<(Ipv6Addr, u8)>,
}

/// What a server gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease6 {
    /// Addresses.
    pub addrs: Vec<Given>,
    /// Prefixes.
    pub prefixes: Vec<Given>,
    /// Servers for names.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search.
    pub domains: Vec<String>,
    /// Who gave it.
    pub server: Vec<u8>,
    /// Seconds after which names alone are asked for again; 0 with addresses.
    pub refresh: u32,
}

impl Lease6 {
    fn all(&self) -> impl Iterator<Item = &Given> {
        self.addrs.iter().chain(&self.prefixes)
    }

    fn is_empty(&self) -> bool {
        self.addrs.is_empty() && self.prefixes.is_empty()
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action6 {
    /// Send to [`ALL_SERVERS`], port [`SERVER_PORT`].
    Send(Vec<u8>),
    /// This is ours now, or still (renewed), and nothing else.
    Bound(Lease6),
    /// It is not ours any more, and nothing is.
    Lost(Lease6),
    /// Names were told (stateless).
    Names(Lease6),
}

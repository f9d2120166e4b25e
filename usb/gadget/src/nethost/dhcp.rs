//! A DHCP server (RFC 2131, RFC 2132) for one network.
//!
//! A client gets the first free address from the start of the range, and the same one again as long as it is
//! known. Relays and BOOTP are not served. Clients are told by broadcast, except those that renew.

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use iopkt_base::{Duration, Instant};

/// Server port.
pub const PORT: u16 = 67;
/// Client port.
pub const CLIENT_PORT: u16 = 68;

/// How long an address is given away for.
const LEASE: Duration = Duration::from_secs(3600);
/// How long an offer is kept.
const OFFER: Duration = Duration::from_secs(60);
/// Most addresses.
const MAX_LEASES: usize = 64;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const FIXED: usize = 236;

mod opt {
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const BROADCAST: u8 = 28;
    pub const REQUESTED: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const END: u8 = 255;
}

mod msg {
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const INFORM: u8 = 8;
}

/// A reply and how it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message.
    pub bytes: Vec<u8>,
    /// To 255.255.255.255, else to the sender.
    pub broadcast: bool,
}

#[derive(Debug)]
struct Lease {
    client: Vec<u8>,
    addr: Ipv4Addr,
    until: Instant,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    addr: Ipv4Addr,
    prefix: u8,
    first: Ipv4Addr,
    leases: Vec<Lease>,
}

/// What is needed of a request.
struct Query<'a> {
    fixed: &'a [u8; FIXED],
    kind: u8,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client: Vec<u8>,
}

impl<'a> Query<'a> {
    fn parse(b: &'a [u8]) -> Option<Query<'a>> {
        let (fixed, rest) = b.split_first_chunk::<FIXED>()?;
        let options = rest.strip_prefix(&COOKIE)?;
        // BOOTREQUEST over Ethernet, not relayed.
        if fixed[..3] != [1, 1, 6] || fixed[24..28] != [0; 4] {
            return None;
        }
        let mut q = Query { fixed, kind: 0, requested: None, server: None, client: fixed[28..34].to_vec() };
        let mut at = options;
        while let [code, rest @ ..] = at {
            match *code {
                0 => at = rest,
                opt::END => break,
                code => {
                    let len = usize::from(*rest.first()?);
                    let value = rest.get(1..1 + len)?;
                    at = &rest[1 + len..];
                    let addr = || value.first_chunk::<4>().map(|a| Ipv4Addr::from(*a));
                    match code {
                        opt::TYPE => q.kind = *value.first()?,
                        opt::REQUESTED => q.requested = addr(),
                        opt::SERVER => q.server = addr(),
                        opt::CLIENT_ID if !value.is_empty() => q.client = value.to_vec(),
                        _ => {}
                    }
                }
            }
        }
        Some(q)
    }

    fn ciaddr(&self) -> Option<Ipv4Addr> {
        let a: [u8; 4] = *self.fixed[12..].first_chunk()?;
        (a != [0; 4]).then(|| a.into())
    }
}

impl Server {
    /// A server at `addr/prefix` whose range starts at `first`.
    pub fn new(addr: Ipv4Addr, prefix: u8, first: Ipv4Addr) -> Server {
        Server { addr, prefix, first, leases: Vec::new() }
    }

    /// A datagram from a client: the reply to it, if it gets one.
    pub fn input(&mut self, now: Instant, b: &[u8]) -> Option<Reply> {
        let q = Query::parse(b)?;
        let named_us = q.server.is_none_or(|s| s == self.addr);
        match q.kind {
            msg::DISCOVER => {
                let a = self.choose(now, &q.client, q.requested)?;
                self.hold(now, &q.client, a, OFFER);
                Some(self.reply(&q, msg::OFFER, a))
            }
            msg::REQUEST if !named_us => {
                self.forget(&q.client); // it took another server's offer
                None
            }
            msg::REQUEST => {
                let wanted = q.requested.or(q.ciaddr())?;
                // Ours to give is what it holds, or what is free (we may have been restarted).
                if self.choose(now, &q.client, Some(wanted)) == Some(wanted) {
                    self.hold(now, &q.client, wanted, LEASE);
                    Some(self.reply(&q, msg::ACK, wanted))
                } else {
                    Some(self.reply(&q, msg::NAK, Ipv4Addr::UNSPECIFIED))
                }
            }
            msg::DECLINE => {
                // Somebody else uses it: keep it from everybody for a while.
                let a = q.requested?;
                self.forget(&q.client);
                self.hold(now, b"declined", a, LEASE);
                None
            }
            msg::RELEASE => {
                self.forget(&q.client);
                None
            }
            msg::INFORM => {
                q.ciaddr()?;
                Some(self.reply(&q, msg::ACK, Ipv4Addr::UNSPECIFIED))
            }
            _ => None,
        }
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix.clamp(1, 30)))
    }

    fn in_range(&self, a: Ipv4Addr) -> bool {
        let (n, first) = (u32::from(a), u32::from(self.first));
        let host = n & !self.mask();
        a != self.addr
            && n & self.mask() == u32::from(self.addr) & self.mask()
            && host != 0
            && host != !self.mask()
            && n >= first
            && ((n - first) as usize) < MAX_LEASES
    }

    fn is_free(&self, now: Instant, client: &[u8], a: Ipv4Addr) -> bool {
        self.in_range(a) && !self.leases.iter().any(|l| l.addr == a && l.client != client && l.until > now)
    }

    /// The address of a client: the one it asks for if it can have it, else the one it had, else the first free
    /// one.
    fn choose(&self, now: Instant, client: &[u8], wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let had = self.leases.iter().find(|l| l.client == client).map(|l| l.addr);
        let range = (0..MAX_LEASES as u32).map(|i| Ipv4Addr::from(u32::from(self.first).saturating_add(i)));
        wanted.into_iter().chain(had).chain(range).find(|a| self.is_free(now, client, *a))
    }

    fn hold(&mut self, now: Instant, client: &[u8], addr: Ipv4Addr, time: Duration) {
        self.leases
            .retain(|l| l.until > now && l.addr != addr && (l.client != client || client == b"declined"));
        if self.leases.len() < MAX_LEASES {
            self.leases.push(Lease { client: client.to_vec(), addr, until: now + time });
        }
    }

    fn forget(&mut self, client: &[u8]) {
        self.leases.retain(|l| l.client != client);
    }

    fn reply(&self, q: &Query<'_>, kind: u8, yours: Ipv4Addr) -> Reply {
        let mut b = Vec::with_capacity(320);
        b.extend_from_slice(q.fixed);
        b[0] = 2; // BOOTREPLY
        b[3] = 0;
        b[8..10].fill(0);
        if kind != msg::ACK {
            b[12..16].fill(0);
        }
        b[16..20].copy_from_slice(&yours.octets());
        b[20..24].fill(0); // no boot server
        b[44..].fill(0);
        b.extend_from_slice(&COOKIE);
        let mut put = |code: u8, v: &[u8]| {
            b.extend_from_slice(&[code, v.len() as u8]);
            b.extend_from_slice(v);
        };
        let us = self.addr.octets();
        put(opt::TYPE, &[kind]);
        put(opt::SERVER, &us);
        if kind != msg::NAK {
            if q.kind != msg::INFORM {
                let t = LEASE.as_secs() as u32;
                put(opt::LEASE_TIME, &t.to_be_bytes());
                put(opt::RENEWAL, &(t / 2).to_be_bytes());
                put(opt::REBINDING, &(t / 8 * 7).to_be_bytes());
            }
            put(opt::MASK, &self.mask().to_be_bytes());
            put(opt::ROUTER, &us);
            put(opt::DNS, &us);
            put(opt::BROADCAST, &(u32::from(self.addr) | !self.mask()).to_be_bytes());
        }
        b.push(opt::END);
        b.resize(b.len().max(300), 0); // BOOTP's minimum, which some clients insist on
        Reply { bytes: b, broadcast: q.ciaddr().is_none() || kind == msg::NAK }
    }
}

//! Servers for names and domains to search, as routers tell them (RFC 8106). Kept for those who ask: `ndp`, `rtsold`, the tools.
//!
//! Bounded: [`MAX`] of each kind on an interface (RFC 8106 6.1 wants room for three). What a router tells with lifetime 0 goes.

use crate::Inet6;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::NdDns;
use iopkt_stack::Layers;
use iopkt_wire::domains;
use iopkt_wire::nd::INFINITE;

/// Most servers, and most domains, of an interface.
const MAX: usize = 8;

#[derive(Clone, PartialEq, Eq)]
enum What {
    Server(Ipv6Addr),
    Domain(String),
}

struct Told {
    ifindex: u32,
    router: Ipv6Addr,
    what: What,
    until: Instant,
}

/// What was told.
#[derive(Default)]
pub(crate) struct Dns(Vec<Told>);

impl Dns {
    pub fn detach(&mut self, ifindex: u32) {
        self.0.retain(|t| t.ifindex != ifindex);
    }

    /// Ends what is over; when the next one ends.
    pub fn age(&mut self, now: Instant) -> Instant {
        // [RFC8106 6.2]
        self.0.retain(|t| t.until > now);
        self.0.iter().map(|t| t.until).min().unwrap_or(Instant::FAR)
    }

    fn told(&mut self, now: Instant, ifindex: u32, router: Ipv6Addr, what: What, secs: u32) {
        // [RFC8106 5.1a] [RFC8106 5.1b] [RFC8106 6.1]
        let until = if secs == INFINITE { Instant::FAR } else { now + Duration::from_secs(secs.into()) };
        let kind = |w: &What| matches!(w, What::Server(_));
        if let Some(t) =
            self.0.iter_mut().find(|t| t.ifindex == ifindex && t.router == router && t.what == what)
        {
            t.until = until;
        } else if secs != 0 {
            let mine = |t: &&mut Told| t.ifindex == ifindex && kind(&t.what) == kind(&what);
            let full = self.0.iter_mut().filter(mine).count() >= MAX;
            let new = Told { ifindex, router, what: what.clone(), until };
            if !full {
                self.0.push(new);
            } else if let Some(first) = self.0.iter_mut().filter(mine).min_by_key(|t| t.until)
                && first.until < until
            {
                // The one that ends first makes room (RFC 8106 section 6.1).
                *first = new;
            }
        }
    }
}

impl Inet6 {
    /// An option with servers, 16 bytes each.
    pub(crate) fn dns_servers(
        &mut self,
        l: &Layers<'_>,
        ifindex: u32,
        router: Ipv6Addr,
        secs: u32,
        b: &[u8],
    ) {
        // [RFC8106 5.3.1b]
        for a in b.as_chunks::<16>().0 {
            let a = Ipv6Addr::from(*a);
            if !a.is_multicast() && !a.is_unspecified() && !a.is_loopback() {
                self.dns.told(l.cx.now, ifindex, router, What::Server(zone::embed(a, ifindex)), secs);
            }
        }
    }

    /// An option with domains.
    pub(crate) fn dns_domains(
        &mut self,
        l: &Layers<'_>,
        ifindex: u32,
        router: Ipv6Addr,
        secs: u32,
        b: &[u8],
    ) {
        // [RFC8106 5.2]
        for name in domains::domains(b, usize::MAX) {
            self.dns.told(l.cx.now, ifindex, router, What::Domain(name), secs);
        }
    }

    /// All of it, for those who ask.
    pub(crate) fn dns_list(&self, l: &Layers<'_>) -> Vec<NdDns> {
        let now = l.cx.now;
        let of = |t: &Told| {
            let (server, domain) = match &t.what {
                What::Server(a) => (Some(zone::strip(*a)), None),
                What::Domain(d) => (None, Some(d.clone())),
            };
            Some(NdDns {
                ifname: l.net.ifname(t.ifindex)?.into(),
                router: zone::strip(t.router),
                server,
                domain,
                expires: crate::ctl::left(now, t.until),
            })
        };
        self.dns.0.iter().filter_map(of).collect()
    }
}

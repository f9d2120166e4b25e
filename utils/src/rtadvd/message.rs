//! What an advertisement says: of the configuration, the interface's own networks, and what has gone since.

use super::conf::{Config, Mtu, Prefix, Route};
use iopkt_ctl::{Ifconf, in6};
use iopkt_wire::nd::{self, INFINITE, RouterAdvert, opt};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// What was said once and does not hold any more: it is taken back for some advertisements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub prefixes: Vec<Prefix>,
    pub routes: Vec<Route>,
    pub servers: Vec<Ipv6Addr>,
    pub domains: Vec<String>,
}

impl Gone {
    /// What `old` said and `new` does not; `o` and `n` are the networks of the interface that each shows.
    pub fn between(old: &Config, o: &[Prefix], new: &Config, n: &[Prefix]) -> Gone {
        let (was, is) = (shown(old, o), shown(new, n));
        let p = |p: &&Prefix| !is.iter().any(|x| (x.addr, x.plen) == (p.addr, p.plen));
        let r = |r: &&Route| !new.routes.iter().any(|x| (x.addr, x.plen) == (r.addr, r.plen));
        Gone {
            prefixes: was.iter().filter(p).cloned().collect(),
            routes: old.routes.iter().filter(r).cloned().collect(),
            servers: old.servers.iter().filter(|s| !new.servers.contains(s)).copied().collect(),
            domains: old.domains.iter().filter(|d| !new.domains.contains(d)).cloned().collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Gone::default()
    }

    /// Takes more in; what came back before it was taken back fully is not gone.
    pub fn add(&mut self, more: Gone, now: &Config, own: &[Prefix]) {
        self.prefixes.extend(more.prefixes);
        self.routes.extend(more.routes);
        self.servers.extend(more.servers);
        self.domains.extend(more.domains);
        let there = shown(now, own);
        self.prefixes.retain(|p| !there.iter().any(|x| (x.addr, x.plen) == (p.addr, p.plen)));
        self.routes.retain(|r| !now.routes.iter().any(|x| (x.addr, x.plen) == (r.addr, r.plen)));
        self.servers.retain(|s| !now.servers.contains(s));
        self.domains.retain(|d| !now.domains.contains(d));
    }
}

/// The prefixes that are advertised: the configured ones, else the interface's own.
pub(super) fn shown<'a>(c: &'a Config, own: &'a [Prefix]) -> &'a [Prefix] {
    if c.prefixes.is_empty() { own } else { &c.prefixes }
}

/// The networks of the interface's own addresses, for as long as those are good.
pub(super) fn own(i: &Ifconf, c: &Config) -> Vec<Prefix> {
    let mut out: Vec<Prefix> = Vec::new();
    for a in &i.addrs {
        let IpAddr::V6(x) = a.addr else { continue };
        let Some(life) = i.life(&a.addr) else { continue };
        let never = in6::AUTOCONF | in6::DUPLICATED | in6::DETACHED;
        if life.flags & never != 0 || x.segments()[0] & 0xffc0 == 0xfe80 || a.prefix_len == 128 {
            continue;
        }
        let mask = if a.prefix_len == 0 { 0 } else { u128::MAX << (128 - u32::from(a.prefix_len)) };
        let addr = Ipv6Addr::from(u128::from(x) & mask);
        let valid = life.valid.unwrap_or(u32::MAX).min(c.own.valid);
        let preferred = life.preferred.unwrap_or(u32::MAX).min(c.own.preferred).min(valid);
        if !out.iter().any(|p| p.addr == addr && p.plen == a.prefix_len) {
            out.push(Prefix { addr, plen: a.prefix_len, valid, preferred, ..c.own.clone() });
        }
    }
    out
}

/// What is left of a lifetime that runs.
fn left(secs: u32, runs: bool, since: Instant) -> u32 {
    if !runs || secs == INFINITE { secs } else { secs.saturating_sub(since.elapsed().as_secs() as u32) }
}

/// What an advertisement is made of.
pub(super) struct Saying<'a> {
    pub conf: &'a Config,
    pub iface: &'a Ifconf,
    pub own: &'a [Prefix],
    pub gone: &'a Gone,
    /// When the configuration was read.
    pub since: Instant,
    /// We are no default router: lifetime 0 (RFC 4861 6.2.5).
    pub no_router: bool,
    /// Names are taken back, and routes: the end.
    pub last: bool,
}

impl Saying<'_> {
    /// The message, without its checksum.
    pub fn emit(&self) -> Vec<u8> {
        // [RFC4861 6.2.5]
        let c = self.conf;
        let ra = RouterAdvert {
            hop_limit: c.hop_limit,
            managed: c.managed,
            other: c.other,
            preference: c.preference,
            lifetime: if self.no_router { 0 } else { c.lifetime() },
            reachable: c.reachable,
            retrans: c.retrans,
        };
        let mut b = ra.emit();
        if !c.no_link_address {
            nd::push_link(&mut b, opt::SOURCE_LINK, self.iface.mac);
        }
        match c.mtu {
            Mtu::Unsaid => {}
            Mtu::Auto => nd::push_mtu(&mut b, self.iface.mtu),
            Mtu::Of(n) => nd::push_mtu(&mut b, n.min(self.iface.mtu)),
        }
        for p in shown(c, self.own) {
            let valid = left(p.valid, p.valid_runs, self.since);
            let preferred = left(p.preferred, p.preferred_runs, self.since).min(valid);
            push(&mut b, p, valid, preferred);
        }
        // Deprecated at once; addresses of it die within two hours (RFC 4862 5.5.3 e).
        for p in &self.gone.prefixes {
            push(&mut b, p, 0, 0);
        }
        for r in &c.routes {
            let lifetime = if self.last || self.no_router { 0 } else { r.lifetime };
            nd::push_route(&mut b, r.addr, r.plen, r.preference, lifetime);
        }
        for r in &self.gone.routes {
            nd::push_route(&mut b, r.addr, r.plen, r.preference, 0);
        }
        let names = if self.last { 0 } else { c.names() };
        for (lifetime, servers, domains) in
            [(names, &c.servers, &c.domains), (0, &self.gone.servers, &self.gone.domains)]
        {
            if !servers.is_empty() {
                nd::push_rdnss(&mut b, lifetime, servers);
            }
            if !domains.is_empty() {
                push_domains(&mut b, lifetime, domains);
            }
        }
        b
    }
}

fn push(b: &mut Vec<u8>, p: &Prefix, valid: u32, preferred: u32) {
    let p = nd::Prefix {
        prefix: p.addr,
        plen: p.plen,
        on_link: p.on_link,
        autonomous: p.autonomous,
        valid,
        preferred,
    };
    nd::push_prefix(b, &p);
}

/// RFC 8106 5.2: names as DNS writes them, padded with zeros.
fn push_domains(b: &mut Vec<u8>, lifetime: u32, domains: &[String]) {
    let mut names = Vec::new();
    for d in domains {
        for l in d.split('.') {
            names.push(l.len() as u8);
            names.extend(l.bytes());
        }
        names.push(0);
    }
    names.resize(names.len().next_multiple_of(8), 0);
    b.extend([opt::DNSSL, (1 + names.len() / 8) as u8, 0, 0]);
    b.extend(lifetime.to_be_bytes());
    b.extend(names);
}

#[cfg(test)]
mod tests {
    use super::super::conf::parse;
    use super::*;

    fn read(b: &[u8]) -> (RouterAdvert, String) {
        let (ra, rest) = RouterAdvert::parse([b[4], b[5], b[6], b[7]], &b[8..]).expect("one");
        let o: Vec<String> = nd::options(rest).map(|o| format!("{:?}", o.expect("good"))).collect();
        (ra, o.join("\n"))
    }

    fn say(c: &Config, gone: &Gone, last: bool) -> (RouterAdvert, String) {
        let iface = crate::ifconfig::tests::wm0();
        let s =
            Saying { conf: c, iface: &iface, own: &[], gone, since: Instant::now(), no_router: last, last };
        read(&s.emit())
    }

    #[test]
    fn a_message_says_what_the_configuration_says() {
        // [RFC4861 6.2.5]
        let c = parse(
            "x:addr=\"2001:db8::\":rdnss=\"2001:db8::53\":dnssl=\"lan\":mtu#1400:rtprefix=\"2001:db8:9::\":rtplen#48:",
            "x",
        )
        .expect("good");
        let (ra, o) = say(&c, &Gone::default(), false);
        assert_eq!((ra.lifetime, ra.hop_limit), (1800, 64));
        for want in [
            "SourceLink",
            "Mtu(1400)",
            "prefix: 2001:db8::, plen: 64",
            "Route { prefix: 2001:db8:9::, plen: 48",
            "Rdnss { lifetime: 900",
            "Dnssl { lifetime: 900",
        ] {
            assert!(o.contains(want), "{want}: {o}");
        }
        let (ra, o) = say(&c, &Gone::default(), true);
        assert!(ra.lifetime == 0 && o.contains("Rdnss { lifetime: 0"), "{o}");
        let c = parse("x:mtu=auto:nolladdr:", "x").expect("good");
        let (_, o) = say(&c, &Gone::default(), false);
        assert_eq!(o, "Mtu(1500)");
    }

    #[test]
    fn what_went_is_taken_back() {
        let old = parse(
            "x:addr=\"2001:db8:1::\":addr1=\"2001:db8:2::\":rdnss=\"fe80::1,fe80::2\":dnssl=\"a.test\":rtprefix=\"2001:db8:9::\":rtplen#48:",
            "x",
        )
        .expect("good");
        let new = parse("x:addr=\"2001:db8:2::\":rdnss=\"fe80::2\":", "x").expect("good");
        let mut gone = Gone::between(&old, &[], &new, &[]);
        let (_, o) = say(&new, &gone, false);
        for want in [
            "prefix: 2001:db8:1::, plen: 64, on_link: true, autonomous: true, valid: 0, preferred: 0",
            "prefix: 2001:db8:2::, plen: 64, on_link: true, autonomous: true, valid: 2592000",
            "Route { prefix: 2001:db8:9::, plen: 48, preference: Some(Medium), lifetime: 0",
            "Dnssl { lifetime: 0",
            "Rdnss { lifetime: 0",
        ] {
            assert!(o.contains(want), "{want}: {o}");
        }
        // It comes back before it was forgotten.
        gone.add(Gone::between(&new, &[], &old, &[]), &old, &[]);
        assert!(gone.is_empty(), "{gone:?}");
    }

    #[test]
    fn lifetimes_that_run() {
        let since = Instant::now() - std::time::Duration::from_secs(100);
        assert_eq!((left(150, true, since), left(50, true, since)), (50, 0));
        assert_eq!((left(150, false, since), left(INFINITE, true, since)), (150, INFINITE));
    }
}

//! Names of hosts and networks: numbers, /etc/hosts, /etc/networks, then DNS through the stack itself.

use crate::addr::{inet_aton, inet_network};
use crate::dns::{self, Conf, Exchange};
use iopkt_client::Session;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The IPv4 address that a user means.
///
/// # Errors
/// BSD's line: `Cannot resolve "NAME" (why)`.
pub fn host(x: &mut dyn Exchange, name: &str) -> Result<Ipv4Addr, String> {
    if let Some(a) = inet_aton(name).or_else(|| hosts(name)) {
        return Ok(a);
    }
    if name.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("{name}: IPv6 is not in this build"));
    }
    match dns::addresses(x, &Conf::load(), name) {
        Ok(list) => list.first().copied().ok_or_else(|| format!("Cannot resolve \"{name}\" (no address)")),
        Err(e) => Err(format!("Cannot resolve \"{name}\" ({e})")),
    }
}

/// The IPv6 address that a user means by a name, and the interface behind an address.
///
/// # Errors
/// BSD's line: `Cannot resolve "NAME" (why)`.
pub fn host6(x: &mut dyn Exchange, name: &str) -> Result<(Ipv6Addr, Option<String>), String> {
    if let Some((a, z)) = crate::addr::parse6(name) {
        return Ok((a, z.map(str::to_string)));
    }
    if let Some(a) = hosts6(name) {
        return Ok((a, None));
    }
    // What is written as an address is no name.
    if name.contains([':', '%']) || inet_aton(name).is_some() {
        return Err(format!("Cannot resolve \"{name}\" (no IPv6 address)"));
    }
    match dns::addresses6(x, &Conf::load(), name) {
        Ok(list) => {
            x.order(list).first().map(|a| (*a, None)).ok_or_else(|| format!("Cannot resolve \"{name}\""))
        }
        Err(e) => Err(format!("Cannot resolve \"{name}\" ({e})")),
    }
}

/// Names of addresses for listings: looked up once each, and no more after no server answered.
pub struct Names<'a> {
    session: &'a Session,
    conf: Option<Conf>,
    known: HashMap<IpAddr, Option<String>>,
}

impl<'a> Names<'a> {
    /// Names by this session's stack; `numeric`: none at all.
    pub fn new(session: &'a Session, numeric: bool) -> Names<'a> {
        // A name is an ornament here: not worth the minute that a dead server may cost.
        let mut conf = Conf::load();
        (conf.timeout, conf.attempts) = (conf.timeout.min(Duration::from_secs(2)), 1);
        conf.servers.truncate(1);
        Names { session, conf: (!numeric).then_some(conf), known: HashMap::new() }
    }

    /// `name (address)`, or the address alone.
    pub fn of(&mut self, a: IpAddr) -> String {
        self.name(a).map_or_else(|| a.to_string(), |n| format!("{n} ({a})"))
    }

    /// The name, if there is one.
    pub fn name(&mut self, a: IpAddr) -> Option<String> {
        let conf = self.conf.as_ref()?;
        if let Some(n) = self.known.get(&a) {
            return n.clone();
        }
        let mut n = host_of(a);
        if n.is_none() && !conf.servers.is_empty() {
            match dns::name_of(&mut dns::Net(self.session), conf, a) {
                Ok(found) => n = found,
                Err(_) => self.conf.as_mut()?.servers.clear(),
            }
        }
        self.known.insert(a, n.clone());
        n
    }
}

/// The name of an address in /etc/hosts.
pub fn host_of(a: IpAddr) -> Option<String> {
    find_name(&std::fs::read_to_string("/etc/hosts").ok()?, a)
}

fn find_name(text: &str, a: IpAddr) -> Option<String> {
    text.lines().find_map(|l| {
        let mut words = l.split('#').next().unwrap_or("").split_whitespace();
        let here = crate::addr::parse(words.next()?)? == a;
        words.next().filter(|_| here).map(str::to_string)
    })
}

/// The IPv4 address of `name` in /etc/hosts; short forms (`127.1`) are understood.
pub fn hosts(name: &str) -> Option<Ipv4Addr> {
    find(&std::fs::read_to_string("/etc/hosts").ok()?, name, inet_aton)
}

/// The IPv6 address of `name` in /etc/hosts.
pub fn hosts6(name: &str) -> Option<Ipv6Addr> {
    find(&std::fs::read_to_string("/etc/hosts").ok()?, name, |a| a.parse().ok())
}

/// The number of a network by its name in /etc/networks (networks(5)); a mask may have a name there, too.
pub fn network(name: &str) -> Option<Ipv4Addr> {
    find_network(&std::fs::read_to_string("/etc/networks").ok()?, name)
}

fn find_network(text: &str, name: &str) -> Option<Ipv4Addr> {
    text.lines().find_map(|l| {
        let words: Vec<&str> = l.split('#').next().unwrap_or("").split_whitespace().collect();
        let (first, rest) = words.split_first()?;
        let (number, aliases) = rest.split_first()?;
        let named = first == &name || aliases.contains(&name);
        if named { inet_network(number) } else { None }
    })
}

/// The first address of `name` that `parse` takes for one.
fn find<A>(text: &str, name: &str, parse: impl Fn(&str) -> Option<A>) -> Option<A> {
    text.lines().find_map(|l| {
        let mut words = l.split('#').next().unwrap_or("").split_whitespace();
        let a = parse(words.next()?)?;
        words.any(|w| w.eq_ignore_ascii_case(name)).then_some(a)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_zones() {
        struct Nobody;
        impl Exchange for Nobody {
            fn udp(
                &mut self,
                _: &dns::Server,
                _: &[u8],
                _: Duration,
                _: &dyn Fn(&[u8]) -> bool,
            ) -> std::io::Result<Option<Vec<u8>>> {
                Ok(None)
            }
            fn tcp(&mut self, _: &dns::Server, _: &[u8], _: Duration) -> std::io::Result<Vec<u8>> {
                Err(std::io::ErrorKind::TimedOut.into())
            }
            fn id(&mut self) -> u16 {
                1
            }
        }
        let of = |s: &str| host6(&mut Nobody, s);
        assert_eq!(of("fe80::2%ecm0"), Ok(("fe80::2".parse().expect("address"), Some("ecm0".into()))));
        assert_eq!(of("2001:db8::1"), Ok(("2001:db8::1".parse().expect("address"), None)));
        for bad in ["2001:db8::1%ecm0", "fe80::1%", "10.0.0.1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_names() {
        let t = "# x\nloopback 127\nclassc 255.255.255 c-mask\nbroken\n";
        assert_eq!(find_network(t, "loopback"), Some(Ipv4Addr::new(127, 0, 0, 0)));
        assert_eq!(find_network(t, "c-mask"), Some(Ipv4Addr::new(255, 255, 255, 0)));
        assert_eq!(find_network(t, "broken"), None);
    }

    #[test]
    fn names_and_aliases() {
        let t = "127.1 localhost # x\n::1 six\n10.0.0.1\tModem modem.test\n# 1.2.3.4 no\n";
        assert_eq!(find(t, "modem", inet_aton), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(find(t, "localhost", inet_aton), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(find(t, "no", inet_aton), None);
        assert_eq!(find_name(t, IpAddr::from([10, 0, 0, 1])).as_deref(), Some("Modem"));
        assert_eq!(find_name(t, IpAddr::from([1, 2, 3, 4])), None);
        assert_eq!(find(t, "six", inet_aton), None);
        let six = |name| find(t, name, |a| a.parse::<Ipv6Addr>().ok());
        assert_eq!((six("six"), six("no")), (Some(Ipv6Addr::LOCALHOST), None));
        assert_eq!(
            find("127.0.0.1 a\n# ::9 b\n::7 c b # d\n", "b", |a| a.parse().ok()),
            Some(Ipv6Addr::from(7u128))
        );
        assert_eq!(find("::7 c b # d\n", "d", |a| a.parse::<Ipv6Addr>().ok()), None);
    }
}

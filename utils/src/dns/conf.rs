//! resolv.conf(5): `<root>$SOCK/etc/resolv.conf` (what dhcp.client writes for a stack of its own), else /etc/resolv.conf.

use iopkt_sys::paths::Root;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Most servers of a family that are asked (resolv.conf(5)).
const MAX_SERVERS: usize = 3;
/// Most domains that are tried.
const MAX_SEARCH: usize = 6;

/// A server; one of link-local scope with the interface behind which it is (RFC 4007 section 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub addr: IpAddr,
    /// Name or number of the interface.
    pub zone: Option<String>,
}

impl Server {
    /// As resolv.conf(5) has it. A link-local address without a zone may be anybody's: none.
    fn parse(s: &str) -> Option<Server> {
        if let Ok(addr) = s.parse::<IpAddr>() {
            let whose = matches!(addr, IpAddr::V6(x) if iopkt_base::zone::is_scoped(&x));
            return (!whose).then_some(Server { addr, zone: None });
        }
        let (a, zone) = crate::addr::parse6(s)?;
        Some(Server { addr: a.into(), zone: zone.map(str::to_string) })
    }
}

impl From<IpAddr> for Server {
    fn from(addr: IpAddr) -> Server {
        Server { addr, zone: None }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.addr)?;
        self.zone.as_ref().map_or(Ok(()), |z| write!(f, "%{z}"))
    }
}

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// Where it comes from, for messages.
    pub path: PathBuf,
    /// Servers.
    pub servers: Vec<Server>,
    /// Domains that are appended to a name.
    pub search: Vec<String>,
    /// A name with so many dots is first tried as it stands.
    pub ndots: usize,
    /// Time for one answer.
    pub timeout: Duration,
    /// Rounds over the servers.
    pub attempts: u32,
}

impl Conf {
    /// Reads the file for this process's stack. A file that is not there is one without servers.
    pub fn load() -> Conf {
        let own = Root::find().with_prefix(std::env::var_os("SOCK").unwrap_or_default(), "/etc/resolv.conf");
        let path = if own.is_file() { own } else { PathBuf::from("/etc/resolv.conf") };
        let text = std::fs::read(&path).unwrap_or_default();
        Conf::parse(path, &String::from_utf8_lossy(&text))
    }

    /// Takes a file's text apart.
    pub fn parse(path: PathBuf, text: &str) -> Conf {
        let mut c = Conf {
            path,
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for l in text.lines() {
            let mut w = l.split(['#', ';']).next().unwrap_or("").split_whitespace();
            match w.next() {
                Some("nameserver") => {
                    // Of each family: a stack that speaks one alone must not miss its own.
                    let of = |s: &Server| s.addr.is_ipv4();
                    if let Some(s) = w.next().and_then(Server::parse)
                        && c.servers.iter().filter(|x| of(x) == of(&s)).count() < MAX_SERVERS
                    {
                        c.servers.push(s);
                    }
                }
                // The last one counts.
                Some("search" | "domain") => c.search = w.take(MAX_SEARCH).map(str::to_string).collect(),
                Some("options") => w.for_each(|o| c.option(o)),
                _ => {}
            }
        }
        c
    }

    fn option(&mut self, o: &str) {
        let Some((k, v)) = o.split_once(':') else { return };
        let Ok(n) = v.parse::<u32>() else { return };
        match k {
            "ndots" => self.ndots = n.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(n.clamp(1, 30))),
            "attempts" => self.attempts = n.clamp(1, 5),
            _ => {}
        }
    }

    /// The full names to try for `name`, in order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_string()];
        }
        let mut v: Vec<String> =
            self.search.iter().map(|d| format!("{name}.{}", d.trim_matches('.'))).collect();
        let at = if name.matches('.').count() >= self.ndots { 0 } else { v.len() };
        v.insert(at, name.to_string());
        v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_words() {
        let t = "# c\nnameserver 10.0.0.1 ; x\nnameserver fe80::1\nnameserver fe80::1%ecm0\nnameserver 2001:db8::53\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n\
                 nameserver 10.0.0.4\ndomain old.test\nsearch a.test b.test.\noptions ndots:2 timeout:1 attempts:99 rotate\n";
        let c = Conf::parse("x".into(), t);
        let want = ["10.0.0.1", "fe80::1%ecm0", "2001:db8::53", "10.0.0.2", "10.0.0.3"];
        assert_eq!(c.servers.iter().map(Server::to_string).collect::<Vec<_>>(), want);
        assert_eq!((c.ndots, c.timeout, c.attempts), (2, Duration::from_secs(1), 5));
        assert_eq!(c.candidates("www"), ["www.a.test", "www.b.test", "www"]);
        assert_eq!(c.candidates("a.b.c"), ["a.b.c", "a.b.c.a.test", "a.b.c.b.test"]);
        assert_eq!(c.candidates("www."), ["www."]);
        assert_eq!(Conf::parse("x".into(), "nameserver\noptions\n").servers, [] as [Server; 0]);
        assert_eq!(Server::parse("10.0.0.1%ecm0"), None);
        assert_eq!(Server::parse("2001:db8::1%ecm0"), None);
    }
}

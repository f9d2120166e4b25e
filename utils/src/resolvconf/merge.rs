//! What several sources say of names, as one resolv.conf(5).

use std::net::IpAddr;

/// Servers that libc asks (MAXNS of resolv.h); the rest of the file is for who reads more.
pub(super) const LIBC_SERVERS: usize = 3;
/// Most servers and domains that are kept of one source.
pub(super) const MAX_KEPT: usize = 16;
/// Domains and characters of `search` that older resolvers take (MAXDNSRCH of resolv.h, resolv.conf(5)).
const MAX_SEARCH: usize = 6;
const MAX_SEARCH_LEN: usize = 255;

/// Something that was told, and until which second of this boot it is good; `None`: while the source says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A server (an IPv6 one of link-local scope with its zone, `fe80::1%ecm0`), or a domain.
    pub what: String,
    /// The second of this boot.
    pub until: Option<u64>,
}

impl Entry {
    /// Good as long as its source has it.
    pub fn plain(what: impl Into<String>) -> Entry {
        Entry { what: what.into(), until: None }
    }

    fn good(&self, now: u64) -> bool {
        self.until.is_none_or(|t| t > now)
    }
}

/// What one source says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Servers, the best first.
    pub servers: Vec<Entry>,
    /// Domains to search.
    pub domains: Vec<Entry>,
}

impl Told {
    /// Whether nothing of it is good any more.
    pub fn is_over(&self, now: u64) -> bool {
        !self.servers.iter().chain(&self.domains).any(|e| e.good(now))
    }

    /// When the next thing of it ends.
    pub fn next_end(&self, now: u64) -> Option<u64> {
        self.servers.iter().chain(&self.domains).filter(|e| e.good(now)).filter_map(|e| e.until).min()
    }
}

/// Whether a server may stand in the file: what comes from a network must not write lines of its own there.
fn server(s: &str) -> bool {
    let zone = |z: &str| {
        !z.is_empty() && z.len() < 16 && z.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match s.split_once('%') {
        Some((_, z)) if !zone(z) => false,
        Some(_) => crate::addr::parse6(s).is_some(),
        None => s.parse::<IpAddr>().is_ok_and(|a| !a.is_unspecified() && !a.is_multicast()),
    }
}

/// Whether a domain may stand in the file.
fn domain(s: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() < 64
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    s.len() < 254 && s.trim_end_matches('.').split('.').all(label)
}

/// The servers in the order in which they are asked: sources as they come, but no source alone has all the places that libc reads
/// (RFC 8106 5.3.1: three servers from two sources at least).
fn servers(parts: &[(String, Told)], now: u64) -> Vec<&str> {
    let mut list: Vec<(usize, &str)> = Vec::new();
    for (n, (_, t)) in parts.iter().enumerate() {
        for e in t.servers.iter().filter(|e| e.good(now) && server(&e.what)).take(MAX_KEPT) {
            if !list.iter().any(|l| l.1.eq_ignore_ascii_case(&e.what)) {
                list.push((n, &e.what));
            }
        }
    }
    let last = LIBC_SERVERS - 1;
    if list.len() > LIBC_SERVERS
        && list[..LIBC_SERVERS].iter().all(|l| l.0 == list[0].0)
        && let Some(other) = list.iter().position(|l| l.0 != list[0].0)
    {
        let one = list.remove(other);
        list.insert(last, one);
    }
    list.into_iter().map(|l| l.1).collect()
}

/// The file's text without its first line; `None` when nobody says anything. `parts` are named, the most trusted first; `options` are
/// lines of a person's own.
pub(super) fn text(parts: &[(String, Told)], options: &[String], now: u64) -> Option<String> {
    let who: Vec<&str> = parts.iter().filter(|p| !p.1.is_over(now)).map(|p| p.0.as_str()).collect();
    if who.is_empty() {
        return None;
    }
    let mut o = format!("# from {}\n", who.join(", "));
    let (mut search, mut rest): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for e in parts.iter().flat_map(|p| p.1.domains.iter().take(MAX_KEPT)) {
        let d = e.what.trim_end_matches('.');
        if !e.good(now) || !domain(d) || search.iter().chain(&rest).any(|s| s.eq_ignore_ascii_case(d)) {
            continue;
        }
        let len: usize = search.iter().map(|s| s.len() + 1).sum::<usize>() + d.len();
        if search.len() < MAX_SEARCH && len <= MAX_SEARCH_LEN && rest.is_empty() {
            search.push(d);
        } else {
            rest.push(d);
        }
    }
    if !search.is_empty() {
        o += &format!("search {}\n", search.join(" "));
    }
    if !rest.is_empty() {
        o += &format!("# more than resolvers take: {}\n", rest.join(" "));
    }
    let servers = servers(parts, now);
    for (n, s) in servers.iter().enumerate() {
        if n == LIBC_SERVERS {
            o += "# libc asks the first three only\n";
        }
        o += &format!("nameserver {s}\n");
    }
    for l in options {
        o += l;
        o.push('\n');
    }
    Some(o)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(servers: &[&str], domains: &[&str]) -> Told {
        let list = |l: &[&str]| l.iter().map(|s| Entry::plain(*s)).collect();
        Told { servers: list(servers), domains: list(domains) }
    }

    #[test]
    fn sources_in_their_order_without_doubles() {
        let parts = [
            ("dhcp.client on ecm0".into(), told(&["10.0.0.1"], &["a.test"])),
            (
                "rtsold on ecm0".into(),
                told(&["fe80::1%ecm0", "10.0.0.1", "2001:db8::1"], &["A.test.", "b.test"]),
            ),
        ];
        assert_eq!(
            text(&parts, &["options timeout:3".into()], 0).as_deref(),
            Some(
                "# from dhcp.client on ecm0, rtsold on ecm0\nsearch a.test b.test\nnameserver 10.0.0.1\n\
                 nameserver fe80::1%ecm0\nnameserver 2001:db8::1\noptions timeout:3\n"
            )
        );
        assert_eq!(text(&[("x".into(), Told::default())], &[], 0), None);
    }

    #[test]
    fn no_source_has_all_the_places_of_libc() {
        let parts = [
            ("a".into(), told(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], &[])),
            ("b".into(), told(&["2001:db8::1", "2001:db8::2"], &[])),
        ];
        assert_eq!(
            servers(&parts, 0),
            ["10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.3", "10.0.0.4", "2001:db8::2"]
        );
        assert!(
            text(&parts, &[], 0)
                .expect("some")
                .contains("2001:db8::1\n# libc asks the first three only\nnameserver 10.0.0.3\n")
        );
    }

    #[test]
    fn each_thing_has_its_time() {
        let mut t = told(&["10.0.0.1", "10.0.0.2"], &[]);
        t.servers[0].until = Some(5);
        assert_eq!((t.next_end(4), t.next_end(5), t.is_over(9)), (Some(5), None, false));
        t.servers[1].until = Some(9);
        let parts = [("x".into(), t)];
        assert_eq!(servers(&parts, 4).len(), 2);
        assert_eq!(servers(&parts, 5), ["10.0.0.2"]);
        assert_eq!(text(&parts, &[], 9), None);
    }

    #[test]
    fn what_would_write_lines_of_its_own_is_left_out() {
        let t = told(
            &[
                "10.0.0.1\nnameserver 6.6.6.6",
                "::",
                "ff02::1",
                "fe80::1%a b",
                "2001:db8::1%ecm0",
                "x",
                "fe80::1%ecm0",
            ],
            &["a b", "a\nnameserver 6.6.6.6", "", "..", "good.test"],
        );
        assert_eq!(
            text(&[("x".into(), t)], &[], 0).as_deref(),
            Some("# from x\nsearch good.test\nnameserver fe80::1%ecm0\n")
        );
    }

    #[test]
    fn a_long_search_list_is_cut_where_resolvers_cut_it() {
        let many: Vec<String> = (0..8).map(|n| format!("d{n}.test")).collect();
        let t = told(&[], &many.iter().map(String::as_str).collect::<Vec<_>>());
        let s = text(&[("x".into(), t)], &[], 0).expect("some");
        assert!(s.contains("search d0.test d1.test d2.test d3.test d4.test d5.test\n"), "{s}");
        assert!(s.contains("# more than resolvers take: d6.test d7.test\n"), "{s}");
        let long = |c: &str| format!("{0}.{0}.{0}", c.repeat(60));
        let (a, b) = (long("a"), long("b"));
        let s = text(&[("x".into(), told(&[], &[&a, &b]))], &[], 0).expect("some");
        assert!(s.contains(&format!("search {a}\n# more than resolvers take: {b}\n")), "{s}");
    }
}

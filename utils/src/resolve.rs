//! Names of hosts, as far as a file tells them. (DNS through the stack is what programs under io-pkt-run have.)

use crate::addr::{inet_aton, inet_network};
use std::net::Ipv4Addr;

/// The IPv4 address of `name` in /etc/hosts; short forms (`127.1`) are understood.
pub fn hosts(name: &str) -> Option<Ipv4Addr> {
    find(&std::fs::read_to_string("/etc/hosts").ok()?, name)
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

fn find(text: &str, name: &str) -> Option<Ipv4Addr> {
    text.lines().find_map(|l| {
        let mut words = l.split('#').next().unwrap_or("").split_whitespace();
        let a = inet_aton(words.next()?)?;
        words.any(|w| w.eq_ignore_ascii_case(name)).then_some(a)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(find(t, "modem"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(find(t, "localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(find(t, "no"), None);
        assert_eq!(find(t, "six"), None);
    }
}

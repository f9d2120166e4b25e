//! Names in listings: of hosts by /etc/hosts, of ports by /etc/services. -n of the tools turns them off. (A question to
//! DNS for each line would make a listing wait; BSD's does.)

use crate::resolve::host_of;
use std::collections::HashMap;
use std::net::IpAddr;

/// Names for addresses and ports.
#[derive(Debug, Default)]
pub struct Names {
    numeric: bool,
    services: HashMap<(u16, String), String>,
}

impl Names {
    /// Names; `numeric`: none at all.
    pub fn new(numeric: bool) -> Names {
        let services = if numeric {
            HashMap::new()
        } else {
            services(&std::fs::read_to_string("/etc/services").unwrap_or_default())
        };
        Names { numeric, services }
    }

    /// A host.
    pub fn host(&self, a: IpAddr) -> String {
        self.zoned(a, None)
    }

    /// A host, behind its address the zone where it has one.
    pub fn zoned(&self, a: IpAddr, zone: Option<&str>) -> String {
        let named = if self.numeric { None } else { host_of(a) };
        named.unwrap_or_else(|| crate::addr::zoned(a, zone))
    }

    /// A port of `tcp` or `udp`.
    pub fn port(&self, port: u16, proto: &str) -> String {
        self.services.get(&(port, proto.into())).cloned().unwrap_or_else(|| port.to_string())
    }
}

/// services(5): the first name of a port and protocol.
fn services(text: &str) -> HashMap<(u16, String), String> {
    let mut m = HashMap::new();
    for l in text.lines() {
        let mut w = l.split('#').next().unwrap_or("").split_whitespace();
        let (Some(name), Some((port, proto))) = (w.next(), w.next().and_then(|p| p.split_once('/'))) else {
            continue;
        };
        if let Ok(port) = port.parse() {
            m.entry((port, proto.to_string())).or_insert_with(|| name.to_string());
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_by_port_and_protocol() {
        let m = services(
            "# x\nssh 22/tcp # secure\nsecond 22/tcp\ndomain\t53/udp nameserver\nbroken 9\nbad x/tcp\n",
        );
        assert_eq!(m.get(&(22, "tcp".into())).map(String::as_str), Some("ssh"));
        assert_eq!(m.get(&(53, "udp".into())).map(String::as_str), Some("domain"));
        assert_eq!(m.len(), 2);
        let n = Names { numeric: false, services: m };
        assert_eq!((n.port(22, "tcp"), n.port(22, "udp")), ("ssh".into(), "22".into()));
        assert_eq!(Names::new(true).port(22, "tcp"), "22");
        assert_eq!(Names::new(true).host("127.0.0.1".parse().expect("address")), "127.0.0.1");
    }
}

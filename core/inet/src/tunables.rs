//! The variables of `net.inet.ip`, `net.inet.icmp` and `net.inet.arp`.

use iopkt_stack::variables::{Fixed, Place, Variables};

/// Settings of the domain; the defaults are NetBSD's unless a note says otherwise.
#[derive(Clone, Debug)]
pub struct Tunables {
    /// `net.inet.ip.ttl`: for packets that the domain itself makes.
    pub ttl: u8,
    /// `net.inet.ip.maxfragpackets`: datagrams in reassembly; -1 is no limit but the packet memory's.
    pub maxfragpackets: i64,
    /// `net.inet.ip.mtudisc`: path MTU discovery is believed.
    pub mtudisc: bool,
    /// `net.inet.icmp.errppslimit`: errors per second; 0 none, negative no limit.
    pub errppslimit: i64,
    /// `net.inet.icmp.rediraccept`: redirects change routes.
    pub rediraccept: bool,
    /// `net.inet.icmp.redirtimeout`: seconds that such a route lives.
    pub redirtimeout: u32,
    /// `net.inet.icmp.bmcastecho`: echo requests to broadcast and multicast are answered (default 0, which
    /// RFC 1122 3.2.2.6 allows).
    pub bmcastecho: bool,
    /// `net.inet.ip.dad_count`: ARP probes for a new address (RFC 5227 2.1.1 has 3; the address is used at
    /// once, as BSD does for one that a person set, so one is enough to find out).
    pub dad_count: u32,
}

impl Default for Tunables {
    fn default() -> Self {
        Tunables {
            ttl: 64,
            maxfragpackets: 200,
            mtudisc: true,
            errppslimit: 100,
            rediraccept: true,
            redirtimeout: 600,
            bmcastecho: false,
            dad_count: 1,
        }
    }
}

/// Variables that can be read only: name, value, why.
const FIXED: &[Fixed] = &[
    ("net.inet.ip.forwarding", "0", "forwarding is not in this build"),
    ("net.inet.ip.allowsrcrt", "0", "source-routed packets are refused (RFC 7126 4.3)"),
    ("net.inet.ip.forwsrcrt", "0", "source-routed packets are refused (RFC 7126 4.3)"),
    ("net.inet.ip.redirect", "1", "forwarding is not in this build"),
    ("net.inet.ip.maxflows", "256", "fast forwarding is not in this build"),
    ("net.inet.ip.directed-broadcast", "0", "forwarding is not in this build"),
    ("net.inet.icmp.maskrepl", "0", "address mask replies are not made (RFC 6918)"),
];

const NAMES: &[&str] = &[
    "net.inet.ip.ttl",
    "net.inet.ip.maxfragpackets",
    "net.inet.ip.mtudisc",
    "net.inet.ip.dad_count",
    "net.inet.icmp.errppslimit",
    "net.inet.icmp.rediraccept",
    "net.inet.icmp.redirtimeout",
    "net.inet.icmp.bmcastecho",
];

impl Variables for Tunables {
    const FIXED: &'static [Fixed] = FIXED;
    const NAMES: &'static [&'static str] = NAMES;

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "net.inet.ip.ttl" => Place::Byte(&mut self.ttl, 1),
            "net.inet.ip.maxfragpackets" => Place::Long(&mut self.maxfragpackets),
            "net.inet.ip.mtudisc" => Place::Flag(&mut self.mtudisc),
            "net.inet.ip.dad_count" => Place::Word(&mut self.dad_count, 0, 10),
            "net.inet.icmp.errppslimit" => Place::Long(&mut self.errppslimit),
            "net.inet.icmp.rediraccept" => Place::Flag(&mut self.rediraccept),
            "net.inet.icmp.redirtimeout" => Place::Word(&mut self.redirtimeout, 1, 86_400),
            "net.inet.icmp.bmcastecho" => Place::Flag(&mut self.bmcastecho),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_base::Errno;
    use iopkt_ctl::Reply;

    #[test]
    fn every_name_reads_and_writes_its_own_value_back() {
        let mut t = Tunables::default();
        for n in NAMES {
            let Some(Reply::Sysctl(now)) = t.sysctl(n, None) else { panic!("{n}") };
            let v = now[0].1.clone();
            assert_eq!(t.sysctl(n, Some(&v)), Some(Reply::Ok), "{n}");
            assert_eq!(t.sysctl(n, None), Some(Reply::Sysctl(alloc::vec![((*n).into(), v)])));
            assert!(matches!(t.sysctl(n, Some("-77")), Some(Reply::Err { errno: Errno::EINVAL, .. })), "{n}");
        }
        for (n, v, _) in FIXED {
            assert_eq!(t.sysctl(n, Some(v)), Some(Reply::Ok));
            assert!(matches!(t.sysctl(n, Some("77")), Some(Reply::Err { errno: Errno::EPERM, .. })));
        }
        assert_eq!(t.sysctl("net.inet.tcp.mssdflt", None), None);
        let Some(Reply::Sysctl(all)) = t.sysctl("", None) else { panic!() };
        assert_eq!(all.len(), FIXED.len() + NAMES.len());
    }
}

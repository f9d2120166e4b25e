//! The variables of `net.inet.ip`, `net.inet.icmp` and `net.inet.arp`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use iopkt_base::Errno;
use iopkt_ctl::Reply;

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
const FIXED: &[(&str, &str, &str)] = &[
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

impl Tunables {
    fn get(&self, name: &str) -> Option<i64> {
        Some(match name {
            "net.inet.ip.ttl" => self.ttl.into(),
            "net.inet.ip.maxfragpackets" => self.maxfragpackets,
            "net.inet.ip.mtudisc" => self.mtudisc.into(),
            "net.inet.ip.dad_count" => self.dad_count.into(),
            "net.inet.icmp.errppslimit" => self.errppslimit,
            "net.inet.icmp.rediraccept" => self.rediraccept.into(),
            "net.inet.icmp.redirtimeout" => self.redirtimeout.into(),
            "net.inet.icmp.bmcastecho" => self.bmcastecho.into(),
            _ => return None,
        })
    }

    /// False when the value is out of range.
    fn set(&mut self, name: &str, v: i64) -> bool {
        let flag = |to: &mut bool| {
            *to = v == 1;
            v == 0 || v == 1
        };
        match name {
            "net.inet.ip.ttl" if (1..=255).contains(&v) => self.ttl = v as u8,
            "net.inet.ip.maxfragpackets" if (-1..=1_000_000).contains(&v) => self.maxfragpackets = v,
            "net.inet.ip.mtudisc" if v == 0 || v == 1 => return flag(&mut self.mtudisc),
            "net.inet.ip.dad_count" if (0..=10).contains(&v) => self.dad_count = v as u32,
            "net.inet.icmp.errppslimit" if (-1..=1_000_000).contains(&v) => self.errppslimit = v,
            "net.inet.icmp.rediraccept" if v == 0 || v == 1 => return flag(&mut self.rediraccept),
            "net.inet.icmp.redirtimeout" if (1..=86_400).contains(&v) => self.redirtimeout = v as u32,
            "net.inet.icmp.bmcastecho" if v == 0 || v == 1 => return flag(&mut self.bmcastecho),
            _ => return false,
        }
        true
    }

    /// Reads or writes a variable, or lists all (name ""); `None` for a name that is not here.
    pub(crate) fn sysctl(&mut self, name: &str, value: Option<&str>) -> Option<Reply> {
        if name.is_empty() {
            let mut all: Vec<(String, String)> =
                FIXED.iter().map(|(n, v, _)| ((*n).to_string(), (*v).to_string())).collect();
            all.extend(NAMES.iter().filter_map(|n| Some(((*n).to_string(), self.get(n)?.to_string()))));
            return Some(Reply::Sysctl(all));
        }
        if let Some((n, v, why)) = FIXED.iter().find(|f| f.0 == name) {
            return Some(match value {
                None => Reply::Sysctl(alloc::vec![((*n).to_string(), (*v).to_string())]),
                Some(x) if x.trim() == *v => Reply::Ok,
                Some(_) => Reply::why(Errno::EPERM, format!("{n}: read only ({why})")),
            });
        }
        let now = self.get(name)?;
        Some(match value {
            None => Reply::Sysctl(alloc::vec![(name.to_string(), now.to_string())]),
            Some(v) => match v.trim().parse::<i64>() {
                Ok(v) if self.set(name, v) => Reply::Ok,
                _ => Reply::why(Errno::EINVAL, format!("{name}: {v} is not a value for it")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_and_writes_its_own_value_back() {
        let mut t = Tunables::default();
        for n in NAMES {
            let v = t.get(n).unwrap().to_string();
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

//! The variables of `net.inet6.ip6` and `net.inet6.icmp6`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use iopkt_base::Errno;
use iopkt_ctl::Reply;

/// Settings of the domain; the defaults are NetBSD's unless a note says otherwise.
#[derive(Clone, Debug)]
pub struct Tunables {
    /// `net.inet6.ip6.hlim`: for packets that the domain itself makes.
    pub hlim: u8,
    /// `net.inet6.ip6.accept_rtadv`: router advertisements make addresses and routes.
    pub accept_rtadv: bool,
    /// `net.inet6.ip6.auto_linklocal`: an interface that goes up gets a link-local address.
    pub auto_linklocal: bool,
    /// `net.inet6.ip6.dad_count`: solicitations for a new address; 0: it is used unasked.
    pub dad_count: u32,
    /// `net.inet6.ip6.maxfragpackets`: datagrams in reassembly; -1 is no limit but the packet memory's.
    pub maxfragpackets: i64,
    /// `net.inet6.ip6.hdrnestlimit`: most extension headers of a packet.
    pub hdrnestlimit: u32,
    /// `net.inet6.ip6.auto_flowlabel`: packets of a flow get a label (RFC 6437).
    pub auto_flowlabel: bool,
    /// `net.inet6.ip6.use_tempaddr`: addresses that change are made too (RFC 8981).
    pub use_tempaddr: bool,
    /// `net.inet6.icmp6.errppslimit`: errors per second; 0 none, negative no limit.
    pub errppslimit: i64,
    /// `net.inet6.icmp6.rediraccept`: redirects change routes.
    pub rediraccept: bool,
    /// `net.inet6.icmp6.redirtimeout`: seconds that such a route lives.
    pub redirtimeout: u32,
}

impl Default for Tunables {
    fn default() -> Self {
        Tunables {
            hlim: 64,
            accept_rtadv: false,
            auto_linklocal: true,
            dad_count: 1,
            maxfragpackets: 200,
            hdrnestlimit: 15,
            auto_flowlabel: true,
            use_tempaddr: false,
            errppslimit: 100,
            rediraccept: true,
            redirtimeout: 600,
        }
    }
}

/// Variables that can be read only: name, value, why.
const FIXED: &[(&str, &str, &str)] = &[
    ("net.inet6.ip6.forwarding", "0", "forwarding is not in this build"),
    ("net.inet6.ip6.redirect", "1", "forwarding is not in this build"),
    ("net.inet6.ip6.rip6stats", "0", "routing headers are not followed (RFC 5095)"),
];

/// Where a setting lives and what it may be.
enum Place<'a> {
    Flag(&'a mut bool),
    Byte(&'a mut u8, i64),
    Word(&'a mut u32, i64, i64),
    Long(&'a mut i64),
}

const NAMES: &[&str] = &[
    "net.inet6.ip6.hlim",
    "net.inet6.ip6.accept_rtadv",
    "net.inet6.ip6.auto_linklocal",
    "net.inet6.ip6.dad_count",
    "net.inet6.ip6.maxfragpackets",
    "net.inet6.ip6.hdrnestlimit",
    "net.inet6.ip6.auto_flowlabel",
    "net.inet6.ip6.use_tempaddr",
    "net.inet6.icmp6.errppslimit",
    "net.inet6.icmp6.rediraccept",
    "net.inet6.icmp6.redirtimeout",
];

impl Tunables {
    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "net.inet6.ip6.hlim" => Place::Byte(&mut self.hlim, 1),
            "net.inet6.ip6.accept_rtadv" => Place::Flag(&mut self.accept_rtadv),
            "net.inet6.ip6.auto_linklocal" => Place::Flag(&mut self.auto_linklocal),
            "net.inet6.ip6.dad_count" => Place::Word(&mut self.dad_count, 0, 10),
            "net.inet6.ip6.maxfragpackets" => Place::Long(&mut self.maxfragpackets),
            "net.inet6.ip6.hdrnestlimit" => Place::Word(&mut self.hdrnestlimit, 1, 64),
            "net.inet6.ip6.auto_flowlabel" => Place::Flag(&mut self.auto_flowlabel),
            "net.inet6.ip6.use_tempaddr" => Place::Flag(&mut self.use_tempaddr),
            "net.inet6.icmp6.errppslimit" => Place::Long(&mut self.errppslimit),
            "net.inet6.icmp6.rediraccept" => Place::Flag(&mut self.rediraccept),
            "net.inet6.icmp6.redirtimeout" => Place::Word(&mut self.redirtimeout, 1, 86_400),
            _ => return None,
        })
    }

    fn get(&mut self, name: &str) -> Option<i64> {
        Some(match self.place(name)? {
            Place::Flag(b) => (*b).into(),
            Place::Byte(b, _) => (*b).into(),
            Place::Word(w, ..) => (*w).into(),
            Place::Long(l) => *l,
        })
    }

    /// False when the value is out of range.
    fn set(&mut self, name: &str, v: i64) -> bool {
        match self.place(name) {
            Some(Place::Flag(b)) if v == 0 || v == 1 => *b = v == 1,
            Some(Place::Byte(b, min)) if (min..=255).contains(&v) => *b = v as u8,
            Some(Place::Word(w, min, max)) if (min..=max).contains(&v) => *w = v as u32,
            Some(Place::Long(l)) if (-1..=1_000_000).contains(&v) => *l = v,
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
        assert_eq!(t.sysctl("net.inet.ip.ttl", None), None);
    }
}

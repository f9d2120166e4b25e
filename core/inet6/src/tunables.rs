//! The variables of `net.inet6.ip6` and `net.inet6.icmp6`.

use iopkt_stack::variables::{Fixed, Place, Variables};

/// Settings of the domain; the defaults are NetBSD's unless a note says otherwise.
#[derive(Clone, Debug)]
pub struct Tunables {
    /// `net.inet6.ip6.hlim`: for packets that the domain itself makes.
    pub hlim: u8,
    /// `net.inet6.ip6.forwarding`: packets that are nobody's here go on.
    pub forwarding: bool,
    /// `net.inet6.ip6.redirect`: a router tells its neighbours of better ones.
    pub redirect: bool,
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
    /// `net.inet6.ip6.temppltime` and `tempvltime`: seconds that such an address is preferred and valid (RFC 8981 3.8).
    pub temppltime: u32,
    /// See [`Tunables::temppltime`].
    pub tempvltime: u32,
    /// `net.inet6.ip6.maxifprefixes`: most addresses of an interface that advertisements make.
    pub maxifprefixes: u32,
    /// `net.inet6.ip6.maxifdefrouters`: most routers, routes and prefixes of an interface.
    pub maxifdefrouters: u32,
    /// `net.inet6.ip6.maxdynroutes`: most routes that redirects make.
    pub maxdynroutes: u32,
    /// `net.inet6.ip6.use_deprecated`: deprecated addresses are sources where there is no other.
    pub use_deprecated: bool,
    /// `net.inet6.ip6.prefer_tempaddr`: temporary addresses are sources rather than others (RFC 6724 rule 7; NetBSD's default is 0).
    pub prefer_tempaddr: bool,
    /// `net.inet6.icmp6.nd6_delay`: seconds that a transport has to confirm a neighbour.
    pub nd6_delay: u32,
    /// `net.inet6.icmp6.nd6_umaxtries`: questions to a neighbour before it is given up.
    pub nd6_umaxtries: u32,
    /// `net.inet6.icmp6.nd6_mmaxtries`: questions to everybody before that.
    pub nd6_mmaxtries: u32,
    /// `net.inet6.icmp6.nd6_optimistic_dad`: addresses that are made here are used while they are looked for (RFC 4429).
    pub optimistic: bool,
    /// `net.inet6.icmp6.errppslimit`: errors per second; 0 none, negative no limit.
    pub errppslimit: i64,
    /// `net.inet6.icmp6.nodeinfo`: what node information queries are answered: 1 the name, 2 the addresses, 8 to global addresses
    /// too (RFC 4620).
    pub nodeinfo: u32,
    /// `net.inet6.icmp6.rediraccept`: redirects change routes.
    pub rediraccept: bool,
    /// `net.inet6.icmp6.redirtimeout`: seconds that such a route lives.
    pub redirtimeout: u32,
}

impl Default for Tunables {
    fn default() -> Self {
        Tunables {
            hlim: 64,
            forwarding: false,
            redirect: true,
            accept_rtadv: false,
            auto_linklocal: true,
            dad_count: 1,
            maxfragpackets: 200,
            hdrnestlimit: 15,
            auto_flowlabel: true,
            use_tempaddr: false,
            temppltime: 86_400,
            tempvltime: 2 * 86_400,
            maxifprefixes: 16,
            maxifdefrouters: 16,
            maxdynroutes: 4096,
            use_deprecated: true,
            prefer_tempaddr: true,
            nd6_delay: 5,
            nd6_umaxtries: 3,
            nd6_mmaxtries: 3,
            optimistic: false,
            errppslimit: 100,
            nodeinfo: 1,
            rediraccept: true,
            redirtimeout: 600,
        }
    }
}

/// Variables that can be read only: name, value, why.
const FIXED: &[Fixed] = &[
    ("net.inet6.ip6.rip6stats", "0", "routing headers are not followed (RFC 5095)"),
    ("net.inet6.ip6.keepfaith", "0", "this stack has no faith interface"),
    ("net.inet6.ip6.maxfrags", "-1", "net.inet6.ip6.maxfragpackets and the packet memory are the limits"),
    ("net.inet6.icmp6.nd6_debug", "0", "what matters is in the log always"),
    ("net.inet6.icmp6.nd6_maxnudhint", "0", "transports confirm as often as they hear"),
    ("net.inet6.icmp6.nd6_prune", "0", "what is over ends at once"),
    ("net.inet6.icmp6.nd6_useloopback", "1", "packets to ourselves never leave"),
];

const NAMES: &[&str] = &[
    "net.inet6.ip6.hlim",
    "net.inet6.ip6.forwarding",
    "net.inet6.ip6.redirect",
    "net.inet6.ip6.accept_rtadv",
    "net.inet6.ip6.auto_linklocal",
    "net.inet6.ip6.dad_count",
    "net.inet6.ip6.maxfragpackets",
    "net.inet6.ip6.hdrnestlimit",
    "net.inet6.ip6.auto_flowlabel",
    "net.inet6.ip6.use_tempaddr",
    "net.inet6.ip6.temppltime",
    "net.inet6.ip6.tempvltime",
    "net.inet6.ip6.maxifprefixes",
    "net.inet6.ip6.maxifdefrouters",
    "net.inet6.ip6.maxdynroutes",
    "net.inet6.ip6.use_deprecated",
    "net.inet6.ip6.prefer_tempaddr",
    "net.inet6.icmp6.nd6_delay",
    "net.inet6.icmp6.nd6_umaxtries",
    "net.inet6.icmp6.nd6_mmaxtries",
    "net.inet6.icmp6.nd6_optimistic_dad",
    "net.inet6.icmp6.errppslimit",
    "net.inet6.icmp6.nodeinfo",
    "net.inet6.icmp6.rediraccept",
    "net.inet6.icmp6.redirtimeout",
];

impl Variables for Tunables {
    const FIXED: &'static [Fixed] = FIXED;
    const NAMES: &'static [&'static str] = NAMES;

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "net.inet6.ip6.hlim" => Place::Byte(&mut self.hlim, 1),
            "net.inet6.ip6.forwarding" => Place::Flag(&mut self.forwarding),
            "net.inet6.ip6.redirect" => Place::Flag(&mut self.redirect),
            "net.inet6.ip6.accept_rtadv" => Place::Flag(&mut self.accept_rtadv),
            "net.inet6.ip6.auto_linklocal" => Place::Flag(&mut self.auto_linklocal),
            "net.inet6.ip6.dad_count" => Place::Word(&mut self.dad_count, 0, 10),
            "net.inet6.ip6.maxfragpackets" => Place::Long(&mut self.maxfragpackets),
            "net.inet6.ip6.hdrnestlimit" => Place::Word(&mut self.hdrnestlimit, 1, 64),
            "net.inet6.ip6.auto_flowlabel" => Place::Flag(&mut self.auto_flowlabel),
            "net.inet6.ip6.use_tempaddr" => Place::Flag(&mut self.use_tempaddr),
            "net.inet6.ip6.temppltime" => Place::Word(&mut self.temppltime, 60, 31_536_000),
            "net.inet6.ip6.tempvltime" => Place::Word(&mut self.tempvltime, 60, 31_536_000),
            "net.inet6.ip6.maxifprefixes" => Place::Word(&mut self.maxifprefixes, 1, 250),
            "net.inet6.ip6.maxifdefrouters" => Place::Word(&mut self.maxifdefrouters, 1, 1024),
            "net.inet6.ip6.maxdynroutes" => Place::Word(&mut self.maxdynroutes, 0, 65_536),
            "net.inet6.ip6.use_deprecated" => Place::Flag(&mut self.use_deprecated),
            "net.inet6.ip6.prefer_tempaddr" => Place::Flag(&mut self.prefer_tempaddr),
            "net.inet6.icmp6.nd6_delay" => Place::Word(&mut self.nd6_delay, 1, 60),
            "net.inet6.icmp6.nd6_umaxtries" => Place::Word(&mut self.nd6_umaxtries, 1, 20),
            "net.inet6.icmp6.nd6_mmaxtries" => Place::Word(&mut self.nd6_mmaxtries, 1, 20),
            "net.inet6.icmp6.nd6_optimistic_dad" => Place::Flag(&mut self.optimistic),
            "net.inet6.icmp6.errppslimit" => Place::Long(&mut self.errppslimit),
            "net.inet6.icmp6.nodeinfo" => Place::Word(&mut self.nodeinfo, 0, 15),
            "net.inet6.icmp6.rediraccept" => Place::Flag(&mut self.rediraccept),
            "net.inet6.icmp6.redirtimeout" => Place::Word(&mut self.redirtimeout, 1, 86_400),
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
        assert_eq!(t.sysctl("net.inet.ip.ttl", None), None);
    }
}

//! Variables of the shard itself: packet memory, the loopback queue, what a later build will have.

use crate::cx::Cx;
use crate::packet::Family;
use crate::shard::Shard;
use alloc::format;
use alloc::string::ToString;
use iopkt_base::Errno;
use iopkt_ctl::Reply;
use iopkt_mbuf::{Mbuf, flags};

/// Places of a pending checksum behind the start of its header: TCP's, UDP's.
const TCP_CSUM: u16 = 16;
const UDP_CSUM: u16 = 6;

/// Microseconds: what waking a program on another CPU, its answer, and being woken again may take. And the most that may be set.
const BUSY_POLL: u32 = 200;
const BUSY_POLL_MAX: u64 = 10_000;

/// What the loopback interface does, and how the host waits.
#[derive(Debug)]
pub(crate) struct LoopTune {
    /// Packets that may wait (`net.inet.ip.ifq.maxlen`).
    pub limit: usize,
    /// Microseconds that a host may look for more before it sleeps (`net.inet.ip.busy_poll`).
    pub busy_poll: u32,
    /// Packets that found the queue full.
    pub drops: u64,
    /// Checksums are made and verified although the packet stays in memory.
    tcp: bool,
    udp: bool,
}

impl Default for LoopTune {
    fn default() -> Self {
        LoopTune { limit: 4096, busy_poll: BUSY_POLL, drops: 0, tcp: false, udp: false }
    }
}

impl LoopTune {
    /// Completes the checksum of a packet that goes by loopback, if it is to have one.
    pub fn checksum(&self, m: &mut Mbuf) {
        let wanted = match m.meta().csum_offset {
            TCP_CSUM => self.tcp,
            UDP_CSUM => self.udp,
            _ => false,
        };
        if wanted && m.flags() & flags::CSUM_PARTIAL != 0 {
            Cx::finish_checksum(m);
        }
    }
}

/// The variables answered here.
pub(crate) const NAMES: &[&str] = &[
    "kern.mbuf.mclbytes",
    "kern.mbuf.msize",
    "kern.mbuf.nmbclusters",
    "kern.mbuf.mblowat",
    "kern.mbuf.mcllowat",
    "net.inet.ip.busy_poll",
    "net.inet.ip.ifq.len",
    "net.inet.ip.ifq.maxlen",
    "net.inet.ip.ifq.drops",
    "net.inet.ip.do_loopback_cksum",
    "net.inet.tcp.do_loopback_cksum",
    "net.inet.udp.do_loopback_cksum",
    "net.inet.ip.lowportmin",
    "net.inet.ip.lowportmax",
    "net.inet.tcp.join_local",
    "net.inet.tcp.joined",
    "net.inet.tcp.mssdflt",
    "net.inet6.icmp6.nd6_maxqueuelen",
    "net.inet6.ip6.neighborgcthresh",
];

/// The subtree of a family that a variant has or has not.
const INET6: &str = "net.inet6";

/// Subtrees of other builds, each with the reason why it is not in this one.
const ABSENT: &[(&str, &str)] = &[
    (INET6, "this variant does not speak IPv6"),
    ("net.inet6.icmp6.drlist", "the list of routers is ndp -r's"),
    ("net.inet6.icmp6.mtudisc_hiwat", "the table of path MTUs has a size of its own"),
    ("net.inet6.icmp6.mtudisc_lowat", "the table of path MTUs has a size of its own"),
    ("net.inet6.icmp6.prlist", "the list of prefixes is ndp -p's"),
    ("net.inet6.icmp6.reflect_pmtu", "answers are sent as all packets are: by the path MTU that is known"),
    ("net.inet6.icmp6.stats", "counters are netstat -s -p icmp6's"),
    ("net.inet6.ip6.addctlpolicy", "the policy table is ip6addrctl's"),
    ("net.inet6.ip6.anonportalgo", "ports are drawn at random (RFC 6056)"),
    ("net.inet6.ip6.gif_hlim", "this stack has no gif interfaces"),
    ("net.inet6.ip6.ifq", "both versions of IP share net.inet.ip.ifq"),
    ("net.inet6.ip6.kame_version", "this is not KAME's code"),
    ("net.inet6.ip6.log_interval", "packets that break scope rules are counted, not logged"),
    ("net.inet6.ip6.mcast_pmtu", "the path MTU of a group is its interface's"),
    ("net.inet6.ip6.param_rt_msg", "routing sockets are told of changes always"),
    ("net.inet6.ip6.rr_prune", "routers are not renumbered (RFC 2894)"),
    ("net.inet6.ip6.rtadv_maxroutes", "net.inet6.ip6.maxifdefrouters is the limit of routers and routes"),
    ("net.inet6.ip6.stats", "counters are netstat -s -p ip6's"),
    ("net.inet6.ipsec6", "IPsec is not in this build"),
    ("net.inet6.mld", "there is nothing to set; netstat -s -p mld counts"),
    ("net.inet6.pim6", "multicast routing is not in this build"),
    ("net.inet6.raw6", "there is nothing to set; netstat -s -p raw6 counts"),
    ("net.inet6.sctp6", "this stack has no SCTP"),
    ("net.link.ieee80211", "this stack has no 802.11 layer"),
    ("net.inet.ipsec", "IPsec is not in this build"),
    ("qnx.kern.secpol", "there are no security policies outside QNX; qnx.kern.droproot changes the user"),
];

impl Shard {
    /// Microseconds that a host may look for more work before it sleeps.
    pub fn busy_poll(&self) -> u32 {
        self.looped.busy_poll
    }

    /// Reads (`None`) or writes a variable; `None` for a name that is not here.
    pub(crate) fn shard_sysctl(&mut self, name: &str, value: Option<&str>) -> Option<Reply> {
        let six = self.has_family(Family::V6);
        if let Some((_, why)) = ABSENT
            .iter()
            .filter(|(p, _)| !(six && *p == INET6))
            .find(|(p, _)| name.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('.')))
        {
            return Some(Reply::why(Errno::ENOENT, format!("{name}: {why}")));
        }
        let pool = self.cx.mbufs.pool().config();
        let (now, fixed) = match name {
            "kern.mbuf.mclbytes" => (pool.cluster as u64, "set at the start, by -p tcpip mclbytes="),
            // A packet is one contiguous buffer: there are no small mbufs beside the clusters.
            "kern.mbuf.msize" => (pool.cluster as u64, "a packet is one buffer; see kern.mbuf.mclbytes"),
            "kern.mbuf.nmbclusters" => (pool.max_clusters as u64, "set at the start"),
            "kern.mbuf.mblowat" | "kern.mbuf.mcllowat" => {
                (pool.keep as u64, "set at the start, by -p tcpip pkt_cache= and mbuf_cache=")
            }
            "net.inet.ip.busy_poll" => (self.looped.busy_poll.into(), ""),
            "net.inet.ip.ifq.len" => (self.loop_len() as u64, "it is a measure"),
            "net.inet.ip.ifq.drops" => (self.looped.drops, "it is a measure"),
            "net.inet.ip.ifq.maxlen" => (self.looped.limit as u64, ""),
            "net.inet.ip.do_loopback_cksum" => (1, "headers are summed everywhere: it costs nothing"),
            "net.inet.tcp.do_loopback_cksum" => (self.looped.tcp.into(), ""),
            "net.inet.udp.do_loopback_cksum" => (self.looped.udp.into(), ""),
            "net.inet.ip.lowportmin" => (600, "no socket option asks for a low port"),
            "net.inet.ip.lowportmax" => (1023, "no socket option asks for a low port"),
            "net.inet.tcp.join_local" => (self.joins.on.into(), ""),
            "net.inet.tcp.joined" => (self.joins.count, "it is a measure"),
            "net.inet6.icmp6.nd6_maxqueuelen" => (self.cx.cfg.neighbour_hold as u64, ""),
            "net.inet6.ip6.neighborgcthresh" => (self.cx.cfg.max_neighbours as u64, ""),
            "net.inet.tcp.mssdflt" => (536, "RFC 9293 MUST-15 names it"),
            _ => return None,
        };
        let Some(v) = value else {
            return Some(Reply::Sysctl(alloc::vec![(name.to_string(), now.to_string())]));
        };
        let v = v.trim();
        Some(match (fixed, v.parse::<u64>()) {
            (_, Ok(v)) if v == now && !fixed.is_empty() => Reply::Ok,
            ("", Ok(v)) if self.set_loop(name, v) => Reply::Ok,
            ("", _) => Reply::why(Errno::EINVAL, format!("{name}: {v} is not a value for it")),
            (why, _) => Reply::why(Errno::EPERM, format!("{name}: read only ({why})")),
        })
    }

    fn set_loop(&mut self, name: &str, v: u64) -> bool {
        match name {
            "net.inet.ip.ifq.maxlen" if (50..=65_536).contains(&v) => self.looped.limit = v as usize,
            "net.inet.ip.busy_poll" if v <= BUSY_POLL_MAX => self.looped.busy_poll = v as u32,
            "net.inet.tcp.do_loopback_cksum" if v < 2 => self.looped.tcp = v == 1,
            "net.inet.udp.do_loopback_cksum" if v < 2 => self.looped.udp = v == 1,
            "net.inet.tcp.join_local" if v < 2 => self.joins.on = v == 1,
            "net.inet6.icmp6.nd6_maxqueuelen" if (1..=256).contains(&v) => {
                self.cx.cfg.neighbour_hold = v as usize;
            }
            "net.inet6.ip6.neighborgcthresh" if (64..=65_536).contains(&v) => {
                self.cx.cfg.max_neighbours = v as usize;
            }
            _ => return false,
        }
        true
    }
}

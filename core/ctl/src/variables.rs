//! The sysctl tree: every variable with what it is. The stack answers for values; this is for tools.

use alloc::format;
use alloc::string::String;

/// One variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Dotted name.
    pub name: &'static str,
    /// What `sysctl -d` prints.
    pub text: &'static str,
    /// It may be written (by root and the user of io-pkt).
    pub writable: bool,
    /// It is a number; text otherwise.
    pub number: bool,
}

const fn rw(name: &'static str, text: &'static str) -> Variable {
    Variable { name, text, writable: true, number: true }
}

const fn ro(name: &'static str, text: &'static str) -> Variable {
    Variable { name, text, writable: false, number: true }
}

/// Every variable, in order of name.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "kern.hostname", text: "Name of the host", writable: true, number: false },
    ro("kern.mbuf.mblowat", "Free clusters that a device's thread keeps"),
    ro("kern.mbuf.mcllowat", "Free clusters that a device's thread keeps"),
    ro("kern.mbuf.mclbytes", "Bytes of a cluster"),
    ro("kern.mbuf.msize", "Bytes of an mbuf: a packet is one cluster here"),
    ro("kern.mbuf.nmbclusters", "Most clusters"),
    rw("kern.somaxconn", "Cap of listen backlogs"),
    rw("net.inet.icmp.bmcastecho", "Answer echo requests to broadcast and multicast addresses"),
    rw("net.inet.icmp.errppslimit", "ICMP errors per second, negative for no limit"),
    ro("net.inet.icmp.maskrepl", "Answer address mask requests"),
    rw("net.inet.icmp.rediraccept", "Believe ICMP redirects"),
    rw("net.inet.icmp.redirtimeout", "Seconds that a route made by a redirect lives"),
    ro("net.inet.ip.allowsrcrt", "Accept packets with source routes"),
    rw("net.inet.ip.anonportmax", "Highest ephemeral port"),
    rw("net.inet.ip.anonportmin", "Lowest ephemeral port"),
    rw("net.inet.ip.busy_poll", "Microseconds to look for more before sleeping"),
    rw("net.inet.ip.dad_count", "ARP probes for a new address"),
    ro("net.inet.ip.directed-broadcast", "Forward broadcasts to a network"),
    ro("net.inet.ip.do_loopback_cksum", "Sum headers of packets to ourselves"),
    ro("net.inet.ip.forwarding", "Forward packets between interfaces"),
    ro("net.inet.ip.forwsrcrt", "Forward packets with source routes"),
    ro("net.inet.ip.ifq.drops", "Packets to ourselves that found the queue full"),
    ro("net.inet.ip.ifq.len", "Packets to ourselves that wait"),
    rw("net.inet.ip.ifq.maxlen", "Most packets to ourselves that may wait"),
    ro("net.inet.ip.lowportmax", "Highest low port"),
    ro("net.inet.ip.lowportmin", "Lowest low port"),
    ro("net.inet.ip.maxflows", "Flows of the forwarding cache"),
    rw("net.inet.ip.maxfragpackets", "Datagrams in reassembly, -1 for no limit"),
    rw("net.inet.ip.mtudisc", "Path MTU discovery"),
    ro("net.inet.ip.redirect", "Send redirects when forwarding"),
    rw("net.inet.ip.ttl", "TTL of packets that the stack itself makes"),
    rw("net.inet.tcp.base_mss", "MSS with which probing begins, bytes"),
    Variable {
        name: "net.inet.tcp.congctl.available",
        text: "Congestion controllers",
        writable: false,
        number: false,
    },
    Variable {
        name: "net.inet.tcp.congctl.selected",
        text: "Congestion controller of new sockets",
        writable: true,
        number: false,
    },
    rw("net.inet.tcp.delack_ticks", "Delay of acknowledgements, 1/100 s"),
    rw("net.inet.tcp.do_loopback_cksum", "Sum TCP segments to ourselves"),
    rw(
        "net.inet.tcp.ecn.enable",
        "Explicit congestion notification: 0 off, 1 asked for, 2 agreed to when asked",
    ),
    rw(
        "net.inet.tcp.max_ack_delay",
        "What a receiver may keep an ACK for a single segment back, ms: a tail loss probe waits for it (RFC 8985)",
    ),
    rw(
        "net.inet.tcp.sndbuf_overhead",
        "What each buffer costs besides its payload where SO_SNDBUF counts memory as Linux's does, bytes; 0: it counts payload",
    ),
    rw(
        "net.inet.tcp.reduce_cwnd",
        "1: a loss reduces the congestion window, as Linux's; 0: what is in flight of it (RFC 5681)",
    ),
    rw("net.inet.tcp.bare_probes", "1: window probes carry no byte, as Linux's; RFC 9293 wants one"),
    rw(
        "net.inet.tcp.unreach_ends_syn_received",
        "1: ICMP unreachable ends connections that are not accepted yet, as Linux has it; RFC 9293 does not",
    ),
    rw(
        "net.inet.tcp.tolerate_missing_ts",
        "1: segments without the timestamps that both sides agreed on are taken (FreeBSD's name; RFC 7323 has them dropped)",
    ),
    rw(
        "net.inet.tcp.min_tso_segs",
        "Segments that a super-segment has at least, where data and windows give them",
    ),
    rw("net.inet.tcp.notsent_lowat", "TCP_NOTSENT_LOWAT of sockets that set none, bytes; 0 for none"),
    rw("net.inet.tcp.ecn.maxretries", "SYNs that ask for ECN before one goes without"),
    rw(
        "net.inet.tcp.fastopen",
        "Fast Open, Linux's bits: 1 connecting, 2 listening, 4 and 0x200 without cookies, 0x400 every listener",
    ),
    rw("net.inet.tcp.init_win", "Initial window, segments"),
    rw("net.inet.tcp.init_win_local", "Initial window on the same network, segments"),
    rw(
        "net.inet.tcp.invalid_ratelimit",
        "Shortest time between two answers to segments that are not acceptable, ms",
    ),
    rw("net.inet.tcp.join_local", "Join two programs of this stack past it"),
    ro("net.inet.tcp.joined", "Connections that were joined so"),
    rw("net.inet.tcp.keepcnt", "Keepalive probes before a connection is given up"),
    rw("net.inet.tcp.keepidle", "Idle time before keepalive probes, 1/2 s"),
    rw("net.inet.tcp.keepintvl", "Time between keepalive probes, 1/2 s"),
    rw("net.inet.tcp.log_refused", "Log connections to closed ports"),
    rw("net.inet.tcp.max_orphans", "Most connections without a program"),
    rw("net.inet.tcp.max_tw_buckets", "Most connections in TIME-WAIT"),
    rw("net.inet.tcp.msl", "Lifetime of a segment, s: TIME-WAIT lasts twice that"),
    ro("net.inet.tcp.mssdflt", "MSS of a peer that announces none"),
    rw("net.inet.tcp.mtu_probing", "Path MTU by probing: 0 never, 1 where segments vanish, 2 always"),
    rw("net.inet.tcp.newreno", "1 chooses NewReno for new sockets, 0 CUBIC"),
    rw("net.inet.tcp.recvbuf_auto", "Receive buffers grow with what is read in a round trip"),
    rw("net.inet.tcp.recvbuf_max", "Most bytes to which they grow"),
    rw("net.inet.tcp.recvspace", "Receive buffer of new sockets, bytes"),
    rw("net.inet.tcp.retries2", "Retransmissions before a connection is given up"),
    rw("net.inet.tcp.rfc1323", "Timestamps and window scaling"),
    rw("net.inet.tcp.rstppslimit", "Most resets a second to segments that belong to no connection"),
    rw("net.inet.tcp.sack.enable", "Selective acknowledgements"),
    rw("net.inet.tcp.sendbuf_auto", "Send buffers grow with the congestion window"),
    rw("net.inet.tcp.sendbuf_max", "Most bytes to which they grow"),
    rw("net.inet.tcp.sendspace", "Send buffer of new sockets, bytes"),
    rw("net.inet.tcp.syn_retries", "Retransmissions of a SYN before connecting is given up"),
    rw("net.inet.tcp.syncookies", "SYN cookies: 0 never, 1 under pressure, 2 always"),
    rw("net.inet.tcp.timestamps", "Timestamps alone"),
    rw("net.inet.tcp.tw_reuse", "Connects may take over a TIME-WAIT: 0 never, 1 always, 2 to this host"),
    rw("net.inet.tcp.window_scaling", "Window scaling alone"),
    rw("net.inet.udp.checksum", "Sum UDP datagrams"),
    rw("net.inet.udp.do_loopback_cksum", "Sum UDP datagrams to ourselves"),
    rw("net.inet.udp.recvspace", "Receive buffer of new sockets, bytes"),
    rw("net.inet.udp.sendspace", "Send buffer of new sockets, bytes"),
    rw("net.inet6.icmp6.errppslimit", "ICMPv6 errors per second, negative for no limit"),
    ro("net.inet6.icmp6.nd6_debug", "Lines about Neighbour Discovery in the log"),
    rw("net.inet6.icmp6.nd6_delay", "Seconds that a transport has to confirm a neighbour"),
    ro("net.inet6.icmp6.nd6_maxnudhint", "Most confirmations by transports in a row"),
    rw("net.inet6.icmp6.nd6_maxqueuelen", "Packets that wait for a neighbour's address"),
    rw("net.inet6.icmp6.nd6_mmaxtries", "Questions to everybody before a neighbour is given up"),
    rw(
        "net.inet6.icmp6.nd6_optimistic_dad",
        "New addresses are used while duplicate detection runs (RFC 4429)",
    ),
    ro("net.inet6.icmp6.nd6_prune", "Seconds between looks at what is over"),
    rw("net.inet6.icmp6.nd6_umaxtries", "Questions to a neighbour before it is given up"),
    ro("net.inet6.icmp6.nd6_useloopback", "Own addresses are reached through lo0"),
    rw("net.inet6.icmp6.nodeinfo", "Answer node information queries: 1 for the name, 2 for the addresses"),
    rw("net.inet6.icmp6.rediraccept", "Believe redirects"),
    rw("net.inet6.icmp6.redirtimeout", "Seconds that a route made by a redirect lives"),
    rw("net.inet6.ip6.accept_rtadv", "Believe router advertisements"),
    rw("net.inet6.ip6.auto_flowlabel", "Give the packets of a flow a label"),
    rw("net.inet6.ip6.auto_linklocal", "Interfaces that go up get a link-local address"),
    rw("net.inet6.ip6.dad_count", "Solicitations for a new address"),
    rw("net.inet6.ip6.defmcasthlim", "Hop limit of multicast packets"),
    rw("net.inet6.ip6.forwarding", "Forward packets between interfaces"),
    rw("net.inet6.ip6.hdrnestlimit", "Most extension headers of a packet"),
    rw("net.inet6.ip6.hlim", "Hop limit of packets that the stack itself makes"),
    ro("net.inet6.ip6.keepfaith", "Relay to IPv4 (faith)"),
    rw("net.inet6.ip6.maxdynroutes", "Most routes that redirects make"),
    rw("net.inet6.ip6.maxfragpackets", "Datagrams in reassembly, -1 for no limit"),
    ro("net.inet6.ip6.maxfrags", "Fragments in reassembly, -1 for no limit"),
    rw("net.inet6.ip6.maxifdefrouters", "Most default routers and routes of an interface"),
    rw("net.inet6.ip6.maxifprefixes", "Most addresses that advertisements make on an interface"),
    rw("net.inet6.ip6.neighborgcthresh", "Most neighbours, those of ARP counted in"),
    rw("net.inet6.ip6.prefer_tempaddr", "Temporary addresses are sources rather than others"),
    rw("net.inet6.ip6.redirect", "Send redirects when forwarding"),
    ro("net.inet6.ip6.rip6stats", "Routing headers that were followed"),
    Variable {
        name: "net.inet6.ip6.stable_secret",
        text: "Key of addresses that do not show the link-level address (RFC 7217), in the form of an address; empty for none",
        writable: true,
        number: false,
    },
    rw("net.inet6.ip6.temppltime", "Seconds that a temporary address is preferred"),
    rw("net.inet6.ip6.tempvltime", "Seconds that a temporary address is valid"),
    rw("net.inet6.ip6.use_deprecated", "Deprecated addresses are sources where there is no other"),
    rw("net.inet6.ip6.use_tempaddr", "Make addresses that change (RFC 8981)"),
    rw("net.inet6.ip6.v6only", "Sockets of IPv6 speak IPv6 alone"),
    Variable {
        name: "qnx.kern.droproot",
        text: "Written: become the user of -U, keeping the abilities of this mask (hexadecimal)",
        writable: true,
        number: false,
    },
];

/// Names of these begin a variable of ours; every other name is the system's.
pub const ROOTS: &[&str] = &["net.inet.", "net.inet6.", "net.link.", "kern.mbuf.", "qnx."];

/// Subtrees and beginnings of names that IPv6 shares with IPv4: TCP has one set of settings, ports one range.
const SHARED: &[(&str, &str)] = &[
    ("net.inet6.tcp6.", "net.inet.tcp."),
    ("net.inet6.udp6.", "net.inet.udp."),
    ("net.inet6.ip6.anonport", "net.inet.ip.anonport"),
    ("net.inet6.ip6.lowport", "net.inet.ip.lowport"),
];

/// The variable that a name of IPv6's tree means, where it is IPv4's too.
pub fn shared(name: &str) -> Option<&'static Variable> {
    let (six, four) = SHARED.iter().find(|s| name.starts_with(s.0))?;
    let rest = &name[six.len()..];
    VARIABLES.iter().find(|v| v.name.strip_prefix(four) == Some(rest))
}

/// IPv6's name of a variable of IPv4 that both share.
pub fn shared_name(name: &str) -> Option<String> {
    let (six, four) = SHARED.iter().find(|s| name.starts_with(s.1))?;
    variable(name).map(|_| format!("{six}{}", &name[four.len()..]))
}

/// What is known of a variable.
pub fn variable(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|v| v.name == name).or_else(|| shared(name))
}

//! Protocol counters, in `netstat -s`'s words.

macro_rules! stats {
    ($($name:ident = $group:literal $text:literal,)*) => {
        /// One protocol counter. The text beside each is its documentation; `{}` is where the number goes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Stat { $($name,)* }

        impl Stat {
            /// All counters with their groups and texts, in the order in which netstat prints them.
            pub const ALL: &'static [(Stat, &'static str, &'static str)] = &[$((Stat::$name, $group, $text),)*];
        }
    };
}

stats! {
    IpTotal = "ip" "{} total packets received",
    IpBadChecksum = "ip" "{} bad header checksums",
    IpTooShort = "ip" "{} with size smaller than minimum",
    IpBadLength = "ip" "{} with data size < data length",
    IpBadHeaderLen = "ip" "{} with header length < data size",
    IpBadVersion = "ip" "{} with incorrect version number",
    IpBadOptions = "ip" "{} with bad options",
    IpBadAddress = "ip" "{} with invalid source or destination address",
    IpFragments = "ip" "{} fragments received",
    IpFragDropped = "ip" "{} fragments dropped (dup or out of space)",
    IpFragMalformed = "ip" "{} malformed fragments dropped",
    IpFragTimeout = "ip" "{} fragments dropped after timeout",
    IpReassembled = "ip" "{} packets reassembled ok",
    IpDelivered = "ip" "{} packets for this host",
    IpNoProto = "ip" "{} packets for unknown/unsupported protocol",
    IpForwarded = "ip" "{} packets forwarded",
    IpCantForward = "ip" "{} packets not forwardable",
    IpOutLocal = "ip" "{} packets sent from this host",
    IpOutRaw = "ip" "{} packets sent with fabricated ip header",
    IpOutNoBufs = "ip" "{} output packets dropped due to no bufs, etc.",
    IpOutNoRoute = "ip" "{} output packets discarded due to no route",
    IpFragmented = "ip" "{} output datagrams fragmented",
    IpOutFragments = "ip" "{} fragments created",
    IpCantFragment = "ip" "{} datagrams that can't be fragmented",
    IcmpErrors = "icmp" "{} calls to icmp_error",
    IcmpNoOld = "icmp" "{} errors not generated because old message was icmp",
    IcmpNotSent = "icmp" "{} errors not generated because of a broadcast, fragment or bad source",
    IcmpRateLimited = "icmp" "{} errors not generated because rate limitation",
    IcmpBadCode = "icmp" "{} messages with bad code fields",
    IcmpTooShort = "icmp" "{} messages < minimum length",
    IcmpBadChecksum = "icmp" "{} bad checksums",
    IcmpBadLength = "icmp" "{} messages with bad length",
    IcmpBcastEcho = "icmp" "{} broadcast or multicast requests ignored",
    IcmpReflected = "icmp" "{} message responses generated",
    IcmpPmtuChanges = "icmp" "{} path MTU changes",
    IcmpRedirectsIgnored = "icmp" "{} redirects ignored",
    IgmpReceived = "igmp" "{} messages received",
    IgmpTooShort = "igmp" "{} messages received with too few bytes",
    IgmpBadChecksum = "igmp" "{} messages received with bad checksum",
    IgmpQueries = "igmp" "{} membership queries received",
    IgmpBadQueries = "igmp" "{} membership queries received with invalid field(s)",
    IgmpReports = "igmp" "{} membership reports received",
    IgmpBadReports = "igmp" "{} membership reports received with invalid field(s)",
    IgmpOurReports = "igmp" "{} membership reports received for groups to which we belong",
    IgmpReportsSent = "igmp" "{} membership reports sent",
    ArpRequestsSent = "arp" "{} arp requests sent",
    ArpRepliesSent = "arp" "{} arp replies sent",
    ArpReceived = "arp" "{} arp packets received",
    ArpRequestsReceived = "arp" "{} arp requests received",
    ArpRepliesReceived = "arp" "{} arp replies received",
    ArpMulticastSource = "arp" "{} received packets with a multicast or broadcast sender",
    ArpConflicts = "arp" "{} duplicate addresses seen on the network",
    ArpHeld = "arp" "{} packets deferred pending arp resolution",
    ArpTimeouts = "arp" "{} addresses that did not answer",
}

//! Counters of the domain, in `netstat -s`'s words. They live here and not in the shard, so that a variant without IPv6 does not
//! list them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_ctl::Counter;
use iopkt_wire::icmp6::{param, timxceed, ty, unreach};
use iopkt_wire::ipv6::next;

macro_rules! stats {
    ($($name:ident = $group:literal $text:literal,)*) => {
        /// One counter. The text beside each is its documentation; `{}` is where the number goes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Stat6 { $($name,)* }

        const ALL: &[(&str, &str)] = &[$(($group, $text),)*];
    };
}

stats! {
    Total = "ip6" "{} total packets received",
    TooShort = "ip6" "{} with size smaller than minimum",
    BadLength = "ip6" "{} with data size < data length",
    BadVersion = "ip6" "{} with incorrect version number",
    BadOptions = "ip6" "{} with bad options",
    BadScope = "ip6" "{} packets that violated scope rules",
    TooManyHeaders = "ip6" "{} packets with too many headers",
    Fragments = "ip6" "{} fragments received",
    AtomicFragments = "ip6" "{} atomic fragments received",
    FragDropped = "ip6" "{} fragments dropped (dup or out of space)",
    FragOverlap = "ip6" "{} overlapping fragments dropped",
    FragTimeout = "ip6" "{} fragments dropped after timeout",
    Reassembled = "ip6" "{} packets reassembled ok",
    Delivered = "ip6" "{} packets for this host",
    Forwarded = "ip6" "{} packets forwarded",
    CantForward = "ip6" "{} packets not forwardable",
    RedirectsOut = "ip6" "{} redirects sent",
    OutLocal = "ip6" "{} packets sent from this host",
    OutRaw = "ip6" "{} packets sent with fabricated ip header",
    OutNoBufs = "ip6" "{} output packets dropped due to no bufs, etc.",
    OutNoRoute = "ip6" "{} output packets discarded due to no route",
    Fragmented = "ip6" "{} output datagrams fragmented",
    OutFragments = "ip6" "{} fragments created",
    CantFragment = "ip6" "{} datagrams that can't be fragmented",
    IcmpErrors = "icmp6" "{} calls to icmp6_error",
    IcmpNotSent = "icmp6" "{} errors not generated because old message was icmp6 or so",
    IcmpRateLimited = "icmp6" "{} errors not generated because rate limitation",
    IcmpBadCode = "icmp6" "{} messages with bad code fields",
    IcmpTooShort = "icmp6" "{} messages < minimum length",
    IcmpBadChecksum = "icmp6" "{} bad checksums",
    IcmpBadLength = "icmp6" "{} messages with bad length",
    IcmpReflected = "icmp6" "{} message responses generated",
    IcmpPmtuChanges = "icmp6" "{} path MTU changes",
    NdBadOptions = "icmp6" "{} messages with bad ND options",
    BadNs = "icmp6" "{} bad neighbor solicitation messages",
    BadNa = "icmp6" "{} bad neighbor advertisement messages",
    BadRs = "icmp6" "{} bad router solicitation messages",
    BadRa = "icmp6" "{} bad router advertisement messages",
    BadRedirect = "icmp6" "{} bad redirect messages",
    NsIn = "icmp6" "{} neighbor solicitations received",
    NsOut = "icmp6" "{} neighbor solicitations sent",
    NaIn = "icmp6" "{} neighbor advertisements received",
    NaOut = "icmp6" "{} neighbor advertisements sent",
    RsOut = "icmp6" "{} router solicitations sent",
    RaIn = "icmp6" "{} router advertisements received",
    RaDropped = "icmp6" "{} router advertisement routes dropped",
    DadDuplicates = "icmp6" "{} duplicate addresses found",
    MldQueries = "mld" "{} queries received",
    MldBadQueries = "mld" "{} bad queries received",
    MldReportsIn = "mld" "{} reports received",
    MldReportsOut = "mld" "{} reports sent",
}

/// Errors by what they say, in netstat's words.
const ERRORS: [&str; 13] = [
    "no route",
    "administratively prohibited",
    "beyond scope",
    "address unreachable",
    "port unreachable",
    "packet too big",
    "time exceed transit",
    "time exceed reassembly",
    "erroneous header field",
    "unrecognized next header",
    "unrecognized option",
    "redirect",
    "unknown",
];

/// The counters of a domain.
#[derive(Clone, Debug)]
pub struct Stats {
    events: [u64; ALL.len()],
    /// Packets by the header that follows the fixed one.
    headers: [u64; 256],
    /// ICMPv6 messages by type: that came, that went.
    icmp_in: [u64; 256],
    icmp_out: [u64; 256],
    errors: [u64; ERRORS.len()],
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            events: [0; ALL.len()],
            headers: [0; 256],
            icmp_in: [0; 256],
            icmp_out: [0; 256],
            errors: [0; ERRORS.len()],
        }
    }
}

impl Stats {
    /// Counts one event.
    #[inline]
    pub fn inc(&mut self, s: Stat6) {
        self.add(s, 1);
    }

    /// Counts `n` events.
    #[inline]
    pub fn add(&mut self, s: Stat6, n: u64) {
        self.events[s as usize] += n;
    }

    /// Events counted.
    pub fn get(&self, s: Stat6) -> u64 {
        self.events[s as usize]
    }

    /// Counts packets whose fixed header names `next`.
    #[inline]
    pub fn header(&mut self, next: u8, n: u64) {
        self.headers[usize::from(next)] += n;
    }

    /// Counts an ICMPv6 message of a type.
    #[inline]
    pub fn icmp(&mut self, ty: u8, out: bool) {
        let h = if out { &mut self.icmp_out } else { &mut self.icmp_in };
        h[usize::from(ty)] += 1;
    }

    /// Counts an error that is to be sent.
    pub fn error(&mut self, t: u8, code: u8) {
        let what = match (t, code) {
            (ty::UNREACHABLE, unreach::NO_ROUTE..=unreach::PORT) => usize::from(code),
            (ty::TOO_BIG, _) => 5,
            (ty::TIME_EXCEEDED, timxceed::HOP_LIMIT | timxceed::REASSEMBLY) => 6 + usize::from(code),
            (ty::PARAM_PROBLEM, param::HEADER..=param::OPTION) => 8 + usize::from(code),
            (ty::REDIRECT, _) => 11,
            _ => 12,
        };
        self.errors[what] += 1;
    }

    /// All of them as data, in netstat's order.
    pub fn report(&self) -> Vec<Counter> {
        let row = |((group, text), value): (&(&str, &str), &u64)| Counter {
            group: (*group).into(),
            text: (*text).into(),
            value: *value,
        };
        let mut v: Vec<Counter> = ALL.iter().zip(&self.events).map(row).collect();
        histogram(&mut v, "ip6", "input histogram", &self.headers, &header_name);
        histogram(&mut v, "icmp6", "output histogram", &self.icmp_out, &icmp_name);
        histogram(&mut v, "icmp6", "input histogram", &self.icmp_in, &icmp_name);
        let error = |i: u8| ERRORS[usize::from(i)].into();
        histogram(&mut v, "icmp6", "histogram of error messages to be generated", &self.errors, &error);
        v
    }
}

/// A line for each kind that occurred.
pub(crate) fn histogram(
    v: &mut Vec<Counter>,
    group: &str,
    title: &str,
    of: &[u64],
    name: &dyn Fn(u8) -> String,
) {
    v.extend(of.iter().enumerate().filter(|x| *x.1 != 0).map(|(i, value)| Counter {
        group: group.into(),
        text: format!("{title}: {}: {{}}", name(i as u8)),
        value: *value,
    }));
}

/// netstat's name of a next header; a number where it has none.
fn header_name(n: u8) -> String {
    let name = match n {
        next::HOP_BY_HOP => "hop by hop",
        1 => "ICMP",
        4 => "IP",
        next::TCP => "TCP",
        next::UDP => "UDP",
        41 => "IP6",
        next::ROUTING => "routing",
        next::FRAGMENT => "fragment",
        50 => "ESP",
        51 => "AH",
        next::ICMP6 => "ICMP6",
        next::NONE => "no next header",
        next::DEST_OPTS => "destination option",
        89 => "OSPF",
        103 => "PIM",
        132 => "SCTP",
        136 => "UDP-Lite",
        _ => return format!("#{n}"),
    };
    name.into()
}

/// netstat's name of a type of ICMPv6; a number where it has none.
pub(crate) fn icmp_name(t: u8) -> String {
    let name = match t {
        ty::UNREACHABLE => "unreach",
        ty::TOO_BIG => "packet too big",
        ty::TIME_EXCEEDED => "time exceed",
        ty::PARAM_PROBLEM => "parameter problem",
        ty::ECHO => "echo",
        ty::ECHO_REPLY => "echo reply",
        ty::MLD_QUERY => "multicast listener query",
        ty::MLD_REPORT => "multicast listener report",
        ty::MLD_DONE => "multicast listener done",
        ty::ROUTER_SOLICIT => "router solicitation",
        ty::ROUTER_ADVERT => "router advertisement",
        ty::NEIGHBOR_SOLICIT => "neighbor solicitation",
        ty::NEIGHBOR_ADVERT => "neighbor advertisement",
        ty::REDIRECT => "redirect",
        138 => "router renumbering",
        ty::NODE_QUERY => "node information request",
        ty::NODE_REPLY => "node information reply",
        141 => "inverse neighbor solicitation",
        142 => "inverse neighbor advertisement",
        ty::MLD2_REPORT => "MLDv2 listener report",
        _ => return format!("#{t}"),
    };
    name.into()
}

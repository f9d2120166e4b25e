//! Neighbour solicitations and advertisements (RFC 4861 section 7), and how Neighbour Discovery's messages are sent.
//!
//! A message is believed only with hop limit 255: no router has touched it. What is known of others is the neighbour cache's matter
//! ([`iopkt_stack::neigh`]), our own addresses are `dad`'s, routers `router`'s.

use crate::input::Packet;
use crate::stats::Stats;
use crate::{ALL_NODES, Inet6, Stat6};
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::zone;
use iopkt_ctl::{AddrState, IfKind, iff};
use iopkt_mbuf::Mbuf;
use iopkt_stack::neigh::Learned;
use iopkt_stack::{Family, Hop, HopKind, Layers};
use iopkt_wire::icmp6::{HEADER_LEN, Header, ty};
use iopkt_wire::ipv6;
use iopkt_wire::nd::{self, AdvertFlags, Opt, opt};

/// Hop limit of all its messages.
pub(crate) const HOPS: u8 = 255;

/// The group that a node listens to for solicitations of an address (RFC 4291 2.7.1).
pub(crate) fn solicited_node(a: Ipv6Addr) -> Ipv6Addr {
    let o = a.octets();
    let low = u16::from_be_bytes([o[14], o[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), low)
}

/// What the options of a solicitation or advertisement say.
#[derive(Default)]
struct Options {
    link: Option<[u8; 6]>,
    nonce: Option<[u8; 6]>,
}

fn read(b: &[u8], ty: u8, stats: &mut Stats) -> Option<Options> {
    let mut o = Options::default();
    for x in nd::options(b) {
        let Ok(x) = x else {
            stats.inc(Stat6::NdBadOptions);
            return None;
        };
        match x {
            Opt::SourceLink(m) if ty == opt::SOURCE_LINK => o.link = Some(m),
            Opt::TargetLink(m) if ty == opt::TARGET_LINK => o.link = Some(m),
            Opt::Nonce(n) => o.nonce = n.first_chunk().copied(),
            _ => {}
        }
    }
    // A group is nobody's address.
    Some(o).filter(|o| o.link.is_none_or(|m| m[0] & 1 == 0))
}

impl Inet6 {
    /// A solicitation. False when it is none to be believed.
    pub(crate) fn ns_input(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        h: &Header,
        hl: usize,
        m: &Mbuf,
    ) -> bool {
        // [RFC4861 7.2.3a] [RFC4861 7.2.4b] [RFC4862 5.4.3a] [RFC4862 5.4.3c] [RFC4429 3.3a] [RFC4429 3.3c]
        // [RFC7527 4.2a] [RFC7527 4.2b]
        self.stats.inc(Stat6::NsIn);
        let Some((target, o)) = ns(p, h, &m.as_slice()[hl + HEADER_LEN..], &mut self.stats) else {
            self.stats.inc(Stat6::BadNs);
            return false;
        };
        let ifindex = m.ifindex();
        let target = zone::embed(target, ifindex);
        let state = l.net.iface(ifindex).and_then(|i| i.addrs.iter().find(|a| a.addr == target)).copied();
        let asks_for_itself = p.src.is_unspecified();
        if state.is_some_and(|a| a.state == AddrState::Tentative) {
            // RFC 4862 5.4.3: somebody else tries the address too, unless it is our own that came back (RFC 7527 4.2): that one is
            // answered least of all, or the answer came back too and were another's.
            if asks_for_itself && self.dad.is_ours(ifindex, target, o.nonce) {
                return true;
            }
            if asks_for_itself {
                self.dad_duplicate(l, ifindex, target, o.link);
                return true;
            }
            if !state.is_some_and(|a| a.life.optimistic) {
                return true;
            }
        }
        if state.is_some_and(|a| a.state == AddrState::Duplicated) {
            return true;
        }
        let proxy = l.net.neigh.published(ifindex, target.into());
        let router = self.anycast.is_on(ifindex, target);
        let mac = match (l.net.iface(ifindex), proxy) {
            (Some(i), _) if state.is_some() || router => i.mac,
            (_, Some(mac)) if state.is_none() => mac,
            _ => return true,
        };
        if let (Some(link), false) = (o.link, asks_for_itself) {
            let got = l.net.neigh.heard(l.cx, ifindex, p.src.into(), link);
            self.learned(l, ifindex, p.src, link, got);
        }
        let anycast = state.is_some_and(|a| a.life.anycast);
        let optimistic = state.is_some_and(|a| a.state == AddrState::Tentative);
        let f = AdvertFlags {
            router: false,
            solicited: !asks_for_itself,
            // Others may answer for it as well (7.2.4, RFC 4429 3.3).
            over: !(anycast || optimistic || state.is_none()),
        };
        let to = if asks_for_itself { zone::embed(ALL_NODES, ifindex) } else { p.src };
        if anycast || state.is_none() {
            self.advertise_later(l, ifindex, target, to, mac, f);
        } else {
            self.advertise(l, ifindex, target, to, mac, f);
        }
        true
    }

    /// Sends an advertisement of `target` with link-level address `mac`.
    pub(crate) fn advertise(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        target: Ipv6Addr,
        to: Ipv6Addr,
        mac: [u8; 6],
        mut f: AdvertFlags,
    ) {
        // [RFC4861 7.2.4a]
        // From the target itself where it is ours; an anycast address or another's is no source (4.4).
        let own =
            l.net.iface(ifindex).is_some_and(|i| i.addrs.iter().any(|a| a.addr == target && !a.life.anycast));
        f.router = self.t.forwarding && (own || self.is_anycast(l, target.into()));
        let mut b = nd::neighbor_advert(zone::strip(target), f);
        nd::push_link(&mut b, opt::TARGET_LINK, mac);
        let from = if own { Some(IpAddr::V6(target)) } else { l.net.source_for(ifindex, to.into()) };
        let Some(IpAddr::V6(from)) = from else { return };
        self.stats.inc(Stat6::NaOut);
        self.nd_send(l, ifindex, from, to, b);
    }

    /// An advertisement. False when it is none to be believed.
    pub(crate) fn na_input(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        h: &Header,
        hl: usize,
        m: &Mbuf,
    ) -> bool {
        // [RFC4861 7.1.2] [RFC4862 5.4.4]
        self.stats.inc(Stat6::NaIn);
        let f = AdvertFlags::from_rest(h.rest);
        let body = &m.as_slice()[hl + HEADER_LEN..];
        let good = p.h.hop_limit == HOPS && h.code == 0 && !(p.group && f.solicited);
        let parsed = nd::target(body).filter(|(t, _)| good && !t.is_multicast());
        let whole = parsed.and_then(|(t, rest)| Some((t, read(rest, opt::TARGET_LINK, &mut self.stats)?)));
        let Some((target, o)) = whole else {
            self.stats.inc(Stat6::BadNa);
            return false;
        };
        let ifindex = m.ifindex();
        let target = zone::embed(target, ifindex);
        let own = l
            .net
            .iface(ifindex)
            .and_then(|i| i.addrs.iter().find(|a| a.addr == target))
            .map(|a| (a.state, a.life.anycast));
        match own {
            Some((AddrState::Tentative, _)) => self.dad_duplicate(l, ifindex, target, o.link),
            Some((_, false)) if o.link != l.net.iface(ifindex).map(|i| i.mac) => {
                self.conflict(l, ifindex, target, o.link)
            }
            Some(_) => {}
            None => {
                // Of whom nobody asked, and of one that contradicts without the right to, nothing is believed (7.2.5).
                let before = l.net.neigh.get(ifindex, target.into());
                let contradicts = |m: [u8; 6]| before.is_some_and(|b| b != m);
                let counts = l.net.neigh.knows(ifindex, target.into())
                    && (before.is_some() || o.link.is_some())
                    && (f.over || !o.link.is_some_and(contradicts));
                let got = l.net.neigh.advert(l.cx, ifindex, target.into(), o.link, f.solicited, f.over);
                let mac = l.net.neigh.get(ifindex, target.into());
                if let Some(mac) = mac {
                    self.learned(l, ifindex, target, mac, got);
                }
                if counts && !f.router {
                    self.router_is_host(l, ifindex, target);
                } else if counts && f.solicited {
                    self.router_found(l, ifindex, target);
                }
            }
        }
        true
    }

    /// A router hears a host ask for routers: what it says of itself is learned (RFC 4861 6.2.6); the answer is the daemon's. False when
    /// it is none to be believed (6.1.1).
    pub(crate) fn rs_input(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        h: &Header,
        hl: usize,
        m: &Mbuf,
    ) -> bool {
        // [RFC4861 6.1.1] [RFC4861 6.2.6b]
        let o = read(&m.as_slice()[hl + HEADER_LEN..], opt::SOURCE_LINK, &mut self.stats);
        let nobody = p.src.is_unspecified();
        let good = p.h.hop_limit == HOPS && h.code == 0;
        let Some(o) = o.filter(|o| good && !(nobody && o.link.is_some())) else {
            self.stats.inc(Stat6::BadRs);
            return false;
        };
        if let Some(link) = o.link {
            let got = l.net.neigh.heard(l.cx, m.ifindex(), p.src.into(), link);
            self.learned(l, m.ifindex(), p.src, link, got);
        }
        true
    }

    /// What learning brought: packets that waited go, changes are told.
    pub(crate) fn learned(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        who: Ipv6Addr,
        mac: [u8; 6],
        got: Learned,
    ) {
        if got.refused {
            let name = l.net.ifname(ifindex).unwrap_or("?");
            let line = format!(
                "nd6: {} tried to overwrite the permanent entry for {} on {name}",
                hex(&mac),
                zone::strip(who)
            );
            l.cx.log(4, line);
        }
        if let Some(old) = got.moved_from.filter(|o| *o != mac) {
            let name = l.net.ifname(ifindex).unwrap_or("?");
            let line =
                format!("nd6: {} moved from {} to {} on {name}", zone::strip(who), hex(&old), hex(&mac));
            l.cx.log(5, line);
        }
        for m in got.held {
            self.ether_output(l, ifindex, mac, m);
        }
    }

    /// Somebody says that it has an address of ours, which was unique when we looked: told, not acted on (RFC 4862 5.4.5 leaves it
    /// open; acting on it would let anybody on the link take our addresses away).
    fn conflict(&mut self, l: &mut Layers<'_>, ifindex: u32, target: Ipv6Addr, mac: Option<[u8; 6]>) {
        let Some(mac) = mac else { return };
        self.stats.inc(Stat6::DadDuplicates);
        let name = l.net.ifname(ifindex).unwrap_or("?");
        let line = format!("nd6: {} on {name} is claimed by {}", zone::strip(target), hex(&mac));
        l.cx.log(3, line);
    }

    /// Asks what the neighbour cache wants to know.
    pub(crate) fn send_solicits(&mut self, l: &mut Layers<'_>) {
        // [RFC4861 7.2.2d] [RFC4429 3.2b]
        while let Some(s) = l.net.neigh.next_solicit(Family::V6) {
            let IpAddr::V6(target) = s.target else { continue };
            let Some(i) = l.net.iface(s.ifindex) else { continue };
            if i.kind != IfKind::Ethernet || i.flags & iff::NOARP != 0 {
                continue;
            }
            let mac = i.mac;
            let Some(IpAddr::V6(from)) = l.net.source_for(s.ifindex, s.target) else { continue };
            let mut b = nd::neighbor_solicit(zone::strip(target));
            // From an address that may be another's still, nothing is said of who has it (RFC 4429 3.3).
            let own =
                l.net.iface(s.ifindex).and_then(|i| i.addrs.iter().find(|a| a.addr == IpAddr::V6(from)));
            if own.is_none_or(|a| a.state == AddrState::Valid) {
                nd::push_link(&mut b, opt::SOURCE_LINK, mac);
            }
            self.stats.inc(Stat6::NsOut);
            match s.unicast {
                Some(to) => self.nd_frame(l, s.ifindex, from, target, to, b),
                None => self.nd_send(l, s.ifindex, from, zone::embed(solicited_node(target), s.ifindex), b),
            }
        }
    }

    /// Sends a message by an interface, to a group or to a neighbour that is found by the cache.
    pub(crate) fn nd_send(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        from: Ipv6Addr,
        to: Ipv6Addr,
        b: Vec<u8>,
    ) {
        let Some(m) = self.packet(l, ifindex, (from, to), HOPS, b) else { return };
        let kind = if to.is_multicast() { HopKind::Multicast } else { HopKind::Unicast };
        let mtu = l.net.iface(ifindex).map_or(0, |i| i.mtu);
        let h = Hop { ifindex, next: to.into(), src: None, mtu, kind, route: None };
        self.link_output(l, &h, m);
    }

    /// The same, to a station that is named.
    fn nd_frame(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        from: Ipv6Addr,
        to: Ipv6Addr,
        mac: [u8; 6],
        b: Vec<u8>,
    ) {
        let Some(m) = self.packet(l, ifindex, (from, to), HOPS, b) else { return };
        self.ether_output(l, ifindex, mac, m);
    }

    /// A whole packet of an ICMPv6 message (checksum zero) for an interface, `ends` being source and destination.
    pub(crate) fn packet(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        ends: (Ipv6Addr, Ipv6Addr),
        hops: u8,
        mut b: Vec<u8>,
    ) -> Option<Mbuf> {
        // [RFC6980 5a]
        let (src, dst) = (zone::strip(ends.0), zone::strip(ends.1));
        let h = Header::parse_unchecked(&b)?;
        self.stats.icmp(h.ty, true);
        self.per_if.icmp(ifindex, h.ty, true);
        h.emit(&mut b, src, dst);
        let ip = ipv6::Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: b.len(),
            next: ipv6::next::ICMP6,
            hop_limit: hops,
            src,
            dst,
        };
        let mut m = l.cx.mbufs.alloc_len(ipv6::HEADER_LEN + b.len())?;
        ip.emit(m.append(ipv6::HEADER_LEN)?);
        m.extend_from_slice(&b);
        Some(m)
    }
}

/// Reads a solicitation and checks it (RFC 4861 7.1.1).
fn ns(p: &Packet, h: &Header, body: &[u8], stats: &mut Stats) -> Option<(Ipv6Addr, Options)> {
    // [RFC4861 7.1.1]
    debug_assert_eq!(h.ty, ty::NEIGHBOR_SOLICIT);
    let (target, rest) = nd::target(body)?;
    let o = read(rest, opt::SOURCE_LINK, stats)?;
    let from_nobody = p.src.is_unspecified();
    let good = p.h.hop_limit == HOPS
        && h.code == 0
        && !target.is_multicast()
        && (!from_nobody || (p.h.dst == solicited_node(target) && o.link.is_none()));
    good.then_some((target, o))
}

pub(crate) fn hex(m: &[u8; 6]) -> alloc::string::String {
    format!("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
}

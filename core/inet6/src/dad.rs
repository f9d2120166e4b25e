//! Duplicate address detection (RFC 4862 section 5.4, optimistic RFC 4429, enhanced RFC 7527).
//!
//! A new address of an Ethernet interface is tentative until `net.inet6.ip6.dad_count` solicitations for it, a second apart, were
//! answered by nobody: until then it is neither a source nor accepted as a destination, unless it is optimistic. Solicitations
//! carry a nonce, so that a link that sends our own frames back does not make a duplicate of us. After a loss of the link all
//! addresses are asked for anew. A duplicate stays listed and is never used.

use crate::nd::{hex, solicited_node};
use crate::{Inet6, Stat6, slaac};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::{AddrState, IfKind, nd6};
use iopkt_stack::{Layers, Why};
use iopkt_wire::nd;

/// Between solicitations (RFC 4861 RETRANS_TIMER).
const RETRANS: Duration = Duration::from_secs(1);
/// The first one of an interface waits up to this long (RFC 4862 5.4.2: all nodes of a link may have started together).
const MAX_DELAY_MS: u32 = 1000;

/// An address that is being asked for.
struct Probe {
    left: u32,
    next: Instant,
    nonce: Option<[u8; 6]>,
}

/// State of the detection.
#[derive(Default)]
pub(crate) struct Dad {
    probes: BTreeMap<(u32, Ipv6Addr), Probe>,
    /// Interfaces whose link carries.
    usable: BTreeSet<u32>,
    /// Addresses that may not be sources now, with their interfaces: another may have them, or has.
    unsure: BTreeMap<Ipv6Addr, u32>,
}

impl Dad {
    pub fn deadline(&self) -> Instant {
        self.probes.values().map(|p| p.next).min().unwrap_or(Instant::FAR)
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.probes.retain(|k, _| k.0 != ifindex);
        self.unsure.retain(|_, i| *i != ifindex);
        self.usable.remove(&ifindex);
    }

    /// Whether nothing may be sent from this address: a connection may have it since before its link went and came.
    #[inline]
    pub fn is_unsure(&self, a: &Ipv6Addr) -> bool {
        !self.unsure.is_empty() && self.unsure.contains_key(a)
    }

    /// Whether a solicitation is our own that came back.
    pub fn is_ours(&self, ifindex: u32, a: Ipv6Addr, nonce: Option<[u8; 6]>) -> bool {
        // [RFC4862 5.4.3b]
        nonce.is_some() && self.probes.get(&(ifindex, a)).is_some_and(|p| p.nonce == nonce)
    }
}

impl Inet6 {
    /// An interface got an address: others ask for it by its group.
    pub(crate) fn address_added(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv6Addr) {
        // [RFC4861 7.2.1] [RFC4862 5.4.2a]
        let _ = l.net.join_group(l.cx, ifindex, group(a, ifindex));
        self.dad_address(l, ifindex, a);
    }

    /// An address is to be looked for.
    pub(crate) fn dad_address(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv6Addr) {
        // [RFC4862 5.4a] [RFC4862 5.4b] [RFC4862 5.4c]
        let Some(i) = l.net.iface(ifindex) else { return };
        let skip = i.addrs.iter().any(|x| x.addr == a && (x.life.anycast || x.life.nodad));
        if i.kind != IfKind::Ethernet || self.t.dad_count == 0 || skip {
            return;
        }
        let usable = i.is_usable();
        self.set_state(l, ifindex, a, AddrState::Tentative);
        self.probe(l, ifindex, a, usable);
        self.dad_tick(l);
    }

    fn set_state(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv6Addr, state: AddrState) {
        l.net.set_addr_state(l.cx, ifindex, a.into(), state);
        let of = l.net.iface(ifindex).and_then(|i| i.addrs.iter().find(|x| x.addr == a));
        let sure = match state {
            AddrState::Valid => true,
            AddrState::Tentative => of.is_some_and(|x| x.life.optimistic),
            AddrState::Duplicated => false,
        };
        if sure {
            self.dad.unsure.remove(&a);
        } else {
            self.dad.unsure.insert(a, ifindex);
        }
    }

    fn probe(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv6Addr, usable: bool) {
        // The link-local address is the first thing that an interface speaks of; one that follows a duplicate waits as well (RFC 7217
        // section 6: IDGEN_DELAY).
        let waits = slaac::is_link_local(&IpAddr::V6(a)) || self.is_another(ifindex, a);
        let wait = if waits { l.cx.rng.below(MAX_DELAY_MS) } else { 0 };
        let next = if usable { l.cx.now + Duration::from_millis(wait.into()) } else { Instant::FAR };
        self.dad.probes.insert((ifindex, a), Probe { left: self.t.dad_count, next, nonce: None });
    }

    /// An address went.
    pub(crate) fn dad_forget(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv6Addr) {
        // [RFC4861 7.2.1]
        self.dad.probes.remove(&(ifindex, a));
        if self.dad.unsure.get(&a) == Some(&ifindex) {
            self.dad.unsure.remove(&a);
        }
        l.net.leave_group(l.cx, ifindex, group(a, ifindex));
    }

    /// An interface or its link changed.
    pub(crate) fn dad_link(&mut self, l: &mut Layers<'_>, ifindex: u32, usable: bool) {
        let was = if usable { !self.dad.usable.insert(ifindex) } else { self.dad.usable.remove(&ifindex) };
        if was == usable {
            return;
        }
        // The link that comes back may be another one; and what waited for a neighbour is not to go out by addresses that are asked
        // for anew by then.
        l.net.neigh.remove_if(l.cx, Why::IfDown, |k, fixed| k.0 == ifindex && k.1.is_ipv6() && !fixed);
        if !usable {
            self.dad
                .probes
                .iter_mut()
                .filter(|(k, _)| k.0 == ifindex)
                .for_each(|(_, p)| p.next = Instant::FAR);
            return;
        }
        let Some(i) = l.net.iface(ifindex).filter(|i| i.kind == IfKind::Ethernet) else { return };
        let again =
            |x: &&iopkt_stack::IfAddr| x.state != AddrState::Duplicated && !x.life.anycast && !x.life.nodad;
        let addrs: alloc::vec::Vec<IpAddr> = i.addrs.iter().filter(again).map(|x| x.addr).collect();
        for a in addrs {
            if let (IpAddr::V6(a), true) = (a, self.t.dad_count > 0) {
                self.set_state(l, ifindex, a, AddrState::Tentative);
                self.probe(l, ifindex, a, true);
            }
        }
        self.dad_tick(l);
    }

    /// Sends the solicitations that are due, and believes those addresses that nobody spoke for.
    pub(crate) fn dad_tick(&mut self, l: &mut Layers<'_>) {
        // [RFC4862 5.4.2b] [RFC7527 4.1]
        let now = l.cx.now;
        let due: alloc::vec::Vec<(u32, Ipv6Addr)> =
            self.dad.probes.iter().filter(|(_, p)| p.next <= now).map(|(k, _)| *k).collect();
        for (ifindex, a) in due {
            let Some(p) = self.dad.probes.get_mut(&(ifindex, a)) else { continue };
            if p.left == 0 {
                self.dad.probes.remove(&(ifindex, a));
                self.set_state(l, ifindex, a, AddrState::Valid);
                if slaac::is_link_local(&IpAddr::V6(a)) {
                    self.solicit_routers(l, ifindex);
                }
                continue;
            }
            p.left -= 1;
            let retrans = self.ifs.get(&ifindex).map_or(RETRANS, |s| Duration::from_millis(s.retrans.into()));
            p.next = now + retrans;
            let mut nonce = [0; 6];
            nonce.copy_from_slice(&l.cx.rng.next_u64().to_be_bytes()[..6]);
            p.nonce = Some(nonce);
            let mut b = nd::neighbor_solicit(zone::strip(a));
            nd::push_nonce(&mut b, nonce);
            self.stats.inc(Stat6::NsOut);
            self.nd_send(l, ifindex, Ipv6Addr::UNSPECIFIED, zone::embed(solicited_node(a), ifindex), b);
        }
    }

    /// Somebody has a tentative address of ours, or wants it too.
    pub(crate) fn dad_duplicate(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        a: Ipv6Addr,
        mac: Option<[u8; 6]>,
    ) {
        // [RFC4862 5.4.5a] [RFC4862 5.4.5b] [RFC4429 3.3b]
        self.stats.inc(Stat6::DadDuplicates);
        self.dad.probes.remove(&(ifindex, a));
        self.set_state(l, ifindex, a, AddrState::Duplicated);
        let who = mac.map_or_else(|| "another node".into(), |m| hex(&m));
        let name = l.net.ifname(ifindex).unwrap_or("?");
        let line = format!("{name}: DAD detected duplicate IPv6 address {}: {who} has it", zone::strip(a));
        l.cx.log(2, line);
        self.another(l, ifindex, a);
        if self.is_of_hardware(l, ifindex, a) {
            // Two stations with one link-level address: nothing of ours would work (RFC 4862 5.4.5).
            let name = l.net.ifname(ifindex).unwrap_or("?");
            let line = format!(
                "{name}: its link-level address is another's too: IPv6 is disabled there (ndp -i {name} -- -disabled)"
            );
            l.cx.log(2, line);
            self.set_flags(l, ifindex, nd6::DISABLED, 0);
        }
        self.reckon();
    }
}

fn group(a: Ipv6Addr, ifindex: u32) -> IpAddr {
    IpAddr::V6(zone::embed(solicited_node(a), ifindex))
}

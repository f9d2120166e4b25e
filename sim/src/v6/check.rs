//! What must hold always, in every turn of every node.

use super::net::Net;
use super::node::{ETH, Node, a6};
use super::packet::{Packet, solicited_node};
use iopkt_base::zone;
use iopkt_ctl::AddrState;
use iopkt_stack::IfAddr;
use iopkt_stack::route::Origin;
use iopkt_wire::icmp6::{is_error, ty};
use iopkt_wire::ipv6::MIN_MTU;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Somewhere that is on nobody's link.
const FAR: &str = "2001:4860::1";

/// A node's addresses: interface, address with its zone, what is said of it.
type Addrs = Vec<(u32, Ipv6Addr, IfAddr)>;

fn addrs(n: &Node) -> Addrs {
    let of = |port| n.addrs(port).into_iter().map(move |(x, a)| (port, x, a));
    (ETH..ETH + n.macs.len() as u32).flat_map(of).collect()
}

fn state(l: &Addrs, ifindex: u32, a: Ipv6Addr) -> Option<&IfAddr> {
    l.iter().find(|x| x.0 == ifindex && x.1 == a).map(|x| &x.2)
}

/// What a node heard of an address in a turn.
struct Heard {
    ifindex: u32,
    target: Ipv6Addr,
    /// Somebody asks for it who wants it; else somebody says that it has it.
    asks: bool,
    ours: bool,
}

/// What a node was before its turn.
pub(super) struct Before {
    addrs: Addrs,
    heard: Vec<Heard>,
}

/// What was seen of the nodes.
#[derive(Default)]
pub(super) struct Watch {
    /// Nonces by which nodes asked for their own addresses, and who did.
    by: BTreeMap<Vec<u8>, String>,
}

impl Watch {
    pub fn before(&self, n: &Node, input: &[(u32, Vec<u8>)]) -> Before {
        let heard = |(ifindex, f): &(u32, Vec<u8>)| {
            let p = Packet::of(f).filter(|p| p.h.hop_limit == 255)?;
            let ty = p.ty()?;
            let asks = p.is_dad();
            // A nonce of another than this node makes it another's question.
            let ours = p.nonce().is_some_and(|x| self.by.get(&x) == Some(&n.name));
            let to_group = p.h.dst.is_multicast();
            ((asks || ty == 136) && to_group).then_some(Heard {
                ifindex: *ifindex,
                target: zone::embed(p.target()?, *ifindex),
                asks,
                ours,
            })
        };
        Before { addrs: addrs(n), heard: input.iter().filter_map(heard).collect() }
    }

    pub fn after(&mut self, index: usize, n: &mut Node, before: Before, out: &[(u32, Vec<u8>)]) {
        let now = addrs(n);
        for (ifindex, f) in out {
            if let Some(p) = Packet::of(f) {
                self.sent(n, *ifindex, &p, [&before.addrs, &now]);
            }
        }
        if n.no_memory == 0 {
            duplicates(n, &before, &now, out);
        }
        bounds(index, n);
        fresh_source(n, &now);
    }

    fn sent(&mut self, n: &Node, ifindex: u32, p: &Packet<'_>, known: [&Addrs; 2]) {
        let (name, src) = (&n.name, zone::embed(p.h.src, ifindex));
        let all = known.iter().flat_map(|k| k.iter());
        let own: Vec<&IfAddr> = all.filter(|x| x.1 == src).map(|x| &x.2).collect();
        let valid = own.iter().any(|a| a.state == AddrState::Valid);
        let hopeful = own.iter().any(|a| a.state == AddrState::Tentative && a.life.optimistic);
        let nobody = src.is_unspecified();
        if own.is_empty() {
            assert!(nobody || n.spec.t.forwarding, "{name} sends from {src}, which is not its own");
        } else {
            assert!(valid || hopeful, "{name} sends from {src}, which is not good: {own:?}");
        }
        let Some(ty) = p.ty() else { return };
        if is_error(ty) {
            assert!(p.h.payload_len + 40 <= MIN_MTU, "{name}: an error of {} bytes", p.h.payload_len);
        }
        if !(133..=137).contains(&ty) {
            return;
        }
        assert_eq!(p.h.hop_limit, 255, "{name}: hop limit of message {ty}");
        let unsure = nobody || (hopeful && !valid);
        assert!(
            !(unsure && p.says_link()),
            "{name} tells its link-level address with {src}, which may be another's"
        );
        if p.is_dad() {
            let t = p.target().expect("a solicitation");
            assert_eq!(p.h.dst, solicited_node(t), "{name} asks for {t}");
            let nonce = p.nonce().unwrap_or_else(|| panic!("{name}: a question for {t} without a nonce"));
            assert_eq!(self.by.insert(nonce, name.clone()), None, "{name}: a nonce comes again");
        }
        if let (ty::NEIGHBOR_ADVERT, Some(m), Some(t)) = (ty, p.icmp, p.target()) {
            assert_eq!(m[4] & 0x80 != 0, n.spec.t.forwarding, "{name}: the router flag");
            let t = zone::embed(t, ifindex);
            let a = known.iter().rev().find_map(|k| state(k, ifindex, t));
            let a = a.unwrap_or_else(|| panic!("{name} answers for {t}, which is not its own"));
            assert!(a.state != AddrState::Duplicated, "{name} answers for {t}, which another has");
            if a.state == AddrState::Tentative {
                assert!(
                    a.life.optimistic && m[4] & 0x20 == 0,
                    "{name} overrides for {t}, which may be another's"
                );
            }
        }
    }
}

/// Who hears of an address that it wants, or has, does what RFC 4862 5.4 says.
fn duplicates(n: &Node, before: &Before, now: &Addrs, out: &[(u32, Vec<u8>)]) {
    let name = &n.name;
    for h in &before.heard {
        let usable = n.shard.net.iface(h.ifindex).is_some_and(|i| i.is_usable());
        let was = state(&before.addrs, h.ifindex, h.target);
        let (Some(was), true) = (was, usable) else { continue };
        let is = state(now, h.ifindex, h.target).map(|a| a.state);
        let gone = is.is_none() || is == Some(AddrState::Duplicated);
        match was.state {
            AddrState::Tentative if h.ours && before.heard.iter().all(|x| x.ours || x.target != h.target) => {
                assert!(!gone, "{name} takes its own question for {} for another's", h.target);
            }
            AddrState::Tentative if !h.ours => {
                assert!(gone, "{name} keeps {}, which another wants or has", h.target);
            }
            AddrState::Valid if h.asks && !h.ours && !was.life.anycast => {
                let told = |(i, f): &(u32, Vec<u8>)| {
                    let p = Packet::of(f);
                    let na = p.as_ref().is_some_and(|p| p.ty() == Some(ty::NEIGHBOR_ADVERT));
                    na && *i == h.ifindex && p.and_then(|p| p.target()) == Some(zone::strip(h.target))
                };
                assert!(is.is_none() || out.iter().any(told), "{name} does not defend {}", h.target);
            }
            _ => {}
        }
    }
}

/// Nothing grows beyond its limit.
fn bounds(index: usize, n: &Node) {
    let (name, t) = (&n.name, &n.spec.t);
    let s = &n.shard;
    let neighbours = s.net.neigh.len();
    assert!(neighbours <= s.cx.cfg.max_neighbours, "{name} ({index}): {neighbours} neighbours");
    let ports = n.macs.len();
    let made = |port| n.addrs(port).iter().filter(|a| a.1.life.autoconf).count();
    for port in ETH..ETH + ports as u32 {
        assert!(made(port) <= t.maxifprefixes as usize, "{name}: {} addresses are made", made(port));
    }
    // Routes of /0 to hosts of prefixes: one each.
    let most = t.maxifdefrouters as usize * ports;
    let learnt = n.routes(Origin::Advertised);
    assert!(learnt <= most, "{name}: {learnt} routes are learnt");
    assert!(n.routes(Origin::Redirect) <= t.maxdynroutes as usize, "{name}: routes by redirects");
}

/// What begins now does not begin with an address whose time is over while another is there (RFC 4862 5.5.4).
fn fresh_source(n: &Node, now: &Addrs) {
    let Some((_, src)) = n.way(a6(FAR)) else { return };
    let is_fresh = |a: &IfAddr| a.state == AddrState::Valid && !a.life.deprecated && !a.life.detached;
    let other = now.iter().any(|x| !zone::is_scoped(&x.1) && is_fresh(&x.2));
    if let Some(x) = now.iter().find(|x| x.1 == src && !zone::is_scoped(&src)) {
        assert!(!other || !x.2.life.deprecated, "{}: {src} is chosen, which is deprecated", n.name);
    }
}

impl Net {
    /// Of those who hear each other, one has an address at most, unless something that was said of it was lost.
    pub(super) fn unique(&self) {
        for s in &self.segments {
            let mut who: BTreeMap<(u8, Ipv6Addr), usize> = BTreeMap::new();
            for (node, ifindex, side) in s.ports() {
                let n = &self.nodes[node];
                let usable = n.shard.net.iface(ifindex).is_some_and(|i| i.is_usable());
                if n.dead || !usable {
                    continue;
                }
                let sure = |a: &IfAddr| a.state == AddrState::Valid && !a.life.anycast && !a.life.nodad;
                for (a, _) in n.addrs(ifindex).into_iter().filter(|a| sure(&a.1)) {
                    let a = zone::strip(a);
                    if let Some(other) = who.insert((side, a), node) {
                        let heard = !s.unheard.contains(&a);
                        assert!(!heard || other == node, "nodes {} and {} have {a}", other + 1, node + 1);
                    }
                }
            }
        }
    }
}

/// Every packet ends once: what arrived was counted, and what was counted was delivered, forwarded or dropped for a reason.
pub(super) fn account(n: &mut Node) {
    let broken = [
        "{} with size smaller than minimum",
        "{} with data size < data length",
        "{} with incorrect version number",
        "{} with bad options",
        "{} packets with too many headers",
        "{} packets not forwardable",
    ];
    let c = |n: &mut Node, t: &str| n.count("ip6", t);
    let total = c(n, "{} total packets received");
    let up = c(n, "{} packets for this host") + c(n, "{} packets forwarded");
    let ended: u64 = broken.iter().map(|t| c(n, t)).sum();
    // Fragments are put together, and a packet that cannot go on may be dropped without a count of its own.
    if c(n, "{} fragments received") == 0 {
        assert!(up <= total, "{}: {up} packets went on of {total}", n.name);
        if !n.spec.t.forwarding {
            let scope = c(n, "{} packets that violated scope rules");
            assert_eq!(total, up + ended + scope, "{}: packets in, and delivered or ended", n.name);
        }
    }
    let arrived: u64 = (ETH..ETH + n.macs.len() as u32)
        .filter_map(|i| n.shard.net.iface(i).map(|i| i.counters))
        .map(|k| k.ipackets + k.ierrors)
        .sum();
    assert!(arrived <= n.input, "{}: {} frames given, {arrived} taken", n.name, n.input);
}

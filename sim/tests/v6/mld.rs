//! Groups: a querier whose questions are lost, versions that change, source filters; what it believes is what is heard (RFC 3810).

use super::{clean, lossy, secs, seeds};
use iopkt_base::{Rng, zone};
use iopkt_sim::Faults;
use iopkt_sim::v6::{ALL_NODES, ETH, Net, Packet, Spec, a6, frame, header};
use iopkt_stack::GroupFilter;
use iopkt_wire::icmp6::{self, ty};
use iopkt_wire::mld::record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

const QUERIER: &str = "fe80::ffff";
const GROUPS: [&str; 3] = ["ff0e::101", "ff0e::102", "ff05::103"];
const SOURCES: [&str; 3] = ["2001:db8::a", "2001:db8::b", "2001:db8::c"];

/// A query as a router sends it: of version 1, or 2 with sources.
fn query(version: u8, group: Ipv6Addr, sources: &[Ipv6Addr], max_ms: u16) -> Vec<u8> {
    let mut b = vec![ty::MLD_QUERY, 0, 0, 0];
    b.extend(max_ms.to_be_bytes());
    b.extend([0, 0]);
    b.extend(group.octets());
    if version == 2 {
        b.extend([2, 125]);
        b.extend((sources.len() as u16).to_be_bytes());
        sources.iter().for_each(|s| b.extend(s.octets()));
    }
    let src = a6(QUERIER);
    let dst = if group.is_unspecified() { ALL_NODES } else { group };
    icmp6::Header::parse_unchecked(&b).expect("a query").emit(&mut b, src, dst);
    let mut p = vec![58, 0, 5, 2, 0, 0, 1, 0];
    p.extend(b);
    let h = iopkt_wire::ipv6::Header { next: 0, ..header(src, dst, 1) };
    frame([0; 6], [2, 0, 0, 0, 0xff, 0xff], &h, &p)
}

/// What a router of version 2 believes of one host's group: include or exclude these.
type Believed = BTreeMap<Ipv6Addr, (bool, BTreeSet<Ipv6Addr>)>;

/// A record changes what is believed (RFC 3810 7.4; one host, so what it says holds).
fn believe(b: &mut Believed, kind: u8, group: Ipv6Addr, sources: BTreeSet<Ipv6Addr>) {
    let (exclude, set) = b.entry(group).or_default();
    match kind {
        record::IS_INCLUDE | record::TO_INCLUDE => (*exclude, *set) = (false, sources),
        record::IS_EXCLUDE | record::TO_EXCLUDE => (*exclude, *set) = (true, sources),
        record::ALLOW if *exclude => set.retain(|s| !sources.contains(s)),
        record::ALLOW => set.extend(sources),
        record::BLOCK if *exclude => set.extend(sources),
        record::BLOCK => set.retain(|s| !sources.contains(s)),
        k => panic!("a record of kind {k}"),
    }
}

/// Reads a report; each of its records.
fn records(m: &[u8]) -> Vec<(u8, Ipv6Addr, BTreeSet<Ipv6Addr>)> {
    let addr = |b: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(b).expect("16 bytes"));
    let (mut at, mut out) = (8, Vec::new());
    for _ in 0..u16::from_be_bytes([m[6], m[7]]) {
        let n = usize::from(u16::from_be_bytes([m[at + 2], m[at + 3]]));
        let sources = m[at + 20..at + 20 + 16 * n].chunks(16).map(addr).collect();
        out.push((m[at], addr(&m[at + 4..at + 20]), sources));
        at += 20 + 16 * n;
    }
    assert_eq!(at, m.len(), "a report of another length than its records");
    out
}

fn filter(net: &mut Net, host: usize, group: Ipv6Addr, f: GroupFilter) {
    let s = &mut net.nodes[host].shard;
    s.net.filter_group(ETH, zone::embed(group, ETH).into(), f);
    s.tell_changes();
}

/// The wire's view of a filter, for the groups that are joined.
fn heard(net: &Net, host: usize, joined: &BTreeSet<Ipv6Addr>) -> Believed {
    let of = |g: &Ipv6Addr| {
        let f = net.nodes[host].shard.net.group_filter(ETH, zone::embed(*g, ETH).into()).clone();
        let v6 = |a: &IpAddr| if let IpAddr::V6(a) = a { Some(zone::strip(*a)) } else { None };
        (*g, (f.exclude, f.sources.iter().filter_map(v6).collect()))
    };
    joined.iter().map(of).collect()
}

struct World {
    net: Net,
    host: usize,
    joined: BTreeSet<Ipv6Addr>,
    believed: Believed,
}

impl World {
    fn new(seed: u64, faults: Faults) -> World {
        let mut net = Net::new(seed, faults);
        let host = net.join(Spec::default(), &[0]);
        net.pass(secs(10));
        net.seen = Some(Vec::new());
        World { net, host, joined: BTreeSet::new(), believed: Believed::new() }
    }

    /// A program joins, leaves or changes its filter.
    fn change(&mut self) {
        let g = a6(GROUPS[self.net.rng.below(3) as usize]);
        let group = zone::embed(g, ETH).into();
        let s = &mut self.net.nodes[self.host].shard;
        match self.net.rng.below(4) {
            0 if self.joined.remove(&g) => s.net.leave_group(&mut s.cx, ETH, group),
            1.. if self.joined.contains(&g) => {
                let some = |r: &mut Rng| {
                    let all = SOURCES.iter().map(|s| IpAddr::V6(a6(s)));
                    all.filter(|_| r.chance(0.5)).collect()
                };
                let exclude = self.net.rng.chance(0.5);
                let sources: BTreeSet<IpAddr> = some(&mut self.net.rng);
                // To include nobody is to leave.
                if exclude || !sources.is_empty() {
                    filter(
                        &mut self.net,
                        self.host,
                        g,
                        GroupFilter { exclude, sources: sources.into_iter().collect() },
                    );
                }
            }
            _ => {
                if self.joined.insert(g) {
                    s.net.join_group(&mut s.cx, ETH, group).expect("room for a group");
                }
            }
        }
        self.net.nodes[self.host].shard.tell_changes();
    }

    /// What the querier hears of it: a part is lost.
    fn listen(&mut self, loss: f64) {
        for (_, f) in self.net.seen.replace(Vec::new()).unwrap_or_default() {
            let Some(p) = Packet::of(&f) else { continue };
            let (Some(m), Some(kind)) = (p.icmp, p.ty()) else { continue };
            if !(130..=132).contains(&kind) && kind != ty::MLD2_REPORT {
                continue;
            }
            assert!(p.h.hop_limit == 1 && p.h.next == 0, "a report without router alert or with hops");
            if self.net.rng.chance(loss) {
                continue;
            }
            if kind == ty::MLD2_REPORT {
                for (kind, g, sources) in records(m) {
                    assert!(g != ALL_NODES && g.octets()[1] & 15 > 1, "a report of {g}");
                    believe(&mut self.believed, kind, g, sources);
                }
            } else {
                let g = Ipv6Addr::from(<[u8; 16]>::try_from(&m[8..24]).expect("a group"));
                let kind = if kind == ty::MLD_REPORT { record::TO_EXCLUDE } else { record::TO_INCLUDE };
                believe(&mut self.believed, kind, g, BTreeSet::new());
            }
        }
    }

    /// What is believed of the groups that matter.
    fn says(&self) -> Believed {
        let ours = |g: &Ipv6Addr| GROUPS.iter().any(|x| a6(x) == *g);
        let some = |v: &(bool, BTreeSet<Ipv6Addr>)| v.0 || !v.1.is_empty();
        self.believed.iter().filter(|(g, v)| ours(g) && some(v)).map(|(g, v)| (*g, v.clone())).collect()
    }
}

#[test]
fn what_is_told_of_changes_is_what_is_heard() {
    // [RFC3810 5a] [RFC3810 6] [RFC3810 6.1c]
    seeds(40, |seed| {
        let mut rng = Rng::new(seed);
        let mut w = World::new(seed, clean(&mut rng));
        for _ in 0..30 {
            w.change();
            // Often the next change comes before the first was told twice.
            w.net.pass_about(0, 2500);
            w.listen(0.0);
        }
        w.net.pass(secs(10));
        w.listen(0.0);
        assert_eq!(w.says(), heard(&w.net, w.host, &w.joined));
        w.net.end();
    });
}

#[test]
fn a_querier_that_lost_everything_learns_it_by_asking() {
    // [RFC3810 6.2b] [RFC3810 6.2c]
    seeds(30, |seed| {
        let mut rng = Rng::new(seed);
        let mut w = World::new(seed, lossy(&mut rng, 0.2));
        for _ in 0..12 {
            w.change();
            w.net.pass_about(0, 3000);
        }
        w.listen(0.5);
        // It asks a few times: everybody, or for one group; questions are lost, answers too. What it hears last of each is true.
        for round in 0..12 {
            let g = if round % 3 == 0 { a6(GROUPS[round / 3 % 3]) } else { Ipv6Addr::UNSPECIFIED };
            let f = query(2, g, &[], 1000);
            w.net.inject(0, &f);
            w.net.pass(secs(2));
            w.listen(0.2);
        }
        w.believed.clear();
        w.net.set_faults(Faults::default());
        let f = query(2, Ipv6Addr::UNSPECIFIED, &[], 1000);
        w.net.inject(0, &f);
        w.net.pass(secs(3));
        w.listen(0.0);
        assert_eq!(w.says(), heard(&w.net, w.host, &w.joined));
        // Of sources: those of them that are heard, nothing else.
        let (a, b) = (a6(SOURCES[0]), a6(SOURCES[1]));
        let Some(g) = w.joined.first().copied() else { return w.net.end() };
        filter(
            &mut w.net,
            w.host,
            g,
            GroupFilter { exclude: false, sources: [a.into()].into_iter().collect() },
        );
        w.net.pass(secs(5));
        w.net.seen = Some(Vec::new());
        let f = query(2, g, &[a, b], 1000);
        w.net.inject(0, &f);
        w.net.pass(secs(3));
        let said: Vec<_> = w.net.seen.take().unwrap_or_default();
        let said: Vec<_> =
            said.iter().filter_map(|(_, f)| Packet::of(f)?.icmp.map(records_of)).flatten().collect();
        assert_eq!(said, [(record::IS_INCLUDE, g, BTreeSet::from([a]))]);
        w.net.end();
    });
}

fn records_of(m: &[u8]) -> Vec<(u8, Ipv6Addr, BTreeSet<Ipv6Addr>)> {
    if m[0] == ty::MLD2_REPORT { records(m) } else { Vec::new() }
}

#[test]
fn a_querier_of_version_1_is_answered_in_version_1_until_it_is_gone() {
    // [RFC3810 8.2.1a] [RFC3810 8.2.1b]
    seeds(15, |seed| {
        let mut rng = Rng::new(seed);
        let mut w = World::new(seed, clean(&mut rng));
        let g = a6(GROUPS[0]);
        let s = &mut w.net.nodes[w.host].shard;
        s.net.join_group(&mut s.cx, ETH, zone::embed(g, ETH).into()).expect("room");
        s.tell_changes();
        w.joined.insert(g);
        w.net.pass(secs(5));
        let kinds = |w: &mut World| {
            let l = w.net.seen.replace(Vec::new()).unwrap_or_default();
            let of = |f: &(usize, Vec<u8>)| Packet::of(&f.1)?.ty().filter(|t| *t >= 131);
            let mut l: Vec<u8> =
                l.iter().filter_map(of).filter(|t| *t < 133 || *t == ty::MLD2_REPORT).collect();
            l.sort_unstable();
            l.dedup();
            l
        };
        assert_eq!(kinds(&mut w), [ty::MLD2_REPORT]);
        let f = query(1, Ipv6Addr::UNSPECIFIED, &[], 1000);
        w.net.inject(0, &f);
        w.net.pass(secs(2));
        assert_eq!(kinds(&mut w), [ty::MLD_REPORT]);
        // A query of version 2 meanwhile is answered in version 1, as are joins.
        let f = query(2, Ipv6Addr::UNSPECIFIED, &[], 1000);
        w.net.inject(0, &f);
        w.net.pass(secs(2));
        assert_eq!(kinds(&mut w), [ty::MLD_REPORT]);
        w.net.pass(secs(262));
        let _ = kinds(&mut w);
        let f = query(2, Ipv6Addr::UNSPECIFIED, &[], 1000);
        w.net.inject(0, &f);
        w.net.pass(secs(2));
        assert_eq!(kinds(&mut w), [ty::MLD2_REPORT]);
        w.net.end();
    });
}

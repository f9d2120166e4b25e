//! Duplicate addresses: twins, echoes, lost questions, links that are cut in two and heal (RFC 4862 5.4, 4429, 7217, 7527).

use super::{busy, clean, lossy, secs, seeds};
use iopkt_base::{Duration, Rng};
use iopkt_ctl::AddrState;
use iopkt_inet6::Tunables;
use iopkt_sim::Faults;
use iopkt_sim::v6::{ETH, Net, Node, Says, Spec, a6, prefix};
use iopkt_stack::Life;
use std::net::Ipv6Addr;

const WANTED: &str = "2001:db8::1";

fn states(n: &Node, a: Ipv6Addr) -> Vec<AddrState> {
    n.addrs(ETH).into_iter().filter(|x| x.0 == a).map(|x| x.1.state).collect()
}

/// How many have it, and how many know that another does.
fn count(net: &Net, a: Ipv6Addr) -> (usize, usize) {
    let all: Vec<AddrState> = net.nodes.iter().flat_map(|n| states(n, a)).collect();
    let of = |s| all.iter().filter(|x| **x == s).count();
    (of(AddrState::Valid), of(AddrState::Duplicated))
}

fn some(net: &mut Net, most: u32, each: impl Fn(&mut Rng) -> Spec) -> usize {
    let n = 2 + net.rng.below(most) as usize;
    for _ in 0..n {
        let spec = each(&mut net.rng);
        net.add(spec, &[0]);
    }
    n
}

#[test]
fn of_many_who_want_an_address_one_has_it_at_most() {
    // [RFC4861 6.3.7c] [RFC4862 5.4.2a] [RFC4862 5.4.2b] [RFC4862 5.4.3a] [RFC4862 5.4.3c] [RFC4429 3.3c]
    // [RFC7527 4.2b]
    seeds(60, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, busy(&mut rng));
        let n = some(&mut net, 6, |r| {
            let t = Tunables { dad_count: 1 + r.below(3), optimistic: r.chance(0.3), ..Tunables::default() };
            Spec { t, ..Spec::default() }
        });
        // At the same instant, or one after the other.
        let together = net.rng.chance(0.5);
        for i in 0..n {
            net.nodes[i].up();
            net.nodes[i].addr(ETH, a6(WANTED), Life::default());
            if !together {
                net.pass_about(0, 2500);
            }
        }
        net.pass(secs(20));
        let (owners, told) = count(&net, a6(WANTED));
        assert!(owners <= 1 && owners + told == n, "{owners} of {n} have it, {told} know");
        net.end();
    });
}

#[test]
fn who_was_there_first_keeps_it() {
    // [RFC4861 7.2.1] [RFC4862 5.4.4]
    seeds(20, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, busy(&mut rng));
        let n = some(&mut net, 6, |_| Spec::default());
        net.nodes[0].up();
        net.nodes[0].addr(ETH, a6(WANTED), Life::default());
        net.pass(secs(5));
        for i in 1..n {
            net.nodes[i].up();
            net.nodes[i].addr(ETH, a6(WANTED), Life::default());
            net.pass_about(0, 500);
        }
        net.pass(secs(10));
        assert_eq!(states(&net.nodes[0], a6(WANTED)), [AddrState::Valid]);
        assert_eq!(count(&net, a6(WANTED)), (1, n - 1));
        net.end();
    });
}

#[test]
fn twins_by_their_link_level_address_are_found() {
    // [RFC4862 5.4.5a]
    // Two stations with one link-level address: the identifier made of it is one too, and nothing can be done about it but tell.
    seeds(20, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        for _ in 0..2 {
            net.add(Spec { mac: Some(0x77), ..Spec::default() }, &[0]);
        }
        net.nodes[0].up();
        net.pass_about(0, 1500);
        net.nodes[1].up();
        net.pass(secs(10));
        let (owners, told) = count(&net, iopkt_base::zone::embed(a6("fe80::ff:fe00:77"), ETH));
        assert!(owners <= 1 && told >= 1, "{owners} have it, {told} know");
        assert!(net.nodes.iter().any(|n| n.log.iter().any(|l| l.contains("duplicate"))));
        net.end();
    });
}

#[test]
fn stable_addresses_of_twins_differ_in_the_end() {
    // [RFC4429 3.2a] [RFC7217 5d] [RFC7217 6a]
    seeds(30, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        // The same key, link-level address and interface name: the same identifiers, until one of them is another's.
        let spec = || Spec {
            mac: Some(0x55),
            secret: Some("2001:db8:1:2:3:4:5:6".into()),
            t: Tunables { accept_rtadv: true, optimistic: seed % 3 == 0, ..Tunables::default() },
            ..Spec::default()
        };
        let says = Says { prefixes: vec![prefix("2001:db8:7::", 86_400, 43_200)], ..Says::default() };
        net.router(Spec::router(), &[(0, a6("2001:db8:7::fe"))], Some(says));
        let first = net.join(spec(), &[0]);
        net.pass(secs(20));
        let was: Vec<Ipv6Addr> = net.nodes[first].globals(ETH).iter().map(|a| a.0).collect();
        let second = net.join(spec(), &[0]);
        net.pass(secs(60));
        for i in [first, second] {
            assert!(net.nodes[i].link_local(ETH).is_some(), "{:?}", net.nodes[i].addrs(ETH));
            assert_eq!(net.nodes[i].globals(ETH).len(), 1, "{:?}", net.nodes[i].addrs(ETH));
        }
        // Who was there keeps what it had; the other made another one, in its log.
        assert_eq!(net.nodes[first].globals(ETH)[0].0, was[0]);
        assert!(net.nodes[second].log.iter().any(|l| l.contains("duplicate")));
        net.end();
    });
}

#[test]
fn an_echo_of_our_own_question_is_nobody() {
    // [RFC4862 5.4c] [RFC4862 5.4.3b] [RFC7527 4.1] [RFC7527 4.2a]
    seeds(30, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, busy(&mut rng));
        let n = some(&mut net, 4, |r| {
            let t = Tunables { dad_count: 1 + r.below(3), optimistic: r.chance(0.5), ..Tunables::default() };
            Spec { t, ..Spec::default() }
        });
        net.segments[0].echo = true;
        for i in 0..n {
            net.nodes[i].up();
            net.nodes[i].addr(
                ETH,
                Ipv6Addr::from(u128::from(a6("2001:db8::100")) + i as u128),
                Life::default(),
            );
            net.pass_about(0, 1000);
        }
        net.pass(secs(15));
        for node in &net.nodes {
            assert!(node.link_local(ETH).is_some() && node.globals(ETH).len() == 1, "{:?}", node.addrs(ETH));
        }
        // One that really is another's is found on such a link too.
        net.nodes[1].addr(ETH, a6("2001:db8::100"), Life::default());
        net.pass(secs(10));
        assert_eq!(count(&net, a6("2001:db8::100")), (1, 1));
        net.end();
    });
}

#[test]
fn questions_that_are_lost_are_asked_again() {
    // Three questions over a link that loses up to a tenth: who has an address and who knows of it stay within what was heard.
    let both = std::sync::atomic::AtomicUsize::new(0);
    seeds(60, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, lossy(&mut rng, 0.1));
        let n = some(&mut net, 4, |_| Spec {
            t: Tunables { dad_count: 3, ..Tunables::default() },
            ..Spec::default()
        });
        for i in 0..n {
            net.nodes[i].up();
            net.nodes[i].addr(ETH, a6(WANTED), Life::default());
            net.pass_about(0, 4000);
        }
        net.pass(secs(20));
        let (owners, told) = count(&net, a6(WANTED));
        assert_eq!(owners + told, n);
        if owners > 1 {
            both.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        net.end();
    });
    // All three questions, or their answers, must be lost for it.
    assert!(both.into_inner() <= 2, "too many are not found");
}

#[test]
fn a_link_in_two_that_heals_has_twins_until_its_cables_are_plugged_anew() {
    seeds(30, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        let secret = rng.chance(0.5);
        for i in 0..2u16 {
            let key = secret.then(|| format!("2001:db8::{i:x}"));
            net.join(Spec { secret: key, ..Spec::default() }, &[0]);
        }
        net.cut(0, &[0, 1]);
        for i in 0..2 {
            net.nodes[i].addr(ETH, a6(WANTED), Life::default());
        }
        net.pass(secs(10));
        assert_eq!(count(&net, a6(WANTED)), (2, 0), "nobody can know");
        net.cut(0, &[]);
        net.pass(secs(60));
        assert_eq!(count(&net, a6(WANTED)), (2, 0), "and nobody is robbed of it");
        // A third wants it: it hears of it, whoever has it.
        net.join(Spec::default(), &[0]);
        net.nodes[2].addr(ETH, a6(WANTED), Life::default());
        net.pass(secs(5));
        assert_eq!(states(&net.nodes[2], a6(WANTED)), [AddrState::Duplicated]);
        // Carrier that went and came: asked for anew, found.
        let (one, two) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
        net.carrier(one, ETH, false);
        net.pass_about(500, 2000);
        net.segments[0].unheard.clear();
        net.carrier(one, ETH, true);
        net.pass(secs(10));
        assert_eq!(states(&net.nodes[one], a6(WANTED)), [AddrState::Duplicated]);
        assert_eq!(states(&net.nodes[two], a6(WANTED)), [AddrState::Valid]);
        net.end();
    });
}

#[test]
fn optimistic_addresses_carry_data_at_once_and_go_when_they_are_anothers() {
    // [RFC4429 3.2b] [RFC4429 3.3a] [RFC4429 3.3b]
    seeds(30, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, Faults { delay: Duration::from_millis(2), ..busy(&mut rng) });
        let peer = net.join(Spec::default(), &[0]);
        let hopeful = net
            .join(Spec { t: Tunables { optimistic: true, ..Tunables::default() }, ..Spec::default() }, &[0]);
        net.pass(secs(5));
        net.nodes[peer].addr(ETH, a6("2001:db8::5"), Life::default());
        net.pass(secs(5));
        let sink = net.nodes[peer].udp(7000);
        let life = Life { optimistic: true, ..Life::default() };
        net.nodes[hopeful].addr(ETH, a6("2001:db8::6"), life);
        let s = net.nodes[hopeful].udp(0);
        // It has not asked long enough, and nobody has said no: it speaks, and is answered.
        let r = net.nodes[hopeful].send(s, a6("2001:db8::5"), 7000, b"early");
        assert_eq!(r, Ok(()));
        net.pass(Duration::from_millis(800));
        assert_eq!(net.nodes[peer].recv(sink).map(|d| d.0.ip()), Some(a6("2001:db8::6").into()));
        // One that is the peer's: it never becomes good, and what the peer's neighbours know of the peer stays (no override).
        net.nodes[hopeful].addr(ETH, a6("2001:db8::5"), life);
        net.pass(secs(5));
        assert_eq!(states(&net.nodes[hopeful], a6("2001:db8::5")), [AddrState::Duplicated]);
        assert_eq!(states(&net.nodes[peer], a6("2001:db8::5")), [AddrState::Valid]);
        net.end();
    });
}

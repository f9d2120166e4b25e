//! Each variable of the net.inet6 tree that can be written changes what happens: one scene per variable, played with the default and with
//! another value, must end differently.

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_ctl::{NdReply, NdRequest, Reply, Request, VARIABLES, in6};
use iopkt_inet6::Tunables;
use iopkt_stack::Why;
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;
use iopkt_wire::ipv6::next;
use iopkt_wire::nd::{self, Preference, Prefix, RouterAdvert, opt};
use std::net::IpAddr;

const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// A variable, a value that is not its default, and the scene: what it gives to see, as text.
type Scene = (&'static str, &'static str, fn(&dyn Fn(&mut Host)) -> String);

/// A host with the settings under test that was just plugged in.
fn fresh(set: &dyn Fn(&mut Host)) -> Wire {
    let mut h = Host::with(1, Tunables { accept_rtadv: true, ..Tunables::default() });
    h.s.cx.cfg.host = vec![("kern.hostname".into(), "probe".into())];
    set(&mut h);
    let mut w = Wire::new(vec![h]);
    w.hosts[0].up();
    w
}

/// The same with its link-local address and 2001:db8::1.
fn settled(set: &dyn Fn(&mut Host)) -> Wire {
    let mut w = fresh(set);
    w.run(4000);
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(4000);
    w
}

fn advertise(w: &mut Wire, from: &str, prefixes: &[&str]) {
    let ra = RouterAdvert { lifetime: 1800, preference: Preference::Medium, ..RouterAdvert::default() };
    let mut b = ra.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, OTHER);
    for p in prefixes {
        let (valid, preferred) = (600_000, 300_000);
        let p = Prefix { prefix: a6(p), plen: 64, on_link: true, autonomous: true, valid, preferred };
        nd::push_prefix(&mut b, &p);
    }
    w.inject(0, nd(ALL_NODES, from, "ff02::1", b));
    w.run(4000);
}

/// The first packet of UDP that was sent.
fn datagram(w: &mut Wire, to: &str) -> Vec<u8> {
    let to = if a6(to).is_multicast() { zone::embed(a6(to), ETH) } else { a6(to) };
    let s = w.hosts[0].udp("[::]:5000");
    w.hosts[0].send(s, to, 7, b"x").unwrap();
    w.run(1);
    answer(w, "2001:db8::77");
    let all = w.log.iter().find(|(_, f)| f[12..14] == [0x86, 0xdd] && f[20] == next::UDP);
    all.map(|(_, f)| f[14..].to_vec()).unwrap_or_default()
}

/// A neighbour says who it is.
fn answer(w: &mut Wire, who: &str) {
    let f = nd::AdvertFlags { router: false, solicited: true, over: true };
    let mut b = nd::neighbor_advert(a6(who), f);
    nd::push_link(&mut b, opt::TARGET_LINK, OTHER);
    let mac = w.hosts[0].mac;
    w.inject(0, nd(mac, who, "2001:db8::1", b));
    w.run(1);
}

fn counted(w: &mut Wire, text: &str) -> String {
    let Reply::Stats(s) = w.hosts[0].ctl(Request::Stats) else { panic!() };
    s.counters.iter().filter(|c| c.text == text).map(|c| c.value).sum::<u64>().to_string()
}

/// A packet from the neighbour 2001:db8::77 to us.
fn inject(w: &mut Wire, dst: &str, proto: u8, payload: &[u8]) {
    let mac = w.hosts[0].mac;
    w.inject(0, frame(mac, a6("2001:db8::77"), a6(dst), 64, proto, payload));
    w.run(10);
}

fn flags_of_addresses(w: &mut Wire) -> Vec<(u32, Option<u32>, Option<u32>)> {
    let Reply::Interfaces(l) = w.hosts[0].ctl(Request::Interfaces { name: Some("eth0".into()) }) else {
        panic!()
    };
    l[0].lives.iter().map(|x| (x.flags, x.preferred, x.valid)).collect()
}

fn temporary(set: &dyn Fn(&mut Host)) -> Wire {
    let mut w = settled(&|h| {
        h.sysctl("net.inet6.ip6.use_tempaddr", "1");
        set(h);
    });
    advertise(&mut w, "fe80::a", &["2001:db8:1::"]);
    w
}

fn source(w: &Wire, dst: &str) -> Option<IpAddr> {
    w.hosts[0].s.net.hop(a6(dst).into(), 0, false).ok().and_then(|h| h.src)
}

fn redirected(w: &mut Wire) {
    advertise(w, "fe80::a", &[]);
    let mut b = nd::redirect(a6("fe80::b"), a6("2001:4860::1"));
    nd::push_link(&mut b, opt::TARGET_LINK, OTHER);
    let mac = w.hosts[0].mac;
    w.inject(0, nd(mac, "fe80::a", "2001:db8::1", b));
    w.run(10);
}

fn solicitations(w: &Wire) -> usize {
    w.sent(0, ty::NEIGHBOR_SOLICIT).len()
}

const SCENES: &[Scene] = &[
    ("net.inet6.ip6.hlim", "9", |s| datagram(&mut settled(s), "2001:db8::77")[7].to_string()),
    ("net.inet6.ip6.defmcasthlim", "9", |s| datagram(&mut settled(s), "ff02::7")[7].to_string()),
    ("net.inet6.ip6.auto_flowlabel", "0", |s| {
        let p = datagram(&mut settled(s), "2001:db8::77");
        (p[1..4] == [0, 0, 0]).to_string()
    }),
    ("net.inet6.ip6.forwarding", "1", |s| {
        let w = settled(s);
        w.hosts[0].s.net.is_member(ETH, zone::embed(a6("ff02::2"), ETH).into()).to_string()
    }),
    ("net.inet6.ip6.redirect", "0", |s| {
        let mut w = settled(s);
        w.hosts[0].sysctl("net.inet6.ip6.forwarding", "1");
        inject(&mut w, "2001:db8::88", next::UDP, &[0; 8]);
        counted(&mut w, "{} redirects sent")
    }),
    ("net.inet6.ip6.accept_rtadv", "0", |s| {
        let mut w = settled(s);
        advertise(&mut w, "fe80::a", &["2001:db8:1::"]);
        w.hosts[0].addrs().len().to_string()
    }),
    ("net.inet6.ip6.auto_linklocal", "0", |s| {
        let mut w = fresh(s);
        w.run(4000);
        w.hosts[0].addrs().len().to_string()
    }),
    ("net.inet6.ip6.stable_secret", "2001:db8::5ec", |s| {
        let mut w = fresh(s);
        w.run(4000);
        w.hosts[0].addrs().join(" ")
    }),
    ("net.inet6.ip6.dad_count", "3", |s| {
        let mut w = fresh(s);
        w.run(6000);
        solicitations(&w).to_string()
    }),
    ("net.inet6.icmp6.nd6_optimistic_dad", "1", |s| {
        let mut w = fresh(s);
        w.run(1);
        flags_of_addresses(&mut w).iter().any(|f| f.0 & in6::OPTIMISTIC != 0).to_string()
    }),
    ("net.inet6.ip6.maxfragpackets", "0", |s| {
        let mut w = settled(s);
        let mut b = vec![next::UDP, 0, 0, 1, 0, 0, 0, 9];
        b.extend([0; 16]);
        inject(&mut w, "2001:db8::1", next::FRAGMENT, &b);
        counted(&mut w, "{} fragments dropped (dup or out of space)")
    }),
    ("net.inet6.ip6.hdrnestlimit", "1", |s| {
        let mut w = settled(s);
        let mut b = vec![next::DEST_OPTS, 0, 1, 4, 0, 0, 0, 0];
        b.extend([next::ICMP6, 0, 1, 4, 0, 0, 0, 0]);
        b.extend(summed(vec![128, 0, 0, 0, 0, 1, 0, 2], a6("2001:db8::77"), a6("2001:db8::1")));
        inject(&mut w, "2001:db8::1", next::DEST_OPTS, &b);
        counted(&mut w, "{} message responses generated")
    }),
    ("net.inet6.ip6.use_tempaddr", "1", |s| {
        let mut w = settled(s);
        advertise(&mut w, "fe80::a", &["2001:db8:1::"]);
        w.hosts[0].addrs().iter().any(|a| a.contains("temporary")).to_string()
    }),
    ("net.inet6.ip6.temppltime", "2000", |s| {
        let l = flags_of_addresses(&mut temporary(s));
        let t = l.iter().find(|x| x.0 & in6::TEMPORARY != 0).expect("a temporary address");
        t.1.is_some_and(|p| p <= 2000).to_string()
    }),
    ("net.inet6.ip6.tempvltime", "100000", |s| {
        let l = flags_of_addresses(&mut temporary(s));
        let t = l.iter().find(|x| x.0 & in6::TEMPORARY != 0).expect("a temporary address");
        t.2.is_some_and(|p| p <= 100_000).to_string()
    }),
    ("net.inet6.ip6.prefer_tempaddr", "0", |s| {
        let w = temporary(s);
        let t =
            w.hosts[0].addrs().into_iter().find(|a| a.contains("temporary")).expect("a temporary address");
        let src = source(&w, "2001:4860::1").expect("a source").to_string();
        t.starts_with(&format!("{src}/")).to_string()
    }),
    ("net.inet6.ip6.use_deprecated", "0", |s| {
        let mut w = settled(s);
        let of = |a: &mut iopkt_stack::IfAddr| a.life.deprecated = true;
        w.hosts[0].s.net.iface_mut(ETH).unwrap().addrs.iter_mut().for_each(of);
        format!("{:?}", source(&w, "2001:db8::77"))
    }),
    ("net.inet6.ip6.maxifprefixes", "1", |s| {
        let mut w = settled(s);
        advertise(&mut w, "fe80::a", &["2001:db8:1::", "2001:db8:2::"]);
        w.hosts[0].addrs().len().to_string()
    }),
    ("net.inet6.ip6.maxifdefrouters", "1", |s| {
        let mut w = settled(s);
        for r in ["fe80::a", "fe80::b"] {
            advertise(&mut w, r, &[]);
        }
        match w.hosts[0].ctl(Request::Nd(NdRequest::Routers)) {
            Reply::Nd(NdReply::Routers(l)) => l.len().to_string(),
            r => panic!("{r:?}"),
        }
    }),
    ("net.inet6.ip6.maxdynroutes", "0", |s| {
        let mut w = settled(s);
        redirected(&mut w);
        w.hosts[0].learnt().len().to_string()
    }),
    ("net.inet6.icmp6.rediraccept", "0", |s| {
        let mut w = settled(s);
        redirected(&mut w);
        w.hosts[0].learnt().len().to_string()
    }),
    ("net.inet6.icmp6.redirtimeout", "2", |s| {
        let mut w = settled(s);
        redirected(&mut w);
        w.run(5000);
        w.hosts[0].learnt().len().to_string()
    }),
    ("net.inet6.icmp6.errppslimit", "0", |s| {
        let mut w = settled(s);
        inject(&mut w, "2001:db8::1", 200, b"no such protocol");
        counted(&mut w, "{} errors not generated because rate limitation")
    }),
    ("net.inet6.icmp6.nodeinfo", "0", |s| {
        let w = settled(s);
        let g = iopkt_wire::nodeinfo::group("probe", false).unwrap();
        w.hosts[0].s.net.is_member(ETH, zone::embed(g, ETH).into()).to_string()
    }),
    ("net.inet6.icmp6.nd6_mmaxtries", "1", |s| {
        let mut w = settled(s);
        let before = solicitations(&w);
        let u = w.hosts[0].udp("[::]:5000");
        w.hosts[0].send(u, a6("2001:db8::99"), 7, b"x").unwrap();
        w.run(10_000);
        (solicitations(&w) - before).to_string()
    }),
    ("net.inet6.icmp6.nd6_delay", "1", |s| {
        let mut w = settled(s);
        datagram(&mut w, "2001:db8::77");
        w.run(60_000);
        let before = solicitations(&w);
        let u = w.hosts[0].udp("[::]:5001");
        w.hosts[0].send(u, a6("2001:db8::77"), 7, b"x").unwrap();
        w.run(1500);
        (solicitations(&w) - before).to_string()
    }),
    ("net.inet6.icmp6.nd6_umaxtries", "1", |s| {
        let mut w = settled(s);
        datagram(&mut w, "2001:db8::77");
        w.run(60_000);
        let before = solicitations(&w);
        let u = w.hosts[0].udp("[::]:5001");
        w.hosts[0].send(u, a6("2001:db8::77"), 7, b"x").unwrap();
        w.run(20_000);
        (solicitations(&w) - before).to_string()
    }),
    ("net.inet6.icmp6.nd6_maxqueuelen", "1", |s| {
        let mut w = settled(s);
        let u = w.hosts[0].udp("[::]:5000");
        for port in 1..4 {
            w.hosts[0].send(u, a6("2001:db8::99"), port, b"x").unwrap();
            w.run(1);
        }
        w.hosts[0].drops(Why::HoldQueueFull).to_string()
    }),
    ("net.inet6.ip6.neighborgcthresh", "64", |s| {
        let mut w = settled(s);
        let u = w.hosts[0].udp("[::]:5000");
        for n in 0..200 {
            w.hosts[0].send(u, a6(&format!("2001:db8::1:{n:x}")), 7, b"x").unwrap();
            w.run(0);
        }
        (w.hosts[0].s.net.neigh.len() <= 64).to_string()
    }),
    ("net.inet6.ip6.v6only", "1", |s| {
        let mut w = settled(s);
        let u = w.hosts[0].socket(SockType::Dgram, 17);
        format!("{:?}", w.hosts[0].send(u, a6("::ffff:127.0.0.1"), 7, b"x"))
    }),
];

#[test]
fn each_that_can_be_written_changes_what_happens() {
    for (name, value, scene) in SCENES {
        let (usual, other) = (scene(&|_| ()), scene(&|h| h.sysctl(name, value)));
        assert_ne!(usual, other, "{name}={value}");
    }
    let mut have: Vec<&str> = SCENES.iter().map(|s| s.0).collect();
    have.sort_unstable();
    let known: Vec<&str> =
        VARIABLES.iter().filter(|v| v.writable && v.name.starts_with("net.inet6.")).map(|v| v.name).collect();
    assert_eq!(have, known, "a scene for each");
}

#[test]
fn what_both_versions_share_has_two_names() {
    let mut h = Host::new(1);
    let read = |h: &mut Host, n: &str| match h.ctl(Request::Sysctl { name: n.into(), value: None }) {
        Reply::Sysctl(l) if l.len() == 1 && l[0].0 == n => l[0].1.clone(),
        r => panic!("{n}: {r:?}"),
    };
    for (six, four, v) in [
        ("net.inet6.tcp6.sendspace", "net.inet.tcp.sendspace", "70000"),
        ("net.inet6.udp6.recvspace", "net.inet.udp.recvspace", "80000"),
        ("net.inet6.ip6.anonportmin", "net.inet.ip.anonportmin", "50000"),
    ] {
        h.sysctl(six, v);
        assert_eq!((read(&mut h, six), read(&mut h, four)), (v.into(), v.into()));
    }
    assert_eq!(read(&mut h, "net.inet6.ip6.lowportmax"), "1023");
    let Reply::Sysctl(l) = h.ctl(Request::Sysctl { name: String::new(), value: None }) else { panic!() };
    let both = |n: &str| l.iter().filter(|v| v.0.starts_with(n)).count();
    assert_eq!(both("net.inet6.tcp6."), both("net.inet.tcp."));
}

#[test]
fn what_is_not_here_is_refused_with_the_reason() {
    let mut h = Host::new(1);
    for (n, why) in [
        ("net.inet6.ip6.gif_hlim", "gif"),
        ("net.inet6.ip6.kame_version", "KAME"),
        ("net.inet6.ip6.rr_prune", "RFC 2894"),
        ("net.inet6.icmp6.mtudisc_hiwat", "path MTU"),
        ("net.inet6.pim6.stats", "multicast routing"),
        ("net.inet6.ip6.bogus", "no such variable"),
    ] {
        match h.ctl(Request::Sysctl { name: n.into(), value: None }) {
            Reply::Err { why: said, .. } => assert!(said.contains(why), "{said}"),
            r => panic!("{n}: {r:?}"),
        }
    }
}

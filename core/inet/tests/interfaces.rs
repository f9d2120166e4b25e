//! Interfaces: names, units, aliases, flags, addresses, MTU, counters, link, cloning, removal.

mod common;
use common::*;
use iopkt_base::{Errno, Instant};
use iopkt_ctl::{AddrInfo, IfCounters, Ifconf, LinkState, Reply, Request, iff};
use iopkt_mbuf::{Pool, PoolConfig};
use iopkt_stack::{Config, DevOp, IfAttach, Note, Shard, Stat, Why};

fn conf(h: &mut Host, name: &str) -> Ifconf {
    match h.ctl(Request::Interfaces { name: Some(name.into()) }) {
        Reply::Interfaces(mut v) if v.len() == 1 => v.remove(0),
        other => panic!("{other:?}"),
    }
}

fn err(h: &mut Host, r: Request) -> Errno {
    match h.ctl(r) {
        Reply::Err { errno, .. } => errno,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lo0_is_there_from_the_start() {
    // Reference 4.3: lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 33192, inet 127.0.0.1.
    let mut h = Host::bare(1);
    let c = conf(&mut h, "lo0");
    assert_eq!((c.flags, c.mtu, c.index, c.alias), (0x8049, 33192, 1, None));
    assert_eq!((c.addrs[0].addr, c.addrs[0].prefix_len, c.addrs[0].broadcast), (ip("127.0.0.1"), 8, None));
    assert_eq!(err(&mut h, Request::Destroy { name: "lo0".into() }), Errno::EPERM);
    h.end();
}

#[test]
fn an_address_brings_an_interface_up_as_bsd_shows_it() {
    let mut h = Host::bare(1);
    assert_eq!(conf(&mut h, "eth0").flags, 0x8802);
    h.s.cx.dev_ops.clear();
    h.addr("10.0.0.184", 8);
    let c = conf(&mut h, "eth0");
    // flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST>
    assert_eq!(c.flags, 0x8843);
    assert_eq!(c.addrs[0].broadcast, Some(ip("10.255.255.255")));
    let eth = h.eth;
    assert!(h.s.cx.dev_ops.contains(&DevOp::Start(eth)));
    assert_eq!(h.ctl(Request::SetFlags { name: "eth0".into(), set: 0, clear: iff::UP }), Reply::Ok);
    assert_eq!(conf(&mut h, "eth0").flags, 0x8802);
    assert!(h.s.cx.dev_ops.contains(&DevOp::Stop(eth)));
    h.end();
}

#[test]
fn names_units_and_aliases() {
    let pool = Pool::new(PoolConfig::default());
    let mut s = Shard::new(Instant::ZERO, Config::default(), 1, [1; 16], pool.cache(0), vec![]);
    let mut add = |prefix: &str, name: Option<&str>, unit: Option<u32>| {
        let a =
            IfAttach { name: name.map(Into::into), unit, ..IfAttach::ethernet(prefix, [2, 0, 0, 0, 0, 1]) };
        s.attach(a).map(|i| s.net.ifname(i).unwrap().to_string())
    };
    assert_eq!(add("ecm", None, None).as_deref(), Ok("ecm0"));
    assert_eq!(add("ecm", None, None).as_deref(), Ok("ecm1"));
    assert_eq!(add("ecm", Some("wan"), None).as_deref(), Ok("wan0"));
    assert_eq!(add("ecm", None, Some(5)).as_deref(), Ok("ecm5"));
    assert_eq!(add("ecm", None, Some(5)).as_deref(), Ok("ecm6"));
    assert_eq!(add("ecm", Some("en"), Some(1)).as_deref(), Ok("en1"));
    for bad in ["", "x1", "a b", "abcdefghijklm", "a/b"] {
        assert_eq!(add(bad, None, None), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(add("ecm", Some("eth7"), None), Err(Errno::EINVAL), "a prefix ends in no digit");
    // Reference 1.6: the first interface is en0 too; a real en1 hides the alias of the second.
    let n = &s.net;
    let of = |x: &str| n.ifname(n.ifindex_of(x)).map(str::to_string);
    assert_eq!(of("en0").as_deref(), Some("ecm0"));
    assert_eq!(of("en1").as_deref(), Some("en1"));
    assert_eq!(of("en2").as_deref(), Some("wan0"));
    assert_eq!((of("en9"), of("en"), of("en00"), of("")), (None, None, None, None));
    // Removed: the number is free for the next.
    s.detach(s.net.ifindex_of("ecm0")).unwrap();
    assert_eq!(s.net.ifindex_of("en0"), 0);
    let i = s.attach(IfAttach::ethernet("tap", [2; 6])).unwrap();
    assert_eq!(s.net.ifindex_of("en0"), i);
}

#[test]
fn enmap_turns_the_aliases_off() {
    let mut h = Host::with(1, Config { enmap: false, ..Config::default() });
    assert_eq!(err(&mut h, Request::Interfaces { name: Some("en0".into()) }), Errno::ENXIO);
    h.end();
    let mut h = Host::new(1);
    assert_eq!(conf(&mut h, "en0").name, "eth0");
    h.end();
}

#[test]
fn primary_alias_replace_and_remove() {
    let mut h = Host::new(1);
    let set =
        |a: &str, plen, replace| Request::AddAddr { name: "eth0".into(), addr: addr_info(a, plen), replace };
    let addrs = |h: &mut Host| {
        conf(h, "eth0").addrs.iter().map(|a| format!("{}/{}", a.addr, a.prefix_len)).collect::<Vec<_>>()
    };
    assert_eq!(h.ctl(set("10.0.0.2", 24, false)), Reply::Ok);
    assert_eq!(addrs(&mut h), ["10.0.0.1/24", "10.0.0.2/24"]);
    assert_eq!(h.ctl(set("10.1.0.1", 16, true)), Reply::Ok);
    assert_eq!(addrs(&mut h), ["10.1.0.1/16", "10.0.0.2/24"]);
    assert!(!h.s.net.is_local(ip("10.0.0.1"), 0));
    // The same address again changes its mask.
    assert_eq!(h.ctl(set("10.0.0.2", 25, false)), Reply::Ok);
    assert_eq!(addrs(&mut h), ["10.1.0.1/16", "10.0.0.2/25"]);
    assert_eq!(h.ctl(Request::DelAddr { name: "eth0".into(), addr: None }), Reply::Ok);
    assert_eq!(addrs(&mut h), ["10.0.0.2/25"]);
    assert_eq!(
        err(&mut h, Request::DelAddr { name: "eth0".into(), addr: Some(ip("9.9.9.9")) }),
        Errno::EADDRNOTAVAIL
    );
    for bad in ["224.0.0.1", "0.0.0.0", "255.255.255.255", "0.1.2.3"] {
        assert_eq!(err(&mut h, set(bad, 24, true)), Errno::EINVAL, "{bad}");
    }
    assert_eq!(addrs(&mut h), ["10.0.0.2/25"], "a bad request changes nothing");
    assert_eq!(err(&mut h, set("10.0.0.9", 33, true)), Errno::EINVAL);
    assert_eq!(err(&mut h, set("fe80::1", 64, true)), Errno::EAFNOSUPPORT);
    let r = Request::AddAddr { name: "nosuch0".into(), addr: addr_info("10.0.0.9", 24), replace: false };
    assert_eq!(err(&mut h, r), Errno::ENXIO);
    h.end();
}

#[test]
fn the_mtu_is_kept_and_told() {
    let mut h = Host::new(1);
    let mtu = |m| Request::SetMtu { name: "eth0".into(), mtu: m };
    assert_eq!(h.ctl(mtu(576)), Reply::Ok);
    let eth = h.eth;
    assert!(h.s.cx.dev_ops.contains(&DevOp::Mtu(eth, 576)));
    assert_eq!(h.s.net.path(ip("10.0.0.9"), None, 0).unwrap().mtu, 576);
    assert_eq!(err(&mut h, mtu(1501)), Errno::EINVAL);
    assert_eq!(err(&mut h, mtu(67)), Errno::EINVAL);
    h.end();
}

#[test]
fn counters_count_and_are_zeroed_as_they_are_read() {
    let mut w = Wire::pair();
    let s = w.hosts[0].udp("10.0.0.1:1");
    w.hosts[0].send(s, "10.0.0.2:2", &[0; 100]).unwrap();
    w.run(10_000);
    let (a, b) = (conf(&mut w.hosts[0], "eth0").counters, conf(&mut w.hosts[1], "eth0").counters);
    assert_eq!((a.opackets, a.obytes, a.omcasts), (b.ipackets, b.ibytes, b.imcasts));
    assert!(a.opackets > 2 && a.omcasts > 0 && a.omcasts < a.opackets);
    let Reply::Interfaces(z) = w.hosts[0].ctl(Request::ZeroCounters { name: "eth0".into() }) else {
        panic!()
    };
    assert_eq!(z[0].counters, a);
    assert_eq!(conf(&mut w.hosts[0], "eth0").counters, IfCounters::default());
    w.end();
}

#[test]
fn short_frames_leave_with_zeros_behind() {
    let mut h = Host::new(1);
    let t = Instant::from_millis(1000);
    // Fill the pool's buffers with something that must not be seen.
    let dirty: Vec<_> = (0..200).map(|_| h.mbuf(&[0xee; 1800])).collect();
    for m in dirty {
        h.s.cx.mbufs.free(m);
    }
    let out = h.turn(t, &mut vec![]);
    assert!(!out.is_empty());
    for f in out {
        assert_eq!(f.len(), 60);
        assert!(f[42..].iter().all(|b| *b == 0), "{f:?}");
    }
    h.end();
}

#[test]
fn lo1_comes_and_goes() {
    let mut h = Host::bare(1);
    assert_eq!(h.ctl(Request::Cloners), Reply::Names(vec!["lo".into(), "tap".into(), "tun".into()]));
    assert_eq!(h.ctl(Request::Create { name: "lo1".into() }), Reply::Names(vec!["lo1".into()]));
    assert_eq!(err(&mut h, Request::Create { name: "lo1".into() }), Errno::EEXIST);
    for bad in ["lo", "vlan0", "lo01", ""] {
        assert_eq!(err(&mut h, Request::Create { name: bad.into() }), Errno::EINVAL, "{bad}");
    }
    let a = AddrInfo { ..addr_info("192.168.9.9", 32) };
    assert_eq!(h.ctl(Request::AddAddr { name: "lo1".into(), addr: a, replace: true }), Reply::Ok);
    let s = h.udp("192.168.9.9:5");
    h.send(s, "192.168.9.9:5", b"x").unwrap();
    h.turn(Instant::from_millis(1000), &mut vec![]);
    assert_eq!(h.recv(s).map(|x| x.1), Some(b"x".to_vec()));
    assert_eq!(h.ctl(Request::Destroy { name: "lo1".into() }), Reply::Ok);
    assert!(!h.s.net.is_local(ip("192.168.9.9"), 0));
    assert_eq!(err(&mut h, Request::Destroy { name: "lo1".into() }), Errno::ENXIO);
    // A driver's interface is the runtime's to remove.
    assert_eq!(h.s.ctl(&Request::Destroy { name: "eth0".into() }), None);
    h.end();
}

#[test]
fn link_changes_are_told_once() {
    let mut h = Host::new(1);
    h.s.cx.notes.clear();
    let eth = h.eth;
    for l in [LinkState::Up, LinkState::Down, LinkState::Down, LinkState::Up] {
        h.s.link_changed(eth, l, (10_000_000, 5_000_000), true);
    }
    let logs: Vec<_> =
        h.s.cx.notes.drain(..).filter_map(|n| if let Note::Log(_, t) = n { Some(t) } else { None }).collect();
    assert_eq!(logs, ["eth0: link down", "eth0: link up"]);
    assert_eq!(conf(&mut h, "eth0").speed_rx, 10_000_000);
    h.end();
}

#[test]
fn down_takes_the_link_down_and_up_gives_the_drivers_word_back() {
    // Reference 4.2: `down` also takes the physical link down, status becomes "no carrier".
    let mut h = Host::new(1);
    h.s.cx.notes.clear();
    let eth = h.eth;
    let up = |h: &mut Host, on: bool| {
        let (set, clear) = if on { (iff::UP, 0) } else { (0, iff::UP) };
        assert_eq!(h.ctl(Request::SetFlags { name: "eth0".into(), set, clear }), Reply::Ok);
        conf(h, "eth0").link
    };
    assert_eq!(conf(&mut h, "eth0").link, LinkState::Up);
    assert_eq!(up(&mut h, false), LinkState::Down);
    // A driver that does not know it may go on saying what it sees.
    h.s.link_changed(eth, LinkState::Up, (100, 100), true);
    assert_eq!(conf(&mut h, "eth0").link, LinkState::Down);
    assert_eq!(up(&mut h, true), LinkState::Up);
    assert_eq!(up(&mut h, false), LinkState::Down);
    h.s.link_changed(eth, LinkState::Down, (0, 0), true);
    assert_eq!(up(&mut h, true), LinkState::Down, "the cable was pulled meanwhile");
    h.s.link_changed(eth, LinkState::Up, (100, 100), true);
    assert_eq!(conf(&mut h, "eth0").link, LinkState::Up);
    // Nobody knows anything of the loopback's link.
    for (set, clear) in [(0, iff::UP), (iff::UP, 0)] {
        assert_eq!(h.ctl(Request::SetFlags { name: "lo0".into(), set, clear }), Reply::Ok);
        assert_eq!(conf(&mut h, "lo0").link, LinkState::Unknown);
    }
    h.end();
}

#[test]
fn the_drivers_flags_are_told_to_it() {
    let mut h = Host::new(1);
    h.s.cx.dev_ops.clear();
    let eth = h.eth;
    let mut flags = |name: &str, set, clear| {
        assert_eq!(h.ctl(Request::SetFlags { name: name.into(), set, clear }), Reply::Ok);
        let ops: Vec<DevOp> = h.s.cx.dev_ops.drain(..).filter(|o| matches!(o, DevOp::Flags(..))).collect();
        ops
    };
    let (debug, link2) = (iff::DEBUG, iff::LINK2);
    assert_eq!(flags("eth0", debug | link2, 0), [DevOp::Flags(eth, debug | link2)]);
    assert_eq!(flags("eth0", debug, 0), [], "no change");
    assert_eq!(flags("eth0", iff::NOARP, 0), [], "not the driver's");
    assert_eq!(flags("eth0", 0, debug), [DevOp::Flags(eth, link2)]);
    assert_eq!(flags("lo0", debug, 0), [], "no driver");
    h.end();
}

#[test]
fn addresses_have_what_their_link_has() {
    let mut h = Host::new(1);
    let mut a = addr_info("10.9.0.1", 16);
    a.peer = Some(ip("10.9.0.2"));
    let r = |name: &str, addr| Request::AddAddr { name: name.into(), addr, replace: false };
    assert_eq!(err(&mut h, r("eth0", a)), Errno::EINVAL);
    let mut a = addr_info("127.0.0.2", 8);
    a.broadcast = Some(ip("127.255.255.255"));
    assert_eq!(err(&mut h, r("lo0", a)), Errno::EINVAL);
    a.broadcast = None;
    assert_eq!(h.ctl(r("lo0", a)), Reply::Ok);
    h.end();
}

#[test]
fn removal_ends_what_was_queued() {
    let mut h = Host::new(1);
    let s = h.udp("10.0.0.1:1");
    for _ in 0..5 {
        h.send(s, "10.0.0.9:1", b"x").unwrap();
    }
    h.s.turn(); // frames and held packets stay
    let eth = h.eth;
    h.s.detach(eth).unwrap();
    assert_eq!(h.s.detach(eth), Err(Errno::ENXIO));
    assert!(h.s.net.neigh.is_empty());
    // Late frames of the device that is gone.
    let f = frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9], 0x800, &[0; 46]);
    let before = h.drops(Why::IfDown);
    h.feed(Instant::from_millis(9000), &f);
    assert_eq!(h.drops(Why::IfDown), before + 1);
    h.end();
}

#[test]
fn plugging_in_and_out_ten_thousand_times_leaves_nothing() {
    let mut h = Host::bare(1);
    for i in 0..10_000u64 {
        let ix = h.s.attach(IfAttach::ethernet("ecm", [2, 0, 0, 0, 1, 1])).unwrap();
        assert_eq!(h.s.net.ifname(ix), Some("ecm0"));
        let r = Request::AddAddr { name: "ecm0".into(), addr: addr_info("10.7.0.1", 16), replace: true };
        assert_eq!(h.ctl(r), Reply::Ok);
        h.turn(Instant::from_millis(2000 + i), &mut vec![]);
        h.s.detach(ix).unwrap();
        h.s.cx.dev_ops.clear();
        h.s.cx.notes.clear();
    }
    assert_eq!(h.s.deadline(), Instant::FAR);
    assert_eq!(h.s.net.routes.len(), 2);
    h.end();
}

#[test]
fn statistics_have_netstats_words() {
    let mut w = Wire::pair();
    let s = w.hosts[0].udp("10.0.0.1:1");
    w.hosts[0].send(s, "10.0.0.2:2", b"x").unwrap();
    w.run(100);
    let Reply::Stats(st) = w.hosts[1].ctl(Request::Stats) else { panic!() };
    let get = |g: &str, t: &str| st.counters.iter().find(|c| c.group == g && c.text == t).map(|c| c.value);
    assert_eq!(get("ip", "{} total packets received"), Some(w.hosts[1].s.cx.counters.get(Stat::IpTotal)));
    assert_eq!(get("icmp", "output histogram: destination unreachable: {}"), Some(1));
    assert_eq!(get("drop", "{} no socket for it"), Some(1));
    assert!(st.counters.iter().all(|c| c.text.matches("{}").count() == 1));
    w.end();
}

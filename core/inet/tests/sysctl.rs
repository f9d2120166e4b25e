//! The sysctl tree: the list that tools know is the list that the stack answers, and what may be written acts.

mod common;
use common::*;
use iopkt_base::Errno;
use iopkt_ctl::{Reply, Request, VARIABLES};
use iopkt_stack::Shard;

/// The runtime's own.
const RUNTIME: &[&str] = &["kern.hostname", "qnx.kern.droproot"];

fn ask(s: &mut Shard, name: &str, value: Option<&str>) -> Reply {
    s.ctl(&Request::Sysctl { name: name.into(), value: value.map(Into::into) }).unwrap()
}

fn get(s: &mut Shard, name: &str) -> String {
    match ask(s, name, None) {
        Reply::Sysctl(l) if l.len() == 1 && l[0].0 == name => l[0].1.clone(),
        r => panic!("{name}: {r:?}"),
    }
}

/// What a stack without IPv6 answers for itself.
fn without_six(name: &str) -> bool {
    !RUNTIME.contains(&name) && !name.starts_with("net.inet6.")
}

#[test]
fn every_variable_reads_and_does_what_it_says_of_writing() {
    let mut h = Host::new(1);
    let s = &mut h.s;
    for v in VARIABLES.iter().filter(|v| without_six(v.name)) {
        let now = get(s, v.name);
        assert!(!v.number || now.parse::<i64>().is_ok(), "{}: {now}", v.name);
        assert_eq!(ask(s, v.name, Some(&now)), Reply::Ok, "{}: its own value", v.name);
        match ask(s, v.name, Some("nonsense")) {
            Reply::Err { errno, why } => {
                assert!(matches!(errno, Errno::EINVAL | Errno::EPERM) && why.contains(v.name), "{why}");
            }
            r => panic!("{}: {r:?}", v.name),
        }
        let other = match now.as_str() {
            "0" => "1",
            "1" => "0",
            _ => "2",
        };
        match ask(s, v.name, Some(other)) {
            Reply::Err { errno: Errno::EPERM, why } => {
                assert!(!v.writable && why.contains("read only"), "{why}")
            }
            Reply::Ok => assert!(v.writable && get(s, v.name) == other, "{}", v.name),
            // A value out of its range.
            r => assert!(
                v.writable && matches!(r, Reply::Err { errno: Errno::EINVAL, .. }),
                "{}: {r:?}",
                v.name
            ),
        }
    }
}

#[test]
fn the_list_is_complete_and_in_order() {
    let mut h = Host::new(1);
    let Reply::Sysctl(list) = ask(&mut h.s, "", None) else { panic!() };
    let ours: Vec<&str> = list.iter().map(|v| v.0.as_str()).filter(|n| !RUNTIME.contains(n)).collect();
    let mut known: Vec<&str> = VARIABLES.iter().map(|v| v.name).filter(|n| without_six(n)).collect();
    known.sort_unstable();
    assert_eq!(ours, known);
}

#[test]
fn the_defaults_of_the_manual() {
    let mut h = Host::new(1);
    for (name, want) in [
        ("net.inet.ip.forwarding", "0"),
        ("net.inet.ip.redirect", "1"),
        ("net.inet.ip.ttl", "64"),
        ("net.inet.ip.directed-broadcast", "0"),
        ("net.inet.ip.mtudisc", "1"),
        ("net.inet.ip.anonportmin", "49152"),
        ("net.inet.ip.anonportmax", "65535"),
        ("net.inet.ip.lowportmin", "600"),
        ("net.inet.ip.lowportmax", "1023"),
        ("net.inet.ip.maxfragpackets", "200"),
        ("net.inet.ip.maxflows", "256"),
        ("net.inet.ip.ifq.len", "0"),
        ("net.inet.ip.ifq.drops", "0"),
        ("net.inet.tcp.do_loopback_cksum", "0"),
        ("net.inet.udp.do_loopback_cksum", "0"),
        ("net.inet.tcp.rfc1323", "1"),
        ("net.inet.tcp.mssdflt", "536"),
        ("net.inet.tcp.sack.enable", "1"),
        ("net.inet.tcp.keepidle", "14400"),
        ("net.inet.tcp.keepintvl", "150"),
        ("net.inet.tcp.log_refused", "0"),
        ("net.inet.tcp.congctl.available", "cubic reno bbr"),
        ("net.inet.tcp.congctl.selected", "cubic"),
        ("net.inet.tcp.sendbuf_auto", "1"),
        ("net.inet.tcp.recvbuf_auto", "1"),
        ("net.inet.tcp.ecn.enable", "2"),
        ("net.inet.udp.checksum", "1"),
        ("net.inet.icmp.maskrepl", "0"),
        ("net.inet.icmp.errppslimit", "100"),
    ] {
        assert_eq!(get(&mut h.s, name), want, "{name}");
    }
}

#[test]
fn the_congestion_controller_is_chosen_by_name() {
    let mut h = Host::new(1);
    let name = "net.inet.tcp.congctl.selected";
    for (set, want) in [("bbr", "bbr"), ("newreno", "reno"), ("cubic", "cubic")] {
        assert_eq!(ask(&mut h.s, name, Some(set)), Reply::Ok);
        assert_eq!(get(&mut h.s, name), want);
    }
    assert!(matches!(ask(&mut h.s, name, Some("vegas")), Reply::Err { errno: Errno::EINVAL, .. }));
    let r = ask(&mut h.s, "net.inet.tcp.congctl.available", Some("x"));
    assert!(matches!(r, Reply::Err { errno: Errno::EPERM, .. }), "{r:?}");
}

#[test]
fn what_this_build_lacks_is_refused_by_name() {
    let mut h = Host::new(1);
    for (name, word) in [
        ("net.inet6.ip6.forwarding", "IPv6"),
        ("net.link.ieee80211.debug", "802.11"),
        ("qnx.kern.secpol", "droproot"),
        ("net.inet.ip.bogus", "no such variable"),
    ] {
        match ask(&mut h.s, name, None) {
            Reply::Err { errno: Errno::ENOENT, why } => {
                assert!(why.contains(word) && why.contains(name), "{why}")
            }
            r => panic!("{name}: {r:?}"),
        }
    }
}

#[test]
fn refused_connections_are_logged_when_asked_for() {
    use iopkt_base::Instant;
    use iopkt_stack::Note;
    use iopkt_stack::sockets::SockType;
    let mut h = Host::new(1);
    let attempt = |h: &mut Host, at: u64| -> Vec<String> {
        h.s.cx.notes.clear();
        h.s.begin(Instant::from_millis(at));
        let Shard { cx, net, sockets, .. } = &mut h.s;
        let id = sockets.socket(cx, iopkt_stack::Family::V4, SockType::Stream, 0).unwrap();
        let _ = sockets.connect(cx, net, id, Some(sa("127.0.0.1:9")));
        h.s.turn();
        h.s.turn();
        let log = |n| if let Note::Log(_, t) = n { Some(t) } else { None };
        h.s.cx.notes.drain(..).filter_map(log).collect()
    };
    assert_eq!(attempt(&mut h, 2000), Vec::<String>::new());
    assert_eq!(ask(&mut h.s, "net.inet.tcp.log_refused", Some("1")), Reply::Ok);
    let log = attempt(&mut h, 3000);
    assert!(
        log.len() == 1 && log[0].starts_with("Connection attempt to TCP 127.0.0.1:9 from 127.0.0.1:"),
        "{log:?}"
    );
}

#[test]
fn packets_to_ourselves_are_summed_when_asked_for() {
    use iopkt_base::Instant;
    let mut h = Host::new(1);
    let to = h.udp("127.0.0.1:7");
    for on in ["0", "1"] {
        assert_eq!(ask(&mut h.s, "net.inet.udp.do_loopback_cksum", Some(on)), Reply::Ok);
        let from = h.udp("127.0.0.1:0");
        h.s.begin(Instant::from_millis(2000));
        h.send(from, "127.0.0.1:7", b"hello").unwrap();
        h.s.turn();
        assert_eq!(h.recv(to).map(|r| r.1), Some(b"hello".to_vec()), "{on}");
    }
    // A queue of 50, and 200 datagrams at once.
    assert_eq!(ask(&mut h.s, "net.inet.ip.ifq.maxlen", Some("50")), Reply::Ok);
    for _ in 0..200 {
        let from = h.udp("127.0.0.1:0");
        h.send(from, "127.0.0.1:7", b"x").unwrap();
    }
    h.s.turn();
    let drops: u32 = get(&mut h.s, "net.inet.ip.ifq.drops").parse().unwrap();
    assert_eq!(drops, 150);
}

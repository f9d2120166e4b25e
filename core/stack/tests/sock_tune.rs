//! What new sockets begin with, and that it has its effect.

mod world;

use iopkt_stack::sockets::{SockId, SockType, Sockets};
use world::*;

const SOL_SOCKET: i32 = 1;
const TCP: i32 = 6;

fn set(w: &mut World, name: &str, v: u32) {
    assert!(w.hosts[A].sockets.set_tunable(name, v), "{name} = {v}");
    assert_eq!(w.hosts[A].sockets.tunable(name), Some(v), "{name}");
}

#[test]
fn new_sockets_take_them_and_old_ones_do_not() {
    let mut w = World::new(1);
    let old = [w.tcp(A), w.udp(A)];
    for (name, v) in [
        ("net.inet.tcp.sendspace", 30_000),
        ("net.inet.tcp.recvspace", 40_000),
        ("net.inet.udp.sendspace", 50_000),
        ("net.inet.udp.recvspace", 60_000),
        ("net.inet.udp.checksum", 0),
        ("net.inet.tcp.keepidle", 100),
        ("net.inet.tcp.keepintvl", 20),
        ("net.inet.tcp.keepcnt", 3),
    ] {
        set(&mut w, name, v);
    }
    let new = [w.tcp(A), w.udp(A)];
    let mut all = |s: [SockId; 2]| {
        let mut get = |i: usize, level, name| w.get(A, s[i], level, name).unwrap();
        let sizes =
            [get(0, SOL_SOCKET, 7), get(0, SOL_SOCKET, 8), get(1, SOL_SOCKET, 7), get(1, SOL_SOCKET, 8)];
        (sizes, get(1, SOL_SOCKET, 11), [get(0, TCP, 4), get(0, TCP, 5), get(0, TCP, 6)])
    };
    assert_eq!(all(old), ([212_992; 4], 0, [7200, 75, 9]));
    assert_eq!(all(new), ([30_000, 40_000, 50_000, 60_000], 1, [50, 10, 3]));
}

/// Options that a connection uses: TCPI_OPT_TIMESTAMPS, SACK and WSCALE.
fn options(w: &mut World, s: SockId) -> u8 {
    let mut info = [0; 104];
    w.get_bytes(A, s, TCP, 11, &mut info).unwrap();
    info[5] & 7
}

#[test]
fn new_connections_offer_what_they_say() {
    let mut w = World::new(2);
    let l = w.listener(80, 5);
    let (all, _) = w.pair(l, 80);
    set(&mut w, "net.inet.tcp.sack.enable", 0);
    let (no_sack, _) = w.pair(l, 80);
    set(&mut w, "net.inet.tcp.rfc1323", 0);
    let (none, _) = w.pair(l, 80);
    assert_eq!([all, no_sack, none].map(|s| options(&mut w, s)), [7, 5, 0]);
}

#[test]
fn acks_wait_as_long_as_they_say() {
    let mut waits = [4, 20].map(|ticks| {
        let mut w = World::new(3);
        let l = w.listener(80, 5);
        set(&mut w, "net.inet.tcp.delack_ticks", ticks);
        let (c, s) = w.pair(l, 80);
        let mut begin = w.now;
        // The first segments are acknowledged at once, and so are those after a pause.
        for _ in 0..40 {
            begin = w.now;
            w.write(B, s, b"x").unwrap();
            assert!(w.run_until(iopkt_base::Duration::from_secs(2), |w| w.hosts[B].sockets.queued(s).1 == 0));
        }
        let _ = c;
        w.now.since(begin)
    });
    waits.sort();
    assert!(waits[1] > waits[0] + core::time::Duration::from_millis(100), "{waits:?}");
}

#[test]
fn buffers_grow_where_no_program_chose_a_size() {
    // (what A sets, whether B's window grows)
    for (auto, chosen, grows) in [(1, false, true), (0, false, false), (1, true, false)] {
        let mut w = World::new(7);
        for h in [A, B] {
            assert!(w.hosts[h].sockets.set_tunable("net.inet.tcp.recvbuf_auto", auto));
            assert!(w.hosts[h].sockets.set_tunable("net.inet.tcp.sendbuf_max", 1 << 20));
            assert!(w.hosts[h].sockets.set_tunable("net.inet.tcp.recvspace", 32 << 10));
        }
        let l = w.listener(80, 5);
        if chosen {
            w.set(B, l, SOL_SOCKET, 8, 20_000).unwrap();
        }
        let (c, s) = w.pair(l, 80);
        // What else is set does not end the growth.
        w.set(B, s, TCP, 1, 1).unwrap();
        let (mut wrote, mut got) = (0, 0);
        while got < 4_000_000 {
            wrote += w.write(A, c, &[9; 60_000]).unwrap_or(0);
            w.run(iopkt_base::Duration::from_millis(1));
            got += w.read(B, s).len();
            assert!(got <= wrote);
        }
        let mut info = [0; 240];
        w.get_bytes(B, s, TCP, 11, &mut info).unwrap();
        let window = u32::from_ne_bytes(info[64..68].try_into().unwrap());
        assert_eq!(window > 64 << 10, grows, "auto {auto}, chosen {chosen}: {window}");
    }
}

#[test]
fn values_out_of_range_change_nothing() {
    let mut w = World::new(4);
    for name in Sockets::tunables() {
        let before = w.hosts[A].sockets.tunable(name).expect("a value");
        // Of this one every value is good: the largest is Linux's default.
        let any = *name == "net.inet.tcp.notsent_lowat";
        assert_eq!(w.hosts[A].sockets.set_tunable(name, u32::MAX), any, "{name}");
        assert!(!any || w.hosts[A].sockets.set_tunable(name, before));
        assert_eq!(w.hosts[A].sockets.tunable(name), Some(before));
        assert!(w.hosts[A].sockets.set_tunable(name, before), "{name}: its own value");
        assert_eq!(w.hosts[A].sockets.tunable(name), Some(before));
    }
    assert_eq!(w.hosts[A].sockets.tunable("net.inet.tcp.bogus"), None);
    assert!(!w.hosts[A].sockets.set_tunable("net.inet.tcp.bogus", 536));
    let _ = w.socket(A, SockType::Dgram, 0);
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}

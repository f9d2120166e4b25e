//! Streams through the whole shard: ARP, IP and TCP between two hosts, over loopback, through loss, over small
//! paths and with errors from the network.

mod common;
use common::*;
use iopkt_base::{Duration, Errno, Result};
use iopkt_ctl::{Reply, Request};
use iopkt_stack::Family;
use iopkt_stack::sockets::{SockId, SockType};

fn stream(h: &mut Host) -> SockId {
    h.s.sockets.socket(&mut h.s.cx, Family::V4, SockType::Stream, 0).unwrap()
}

fn connect(h: &mut Host, to: &str) -> (SockId, Result<()>) {
    let s = stream(h);
    let r = h.s.sockets.connect(&mut h.s.cx, &mut h.s.net, s, Some(sa(to)));
    (s, r)
}

fn listen(h: &mut Host, at: &str) -> SockId {
    let s = stream(h);
    h.s.sockets.bind(&mut h.s.cx, &h.s.net, s, sa(at)).unwrap();
    h.s.sockets.listen(&mut h.s.cx, s, 64).unwrap();
    s
}

fn accept(h: &mut Host, l: SockId) -> Option<SockId> {
    h.s.sockets.accept(&mut h.s.cx, l).ok().map(|x| x.0)
}

fn write(h: &mut Host, s: SockId, b: &[u8]) -> usize {
    h.s.sockets.write(&mut h.s.cx, s, b).unwrap_or(0)
}

fn read(h: &mut Host, s: SockId) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut v: [&[u8]; 8] = [&[]; 8];
        let n = h.s.sockets.peek(s, &mut v).unwrap();
        let before = all.len();
        v[..n].iter().for_each(|x| all.extend_from_slice(x));
        if all.len() == before {
            return all;
        }
        let n = all.len() - before;
        h.s.sockets.consume(&mut h.s.cx, s, n);
    }
}

fn close(h: &mut Host, s: SockId) {
    h.s.sockets.close(&mut h.s.cx, &mut h.s.net, s, false);
}

/// A connection from host 0 to host 1, port 80.
fn pair(w: &mut Wire) -> (SockId, SockId, SockId) {
    let l = listen(&mut w.hosts[1], "0.0.0.0:80");
    let (c, r) = connect(&mut w.hosts[0], "10.0.0.2:80");
    assert_eq!(r, Err(Errno::EINPROGRESS));
    for _ in 0..600 {
        w.run(100);
        if let Some(s) = accept(&mut w.hosts[1], l) {
            return (l, c, s);
        }
    }
    panic!("no connection");
}

/// Moves `n` bytes from host 0 to host 1, then the same back.
fn transfer(w: &mut Wire, c: SockId, s: SockId, n: usize) {
    let data: Vec<u8> = (0..n).map(|i| (i * 13 + i / 509) as u8).collect();
    for (from, fs, to, ts) in [(0, c, 1, s), (1, s, 0, c)] {
        let (mut sent, mut got) = (0, Vec::new());
        let mut rounds = 0;
        while got.len() < n {
            sent += write(&mut w.hosts[from], fs, &data[sent..]);
            w.run(5);
            got.extend(read(&mut w.hosts[to], ts));
            rounds += 1;
            assert!(rounds < 200_000, "{} of {n}", got.len());
        }
        assert!(got == data);
    }
}

fn finish(mut w: Wire, socks: [(usize, SockId); 3]) {
    for (h, s) in socks {
        close(&mut w.hosts[h], s);
    }
    w.run(300_000);
    for h in &w.hosts {
        assert_eq!(h.s.sockets.len(), 0);
    }
    w.end();
}

#[test]
fn data_crosses_the_wire_both_ways() {
    let mut w = Wire::pair();
    let (l, c, s) = pair(&mut w);
    transfer(&mut w, c, s, 500_000);
    // The last ACK may be a delayed one.
    w.run(1000);
    w.log.clear();
    w.run(60_000);
    let tcp = w.log.iter().filter(|f| f.1[12..14] == [8, 0]).count();
    assert_eq!(tcp, 0, "an idle connection sends nothing");
    finish(w, [(0, c), (1, s), (1, l)]);
}

#[test]
fn loss_jitter_and_duplicates() {
    for seed in 0..6 {
        let f = Faults { loss: 0.02, duplicate: 0.02, jitter: Duration::from_millis(10), ..clean() };
        let mut w = Wire::pair().seeded(seed, f);
        let (l, c, s) = pair(&mut w);
        transfer(&mut w, c, s, 100_000);
        w.set_faults(clean());
        finish(w, [(0, c), (1, s), (1, l)]);
    }
}

#[test]
fn loopback_carries_streams() {
    let mut w = Wire::pair();
    let l = listen(&mut w.hosts[0], "0.0.0.0:80");
    for to in ["127.0.0.1:80", "10.0.0.1:80"] {
        w.log.clear();
        let h = &mut w.hosts[0];
        let (c, r) = connect(h, to);
        assert_eq!(r, Err(Errno::EINPROGRESS));
        w.run(10);
        let s = accept(&mut w.hosts[0], l).expect("a connection");
        let data = vec![7; 1_000_000];
        let (mut sent, mut got) = (0, 0);
        for _ in 0..10_000 {
            sent += write(&mut w.hosts[0], c, &data[sent..]);
            w.run(1);
            got += read(&mut w.hosts[0], s).len();
        }
        assert_eq!((sent, got), (data.len(), data.len()));
        assert!(w.log.iter().all(|f| f.1[12..14] != [8, 0]), "nothing on the wire");
        close(&mut w.hosts[0], c);
        close(&mut w.hosts[0], s);
        w.run(100_000);
    }
    close(&mut w.hosts[0], l);
    w.end();
}

#[test]
fn refused_and_unreachable() {
    let mut w = Wire::pair();
    let (c, _) = connect(&mut w.hosts[0], "10.0.0.2:81");
    w.run(100);
    assert_eq!(w.hosts[0].s.sockets.take_error(c), Some(Errno::ECONNREFUSED));
    // Nobody answers ARP for this one.
    let (c, r) = connect(&mut w.hosts[0], "10.0.0.9:81");
    assert_eq!(r, Err(Errno::EINPROGRESS));
    w.run(20_000);
    assert_eq!(w.hosts[0].s.sockets.take_error(c), Some(Errno::EHOSTUNREACH));
    let (_, r) = connect(&mut w.hosts[0], "192.0.2.1:81");
    assert_eq!(r, Err(Errno::ENETUNREACH));
    let (_, r) = connect(&mut w.hosts[0], "10.0.0.255:81");
    assert_eq!(r, Err(Errno::ENETUNREACH));
}

#[test]
fn udp_to_a_closed_port_comes_back_as_refused() {
    let mut w = Wire::pair();
    let u = w.hosts[0].udp("0.0.0.0:5000");
    let h = &mut w.hosts[0].s;
    h.sockets.connect(&mut h.cx, &mut h.net, u, Some(sa("10.0.0.2:9"))).unwrap();
    w.hosts[0].send(u, "10.0.0.2:9", b"x").unwrap();
    w.run(100);
    assert_eq!(w.hosts[0].s.sockets.take_error(u), Some(Errno::ECONNREFUSED));
}

#[test]
fn the_receiver_with_a_small_mtu_sets_the_segment_size() {
    let mut w = Wire::pair();
    let r = w.hosts[1].ctl(Request::SetMtu { name: "eth0".into(), mtu: 576 });
    assert_eq!(r, Reply::Ok);
    let (l, c, s) = pair(&mut w);
    transfer(&mut w, c, s, 50_000);
    assert!(w.log.iter().all(|f| f.1.len() <= 14 + 576));
    finish(w, [(0, c), (1, s), (1, l)]);
}

#[test]
fn a_path_mtu_message_makes_segments_smaller() {
    // [RFC1191 3]
    let mut w = Wire::pair();
    let (l, c, s) = pair(&mut w);
    write(&mut w.hosts[0], c, &[1; 20_000]);
    // A router says "fragmentation needed" about the first full segment; the segments themselves are lost.
    let f = w.now;
    let frames = w.hosts[0].turn(f, &mut Vec::new());
    let big = frames.iter().find(|f| f.len() == 1514).expect("a full segment").clone();
    assert_eq!(big[14 + 6] & 0x40, 0x40, "DF");
    let e = icmp(3, 4, [0, 0, 3, 232], &big[14..14 + 28]);
    let mac = w.hosts[0].mac;
    let e = frame(mac, w.hosts[1].mac, 0x0800, &packet("10.0.0.2", "10.0.0.1", 1, &e));
    for f in w.hosts[0].feed(f, &e) {
        assert!(f.len() <= 14 + 1000, "cut anew at once");
    }
    w.log.clear();
    let mut got = 0;
    for _ in 0..1000 {
        w.run(20);
        got += read(&mut w.hosts[1], s).len();
    }
    assert_eq!(got, 20_000);
    assert!(w.log.iter().all(|f| f.1.len() <= 14 + 1000));
    finish(w, [(0, c), (1, s), (1, l)]);
}

#[test]
fn taking_the_address_away_does_not_leak() {
    let mut w = Wire::pair();
    let (l, c, s) = pair(&mut w);
    write(&mut w.hosts[0], c, &[1; 50_000]);
    w.run(3);
    let r = w.hosts[0].ctl(Request::DelAddr { name: "eth0".into(), addr: Some(ip("10.0.0.1")) });
    assert_eq!(r, Reply::Ok);
    w.run(30_000);
    finish_slow(w, [(0, c), (1, s), (1, l)]);
}

/// As `finish`, with the hour that a lost peer may take.
fn finish_slow(mut w: Wire, socks: [(usize, SockId); 3]) {
    for (h, s) in socks {
        close(&mut w.hosts[h], s);
    }
    w.run(3_600_000);
    for h in &w.hosts {
        assert_eq!(h.s.sockets.len(), 0);
    }
    w.end();
}

#[test]
fn a_device_that_takes_nothing_holds_connections_back_without_loss() {
    let mut w = Wire::pair();
    let l = listen(&mut w.hosts[1], "0.0.0.0:80");
    let conns: Vec<(SockId, SockId)> = (0..300)
        .map(|_| {
            let (c, _) = connect(&mut w.hosts[0], "10.0.0.2:80");
            w.run(20);
            (c, accept(&mut w.hosts[1], l).expect("a connection"))
        })
        .collect();
    for (c, _) in &conns {
        assert_eq!(write(&mut w.hosts[0], *c, &[1; 14_000]), 14_000);
    }
    // Ten segments each would be 3000 frames: more than the interface's queue takes.
    let s = &mut w.hosts[0].s;
    for _ in 0..50 {
        s.begin(w.now);
        s.turn();
    }
    let queued = s.net.iface(2).expect("eth0").tx.len();
    assert!((512..1200).contains(&queued), "{queued}");
    assert!(s.deadline() > w.now, "no busy waiting for the device");
    assert_eq!(w.hosts[0].drops(iopkt_stack::Why::TxQueueFull), 0);
    w.run(2000);
    for (_, s) in &conns {
        assert_eq!(read(&mut w.hosts[1], *s).len(), 14_000);
    }
    assert_eq!(w.hosts[0].drops(iopkt_stack::Why::TxQueueFull), 0);
    for (c, s) in conns {
        close(&mut w.hosts[0], c);
        close(&mut w.hosts[1], s);
    }
    close(&mut w.hosts[1], l);
    w.run(300_000);
    w.end();
}

#[test]
fn ip_options_mean_nothing_to_a_stream() {
    // [RFC9293 MUST-50]
    use iopkt_wire::tcp::{Flags, Header, MAX_OPTIONS, Options};
    let peer = [2, 0, 0, 0, 0, 9];
    let mut h = Host::new(1);
    let l = listen(&mut h, "0.0.0.0:80");
    let arp = iopkt_wire::arp::Packet {
        op: 2,
        sha: peer,
        spa: "10.0.0.9".parse().unwrap(),
        tha: h.mac,
        tpa: "10.0.0.1".parse().unwrap(),
    };
    let now = iopkt_base::Instant::from_millis(2000);
    let seg = |seq: u32, ack: u32, flags: Flags, options: &[u8]| {
        let head = Header {
            src_port: 999,
            dst_port: 80,
            seq,
            ack,
            flags,
            window: 65_535,
            urgent: 0,
            options: Options::NONE,
        };
        let mut b = [0; 20 + MAX_OPTIONS];
        let n = head.emit(&mut b).unwrap();
        let mut sum = iopkt_wire::checksum::pseudo_v4([10, 0, 0, 9], [10, 0, 0, 1], 6, n as u32);
        sum.add(&b[..n]);
        let c = sum.finish();
        b[16..18].copy_from_slice(&c.to_be_bytes());
        frame(
            [2, 0, 0, 0, 0, 1],
            peer,
            0x800,
            &packet_with("10.0.0.9", "10.0.0.1", 6, &b[..n], options, |_| {}),
        )
    };
    // Nothing; one that nobody knows; a record of the route.
    let strange = [1, 0x9e, 4, 1, 2, 7, 7, 4, 0, 0, 0, 0];
    let synack = |f: &Vec<u8>| {
        let at = 14 + usize::from(f[14] & 15) * 4;
        (f[12..14] == [8, 0] && f[23] == 6).then(|| Header::parse(&f[at..]).unwrap().0)
    };
    let mut out = h.feed(now, &seg(7, 0, Flags::SYN, &strange));
    // It asks for the peer's address first.
    out.extend(h.feed(now, &frame(h.mac, peer, 0x806, &arp.emit())));
    let a = out.iter().find_map(synack).expect("an answer");
    assert_eq!((a.flags, a.ack), (Flags::SYN | Flags::ACK, 8));
    h.feed(now, &seg(8, a.seq.wrapping_add(1), Flags::ACK, &strange));
    let s = accept(&mut h, l).expect("a connection");
    close(&mut h, s);
    close(&mut h, l);
}

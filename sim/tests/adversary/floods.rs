//! Many of something: SYNs, FINs, connections, pieces, pings, fragments, names.

use crate::rig::{LIAR, Raw, Rig, Serve, echo_request, packet};
use iopkt_base::{Duration, Rng};
use iopkt_stack::{Config, Why};
use iopkt_wire::tcp::Flags;
use iopkt_wire::{arp, ethernet};

const US: Duration = Duration::from_micros(1);

/// One of 150 addresses that answer ARP, and a port.
fn stranger(i: u32) -> Raw {
    let ip = [10, 0, 0, LIAR[3] + (i % 150) as u8];
    Raw { ip, seq: i.wrapping_mul(0x9e37_79b9), ..Raw::new(1024 + (i / 150) as u16) }
}

#[test]
fn a_syn_flood_costs_an_answer_each_and_nobody_his_connection() {
    let mut r = Rig::new(1);
    // 150 Mbit/s of SYNs for as long as the honest transfer takes and longer.
    r.every(US * 5, 300_000, |r, i| {
        let f = stranger(i).seg(Flags::SYN, &[2, 4, 5, 0xb4], &[]);
        r.forge(f);
        r.inbox.clear();
    });
    assert!(r.up.done() && r.down.done(), "the honest transfer did not end in the flood");
    assert!(r.counter("{} SYN cookies sent") > 200_000, "{}", r.counter("{} SYN cookies sent"));
    assert!(r.w.hosts[0].shard.sockets.len() < 1500, "{} sockets", r.w.hosts[0].shard.sockets.len());
    // Half-open ones repeat their SYN-ACK; the rest gets one each.
    assert!(r.sent < r.forged + 30_000, "{} sent for {} SYNs", r.sent, r.forged);
    // Who comes now is served: with a cookie that he brings back.
    let (served, good) = (r.served.len(), r.counter("{} SYN cookies accepted"));
    let c = r.w.hosts[1].connect(iopkt_sim::sa(1, 80));
    r.pass(Duration::from_secs(2));
    assert_eq!(r.served.len(), served + 1, "a new connection in the flood");
    assert_eq!(r.counter("{} SYN cookies accepted"), good + 1);
    r.w.hosts[1].close(c);
    r.honest_goes_on();
}

#[test]
fn segments_for_no_connection_are_answered_at_a_bounded_rate() {
    let mut r = Rig::new(1);
    let before = r.sent;
    let end = r.w.now + Duration::from_millis(900);
    r.every(US * 10, 90_000, |r, i| {
        let flags = [Flags::FIN | Flags::ACK, Flags::ACK, Flags::FIN, Flags::SYN | Flags::ACK, Flags::NONE]
            [i as usize % 5];
        let f = Raw { to: [80, 81, 22][i as usize % 3], ..stranger(i) }.seg(flags, &[], &[]);
        r.forge(f);
        r.inbox.clear();
    });
    let honest = 6000;
    let resets = r.counter("{} resets sent for segments without a connection");
    let secs = r.w.now.since(end).as_secs() + 2;
    assert!(resets <= 1000 * secs && r.counter("{} resets suppressed by the rate limit") > 10_000);
    assert!(r.sent - before < resets + honest, "{} sent", r.sent - before);
    r.honest_goes_on();
}

#[test]
fn who_takes_all_sockets_takes_nobody_elses() {
    let mut r = Rig::new(1);
    for i in 0..2500 {
        let mut c = stranger(i);
        let f = c.seg(Flags::SYN, &[], &[]);
        r.forge(f);
        r.pass(US * 2500);
        if let Some(g) = r.heard(&c).first() {
            c.seq = c.seq.wrapping_add(1);
            c.ack = g.h.seq.wrapping_add(1);
            let f = c.seg(Flags::ACK, &[], &[]);
            r.forge(f);
        }
    }
    r.pass(US * 100_000);
    // The limit is 2000 sockets; what is too much ends, counted.
    assert!(r.w.hosts[0].shard.sockets.len() <= 2000);
    assert!(
        r.served.len() > 1900 && r.drops(Why::NoMemory) > 0,
        "{} {}",
        r.served.len(),
        r.drops(Why::NoMemory)
    );
    assert!(r.up.done() && r.down.done());
    // The program closes what says nothing; then there is room again.
    let all: Vec<_> = r.served.drain(..).map(|s| s.0).collect();
    all.into_iter().for_each(|id| r.w.hosts[0].close(id));
    r.pass(Duration::from_secs(1200));
    let c = r.w.hosts[1].connect(iopkt_sim::sa(1, 80));
    r.pass(Duration::from_secs(2));
    assert_eq!(r.served.len(), 1);
    r.w.hosts[1].close(c);
    r.end();
}

#[test]
fn single_bytes_out_of_order_do_not_take_the_packet_memory() {
    let mut r = Rig::with(1, &Config { max_sockets: 2000, ..Config::default() }, 2048);
    r.serve = Serve::Read;
    let mut all: Vec<Raw> = (0..40).map(stranger).collect();
    for c in &mut all {
        r.open(c, &[2, 4, 5, 0xb4]);
    }
    // Each byte takes a buffer of 2 KiB for as long as the one before it is missing.
    r.every(US * 20, 60_000, |r, i| {
        let c = &all[i as usize % all.len()];
        let at = 2 + i / all.len() as u32 * 2;
        let f = Raw { seq: c.seq.wrapping_add(at), ..*c }.seg(Flags::ACK, &[], b"x");
        r.forge(f);
        r.inbox.clear();
    });
    assert!(r.most_out < 2000, "{} of 2048 buffers", r.most_out);
    r.honest_goes_on();
}

#[test]
fn a_slow_request_holds_nobody_up() {
    let mut r = Rig::new(1);
    let mut all: Vec<Raw> = (0..500).map(stranger).collect();
    for c in &mut all {
        r.open(c, &[]);
    }
    // A byte each in turn, for ever.
    r.every(US * 200, 20_000, |r, i| {
        let n = all.len();
        let c = &mut all[i as usize % n];
        let f = c.seg(Flags::ACK | Flags::PSH, &[], b"x");
        c.seq = c.seq.wrapping_add(1);
        r.forge(f);
        r.inbox.clear();
    });
    r.pass(US * 10_000);
    assert_eq!(r.served.iter().map(|s| s.2.len()).sum::<usize>(), 20_000);
    assert!(r.most_out < 1000, "{} buffers", r.most_out);
    r.honest_goes_on();
}

#[test]
fn pings_and_datagrams_for_nobody_are_answered_at_a_bounded_rate() {
    let mut r = Rig::new(1);
    let before = r.sent;
    r.every(US * 10, 60_000, |r, i| {
        let f = match i % 2 {
            0 => echo_request(stranger(i).ip, i as u16),
            // UDP to a port that nobody has; no checksum.
            _ => packet(stranger(i).ip, 17, &[4, 0, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]),
        };
        r.forge(f);
        r.inbox.clear();
    });
    // An answer to each ping at most, few errors.
    assert!(r.sent - before < 30_000 + 7000 + 2000, "{} sent", r.sent - before);
    r.honest_goes_on();
}

#[test]
fn fragments_that_never_end_are_bounded() {
    let mut r = Rig::new(1);
    r.every(US * 20, 40_000, |r, i| {
        let mut f = packet(stranger(i).ip, 17, &[7; 800]);
        // More follow; the offset and the number change.
        f[18..20].copy_from_slice(&(i as u16).to_be_bytes());
        f[20..22].copy_from_slice(&(0x2000 | (i % 7 * 100) as u16).to_be_bytes());
        iopkt_wire::ipv4::set_checksum(&mut f[14..34]);
        r.forge(f);
    });
    assert!(r.drops(Why::ReassemblyLimit) > 10_000, "{}", r.drops(Why::ReassemblyLimit));
    assert!(r.most_out < 2000, "{} buffers", r.most_out);
    r.honest_goes_on();
}

#[test]
fn claimed_addresses_do_not_push_out_who_is_talked_to() {
    let cfg = Config { max_neighbours: 64, max_sockets: 2000, ..Config::default() };
    let mut r = Rig::with(1, &cfg, 4096);
    let mut rng = Rng::new(5);
    r.every(US * 20, 40_000, |r, _| {
        let x = rng.next_u32().to_be_bytes();
        let mac = [2, 9, x[0], x[1], x[2], x[3]];
        let host = [10, 0, 0, 3 + x[3] % 250];
        let op = 1 + u16::from(x[0] & 1);
        let to = core::net::Ipv4Addr::from([10, 0, 0, 1]);
        let p = arp::Packet { op, sha: mac, spa: host.into(), tha: [2, 0, 0, 0, 0, 1], tpa: to };
        let mut b = vec![0; 14];
        ethernet::Header { dst: [2, 0, 0, 0, 0, 1], src: mac, ethertype: 0x806 }.emit(&mut b);
        b.extend_from_slice(&p.emit());
        b.resize(60, 0);
        r.forge(b);
        r.inbox.clear();
    });
    r.honest_goes_on();
}

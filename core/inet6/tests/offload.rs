//! Offloads through the whole of a host, over IPv6: a device that cuts and sums and one that does neither carry the same bytes.

mod common;

use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{IFCAP_LRO, IFCAP_TCP6CSUM, IFCAP_TSO6, IFCAP_UDP6CSUM, IFCAP_USO6};
use iopkt_mbuf::Mbuf;
use iopkt_stack::sockets::{SendOpts, SockType};
use iopkt_stack::{Family, Why};
use std::net::Ipv6Addr;

const ALL: u32 = IFCAP_TCP6CSUM | IFCAP_UDP6CSUM | IFCAP_TSO6 | IFCAP_LRO | IFCAP_USO6;

/// A host whose device can do all, of which `on` is on.
fn able(n: u8, on: u32) -> Host {
    let mut h = Host::new(n);
    let i = h.s.net.iface_mut(ETH).unwrap();
    (i.caps_rx, i.caps_tx, i.enabled_rx, i.enabled_tx) = (ALL, ALL, on, on);
    h.up();
    h
}

/// Two hosts whose frames pass as they are, marks and all: what a pair of devices with offloads does.
struct Pair {
    hosts: [Host; 2],
    now: Instant,
    /// Lengths of the frames that the first has sent.
    lens: Vec<usize>,
}

impl Pair {
    fn new(a: u32, b: u32) -> Pair {
        let mut p =
            Pair { hosts: [able(1, a), able(2, b)], now: Instant::from_millis(1000), lens: Vec::new() };
        p.run(3000); // the addresses are good then
        p
    }

    fn go(&mut self, from: usize) -> bool {
        let h = &mut self.hosts[from].s;
        h.begin(self.now);
        h.turn();
        let mut frames: Vec<Mbuf> = Vec::new();
        h.take_frames(ETH, &mut frames);
        let some = !frames.is_empty();
        if from == 0 {
            self.lens.extend(frames.iter().map(Mbuf::len));
        }
        let to = &mut self.hosts[1 - from].s;
        let mut over: Vec<Mbuf> = frames.iter().map(|m| to.cx.copy(m).unwrap()).collect();
        to.begin(self.now);
        to.input(ETH, &mut over);
        frames.into_iter().for_each(|m| self.hosts[from].s.cx.mbufs.free(m));
        some
    }

    /// Until neither has anything to say, timers up to `ms` included.
    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            while self.go(0) | self.go(1) {}
            let next = self.hosts.iter().map(|h| h.s.deadline()).min().unwrap().max(self.now);
            if next > end {
                break;
            }
            self.now = next;
        }
        self.now = end;
        self.hosts.iter_mut().for_each(|h| h.s.begin(end));
    }

    fn there(&self) -> Ipv6Addr {
        self.hosts[1].link_local()
    }
}

/// Sends `n` bytes of TCP from the first to the second and compares them; returns how many data packets were sent again.
fn transfer(p: &mut Pair, n: usize) -> u64 {
    let to = outside(p.there(), 80);
    let [a, b] = &mut p.hosts;
    let l = b.socket(SockType::Stream, 6);
    b.s.sockets.bind(&mut b.s.cx, &b.s.net, l, outside(Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    b.s.sockets.listen(&mut b.s.cx, l, 8).unwrap();
    let c = a.s.sockets.socket(&mut a.s.cx, Family::V6, SockType::Stream, 6).unwrap();
    let _ = a.s.sockets.connect(&mut a.s.cx, &mut a.s.net, c, Some(to));
    p.run(10);
    let s = p.hosts[1].s.sockets.accept(&mut p.hosts[1].s.cx, l).unwrap().0;
    let data: Vec<u8> = (0..n).map(|i| (i % 251) as u8 ^ (i >> 11) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..10_000 {
        let a = &mut p.hosts[0].s;
        sent += a.sockets.write(&mut a.cx, c, &data[sent..]).unwrap_or(0);
        p.run(1);
        let b = &mut p.hosts[1].s;
        let mut slices: [&[u8]; 64] = [&[]; 64];
        let k = b.sockets.peek(s, &mut slices).unwrap_or(0);
        let new = slices[..k].concat();
        b.sockets.consume(&mut b.cx, s, new.len());
        got.extend(new);
        if got.len() >= n {
            break;
        }
    }
    assert!(got == data, "{} of {n} bytes, sent {sent}, or others than were sent", got.len());
    let stats = p.hosts[0].s.sockets.stats();
    let again = stats
        .iter()
        .find(|c| c.group == "tcp6" && c.text.contains("data packets retransmitted"))
        .unwrap()
        .value;
    for (h, id) in p.hosts.iter_mut().zip([c, s]) {
        h.s.sockets.close(&mut h.s.cx, &mut h.s.net, id, false);
    }
    again
}

#[test]
fn all_combinations_of_devices_carry_the_same_bytes() {
    let some = [ALL, 0, IFCAP_TCP6CSUM, ALL & !IFCAP_TSO6];
    for tx in some {
        for rx in some {
            let mut p = Pair::new(tx, rx);
            assert_eq!(
                transfer(&mut p, 700_001),
                0,
                "{tx:#x} {rx:#x}: nothing is lost, nothing is sent again"
            );
            let most = p.lens.iter().max().copied().unwrap_or(0);
            assert_eq!(most > 1514, tx & IFCAP_TSO6 != 0, "{tx:#x} {rx:#x}: largest frame {most}");
            assert!(most <= 14 + 65_535);
            for why in [Why::BadOffload, Why::NeedsFragmenting] {
                assert_eq!(p.hosts.iter().map(|h| h.drops(why)).sum::<u64>(), 0, "{tx:#x} {rx:#x}");
            }
            p.run(300_000); // TIME-WAIT ends
            p.hosts.into_iter().for_each(Host::end);
        }
    }
}

/// A program's row of datagrams in one call (UDP_SEGMENT), by a device with offloads and by one without.
#[test]
fn rows_of_datagrams() {
    for tx in [ALL, 0] {
        let mut p = Pair::new(tx, 0);
        let to = outside(p.there(), 7);
        let [a, b] = &mut p.hosts;
        let (from, at) = (a.udp("[::]:0"), b.udp("[::]:7"));
        let data: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        let m = a.s.cx.mbufs.copy_of(&data).unwrap();
        let o = SendOpts { segment: Some(1200), ..SendOpts::default() };
        let a = &mut p.hosts[0];
        a.s.sockets.send_to(&mut a.s.cx, &mut a.s.net, from, Some(to), &o, m).unwrap();
        p.run(10);
        let b = &mut p.hosts[1];
        let got: Vec<Vec<u8>> = std::iter::from_fn(|| b.recv(at)).map(|r| r.1).collect();
        assert_eq!(got, data.chunks(1200).map(<[u8]>::to_vec).collect::<Vec<_>>(), "{tx:#x}");
        p.hosts.into_iter().for_each(Host::end);
    }
}

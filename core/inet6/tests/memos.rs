//! What is remembered of the packet before holds until something changes, and rows are no more than their packets: over IPv6.

mod common;
use common::*;
use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_ctl::AddrState;
use iopkt_inet6::Tunables;
use iopkt_mbuf::Mbuf;
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_wire::checksum::pseudo_v6;
use proptest::prelude::*;

const A: &str = "fd00::1";
const B: &str = "fd00::2";

fn host(n: u8) -> Host {
    let mut h = Host::with(n, Tunables { dad_count: 0, auto_linklocal: false, ..Tunables::default() });
    h.up();
    h.addr(&format!("fd00::{n}"), 64);
    h
}

/// Sends a datagram; returns the link-level address that it goes to.
fn next_hop(w: &mut Wire, s: SockId, to: &str) -> Vec<u8> {
    let before = w.log.len();
    w.hosts[0].send(s, a6(to), 7, b"datagram").unwrap();
    w.run(10);
    let udp = |x: &&(usize, Vec<u8>)| x.0 == 0 && x.1[12..14] == [0x86, 0xdd] && x.1[20] == 17;
    w.log[before..].iter().find(udp).expect("a datagram").1[..6].to_vec()
}

#[test]
fn a_datagram_follows_a_changed_route() {
    use iopkt_stack::route::{Origin, Route};
    let mut w = Wire::new(vec![host(1), host(2), host(3)]);
    let s = w.hosts[0].udp("[::]:9");
    let away = "2001:db8:9::1";
    for _ in 0..2 {
        for n in [2, 3] {
            let mut r = Route::on_link(a6("2001:db8:9::").into(), 48, ETH, None, Origin::Static);
            r.gateway = Some(a6(&format!("fd00::{n}")).into());
            w.hosts[0].s.net.routes.add(r).unwrap();
            for _ in 0..3 {
                assert_eq!(next_hop(&mut w, s, away), w.hosts[n - 1].mac);
            }
            let used: u64 =
                w.hosts[0].s.net.routes.sorted().iter().map(|r| r.used * u64::from(r.plen == 48)).sum();
            assert_eq!(used, 3, "counted for the route, not for its gateway's");
            w.hosts[0].s.net.routes.remove_if(|r| r.plen == 48);
            assert_eq!(w.hosts[0].send(s, a6(away), 7, b"x"), Err(Errno::ENETUNREACH));
        }
    }
    w.end();
}

/// What is for us is judged anew when an address goes, or is found to be another's.
#[test]
fn an_address_that_is_no_longer_ours_takes_nothing() {
    let mut w = Wire::new(vec![host(1), host(2)]);
    let (from, to) = (w.hosts[0].udp("[::]:9"), w.hosts[1].udp("[::]:7"));
    let ask = |w: &mut Wire| {
        for _ in 0..3 {
            w.hosts[0].send(from, a6(B), 7, b"?").unwrap();
        }
        w.run(10);
        std::iter::from_fn(|| w.hosts[1].recv(to)).count()
    };
    assert_eq!((ask(&mut w), ask(&mut w)), (3, 3));
    let h = &mut w.hosts[1].s;
    h.net.set_addr_state(&mut h.cx, ETH, a6(B).into(), AddrState::Duplicated);
    assert_eq!(ask(&mut w), 0);
    let h = &mut w.hosts[1].s;
    h.net.set_addr_state(&mut h.cx, ETH, a6(B).into(), AddrState::Valid);
    assert_eq!(ask(&mut w), 3);
    // The sender's address is ours too: nobody else may use it.
    w.hosts[1].addr(A, 64);
    assert_eq!(ask(&mut w), 0);
    let h = &mut w.hosts[1].s;
    h.net.del_addr(&mut h.cx, ETH, a6(A).into()).unwrap();
    assert_eq!(ask(&mut w), 3);
    let h = &mut w.hosts[1].s;
    h.net.del_addr(&mut h.cx, ETH, a6(B).into()).unwrap();
    assert_eq!(ask(&mut w), 0);
    w.end();
}

/// A sender and two receivers that are one in all they know: one is given its frames in batches, the other one by one.
struct Twins {
    a: Host,
    b: [Host; 2],
    conn: SockId,
    udp: SockId,
    listener: [SockId; 2],
    accepted: [Option<SockId>; 2],
    bound: [SockId; 2],
    taken: [Vec<u8>; 2],
    datagrams: [Vec<Vec<u8>>; 2],
    /// Answers on their way to the sender.
    back: Vec<Vec<u8>>,
    now: Instant,
}

impl Twins {
    fn new() -> Twins {
        let (mut a, mut b) = (host(1), [host(2), host(2)]);
        let listener = [0, 1].map(|i| {
            let s = b[i].socket(SockType::Stream, 0);
            let h = &mut b[i].s;
            h.sockets.bind(&mut h.cx, &h.net, s, "[::]:80".parse().unwrap()).unwrap();
            h.sockets.listen(&mut h.cx, s, 1).unwrap();
            s
        });
        let bound = [0, 1].map(|i| b[i].udp("[::]:7"));
        let (conn, udp) = (a.socket(SockType::Stream, 0), a.udp("[::]:9"));
        let to = outside(a6(B), 80);
        let r = a.s.sockets.connect(&mut a.s.cx, &mut a.s.net, conn, Some(to));
        assert_eq!(r, Err(Errno::EINPROGRESS));
        let now = Instant::from_millis(20_000);
        let (accepted, taken, datagrams) = ([None; 2], Default::default(), Default::default());
        let mut t = Twins { a, b, conn, udp, listener, accepted, bound, taken, datagrams, back: vec![], now };
        for _ in 0..10 {
            t.round(&mut |_| {});
        }
        assert!(t.accepted.iter().all(Option::is_some), "connected");
        t
    }

    /// One exchange; `spoil` may change what the sender sent. Both receivers must answer with the same bytes, and have the same counters.
    fn round(&mut self, spoil: &mut dyn FnMut(&mut Vec<Vec<u8>>)) {
        self.now += Duration::from_millis(1);
        let back = std::mem::take(&mut self.back);
        let mut frames = self.a.turn(self.now, &back);
        spoil(&mut frames);
        let mut answers: [Vec<Vec<u8>>; 2] = Default::default();
        for (i, answer) in answers.iter_mut().enumerate() {
            let h = &mut self.b[i];
            h.s.begin(self.now);
            let mut batch: Vec<Mbuf> = frames.iter().map(|f| h.s.cx.mbufs.copy_of(f).unwrap()).collect();
            if i == 0 {
                h.s.input(ETH, &mut batch);
            } else {
                batch.into_iter().for_each(|m| h.s.input(ETH, &mut vec![m]));
            }
            if self.accepted[i].is_none() {
                self.accepted[i] = h.s.sockets.accept(&mut h.s.cx, self.listener[i]).ok().map(|x| x.0);
            }
            if let Some(id) = self.accepted[i] {
                let mut slices: [&[u8]; 256] = [&[]; 256];
                let n = h.s.sockets.peek(id, &mut slices).unwrap_or(0);
                let got: Vec<u8> = slices[..n].concat();
                h.s.sockets.consume(&mut h.s.cx, id, got.len());
                self.taken[i].extend(got);
            }
            while let Some(d) = h.recv(self.bound[i]) {
                self.datagrams[i].push(d.1);
            }
            *answer = h.turn(self.now, &[]);
        }
        assert_eq!(answers[0], answers[1]);
        let known = |h: &mut Host| {
            let all = h.ctl(iopkt_ctl::Request::Stats);
            format!("{:?} {all:?} {:?}", h.s.cx.counters, h.s.net.iface(ETH).unwrap().counters)
        };
        let [x, y] = &mut self.b;
        assert_eq!(known(x), known(y));
        self.back = std::mem::take(&mut answers[0]);
    }

    fn end(self) {
        assert_eq!(self.taken[0], self.taken[1]);
        assert_eq!(self.datagrams[0], self.datagrams[1]);
        self.a.end();
        self.b.into_iter().for_each(Host::end);
    }
}

/// Puts the checksum of a segment or datagram in an Ethernet frame right.
fn resum(f: &mut [u8]) {
    let at = if f[20] == 17 { 60 } else { 70 };
    if f.len() < at + 2 {
        return;
    }
    f[at..at + 2].fill(0);
    let a = |at: usize| f[at..at + 16].try_into().unwrap();
    let mut sum = pseudo_v6(a(22), a(38), f[20], (f.len() - 54) as u32);
    sum.add(&f[54..]);
    let c = sum.finish().to_be_bytes();
    f[at..at + 2].copy_from_slice(&c);
}

/// What happens to frames on the way, as a seed says.
fn spoil(r: &mut Rng, frames: &mut Vec<Vec<u8>>) {
    let mut i = 0;
    while i < frames.len() {
        let n = frames.len() as u32;
        let f = &mut frames[i];
        let at = r.below(f.len() as u32) as usize;
        match r.below(50) {
            0 => f[at] ^= 1 << r.below(8),
            1 => f[at.min(73)] ^= 1 << r.below(8),
            2 => {
                frames.remove(i);
                continue;
            }
            3 => frames.swap(i, r.below(n) as usize),
            4 => {
                let again = f.clone();
                frames.insert(r.below(n) as usize, again);
            }
            // Class and label, hop limit, ports, control bits, window, options: good packets of another kind.
            k @ 5..=9 => {
                let at = [15, 21, 54 + at % 4, 67, 74 + at % 12][k as usize - 5].min(f.len() - 1);
                f[at] ^= 1 << r.below(8);
                resum(f);
            }
            10 => f.resize(f.len() + 1 + at % 40, 0xee),
            11 => f.truncate(at.max(20)),
            _ => {}
        }
        i += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    /// Whatever happens on the way, both receivers know, count and answer the same.
    #[test]
    fn rows_are_their_packets(seed: u64) {
        let mut r = Rng::new(seed);
        let mut t = Twins::new();
        let all: Vec<u8> = (0..120_000).map(|i: usize| ((i * 31) >> 3) as u8).collect();
        let (mut sent, mut longest) = (0, 0);
        for _ in 0..120 {
            if r.below(3) == 0 {
                let n = 1 + r.below(30_000) as usize;
                let part = &all[sent..(sent + n).min(all.len())];
                sent += t.a.s.sockets.write(&mut t.a.s.cx, t.conn, part).unwrap_or(0);
            }
            for k in 0..r.below(12) {
                t.a.send(t.udp, a6(B), 7 + (k / 9) as u16, &vec![k as u8; r.below(90) as usize]).unwrap();
            }
            let mut q = Rng::new(r.next_u64());
            t.round(&mut |f| {
                longest = longest.max(f.len());
                spoil(&mut q, f);
            });
        }
        prop_assert!(all.starts_with(&t.taken[0]));
        prop_assert!(longest > 8, "there were rows");
        t.end();
    }
}

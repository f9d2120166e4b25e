//! Segments that arrive in a row are taken together: nobody may be able to tell.

mod common;
use common::*;
use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_mbuf::Mbuf;
use iopkt_stack::Family;
use iopkt_stack::sockets::{SockId, SockType};
use proptest::prelude::*;

/// A sender and two receivers that are one in all they know: one is given its frames in batches, the other one by one.
struct Twins {
    a: Host,
    b: [Host; 2],
    conn: SockId,
    taken: [Vec<u8>; 2],
    accepted: [Option<SockId>; 2],
    listener: [SockId; 2],
    now: Instant,
}

fn stream(h: &mut Host, rcvbuf: u32) -> SockId {
    let s = h.s.sockets.socket(&mut h.s.cx, Family::V4, SockType::Stream, 0).unwrap();
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, 1, 8, &rcvbuf.to_ne_bytes()).unwrap();
    s
}

impl Twins {
    fn new(rcvbuf: u32) -> Twins {
        let (mut a, mut b) = (Host::new(1), [Host::new(2), Host::new(2)]);
        let listener = [0, 1].map(|i| {
            let s = stream(&mut b[i], rcvbuf);
            let h = &mut b[i].s;
            h.sockets.bind(&mut h.cx, &h.net, s, sa("10.0.0.2:80")).unwrap();
            h.sockets.listen(&mut h.cx, s, 1).unwrap();
            s
        });
        let conn = stream(&mut a, 65_536);
        let r = a.s.sockets.connect(&mut a.s.cx, &mut a.s.net, conn, Some(sa("10.0.0.2:80")));
        assert_eq!(r, Err(Errno::EINPROGRESS));
        let now = Instant::from_millis(20_000);
        let mut t = Twins { a, b, conn, taken: [vec![], vec![]], accepted: [None; 2], listener, now };
        for _ in 0..10 {
            t.round(&mut |_| {}, true);
        }
        assert!(t.accepted.iter().all(Option::is_some), "connected");
        t
    }

    /// One exchange; `spoil` may change what the sender sent. Both receivers must answer with the same bytes.
    fn round(&mut self, spoil: &mut dyn FnMut(&mut Vec<Vec<u8>>), read: bool) {
        self.now += Duration::from_millis(1);
        let mut frames = self.a.turn(self.now, &mut vec![]);
        spoil(&mut frames);
        let mut answers: [Vec<Vec<u8>>; 2] = [vec![], vec![]];
        for (i, answer) in answers.iter_mut().enumerate() {
            let h = &mut self.b[i];
            let mut batch: Vec<Mbuf> = frames.iter().map(|f| h.mbuf(f)).collect();
            h.s.begin(self.now);
            if i == 0 {
                h.s.input(h.eth, &mut batch);
            } else {
                for m in batch {
                    h.s.input(h.eth, &mut vec![m]);
                }
            }
            if self.accepted[i].is_none() {
                self.accepted[i] = h.s.sockets.accept(&mut h.s.cx, self.listener[i]).ok().map(|x| x.0);
            }
            if let (Some(id), true) = (self.accepted[i], read) {
                let mut slices: [&[u8]; 256] = [&[]; 256];
                let n = h.s.sockets.peek(id, &mut slices).unwrap_or(0);
                let got: Vec<u8> = slices[..n].concat();
                h.s.sockets.consume(&mut h.s.cx, id, got.len());
                self.taken[i].extend(got);
            }
            *answer = h.turn(self.now, &mut vec![]);
        }
        assert_eq!(answers[0], answers[1]);
        let counters = [0, 1].map(|i| format!("{:?}", self.b[i].s.cx.counters));
        assert_eq!(counters[0], counters[1]);
        let ifc = [0, 1].map(|i| self.b[i].s.net.iface(self.b[i].eth).unwrap().counters);
        assert_eq!(ifc[0], ifc[1]);
        let mut back: Vec<Mbuf> = answers[0].iter().map(|f| self.a.mbuf(f)).collect();
        let eth = self.a.eth;
        self.a.s.input(eth, &mut back);
    }
}

impl Twins {
    fn write(&mut self, b: &[u8]) -> usize {
        self.a.s.sockets.write(&mut self.a.s.cx, self.conn, b).unwrap_or(0)
    }

    fn end(self) {
        self.a.end();
        self.b.into_iter().for_each(Host::end);
    }
}

/// Puts the checksums of a TCP segment in an Ethernet frame right.
fn resum(f: &mut [u8]) {
    let end = 14 + usize::from(u16::from_be_bytes([f[16], f[17]]));
    iopkt_wire::ipv4::set_checksum(&mut f[14..34]);
    let a = |at: usize| [f[at], f[at + 1], f[at + 2], f[at + 3]];
    let mut sum = iopkt_wire::checksum::pseudo_v4(a(26), a(30), 6, (end - 34) as u32);
    f[50..52].fill(0);
    sum.add(&f[34..end]);
    f[50..52].copy_from_slice(&sum.finish().to_be_bytes());
}

/// What happens to frames on the way, as a seed says.
fn spoil(r: &mut Rng, frames: &mut Vec<Vec<u8>>) {
    let mut i = 0;
    while i < frames.len() {
        let n = frames.len() as u32;
        let f = &mut frames[i];
        let at = r.below(f.len() as u32) as usize;
        match r.below(60) {
            0 => f[at] ^= 1 << r.below(8),
            1 => f[at.min(53)] ^= 1 << r.below(8),
            2 => {
                frames.remove(i);
                continue;
            }
            3 => frames.swap(i, r.below(n) as usize),
            4 => {
                let again = f.clone();
                frames.insert(r.below(n) as usize, again);
            }
            // Other control bits, window, type of service, time to live, options: good segments of another kind.
            k @ 5..=9 => {
                let at = [47, 48, 15, 22, 54 + at % 12][k as usize - 5].min(f.len() - 1);
                f[at] ^= 1 << r.below(8);
                resum(f);
            }
            // Padding of the link.
            10 => f.resize(f.len() + 1 + at % 40, 0xee),
            // Shorter than its header says.
            11 => f.truncate(at.max(20)),
            _ => {}
        }
        i += 1;
    }
}

fn data(n: usize) -> Vec<u8> {
    (0..n).map(|i| ((i * 31) >> 3) as u8).collect()
}

#[test]
fn a_good_stream_arrives_in_rows() {
    let mut t = Twins::new(262_144);
    let all = data(500_000);
    let (mut sent, mut most) = (0, 0);
    while t.taken[0].len() < all.len() {
        sent += t.write(&all[sent..]);
        t.round(&mut |f| most = most.max(f.len()), true);
    }
    assert!(most > 20, "there were rows: {most} frames");
    assert_eq!(t.taken, [all.clone(), all]);
    t.end();
}

/// The window closes in the middle of a row; it opens again when the program reads.
#[test]
fn a_row_ends_at_the_window() {
    let mut t = Twins::new(20_000);
    let all = data(200_000);
    let mut sent = 0;
    for i in 0..5000 {
        sent += t.write(&all[sent..]);
        t.round(&mut |_| {}, i % 8 == 7);
    }
    assert_eq!(t.taken, [all.clone(), all]);
    t.end();
}

/// What comes for a connection that nobody reads any more, or that ends in the middle of a row.
#[test]
fn a_row_for_a_closed_socket() {
    for shut in [false, true] {
        let mut t = Twins::new(262_144);
        t.write(&data(60_000));
        t.round(&mut |_| {}, false);
        for i in 0..2 {
            let (h, id) = (&mut t.b[i].s, t.accepted[i].unwrap());
            if shut {
                h.sockets.shutdown(&mut h.cx, id, 0).unwrap();
            } else {
                h.sockets.close(&mut h.cx, &mut h.net, id, false);
                t.accepted[i] = None;
            }
        }
        t.write(&data(60_000));
        for _ in 0..20 {
            t.round(&mut |_| {}, shut);
        }
        t.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whatever happens on the way, both receivers know, count and answer the same.
    #[test]
    fn rows_are_their_segments(seed: u64) {
        let mut r = Rng::new(seed);
        let mut t = Twins::new([20_000, 262_144][r.below(2) as usize]);
        let all = data(120_000);
        let mut sent = 0;
        for _ in 0..300 {
            if r.below(3) == 0 {
                let n = 1 + r.below(30_000) as usize;
                sent += t.write(&all[sent..(sent + n).min(all.len())]);
            }
            let read = r.below(4) > 0;
            let mut q = Rng::new(r.next_u64());
            t.round(&mut |f| spoil(&mut q, f), read);
        }
        prop_assert!(all.starts_with(&t.taken[0]));
        prop_assert_eq!(&t.taken[0], &t.taken[1]);
        t.end();
    }
}

//! The queue over a pipe that is cancelled at any point of a transfer.

use super::queue::{Ended, Pipe, Queue, Transfer};
use iopkt_usbip::Dir;
use iopkt_usbip::hdr::{HDR_LEN, Reply, Submit, URB_SHORT_NOT_OK, URB_ZERO_PACKET, status};
use iopkt_usbip::op::DeviceInfo;
use iopkt_usbip::server::{Limits, Session};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const PACKET: usize = 8;

/// An endpoint and the device behind it.
#[derive(Default)]
struct World {
    under_way: VecDeque<(Transfer, usize)>,
    ended: VecDeque<Ended>,
    /// What the device has received; `None` is the end of a transfer (short or empty packet).
    received: Vec<Option<u8>>,
    /// The next byte that the device sends.
    next: u8,
}

impl World {
    /// The bus moves one packet of the oldest transfer: full, or, when `short`, the last.
    fn packet(&mut self, short: bool) {
        let Some((t, done)) = self.under_way.front_mut() else { return };
        let over = match t {
            Transfer::Out(data) => {
                let n = PACKET.min(data.len() - *done);
                self.received.extend(data[*done..*done + n].iter().map(|b| Some(*b)));
                *done += n;
                if n < PACKET {
                    self.received.push(None);
                }
                *done == data.len()
            }
            Transfer::In(len) => {
                *done += if short { 3 } else { PACKET };
                short || *done >= *len
            }
        };
        if over {
            self.end(status::OK);
        }
    }

    fn end(&mut self, status: i32) {
        let Some((t, actual)) = self.under_way.pop_front() else { return };
        let data = match t {
            Transfer::Out(_) => Vec::new(),
            Transfer::In(_) => (0..actual).map(|i| self.next.wrapping_add(i as u8)).collect(),
        };
        self.next = self.next.wrapping_add(data.len() as u8);
        self.ended.push_back(Ended { status, actual, data });
    }
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

impl Pipe for Fake {
    fn submit(&mut self, t: Transfer) {
        self.0.lock().unwrap().under_way.push_back((t, 0));
    }
    fn next(&mut self) -> Option<Ended> {
        self.0.lock().unwrap().ended.pop_front()
    }
    fn cancel_all(&mut self) {
        let mut w = self.0.lock().unwrap();
        while !w.under_way.is_empty() {
            w.end(status::ECONNRESET);
        }
    }
}

fn session() -> Session {
    let mut s = Session::new(Limits::default());
    s.replies().imported(Ok(&DeviceInfo::default()));
    let n = s.tx().len();
    s.tx_done(n);
    s
}

fn urb(seqnum: u32, dir: Dir, length: usize, flags: u32) -> Submit {
    Submit {
        seqnum,
        devid: 0,
        dir,
        ep: 1,
        flags,
        length: length as u32,
        start_frame: 0,
        packets: 0,
        interval: 0,
        setup: [0; 8],
    }
}

/// What a session has to say: sequence number, unlink or not, status, data length, data.
fn said(s: &mut Session, is_in: bool) -> Vec<(u32, bool, i32, usize, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(h) = s.tx().first_chunk::<HDR_LEN>() {
        let (e, n) = match Reply::parse(h).unwrap() {
            Reply::Unlink(u) => ((u.seqnum, true, u.status, 0, Vec::new()), 0),
            Reply::Submit(r) => {
                let n = if is_in { r.actual as usize } else { 0 };
                let data = s.tx()[HDR_LEN..HDR_LEN + n].to_vec();
                ((r.seqnum, false, r.status, r.actual as usize, data), n)
            }
        };
        out.push(e);
        s.tx_done(HDR_LEN + n);
    }
    out
}

#[test]
fn one_of_three_is_unlinked_and_the_others_lose_nothing() {
    let (fake, mut s) = (Fake::default(), session());
    let mut q = Queue::new(fake.clone(), true, PACKET);
    for n in 1..=3 {
        q.submit(&urb(n, Dir::In, 16, 0), &[]);
    }
    fake.0.lock().unwrap().packet(false); // half of the first
    assert!(q.unlink(9, 2, s.replies()));
    q.poll(s.replies());
    assert_eq!(said(&mut s, true), [(9, true, status::ECONNRESET, 0, vec![])]);
    for _ in 0..3 {
        fake.0.lock().unwrap().packet(false);
    }
    q.poll(s.replies());
    let all: Vec<u8> = (0..32).collect();
    assert_eq!(
        said(&mut s, true),
        [(1, false, 0, 16, all[..16].to_vec()), (3, false, 0, 16, all[16..].to_vec())]
    );
    assert!(!q.unlink(10, 1, s.replies()), "it has ended");
    assert_eq!(q.len(), 0);
}

#[test]
fn lengths_and_flags_are_kept() {
    let (fake, mut s) = (Fake::default(), session());
    let mut q = Queue::new(fake.clone(), true, PACKET);
    // 10 bytes were asked for; the device sends 16.
    q.submit(&urb(1, Dir::In, 10, 0), &[]);
    q.submit(&urb(2, Dir::In, 16, URB_SHORT_NOT_OK), &[]);
    (0..2).for_each(|_| fake.0.lock().unwrap().packet(false));
    fake.0.lock().unwrap().packet(true);
    q.poll(s.replies());
    let got: Vec<_> = said(&mut s, true).into_iter().map(|e| (e.0, e.2, e.3)).collect();
    assert_eq!(got, [(1, status::EOVERFLOW, 10), (2, status::EREMOTEIO, 3)]);
    // A transfer that fills its packets ends with an empty one when the client says so, and only then.
    let fake = Fake::default();
    let mut q = Queue::new(fake.clone(), false, PACKET);
    q.submit(&urb(3, Dir::Out, 8, 0), &[7; 8]);
    q.submit(&urb(4, Dir::Out, 8, URB_ZERO_PACKET), &[8; 8]);
    (0..3).for_each(|_| fake.0.lock().unwrap().packet(false));
    q.poll(s.replies());
    let got: Vec<_> = said(&mut s, false).into_iter().map(|e| (e.0, e.2, e.3)).collect();
    assert_eq!(got, [(3, 0, 8), (4, 0, 8)]);
    assert_eq!(fake.0.lock().unwrap().received.iter().filter(|b| b.is_none()).count(), 1);
}

#[test]
fn errors_end_what_they_met_and_flush_ends_the_rest() {
    let (fake, mut s) = (Fake::default(), session());
    let mut q = Queue::new(fake.clone(), false, PACKET);
    q.submit(&urb(1, Dir::Out, 8, URB_ZERO_PACKET), &[1; 8]);
    q.submit(&urb(2, Dir::Out, 4, 0), &[1; 4]);
    fake.0.lock().unwrap().end(status::EPIPE);
    q.poll(s.replies());
    assert_eq!(said(&mut s, false), [], "its empty packet is still under way");
    fake.0.lock().unwrap().end(status::EPIPE);
    q.poll(s.replies());
    assert_eq!(said(&mut s, false), [(1, false, status::EPIPE, 0, vec![])]);
    q.flush(status::ESHUTDOWN, s.replies());
    assert_eq!(said(&mut s, false), [(2, false, status::ESHUTDOWN, 0, vec![])]);
}

proptest! {
    /// Whatever is submitted, unlinked and moved when: each URB ends once, and what is not unlinked loses
    /// and doubles nothing.
    #[test]
    fn each_ends_once_and_bytes_stay_in_order(
        is_in: bool,
        ops in proptest::collection::vec((0u8..6, 0usize..5, any::<bool>()), 1..80),
    ) {
        let (fake, mut s) = (Fake::default(), session());
        let mut q = Queue::new(fake.clone(), is_in, PACKET);
        let (mut seq, mut open, mut unlinks) = (1u32, Vec::new(), Vec::new());
        let (mut sent, mut gone, mut log) = (Vec::new(), Vec::new(), Vec::new());
        let mut byte = 0u8;
        let dir = if is_in { Dir::In } else { Dir::Out };
        for (op, n, flag) in ops {
            match op {
                0 | 1 => {
                    let len = n * PACKET;
                    let data: Vec<u8> = (0..len).map(|i| byte.wrapping_add(i as u8)).collect();
                    byte = byte.wrapping_add(len as u8);
                    let flags = if flag { URB_ZERO_PACKET } else { 0 };
                    let data = if is_in { Vec::new() } else { data };
                    q.submit(&urb(seq, dir, len.max(if is_in { PACKET } else { 0 }), flags), &data);
                    sent.push((seq, data));
                    open.push(seq);
                    seq += 1;
                }
                2 if !open.is_empty() => {
                    let victim = open[n % open.len()];
                    let u = 10_000 + unlinks.len() as u32;
                    unlinks.push((u, victim));
                    if !q.unlink(u, victim, s.replies()) {
                        s.replies().unlinked(u, false);
                    }
                }
                3 => drop(q.poll(s.replies())),
                _ => fake.0.lock().unwrap().packet(flag && is_in),
            }
            log.extend(said(&mut s, is_in));
        }
        for _ in 0..10_000 {
            q.poll(s.replies());
            log.extend(said(&mut s, is_in));
            if q.len() == 0 { break; }
            fake.0.lock().unwrap().packet(false);
        }
        prop_assert_eq!(q.len(), 0);
        // Every unlink was answered once; every URB ended by itself or by an unlink that says so, not both.
        for (u, victim) in &unlinks {
            let answers: Vec<i32> = log.iter().filter(|e| e.1 && e.0 == *u).map(|e| e.2).collect();
            prop_assert_eq!(answers.len(), 1);
            if answers[0] != 0 { gone.push(*victim); }
        }
        for (n, _) in &sent {
            let ends = log.iter().filter(|e| !e.1 && e.0 == *n).count() + gone.iter().filter(|g| *g == n).count();
            prop_assert_eq!(ends, 1, "URB {}", n);
        }
        let ends: Vec<u32> = log.iter().filter(|e| !e.1).map(|e| e.0).collect();
        let mut sorted = ends.clone();
        sorted.sort_unstable();
        prop_assert_eq!(&ends, &sorted, "in order");
        if gone.is_empty() {
            if is_in {
                let got: Vec<u8> = log.iter().flat_map(|e| e.4.clone()).collect();
                let want: Vec<u8> = (0..got.len()).map(|i| i as u8).collect();
                prop_assert_eq!(got, want);
            } else {
                let got: Vec<u8> = fake.0.lock().unwrap().received.iter().flatten().copied().collect();
                let want: Vec<u8> = sent.iter().flat_map(|s| s.1.clone()).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}

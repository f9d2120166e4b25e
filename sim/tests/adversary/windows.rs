//! A connected peer who plays with windows, acknowledgments and segment sizes.

use crate::rig::{Raw, Rig, Serve};
use iopkt_base::Duration;
use iopkt_sim::pattern;
use iopkt_wire::tcp::Flags;

const MS: Duration = Duration::from_millis(1);

/// A receiver by hand: takes what is in order, checks it, acknowledges it.
struct Taker {
    raw: Raw,
    base: u32,
    /// End of the highest byte that the victim ever sent.
    highest: u32,
    segments: u64,
    smallest: usize,
}

impl Taker {
    fn open(r: &mut Rig, win: u16, options: &[u8]) -> Taker {
        r.serve = Serve::Write;
        let mut raw = Raw { win, ..Raw::new(5000) };
        r.open(&mut raw, options);
        Taker { raw, base: raw.ack, highest: raw.ack, segments: 0, smallest: usize::MAX }
    }

    /// Takes what came; says whether there was any.
    fn take(&mut self, r: &mut Rig) -> bool {
        let got = r.heard(&self.raw);
        for g in &got {
            let n = g.data.len();
            if n == 0 {
                continue;
            }
            self.segments += 1;
            self.smallest = self.smallest.min(n);
            let off = g.h.seq.wrapping_sub(self.base);
            let right = g.data.iter().enumerate().all(|(i, b)| *b == pattern(7, u64::from(off) + i as u64));
            assert!(right, "bytes at {off} are wrong");
            let end = g.h.seq.wrapping_add(n as u32);
            if (end.wrapping_sub(self.highest) as i32) > 0 {
                self.highest = end;
            }
            if g.h.seq == self.raw.ack {
                self.raw.ack = end;
            }
        }
        got.iter().any(|g| !g.data.is_empty())
    }

    fn taken(&self) -> u32 {
        self.raw.ack.wrapping_sub(self.base)
    }

    fn reply(&self, r: &mut Rig, win: u16) {
        let f = Raw { win, ..self.raw }.seg(Flags::ACK, &[], &[]);
        r.forge(f);
    }
}

#[test]
fn a_window_that_stays_shut_costs_a_probe_now_and_then() {
    let mut r = Rig::new(1);
    let mut t = Taker::open(&mut r, 20_000, &[]);
    r.pass(Duration::from_secs(2));
    t.take(&mut r);
    t.reply(&mut r, 0);
    r.pass(Duration::from_secs(1));
    let before = r.sent;
    // Answers each probe, for half an hour.
    for _ in 0..1800 {
        r.pass(Duration::from_secs(1));
        if !r.heard(&t.raw).is_empty() {
            t.reply(&mut r, 0);
        }
    }
    let probes = r.sent - before;
    assert!((10..200).contains(&probes), "{probes} packets");
    // The program goes: an orphan does not wait for ever on a peer that only ever says "not now".
    let ids: Vec<_> = r.served.drain(..).map(|s| s.0).collect();
    ids.into_iter().for_each(|id| r.w.hosts[0].close(id));
    for _ in 0..3600 {
        r.pass(Duration::from_secs(1));
        if !r.heard(&t.raw).is_empty() {
            t.reply(&mut r, 0);
        }
    }
    assert_eq!(r.counter("{} connections without a process"), 0);
    r.honest_goes_on();
}

#[test]
fn a_window_that_shrinks_loses_nothing() {
    let mut r = Rig::new(1);
    let mut t = Taker::open(&mut r, 30_000, &[]);
    let mut turn = 0u32;
    while t.taken() < 300_000 {
        r.pass(5 * MS);
        t.take(&mut r);
        // Back to less than is in flight, to nothing, and open again.
        turn += 1;
        assert!(turn < 100_000, "stuck at {}", t.taken());
        t.reply(&mut r, [30_000, 1000, 0, 20_000, 3000, 30_000][turn as usize % 6]);
    }
    r.honest_goes_on();
}

#[test]
fn silly_windows_get_no_silly_segments() {
    let mut r = Rig::new(1);
    let mut t = Taker::open(&mut r, 20_000, &[]);
    r.pass(Duration::from_secs(2));
    t.take(&mut r);
    let (before, sent) = (t.taken(), t.segments);
    // Eats everything, offers 10 bytes more, each time.
    for _ in 0..2000 {
        t.reply(&mut r, 10);
        r.pass(10 * MS);
        t.take(&mut r);
    }
    // 20 s: a segment may go when the override time (0.1 to 1 s) is over, not with each offer (RFC 9293 section 3.8.6.2.1).
    assert!(t.segments - sent < 110, "{} segments for {} bytes", t.segments - sent, t.taken() - before);
    r.honest_goes_on();
}

#[test]
fn acknowledging_byte_by_byte_does_not_open_the_window_faster() {
    let mut r = Rig::new(1);
    let mut t = Taker::open(&mut r, 65_535, &[]);
    // The window stays fixed by scaling up: 65,535 << 8.
    r.pass(20 * MS);
    t.take(&mut r);
    let first = t.highest.wrapping_sub(t.base);
    assert!((2000..=16_000).contains(&first), "initial window {first}");
    // Savage et al. (1999): a thousand acknowledgments for the first segment.
    let end = t.base.wrapping_add(1000);
    for a in 1..=1000u32 {
        let f = t.raw.ack_at(t.base.wrapping_add(a));
        r.forge(f);
    }
    r.pass(20 * MS);
    t.take(&mut r);
    let more = t.highest.wrapping_sub(t.base) - first;
    // One segment acknowledged lets two more go, by whatever counting; one for rounding.
    assert!(more <= 4 * 1460, "{more} more bytes for 1000 acknowledged by {end}");
    r.honest_goes_on();
}

#[test]
fn acknowledging_what_was_not_sent_opens_nothing() {
    let mut r = Rig::new(1);
    let mut t = Taker::open(&mut r, 65_535, &[]);
    r.pass(20 * MS);
    t.take(&mut r);
    let (sent, before) = (t.highest, r.sent);
    for i in 1..500u32 {
        let f = t.raw.ack_at(sent.wrapping_add(i * 1460));
        r.forge(f);
        r.pass(Duration::from_micros(100));
    }
    t.take(&mut r);
    assert_eq!(t.highest, sent, "it sent more");
    assert!(r.sent - before < 400, "{} packets in answer to 500", r.sent - before);
    r.honest_goes_on();
}

#[test]
fn an_mss_of_one_is_raised_to_something_bearable() {
    for mss in [0u8, 1, 40] {
        let mut r = Rig::new(1);
        let mut t = Taker::open(&mut r, 65_535, &[2, 4, 0, mss]);
        for _ in 0..200 {
            r.pass(5 * MS);
            if t.take(&mut r) {
                t.reply(&mut r, 65_535);
            }
        }
        assert!(t.taken() > 5000, "{} bytes", t.taken());
        // CVE-2019-11479.
        assert!(t.taken() as u64 / t.segments >= 36, "{} bytes in {} segments", t.taken(), t.segments);
        r.honest_goes_on();
    }
}

//! A connected peer who lies in options and sends pieces that contradict each other.

use crate::rig::{Raw, Rig, Serve, sack_option};
use iopkt_base::{Duration, Rng};
use iopkt_sim::pattern;
use iopkt_wire::tcp::Flags;

const MS: Duration = Duration::from_millis(1);
/// MSS 1460, SACK permitted.
const SYN: [u8; 8] = [2, 4, 5, 0xb4, 4, 2, 1, 1];

/// Takes in-order bytes of the victim's stream, from `raw.ack` on; returns how many segments brought data.
fn take(r: &mut Rig, raw: &mut Raw, base: u32) -> usize {
    let mut n = 0;
    for g in r.heard(raw).into_iter().filter(|g| !g.data.is_empty()) {
        n += 1;
        let off = u64::from(g.h.seq.wrapping_sub(base));
        assert!(g.data.iter().enumerate().all(|(i, b)| *b == pattern(7, off + i as u64)), "bytes at {off}");
        if g.h.seq == raw.ack {
            raw.ack = raw.ack.wrapping_add(g.data.len() as u32);
        }
    }
    n
}

/// Behaves until so many bytes more have arrived.
fn behave(r: &mut Rig, raw: &mut Raw, base: u32, bytes: u32) {
    let until = raw.ack.wrapping_sub(base) + bytes;
    for _ in 0..200_000 {
        take(r, raw, base);
        let f = raw.seg(Flags::ACK, &[], &[]);
        r.forge(f);
        if raw.ack.wrapping_sub(base) >= until {
            return;
        }
        r.pass(10 * MS);
    }
    panic!("stuck at {} of {until}", raw.ack.wrapping_sub(base));
}

#[test]
fn sack_blocks_of_nonsense_are_ignored() {
    let mut r = Rig::new(1);
    r.serve = Serve::Write;
    let mut raw = Raw::new(5000);
    r.open(&mut raw, &SYN);
    let (base, mut rng) = (raw.ack, Rng::new(3));
    let before = r.sent;
    r.every(MS, 2000, |r, i| {
        let mut at = || base.wrapping_add([rng.below(1 << 20), rng.next_u32()][(i & 1) as usize]);
        // Backwards, empty, far ahead, behind, overlapping each other.
        let blocks = [(at(), at()), (at(), at()), (at(), at()), (at(), at())];
        let f = raw.seg(Flags::ACK, &sack_option(&blocks), &[]);
        r.forge(f);
    });
    assert!(r.sent - before < 8000, "{} packets in answer to 2000", r.sent - before);
    behave(&mut r, &mut raw, base, 100_000);
    r.honest_goes_on();
}

#[test]
fn what_was_sacked_and_then_forgotten_is_sent_again() {
    let mut r = Rig::new(1);
    r.serve = Serve::Write;
    let mut raw = Raw::new(5000);
    r.open(&mut raw, &SYN);
    let base = raw.ack;
    for _ in 0..5 {
        r.pass(20 * MS);
        r.heard(&raw);
        // Says that all but the first segment is there, and forgets it (RFC 2018 section 8 allows that).
        let have = (raw.ack.wrapping_add(1460), raw.ack.wrapping_add(14_600));
        for _ in 0..4 {
            let f = raw.seg(Flags::ACK, &sack_option(&[have]), &[]);
            r.forge(f);
            r.pass(MS);
        }
        behave(&mut r, &mut raw, base, 30_000);
    }
    r.honest_goes_on();
}

#[test]
fn sack_blocks_of_single_bytes_cost_little() {
    let mut r = Rig::new(1);
    r.serve = Serve::Write;
    let mut raw = Raw::new(5000);
    r.open(&mut raw, &SYN);
    r.pass(20 * MS);
    let base = raw.ack;
    let before = r.sent;
    // CVE-2019-11477 and -11478: every second byte, over and over.
    r.every(Duration::from_micros(200), 5000, |r, i| {
        let at = |k: u32| base.wrapping_add(1 + 2 * ((i * 4 + k) % 7000));
        let blocks = [0, 1, 2, 3].map(|k| (at(k), at(k).wrapping_add(1)));
        let f = raw.seg(Flags::ACK, &sack_option(&blocks), &[]);
        r.forge(f);
    });
    // The honest connection's are among them.
    assert!(r.sent - before < 4000, "{} packets in answer to 5000", r.sent - before);
    behave(&mut r, &mut raw, base, 100_000);
    r.honest_goes_on();
}

#[test]
fn pieces_that_contradict_each_other_make_one_stream() {
    for seed in 0..20 {
        let mut r = Rig::new(1);
        let mut raw = Raw::new(5000);
        r.open(&mut raw, &SYN);
        let (base, mut rng) = (raw.seq, Rng::new(seed));
        let total = 20_000u32;
        // What each piece says is its own number: no two agree.
        for i in 0..400u32 {
            let from = rng.below(total);
            let n = (1 + rng.below(1400)).min(total - from);
            let f =
                Raw { seq: base.wrapping_add(from), ..raw }.seg(Flags::ACK, &[], &vec![i as u8; n as usize]);
            r.forge(f);
            if rng.chance(0.3) {
                r.pass(MS);
            }
        }
        // Then everything once more.
        for from in (0..total).step_by(1000) {
            let f = Raw { seq: base.wrapping_add(from), ..raw }.seg(Flags::ACK, &[], &[0xff; 1000]);
            r.forge(f);
            r.pass(MS);
        }
        r.pass(100 * MS);
        // What was acknowledged was read, once; the bytes of one place did not change after that.
        let acked = r.heard(&raw).iter().map(|g| g.h.ack.wrapping_sub(base)).filter(|a| *a <= total).max();
        assert_eq!((r.served[0].2.len() as u32, acked), (total, Some(total)), "seed {seed}");
        if seed == 0 {
            r.honest_goes_on();
        }
    }
}

#[test]
fn timestamps_that_lie_do_not_stop_retransmission() {
    let mut r = Rig::new(1);
    r.serve = Serve::Write;
    let mut raw = Raw::new(5000);
    let ts = |val: u32, ecr: u32| {
        let mut o = vec![1, 1, 8, 10];
        o.extend_from_slice(&val.to_be_bytes());
        o.extend_from_slice(&ecr.to_be_bytes());
        o
    };
    let mut syn = SYN.to_vec();
    syn.extend(ts(5, 0));
    let f = raw.seg(Flags::SYN, &syn, &[]);
    r.forge(f);
    r.pass(20 * MS);
    raw.seq += 1;
    raw.ack = r.heard(&raw)[0].h.seq.wrapping_add(1);
    let (base, mut rng) = (raw.ack, Rng::new(9));
    // Echoes what was never sent: an RTT of nothing, of weeks, from the future.
    for i in 0..500u32 {
        let f = raw.seg(Flags::ACK, &ts(5 + i, [rng.next_u32(), 0, 1, u32::MAX][i as usize % 4]), &[]);
        r.forge(f);
        r.pass(5 * MS);
        take(&mut r, &mut raw, base);
    }
    assert!(raw.ack.wrapping_sub(base) > 100_000, "{} bytes", raw.ack.wrapping_sub(base));
    // Now silence: the first retransmission comes in seconds, not in weeks.
    r.pass(20 * MS);
    r.heard(&raw);
    r.pass(Duration::from_secs(10));
    assert!(!r.heard(&raw).is_empty(), "no retransmission in ten seconds");
    r.honest_goes_on();
}

#[test]
fn options_of_noise_do_no_harm() {
    let mut r = Rig::new(1);
    r.serve = Serve::Write;
    let mut raw = Raw::new(5000);
    r.open(&mut raw, &SYN);
    let (base, mut rng) = (raw.ack, Rng::new(4));
    for _ in 0..3000 {
        let n = rng.below(41) as usize;
        let mut o: Vec<u8> = (0..n).map(|_| rng.next_u32() as u8).collect();
        // Lengths of 0, 1 and past the end.
        if n > 2 {
            o[0] = [2, 3, 4, 5, 8, 34, 254, 30][rng.below(8) as usize];
            o[1] = [0, 1, 2, 40, 255, 4, 10, 34][rng.below(8) as usize];
        }
        let f = raw.seg(Flags::ACK, &o, &[]);
        r.forge(f);
        r.pass(Duration::from_micros(300));
    }
    behave(&mut r, &mut raw, base, 100_000);
    r.honest_goes_on();
}

//! Strangers who cannot see the connection: resets, SYNs, data and ICMP errors made up (RFC 5961, RFC 5927).

use crate::rig::{HONEST, Raw, Rig, icmp_error};
use iopkt_base::Duration;
use iopkt_wire::tcp::Flags;

/// 2000 of them are over before the honest transfer is.
const GAP: Duration = Duration::from_micros(400);

/// A segment for the honest connection whose number is `off` from what the victim expects.
fn forged(r: &Rig, off: i64) -> Raw {
    let mut f = r.honest_ends();
    if let Some((h, len)) = &r.honest {
        f.seq = h.seq.wrapping_add(*len).wrapping_add(off as u32);
        f.ack = h.ack;
    }
    f
}

#[test]
fn resets_that_are_not_exact_end_nothing() {
    let mut r = Rig::new(1);
    r.every(GAP, 2000, |r, i| {
        // All over the number space; some in the window, which is some 200,000.
        let off = [100_000, -5000, 150_000 + i64::from(i), i64::from(i) * 2_000_003][i as usize % 4];
        let f = forged(r, off).seg(Flags::RST, &[], &[]);
        r.forge(f);
    });
    // RFC 5961 section 7: challenges are rationed.
    assert!(r.counter("{} challenge acks") < 200, "{} challenges", r.counter("{} challenge acks"));
    r.honest_goes_on();
}

#[test]
fn syns_on_a_connection_end_nothing() {
    let mut r = Rig::new(1);
    r.every(GAP, 2000, |r, i| {
        let f = forged(r, i64::from(i) * 1_000_003 % 150_000).seg(Flags::SYN, &[2, 4, 5, 180], &[]);
        r.forge(f);
    });
    assert!(r.counter("{} challenge acks") < 200, "{} challenges", r.counter("{} challenge acks"));
    r.honest_goes_on();
}

#[test]
fn data_with_impossible_acknowledgments_is_not_taken() {
    let mut r = Rig::new(1);
    r.every(GAP, 2000, |r, i| {
        let mut f = forged(r, 3000 + i64::from(i) * 17);
        f.ack = f.ack.wrapping_add([1 << 31, 1 << 30, (1u32 << 30).wrapping_neg()][i as usize % 3]);
        let f = f.seg(Flags::ACK | Flags::PSH, &[], &[0xee; 300]);
        r.forge(f);
    });
    // Each byte that arrives is compared.
    r.honest_goes_on();
}

#[test]
fn icmp_errors_do_not_end_an_established_connection() {
    let mut r = Rig::new(1);
    r.every(GAP, 2000, |r, i| {
        let ends = r.honest_ends();
        let at = r.honest.as_ref().map_or(0, |h| h.0.ack);
        // Unreachable (net, host, protocol, port, admin), source quench, time exceeded.
        let (ty, code) = [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (4, 0), (11, 0)][i as usize % 7];
        r.forge(icmp_error(ty, code, 0, HONEST, (22, ends.port), at));
    });
    r.honest_goes_on();
}

#[test]
fn a_path_mtu_of_68_is_believed_only_as_far_as_it_must() {
    // A number that is not in flight: ignored.
    let mut r = Rig::new(1);
    r.every(GAP, 500, |r, _| {
        let ends = r.honest_ends();
        let at = r.honest.as_ref().map_or(0, |h| h.0.ack);
        r.forge(icmp_error(3, 4, 68, HONEST, (22, ends.port), at.wrapping_add(1 << 30)));
    });
    r.honest_goes_on();
    // One that is: segments get smaller, but not absurdly, and the transfer ends.
    let mut r = Rig::new(1);
    r.every(GAP, 100, |r, _| {
        let ends = r.honest_ends();
        let at = r.honest.as_ref().map_or(0, |h| h.0.ack);
        r.forge(icmp_error(3, 4, 68, HONEST, (22, ends.port), at));
    });
    let before = r.sent;
    r.pass(Duration::from_secs(60));
    assert!(r.up.done() && r.down.done(), "{:?} {:?}", r.up, r.down);
    assert!(r.sent - before < 60_000, "{} packets for two MiB", r.sent - before);
    r.end();
}

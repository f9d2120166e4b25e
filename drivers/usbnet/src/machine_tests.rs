//! The machine against the simulated modem, in memory and in virtual time: what a real bus does, in any order
//! of events, one step at a time.

use crate::rig::{Rig, frame};
use iopkt_base::Duration;

#[test]
fn link_and_speed_follow_notifications_and_the_interface() {
    let mut r = Rig::new(64, true);
    assert_eq!(r.heard.link.map(|l| l.0), Some(false), "down while the interface is down");
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    assert_eq!(r.heard.link, Some((true, 100_000_000, 50_000_000)));
    r.m.stop(r.now.as_nanos(), &mut r.heard);
    r.run();
    assert_eq!(r.heard.link.map(|l| l.0), Some(false));
    r.far_sends(&frame(60, 1));
    assert!(r.heard.frames.is_empty(), "nothing is received while down");
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    r.far_sends(&frame(60, 2));
    assert_eq!(r.heard.frames, [frame(60, 2)]);
}

#[test]
fn every_length_passes_both_ways_zero_length_packets_included() {
    let mut r = Rig::up();
    for len in [60, 511, 512, 513, 1023, 1024, 1025, 1513, 1514] {
        r.far_sends(&frame(len, len as u8));
        assert_eq!(r.heard.frames.pop().map(|f| f.len()), Some(len), "received {len}");
        assert!(r.m.send(r.now.as_nanos(), &frame(len, len as u8), &mut r.heard));
        r.run();
        assert_eq!(r.far.pop().map(|f| f.len()), Some(len), "sent {len}");
    }
    assert_eq!((r.heard.errors, r.far.len(), r.heard.frames.len()), ((0, 0), 0, 0));
}

#[test]
fn many_frames_keep_their_order() {
    let mut r = Rig::up();
    for i in 0..500u32 {
        let mut f = frame(60 + (i as usize * 7) % 1400, 0);
        f[14..18].copy_from_slice(&i.to_be_bytes());
        r.far_sends(&f);
        assert!(r.m.send(r.now.as_nanos(), &f, &mut r.heard));
        r.run();
        assert_eq!((r.heard.frames.pop(), r.far.pop()), (Some(f.clone()), Some(f)));
    }
}

#[test]
fn a_full_queue_says_so_and_goes_on() {
    let mut r = Rig::new(4, true);
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.run();
    let mut taken = 0;
    while r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard) {
        taken += 1;
        assert!(taken < 100, "the queue is bounded");
    }
    assert!((1..=4).contains(&taken));
    r.run();
    assert!(r.heard.ready > 0, "room is told");
    assert_eq!(r.far.len(), taken);
    assert!(r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard));
}

#[test]
fn while_down_frames_are_lost_and_counted() {
    let mut r = Rig::new(64, true);
    assert!(r.m.send(r.now.as_nanos(), &frame(60, 1), &mut r.heard));
    assert_eq!(r.heard.errors, (0, 1));
}

#[test]
fn stalls_are_cleared_and_traffic_goes_on() {
    let mut r = Rig::up();
    let (i, o) = (r.set_ep(true), r.set_ep(false));
    for ep in [i, o] {
        r.fault(&format!("stall ep={ep:#x}"));
        // What meets the stall may be lost; what follows must pass.
        r.m.send(r.now.as_nanos(), &frame(60, 1), &mut r.heard);
        r.far_sends(&frame(60, 1));
        r.pass(Duration::from_millis(100));
        (r.far, r.heard.frames) = (Vec::new(), Vec::new());
        assert!(r.m.send(r.now.as_nanos(), &frame(70, 2), &mut r.heard));
        r.far_sends(&frame(80, 3));
        r.pass(Duration::from_millis(100));
        assert_eq!(r.far.last().map(Vec::len), Some(70), "endpoint {ep:#x}: {:?}", r.heard.said);
        assert_eq!(r.heard.frames.last().map(Vec::len), Some(80), "endpoint {ep:#x}");
    }
    assert_eq!(r.heard.failed, None);
}

#[test]
fn babble_short_and_missing_zlp_cost_frames_not_the_link() {
    for fault in ["babble", "short", "nozlp"] {
        let mut r = Rig::up();
        r.fault(fault);
        r.far_sends(&frame(512, 1));
        r.far_sends(&frame(512, 2));
        r.pass(Duration::from_millis(200));
        r.heard.frames.clear();
        r.far_sends(&frame(90, 3));
        r.pass(Duration::from_millis(200));
        assert_eq!(r.heard.frames, [frame(90, 3)], "after {fault}: {:?} {:?}", r.heard.said, r.heard.failed);
    }
}

#[test]
fn a_refused_packet_filter_does_not_stop_the_device() {
    let mut r = Rig::new(64, true);
    r.fault("stall");
    r.m.filter(r.now.as_nanos(), false, true, &[], &mut r.heard);
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    // The stalled request may have been the setting or the filter; only the first is fatal.
    if r.heard.failed.is_none() {
        r.far_sends(&frame(60, 1));
        assert_eq!(r.heard.frames.len(), 1);
    }
}

#[test]
fn at_commands_pass_the_serial_function() {
    let mut r = Rig::new(64, true);
    r.m.at.typed(b"ATE0\rAT+CGMI\r");
    r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    let text = String::from_utf8_lossy(r.m.at.waiting()).into_owned();
    assert!(text.matches("OK").count() == 2, "{text:?}");
}

#[test]
fn at_commands_pass_as_encapsulated_commands() {
    let mut r = Rig::new(64, false);
    r.m.at.typed(b"AT+CGMI\r");
    r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    let text = String::from_utf8_lossy(r.m.at.waiting()).into_owned();
    assert!(text.contains("OK"), "{text:?}");
    r.m.at.written(1000);
    r.m.at.typed(b"AT+NOSUCH\r");
    r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    assert!(String::from_utf8_lossy(r.m.at.waiting()).contains("ERROR"));
}

#[test]
fn the_end_of_the_connection_ends_everything_once() {
    let mut r = Rig::up();
    r.pass(Duration::from_secs(1));
    while r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard) {}
    let ready = r.heard.ready;
    r.m.gone(&mut r.heard);
    assert_eq!(r.heard.link.map(|l| l.0), Some(false));
    assert_eq!(r.heard.ready, ready + 1, "who waits for room hears that there is nothing to wait for");
    assert!(r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard), "taken and counted as lost");
    r.m.stop(r.now.as_nanos(), &mut r.heard);
    r.m.gone(&mut r.heard);
    assert!(r.m.tx().is_empty() && !r.m.alive());
}

#[test]
fn garbage_from_the_usb_stack_is_an_error_not_a_panic() {
    let mut seed = iopkt_base::Rng::new(7);
    for _ in 0..200 {
        let mut r = Rig::up();
        let space = r.m.space();
        let n = space.len().min(400);
        for b in &mut space[..n] {
            *b = seed.next_u64() as u8;
        }
        if seed.chance(0.5) {
            space[..4].copy_from_slice(&3u32.to_be_bytes());
        }
        r.m.commit(n);
        if r.m.process(r.now.as_nanos(), &mut r.heard).is_err() {
            r.m.gone(&mut r.heard);
        }
    }
}

/// Found by fuzzing: lines piled up as requests behind one that the modem never completed.
#[test]
fn a_modem_that_takes_no_commands_holds_the_terminal_back() {
    let mut r = Rig::new(64, false);
    // The modem is not run: nothing completes.
    for _ in 0..2000 {
        let n = r.m.at.room().min(4);
        r.m.at.typed(&b"ATI\r"[..n]);
        r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    }
    assert_eq!(r.m.at.room(), 0);
}

/// A user who changes his mind while the device is silent leaves one request of a kind behind.
#[test]
fn requests_do_not_add_up_while_the_device_is_silent() {
    let mut r = Rig::up();
    for i in 0..1000 {
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.m.filter(r.now.as_nanos(), i % 2 == 0, false, &[], &mut r.heard);
        r.m.stop(r.now.as_nanos(), &mut r.heard);
    }
    // Bounded by an assertion in the machine itself; then the device answers, and the last word counts.
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.run();
    assert_eq!(r.heard.link.map(|l| l.0), Some(true));
}

//! Every fault of the simulated modem against the machine, in virtual time: recovered within a second, or reported.

use crate::machine::TX_TIMEOUT;
use crate::rig::{Rig, frame};
use iopkt_base::Duration;
use iopkt_gadget::modem::Odd;
use iopkt_usbip::cdc::filter;

const SECOND: Duration = Duration::from_secs(1);

impl Rig {
    fn now(&self) -> u64 {
        self.now.as_nanos()
    }

    fn sends(&mut self, len: usize) -> bool {
        let now = self.now();
        self.m.send(now, &frame(len, 0x5a), &mut self.heard)
    }

    /// Whether frames pass both ways now.
    fn works(&mut self) -> bool {
        self.heard.frames.clear();
        self.far.clear();
        self.far_sends(&frame(333, 1));
        let taken = self.sends(222);
        self.pass(Duration::from_millis(20));
        taken && self.far.iter().any(|f| f.len() == 222) && self.heard.frames.iter().any(|f| f.len() == 333)
    }

    #[track_caller]
    fn recovers(&mut self, what: &str) {
        assert!(
            self.works(),
            "{what}: {:?} {:?} {:?}",
            self.heard.said,
            self.heard.failed,
            self.heard.errors
        );
        assert_eq!(self.heard.failed, None, "{what}");
        assert_eq!(self.heard.link.map(|l| l.0), Some(true), "{what}");
    }

    fn said(&self, text: &str) -> bool {
        self.heard.said.iter().any(|s| s.contains(text))
    }

    fn start(&mut self) {
        let now = self.now();
        self.m.start(now, &mut self.heard);
        self.run();
    }
}

fn odd(o: &[Odd]) -> Rig {
    let mut r = Rig::odd(o, true, |s| {
        s.fcs = o.contains(&Odd::Fcs);
        s.fix_dst = o.contains(&Odd::BogusDst);
    });
    r.start();
    r
}

#[test]
fn every_fault_of_the_bus_is_over_within_a_second() {
    let (i, o, n) = (0x81, 0x01, 0x82);
    let faults = [
        format!("stall ep={i:#x}"),
        format!("stall ep={o:#x}"),
        format!("stall ep={n:#x}"),
        "stall ep=0x83".into(),
        "stall ep=0x02".into(),
        "stall ep=0 count=3".into(),
        "babble count=4".into(),
        "short count=4".into(),
        "oversize count=4".into(),
        "late ms=300 count=4".into(),
        "nozlp count=3".into(),
        "suspend ms=900".into(),
        format!("noise ep={i:#x} count=20"),
        format!("noise ep={o:#x} count=20"),
        format!("noise ep={n:#x} count=20"),
        format!("noise ep={i:#x} count=150"),
        "noise ep=0x83 count=20".into(),
        "notify say=disconnect".into(),
        "notify say=connect count=3".into(),
        "notify say=speed count=3".into(),
        "notify say=response count=100".into(),
        "notify say=unknown count=20".into(),
        "notify say=garbage count=20".into(),
    ];
    for f in faults {
        let mut r = odd(&[]);
        r.recovers("before");
        r.fault(&f);
        for len in [100, 512, 1514, 60].repeat(6) {
            r.far_sends(&frame(len, 3));
            r.sends(len);
            r.pass(Duration::from_millis(5));
        }
        if f.contains("disconnect") {
            // What the device says is believed until it says something else.
            assert_eq!(r.heard.link.map(|l| l.0), Some(false));
            r.fault("notify say=connect");
        }
        r.pass(SECOND - Duration::from_millis(140));
        r.recovers(&f);
    }
}

#[test]
fn an_unplug_in_every_state_ends_everything_once() {
    // After each URB from the first on: the plug is pulled in the middle of whatever goes on.
    for after in 0..60 {
        for torn in ["", " torn"] {
            let mut r = Rig::new(16, after % 2 == 0);
            r.fault(&format!("unplug after={after}{torn}"));
            r.start();
            let mut rounds = 0;
            while !r.unplugged && rounds < 100 {
                r.sends(512);
                r.far_sends(&frame(1514, 1));
                if rounds % 7 == 3 {
                    let now = r.now();
                    r.m.at.typed(b"ATI\r");
                    r.m.at_changed(now, &mut r.heard);
                }
                if rounds % 11 == 5 {
                    let now = r.now();
                    r.m.stop(now, &mut r.heard);
                    r.m.start(now, &mut r.heard);
                }
                r.pass(Duration::from_millis(1));
                rounds += 1;
            }
            assert!(r.unplugged, "{after}");
            let ready = r.heard.ready;
            r.m.gone(&mut r.heard);
            assert!(r.heard.ready <= ready + 1 && !r.m.alive() && r.m.tx().is_empty());
            assert_ne!(r.heard.link.map(|l| l.0), Some(true));
            assert_eq!(r.m.deadline(), u64::MAX, "nothing is waited for");
            assert_eq!(r.heard.failed, None, "after {after}{torn}");
        }
    }
}

#[test]
fn a_transmitter_that_hangs_is_brought_back_step_by_step() {
    for (until, said, steps) in [
        ("setting", "selecting the data setting anew", 1),
        ("reset", "resetting the device", 2),
        ("unplug", "transmit timed out", 3),
    ] {
        let mut r = odd(&[]);
        r.recovers("before");
        r.fault(&format!("hang ep=0x01 until={until}"));
        for _ in 0..10 {
            r.sends(100);
        }
        r.pass(Duration::from_nanos(TX_TIMEOUT) - SECOND);
        assert!(r.heard.said.is_empty(), "patience: {:?}", r.heard.said);
        for step in 1..=steps {
            // Each step ends its trouble at once or hangs again with the next frames.
            r.pass(SECOND + Duration::from_millis(100));
            if step < steps {
                r.sends(100);
                r.pass(Duration::from_nanos(TX_TIMEOUT) - SECOND);
            }
        }
        if until == "unplug" {
            assert!(r.heard.failed.as_deref().is_some_and(|f| f.contains(said)), "{:?}", r.heard.said);
        } else {
            assert!(r.said(said), "{until}: {:?}", r.heard.said);
            r.recovers(until);
        }
        assert!(r.heard.errors.1 > 0, "what did not leave is counted");
    }
}

#[test]
fn a_receiver_that_only_errs_is_brought_back_or_given_up() {
    let mut r = odd(&[]);
    r.fault("noise ep=0x81 count=100000");
    r.far_sends(&frame(60, 1));
    r.pass(SECOND);
    assert!(
        r.heard.failed.as_deref().is_some_and(|f| f.contains("receive errors in a row")),
        "{:?}",
        r.heard.said
    );
    assert!(r.said("selecting the data setting anew") && r.said("resetting the device"));
    let n = r.heard.said.len();
    assert!(n < 20, "it is not said a thousand times: {n}");
}

#[test]
fn control_requests_without_an_answer_are_cancelled_and_reported() {
    let mut r = Rig::odd(&[], true, |s| s.control_timeout = 200_000_000);
    r.fault("late ms=600 count=1");
    r.start();
    r.pass(Duration::from_millis(250));
    assert!(r.said("SET_INTERFACE not answered within 200 ms"), "{:?}", r.heard.said);
    r.pass(Duration::from_millis(600));
    r.recovers("after the cancelled request");
    // One whose cancellation is not answered either: the device is given up, in words.
    let mut r = Rig::odd(&[], true, |s| s.control_timeout = 200_000_000);
    r.start();
    let now = r.now();
    r.m.filter(now, true, false, &[], &mut r.heard);
    let n = r.m.tx().len();
    r.m.tx_done(n); // lost on the way
    r.m.tick(now + 200_000_000, &mut r.heard);
    r.m.tick(now + 400_000_000, &mut r.heard);
    let why = r.heard.failed.unwrap_or_default();
    assert!(why.contains("SET_ETHERNET_PACKET_FILTER neither answered nor cancelled"), "{why}");
}

#[test]
fn notifications_that_fail_for_ever_are_given_up() {
    let mut r = Rig::new(16, true);
    r.fault("noise ep=0x82 count=1000000");
    r.start();
    r.pass(SECOND);
    assert!(r.said("notification endpoint"), "{:?}", r.heard.said);
    r.recovers("without notifications");
}

#[test]
fn a_link_that_nobody_talks_about_is_up() {
    for o in [Odd::Mute, Odd::NoNotify] {
        let mut r = odd(&[o]);
        if o == Odd::Mute {
            assert_eq!(r.heard.link.map(|l| l.0), Some(false), "it may yet say something");
            r.pass(Duration::from_secs(3));
        }
        assert_eq!(r.heard.link, Some((true, 0, 0)), "{o:?}");
        r.recovers("mute");
    }
    // A frame is word enough.
    let mut r = odd(&[Odd::Mute]);
    r.far_sends(&frame(60, 1));
    assert_eq!(r.heard.link.map(|l| l.0), Some(true));
}

#[test]
fn odd_notifications_are_understood() {
    for o in [Odd::Twice, Odd::WrongIndex, Odd::SmallNotify] {
        let mut r = odd(&[o]);
        r.pass(Duration::from_millis(10));
        assert_eq!(r.heard.link, Some((true, 100_000_000, 50_000_000)), "{o:?}");
        r.recovers("odd notifications");
    }
}

#[test]
fn devices_without_filters_receive_what_they_like() {
    for o in [Odd::NoFilter, Odd::NoMulticast, Odd::BadMulticast] {
        let mut r = odd(&[o]);
        let now = r.now();
        r.m.filter(now, false, false, &[[1, 0, 0x5e, 0, 0, 9]], &mut r.heard);
        r.run();
        r.far_sends(&group(9));
        r.far_sends(&group(10));
        assert_eq!(r.heard.frames, [group(9)], "{o:?}: {:?}", r.heard.said);
        r.recovers("without filters");
    }
    // Refused three times, not asked a fourth.
    let mut r = odd(&[Odd::NoFilter]);
    for i in 0..10 {
        let now = r.now();
        r.m.filter(now, i % 2 == 0, false, &[], &mut r.heard);
        r.run();
    }
    assert_eq!(r.heard.said.iter().filter(|s| s.contains("refused")).count(), 3, "{:?}", r.heard.said);
}

fn group(last: u8) -> Vec<u8> {
    let mut f = frame(80, last);
    f[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, last]);
    f
}

#[test]
fn groups_are_filtered_by_the_device_and_again_here() {
    // Groups 1 and 9 share a bucket.
    for (o, passes) in [(None, 1), (Some(Odd::Hashed), 2)] {
        let mut r = odd(o.as_slice());
        let now = r.now();
        r.m.filter(now, false, false, &[[1, 0, 0x5e, 0, 0, 1]], &mut r.heard);
        r.run();
        let before = r.d.function().counters();
        [1, 9, 2].iter().for_each(|g| r.far_sends(&group(*g)));
        assert_eq!(r.d.function().counters().to_host - before.to_host, passes, "{o:?}");
        assert_eq!(r.heard.frames, [group(1)], "the interface gets what it has joined: {o:?}");
        let words = r.m.multicast();
        assert!(
            words.contains(if o.is_some() { "hashed filter of 64" } else { "perfect filter of 64" }),
            "{words}"
        );
    }
    // More groups than it holds: all multicast, filtered here.
    let mut r = odd(&[]);
    let many: Vec<[u8; 6]> = (0..65).map(|n| [1, 0, 0x5e, 0, 1, n]).collect();
    let now = r.now();
    r.m.filter(now, false, false, &many, &mut r.heard);
    r.run();
    r.far_sends(&group(7));
    assert!(r.heard.frames.is_empty() && r.m.multicast().contains("1 frames of others dropped"));
    // The device forgets its list with its setting: it is given anew.
    let mut r = odd(&[]);
    let now = r.now();
    r.m.filter(now, false, false, &[[1, 0, 0x5e, 0, 0, 1]], &mut r.heard);
    r.m.stop(now, &mut r.heard);
    r.run();
    r.start();
    r.far_sends(&group(1));
    assert_eq!(r.heard.frames, [group(1)]);
    let now = r.now();
    r.m.filter(now, true, false, &[], &mut r.heard);
    r.run();
    r.far_sends(&group(77));
    assert!(r.m.promiscuous() && r.heard.frames.contains(&group(77)));
    assert_eq!(filter::PROMISCUOUS, 1);
}

#[test]
fn a_device_without_zero_length_packets_gets_a_byte_instead() {
    let mut r = odd(&[Odd::NoZlp]);
    r.sends(512);
    r.pass(Duration::from_millis(10));
    assert!(r.said("padding"), "{:?}", r.heard.said);
    r.sends(100); // runs into the one before: lost
    r.pass(Duration::from_millis(10));
    r.far.clear();
    r.sends(512);
    r.sends(1024);
    r.pass(Duration::from_millis(10));
    assert_eq!(r.far.iter().map(Vec::len).collect::<Vec<_>>(), [513, 1025]);
    r.recovers("with padding");
}

#[test]
fn frames_with_their_fcs() {
    let mut r = odd(&[Odd::Fcs]);
    r.recovers("fcs");
    assert_eq!(r.d.function().counters().from_host_errors, 0);
    for len in [60, 508, 1020, 1514] {
        r.far.clear();
        r.sends(len);
        r.run();
        assert_eq!(r.far.first().map(Vec::len), Some(len));
    }
}

#[test]
fn made_up_destinations_become_ours() {
    let mut r = odd(&[Odd::BogusDst]);
    let mut f = frame(60, 7);
    f[..6].copy_from_slice(&r.d.function().mac());
    r.far_sends(&f);
    assert_eq!(r.heard.dst.pop(), Some(Some(r.d.function().mac())));
    r.far_sends(&frame(60, 8));
    assert_eq!(r.heard.dst.pop(), Some(None), "a broadcast stays one");
}

#[test]
fn wake_up_patterns_follow_the_interface() {
    let mut r = odd(&[Odd::Power]);
    assert!(!r.d.function().wakes_up(), "up: nothing to wake up for");
    let now = r.now();
    r.m.stop(now, &mut r.heard);
    r.run();
    assert!(r.d.function().wakes_up(), "down: frames to our address wake it up");
    r.start();
    assert!(!r.d.function().wakes_up());
    r.recovers("power filters");
}

#[test]
fn the_device_s_own_counters() {
    let mut r = odd(&[]);
    (0..3).for_each(|_| assert!(r.works()));
    let now = r.now();
    assert!(r.m.statistics(now, &mut r.heard).age(now).is_some(), "asked for when the link came up");
    r.run();
    let now = r.now();
    let s: Vec<_> = r.m.statistics(now, &mut r.heard).values().collect();
    assert_eq!(s.len(), 5, "those that it has: {s:?}");
    assert!(s.contains(&("Frames Transmitted OK", 3)) && s.contains(&("Frames Received OK", 3)), "{s:?}");
    // One that it says it has and has not is asked for once.
    let mut r = odd(&[Odd::Mute]);
    r.pass(Duration::from_secs(4));
    let now = r.now();
    assert_eq!(r.m.statistics(now, &mut r.heard).values().count(), 5);
    // An idle device is left alone.
    r.pass(SECOND);
    let n = r.d.submitted();
    r.pass(Duration::from_secs(60));
    assert_eq!(r.d.submitted(), n);
}

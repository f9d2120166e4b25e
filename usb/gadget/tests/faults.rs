//! Faults on demand do what they say, once, and end.

mod common;

use common::*;
use iopkt_base::Duration;
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::modem::descriptors::*;
use iopkt_gadget::{Event, faults};
use iopkt_usbip::cdc;
use iopkt_usbip::hdr::status;

fn up() -> Host {
    Host::up(ModemConfig::default())
}

#[test]
fn class_requests_stall_as_often_as_asked() {
    let mut h = up();
    h.fault("stall count=2");
    let f = cdc::set_packet_filter(ECM_CONTROL, 0x0e);
    h.stalls(f, &[]);
    h.ok(iopkt_usbip::setup::Setup::get_string(1), &[]); // a standard request is not one
    h.stalls(f, &[]);
    h.ok(f, &[]);
}

#[test]
fn late_is_late_and_in_order() {
    let mut h = up();
    let a = h.read(ECM_IN, 2048);
    h.fault("late ms=200 count=1");
    h.frame_in(&frame(60));
    h.frame_in(&frame(61));
    let c =
        h.submit(0, iopkt_usbip::Dir::Out, 0, &[], 0, cdc::set_packet_filter(ECM_CONTROL, 0x0e).to_bytes());
    h.wait(Duration::from_millis(199));
    assert_eq!((h.take(a), h.take(c)), (None, None));
    h.wait(Duration::from_millis(2));
    assert_eq!(h.take(a).unwrap().data, frame(60));
    assert_eq!(h.take(c).unwrap().status, status::OK);
    assert_eq!(h.frames_up(), [frame(61)]);
}

#[test]
fn short_frames_and_babble_and_missing_zero_packets() {
    let mut h = up();
    h.fault("short count=1");
    h.frame_in(&frame(100));
    h.frame_in(&frame(100));
    assert_eq!(h.frames_up(), [frame(100)[..50].to_vec(), frame(100)]);

    h.fault("babble");
    let a = h.read(ECM_IN, 2048);
    h.frame_in(&frame(60));
    assert_eq!(h.take(a).unwrap().status, status::EOVERFLOW);
    h.frame_in(&frame(61));
    assert_eq!(h.frames_up(), [frame(61)]);

    h.fault("nozlp");
    h.frame_in(&frame(512));
    assert!(h.frames_up().is_empty(), "the URB waits for more");
    h.frame_in(&frame(60));
    let got = h.frames_up().concat();
    assert!(got.ends_with(&frame(60)), "the next frame ran into it");
    h.frame_in(&frame(512));
    assert_eq!(h.frames_up(), [frame(512)]);
}

#[test]
fn the_plug_is_pulled_after_so_many_urbs() {
    let mut h = up();
    h.fault("unplug after=2 torn");
    h.read(ECM_IN, 2048);
    h.read(ECM_IN, 2048);
    assert!(h.out.events.is_empty());
    let n = h.read(ECM_IN, 2048);
    assert_eq!(h.out.events, [Event::Unplug { torn: true }]);
    assert_eq!(h.take(n), None);
}

#[test]
fn clear_ends_everything() {
    let mut h = up();
    h.fault("link drop=100");
    h.fault("stall count=9");
    h.fault("late ms=60000");
    h.fault("unplug after=0");
    h.fault("clear");
    h.ok(cdc::set_packet_filter(ECM_CONTROL, 0x0e), &[]);
    h.frame_in(&frame(60));
    assert_eq!(h.frames_up(), [frame(60)]);
    assert!(h.out.events.is_empty());
}

#[test]
fn a_lossy_link_loses_about_what_it_says() {
    let mut h = up();
    h.fault("link drop=30");
    let arrived: usize = (0..1000)
        .map(|_| {
            h.frame_in(&frame(60));
            h.frames_up().len()
        })
        .sum();
    assert!((600..800).contains(&arrived), "{arrived} of 1000");
    let left: usize = (0..1000).map(|_| h.send(&frame(60)).len()).sum();
    assert!((600..800).contains(&left), "{left} of 1000");
}

#[test]
fn reordered_duplicated_damaged_and_slow_frames() {
    let mut h = up();
    h.fault("link reorder=100");
    h.frame_in(&frame(60));
    assert!(h.frames_up().is_empty());
    h.frame_in(&frame(61));
    assert_eq!(h.frames_up(), [frame(61), frame(60)]);
    h.frame_in(&frame(62));
    h.wait(Duration::from_millis(20));
    assert_eq!(h.frames_up(), [frame(62)], "it does not wait for ever");

    h.fault("link dup=100");
    h.frame_in(&frame(60));
    assert_eq!(h.frames_up(), [frame(60), frame(60)]);

    h.fault("link corrupt=100");
    let sent = frame(1000);
    let got = h.send(&sent).concat();
    let bits: u32 = got.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((got.len(), bits), (1000, 1));

    h.fault("link delay=50");
    assert!(h.send(&frame(60)).is_empty());
    h.wait(Duration::from_millis(49));
    assert!(h.out.frames.is_empty());
    h.wait(Duration::from_millis(1));
    assert_eq!(std::mem::take(&mut h.out.frames), [frame(60)]);
}

#[test]
fn commands_that_make_no_sense_are_refused_in_words() {
    for bad in [
        "",
        "smoke",
        "stall ep=999",
        "stall ep=x",
        "late",
        "late ms=0",
        "short count=-1",
        "link drop=101",
        "link drop",
        "link nan=1",
        "unplug now",
        "clear all",
        "babble count=1 count=2",
    ] {
        let words: Vec<&str> = bad.split(' ').filter(|w| !w.is_empty()).collect();
        let e = faults::parse(&words).unwrap_err();
        assert!(e.len() > 10, "{bad}: {e}");
    }
    let mut h = up();
    let f = faults::parse(&["stall", "ep=0x8f"]).unwrap();
    assert!(h.dev.fault(h.now, &f, &mut h.out).unwrap_err().contains("0x8f"));
}

//! A panic in a driver is caught, named, and ends only what it must.

mod common;

use common::{PATIENCE, World, frame, rusty, wait};
use iopkt_base::Errno;

#[test]
fn in_load() {
    let w = World::new("p-load");
    let e = w.load(&rusty(), "panic=load").err().unwrap();
    assert_eq!(e.errno, Errno::EIO);
    assert!(e.text.contains("libdevnp_rusty.so: its load panicked"), "{e}");
    assert!(w.rig.logged("rusty: panicked at") && w.rig.logged("told to panic in load"));
}

#[test]
fn in_bind() {
    let w = World::new("p-bind");
    let e = w.load(&rusty(), "panic=bind").err().unwrap();
    assert!(e.text.contains("bind panicked"), "{e}");
    assert_eq!(w.rig.names(), [""; 0]);
}

#[test]
fn in_start_the_interface_stays_down_and_goes() {
    let w = World::new("p-start");
    let mut d = w.load(&rusty(), "panic=start").unwrap();
    assert_eq!(w.rig.dev("rust0", |d| d.dev.start()), Err(Errno::EIO));
    w.rig.until("the departure", |s| s.departed == ["rust0"]);
    d.unload(PATIENCE).unwrap();
}

#[test]
fn in_transmit_no_packet_is_lost_from_the_books() {
    let w = World::new("p-transmit");
    let mut d = w.load(&rusty(), "panic=transmit").unwrap();
    let mut other = w.load("sample", "").unwrap();
    w.rig.up("rust0");
    w.rig.up("smp0");
    w.rig.send_all("rust0", (0..5).map(frame).collect());
    w.rig.until("the departure", |s| s.departed == ["rust0"]);
    w.rig.until("finished", |s| s.finished == [d.id()]);
    assert_eq!(d.buffers_out(), 0);
    // The other driver's interface on the same thread works on.
    w.rig.send("smp0", &frame(9));
    w.rig.until("the other's frame", |s| s.frames.iter().any(|f| f.0 == "smp0" && f.1[14] == 9));
    d.unload(PATIENCE).unwrap();
    other.unload(PATIENCE).unwrap();
}

#[test]
fn in_timer_stop_wake_and_detach() {
    for place in ["timer", "stop", "wake", "detach"] {
        let w = World::new(&format!("p-{place}"));
        let options = format!("panic={place}{}", if place == "wake" { ",wake" } else { "" });
        let mut d = w.load(&rusty(), &options).unwrap();
        if place != "wake" {
            w.rig.up("rust0");
        }
        if matches!(place, "timer" | "wake") {
            w.rig.until("the departure", |s| s.departed == ["rust0"]);
        } else {
            w.rig.destroy("rust0");
        }
        wait("the device's end", || d.devices() == 0);
        d.unload(PATIENCE).unwrap();
        assert!(w.rig.logged(&format!("told to panic in {place}")), "{place}");
    }
}

#[test]
fn a_departed_device_of_a_pnp_driver_leaves_the_driver() {
    let w = World::new("pnp");
    let mut d = w.load(&rusty(), "pnp,wake").unwrap();
    w.rig.until("the departure", |s| s.departed == ["rust0"]);
    w.rig.until("gone", |s| s.log.iter().any(|l| l.1 == "rusty: echo has gone"));
    assert!(w.rig.seen().finished.is_empty());
    d.unload(PATIENCE).unwrap();
}

#[test]
fn an_error_of_a_call_comes_back() {
    let w = World::new("errors");
    let mut d = w.load(&rusty(), "").unwrap();
    let g = [1, 0, 0x5e, 0, 0, 1];
    assert_eq!(w.rig.dev("rust0", move |d| d.dev.filter(false, false, &[g; 3])), Err(Errno(28)));
    assert!(w.rig.logged("rust0: filter: two groups at most"));
    w.rig.dev("rust0", move |d| d.dev.filter(false, false, &[g; 2])).unwrap();
    d.unload(PATIENCE).unwrap();
}

#[test]
fn what_is_new_reaches_a_driver_in_rust_and_panics_there_are_caught() {
    let w = World::new("p-new");
    let mut d = w.load(&rusty(), "keep,quiet=77").unwrap();
    let quieted = w.rig.dev("rust0", |d| {
        assert_eq!(d.dev.set_media(0x26), Ok(()));
        assert_eq!((d.dev.set_media(0x30), d.dev.media()), (Err(Errno::EINVAL), 0x26));
        assert_eq!(d.dev.may_destroy(), Err((Errno::EBUSY, "told to stay".to_owned())));
        let (call, dev) = d.dev.quiesce().unwrap();
        // SAFETY: the device is bound, and stays so until this closure ends.
        unsafe { call(dev) };
        d.dev.nicinfo().unwrap()
    });
    assert!(quieted.contains(&("Quieted with".into(), "77".into())), "{quieted:?}");
    assert!(w.rig.logged("medium 0x26"));
    d.unload(PATIENCE).unwrap();
    // Without a quiesce of its own, the call does nothing.
    let mut d = w.load(&rusty(), "panic=media").unwrap();
    w.rig.dev("rust0", |d| {
        let (call, dev) = d.dev.quiesce().unwrap();
        // SAFETY: as above.
        unsafe { call(dev) };
        assert_eq!(d.dev.set_media(0x26), Err(Errno::EIO));
        assert_eq!(d.dev.media(), 0x20);
    });
    w.rig.until("the departure", |s| s.departed.iter().any(|n| n == "rust0"));
    d.unload(PATIENCE).unwrap();
}

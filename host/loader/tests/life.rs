//! A driver's life: load, interfaces, traffic, the ways it ends. One process, several tests at a time.

mod common;

use common::{PATIENCE, World, cc, frame, wait};
use iopkt_base::Errno;
use iopkt_loader::Unloaded;

#[test]
fn frames_go_down_and_come_back() {
    let w = World::new("echo");
    let mut d = w.load("sample", "mac=020000534101").unwrap();
    assert_eq!(w.rig.names(), ["smp0"]);
    assert_eq!(d.devices(), 1);
    w.rig.up("smp0");
    for i in 0..100 {
        w.rig.send("smp0", &frame(i));
    }
    w.rig.until("100 frames", |s| s.frames.len() == 100);
    for (i, (name, f)) in w.rig.seen().frames.iter().enumerate() {
        assert_eq!((name.as_str(), f[14], f.len()), ("smp0", i as u8, 60));
        assert_eq!((&f[..6], &f[6..12]), (&[2, 0, 0, 0x53, 0x41, 1][..], &[2, 0, 0, 0, 0, 9][..]));
    }
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert_eq!(w.rig.names(), [""; 0]);
    assert_eq!(d.buffers_out(), 0);
    let links: Vec<_> = w.rig.seen().links.iter().map(|l| l.1.up).collect();
    assert_eq!(links.first(), Some(&Some(true)));
}

#[test]
fn a_driver_that_takes_little_loses_nothing() {
    let w = World::new("slow");
    let mut d = w.load("sample", "slow").unwrap();
    w.rig.up("smp0");
    for i in 0..50 {
        w.rig.send("smp0", &frame(i));
    }
    w.rig.until("50 frames", |s| s.frames.len() == 50);
    let tags: Vec<u8> = w.rig.seen().frames.iter().map(|f| f.1[14]).collect();
    assert_eq!(tags, (0..50).collect::<Vec<u8>>(), "in order");
    d.unload(PATIENCE).unwrap();
    assert_eq!(d.buffers_out(), 0);
}

#[test]
fn name_and_unit_are_the_hosts() {
    let w = World::new("names");
    let mut d = w.load("sample", "name=wan,unit=3,devices=2").unwrap();
    assert_eq!(w.rig.names(), ["wan3", "wan4"]);
    assert_eq!(d.options().rest, "devices=2");
    d.unload(PATIENCE).unwrap();
    let mut d = w.load("sample", "unit=-5").unwrap();
    assert_eq!(w.rig.names(), ["smp0"]);
    d.unload(PATIENCE).unwrap();
}

#[test]
fn a_failed_load_says_why_and_leaves_nothing() {
    let w = World::new("fail");
    let e = w.load("sample", "fail").err().unwrap();
    assert_eq!(e.errno, Errno::EIO);
    assert_eq!(e.text, "devnp-sample.so: told to fail; leave the option fail out");
    let e = w.load("sample", "mode=round").err().unwrap();
    assert_eq!(
        (e.errno, e.text.as_str()),
        (Errno::EINVAL, "devnp-sample.so: option mode=round: not a good value")
    );
    let e = w.load("sample", "nodev").err().unwrap();
    assert_eq!((e.errno, e.text.as_str()), (Errno::ENODEV, "devnp-sample.so: found no device"));
    let e = w.load("sample", "attachfail").err().unwrap();
    assert_eq!((e.errno, e.text.as_str()), (Errno::EBUSY, "devnp-sample.so: failed to load: Device busy"));
    assert_eq!(w.rig.names(), [""; 0]);
    assert!(!common::mapped(&w.dir.0.display().to_string()));
}

#[test]
fn a_runtime_that_refuses_after_bind_gets_its_device_detached() {
    let w = World::new("refuse");
    w.rig.refuse(Some(Errno::EEXIST));
    let e = w.load("sample", "").err().unwrap();
    assert_eq!(e.errno, Errno::ENODEV, "{e}");
    assert!(!common::mapped(&w.dir.0.display().to_string()));
}

#[test]
fn the_last_destroyed_interface_finishes_the_driver() {
    let w = World::new("destroy");
    let mut d = w.load("sample", "devices=2").unwrap();
    w.rig.up("smp0");
    w.rig.destroy("smp0");
    wait("one device left", || d.devices() == 1);
    assert!(w.rig.seen().finished.is_empty());
    w.rig.destroy("smp1");
    w.rig.until("finished", |s| s.finished == [d.id()]);
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

#[test]
fn a_resident_driver_stays() {
    let w = World::new("stay");
    let mut d = w.load("sample", "stay,nodev").unwrap();
    assert_eq!(d.devices(), 0);
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    let mut d = w.load("sample", "stay,verbose").unwrap();
    w.rig.destroy("smp0");
    wait("no device", || d.devices() == 0);
    d.unload(PATIENCE).unwrap();
    assert!(w.rig.seen().finished.is_empty());
    assert!(w.rig.logged("sample: unloading"));
}

#[test]
fn a_device_may_leave_by_itself() {
    let w = World::new("depart");
    let mut d = w.load("sample", "depart=20,beat=1").unwrap();
    w.rig.up("smp0");
    w.rig.until("the departure", |s| s.departed == ["smp0"]);
    w.rig.until("finished", |s| s.finished == [d.id()]);
    assert!(!w.rig.seen().frames.is_empty(), "beats came before");
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

#[test]
fn a_long_load_gives_up_when_told() {
    let w = World::new("wait");
    let mut d = w.start("sample", "wait=3600").unwrap();
    assert!(d.outcome().is_none());
    d.stop();
    assert_eq!(d.wait().unwrap_err().errno, Errno::EINTR);
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

#[test]
fn names_come_and_go_with_the_device() {
    let w = World::new("named");
    let mut d = w.load("sample", "named").unwrap();
    let link = w.env.root.path("/dev/sample0");
    assert_eq!(std::fs::read_link(&link).unwrap().as_os_str(), "/dev/null");
    w.rig.destroy("smp0");
    wait("the name's end", || std::fs::symlink_metadata(&link).is_err());
    // A stale link of a killed process is replaced; a living one of another stack, and a file that is none
    // of ours, are not.
    std::os::unix::fs::symlink("/dev/pts/gone", &link).unwrap();
    d.unload(PATIENCE).unwrap();
    let mut d = w.load("sample", "named").unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap().as_os_str(), "/dev/null");
    assert!(w.rig.logged("pointed to /dev/pts/gone"));
    d.unload(PATIENCE).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    assert_eq!(w.load("sample", "named").err().unwrap().errno, Errno::EEXIST);
    std::fs::remove_file(&link).unwrap();
    std::fs::write(&link, "precious").unwrap();
    assert_eq!(w.load("sample", "named").err().unwrap().errno, Errno::EEXIST);
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "precious");
}

#[test]
fn calls_for_a_device_reach_it() {
    let w = World::new("ctl");
    let mut d = w.load("sample", "").unwrap();
    let info = w.rig.dev("smp0", |d| {
        d.dev.filter(true, false, &[[1, 0, 0x5e, 0, 0, 1], [1, 0, 0x5e, 0, 0, 2]]).unwrap();
        d.dev.set_mtu(9000).unwrap();
        assert_eq!(d.dev.set_mtu(9001), Err(Errno::EINVAL));
        assert_eq!(d.dev.set_mtu(67), Err(Errno::EINVAL));
        d.dev.set_caps(1, 1).unwrap();
        assert_eq!(d.dev.set_caps(2, 1), Err(Errno::EINVAL));
        d.dev.set_flags(0x1004);
        d.dev.nicinfo().unwrap()
    });
    let get = |l: &str| info.iter().find(|x| x.0 == l).map(|x| x.1.as_str());
    assert_eq!(get("Maximum Transmittable data Unit"), Some("9014"));
    assert_eq!(get("Promiscuous Mode"), Some("On"));
    assert_eq!(get("Groups"), Some("2"));
    assert_eq!(get("Capabilities"), Some("0x1 0x1"));
    assert_eq!(get("Flags"), Some("0x1004"));
    wait("the wake-up from load", || {
        let i = w.rig.dev("smp0", |d| d.dev.nicinfo().unwrap());
        i.iter().any(|x| x.0 == "Wakes" && x.1 != "0")
    });
    let text = w.rig.dev("smp0", |d| d.dev.description().text.clone());
    assert_eq!(text, "sample device 0");
    d.unload(PATIENCE).unwrap();
}

#[test]
fn mistakes_of_a_driver_are_named() {
    let w = World::new("mistakes");
    let mut d = w.load("sample", "leakfd,stranger").unwrap();
    w.rig.destroy("smp0");
    d.unload(PATIENCE).unwrap();
    assert!(
        w.rig.logged("smp0: left 1 descriptors registered at detach: a fault of the driver devnp-sample.so")
    );
    assert!(w.rig.logged("smp0: tx_ready called outside a call for this port"));
}

#[test]
fn unload_in_the_middle_of_traffic() {
    let w = World::new("traffic");
    for round in 0..20 {
        let mut d = w.load("sample", "devices=2,beat=1").unwrap();
        for name in ["smp0", "smp1"] {
            w.rig.up(name);
            for i in 0..40 {
                w.rig.send(name, &frame(i));
            }
        }
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped, "round {round}");
        assert_eq!(d.buffers_out(), 0, "round {round}");
    }
}

/// The C driver of docs/drivers.md is a driver.
#[test]
fn the_guides_example_works() {
    let w = World::new("guide");
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drivers.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let source = guide.split("```c\n").nth(1).and_then(|s| s.split("```").next()).unwrap();
    cc(source, &w.dir.0.join("devnp-mirror.so"));
    let mut d = w.load("mirror", "").unwrap();
    w.rig.up("mir0");
    w.rig.send("mir0", &frame(7));
    w.rig.until("the frame", |s| s.frames == [("mir0".to_owned(), frame(7))]);
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

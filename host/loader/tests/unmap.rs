//! Unloading leaves nothing: no mapping, no descriptor, no thread; and loading again takes the file as it is
//! then. One test at a time, because it counts what the process has.

mod common;

use common::{PATIENCE, World, fds, frame, mapped, rusty, wait};
use iopkt_loader::Unloaded;
use std::sync::Mutex;

static ONE: Mutex<()> = Mutex::new(());

fn one() -> std::sync::MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn hundred(w: &World, what: &str, options: &str, file: &str) {
    // Once before counting: the first use of a thing may keep something for good.
    w.load(what, options).unwrap().unload(PATIENCE).unwrap();
    let before = (fds(), threads());
    for round in 0..100 {
        let mut d = w.load(what, options).unwrap();
        assert!(mapped(file));
        let name = w.rig.names().pop().unwrap();
        w.rig.up(&name);
        w.rig.send(&name, &frame(1));
        let n = round + 1;
        w.rig.until("the frame", |s| s.frames.iter().filter(|f| f.1[14] == 1).count() >= n);
        if round % 2 == 0 {
            w.rig.destroy(&name);
        }
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped, "round {round}");
        assert!(!mapped(file), "round {round}");
        assert_eq!(d.buffers_out(), 0);
    }
    wait("the threads' end", || threads() == before.1);
    assert_eq!(fds(), before.0);
}

#[test]
fn a_hundred_rounds_in_c() {
    let _one = one();
    let w = World::new("rounds-c");
    hundred(&w, "sample", "", &w.dir.0.join("devnp-sample.so").display().to_string());
}

#[test]
fn a_hundred_rounds_in_rust() {
    let _one = one();
    let w = World::new("rounds-rust");
    hundred(&w, &rusty(), "", "libdevnp_rusty.so");
}

#[test]
fn thread_local_data_of_the_control_thread_pins_nothing() {
    let _one = one();
    let w = World::new("tls");
    let mut d = w.load(&rusty(), "thread").unwrap();
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert!(!mapped("libdevnp_rusty.so"));
}

/// What a driver must not do: the log says what came of it, and the next load is not affected.
#[test]
fn thread_local_data_on_a_packet_thread_pins_the_image() {
    let _one = one();
    let w = World::new("pin");
    let so = w.dir.0.join("devnp-rusty.so");
    std::fs::copy(rusty(), &so).unwrap();
    for round in 0..3 {
        let mut d = w.load("rusty", "pin").unwrap();
        w.rig.up("rust0");
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::StillMapped, "round {round}");
        assert!(
            w.rig
                .logged("devnp-rusty.so unloaded but still mapped: a thread still has its thread-local data")
        );
    }
    let mut d = w.load("rusty", "").unwrap();
    w.rig.up("rust0");
    w.rig.send("rust0", &frame(3));
    w.rig.until("the frame", |s| s.frames.iter().any(|f| f.1[14] == 3));
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

/// A panic that was caught on the packet thread leaves nothing behind that would pin the image.
#[test]
fn after_a_panic_the_name_loads_again() {
    let _one = one();
    let w = World::new("panicked");
    let so = w.dir.0.join("devnp-rusty.so");
    std::fs::copy(rusty(), &so).unwrap();
    for _ in 0..5 {
        let mut d = w.load("rusty", "panic=transmit").unwrap();
        w.rig.up("rust0");
        w.rig.send("rust0", &frame(3));
        w.rig.until("finished", |s| s.finished.contains(&d.id()));
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
        assert_eq!(d.buffers_out(), 0);
    }
    let mut d = w.load("rusty", "").unwrap();
    w.rig.up("rust0");
    w.rig.send("rust0", &frame(4));
    w.rig.until("the frame", |s| s.frames.iter().any(|f| f.1[14] == 4));
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

#[test]
fn a_hundred_failed_loads_leave_nothing() {
    let _one = one();
    let w = World::new("rounds-fail");
    let _ = w.load("sample", "fail");
    let before = (fds(), threads());
    for options in ["fail", "nodev", "attachfail", "mode=x"] {
        for _ in 0..25 {
            assert!(w.load("sample", options).is_err());
            assert!(!mapped(&w.dir.0.display().to_string()));
        }
    }
    wait("the threads' end", || threads() == before.1);
    assert_eq!(fds(), before.0);
}

#[test]
fn held_buffers_keep_the_image_and_the_next_load_gets_its_own() {
    let _one = one();
    let w = World::new("hold");
    let mut d = w.load("sample", "hold=3").unwrap();
    w.rig.up("smp0");
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::StillMapped);
    assert_eq!(d.buffers_out(), 3);
    assert!(w.rig.logged("devnp-sample.so stays mapped: it still holds 3 packet buffers"));
    assert!(mapped("devnp-sample.so"));
    // The same name again: a private copy, which goes.
    let mut d = w.load("sample", "").unwrap();
    assert!(mapped("memfd:devnp-sample.so"));
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert!(!mapped("memfd:devnp-sample.so"));
}

#[test]
fn the_file_is_loaded_as_it_is_now() {
    let _one = one();
    let w = World::new("reload");
    let so = w.dir.0.join("devnp-sample.so");
    let mut first = w.load("sample", "").unwrap();
    assert_eq!(first.info().version, "1.0");
    // A new file under the same name, while the old one is mapped: dlopen alone would give the old one.
    let mut bytes = std::fs::read(&so).unwrap();
    let at = bytes.windows(4).position(|b| b == b"1.0\0").unwrap();
    bytes[at] = b'2';
    let new = w.dir.0.join("new.so");
    std::fs::write(&new, &bytes).unwrap();
    std::fs::rename(&new, &so).unwrap();
    let mut second = w.load("sample", "unit=7").unwrap();
    assert_eq!(second.info().version, "2.0");
    assert_eq!(w.rig.names(), ["smp0", "smp7"]);
    assert_eq!(first.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert_eq!(w.rig.names(), ["smp7"]);
    assert_eq!(second.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

#[test]
fn two_loads_of_one_file_are_two_images() {
    let _one = one();
    let w = World::new("twice");
    let mut a = w.load("sample", "").unwrap();
    let mut b = w.load("sample", "").unwrap();
    assert_eq!(w.rig.names(), ["smp0", "smp1"]);
    assert!(mapped("memfd:devnp-sample.so"));
    assert_eq!(a.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert_eq!(w.rig.names(), ["smp1"]);
    assert_eq!(b.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert!(!mapped(&w.dir.0.display().to_string()) && !mapped("memfd:devnp-sample.so"));
}

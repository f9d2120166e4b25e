//! The log ring: order, wrap, several writers, killed writers, damage.

use iopkt_slog::{CAPACITY, MAX_TEXT, Reader, Severity, Writer, major};
use iopkt_sys::{Root, paths};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> (Dir, Root) {
        let d = std::env::temp_dir().join(format!("iopkt-slog-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&d);
        (Dir(d.clone()), Root::at(d))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One message. A writer gives up when another was not given the processor while it held the lock: then once more.
fn info(w: &Writer, text: &str) {
    let tries = (0..500).take_while(|_| !w.write(Severity::Info, major::NETWORK, 0, text)).count();
    assert!(tries < 500, "the lock is never free");
}

/// What a writer says that gave a message up.
fn says_lost(r: &iopkt_slog::Record) -> bool {
    r.text.starts_with("log: ") && r.text.ends_with(" lost")
}

#[test]
fn records_come_back_as_they_went_in() {
    let (_d, root) = Dir::new("basic");
    assert_eq!(Reader::open(&root).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let w = Writer::open(&root).unwrap();
    w.write(Severity::Error, major::USB, 77, "ein \u{1b}[31mTest\nzwei\t€  \n");
    info(&w, "");
    let mut r = Reader::open(&root).unwrap();
    let got = r.read().unwrap();
    assert_eq!((got.list.len(), got.missed), (2, 0));
    let a = &got.list[0];
    assert_eq!((a.seq, a.severity, a.major, a.minor), (1, Severity::Error, major::USB, 77));
    assert_eq!((a.text.as_str(), a.pid), ("ein  [31mTest zwei €", std::process::id()));
    assert!(a.time.as_secs() > 1_600_000_000);
    assert_eq!(got.list[1].text, "");
    assert_eq!(r.read().unwrap().list, []);
    info(&w, "later");
    assert_eq!(r.read().unwrap().list[0].text, "later");
    // A log outlives its writers.
    drop(w);
    assert_eq!(Reader::open(&root).unwrap().read().unwrap().list.len(), 3);
}

#[test]
fn what_is_too_long_is_cut_at_a_character() {
    let (_d, root) = Dir::new("long");
    info(&Writer::open(&root).unwrap(), &"ü".repeat(MAX_TEXT));
    let got = Reader::open(&root).unwrap().read().unwrap();
    assert_eq!(got.list[0].text, "ü".repeat(MAX_TEXT / 2));
}

#[test]
fn the_oldest_make_room_and_readers_know() {
    let (_d, root) = Dir::new("wrap");
    let w = Writer::open(&root).unwrap();
    let mut slow = None;
    for i in 0..20_000u32 {
        info(&w, &format!("message {i} <{}>", "x".repeat(i as usize % 90)));
        if i == 10 {
            slow = Some(Reader::open(&root).unwrap());
        }
    }
    for (mut r, was_there) in [(Reader::open(&root).unwrap(), false), (slow.unwrap(), true)] {
        let got = r.read().unwrap();
        assert_eq!(got.missed > 0, was_there);
        assert!(got.list.len() > 1000);
        assert_eq!(got.list.last().unwrap().seq, 20_000);
        assert!(got.list.windows(2).all(|w| w[1].seq == w[0].seq + 1));
        for m in &got.list {
            assert!(m.text.starts_with(&format!("message {} ", m.seq - 1)), "{m:?}");
        }
    }
    let size = std::fs::metadata(root.path(paths::SLOG)).unwrap().len();
    assert!(size < CAPACITY + 4096, "{size}");
}

#[test]
fn threads_and_readers_at_the_same_time() {
    let (_d, root) = Dir::new("threads");
    let w = Writer::open(&root).unwrap();
    let w2 = Writer::open(&root).unwrap();
    std::thread::scope(|s| {
        for t in 0..4 {
            let w = if t % 2 == 0 { &w } else { &w2 };
            s.spawn(move || (0..2000).for_each(|i| info(w, &format!("{t} {i} <{}>", "y".repeat(i % 60)))));
        }
        s.spawn(|| {
            let mut r = Reader::open(&root).unwrap();
            let mut last = 0;
            while last < 4000 {
                for m in r.read().unwrap().list {
                    assert!(m.seq > last, "order");
                    last = m.seq;
                    if says_lost(&m) {
                        continue;
                    }
                    assert_eq!(m.text.split(' ').count(), 3, "torn: {m:?}");
                }
                std::thread::yield_now();
            }
        });
    });
    let got = Reader::open(&root).unwrap().read().unwrap().list;
    assert!(got.last().unwrap().seq >= 8000);
}

/// Not a test by itself: the process that the next test kills.
#[test]
fn child_that_writes_until_killed() {
    let Some(dir) = std::env::var_os("IOPKT_SLOG_VICTIM") else { return };
    let w = Writer::open(&Root::at(dir)).unwrap();
    for i in 0u64.. {
        w.write(Severity::Info, major::USB, 0, &format!("victim {i} {}", "z".repeat(i as usize % 800)));
    }
}

#[test]
fn killed_writers_leave_a_whole_log() {
    let (d, root) = Dir::new("kill");
    let w = Writer::open(&root).unwrap();
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_killed", "--nocapture"])
            .env("IOPKT_SLOG_VICTIM", &d.0)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut r = Reader::open(&root).unwrap();
        r.skip_to_end().unwrap();
        let mut seen = 0;
        while seen < 50 + round * 3 {
            assert!(r.wait(Some(std::time::Duration::from_secs(20))).unwrap(), "the child writes nothing");
            seen += r.read().unwrap().list.len() as u64;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        info(&w, &format!("round {round}"));
        let got = Reader::open(&root).unwrap().read().unwrap();
        assert_eq!(got.missed, 0);
        assert_eq!(got.list.last().unwrap().text, format!("round {round}"));
        assert!(got.list.windows(2).all(|w| w[1].seq > w[0].seq));
    }
}

#[test]
fn a_stopped_holder_of_the_lock_costs_messages_not_time() {
    let (_d, root) = Dir::new("stopped");
    let w = Writer::open(&root).unwrap();
    let holder = std::fs::File::open(root.path(paths::SLOG)).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(!w.write(Severity::Info, major::NETWORK, 0, "lost"));
    assert!(!w.write(Severity::Info, major::NETWORK, 0, "lost too"));
    drop(holder);
    info(&w, "found");
    let got = Reader::open(&root).unwrap().read().unwrap().list;
    let texts: Vec<_> = got.iter().map(|m| m.text.as_str()).collect();
    assert_eq!(texts, ["log: 2 messages lost", "found"]);
}

#[test]
fn a_file_that_is_no_log_is_begun_anew() {
    let (_d, root) = Dir::new("garbage");
    let path = root.prepare(paths::SLOG).unwrap();
    std::fs::write(&path, "this is no log\n".repeat(100)).unwrap();
    assert_eq!(Reader::open(&root).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    info(&Writer::open(&root).unwrap(), "hello");
    assert_eq!(Reader::open(&root).unwrap().read().unwrap().list[0].text, "hello");
}

#[test]
fn damage_costs_the_damaged_records_only() {
    let (_d, root) = Dir::new("damage");
    let w = Writer::open(&root).unwrap();
    (0..1000).for_each(|i| info(&w, &format!("number {i:04}")));
    let file = std::fs::OpenOptions::new().write(true).open(root.path(paths::SLOG)).unwrap();
    file.write_all_at(&[0xa5; 1000], 64 + 20_000).unwrap();
    let got = Reader::open(&root).unwrap().read().unwrap();
    assert!(got.missed >= 1000 && got.missed < 1200, "{}", got.missed);
    assert!(got.list.len() > 970);
    assert_eq!(got.list.last().unwrap().text, "number 0999");
    // Writers get past it too.
    (0..20_000).for_each(|i| info(&w, &format!("again {i}")));
    let got = Reader::open(&root).unwrap().read().unwrap();
    assert_eq!(got.missed, 0);
    assert!(got.list.iter().all(|m| m.text.starts_with("again")));
}

/// A record's mark, length and checksum may be right and its number wrong.
#[test]
fn numbers_that_do_not_grow_hide_nothing() {
    let (_d, root) = Dir::new("numbers");
    let w = Writer::open(&root).unwrap();
    info(&w, "one");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(root.path(paths::SLOG)).unwrap();
    let mut b = [0; 48];
    file.read_exact_at(&mut b, 64).unwrap();
    let at = b.windows(8).position(|w| w == 1u64.to_ne_bytes()).expect("its number");
    b[at..at + 8].copy_from_slice(&u64::MAX.to_ne_bytes());
    let sum = b[8..].iter().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    b[4..8].copy_from_slice(&sum.to_ne_bytes());
    file.write_all_at(&b, 64).unwrap();
    info(&w, "two");
    let got = Reader::open(&root).unwrap().read().unwrap().list;
    let texts: Vec<_> = got.iter().map(|m| (m.seq, m.text.as_str())).collect();
    assert_eq!(texts, [(u64::MAX, "one"), (2, "two")]);
}

#[test]
fn clearing_keeps_the_count_and_followers() {
    let (_d, root) = Dir::new("clear");
    let w = Writer::open(&root).unwrap();
    info(&w, "old");
    let mut r = Reader::open(&root).unwrap();
    r.read().unwrap();
    w.clear().unwrap();
    assert_eq!(Reader::open(&root).unwrap().read().unwrap().list, []);
    info(&w, "new");
    let got = r.read().unwrap();
    assert_eq!((got.list[0].text.as_str(), got.list[0].seq, got.missed), ("new", 2, 0));
}

#[test]
fn a_follower_sleeps_until_something_is_written() {
    let (_d, root) = Dir::new("follow");
    let w = Writer::open(&root).unwrap();
    let mut r = Reader::open(&root).unwrap();
    assert!(!r.wait(Some(std::time::Duration::ZERO)).unwrap());
    std::thread::scope(|s| {
        s.spawn(|| info(&w, "wake up"));
        while r.read().unwrap().list.is_empty() {
            assert!(r.wait(Some(std::time::Duration::from_secs(20))).unwrap());
        }
    });
    while r.wait(Some(std::time::Duration::ZERO)).unwrap() {}
    assert_eq!(r.read().unwrap().list, []);
}

#[test]
fn another_size_keeps_the_newest_and_everybody_goes_on() {
    let (_d, root) = Dir::new("resize");
    let (w, other) = (Writer::open(&root).unwrap(), Writer::open(&root).unwrap());
    (0..1000).for_each(|i| info(&w, &format!("number {i:04}")));
    let mut follower = Reader::open(&root).unwrap();
    assert_eq!(follower.read().unwrap().list.len(), 1000);
    for (size, kept) in
        [(8 << 10, 8192 / 56), (8 << 10, 8192 / 56), (1 << 20, 8192 / 56 + 1), (4096, 4096 / 56)]
    {
        assert_eq!(w.resize(size).unwrap(), size);
        assert_eq!(std::fs::metadata(root.path(paths::SLOG)).unwrap().len(), 64 + size);
        let list = Reader::open(&root).unwrap().read().unwrap().list;
        assert!(list.len().abs_diff(kept) <= 2, "{size}: {} {kept}", list.len());
        assert!(list.windows(2).all(|w| w[1].seq == w[0].seq + 1));
        info(&other, "after");
        let got = follower.read().unwrap();
        assert_eq!((got.list.len(), got.missed, got.list[0].text.as_str()), (1, 0, "after"), "{size}");
        follower.read().unwrap();
    }
    (0..5000).for_each(|i| info(&other, &format!("number {i:04}")));
    assert_eq!(Reader::open(&root).unwrap().read().unwrap().list.last().unwrap().text, "number 4999");
    for bad in [0, 4095, (16 << 20) + 1, u64::MAX] {
        assert_eq!(w.resize(bad).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_the_ring_are_read_without_panic(junk: Vec<u8>, at in 0u64..5000) {
        let (_d, root) = Dir::new("junk");
        let w = Writer::open(&root).unwrap();
        (0..50).for_each(|i| info(&w, &format!("n {i}")));
        let file = std::fs::OpenOptions::new().write(true).open(root.path(paths::SLOG)).unwrap();
        file.write_all_at(&junk, at).unwrap();
        if let Ok(mut r) = Reader::open(&root) {
            r.read().unwrap();
        }
        info(&w, "after");
        let got = Reader::open(&root).unwrap().read().unwrap();
        proptest::prop_assert_eq!(&got.list.last().unwrap().text, "after");
    }
}

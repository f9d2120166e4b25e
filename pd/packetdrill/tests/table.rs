//! The interface is held by a C program that loads the object as packetdrill does: built here with cc, so that no packetdrill is needed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The shared object beside this test.
fn object() -> PathBuf {
    let me = std::env::current_exe().expect("the test's own path");
    let deps = me.parent().expect("deps").to_path_buf();
    let name = "libiopkt_packetdrill.so";
    let so = deps.join(name);
    if so.exists() { so } else { deps.parent().expect("the profile's directory").join(name) }
}

#[test]
fn a_c_program_runs_the_table() {
    let so = object();
    assert!(so.exists(), "{}: not built", so.display());
    let dir = std::env::temp_dir().join(format!("iopkt-packetdrill-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let exe = dir.join("table");
    let src = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/table.c");
    let cc = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(&exe)
        .arg(src)
        .args(["-ldl", "-lpthread"])
        .status()
        .expect("cc: a C compiler is needed for this test");
    assert!(cc.success(), "table.c does not compile");
    let mut child = Command::new(&exe).arg(&so).stdout(Stdio::piped()).spawn().expect("the program");
    // Virtual time is short; real time is bounded for the case that a call never returns.
    let end = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(s) = child.try_wait().expect("wait") {
            break Some(s);
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut out = String::new();
    if let Some(mut o) = child.stdout.take() {
        use std::io::Read;
        let _ = o.read_to_string(&mut out);
    }
    let _ = std::fs::remove_dir_all(&dir);
    assert!(status.is_some_and(|s| s.success()), "{status:?}: {out}");
    assert_eq!(out, "ok\n");
}

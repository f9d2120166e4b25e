//! The real packetdrill, where there is one: it runs scripts of ours against the object. Debian has no package of it; build it from
//! its sources and name it by PACKETDRILL, or put it into the path. Without it this test says so and passes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Scripts that need nothing of the kernel but what every packetdrill does: no variables, no device.
const SCRIPTS: &[&str] = &[
    "open/passive",
    "close/fin-first",
    "loss/prr",
    "loss/sack-recovery",
    "loss/one-ack-is-no-reordering",
    "reset/timestamps",
    "window/cork",
    "window/more",
    "window/not-sent",
    "window/records",
];

fn packetdrill() -> Option<PathBuf> {
    let named = std::env::var_os("PACKETDRILL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.or_else(|| std::env::split_paths(&path).map(|d| d.join("packetdrill")).find(|p| p.is_file()))
}

fn object() -> PathBuf {
    let me = std::env::current_exe().expect("the test's own path");
    let deps = me.parent().expect("deps").to_path_buf();
    let so = deps.join("libiopkt_packetdrill.so");
    if so.exists() {
        so
    } else {
        deps.parent().expect("the profile's directory").join("libiopkt_packetdrill.so")
    }
}

/// The script without its commands, which would change variables of the kernel.
fn without_commands(from: &Path, to: &Path) {
    let text = std::fs::read_to_string(from).expect("a script");
    let kept: Vec<&str> = text.split('`').step_by(2).collect();
    std::fs::write(to, kept.concat()).expect("a copy");
}

#[test]
fn the_real_packetdrill_runs_our_scripts() {
    let Some(exe) = packetdrill() else {
        println!("SKIPPED: no packetdrill in the path, and PACKETDRILL is not set");
        return;
    };
    let dir = std::env::temp_dir().join(format!("iopkt-real-packetdrill-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let mut failed = String::new();
    for name in SCRIPTS {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/scripts").join(name);
        let (copy, log) = (dir.join("script.pkt"), dir.join("log"));
        without_commands(&from.with_extension("pkt"), &copy);
        let out = std::fs::File::create(&log).expect("a log");
        let mut child = Command::new(&exe)
            .arg(format!("--so_filename={}", object().display()))
            .args(["--so_flags=sysctl=off,tun=off", "--ip_version=ipv4", "--local_ip=192.168.0.1"])
            .args(["--gateway_ip=192.168.0.1", "--netmask_ip=255.255.0.0", "--remote_ip=192.0.2.1"])
            .arg(&copy)
            .stdout(out.try_clone().expect("the log"))
            .stderr(out)
            .stdin(Stdio::null())
            .spawn()
            .expect("packetdrill does not start");
        let end = Instant::now() + Duration::from_secs(60);
        let ok = loop {
            match child.try_wait().expect("wait") {
                Some(s) => break s.success(),
                None if Instant::now() > end => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break false;
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if !ok {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            failed += &format!("{name}: {said}\n");
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    assert!(failed.is_empty(), "{failed}");
}

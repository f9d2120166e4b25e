//! What is not io-pkt's goes to the system's own tool: the program itself, with a `bin` directory of its names first
//! on PATH and a "system" whose tools print how they were called.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// One test at a time: a program that one thread is writing cannot be run (ETXTBSY) while a child that another thread
/// started in that moment still has the descriptor.
static ONE: Mutex<()> = Mutex::new(());

struct Dirs(PathBuf, #[allow(dead_code)] MutexGuard<'static, ()>);

impl Dirs {
    fn new() -> Dirs {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let d = Dirs(std::env::temp_dir().join(format!("iopkt-pass-{}-{n}", std::process::id())), one);
        for sub in ["ours", "system", "root", "run"] {
            std::fs::create_dir_all(d.0.join(sub)).expect("directory");
        }
        for name in ["mount", "umount", "ping", "ifconfig", "route", "netstat", "nicinfo"] {
            symlink(env!("CARGO_BIN_EXE_iopkt-utils"), d.0.join("ours").join(name)).expect("link");
            if name != "nicinfo" {
                d.tool("system", name);
            }
        }
        d
    }

    fn tool(&self, dir: &str, name: &str) {
        let p = self.0.join(dir).join(name);
        std::fs::write(
            &p,
            "#!/bin/sh\necho system $(basename $0) \"$@\" | od -An -c | tr -d ' \\n'\nexit 7\n",
        )
        .expect("tool");
        std::fs::set_permissions(&p, std::fs::Permissions::from_mode(0o755)).expect("mode");
    }

    /// Runs a tool of ours with these directories on PATH. No stack is meant: the root has none.
    fn run(&self, path: &[&str], name: &str, args: &[&std::ffi::OsStr]) -> Output {
        let dirs = path.iter().map(|d| self.0.join(d)).chain(["/usr/bin", "/bin"].map(PathBuf::from));
        let mut c = Command::new(self.0.join(path[0]).join(name));
        c.args(args).env("PATH", std::env::join_paths(dirs).expect("PATH")).env_remove("SOCK");
        c.env_remove("IO_PKT_ROOT").env("XDG_RUNTIME_DIR", self.0.join("run"));
        c.output().expect("the program runs")
    }

    fn line(&self, line: &str) -> (Option<i32>, String, String) {
        let words: Vec<&std::ffi::OsStr> = line.split_whitespace().map(AsRef::as_ref).collect();
        let name = words[0].to_str().expect("name");
        let o = self.run(&["ours", "system"], name, &words[1..]);
        let text = |b: &[u8]| String::from_utf8_lossy(b).trim().to_string();
        (o.status.code(), text(&o.stdout), text(&o.stderr))
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A stack that somebody left running for root would answer: say so rather than test something else.
fn a_stack_runs() -> bool {
    let there = Path::new("/run/io-pkt/dev/socket").symlink_metadata().is_ok();
    if there {
        eprintln!("SKIPPED: /run/io-pkt/dev/socket is there, so commands are meant for it");
    }
    there
}

#[test]
fn words_of_others_go_to_the_systems_mount() {
    let d = Dirs::new();
    let seen = |line: &str| d.line(line);
    assert_eq!(
        seen("mount -t tmpfs -o size=1m none /mnt"),
        (Some(7), "systemmount-ttmpfs-osize=1mnone/mnt\\n".into(), "".into())
    );
    assert_eq!(seen("mount").1, "systemmount\\n");
    assert_eq!(seen("mount --bind a b").1, "systemmount--bindab\\n");
    assert_eq!(seen("umount /mnt").1, "systemumount/mnt\\n");
    assert_eq!(seen("umount -l mnt").1, "systemumount-lmnt\\n");
    // Bytes that are no text arrive as they are.
    use std::os::unix::ffi::OsStrExt;
    let o = d.run(&["ours", "system"], "mount", &[std::ffi::OsStr::from_bytes(b"/m\xff")]);
    assert!(
        o.stdout.ends_with(b"mount/m377\\n") || o.stdout.ends_with(b"mount/m\\377\\n"),
        "{:?}",
        String::from_utf8_lossy(&o.stdout)
    );
    // Ours stays ours, and says what is wrong itself.
    let (code, out, err) = seen("mount -T io-pktx devnp-ecm.so");
    assert!(code == Some(1) && out.is_empty() && err.starts_with("mount: -T io-pktx: unknown type"), "{err}");
}

#[test]
fn without_a_stack_looking_goes_to_the_system_and_changing_does_not() {
    if a_stack_runs() {
        return;
    }
    let d = Dirs::new();
    let (code, out, err) = d.line("ping -c 1 10.1");
    assert_eq!((code, out.as_str()), (Some(7), "systemping-c110.1\\n"));
    assert!(err.starts_with("ping: no stack runs at ") && err.ends_with("/system/ping"), "{err}");
    assert_eq!(d.line("ifconfig -a").1, "systemifconfig-a\\n");
    assert_eq!(d.line("netstat -rn").1, "systemnetstat-rn\\n");
    for line in ["ifconfig eth0 down", "route add default 10.1"] {
        let (code, out, err) = d.line(line);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{line}");
        assert!(err.contains("start one") && err.contains("to change the kernel's network"), "{err}");
    }
    // Names that only io-pkt has, and its own help, never leave it.
    let (code, _, err) = d.line("nicinfo");
    assert!(code == Some(1) && err.contains("no stack runs at"), "{err}");
    assert!(d.line("ping --help").1.starts_with("usage: ping"));
}

#[test]
fn a_stack_that_is_meant_and_not_there_is_an_error() {
    let d = Dirs::new();
    for (var, value) in [("IO_PKT_ROOT", d.0.join("root")), ("SOCK", PathBuf::from("/alt"))] {
        let mut c = Command::new(d.0.join("ours/ping"));
        c.args(["-c", "1", "10.1"]).env("PATH", d.0.join("system")).env(var, value);
        c.env("XDG_RUNTIME_DIR", d.0.join("run"));
        let o = c.output().expect("runs");
        let err = String::from_utf8_lossy(&o.stderr);
        assert!(
            o.stdout.is_empty() && o.status.code() == Some(2) && err.contains("no stack runs at"),
            "{var}: {err}"
        );
    }
}

#[test]
fn two_installations_do_not_pass_a_command_to_and_fro() {
    let d = Dirs::new();
    let copy = d.0.join("copy");
    std::fs::create_dir(&copy).expect("directory");
    // A copy under the tool's own name: nothing but its being passed through tells it from the system's.
    std::fs::copy(env!("CARGO_BIN_EXE_iopkt-utils"), copy.join("mount")).expect("copy");
    let o = d.run(&["ours", "copy", "system"], "mount", &["/mnt".as_ref()]);
    assert_eq!(String::from_utf8_lossy(&o.stdout), "systemmount/mnt\\n");
}

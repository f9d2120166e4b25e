//! The system's own tools of the same names, and when a command is theirs.
//!
//! One directory on PATH has io-pkt's `ifconfig`, `mount`, `ping` ..., in front of the system's. Whose a command is:
//!
//! - **By its words.** `mount` and `umount` (and `sysctl`) say what they are about: a type, interface or
//!   variable of io-pkt's is ours, everything else goes to the system's tool unseen ([`exec`]).
//! - **By the stack.** `arp`, `ifconfig`, `netstat`, `ping`, `route` and `traceroute` read the same for both. They are
//!   ours when a stack is meant: SOCK or IO_PKT_ROOT is set, or something is at `<root>/dev/socket`; a stack that
//!   should be there and does not answer is an error then, never the kernel's answer. When no stack is
//!   meant, a command that only looks goes to the system's tool, after a line that says so, and one
//!   that would change something is refused ([`instead`]): it may be meant for a stack that is to be started, and
//!   the kernel's interfaces must not suffer from that.
//! - **By the name.** The system has no `nicinfo`, `if_up` ...: always ours.
//!
//! "The system's tool" is the next file of that name on PATH (then in the usual directories) that is not this program,
//! under whatever name or copy: a file called `iopkt-utils` when its links are followed is none. The environment
//! variable `IO_PKT_PASSED` carries the process id and the copies that a command went through, so that two
//! installations on one PATH cannot pass a command to and fro.

use crate::tool::Failure;
use iopkt_sys::paths::Root;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// Where a system has its tools, for a PATH without them.
const USUAL: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Names that the system has too, where the words alone do not tell.
const SHARED: &[&str] =
    &["arp", "ifconfig", "netstat", "ping", "ping6", "route", "traceroute", "traceroute6"];
/// Copies of this program that the process went through: `PID:DEV.INO,DEV.INO`.
const PASSED: &str = "IO_PKT_PASSED";

/// A file's identity.
type Id = (u64, u64);

/// The system's tool of this name, if there is one.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(USUAL.iter().map(PathBuf::from)).collect();
    find_in(dirs, name, &visited())
}

fn find_in(dirs: Vec<PathBuf>, name: &str, not: &[Id]) -> Option<PathBuf> {
    dirs.into_iter().map(|d| d.join(name)).find(|p| {
        let (Ok(real), Ok(m)) = (p.canonicalize(), p.metadata()) else { return false };
        let ours = real.file_name().is_some_and(|n| n == "iopkt-utils") || not.contains(&(m.dev(), m.ino()));
        m.is_file() && m.permissions().mode() & 0o111 != 0 && !ours
    })
}

/// This program, and the copies of it that passed the command on before.
fn visited() -> Vec<Id> {
    let me = std::env::current_exe().and_then(|p| p.metadata()).map(|m| (m.dev(), m.ino()));
    let mut v: Vec<Id> = me.into_iter().collect();
    v.extend(passed(&std::env::var(PASSED).unwrap_or_default(), std::process::id()));
    v
}

/// What the variable says, when it is this process's: exec keeps the number, a child has another one.
fn passed(text: &str, pid: u32) -> Vec<Id> {
    let Some((p, list)) = text.split_once(':') else { return Vec::new() };
    if p.parse() != Ok(pid) {
        return Vec::new();
    }
    list.split(',')
        .filter_map(|x| x.split_once('.'))
        .filter_map(|(d, i)| d.parse().ok().zip(i.parse().ok()))
        .collect()
}

/// Becomes the system's tool with the same words. Returns only when that fails.
pub fn exec(name: &str, args: &[OsString]) -> Failure {
    let Some(tool) = find(name) else {
        let message = format!("this is not for io-pkt, and no other {name} is on PATH");
        return Failure { message, code: 127 };
    };
    run(&tool, args)
}

fn run(tool: &Path, args: &[OsString]) -> Failure {
    let list: Vec<String> = visited().iter().map(|(d, i)| format!("{d}.{i}")).collect();
    let mark = format!("{}:{}", std::process::id(), list.join(","));
    let e = std::process::Command::new(tool).args(args).env(PASSED, mark).exec();
    Failure { message: format!("{}: {e}", tool.display()), code: 126 }
}

/// Whether the caller means a stack at all: it says which, or there is (or was) one where it would be.
pub fn stack_meant() -> bool {
    let set = |n: &str| std::env::var_os(n).is_some_and(|v| !v.is_empty());
    set("SOCK") || set("IO_PKT_ROOT") || Root::find().client_socket().symlink_metadata().is_ok()
}

/// For a command that both io-pkt's and the system's tool understand: `None` when it is ours, else what the
/// attempt to hand it over came to (the system's tool, when it can be run, does not return).
pub fn instead(name: &str, words: &[String], args: &[OsString]) -> Option<Failure> {
    if !SHARED.contains(&name) || stack_meant() || words.iter().any(|w| w == "--help" || w == "--json") {
        return None;
    }
    let tool = find(name)?;
    let at = Root::find().client_socket();
    if changes(name, words) {
        return Some(Failure::new(format!(
            "no stack runs at {}: start one (for example: io-pkt-v4-hc -ptcpip), or call {} to change the kernel's network",
            at.display(),
            tool.display()
        )));
    }
    eprintln!("{name}: no stack runs at {}; this is {}", at.display(), tool.display());
    Some(run(&tool, args))
}

/// Whether a command would change something.
fn changes(name: &str, words: &[String]) -> bool {
    let mut operands = words.iter().filter(|w| !w.starts_with('-')).map(String::as_str);
    match name {
        "ifconfig" => operands.skip(1).any(|w| !["inet", "inet6", "link"].contains(&w)),
        "route" => {
            operands.any(|w| ["add", "change", "delete", "del", "flush"].contains(&w))
                || words.iter().any(|w| w == "-f")
        }
        "arp" => {
            words.iter().any(|w| w.starts_with('-') && !w.starts_with("--") && w.contains(['s', 'd', 'f']))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(s: &str) -> Vec<String> {
        s.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn commands_that_change_are_known() {
        for (name, line, want) in [
            ("ifconfig", "-a", false),
            ("ifconfig", "eth0", false),
            ("ifconfig", "eth0 inet", false),
            ("ifconfig", "eth0 up", true),
            ("ifconfig", "eth0 inet 10.1", true),
            ("ifconfig", "-v eth0 destroy", true),
            ("route", "-n get 10.1", false),
            ("route", "show", false),
            ("route", "add default 10.1", true),
            ("route", "-n flush", true),
            ("arp", "-an", false),
            ("arp", "-d 10.1", true),
            ("arp", "-s 10.1 2:0:0:0:0:1", true),
            ("ping", "-f 10.1", false),
        ] {
            assert_eq!(changes(name, &words(line)), want, "{name} {line}");
        }
    }

    #[test]
    fn our_own_files_are_never_the_systems() {
        let dir = std::env::temp_dir().join(format!("iopkt-system-{}", std::process::id()));
        let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
        for d in [&a, &b, &c] {
            std::fs::create_dir_all(d).expect("directory");
        }
        let file = |p: PathBuf, mode| {
            std::fs::write(&p, "#!/bin/sh\n").expect("file");
            std::fs::set_permissions(&p, std::fs::Permissions::from_mode(mode)).expect("mode");
            let m = p.metadata().expect("file");
            (m.dev(), m.ino())
        };
        file(a.join("iopkt-utils"), 0o755);
        std::os::unix::fs::symlink("iopkt-utils", a.join("ping")).expect("link");
        // A copy that passed the command on to us, and a file that cannot be run.
        let copy = file(b.join("ping"), 0o755);
        file(c.join("ping"), 0o644);
        let dirs = || vec![a.clone(), b.clone(), c.clone()];
        assert_eq!(find_in(dirs(), "ping", &[]), Some(b.join("ping")));
        assert_eq!(find_in(dirs(), "ping", &[copy]), None);
        std::fs::remove_dir_all(&dir).expect("clean");
    }

    #[test]
    fn the_mark_counts_for_one_process_only() {
        assert_eq!(passed("7:1.2,3.4", 7), [(1, 2), (3, 4)]);
        assert_eq!(passed("7:1.2", 8), []);
        for junk in ["", "7", "x:1.2", "7:", "7:1,2", "7:a.b"] {
            assert_eq!(passed(junk, 7), [], "{junk}");
        }
    }
}

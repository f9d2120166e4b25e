//! What the process gives up: at its start (rights that nothing here needs), and when `qnx.kern.droproot` is written (user 0).
//!
//! docs/privilege.md is the whole story, for people.

use crate::cmdline::{Config, User, Who};
use crate::names::Names;
use iopkt_base::Errno;
use iopkt_slog::{Severity, Sink};
use iopkt_sys::confine::{self, Writable, cap};
use iopkt_sys::{Root, user};
use std::path::Path;
use std::sync::Arc;

/// The variable that makes the process become the user of `-U`.
pub(crate) const DROPROOT: &str = "qnx.kern.droproot";

/// Devices that drivers open for writing: TAP, USB, terminals, user-space I/O, and what everybody has.
const DEVICES: &[&str] = &[
    "/dev/net",
    "/dev/bus/usb",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/uio0",
    "/dev/vfio",
    "/dev/hugepages",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// Who to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Identity {
    /// Looks the user of `-U` up.
    ///
    /// # Errors
    /// No such user, or one by number whose group nobody knows: one line.
    pub(crate) fn find(u: &User) -> Result<Identity, String> {
        let entry = match &u.who {
            Who::Uid(n) => user::by_uid(*n),
            Who::Name(n) => user::by_name(n),
        };
        let entry = entry.map_err(|e| format!("-U: cannot look the user up: {e}"))?;
        let (uid, gid) = match (&u.who, entry, u.gid) {
            (Who::Name(n), None, _) => return Err(format!("-U {n}: there is no user of this name")),
            (Who::Uid(n), None, None) => {
                return Err(format!(
                    "-U {n}: no user has this number, so its group is not known; write -U {n}:GID"
                ));
            }
            (Who::Uid(n), _, Some(g)) => (*n, g),
            (_, Some(e), g) => (e.uid, g.unwrap_or(e.gid)),
        };
        Ok(Identity { uid, gid, groups: u.groups.clone() })
    }
}

/// Gives up what the process does not need from here on. Must be called while it has one thread. Returns what to show.
pub(crate) fn confine(cfg: &Config, root: &Root, sink: &Sink) -> String {
    if cfg.no_confine {
        sink.line(
            Severity::Notice,
            "not confined (--no-confine): it keeps every right that it was started with",
        );
        return "no".into();
    }
    let warn = |what: &str, e: &std::io::Error| {
        sink.line(Severity::Warning, &format!("not confined by {what}: {e}"));
    };
    let mut done = Vec::new();
    if let Err(e) = confine::no_new_privileges() {
        warn("no_new_privs", &e);
    }
    let devices: Vec<&Path> = DEVICES.iter().map(Path::new).collect();
    match confine::restrict_files(&Writable { below: &[root.dir()], devices: &devices }) {
        Ok(v) => done.push(format!("landlock {v}")),
        Err(e) => warn("landlock (an old kernel, or one without it)", &e),
    }
    match confine::restrict_calls(!cfg.no_io) {
        Ok(()) => done.push("seccomp".into()),
        Err(e) => warn("seccomp", &e),
    }
    let before = confine::capabilities().unwrap_or(0);
    match confine::keep_capabilities(&needed(cfg)) {
        Ok(left) => {
            if left != before {
                done.push(format!("capabilities {left:#x} of {before:#x}"));
            }
        }
        Err(e) => warn("capabilities", &e),
    }
    let text = done.join(", ");
    sink.line(Severity::Info, &format!("confined: {text}"));
    text
}

/// Capabilities that something here or in a driver may need.
fn needed(cfg: &Config) -> Vec<u32> {
    // TAP interfaces; packet sockets; priorities; drivers in directories of a user's.
    let mut keep = vec![cap::NET_ADMIN, cap::NET_RAW, cap::SYS_NICE, cap::DAC_READ_SEARCH];
    if !cfg.no_io {
        keep.push(cap::SYS_RAWIO);
    }
    if cfg.user.is_some() {
        keep.extend([cap::SETUID, cap::SETGID, cap::CHOWN, cap::FOWNER]);
    }
    // netns= of devnp-tap and devnp-afp: entering a network namespace takes this one.
    if cfg.drivers.iter().any(|d| d.options.split(',').any(|o| o.starts_with("netns="))) {
        keep.push(cap::SYS_ADMIN);
    }
    keep
}

/// What the control thread knows of it.
pub(crate) struct Privilege {
    pub user: Option<Identity>,
    pub names: Arc<Names>,
    /// Filters of system calls may be added.
    pub confined: bool,
    /// Bits that were written; 0 while nothing has been given up.
    pub dropped: u64,
}

/// Bits of the variable.
const PROT_EXEC: u64 = 0x10;
const KNOWN: u64 = 0xff;
/// Abilities without a counterpart on Linux: INTERRUPT, CONNECTION, TIMER, QNET, PUBLIC_CHANNEL.
const NOTHING_HERE: u64 = 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

impl Privilege {
    /// Whether objects may still be loaded.
    pub(crate) fn may_load(&self) -> bool {
        self.dropped == 0 || self.dropped & PROT_EXEC != 0 || !self.confined
    }

    /// Writes the variable. The value that it has then.
    ///
    /// # Errors
    /// What the caller is told.
    pub(crate) fn write(&mut self, value: &str, sink: &Sink) -> Result<String, (Errno, String)> {
        let bad = |e: Errno, why: String| Err((e, format!("{DROPROOT}: {why}")));
        let Some(bits) = crate::cmdline::number(value.trim()).filter(|n| *n <= KNOWN) else {
            return bad(Errno::EINVAL, format!("{value}: give bits from 0x1 to 0xff, or 0 to stay as it is"));
        };
        if self.dropped != 0 {
            return bad(Errno::EPERM, "has been done; there is no way back".into());
        }
        let me = rustix::process::geteuid();
        if bits == 0 {
            return Ok("0x0".into());
        }
        if !me.is_root() {
            return bad(Errno::EPERM, format!("io-pkt runs as user {} already", me.as_raw()));
        }
        let Some(u) = self.user.clone().filter(|u| u.uid != 0) else {
            return bad(
                Errno::EINVAL,
                "io-pkt was started without a user to become; start it with -U USER".into(),
            );
        };
        if let Err(e) = self.names.hand_over(u.uid, u.gid) {
            sink.line(
                Severity::Warning,
                &format!("the names under /dev stay with user 0 when io-pkt ends: {e}"),
            );
        }
        if let Err(e) = user::become_user(u.uid, u.gid, &u.groups) {
            return bad(iopkt_sys::errno(&e), format!("cannot become user {}: {e}", u.uid));
        }
        self.dropped = bits;
        sink.line(Severity::Notice, &format!("now user {}, group {} ({DROPROOT}={bits:#x})", u.uid, u.gid));
        if bits & NOTHING_HERE != 0 {
            let text = format!(
                "{DROPROOT}: bits {:#x} have no counterpart on Linux: nothing is kept for them",
                bits & NOTHING_HERE
            );
            sink.line(Severity::Notice, &text);
        }
        if self.confined && bits & PROT_EXEC == 0 {
            match iopkt_sys::confine::no_more_code() {
                Ok(()) => {
                    sink.line(Severity::Info, "no more drivers can be loaded (bit 0x10 would have kept that)")
                }
                Err(e) => sink.line(Severity::Warning, &format!("loading of drivers stays possible: {e}")),
            }
        }
        Ok(format!("{bits:#x}"))
    }
}

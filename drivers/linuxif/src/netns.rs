//! Another network namespace, for the time of a call.

use crate::words;
use iopkt_sdk::Fail;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

/// Runs `f` in the network namespace of `path` (option `netns=`), or right here; the calling thread is where it was afterwards.
///
/// # Errors
/// Of the way there and back, in words; those of `f`.
pub fn within<R>(path: Option<&str>, f: impl FnOnce() -> Result<R, Fail>) -> Result<R, Fail> {
    let Some(path) = path else { return f() };
    let named = |e: rustix::io::Errno, what: &str| {
        Fail::new(e.raw_os_error(), format!("option netns={path}: {what}: {}", words(&e.into())))
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let there = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| named(e, "cannot open"))?;
    let home = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
        .map_err(|e| named(e, "cannot find the way back"))?;
    let net = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(there.as_fd(), net)
        .map_err(|e| named(e, "cannot enter (needs CAP_SYS_ADMIN and a network namespace)"))?;
    let r = f();
    move_into_link_name_space(home.as_fd(), net).map_err(|e| named(e, "cannot return"))?;
    r
}

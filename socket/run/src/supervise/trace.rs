//! `-v`: a line for each call that the supervisor answered.

use super::notif::Call;
use super::{Outcome, target};
use crate::os;

/// The call's name.
fn name(nr: libc::c_long) -> &'static str {
    match nr {
        libc::SYS_socket => "socket",
        libc::SYS_connect => "connect",
        libc::SYS_bind => "bind",
        libc::SYS_listen => "listen",
        libc::SYS_accept => "accept",
        libc::SYS_accept4 => "accept4",
        libc::SYS_getsockname => "getsockname",
        libc::SYS_getpeername => "getpeername",
        libc::SYS_setsockopt => "setsockopt",
        libc::SYS_getsockopt => "getsockopt",
        libc::SYS_shutdown => "shutdown",
        libc::SYS_sendto => "sendto",
        libc::SYS_sendmsg => "sendmsg",
        libc::SYS_sendmmsg => "sendmmsg",
        libc::SYS_recvfrom => "recvfrom",
        libc::SYS_recvmsg => "recvmsg",
        libc::SYS_recvmmsg => "recvmmsg",
        libc::SYS_ioctl => "ioctl",
        _ => "?",
    }
}

/// Says what became of the call.
pub fn line(call: &Call, outcome: &Outcome) {
    let result = match outcome {
        Outcome::GoOn => "the kernel's".to_string(),
        Outcome::Value(v) => v.to_string(),
        Outcome::Fail(e) => std::io::Error::from_raw_os_error(*e).to_string(),
        Outcome::Fd(..) => "a new descriptor".to_string(),
        Outcome::Wait(_) => "waits".to_string(),
        Outcome::Answered => "done".to_string(),
        Outcome::Gone => return,
    };
    let [a, b, c, ..] = call.args;
    os::say(&format!(
        "{}[{}] {}({}, {b:#x}, {c:#x}): {result}",
        target::name(call.tid),
        call.tid,
        name(call.nr),
        a as i32
    ));
}

//! Options at IPPROTO_TCP that only tell or refuse, and those of thin streams.
//!
//! Refused, with what Linux answers to a program that may not or to a kernel built without: TCP_REPAIR and its kin (EPERM:
//! connections are not moved from host to host), TCP_MD5SIG (EINVAL, ENOPROTOOPT), TCP_ULP (ENOENT: no kernel TLS),
//! TCP_ZEROCOPY_RECEIVE (EINVAL), TCP_TX_DELAY and TCP_SAVE_SYN (EOPNOTSUPP), and TCP_INQ (EOPNOTSUPP) where the owner does not
//! hand control messages of streams on.

use super::options::{int, put, put_int};
use super::sock::Sock;
use iopkt_base::{Errno, Instant, Result};

/// Names (linux/tcp.h).
#[allow(missing_docs)]
mod tcp {
    pub const MD5SIG: i32 = 14;
    pub const THIN_LINEAR_TIMEOUTS: i32 = 16;
    pub const THIN_DUPACK: i32 = 17;
    pub const REPAIR: i32 = 19;
    pub const REPAIR_QUEUE: i32 = 20;
    pub const QUEUE_SEQ: i32 = 21;
    pub const REPAIR_OPTIONS: i32 = 22;
    pub const TIMESTAMP: i32 = 24;
    pub const NOTSENT_LOWAT: i32 = 25;
    pub const CC_INFO: i32 = 26;
    pub const SAVE_SYN: i32 = 27;
    pub const SAVED_SYN: i32 = 28;
    pub const REPAIR_WINDOW: i32 = 29;
    pub const ULP: i32 = 31;
    pub const MD5SIG_EXT: i32 = 32;
    pub const ZEROCOPY_RECEIVE: i32 = 35;
    pub const INQ: i32 = 36;
    pub const TX_DELAY: i32 = 37;
}

/// 0 or 1.
fn truth(n: i32) -> Result<bool> {
    match n {
        0..=1 => Ok(n == 1),
        _ => Err(Errno::EINVAL),
    }
}

/// Like [`truth`], for what can only be turned off.
fn only_off(n: i32) -> Result<()> {
    if truth(n)? { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

pub(super) fn set(s: &mut Sock, name: i32, v: &[u8], messages: bool) -> Result<()> {
    if name == tcp::ULP {
        // The name of a protocol above TCP: none is known.
        return Err(if v.is_empty() { Errno::EINVAL } else { Errno::ENOENT });
    }
    let n = int(v)?;
    let t = &mut s.opt.tcp;
    match name {
        tcp::THIN_LINEAR_TIMEOUTS => t.thin_linear = truth(n)?,
        // As in Linux: taken, and forgotten.
        tcp::THIN_DUPACK => drop(truth(n)?),
        tcp::NOTSENT_LOWAT => t.notsent_lowat = n as u32,
        tcp::SAVE_SYN if (1..=2).contains(&n) => return Err(Errno::EOPNOTSUPP),
        tcp::INQ if messages => t.inq = truth(n)?,
        tcp::SAVE_SYN | tcp::INQ => only_off(n)?,
        tcp::TX_DELAY if n > 0 => return Err(Errno::EOPNOTSUPP),
        tcp::TX_DELAY if n == 0 => {}
        tcp::REPAIR if n == 0 => {}
        tcp::REPAIR | tcp::REPAIR_QUEUE | tcp::REPAIR_WINDOW | tcp::TIMESTAMP => return Err(Errno::EPERM),
        tcp::MD5SIG | tcp::MD5SIG_EXT | tcp::QUEUE_SEQ | tcp::REPAIR_OPTIONS | tcp::TX_DELAY => {
            return Err(Errno::EINVAL);
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

pub(super) fn get(s: &Sock, now: Instant, name: i32, out: &mut [u8]) -> Result<usize> {
    let t = &s.opt.tcp;
    let v = match name {
        tcp::THIN_LINEAR_TIMEOUTS => i32::from(t.thin_linear),
        tcp::THIN_DUPACK | tcp::REPAIR | tcp::SAVE_SYN | tcp::TX_DELAY => 0,
        tcp::INQ => i32::from(t.inq),
        tcp::NOTSENT_LOWAT => t.notsent_lowat as i32,
        // The clock of RFC 7323's timestamps, milliseconds.
        tcp::TIMESTAMP => (now.as_nanos() / 1_000_000) as i32,
        // Neither CUBIC nor NewReno has anything to tell.
        tcp::SAVED_SYN | tcp::ULP | tcp::CC_INFO => return Ok(put(out, &[])),
        tcp::REPAIR_QUEUE | tcp::QUEUE_SEQ | tcp::REPAIR_WINDOW | tcp::ZEROCOPY_RECEIVE => {
            return Err(Errno::EINVAL);
        }
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(put_int(out, v))
}

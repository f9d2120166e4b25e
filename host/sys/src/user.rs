//! Users: who somebody is, and becoming somebody else.

use std::ffi::{CStr, CString};
use std::io;

/// A user as the password file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The entry of a user by name; `None` when there is none.
///
/// # Errors
/// What getpwnam_r(3) says.
pub fn by_name(name: &str) -> io::Result<Option<Entry>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    // SAFETY: the name lives across the call; see `ask` for the rest.
    ask(|pw, buf, out| unsafe { libc::getpwnam_r(name.as_ptr(), pw, buf.as_mut_ptr(), buf.len(), out) })
}

/// The entry of a user by number; `None` when there is none.
///
/// # Errors
/// What getpwuid_r(3) says.
pub fn by_uid(uid: u32) -> io::Result<Option<Entry>> {
    // SAFETY: see `ask`.
    ask(|pw, buf, out| unsafe { libc::getpwuid_r(uid, pw, buf.as_mut_ptr(), buf.len(), out) })
}

fn ask(
    f: impl Fn(*mut libc::passwd, &mut Vec<libc::c_char>, *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<Entry>> {
    let mut buf = vec![0; 1024];
    loop {
        // SAFETY: passwd is plain data that the call fills in.
        let mut pw: libc::passwd = unsafe { std::mem::zeroed() };
        let mut out = std::ptr::null_mut();
        match f(&raw mut pw, &mut buf, &raw mut out) {
            0 if out.is_null() => return Ok(None),
            0 => {
                // SAFETY: a found entry's name is a string in `buf`.
                let name = unsafe { CStr::from_ptr(pw.pw_name) }.to_string_lossy().into_owned();
                return Ok(Some(Entry { name, uid: pw.pw_uid, gid: pw.pw_gid }));
            }
            libc::ERANGE if buf.len() < 1 << 20 => buf.resize(buf.len() * 4, 0),
            libc::ENOENT | libc::ESRCH => return Ok(None),
            e => return Err(io::Error::from_raw_os_error(e)),
        }
    }
}

/// Becomes another user for good, with all threads of the process: real, effective and saved ids, and exactly these
/// supplementary groups. Capabilities go with user 0.
///
/// # Errors
/// EPERM without the rights to it (nothing is changed then, unless it is the last step that fails: then the groups are).
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let check = |r: libc::c_int| if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: the C library's calls, which act on all threads (setresuid(2), "C library/kernel differences"); the list of
    // groups is as long as said.
    unsafe {
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))?;
    }
    // What cannot be is not believed unseen.
    // SAFETY: no arguments; asks for a thing that must not work.
    if uid != 0 && unsafe { libc::setresuid(u32::MAX, 0, u32::MAX) } == 0 {
        return Err(io::Error::other("user 0 can still be had back"));
    }
    Ok(())
}

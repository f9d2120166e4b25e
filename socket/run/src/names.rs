//! The stack's name servers for the program: `/etc/resolv.conf` is `<root>$SOCK/etc/resolv.conf` for it and its children.
//!
//! libc's resolver, and Go's, open the file by system calls of their own, which no library sees and no filter can tell by their path.
//! So the program gets a mount namespace in which a symbolic link lies on `/etc/resolv.conf`: a link, not the file, because the file
//! is replaced whenever name servers come and go. The link lives on a small file system that nobody else sees. Mounts that the
//! system makes later still reach the program; those that the program makes stay its own.
//!
//! Needs CAP_SYS_ADMIN and a Linux whose open_tree(2) takes what is not mounted anywhere (6.15; tried on 6.18); without, the program sees the system's file.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::os;

const FILE: &CStr = c"/etc/resolv.conf";
/// `linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

/// The resolv.conf of the stack whose socket is `socket`, if there is one and the system has one that it can stand for.
pub fn of_stack(socket: &[u8]) -> Option<PathBuf> {
    let socket = Path::new(std::ffi::OsStr::from_bytes(socket));
    let own = socket.parent()?.parent()?.parent()?.join("etc/resolv.conf");
    let system = Path::new(std::ffi::OsStr::from_bytes(FILE.to_bytes()));
    let other = std::fs::canonicalize(system).ok()? != std::fs::canonicalize(&own).ok()?;
    (other && own.is_file()).then_some(own)
}

/// A call whose result is a new descriptor.
fn fd(r: libc::c_long) -> io::Result<OwnedFd> {
    let r = os::check(r as libc::c_int)?;
    // SAFETY: a fresh descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(r) })
}

/// Puts `own` in the place of `/etc/resolv.conf` for this process, which has one thread, and what it becomes.
///
/// # Errors
/// What the kernel says: EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.2, EINVAL before 6.15. The program then has a mount namespace of its own all the same.
pub fn show(own: &Path) -> io::Result<()> {
    let own = CString::new(own.as_os_str().as_bytes())?;
    // SAFETY: plain integers and NUL-terminated strings that live across the calls.
    unsafe {
        os::check(libc::unshare(libc::CLONE_NEWNS))?;
        let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
        os::check(libc::mount(
            none,
            root,
            std::ptr::null(),
            libc::MS_REC | libc::MS_SLAVE,
            std::ptr::null(),
        ))?;
        let fs = fd(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), FSOPEN_CLOEXEC))?;
        let (nil, zero) = (std::ptr::null::<libc::c_char>(), 0);
        os::check(
            libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_CMD_CREATE, nil, nil, zero) as _
        )?;
        let mount = fd(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, 0))?;
        let link = c"resolv.conf".as_ptr();
        os::check(libc::symlinkat(own.as_ptr(), mount.as_raw_fd(), link))?;
        let how =
            OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_SYMLINK_NOFOLLOW as libc::c_uint;
        let tree = fd(libc::syscall(libc::SYS_open_tree, mount.as_raw_fd(), link, how))?;
        let (to, empty) = (FILE.as_ptr(), c"".as_ptr());
        let (at, how) = (libc::AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH);
        os::check(libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), empty, at, to, how) as _)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_stack_s_own() {
        let dir = std::env::temp_dir().join(format!("iopkt-run-names-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("alt/etc")).unwrap();
        let socket = dir.join("alt/dev/socket/2");
        assert_eq!(of_stack(socket.as_os_str().as_bytes()), None);
        let own = dir.join("alt/etc/resolv.conf");
        std::fs::write(&own, "nameserver ::1\n").unwrap();
        if Path::new("/etc/resolv.conf").exists() {
            assert_eq!(of_stack(socket.as_os_str().as_bytes()), Some(own));
        }
        assert_eq!(of_stack(b"x"), None);
        std::fs::remove_dir_all(dir).unwrap();
    }
}

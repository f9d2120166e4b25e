//! Names on disk.
//!
//! Every name that the documentation writes as an absolute path (`/dev/socket`, `/dev/usb`, `/dev/serecm0`,
//! `/alt/dev/socket`) lives under one **root** directory:
//!
//! 1. `$IO_PKT_ROOT`, if set and not empty;
//! 2. `/run/io-pkt` for user id 0;
//! 3. `$XDG_RUNTIME_DIR/io-pkt`, if that variable is set and not empty;
//! 4. `/tmp/io-pkt-<uid>`.
//!
//! A root outside 2 must belong to us (or to user 0); one in `/tmp` must also be closed to others. `SOCK`
//! (clients) and `prefix=` (io-pkt) are put between the root and the name: `SOCK=/alt` makes `/dev/socket`
//! mean `<root>/alt/dev/socket`. Nothing is written outside the root.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// The root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    dir: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Named by `IO_PKT_ROOT`.
    Given,
    /// `/run/io-pkt`.
    System,
    /// Under `XDG_RUNTIME_DIR`.
    Runtime,
    /// In `/tmp`.
    Tmp,
}

impl Root {
    /// The root by the rules above, from this process's environment and user. Does not touch the disk.
    pub fn find() -> Root {
        let found = Root::from(rustix::process::geteuid().as_raw(), std::env::var_os);
        // A relative IO_PKT_ROOT means the directory that it means now.
        let dir = std::path::absolute(&found.dir).unwrap_or(found.dir);
        Root { dir, ..found }
    }

    /// A given directory.
    pub fn at(dir: impl Into<PathBuf>) -> Root {
        Root { dir: dir.into(), kind: Kind::Given }
    }

    fn from(uid: u32, env: impl Fn(&'static str) -> Option<OsString>) -> Root {
        let set = |name| env(name).filter(|v| !v.is_empty());
        if let Some(dir) = set("IO_PKT_ROOT") {
            return Root { dir: dir.into(), kind: Kind::Given };
        }
        if uid == 0 {
            return Root { dir: "/run/io-pkt".into(), kind: Kind::System };
        }
        match set("XDG_RUNTIME_DIR") {
            Some(dir) => Root { dir: Path::new(&dir).join("io-pkt"), kind: Kind::Runtime },
            None => Root { dir: format!("/tmp/io-pkt-{uid}").into(), kind: Kind::Tmp },
        }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the documented absolute name `name` really is: `/dev/usb` → `<root>/dev/usb`. `..` cannot
    /// leave the root: it is ignored, as are `.` and doubled slashes.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let mut out = self.dir.clone();
        out.extend(name.as_ref().components().filter_map(|c| match c {
            Component::Normal(part) => Some(part),
            _ => None,
        }));
        out
    }

    /// Where `name` is for a stack with this prefix (`prefix=` of io-pkt, `SOCK` of a client): the prefix
    /// `/alt` and the name `/dev/socket` give `<root>/alt/dev/socket`. An empty prefix changes nothing.
    pub fn with_prefix(&self, prefix: impl AsRef<Path>, name: impl AsRef<Path>) -> PathBuf {
        Root { dir: self.path(prefix), kind: self.kind }.path(name)
    }

    /// The stack's socket as a client of this process's environment sees it: `<root>$SOCK/dev/socket/2`.
    pub fn client_socket(&self) -> PathBuf {
        self.with_prefix(std::env::var_os("SOCK").unwrap_or_default(), INET)
    }

    /// Makes the root if it is not there, and checks that it may be trusted.
    ///
    /// # Errors
    /// With a message that names the directory, what is wrong and what to do.
    pub fn ensure(&self) -> io::Result<()> {
        // A root that others may pass through lets other users reach the sockets of a system-wide stack.
        let mode = if rustix::process::geteuid().is_root() && self.kind != Kind::Tmp { 0o755 } else { 0o700 };
        make_dirs(&self.dir, mode)?;
        self.check()
    }

    /// Checks that the root is a directory of ours.
    ///
    /// # Errors
    /// With a message that names the directory, what is wrong and what to do; NotFound when it is not there.
    pub fn check(&self) -> io::Result<()> {
        let dir = self.dir.display();
        let meta =
            if self.kind == Kind::Tmp { fs::symlink_metadata(&self.dir) } else { fs::metadata(&self.dir) };
        let meta = meta.map_err(|e| io::Error::new(e.kind(), format!("{dir}: {e}")))?;
        let bad = |why: String| {
            let text = format!("{dir}: {why}; remove it or set IO_PKT_ROOT to a directory of yours");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        };
        if !meta.is_dir() {
            return bad("is not a directory".into());
        }
        let me = rustix::process::geteuid().as_raw();
        if self.kind == Kind::Tmp && (meta.uid() != me || meta.mode() & 0o077 != 0) {
            return bad(format!(
                "belongs to user {} with mode {:04o}, must belong to user {me} with mode 0700",
                meta.uid(),
                meta.mode() & 0o7777
            ));
        }
        Ok(())
    }

    /// Makes the directory in which the documented name `name` lives, below the root, and returns the
    /// real path of `name`.
    ///
    /// # Errors
    /// As [`Root::ensure`], and what mkdir(2) says, with the path.
    pub fn prepare(&self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        self.ensure()?;
        let path = self.path(name);
        if let Some(dir) = path.parent() {
            make_dirs(dir, if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 })?;
        }
        Ok(path)
    }
}

/// The documented name of the stack: a directory with a name for each address family, by its BSD number.
pub const SOCKET: &str = "/dev/socket";
/// The one in it that is the socket (AF_INET); the others lead to it.
pub const INET: &str = "/dev/socket/2";
/// The documented name of the USB stack's socket.
pub const USB: &str = "/dev/usb";
/// The documented name of the log.
pub const SLOG: &str = "/dev/slog";

fn make_dirs(dir: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(|e| {
        let text = format!("cannot make directory {}: {e}", dir.display());
        io::Error::new(e.kind(), text)
    })
}

/// Name of the file that says where instance `instance` of io-pkt is: the mount type is the name
/// (`io-pkt` without `-i`, `io-pkt1` with `-i1`), the file's content is the documented path of its socket
/// (`/alt/dev/socket/2`) and a newline. Tools use it to find the stack that `mount -T io-pkt1` means.
pub fn instance_name(instance: Option<u32>) -> String {
    match instance {
        None => "/proc/io-pkt".into(),
        Some(n) => format!("/proc/io-pkt{n}"),
    }
}

/// Where the stack of mount type `io-pkt` or `io-pktN` listens, read from its [`instance_name`] file.
///
/// # Errors
/// NotFound when no such instance runs (or left its file behind: connecting tells); InvalidInput for a type
/// of another form.
pub fn instance_socket(root: &Root, mount_type: &str) -> io::Result<PathBuf> {
    let number =
        mount_type.strip_prefix("io-pkt").filter(|n| n.len() <= 10 && n.bytes().all(|b| b.is_ascii_digit()));
    let Some(number) = number else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{mount_type}: not a type of io-pkt"),
        ));
    };
    let text = fs::read_to_string(root.path(format!("/proc/io-pkt{number}")))?;
    Ok(root.path(text.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(uid: u32, vars: &[(&'static str, &str)]) -> String {
        let env = |n: &'static str| vars.iter().find(|v| v.0 == n).map(|v| v.1.into());
        Root::from(uid, env).dir().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_four_rules_in_their_order() {
        assert_eq!(root(0, &[("IO_PKT_ROOT", "/x"), ("XDG_RUNTIME_DIR", "/run/user/0")]), "/x");
        assert_eq!(root(0, &[("IO_PKT_ROOT", ""), ("XDG_RUNTIME_DIR", "/run/user/0")]), "/run/io-pkt");
        assert_eq!(root(7, &[("XDG_RUNTIME_DIR", "/run/user/7")]), "/run/user/7/io-pkt");
        assert_eq!(root(7, &[("XDG_RUNTIME_DIR", "")]), "/tmp/io-pkt-7");
        assert_eq!(root(7, &[]), "/tmp/io-pkt-7");
    }

    #[test]
    fn documented_names_stay_below_the_root() {
        let r = Root::at("/r");
        assert_eq!(r.path("/dev/socket"), Path::new("/r/dev/socket"));
        assert_eq!(r.path("dev//./usb"), Path::new("/r/dev/usb"));
        assert_eq!(r.path("/../../etc/passwd"), Path::new("/r/etc/passwd"));
        assert_eq!(r.with_prefix("/alt", SOCKET), Path::new("/r/alt/dev/socket"));
        assert_eq!(r.with_prefix("", SOCKET), Path::new("/r/dev/socket"));
        assert_eq!(r.with_prefix("../../x", SOCKET), Path::new("/r/x/dev/socket"));
    }

    #[test]
    fn instances_are_found_by_mount_type() {
        let dir = std::env::temp_dir().join(format!("iopkt-inst-{}", std::process::id()));
        let r = Root::at(&dir);
        std::fs::write(r.prepare(instance_name(Some(1))).unwrap(), "/alt/dev/socket/2\n").unwrap();
        assert_eq!(instance_socket(&r, "io-pkt1").unwrap(), dir.join("alt/dev/socket/2"));
        assert_eq!(instance_socket(&r, "io-pkt").unwrap_err().kind(), io::ErrorKind::NotFound);
        for bad in ["io-net", "io-pkt-v4", "io-pkt1x", "io-pkt/../x"] {
            assert_eq!(instance_socket(&r, bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_root_in_tmp_must_be_ours_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("iopkt-root-{}", std::process::id()));
        let r = Root { dir: dir.clone(), kind: Kind::Tmp };
        r.ensure().unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let e = r.check().unwrap_err().to_string();
        assert!(e.contains("0755") && e.contains("IO_PKT_ROOT"), "{e}");
        std::fs::remove_dir(&dir).unwrap();
        std::os::unix::fs::symlink("/tmp", &dir).unwrap();
        assert!(r.check().unwrap_err().to_string().contains("not a directory"));
        std::fs::remove_file(&dir).unwrap();
    }
}

//! The names a running stack has on disk, and the locks that say who may have them.
//!
//! `<root><prefix>/dev/socket` belongs to whoever holds the lock on `<root><prefix>/dev/.socket.lock`; the mount type
//! (`io-pkt`, `io-pktN`) to whoever holds `<root>/proc/.io-pktN.lock`, and `<root>/proc/io-pktN` says where that
//! stack's socket is. The kernel drops the locks with the process, so what a killed one left behind is
//! taken over without guessing.
//!
//! `dev/socket` is a directory with a name for each address family, by its BSD number: 1 (AF_LOCAL), 2 (AF_INET), 17 (AF_ROUTE)
//! and, where IPv6 belongs to the variant, 24 (AF_INET6). 2 is the socket, the others lead to it: a request says itself which family
//! it means. The directory appears whole, with somebody listening in it, so that a script may
//! connect as soon as `waitfor /dev/socket` returns.

use iopkt_sys::lock::LockFile;
use iopkt_sys::{Root, paths, unix};
use rustix::net::SocketType;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The names in the directory: AF_INET, which is the socket, AF_LOCAL, AF_ROUTE, and last AF_INET6.
const FAMILIES: [&str; 4] = ["2", "1", "17", "24"];
/// What the directory is called while it is made.
const NEW: &str = ".new";
/// Longest name of a socket (unix(7)).
const MAX_NAME: usize = 107;

/// The names of this process; dropping it removes them and lets the locks go.
#[derive(Debug)]
pub(crate) struct Names {
    /// The real path of `<prefix>/dev/socket`.
    pub dir: PathBuf,
    instance: Option<(PathBuf, LockFile)>,
    _lock: LockFile,
}

impl Names {
    /// Takes the names. The second value is something to log, if any.
    ///
    /// # Errors
    /// When another stack has them, or the disk says no: one line with what, why and what to do.
    pub(crate) fn take(
        root: &Root,
        prefix: &str,
        instance: Option<u32>,
    ) -> Result<(Names, Option<String>), String> {
        let name = format!("{prefix}{}", paths::SOCKET);
        let socket = root.prepare(&name).map_err(|e| e.to_string())?;
        let lock = match lock_beside(&socket)? {
            Ok(l) => l,
            Err(pid) => {
                return Err(format!(
                    "{} is served by another io-pkt (process {pid}); stop that one, or give this one \
                     a name of its own with -p tcpip prefix=/NAME",
                    socket.display()
                ));
            }
        };
        clear(&socket)?;
        clear_legacy(&socket);
        let (instance, note) = take_instance(root, instance, &format!("{prefix}{}", paths::INET))?;
        Ok((Names { dir: socket, instance, _lock: lock }, note))
    }

    /// Gives the names to a user, who can then remove them at the end: those of this stack are his, and in their directories he may
    /// make and remove names of his own (for `tun0` and the like), not those of others.
    ///
    /// # Errors
    /// What chown(2) and chmod(2) say, of the first that fails.
    pub(crate) fn hand_over(&self, uid: u32, gid: u32) -> io::Result<()> {
        use std::os::unix::fs::{PermissionsExt, lchown};
        let mut all: Vec<PathBuf> =
            FAMILIES.iter().map(|f| self.dir.join(f)).filter(|p| p.symlink_metadata().is_ok()).collect();
        all.push(self.dir.clone());
        all.extend(self.instance.iter().map(|i| i.0.clone()));
        all.extend(self.beside().filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(is_node)));
        for p in &all {
            lchown(p, Some(uid), Some(gid))?;
        }
        let places = [Some(&self.dir), self.instance.as_ref().map(|i| &i.0)];
        for dir in places.into_iter().flatten().filter_map(|p| p.parent()) {
            lchown(dir, None, Some(gid))?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o1775))?;
        }
        Ok(())
    }

    /// What stands beside the socket's directory.
    fn beside(&self) -> impl Iterator<Item = PathBuf> {
        self.dir.parent().and_then(|d| fs::read_dir(d).ok()).into_iter().flatten().flatten().map(|e| e.path())
    }

    /// Makes the directory, with the listener in it.
    ///
    /// # Errors
    /// One line with what, why and what to do.
    pub(crate) fn listen(&self, v6: bool) -> Result<OwnedFd, String> {
        let first = self.dir.join(FAMILIES[0]);
        // The name that clients use must fit, whatever the shorter one here is.
        if first.as_os_str().len() > MAX_NAME {
            return Err(format!(
                "cannot listen on {}: longer than the {MAX_NAME} bytes that the name of a socket may have; set IO_PKT_ROOT to a shorter directory",
                first.display()
            ));
        }
        let new = self.dir.with_file_name(NEW);
        clear(&new)?;
        let at = |e: io::Error| format!("cannot make {}: {e}", self.dir.display());
        let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
        fs::DirBuilder::new().mode(mode).create(&new).map_err(at)?;
        let fd = unix::listener(&new.join(FAMILIES[0]), SocketType::SEQPACKET, 1024, 0o666)
            .map_err(|e| e.to_string())?;
        for f in &FAMILIES[1..FAMILIES.len() - usize::from(!v6)] {
            std::os::unix::fs::symlink(FAMILIES[0], new.join(f)).map_err(at)?;
        }
        fs::rename(&new, &self.dir).map_err(at)?;
        Ok(fd)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Both are ours: we hold their locks.
        let _ = clear(&self.dir);
        let _ = clear(&self.dir.with_file_name(NEW));
        clear_legacy(&self.dir);
        if let Some((path, _)) = &self.instance {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Names of the stack's device nodes: bpf, tunN, tapN.
fn is_node(name: &str) -> bool {
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    name == "bpf" || ["tun", "tap"].iter().any(|p| name.strip_prefix(p).is_some_and(number))
}

type Instance = Option<(PathBuf, LockFile)>;

/// The mount type. A stack with `-i` must have it; one without, beside another one without (two stacks
/// told apart by their prefixes alone), does without.
fn take_instance(
    root: &Root,
    instance: Option<u32>,
    socket: &str,
) -> Result<(Instance, Option<String>), String> {
    let path = root.prepare(paths::instance_name(instance)).map_err(|e| e.to_string())?;
    match (lock_beside(&path)?, instance) {
        (Ok(lock), _) => {
            let text = format!("{socket}\n");
            let tmp = path.with_extension("new");
            std::fs::write(&tmp, text)
                .and_then(|()| std::fs::rename(&tmp, &path))
                .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            Ok((Some((path, lock)), None))
        }
        (Err(pid), Some(n)) => Err(format!(
            "instance {n} is taken by another io-pkt (process {pid}); stop that one, or give another number with -i"
        )),
        (Err(pid), None) => Ok((
            None,
            Some(format!(
                "mount type io-pkt belongs to process {pid}; this stack has none (give -i N for io-pktN)"
            )),
        )),
    }
}

fn lock_beside(path: &Path) -> Result<Result<LockFile, u32>, String> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    let lock = path.with_file_name(name);
    LockFile::take(&lock).map_err(|e| format!("cannot lock {}: {e}", lock.display()))
}

/// Removes a directory of names (or a plain name, which older versions had).
fn clear(path: &Path) -> Result<(), String> {
    let gone =
        |r: io::Result<()>| r.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) });
    let take = || match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => {
            for f in FAMILIES {
                gone(fs::remove_file(path.join(f)))?;
            }
            gone(fs::remove_dir(path))
        }
        Ok(_) => gone(fs::remove_file(path)),
        Err(e) => gone(Err(e)),
    };
    take().map_err(|e| format!("cannot remove stale {}: {e}; remove it by hand", path.display()))
}

/// Removes the nodes of legacy drivers, which are links beside the socket's directory; one that is kept by something
/// else stays.
fn clear_legacy(socket: &Path) {
    let dir = socket.with_file_name("io-net");
    for e in fs::read_dir(&dir).into_iter().flatten().flatten() {
        if e.file_type().is_ok_and(|t| t.is_symlink()) {
            let _ = fs::remove_file(e.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> Root {
        Root::at(std::env::temp_dir().join(format!("iopkt-names-{name}-{}", std::process::id())))
    }

    #[test]
    fn one_stack_a_name_and_stale_ones_are_taken_over() {
        let r = root("stale");
        let (a, note) = Names::take(&r, "", None).unwrap();
        assert_eq!(note, None);
        let _listener = a.listen(true).unwrap();
        let e = Names::take(&r, "", Some(1)).unwrap_err();
        assert!(e.contains("another io-pkt") && e.contains("prefix="), "{e}");
        assert!(a.dir.join("24").exists());
        // Another prefix: possible, but the mount type is taken.
        let (b, note) = Names::take(&r, "/alt", None).unwrap();
        assert!(note.unwrap().contains("-i N"));
        let (c, _) = Names::take(&r, "/third", Some(7)).unwrap();
        assert!(Names::take(&r, "/fourth", Some(7)).unwrap_err().contains("instance 7 is taken"));
        assert_eq!(paths::instance_socket(&r, "io-pkt7").unwrap(), c.dir.join("2"));
        let (socket, inst) = (a.dir.clone(), r.path("/proc/io-pkt7"));
        drop((a, b, c));
        assert!(!socket.exists() && !inst.exists());
        // What a killed one leaves: its files, without locks.
        std::fs::create_dir(&socket).unwrap();
        std::fs::write(socket.join("2"), "stale").unwrap();
        std::fs::write(&inst, "/stale\n").unwrap();
        let (d, _) = Names::take(&r, "", Some(7)).unwrap();
        assert!(!d.dir.exists());
        assert_eq!(paths::instance_socket(&r, "io-pkt7").unwrap(), d.dir.join("2"));
        let _listener = d.listen(false).unwrap();
        let mut there: Vec<_> = std::fs::read_dir(&d.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        there.sort();
        assert_eq!(there, ["1", "17", "2"], "no AF_INET6 without IPv6");
        for f in there {
            std::os::unix::net::UnixStream::connect(d.dir.join(&f)).expect_err("it is a SEQPACKET socket");
            iopkt_sys::unix::connect_to(&d.dir.join(&f), SocketType::SEQPACKET).unwrap();
        }
        drop(d);
        // What an older version leaves: the socket itself under the directory's name.
        std::fs::write(&socket, "stale").unwrap();
        let (d, _) = Names::take(&r, "", None).unwrap();
        let _listener = d.listen(false).unwrap();
        assert!(socket.join("2").exists());
        drop(d);
        // A name that no client could use.
        let deep = Root::at(r.path("x".repeat(100)));
        let e = Names::take(&deep, "", None).unwrap().0.listen(false).unwrap_err();
        assert!(e.contains("107 bytes") && e.contains("IO_PKT_ROOT"), "{e}");
        std::fs::remove_dir_all(r.dir()).unwrap();
    }
}

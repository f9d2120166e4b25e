//! The names a running stack has on disk, and the locks that say who may have them.
//!
//! `<root><prefix>/dev/socket` belongs to whoever holds the lock on `<root><prefix>/dev/.socket.lock`; the mount type
//! (`io-pkt`, `io-pktN`) to whoever holds `<root>/proc/.io-pktN.lock`, and `<root>/proc/io-pktN` says where that
//! stack's socket is. The kernel drops the locks with the process, so what a killed one left behind is
//! taken over without guessing.

use iopkt_sys::lock::LockFile;
use iopkt_sys::{Root, paths};
use std::io;
use std::path::{Path, PathBuf};

/// The names of this process; dropping it removes them and lets the locks go.
#[derive(Debug)]
pub(crate) struct Names {
    /// The real path of `<prefix>/dev/socket`.
    pub socket: PathBuf,
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
        remove(&socket)?;
        let (instance, note) = take_instance(root, instance, &name)?;
        Ok((Names { socket, instance, _lock: lock }, note))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Both are ours: we hold their locks.
        let _ = std::fs::remove_file(&self.socket);
        if let Some((path, _)) = &self.instance {
            let _ = std::fs::remove_file(path);
        }
    }
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

fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove stale {}: {e}; remove it by hand", path.display()))
        }
        _ => Ok(()),
    }
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
        std::fs::write(&a.socket, "a stand-in").unwrap();
        let e = Names::take(&r, "", Some(1)).unwrap_err();
        assert!(e.contains("another io-pkt") && e.contains("prefix="), "{e}");
        assert!(a.socket.exists());
        // Another prefix: possible, but the mount type is taken.
        let (b, note) = Names::take(&r, "/alt", None).unwrap();
        assert!(note.unwrap().contains("-i N"));
        let (c, _) = Names::take(&r, "/third", Some(7)).unwrap();
        assert!(Names::take(&r, "/fourth", Some(7)).unwrap_err().contains("instance 7 is taken"));
        assert_eq!(paths::instance_socket(&r, "io-pkt7").unwrap(), c.socket);
        let (socket, inst) = (a.socket.clone(), r.path("/proc/io-pkt7"));
        drop((a, b, c));
        assert!(!socket.exists() && !inst.exists());
        // What a killed one leaves: its files, without locks.
        std::fs::write(&socket, "stale").unwrap();
        std::fs::write(&inst, "/stale\n").unwrap();
        let (d, _) = Names::take(&r, "", Some(7)).unwrap();
        assert!(!d.socket.exists());
        assert_eq!(paths::instance_socket(&r, "io-pkt7").unwrap(), d.socket);
        drop(d);
        std::fs::remove_dir_all(r.dir()).unwrap();
    }
}

//! Lock files: who holds the lock lives. The kernel drops the lock with the process, so a killed holder
//! leaves nothing but a file that the next one locks again.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A held lock; dropping it releases the lock (the file stays: removing it would race with the next holder).
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock `path` and writes our process id into it. `Ok(Err(pid))` when another process holds it
    /// (0 when it has not yet written its id).
    ///
    /// # Errors
    /// What open(2), flock(2) and write(2) say.
    pub fn take(path: &Path) -> io::Result<Result<LockFile, u32>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = file.take(32).read_to_string(&mut text);
                return Ok(Err(text.trim().parse().unwrap_or(0)));
            }
            Err(e) => return Err(e.into()),
        }
        let mut lock = LockFile { file, path: path.to_owned() };
        lock.write_pid()?;
        Ok(Ok(lock))
    }

    /// Writes the id of this process: for a process that took the lock before a fork(2) that it survives in
    /// the child (the lock belongs to the open file, so the child has it).
    ///
    /// # Errors
    /// What write(2) says.
    pub fn write_pid(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

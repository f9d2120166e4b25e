//! Memory with a name, after QNX's typed memory: a mapped region, and who has which part of it.
//!
//! | name | what it is here |
//! | --- | --- |
//! | `sysram`, `ram` | the process's own heap: no region |
//! | `ram/dma`, `/ram/dma` | an anonymous file (memfd_create(2)) of huge pages if the kernel has enough free ones, else of normal pages; locked into memory as its pages are used, as far as RLIMIT_MEMLOCK goes |
//! | `memfd` | an anonymous file of normal pages |
//! | `/path` | that file: on hugetlbfs its pages are huge; a directory (`/dev/hugepages`) means a nameless file in it |
//!
//! A file that is empty grows to what is needed; one that has a size (a device, too) is taken as it is, and limits how many
//! buffers there can be. Files on a disk or a tmpfs get their blocks at once, so that a full one is an error of the
//! start and not a SIGBUS later.

use std::alloc::Layout;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// A mapped region, handed out in parts.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    /// Free parts, offset and length, in order, never two that touch.
    free: Mutex<Vec<(usize, usize)>>,
    what: String,
}

// SAFETY: the mapping belongs to the process, not to a thread; the list is behind its lock.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps what `name` means, `bytes` long if the name does not decide that itself. `None`: the heap is meant.
    ///
    /// # Errors
    /// With a message that names the object, what is wrong, and what to do.
    pub fn named(name: &str, bytes: usize) -> io::Result<Option<Region>> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("typed memory {name}: {e}"));
        match name.strip_prefix('/').unwrap_or(name) {
            "sysram" | "ram" => return Ok(None),
            "ram/dma" => return dma(bytes).map(Some).map_err(named),
            "memfd" => {
                let f = memfd(0).map_err(named)?;
                return Region::file(&f, bytes, "anonymous file, normal pages", true)
                    .map(Some)
                    .map_err(named);
            }
            _ => {}
        }
        if !name.starts_with('/') {
            let text = format!(
                "typed memory {name}: there is no such object; there are sysram, ram/dma, memfd, and the path of a file or directory"
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let path = Path::new(name);
        let mut open = OpenOptions::new();
        open.read(true).write(true).mode(0o600);
        let f = if path.is_dir() {
            open.custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC).open(path)
        } else {
            open.create(true).truncate(false).custom_flags(libc::O_CLOEXEC).open(path)
        };
        f.and_then(|f| Region::file(&f, bytes, name, false)).map(Some).map_err(named)
    }

    fn file(f: &File, bytes: usize, what: &str, anonymous: bool) -> io::Result<Region> {
        let meta = f.metadata()?;
        let page = (meta.blksize() as usize).max(4096).next_power_of_two();
        let huge = page >= 1 << 20;
        let len = match meta.len() as usize {
            0 if meta.file_type().is_char_device() || meta.file_type().is_block_device() => bytes,
            0 => {
                let len = bytes.next_multiple_of(page);
                f.set_len(len as u64)?;
                if !anonymous && !huge {
                    // SAFETY: plain numbers and a descriptor that lives across the call.
                    let r = unsafe { libc::fallocate(f.as_raw_fd(), 0, 0, len as libc::off_t) };
                    if r < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EOPNOTSUPP) {
                        return Err(io::Error::last_os_error());
                    }
                }
                len
            }
            n => n / page * page,
        };
        if len == 0 {
            return Err(io::Error::other("smaller than one page"));
        }
        // SAFETY: asks for a new mapping of an open descriptor; nothing existing is replaced.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                f.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            let e = io::Error::last_os_error();
            let hint = if huge && e.raw_os_error() == Some(libc::ENOMEM) {
                format!(
                    "; it needs {} free huge pages of {} KiB (/proc/sys/vm/nr_hugepages)",
                    len / page,
                    page / 1024
                )
            } else {
                String::new()
            };
            return Err(io::Error::new(e.kind(), format!("cannot map {len} bytes: {e}{hint}")));
        }
        let base = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let what = if huge { format!("{what}, huge pages of {} KiB", page / 1024) } else { what.to_owned() };
        Ok(Region { base, len, free: Mutex::new(vec![(0, len)]), what })
    }

    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// What it is, for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// A part of the region; `None` when there is none of this size.
    pub fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        // Mappings begin at a page; nothing here asks for more than that.
        let (size, align) = (layout.size().next_multiple_of(64), layout.align().max(64));
        if align > 4096 || size == 0 {
            return None;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |&(at, len): &(usize, usize)| {
            let gap = at.next_multiple_of(align) - at;
            len >= gap + size
        };
        let i = free.iter().position(fits)?;
        let (at, len) = free[i];
        let gap = at.next_multiple_of(align) - at;
        let mut rest = Vec::new();
        if gap > 0 {
            rest.push((at, gap));
        }
        if len > gap + size {
            rest.push((at + gap + size, len - gap - size));
        }
        free.splice(i..=i, rest);
        // SAFETY: the part lies inside the mapping.
        Some(unsafe { self.base.add(at + gap) })
    }

    /// Takes a part back.
    ///
    /// # Safety
    /// `at` came from [`Region::take`] with this layout and is not used any more.
    pub unsafe fn give(&self, at: NonNull<u8>, layout: Layout) {
        let off = at.as_ptr() as usize - self.base.as_ptr() as usize;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let i = free.partition_point(|p| p.0 < off);
        free.insert(i, (off, layout.size().next_multiple_of(64)));
        if i + 1 < free.len() && free[i].0 + free[i].1 == free[i + 1].0 {
            free[i].1 += free.remove(i + 1).1;
        }
        if i > 0 && free[i - 1].0 + free[i - 1].1 == free[i].0 {
            free[i - 1].1 += free.remove(i).1;
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: our mapping; whoever took parts of it has given them back or promised not to use them.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn memfd(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: the name is NUL-terminated.
    let fd = unsafe { libc::memfd_create(c"io-pkt".as_ptr(), libc::MFD_CLOEXEC | flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Memory that is to stay where it is.
fn dma(bytes: usize) -> io::Result<Region> {
    let huge = memfd(libc::MFD_HUGETLB).and_then(|f| Region::file(&f, bytes, "anonymous file", true));
    let mut r = match huge {
        Ok(r) => r,
        Err(_) => Region::file(
            &memfd(0)?,
            bytes,
            "anonymous file, normal pages (not enough free huge pages)",
            true,
        )?,
    };
    // SAFETY: our own mapping.
    let locked = unsafe { libc::mlock2(r.base.as_ptr().cast(), r.len, libc::MLOCK_ONFAULT as _) } == 0;
    r.what += if locked { ", locked" } else { ", not locked (RLIMIT_MEMLOCK)" };
    Ok(r)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(n: usize) -> Layout {
        Layout::from_size_align(n, 64).unwrap()
    }

    #[test]
    fn parts_are_apart_and_come_together_again() {
        let r = Region::named("memfd", 10_000).unwrap().unwrap();
        assert_eq!(r.bytes(), 12_288);
        let parts: Vec<_> = std::iter::from_fn(|| r.take(layout(1000))).collect();
        assert_eq!(parts.len(), 12);
        for (i, p) in parts.iter().enumerate() {
            // SAFETY: ours, 1000 bytes long.
            unsafe { p.as_ptr().write_bytes(i as u8, 1000) };
        }
        for (i, p) in parts.iter().enumerate() {
            // SAFETY: as above.
            assert!(unsafe { std::slice::from_raw_parts(p.as_ptr(), 1000) }.iter().all(|b| *b == i as u8));
        }
        for p in parts.iter().step_by(2).chain(parts.iter().skip(1).step_by(2)) {
            // SAFETY: taken above, not used any more.
            unsafe { r.give(*p, layout(1000)) };
        }
        assert_eq!(*r.free.lock().unwrap(), [(0, 12_288)]);
        assert!(r.take(layout(12_289)).is_none() && r.take(layout(12_288)).is_some());
    }

    #[test]
    fn names() {
        assert!(Region::named("sysram", 1).unwrap().is_none());
        let dma = Region::named("/ram/dma", 100_000).unwrap().unwrap();
        assert!(dma.bytes() >= 100_000 && dma.what().starts_with("anonymous file"), "{}", dma.what());
        let e = Region::named("ram/below1m", 1).unwrap_err().to_string();
        assert!(e.contains("ram/below1m") && e.contains("sysram, ram/dma, memfd"), "{e}");
        let e = Region::named("/nonexistent/file", 1).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
        // A file: it grows, or limits; a directory: nothing is left in it.
        let dir = std::env::temp_dir().join(format!("iopkt-memory-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("file");
        let r = Region::named(file.to_str().unwrap(), 5000).unwrap().unwrap();
        assert_eq!((r.bytes(), file.metadata().unwrap().len()), (8192, 8192));
        let r = Region::named(file.to_str().unwrap(), 1 << 20).unwrap().unwrap();
        assert_eq!(r.bytes(), 8192);
        std::fs::remove_file(&file).unwrap();
        if let Ok(r) = Region::named(dir.to_str().unwrap(), 5000) {
            assert_eq!(r.unwrap().bytes(), 8192);
        }
        assert_eq!(dir.read_dir().unwrap().count(), 0);
        std::fs::remove_dir(dir).unwrap();
    }
}

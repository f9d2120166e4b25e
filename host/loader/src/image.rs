//! A shared object in memory: mapped, and really unmapped.
//!
//! dlopen(3) of a file that is still mapped gives the image that is there, whatever the file holds by now,
//! and dlclose(3) keeps an image for which a thread still has thread-local destructors to run. So each load
//! gets an image of its own (a private copy of the file when the file is mapped already), and after dlclose
//! `/proc/self/maps` is asked whether it has gone.

use crate::Error;
use crate::info::{self, Info, Kind};
use iopkt_abi::{self as abi, copy_table};
use iopkt_base::Errno;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file as dlopen knows it: its name, its device and inode. It takes either for proof that the image that
/// it has is the one that is asked for.
#[derive(Clone, PartialEq, Eq)]
struct Known {
    path: PathBuf,
    id: (u64, u64),
}

/// The files that are mapped because of us.
static MAPPED: Mutex<Vec<Known>> = Mutex::new(Vec::new());
/// Private copies made so far.
static COPIES: AtomicU32 = AtomicU32::new(0);

/// The entry table of an object.
#[derive(Clone, Copy)]
pub(crate) enum Ops {
    Driver(abi::DriverOps),
    Module(abi::ModuleOps),
}

pub(crate) struct Image {
    lib: Library,
    /// The file, `None` for a private copy.
    file: Option<Known>,
    /// Where its `iopkt_object` is, and the line of the maps that it was found in.
    object: *const abi::Object,
    mapping: Option<String>,
    name: String,
}

// SAFETY: the pointer is to constant data of the image, which lives as long as `lib`.
unsafe impl Send for Image {}
// SAFETY: nothing can be done with a shared reference to it but look at constant data.
unsafe impl Sync for Image {}

impl Image {
    /// Checks the file at `path` and maps it. Its initialisers run on the calling thread.
    pub(crate) fn open(path: &Path) -> Result<(Image, Info, Ops), Error> {
        let show = path.display();
        let file = File::open(path).map_err(|e| {
            Error::new(
                iopkt_sys::errno(&e),
                format!("{show}: cannot open: {}", crate::search::errno_text(&e)),
            )
        })?;
        let (info, bytes) = info::read(&file, path)?;
        let image = Image::map(path, &file, &info)?;
        // SAFETY: read() has seen the symbol with at least the bytes up to `driver`; the image is mapped.
        let now =
            unsafe { std::slice::from_raw_parts(image.object.cast::<u8>(), offset_of!(abi::Object, driver)) };
        if now != &bytes[..now.len()] {
            return Err(Error::new(Errno::EAGAIN, format!("{show}: changed while it was loaded; try again")));
        }
        let ops = image.ops(&info, bytes.len())?;
        Ok((image, info, ops))
    }

    fn map(path: &Path, file: &File, info: &Info) -> Result<Image, Error> {
        let failed =
            |why: String| Error::new(Errno(libc::ENOEXEC), format!("{}: cannot load: {why}", path.display()));
        let id = file.metadata().map(|m| (m.dev(), m.ino())).map_err(|e| failed(e.to_string()))?;
        let mut mapped = MAPPED.lock().unwrap_or_else(|e| e.into_inner());
        let (keep, from, known) = if mapped.iter().any(|k| k.id == id || k.path == path) {
            let (copy, from) = private_copy(file, &info.file()).map_err(|e| failed(e.to_string()))?;
            (Some(copy), from, None)
        } else {
            (None, path.to_owned(), Some(Known { path: path.to_owned(), id }))
        };
        // SAFETY: the file calls itself an object of io-pkt for this version of the ABI; that its
        // initialisers behave is what loading a driver means.
        let lib =
            unsafe { Library::open(Some(&from), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| failed(dl_text(&e)))?;
        drop(keep);
        // SAFETY: the symbol is data; only its address is taken.
        let object = unsafe { lib.get::<*const abi::Object>(b"iopkt_object\0") }
            .map(|s| s.as_raw_ptr().cast_const().cast::<abi::Object>())
            .map_err(|e| failed(dl_text(&e)))?;
        mapped.extend(known.clone());
        let mapping = mapping_of(object as usize);
        Ok(Image { lib, file: known, object, mapping, name: info.file() })
    }

    fn ops(&self, info: &Info, len: usize) -> Result<Ops, Error> {
        let bad = |why: &str| {
            Error::new(Errno(libc::ENOEXEC), format!("{}: {why}; rebuild it", info.path.display()))
        };
        let field = match info.kind {
            Kind::Driver => offset_of!(abi::Object, driver),
            Kind::Module => offset_of!(abi::Object, module),
        };
        if len < field + size_of::<usize>() {
            return Err(bad("its iopkt_object has no entry table"));
        }
        let missing = || bad("its entry table is missing or of another version");
        let (ops, load) = match info.kind {
            Kind::Driver => {
                // SAFETY: the object is large enough to have the field, is relocated by now, and says that this
                // is its table, which is constant and lives as long as the image.
                let o: abi::DriverOps = unsafe { copy_table((*self.object).driver) }.ok_or_else(missing)?;
                (Ops::Driver(o), o.load.is_some())
            }
            Kind::Module => {
                // SAFETY: as above.
                let o: abi::ModuleOps = unsafe { copy_table((*self.object).module) }.ok_or_else(missing)?;
                (Ops::Module(o), o.load.is_some())
            }
        };
        if load { Ok(ops) } else { Err(bad("its entry table has no load")) }
    }

    /// Unmaps it; says whether it has really gone.
    pub(crate) fn close(self) -> bool {
        let Image { lib, file, object, mapping, name } = self;
        if let Err(e) = lib.close() {
            log::warn!("{name}: dlclose: {}", dl_text(&e));
        }
        let gone = mapping.is_none() || mapping_of(object as usize) != mapping;
        if let (true, Some(id)) = (gone, file) {
            let mut mapped = MAPPED.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(i) = mapped.iter().position(|m| *m == id) {
                mapped.swap_remove(i);
            }
        }
        gone
    }

    /// Leaves it mapped for good: something still refers to it.
    pub(crate) fn leak(self) {
        std::mem::forget(self.lib);
    }
}

/// The file's content in memory of its own, and a path to it that no image ever had: dlopen takes an image
/// of the same name for the one that is asked for.
fn private_copy(file: &File, name: &str) -> io::Result<(File, PathBuf)> {
    // The kernel takes names of up to 249 bytes.
    let name: String = name.chars().take(60).collect();
    // Kernels before 6.3 do not know the flag; later ones may be told to want it (vm.memfd_noexec).
    let made = rustix::fs::memfd_create(&name, MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(&name, MemfdFlags::CLOEXEC))?;
    let mut copy = File::from(made);
    io::copy(&mut &*file, &mut copy)?;
    let mut path = String::from("/proc/self/fd");
    let n = COPIES.fetch_add(1, Ordering::Relaxed);
    for bit in 0..u32::BITS - n.leading_zeros() {
        path.push_str(if n >> bit & 1 == 1 { "/." } else { "/" });
    }
    path.push_str(&format!("/{}", copy.as_raw_fd()));
    Ok((copy, path.into()))
}

/// The line of `/proc/self/maps` that covers `addr`, without its permissions.
fn mapping_of(addr: usize) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
        (from..to).contains(&addr).then(|| format!("{range} {}", rest.get(5..).unwrap_or("")))
    })
}

fn dl_text(e: &libloading::Error) -> String {
    use std::error::Error as _;
    e.source().map_or_else(|| e.to_string(), |s| s.to_string())
}

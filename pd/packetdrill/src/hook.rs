//! The calls that packetdrill makes past its table.
//!
//! Packetdrill asks for TCP_INFO, TCP_CC_INFO and SO_MEMINFO of `%{ }%` code with getsockopt(2), and makes sendfile(2) itself; system(3) runs the commands of scripts. All are
//! calls into the C library by the global offset table of the main program (ELF, System V ABI). The entries are pointed here
//! while an instance exists; what is not about a descriptor of ours goes on to the C library. A program that has no such entry (linked
//! statically, another format) is left alone: its scripts then cannot have assertions.

use crate::drive::Instance;
use crate::io::int;
use crate::table::get_option;
use iopkt_base::{Errno, Result};
use iopkt_world::Call;
use libc::{c_int, c_void, socklen_t};
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

/// The instance that hooked calls are for, and what the entries held.
struct Hooked {
    instance: Arc<Instance>,
    entries: Vec<(usize, usize)>,
}

static HOOKED: Mutex<Option<Hooked>> = Mutex::new(None);

fn instance() -> Option<Arc<Instance>> {
    HOOKED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|h| h.instance.clone())
}

/// Leads the calls of the main program here.
pub(crate) fn install(i: &Arc<Instance>) {
    let mut entries = Vec::new();
    for (name, to) in [
        (c"getsockopt", hooked_getsockopt as *const () as usize),
        (c"sendfile", hooked_sendfile as *const () as usize),
        (c"sendfile64", hooked_sendfile as *const () as usize),
        (c"system", hooked_system as *const () as usize),
    ] {
        if let Some(at) = entry(name)
            && let Some(old) = put(at, to)
        {
            entries.push((at, old));
        }
    }
    *HOOKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Hooked { instance: i.clone(), entries });
}

/// Puts everything back.
pub(crate) fn remove() {
    let h = HOOKED.lock().unwrap_or_else(PoisonError::into_inner).take();
    for (at, old) in h.into_iter().flat_map(|h| h.entries) {
        put(at, old);
    }
}

unsafe extern "C" fn hooked_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    val: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if let Some(i) = instance().filter(|i| i.with(|s| s.world.owns(fd))) {
        // SAFETY: as in getsockopt(2).
        return int(unsafe { get_option(&i, fd, level, name, val, len) }) as c_int;
    }
    // SAFETY: the caller's own call, unchanged.
    unsafe { libc::getsockopt(fd, level, name, val, len) }
}

unsafe extern "C" fn hooked_sendfile(to: c_int, from: c_int, at: *mut i64, count: usize) -> isize {
    if let Some(i) = instance().filter(|i| i.with(|s| s.world.owns(to))) {
        // SAFETY: `at` is null or valid, as in sendfile(2).
        return int(unsafe { send_file(&i, to, from, at, count) }) as isize;
    }
    // SAFETY: the caller's own call, unchanged.
    unsafe { libc::sendfile(to, from, at, count) }
}

/// Commands of scripts run as they are; one that empties the kernel's cache of peers, or asks for its counters, is meant for ours.
unsafe extern "C" fn hooked_system(command: *const libc::c_char) -> c_int {
    // SAFETY: null or a C string, as in system(3).
    let text = if command.is_null() { c"" } else { unsafe { CStr::from_ptr(command) } };
    let i = instance();
    if let Some(i) = i.as_ref().filter(|_| text.to_string_lossy().contains("tcp_metrics flush")) {
        i.with(|s| s.world.forget_peers());
    }
    let ours = i.and_then(|i| i.with(|s| s.nstat.wrap(text, &s.world.counters())));
    // SAFETY: the caller's own call, or a C string of ours in its place.
    unsafe { libc::system(ours.as_ref().map_or(command, |c| c.as_ptr())) }
}

/// sendfile(2) to a socket of ours: what is read and not taken is given back to the file's position.
///
/// # Safety
/// `at` is null or points to an offset.
unsafe fn send_file(i: &Instance, to: c_int, from: c_int, at: *mut i64, count: usize) -> Result<i64> {
    let mut data = vec![0u8; count.min(1 << 24)];
    // SAFETY: the buffer is ours; `at` by the caller's promise.
    let (n, begin) = unsafe {
        let begin = if at.is_null() { libc::lseek(from, 0, libc::SEEK_CUR) } else { *at };
        (libc::pread(from, data.as_mut_ptr().cast(), data.len(), begin), begin)
    };
    data.truncate(usize::try_from(n).map_err(|_| Errno::EBADF)?);
    let a = i.call(Call::Send { fd: to, data, flags: 0, name: None, control: Vec::new() })?;
    // SAFETY: as above.
    unsafe {
        if at.is_null() {
            libc::lseek(from, begin + a.ret, libc::SEEK_SET);
        } else {
            *at = begin + a.ret;
        }
    }
    Ok(a.ret)
}

/// What is needed of the main program's dynamic section.
#[derive(Default)]
struct Dynamic {
    base: usize,
    symtab: usize,
    strtab: usize,
    /// Tables of relocations with addends: address and bytes.
    rela: [(usize, usize); 2],
}

/// The address of the main program's entry for a function.
fn entry(name: &CStr) -> Option<usize> {
    let mut d = Dynamic::default();
    // SAFETY: the callback only reads the program's headers, which live as long as it.
    unsafe { libc::dl_iterate_phdr(Some(main_program), (&raw mut d).cast()) };
    if d.symtab == 0 || d.strtab == 0 {
        return None;
    }
    for (table, bytes) in d.rela.into_iter().filter(|t| t.0 != 0) {
        for n in 0..bytes / size_of::<libc::Elf64_Rela>() {
            // SAFETY: inside the table, which the dynamic linker maps.
            let r = unsafe { &*(table as *const libc::Elf64_Rela).add(n) };
            let sym = (r.r_info >> 32) as usize;
            if sym == 0 {
                continue;
            }
            // SAFETY: the symbol table has every symbol that a relocation names, the string table its name.
            let found = unsafe {
                let s = &*(d.symtab as *const libc::Elf64_Sym).add(sym);
                CStr::from_ptr((d.strtab + s.st_name as usize) as *const libc::c_char)
            };
            if found == name {
                return Some(d.base + r.r_offset as usize);
            }
        }
    }
    None
}

/// Reads the first object, which is the program itself.
unsafe extern "C" fn main_program(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    const DT_PLTRELSZ: i64 = 2;
    const DT_STRTAB: i64 = 5;
    const DT_SYMTAB: i64 = 6;
    const DT_RELA: i64 = 7;
    const DT_RELASZ: i64 = 8;
    const DT_JMPREL: i64 = 23;
    /// One entry of the dynamic section.
    #[repr(C)]
    struct Dyn {
        tag: i64,
        value: usize,
    }
    // SAFETY: both are valid for the call (dl_iterate_phdr(3)).
    let (info, d) = unsafe { (&*info, &mut *data.cast::<Dynamic>()) };
    d.base = info.dlpi_addr as usize;
    for n in 0..info.dlpi_phnum as usize {
        // SAFETY: there are dlpi_phnum headers.
        let ph = unsafe { &*info.dlpi_phdr.add(n) };
        if ph.p_type != libc::PT_DYNAMIC {
            continue;
        }
        let mut at = (d.base + ph.p_vaddr as usize) as *const Dyn;
        // SAFETY: the dynamic section ends with a tag of 0.
        unsafe {
            while (*at).tag != 0 {
                let v = (*at).value;
                match (*at).tag {
                    DT_SYMTAB => d.symtab = v,
                    DT_STRTAB => d.strtab = v,
                    DT_JMPREL => d.rela[0].0 = v,
                    DT_PLTRELSZ => d.rela[0].1 = v,
                    DT_RELA => d.rela[1].0 = v,
                    DT_RELASZ => d.rela[1].1 = v,
                    _ => {}
                }
                at = at.add(1);
            }
        }
    }
    1
}

/// Writes an entry of the global offset table, which the linker may have made read-only; returns what it held.
fn put(at: usize, to: usize) -> Option<usize> {
    // SAFETY: sysconf has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let start = at & !(page - 1);
    // SAFETY: `at` is an aligned word of the program's own table. Its page becomes writable (an entry never crosses one) and stays so: whether
    // it was before, the table does not tell.
    unsafe {
        if libc::mprotect(start as *mut c_void, page, libc::PROT_READ | libc::PROT_WRITE) != 0 {
            return None;
        }
        let p = at as *mut usize;
        let old = p.read();
        p.write(to);
        Some(old)
    }
}

//! Reads one data symbol out of a shared object without loading it.
//!
//! Just enough of ELF (System V gABI, chapters 4 and 5): file header, program headers to turn an address
//! into a file offset, section headers to find the dynamic symbol table. Every number is checked before it
//! is used; reads are by pread, so a file of any size costs a few kilobytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Why a file is not what it should be.
#[derive(Debug)]
pub(crate) enum ElfError {
    Io(io::Error),
    /// Not an ELF shared object for this machine: what is wrong.
    Not(&'static str),
    /// A good shared object without the symbol.
    NoSymbol,
}

impl From<io::Error> for ElfError {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            ElfError::Not("the file is cut short")
        } else {
            ElfError::Io(e)
        }
    }
}

const EHDR: usize = 64;
const PHDR: usize = 56;
const SHDR: usize = 64;
const SYM: usize = 24;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const SHT_DYNSYM: u32 = 11;
const STT_OBJECT: u8 = 1;
/// Most symbols that are looked at; real objects have some thousands.
const MAX_SYMS: u64 = 1 << 20;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(target_arch = "riscv64")]
const MACHINE: u16 = 243;

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

/// The bytes that symbol `name` has in the file (at most `max` of them).
pub(crate) fn symbol_bytes(f: &File, name: &str, max: usize) -> Result<Vec<u8>, ElfError> {
    let mut eh = [0; EHDR];
    match f.read_exact_at(&mut eh, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(ElfError::Not("not an ELF file"));
        }
        r => r?,
    }
    check_header(&eh)?;
    let sym = find_symbol(f, &eh, name)?;
    let (value, size) = (u64_at(&sym, 8), u64_at(&sym, 16));
    let len = size.min(max as u64) as usize;
    let at = file_offset(f, &eh, value, len as u64)?;
    let mut out = vec![0; len];
    f.read_exact_at(&mut out, at)?;
    Ok(out)
}

fn check_header(eh: &[u8; EHDR]) -> Result<(), ElfError> {
    if eh[..4] != *b"\x7fELF" {
        return Err(ElfError::Not("not an ELF file"));
    }
    if eh[4] != 2 || eh[5] != 1 || u16_at(eh, 18) != MACHINE {
        return Err(ElfError::Not("built for another machine"));
    }
    if u16_at(eh, 16) != ET_DYN {
        return Err(ElfError::Not("not a shared object"));
    }
    if u16_at(eh, 54) as usize != PHDR || (u16_at(eh, 60) != 0 && u16_at(eh, 58) as usize != SHDR) {
        return Err(ElfError::Not("damaged ELF header"));
    }
    Ok(())
}

fn section(f: &File, eh: &[u8; EHDR], i: u16) -> Result<[u8; SHDR], ElfError> {
    let mut sh = [0; SHDR];
    let at = u64_at(eh, 40).checked_add(u64::from(i) * SHDR as u64);
    f.read_exact_at(&mut sh, at.ok_or(ElfError::Not("damaged section table"))?)?;
    Ok(sh)
}

fn find_symbol(f: &File, eh: &[u8; EHDR], name: &str) -> Result<[u8; SYM], ElfError> {
    let count = u16_at(eh, 60);
    for i in 0..count {
        let sh = section(f, eh, i)?;
        if u32_at(&sh, 4) != SHT_DYNSYM {
            continue;
        }
        let link = u32_at(&sh, 40);
        if link >= u32::from(count) {
            return Err(ElfError::Not("damaged section table"));
        }
        let strtab = section(f, eh, link as u16)?;
        return scan(f, (u64_at(&sh, 24), u64_at(&sh, 32)), (u64_at(&strtab, 24), u64_at(&strtab, 32)), name);
    }
    Err(ElfError::NoSymbol)
}

/// Looks through a symbol table (`syms`: offset and size in the file) for a defined object of this name.
fn scan(f: &File, syms: (u64, u64), strs: (u64, u64), name: &str) -> Result<[u8; SYM], ElfError> {
    let total = (syms.1 / SYM as u64).min(MAX_SYMS);
    let mut chunk = vec![0; SYM * 256];
    let mut text = vec![0; name.len() + 1];
    let mut done = 0;
    while done < total {
        let n = (total - done).min(256) as usize;
        let at = syms.0.checked_add(done * SYM as u64).ok_or(ElfError::Not("damaged symbol table"))?;
        f.read_exact_at(&mut chunk[..n * SYM], at)?;
        for s in chunk[..n * SYM].chunks_exact(SYM) {
            let off = u64::from(u32_at(s, 0));
            if s[4] & 15 != STT_OBJECT || u16_at(s, 6) == 0 || off + text.len() as u64 > strs.1 {
                continue;
            }
            let Some(at) = strs.0.checked_add(off) else { continue };
            f.read_exact_at(&mut text, at)?;
            if text[..name.len()] == *name.as_bytes() && text[name.len()] == 0 {
                let mut out = [0; SYM];
                out.copy_from_slice(s);
                return Ok(out);
            }
        }
        done += n as u64;
    }
    Err(ElfError::NoSymbol)
}

/// Where in the file the `len` bytes at address `addr` are.
fn file_offset(f: &File, eh: &[u8; EHDR], addr: u64, len: u64) -> Result<u64, ElfError> {
    for i in 0..u16_at(eh, 56) {
        let mut ph = [0; PHDR];
        let at = u64_at(eh, 32).checked_add(u64::from(i) * PHDR as u64);
        f.read_exact_at(&mut ph, at.ok_or(ElfError::Not("damaged program headers"))?)?;
        let (off, vaddr, filesz) = (u64_at(&ph, 8), u64_at(&ph, 16), u64_at(&ph, 32));
        if u32_at(&ph, 0) != PT_LOAD || addr < vaddr {
            continue;
        }
        let inside = addr - vaddr;
        if inside < filesz && len <= filesz - inside {
            return off.checked_add(inside).ok_or(ElfError::Not("damaged program headers"));
        }
    }
    Err(ElfError::Not("its iopkt_object has no content in the file"))
}

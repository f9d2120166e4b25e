//! Finding the program, and what can be told from its file.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a program cannot be started; the shell's exit status for it is [`Missing::status`].
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// No such file.
    NotFound,
    /// There is one, but it is no executable file.
    NotExecutable,
}

impl Missing {
    /// 127 or 126, as shells have it.
    pub fn status(&self) -> i32 {
        match self {
            Missing::NotFound => 127,
            Missing::NotExecutable => 126,
        }
    }
}

fn check(path: &Path) -> Result<(), Missing> {
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => Missing::NotExecutable,
        _ => Missing::NotFound,
    })?;
    let c = CString::new(path.as_os_str().as_bytes()).map_err(|_| Missing::NotFound)?;
    // SAFETY: a NUL-terminated path.
    let executable = unsafe { libc::access(c.as_ptr(), libc::X_OK) } == 0;
    if meta.is_file() && executable { Ok(()) } else { Err(Missing::NotExecutable) }
}

/// As execvp(3): a name with a slash is a path, another is looked for in `path` (`$PATH`).
pub fn find(name: &OsStr, path: Option<OsString>) -> Result<PathBuf, Missing> {
    if name.is_empty() {
        return Err(Missing::NotFound);
    }
    if name.as_bytes().contains(&b'/') {
        let p = PathBuf::from(name);
        return check(&p).map(|()| p);
    }
    let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut worst = Missing::NotFound;
    for dir in std::env::split_paths(&path) {
        let dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir };
        let p = dir.join(name);
        match check(&p) {
            Ok(()) => return Ok(p),
            Err(Missing::NotExecutable) if !p.is_dir() => worst = Missing::NotExecutable,
            Err(_) => {}
        }
    }
    Err(worst)
}

/// What the file says about how its program can be reached.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ELF file with PT_INTERP: the dynamic linker loads the preload library.
    Dynamic,
    /// An ELF file without: only the supervisor reaches it.
    Static,
    /// An ELF file for another machine or word size.
    Foreign,
    /// A script or anything else the kernel may know.
    Other,
}

/// `e_machine` of this build (`elf.h`).
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
const PT_INTERP: u32 = 3;

/// Reads the ELF header and the program headers; never fails, an unreadable file is `Other`.
pub fn inspect(path: &Path) -> Kind {
    let mut head = Vec::new();
    match File::open(path).and_then(|f| f.take(8192).read_to_end(&mut head)) {
        Ok(_) => classify(&head),
        Err(_) => Kind::Other,
    }
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    b.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

/// What the first bytes of a file say.
fn classify(b: &[u8]) -> Kind {
    if !b.starts_with(b"\x7fELF") {
        return Kind::Other;
    }
    // EI_CLASS 2 is 64-bit, EI_DATA 1 little-endian.
    if b.get(4) != Some(&2) || b.get(5) != Some(&1) || u16_at(b, 18) != Some(MACHINE) {
        return Kind::Foreign;
    }
    let phoff = b.get(32..40).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (Some(size), Some(count)) = (u16_at(b, 54), u16_at(b, 56)) else { return Kind::Other };
    for i in 0..u64::from(count) {
        let at = phoff.saturating_add(i * u64::from(size));
        let Ok(at) = usize::try_from(at) else { break };
        let kind = b.get(at..at.saturating_add(4)).and_then(|s| s.try_into().ok()).map(u32::from_le_bytes);
        if kind == Some(PT_INTERP) {
            return Kind::Dynamic;
        }
    }
    Kind::Static
}

/// The preload library: `$IO_PKT_PRELOAD`, else `../lib` beside the program's directory, else beside the program itself
/// (as cargo lays it out). The error lists where it was looked for.
pub fn preload_library(named: Option<OsString>, exe: io::Result<PathBuf>) -> Result<PathBuf, String> {
    const NAME: &str = "libiopkt_preload.so";
    if let Some(p) = named.filter(|p| !p.is_empty()) {
        let p = PathBuf::from(p);
        return match fs::canonicalize(&p) {
            Ok(p) => Ok(p),
            Err(e) => Err(format!("$IO_PKT_PRELOAD is {}: {e}", p.display())),
        };
    }
    let exe = exe.map_err(|e| format!("cannot tell my own path: {e}"))?;
    let dir = exe.parent().unwrap_or(Path::new("/"));
    let places = [
        dir.join("../lib").join(NAME),
        dir.join(NAME),
        dir.join("deps").join(NAME),
        dir.join("..").join(NAME),
    ];
    for p in &places {
        if let Ok(p) = fs::canonicalize(p) {
            return Ok(p);
        }
    }
    Err(format!("{NAME} is neither in {} nor in {}", dir.join("../lib").display(), dir.display()))
}

/// `LD_PRELOAD` with the library behind what is there. The dynamic linker splits at spaces and colons, so a path with one
/// of them cannot be named.
pub fn ld_preload(existing: Option<OsString>, library: &Path) -> Result<OsString, String> {
    let lib = library.as_os_str();
    if lib.as_bytes().iter().any(|b| b" :".contains(b)) {
        return Err(format!(
            "{}: a path with a space or colon cannot stand in LD_PRELOAD",
            library.display()
        ));
    }
    let Some(mut list) = existing.filter(|e| !e.is_empty()) else { return Ok(lib.to_owned()) };
    if list.as_bytes().split(|b| b" :".contains(b)).any(|p| p == lib.as_bytes()) {
        return Ok(list);
    }
    list.push(":");
    list.push(lib);
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        assert!(find("sh".as_ref(), Some("/bin:/usr/bin".into())).is_ok());
        assert_eq!(find("no-such-program-here".as_ref(), None), Err(Missing::NotFound));
        assert_eq!(find("/nowhere/x".as_ref(), None), Err(Missing::NotFound));
        assert_eq!(find("/etc/passwd".as_ref(), None), Err(Missing::NotExecutable));
        assert_eq!(find("/etc".as_ref(), None), Err(Missing::NotExecutable));
        assert_eq!(find("passwd".as_ref(), Some("/etc".into())), Err(Missing::NotExecutable));
        assert_eq!(find("".as_ref(), None), Err(Missing::NotFound));
    }

    #[test]
    fn kinds_of_files() {
        assert_eq!(inspect(&std::env::current_exe().unwrap()), Kind::Dynamic);
        assert_eq!(classify(b"#!/bin/sh\n"), Kind::Other);
        assert_eq!(classify(b"\x7fELF\x01\x01\x01"), Kind::Foreign);
        assert_eq!(classify(b"\x7fELF"), Kind::Foreign);
        let mut elf = vec![0u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        assert_eq!(classify(&elf), Kind::Static);
        elf[32] = 0xff; // program headers that lie outside, and too many of them
        elf[39] = 0xff;
        elf[54..58].fill(0xff);
        assert_eq!(classify(&elf), Kind::Static);
    }

    #[test]
    fn ld_preload_appends_once() {
        let lib = Path::new("/l/libiopkt_preload.so");
        assert_eq!(ld_preload(None, lib).unwrap(), lib.as_os_str());
        let two = ld_preload(Some("a.so b.so".into()), lib).unwrap();
        assert_eq!(two, "a.so b.so:/l/libiopkt_preload.so");
        assert_eq!(ld_preload(Some(two.clone()), lib).unwrap(), two);
        assert!(ld_preload(None, Path::new("/a b/l.so")).is_err());
    }
}

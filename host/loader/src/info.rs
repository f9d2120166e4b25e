//! What an object says of itself, read from its file and checked before anything of it runs.

use crate::Error;
use crate::elf::{self, ElfError};
use crate::search::errno_text;
use iopkt_abi as abi;
use iopkt_base::Errno;
use std::fs::File;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

/// Driver or stack module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Loaded by `-d` or `mount`.
    Driver,
    /// Loaded by `-p` or `mount`.
    Module,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `verbose`
    Nothing,
    /// `verbose[=N]`
    Maybe,
    /// `wait=N`
    Value,
}

/// One option that an object takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionHelp {
    /// `wait`
    pub name: String,
    /// Whether it has a value.
    pub takes: Takes,
    /// As its author writes it: `wait=N`.
    pub form: String,
    /// One line.
    pub help: String,
}

/// What an object says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The file.
    pub path: PathBuf,
    /// Driver or module.
    pub kind: Kind,
    /// Version of the ABI that it was built against.
    pub abi: (u16, u16),
    /// `ecm`
    pub name: String,
    /// Prefix of its interfaces.
    pub prefix: String,
    /// Its author's version text.
    pub version: String,
    /// One line.
    pub description: String,
    /// The options it takes.
    pub options: Vec<OptionHelp>,
    /// It judges its option list itself (`*`).
    pub raw_options: bool,
}

impl Info {
    /// Name of the file without directories.
    pub fn file(&self) -> String {
        file_name(&self.path)
    }
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Reads what the object at `path` says of itself. Nothing of it is mapped or run.
///
/// # Errors
/// ENOEXEC for what is not an object of io-pkt for this machine, ENOTSUP when it and this program do not fit,
/// else what open(2) says.
pub fn inspect(path: &Path) -> Result<Info, Error> {
    let f = File::open(path).map_err(|e| {
        Error::new(iopkt_sys::errno(&e), format!("{}: cannot open: {}", path.display(), errno_text(&e)))
    })?;
    read(&f, path).map(|(info, _)| info)
}

/// [`inspect`] of an open file; also the bytes of its `iopkt_object`.
pub(crate) fn read(f: &File, path: &Path) -> Result<(Info, Vec<u8>), Error> {
    let show = path.display();
    let enoexec = Errno(libc::ENOEXEC);
    if !f.metadata().is_ok_and(|m| m.is_file()) {
        return Err(Error::new(
            enoexec,
            format!("{show}: not a regular file; name a driver's or module's .so file"),
        ));
    }
    let bytes = elf::symbol_bytes(f, abi::OBJECT_SYMBOL, size_of::<abi::Object>()).map_err(|e| match e {
        ElfError::Io(e) => {
            Error::new(iopkt_sys::errno(&e), format!("{show}: cannot read: {}", errno_text(&e)))
        }
        ElfError::Not(why) => {
            Error::new(enoexec, format!("{show}: {why}; name a driver built for this machine"))
        }
        ElfError::NoSymbol => Error::new(
            enoexec,
            format!(
                "{show}: exports no {}: not an object of io-pkt; name a devnp- or lsm- file",
                abi::OBJECT_SYMBOL
            ),
        ),
    })?;
    let info = parse(&bytes, path)?;
    Ok((info, bytes))
}

fn parse(b: &[u8], path: &Path) -> Result<Info, Error> {
    let show = path.display();
    let bad = |why: &str| {
        Error::new(
            Errno(libc::ENOEXEC),
            format!("{show}: {why}; rebuild it against include/iopkt/abi.h of version {}", abi::ABI_MAJOR),
        )
    };
    let unfit = |why: String| Error::new(Errno::EOPNOTSUPP, format!("{show}: {why}"));
    // What every version has: everything in front of the tables' pointers.
    if b.len() < offset_of!(abi::Object, driver) || b[..8] != abi::MAGIC {
        return Err(bad("its iopkt_object is not one (wrong magic or size)"));
    }
    let u16_at = |at: usize| u16::from_ne_bytes([b[at], b[at + 1]]);
    let u32_at = |at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let head = offset_of!(abi::Object, head);
    let (major, minor) =
        (u16_at(head + offset_of!(abi::Head, major)), u16_at(head + offset_of!(abi::Head, minor)));
    if major != abi::ABI_MAJOR {
        return Err(unfit(format!(
            "built for driver ABI {major}.{minor}, this io-pkt has {}.{}; rebuild it",
            abi::ABI_MAJOR,
            abi::ABI_MINOR
        )));
    }
    let needs_minor = u16_at(offset_of!(abi::Object, needs_minor));
    if needs_minor > abi::ABI_MINOR {
        return Err(unfit(format!(
            "needs driver ABI {major}.{needs_minor}, this io-pkt has {}.{}; update io-pkt",
            abi::ABI_MAJOR,
            abi::ABI_MINOR
        )));
    }
    let needs = u32_at(offset_of!(abi::Object, needs));
    if needs != 0 {
        return Err(unfit(format!("needs what this io-pkt does not have (bits {needs:#x}); update io-pkt")));
    }
    let kind = match u16_at(offset_of!(abi::Object, kind)) {
        abi::KIND_DRIVER => Kind::Driver,
        abi::KIND_MODULE => Kind::Module,
        k => return Err(unfit(format!("is of unknown kind {k}; update io-pkt"))),
    };
    let field = |at: usize, len: usize, what: &str| {
        text(&b[at..at + len]).ok_or_else(|| bad(&format!("its {what} is not clean text")))
    };
    let name = field(offset_of!(abi::Object, name), 32, "name")?;
    let prefix = field(offset_of!(abi::Object, prefix), 16, "prefix")?;
    if name.is_empty() || (kind == Kind::Driver && !good_prefix(&prefix)) {
        return Err(bad("it has no name or no good interface prefix (letters, at most 11)"));
    }
    let list = &b[offset_of!(abi::Object, options)..offset_of!(abi::Object, reserved)];
    let raw_options = list.starts_with(b"*\t") && list.iter().filter(|c| **c == b'\n').count() == 1;
    let list = if raw_options { &[0][..] } else { list };
    Ok(Info {
        path: path.to_owned(),
        kind,
        abi: (major, minor),
        name,
        prefix,
        version: field(offset_of!(abi::Object, version), 32, "version")?,
        description: field(offset_of!(abi::Object, description), 96, "description")?,
        options: options(list).ok_or_else(|| bad("its list of options is malformed"))?,
        raw_options,
    })
}

/// A text array up to its NUL: UTF-8, no control characters.
pub(crate) fn text(b: &[u8]) -> Option<String> {
    let end = b.iter().position(|&c| c == 0)?;
    let s = std::str::from_utf8(&b[..end]).ok()?;
    (!s.chars().any(char::is_control)).then(|| s.to_owned())
}

/// Whether an interface may be called so: letters, then a number that the stack adds.
pub fn good_prefix(p: &str) -> bool {
    // "IFNAMSIZ" is 16 with its NUL; 4 digits stay for the unit.
    (1..=11).contains(&p.len())
        && p.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && p.starts_with(|c: char| c.is_ascii_alphabetic())
        && !p.ends_with(|c: char| c.is_ascii_digit())
}

fn options(b: &[u8]) -> Option<Vec<OptionHelp>> {
    let end = b.iter().position(|&c| c == 0)?;
    let s = std::str::from_utf8(&b[..end]).ok()?;
    let mut out = Vec::new();
    for line in s.lines().filter(|l| !l.is_empty()) {
        let (form, help) = line.split_once('\t')?;
        if help.chars().any(char::is_control) {
            return None;
        }
        let (name, takes) = match form.split_once('=') {
            None => (form, Takes::Nothing),
            Some((n, _)) => match n.strip_suffix('[') {
                Some(n) => (n, Takes::Maybe),
                None => (n, Takes::Value),
            },
        };
        let clean = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        if name.is_empty() || !name.bytes().all(clean) || form.chars().any(char::is_control) {
            return None;
        }
        out.push(OptionHelp { name: name.into(), takes, form: form.into(), help: help.into() });
    }
    Some(out)
}

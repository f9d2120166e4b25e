//! Where the stack's `dev/socket/2` is.
//!
//! `IO_PKT_SOCKET`, which io-pkt-run sets for the programs it starts, names the socket itself, so that a program that changes
//! its user keeps to the same stack. Without it: `<root>$SOCK/dev/socket/2`, where root is `$IO_PKT_ROOT`, else
//! `/run/io-pkt` for uid 0, else `$XDG_RUNTIME_DIR/io-pkt`, else `/tmp/io-pkt-<uid>` (used only if it is ours alone).

use core::ffi::CStr;

use crate::sys;

/// Longest path, as `sockaddr_un` has it, without the terminating NUL.
pub const MAX: usize = 107;

/// The variable by which io-pkt-run names the socket for its programs.
pub const ENV_SOCKET: &CStr = c"IO_PKT_SOCKET";

/// The variable by which io-pkt-run says that its supervisor is there.
pub const ENV_SUPERVISED: &CStr = c"IO_PKT_SUPERVISED";

/// A path of at most [`MAX`] bytes, NUL-terminated.
#[derive(Clone, Copy)]
pub struct Path {
    buf: [u8; MAX + 1],
    len: usize,
}

/// Why there is no usable path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Longer than [`MAX`] bytes: `sockaddr_un` cannot hold it.
    TooLong,
    /// The directory in /tmp belongs to somebody else, or others may write to it.
    NotOurs,
}

impl Path {
    /// No path.
    pub const EMPTY: Path = Path { buf: [0; MAX + 1], len: 0 };

    /// From bytes; refused if too long.
    pub fn new(bytes: &[u8]) -> Result<Path, Unusable> {
        let mut p = Path::EMPTY;
        p.push(bytes)?;
        Ok(p)
    }

    /// The bytes without the NUL.
    pub fn bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }

    /// The bytes with the NUL, for system calls.
    pub fn with_nul(&self) -> &[u8] {
        &self.buf
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Unusable> {
        let end = self.len.saturating_add(bytes.len());
        if end > MAX {
            return Err(Unusable::TooLong);
        }
        if let Some(dst) = self.buf.get_mut(self.len..end) {
            dst.copy_from_slice(bytes);
        }
        self.len = end;
        Ok(())
    }

    fn push_decimal(&mut self, mut n: u32) -> Result<(), Unusable> {
        let mut digits = [0u8; 10];
        let mut at = digits.len();
        loop {
            at -= 1;
            if let Some(d) = digits.get_mut(at) {
                *d = b'0' + (n % 10) as u8;
            }
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.push(digits.get(at..).unwrap_or(&[]))
    }
}

/// What the environment and the kernel say; a parameter so that it can be tested.
#[derive(Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// `$IO_PKT_SOCKET`.
    pub socket: Option<&'a [u8]>,
    /// `$IO_PKT_ROOT`.
    pub root: Option<&'a [u8]>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<&'a [u8]>,
    /// `$SOCK`.
    pub sock: Option<&'a [u8]>,
    /// The effective user.
    pub uid: u32,
}

fn set(v: Option<&[u8]>) -> Option<&[u8]> {
    v.filter(|v| !v.is_empty())
}

/// The socket's path, and whether its root is the guessable directory in /tmp.
fn compose(s: &Surroundings<'_>) -> Result<(Path, Option<Path>), Unusable> {
    if let Some(p) = set(s.socket) {
        return Ok((Path::new(p)?, None));
    }
    let mut p = Path::EMPTY;
    let mut check = None;
    if let Some(root) = set(s.root) {
        p.push(root)?;
    } else if s.uid == 0 {
        p.push(b"/run/io-pkt")?;
    } else if let Some(dir) = set(s.runtime_dir) {
        p.push(dir)?;
        p.push(b"/io-pkt")?;
    } else {
        p.push(b"/tmp/io-pkt-")?;
        p.push_decimal(s.uid)?;
        check = Some(p);
    }
    if let Some(sock) = set(s.sock) {
        if !sock.starts_with(b"/") {
            p.push(b"/")?;
        }
        let end = sock.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
        p.push(sock.get(..end).unwrap_or(&[]))?;
    }
    p.push(b"/dev/socket/2")?; // AF_INET; the other families' names lead there too
    Ok((p, check))
}

/// Whether `dir` is a directory that only `uid` can write to; one that is missing is no danger.
fn is_private(dir: &Path, uid: u32) -> bool {
    // SAFETY: all-zero is a valid stat.
    let mut st: libc::stat = unsafe { core::mem::zeroed() };
    let a = [
        libc::AT_FDCWD as usize,
        dir.with_nul().as_ptr() as usize,
        &raw mut st as usize,
        libc::AT_SYMLINK_NOFOLLOW as usize,
        0,
        0,
    ];
    // SAFETY: the path is NUL-terminated and st lives across the call.
    match unsafe { sys::call(libc::SYS_newfstatat, a) } {
        Ok(_) => st.st_mode & libc::S_IFMT == libc::S_IFDIR && st.st_uid == uid && st.st_mode & 0o022 == 0,
        Err(e) => e == libc::ENOENT,
    }
}

/// The socket's path in the given surroundings.
pub fn resolve(s: &Surroundings<'_>) -> Result<Path, Unusable> {
    let (path, check) = compose(s)?;
    match check {
        Some(dir) if !is_private(&dir, s.uid) => Err(Unusable::NotOurs),
        _ => Ok(path),
    }
}

/// The socket's path for this process. `inherit`: `IO_PKT_SOCKET` decides if it is set.
pub fn from_env(inherit: bool) -> Result<Path, Unusable> {
    fn var<'a>(name: &CStr) -> Option<&'a [u8]> {
        // SAFETY: the name is NUL-terminated; the value is read at start, before the program can change it.
        unsafe {
            let v = libc::getenv(name.as_ptr());
            if v.is_null() { None } else { Some(CStr::from_ptr(v).to_bytes()) }
        }
    }
    resolve(&Surroundings {
        socket: var(ENV_SOCKET).filter(|_| inherit),
        root: var(c"IO_PKT_ROOT"),
        runtime_dir: var(c"XDG_RUNTIME_DIR"),
        sock: var(c"SOCK"),
        // SAFETY: no arguments.
        uid: unsafe { libc::geteuid() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(s: Surroundings<'_>) -> String {
        String::from_utf8(compose(&s).unwrap().0.bytes().to_vec()).unwrap()
    }

    #[test]
    fn roots_in_their_order() {
        let s = Surroundings { uid: 1000, ..Default::default() };
        assert_eq!(path(s), "/tmp/io-pkt-1000/dev/socket/2");
        let s = Surroundings { runtime_dir: Some(b"/run/user/1000"), ..s };
        assert_eq!(path(s), "/run/user/1000/io-pkt/dev/socket/2");
        assert_eq!(path(Surroundings { uid: 0, ..s }), "/run/io-pkt/dev/socket/2");
        let s = Surroundings { root: Some(b"/r"), ..s };
        assert_eq!(path(s), "/r/dev/socket/2");
        assert_eq!(path(Surroundings { socket: Some(b"/x/y"), ..s }), "/x/y");
        assert_eq!(path(Surroundings { root: Some(b""), ..s }), "/run/user/1000/io-pkt/dev/socket/2");
    }

    #[test]
    fn sock_is_a_prefix() {
        let s = Surroundings { root: Some(b"/r"), ..Default::default() };
        for (sock, want) in [
            ("/alt", "/r/alt/dev/socket/2"),
            ("alt", "/r/alt/dev/socket/2"),
            ("/alt/", "/r/alt/dev/socket/2"),
        ] {
            assert_eq!(path(Surroundings { sock: Some(sock.as_bytes()), ..s }), want);
        }
        assert_eq!(path(Surroundings { sock: Some(b"/"), ..s }), "/r/dev/socket/2");
        assert_eq!(path(Surroundings { sock: Some(b""), ..s }), "/r/dev/socket/2");
    }

    #[test]
    fn too_long_is_refused() {
        let long = [b'a'; 200];
        let s = Surroundings { root: Some(&long), ..Default::default() };
        assert_eq!(compose(&s).err(), Some(Unusable::TooLong));
    }

    #[test]
    fn a_strangers_directory_is_refused() {
        let dir = Path::new(b"/tmp").unwrap();
        assert!(!is_private(&dir, 4_000_000), "/tmp belongs to root and everybody writes to it");
        assert!(is_private(&Path::new(b"/nowhere/at/all").unwrap(), 0));
    }
}

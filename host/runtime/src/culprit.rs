//! Whose code an address belongs to, found out inside a signal handler.
//!
//! The kernel knows: /proc/self/maps is read piece by piece with nothing but open, read and close, which
//! signal-safety(7) allows, into memory on the stack. So the objects of drivers need not be known here, nor those that a
//! driver has loaded itself.

use libc::{c_char, c_int, c_void};

/// Name of the file that is mapped at `addr` (at most as long as `out`), and how far into its mapping the address is.
pub(crate) fn file_at(addr: usize, out: &mut [u8]) -> Option<(usize, usize)> {
    const MAPS: &[u8] = b"/proc/self/maps\0";
    // SAFETY: a C string; the descriptor is checked and closed below.
    let fd = unsafe { libc::open(MAPS.as_ptr().cast::<c_char>(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    let found = search(fd, addr, out);
    // SAFETY: our descriptor.
    unsafe { libc::close(fd) };
    found
}

fn search(fd: c_int, addr: usize, out: &mut [u8]) -> Option<(usize, usize)> {
    let mut line = [0u8; 512];
    let mut len = 0;
    let mut chunk = [0u8; 1024];
    // The first mapping of the file that the present line belongs to: its start, and the name.
    let mut first = (0, [0u8; 128], 0);
    loop {
        // SAFETY: reads into `chunk`.
        let n = unsafe { libc::read(fd, chunk.as_mut_ptr().cast::<c_void>(), chunk.len()) };
        let n = usize::try_from(n).ok().filter(|n| *n > 0)?;
        for b in &chunk[..n] {
            if *b != b'\n' {
                if len < line.len() {
                    line[len] = *b;
                    len += 1;
                }
                continue;
            }
            let (from, to, name) = parse(&line[..len])?;
            len = 0;
            let k = name.len().min(first.1.len());
            if first.1[..first.2] != name[..k] {
                first.0 = from;
                first.1[..k].copy_from_slice(&name[..k]);
                first.2 = k;
            }
            if (from..to).contains(&addr) {
                let n = k.min(out.len());
                out[..n].copy_from_slice(&name[..n]);
                return Some((n, addr - first.0));
            }
        }
    }
}

/// `55d0-55e0 r-xp 00000000 08:01 123  /path/of/file` → its range, and the file's name without directories.
fn parse(line: &[u8]) -> Option<(usize, usize, &[u8])> {
    let mut fields = line.split(|c| *c == b' ').filter(|f| !f.is_empty());
    let range = fields.next()?;
    let dash = range.iter().position(|c| *c == b'-')?;
    let hex = |b: &[u8]| b.iter().try_fold(0usize, |n, c| Some(n << 4 | (*c as char).to_digit(16)? as usize));
    let (from, to) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
    // Permissions, offset, device, inode; then the name, which may be missing.
    let name = fields.nth(4).unwrap_or(b"");
    let at = name.iter().rposition(|c| *c == b'/' || *c == b':').map_or(0, |i| i + 1);
    Some((from, to, &name[at..]))
}

/// The instruction that a signal's context says it came from.
///
/// # Safety
/// `ctx` is what a handler installed with SA_SIGINFO got.
pub(crate) unsafe fn instruction(ctx: *mut c_void) -> usize {
    if ctx.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    let uc = unsafe { &*ctx.cast::<libc::ucontext_t>() };
    #[cfg(target_arch = "x86_64")]
    return uc.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    #[cfg(target_arch = "aarch64")]
    return uc.uc_mcontext.pc as usize;
    #[cfg(target_arch = "riscv64")]
    return uc.uc_mcontext.__gregs[libc::REG_PC] as usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whose_an_address_is() {
        let mut name = [0; 64];
        let here = the_kernel_says_whose_an_address_is as *const () as usize;
        let (n, off) = file_at(here, &mut name).unwrap();
        let exe = std::env::current_exe().unwrap();
        let exe = exe.file_name().unwrap().to_str().unwrap();
        assert_eq!(&name[..n], &exe.as_bytes()[..n], "{exe}");
        assert!(n > 0 && off > 0 && off < here);
        assert!(file_at(8, &mut name).is_none());
        let libc = libc::getpid as *const () as usize;
        let (n, _) = file_at(libc, &mut name).unwrap();
        assert!(name[..n].starts_with(b"libc"), "{}", String::from_utf8_lossy(&name[..n]));
    }

    #[test]
    fn lines_of_maps() {
        let l = b"7f01a000-7f02b000 r-xp 00001000 08:01 4711                       /usr/lib/devnp-x.so";
        assert_eq!(parse(l), Some((0x7f01_a000, 0x7f02_b000, &b"devnp-x.so"[..])));
        let l = b"7f-80 rw-p 0 00:00 0 /memfd:devnp-y.so (deleted)";
        assert_eq!(parse(l).unwrap().2, b"devnp-y.so");
        assert_eq!(parse(b"7f-80 rw-p 0 00:00 0").unwrap().2, b"");
        assert!(parse(b"").is_none() && parse(b"zz-1 r").is_none());
    }
}

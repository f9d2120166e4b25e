//! `abi.h` and `mbuf.h`.

use crate::{ABI_MAJOR, ABI_MINOR, DriverOps, ModuleOps};
use core::ffi::c_void;

/// `struct iopkt_head`: first member of every table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u32,
    pub major: u16,
    pub minor: u16,
}

impl Head {
    /// Head of a table of type `T` in this version.
    pub const fn of<T>() -> Head {
        Head { size: size_of::<T>() as u32, major: ABI_MAJOR, minor: ABI_MINOR }
    }
}

/// `struct iopkt_object`: what an object is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Object {
    pub magic: [u8; 8],
    pub head: Head,
    pub kind: u16,
    pub needs_minor: u16,
    pub needs: u32,
    pub name: [u8; 32],
    pub prefix: [u8; 16],
    pub version: [u8; 32],
    pub description: [u8; 96],
    pub options: [u8; 4096],
    pub reserved: [u64; 4],
    pub driver: *const DriverOps,
    pub module: *const ModuleOps,
}

// SAFETY: constant data; the pointer is to another constant.
unsafe impl Sync for Object {}

/// `s` in a text array, for constants; does not compile (as a constant) when it does not fit with its NUL.
pub const fn text<const N: usize>(s: &str) -> [u8; N] {
    let b = s.as_bytes();
    assert!(b.len() < N, "text is too long for its field");
    let mut out = [0; N];
    let mut i = 0;
    while i < b.len() {
        out[i] = b[i];
        i += 1;
    }
    out
}

/// `struct iopkt_mbuf`: a packet.
#[repr(C)]
#[derive(Debug)]
pub struct Mbuf {
    pub next: *mut Mbuf,
    pub pool: *const c_void,
    pub buf: *mut u8,
    pub cap: u32,
    pub off: u32,
    pub len: u32,
    pub ifindex: u32,
    pub flags: u32,
    pub csum_start: u16,
    pub csum_offset: u16,
    pub gso_size: u16,
    pub gso_type: u8,
    pub priority: u8,
}

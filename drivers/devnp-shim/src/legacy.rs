//! Mirror of `include/iopkt/legacy.h`, where everything is explained.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// `DEVN_VERSION`.
pub(crate) const VERSION: u32 = 1;
/// `DEVN_FRAME_MAX`.
pub(crate) const FRAME_MAX: usize = 1514;

/// `struct devn_if`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct If {
    pub hdl: *mut c_void,
    pub mac: [u8; 6],
    pub mtu: u16,
    pub description: [u8; 64],
    pub up: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    pub down: Option<unsafe extern "C" fn(*mut c_void)>,
    pub tx: Option<unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int>,
    pub promisc: Option<unsafe extern "C" fn(*mut c_void, c_int) -> c_int>,
    pub close: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// `struct devn_io_net`.
#[repr(C)]
pub(crate) struct IoNet {
    pub version: u32,
    pub reserved: u32,
    pub self_: *mut c_void,
    pub reg: unsafe extern "C" fn(*mut c_void, *const If, *mut *const c_void) -> c_int,
    pub rx: unsafe extern "C" fn(*const c_void, *const c_void, usize),
    pub tx_ready: unsafe extern "C" fn(*const c_void),
    pub link: unsafe extern "C" fn(*const c_void, c_int, c_uint),
    pub log: unsafe extern "C" fn(*mut c_void, c_int, *const c_char),
}

/// `struct devn_entry`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub version: u32,
    pub reserved: u32,
    pub options: *const c_char,
    pub init: Option<unsafe extern "C" fn(*const IoNet, *const c_char) -> c_int>,
    pub shutdown: Option<unsafe extern "C" fn() -> c_int>,
}

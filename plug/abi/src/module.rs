//! `module.h`.

use crate::{Head, Host, Mbuf, Port};
use core::ffi::{c_char, c_int, c_void};

/// `struct iopkt_addr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addr {
    pub family: u8,
    pub prefix_len: u8,
    pub state: u8,
    pub flags: u8,
    pub addr: [u8; 16],
    pub broadcast: [u8; 16],
    pub peer: [u8; 16],
}

/// `struct iopkt_if`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct If {
    pub head: Head,
    pub ifindex: u32,
    pub flags: u32,
    pub mtu: u32,
    pub link_type: u32,
    pub link_state: u32,
    pub mac: [u8; 6],
    pub pad: [u8; 2],
    pub name: [u8; 16],
    pub alias: [u8; 16],
    pub driver: [u8; 32],
    pub naddrs: u32,
    pub pad2: u32,
    pub addrs: *const Addr,
}

/// What `interfaces` calls for each.
pub type PutIf = unsafe extern "C" fn(cookie: *mut c_void, i: *const If);

/// `struct iopkt_module_host`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ModuleHost {
    pub head: Head,
    pub host: *const Host,
    pub interfaces: Option<
        unsafe extern "C" fn(
            port: *mut Port,
            name: *const c_char,
            cookie: *mut c_void,
            put: Option<PutIf>,
        ) -> c_int,
    >,
    pub addr_add: Option<unsafe extern "C" fn(port: *mut Port, ifindex: u32, a: *const Addr) -> c_int>,
    pub addr_del: Option<unsafe extern "C" fn(port: *mut Port, ifindex: u32, a: *const Addr) -> c_int>,
    pub if_flags: Option<unsafe extern "C" fn(port: *mut Port, ifindex: u32, set: u32, clear: u32) -> c_int>,
    pub listen: Option<unsafe extern "C" fn(port: *mut Port, ifindex: u32, ethertype: u16) -> c_int>,
    pub unlisten: Option<unsafe extern "C" fn(port: *mut Port, ifindex: u32, ethertype: u16) -> c_int>,
    pub output:
        Option<unsafe extern "C" fn(port: *mut Port, ifindex: u32, v: *mut *mut Mbuf, n: u32) -> c_int>,
}

// SAFETY: constant data; the pointer is to another constant table.
unsafe impl Sync for ModuleHost {}

/// `struct iopkt_module_ops`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ModuleOps {
    pub head: Head,
    pub load: Option<
        unsafe extern "C" fn(
            host: *const ModuleHost,
            port: *mut Port,
            options: *const c_char,
            state: *mut *mut c_void,
        ) -> c_int,
    >,
    pub fd: Option<unsafe extern "C" fn(state: *mut c_void, cookie: u64, ready: u32)>,
    pub timer: Option<unsafe extern "C" fn(state: *mut c_void, now: u64)>,
    pub wake: Option<unsafe extern "C" fn(state: *mut c_void)>,
    pub input: Option<unsafe extern "C" fn(state: *mut c_void, v: *mut *mut Mbuf, n: u32)>,
    pub changed: Option<unsafe extern "C" fn(state: *mut c_void, ifindex: u32, what: u32)>,
    pub unload: Option<unsafe extern "C" fn(state: *mut c_void)>,
}

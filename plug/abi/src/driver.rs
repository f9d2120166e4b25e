//! `driver.h`.

use crate::{Head, MEDIA_MAX, Mbuf};
use core::ffi::{c_char, c_int, c_void};

/// `struct iopkt_port`: the host's, only ever handled by pointer.
#[repr(C)]
pub struct Port {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// `struct iopkt_link`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub head: Head,
    pub state: u32,
    pub full_duplex: u32,
    pub speed_rx: u64,
    pub speed_tx: u64,
}

/// `struct iopkt_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    pub head: Head,
    pub promisc: u32,
    pub allmulti: u32,
    pub ngroups: u32,
    pub pad: u32,
    pub groups: *const [u8; 6],
}

/// `struct iopkt_nicinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Nicinfo {
    pub head: Head,
    pub cookie: *mut c_void,
    pub put: Option<unsafe extern "C" fn(cookie: *mut c_void, label: *const c_char, value: *const c_char)>,
}

/// `struct iopkt_device_ops`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeviceOps {
    pub head: Head,
    pub bind: Option<unsafe extern "C" fn(dev: *mut c_void, port: *mut Port) -> c_int>,
    pub start: Option<unsafe extern "C" fn(dev: *mut c_void) -> c_int>,
    pub stop: Option<unsafe extern "C" fn(dev: *mut c_void)>,
    pub transmit: Option<unsafe extern "C" fn(dev: *mut c_void, v: *mut *mut Mbuf, n: u32) -> u32>,
    pub fd: Option<unsafe extern "C" fn(dev: *mut c_void, cookie: u64, ready: u32, budget: u32)>,
    pub timer: Option<unsafe extern "C" fn(dev: *mut c_void, now: u64)>,
    pub wake: Option<unsafe extern "C" fn(dev: *mut c_void)>,
    pub filter: Option<unsafe extern "C" fn(dev: *mut c_void, f: *const Filter) -> c_int>,
    pub set_mtu: Option<unsafe extern "C" fn(dev: *mut c_void, mtu: u32) -> c_int>,
    pub set_caps: Option<unsafe extern "C" fn(dev: *mut c_void, rx: u32, tx: u32) -> c_int>,
    pub nicinfo: Option<unsafe extern "C" fn(dev: *mut c_void, out: *const Nicinfo) -> c_int>,
    pub detach: Option<unsafe extern "C" fn(dev: *mut c_void)>,
    pub quiesce: Option<unsafe extern "C" fn(dev: *mut c_void)>,
    pub set_media: Option<unsafe extern "C" fn(dev: *mut c_void, media: u32) -> c_int>,
    pub may_destroy: Option<unsafe extern "C" fn(dev: *mut c_void) -> c_int>,
    pub set_flags: Option<unsafe extern "C" fn(dev: *mut c_void, flags: u32)>,
}

/// `struct iopkt_device`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Device {
    pub head: Head,
    pub dev: *mut c_void,
    pub ops: *const DeviceOps,
    pub cookie: u64,
    pub description: [u8; 96],
    pub prefix: [u8; 16],
    pub unit: u32,
    pub link_type: u32,
    pub mac: [u8; 6],
    pub pad: [u8; 2],
    pub mtu: u32,
    pub mtu_max: u32,
    pub flags: u32,
    pub caps_rx: u32,
    pub caps_tx: u32,
    pub link: Link,
    pub media: [u32; MEDIA_MAX],
}

/// `struct iopkt_attached`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    pub head: Head,
    pub port: *mut Port,
    pub ifindex: u32,
    pub name: [u8; 16],
}

/// `struct iopkt_host`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub head: Head,
    pub log: Option<unsafe extern "C" fn(port: *mut Port, severity: c_int, text: *const c_char, len: usize)>,
    pub now: Option<unsafe extern "C" fn(port: *mut Port) -> u64>,
    pub stopping: Option<unsafe extern "C" fn(port: *mut Port) -> c_int>,
    pub random: Option<unsafe extern "C" fn(port: *mut Port, buf: *mut c_void, len: usize)>,
    pub root: Option<unsafe extern "C" fn(port: *mut Port) -> *const c_char>,
    pub wake: Option<unsafe extern "C" fn(port: *mut Port)>,
    pub mbuf_alloc: Option<unsafe extern "C" fn(port: *mut Port, len: u32, v: *mut *mut Mbuf, n: u32) -> u32>,
    pub mbuf_free: Option<unsafe extern "C" fn(port: *mut Port, v: *mut *mut Mbuf, n: u32)>,
    pub depart: Option<unsafe extern "C" fn(port: *mut Port)>,
    pub fd_add: Option<unsafe extern "C" fn(port: *mut Port, fd: c_int, interest: u32, cookie: u64) -> c_int>,
    pub fd_mod: Option<unsafe extern "C" fn(port: *mut Port, fd: c_int, interest: u32) -> c_int>,
    pub fd_del: Option<unsafe extern "C" fn(port: *mut Port, fd: c_int) -> c_int>,
    pub timer: Option<unsafe extern "C" fn(port: *mut Port, deadline: u64)>,
    pub attach: Option<unsafe extern "C" fn(port: *mut Port, d: *const Device, out: *mut Attached) -> c_int>,
    pub why: Option<unsafe extern "C" fn(port: *mut Port, text: *const c_char, len: usize)>,
    pub resident: Option<unsafe extern "C" fn(port: *mut Port, stay: u32)>,
    pub name_add:
        Option<unsafe extern "C" fn(port: *mut Port, name: *const c_char, target: *const c_char) -> c_int>,
    pub name_del: Option<unsafe extern "C" fn(port: *mut Port, name: *const c_char) -> c_int>,
    pub receive: Option<unsafe extern "C" fn(port: *mut Port, v: *mut *mut Mbuf, n: u32)>,
    pub tx_ready: Option<unsafe extern "C" fn(port: *mut Port)>,
    pub link: Option<unsafe extern "C" fn(port: *mut Port, l: *const Link)>,
    pub count: Option<unsafe extern "C" fn(port: *mut Port, what: u32, n: u64)>,
}

/// `struct iopkt_driver_ops`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DriverOps {
    pub head: Head,
    pub load: Option<
        unsafe extern "C" fn(
            host: *const Host,
            port: *mut Port,
            options: *const c_char,
            state: *mut *mut c_void,
        ) -> c_int,
    >,
    pub fd: Option<unsafe extern "C" fn(state: *mut c_void, cookie: u64, ready: u32)>,
    pub timer: Option<unsafe extern "C" fn(state: *mut c_void, now: u64)>,
    pub wake: Option<unsafe extern "C" fn(state: *mut c_void)>,
    pub gone: Option<unsafe extern "C" fn(state: *mut c_void, cookie: u64)>,
    pub unload: Option<unsafe extern "C" fn(state: *mut c_void)>,
}

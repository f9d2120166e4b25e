//! The C entries of a driver in Rust. No panic leaves them: it is logged, and ends the device or the load.

use crate::control::{Control, Driver};
use crate::device::{Device, Filter, NicInfo, Port, Quiesce, TxQueue};
use crate::handle::{self, Handle, Ready, Severity};
use crate::{Fail, Options, errno};
use iopkt_abi as abi;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The entry table of driver `T`.
pub const fn driver_ops<T: Driver>() -> *const abi::DriverOps {
    DriverTable::<T>::OPS
}

struct DriverTable<T>(PhantomData<T>);

impl<T: Driver> DriverTable<T> {
    const OPS: &'static abi::DriverOps = &abi::DriverOps {
        head: abi::Head::of::<abi::DriverOps>(),
        load: Some(load::<T>),
        fd: Some(drv_fd::<T>),
        timer: Some(drv_timer::<T>),
        wake: Some(drv_wake::<T>),
        gone: Some(drv_gone::<T>),
        unload: Some(drv_unload::<T>),
    };
}

struct DriverSlot<T> {
    driver: T,
    port: Handle,
    poisoned: bool,
}

/// Logs panics with their place instead of printing them. The hook is this image's own copy of std's.
pub(crate) fn hook_panics(port: Handle) {
    std::panic::set_hook(Box::new(move |info| {
        let p = info.payload();
        let text = p.downcast_ref::<&str>().copied().or(p.downcast_ref::<String>().map(String::as_str));
        let at = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        port.log(Severity::Critical, &format!("panicked at {at}: {}", text.unwrap_or("(no text)")));
    }));
}

unsafe extern "C" fn load<T: Driver>(
    host: *const abi::Host,
    port: *mut abi::Port,
    options: *const c_char,
    state: *mut *mut c_void,
) -> c_int {
    // SAFETY: the host gives its own table.
    if !unsafe { handle::set_host(host) } || state.is_null() || options.is_null() {
        return errno::EINVAL;
    }
    let port = Handle(port);
    hook_panics(port);
    // SAFETY: the host gives a C string.
    let list = unsafe { CStr::from_ptr(options) }.to_string_lossy();
    let made = catch_unwind(|| T::load(&Control::new(port), &Options::parse(&list)));
    let fail = match made {
        Ok(Ok(driver)) => {
            let slot = Box::new(DriverSlot { driver, port, poisoned: false });
            // SAFETY: the host gives a place for the state.
            unsafe { *state = Box::into_raw(slot).cast() };
            return 0;
        }
        Ok(Err(f)) => f,
        Err(_) => Fail::new(errno::EIO, "its load panicked; the log has the place; a fault of the driver"),
    };
    let why = fail.to_string();
    Control::new(port).why(&why);
    let code = fail.code();
    drop(fail);
    drop(std::panic::take_hook());
    code
}

/// Runs `f` on the driver unless it has panicked before.
///
/// # Safety
/// `state` is what load gave, before unload.
unsafe fn with_driver<T: Driver>(state: *mut c_void, f: impl FnOnce(&mut T, &Control<'_>)) {
    // SAFETY: the caller's promise; calls for one object never overlap.
    let s = unsafe { &mut *state.cast::<DriverSlot<T>>() };
    if s.poisoned {
        return;
    }
    let ctl = Control::new(s.port);
    if catch_unwind(AssertUnwindSafe(|| f(&mut s.driver, &ctl))).is_err() {
        s.poisoned = true;
        s.port
            .error("the driver is not called any more for events; destroy its interfaces and load it again");
    }
}

unsafe extern "C" fn drv_fd<T: Driver>(state: *mut c_void, cookie: u64, ready: u32) {
    // SAFETY: the host calls with the state of load.
    unsafe { with_driver::<T>(state, |d, c| d.fd(c, cookie, Ready(ready))) }
}

unsafe extern "C" fn drv_timer<T: Driver>(state: *mut c_void, _now: u64) {
    // SAFETY: as above.
    unsafe { with_driver::<T>(state, |d, c| d.timer(c)) }
}

unsafe extern "C" fn drv_wake<T: Driver>(state: *mut c_void) {
    // SAFETY: as above.
    unsafe { with_driver::<T>(state, |d, c| d.wake(c)) }
}

unsafe extern "C" fn drv_gone<T: Driver>(state: *mut c_void, cookie: u64) {
    // SAFETY: as above.
    unsafe { with_driver::<T>(state, |d, c| d.gone(c, cookie)) }
}

unsafe extern "C" fn drv_unload<T: Driver>(state: *mut c_void) {
    // SAFETY: as above.
    unsafe { with_driver::<T>(state, |d, c| d.unload(c)) };
    // SAFETY: made by Box::into_raw in load; this is the last call with it.
    let s = unsafe { Box::from_raw(state.cast::<DriverSlot<T>>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(s)));
    drop(std::panic::take_hook());
}

/// What stands behind a device's pointer.
pub(crate) struct Slot<D> {
    /// Set in bind; read by `quiesce`, whatever else runs then.
    quiet: Option<Quiesce>,
    dev: D,
    port: Handle,
    poisoned: bool,
    /// Why bind failed, for the attach that waits on another thread.
    failed: Option<Fail>,
}

pub(crate) fn slot<D: Device>(dev: D) -> *mut Slot<D> {
    let port = Handle(std::ptr::null_mut());
    Box::into_raw(Box::new(Slot { quiet: None, dev, port, poisoned: false, failed: None }))
}

/// Takes back a device that the host has refused; why bind failed, if it did.
///
/// # Safety
/// `s` came from [`slot`] and the host does not have it.
pub(crate) unsafe fn unslot<D: Device>(s: *mut Slot<D>) -> Option<Fail> {
    // SAFETY: the caller's promise.
    let s = unsafe { Box::from_raw(s) };
    s.failed
}

pub(crate) const fn device_ops<D: Device>() -> *const abi::DeviceOps {
    DeviceTable::<D>::OPS
}

struct DeviceTable<D>(PhantomData<D>);

impl<D: Device> DeviceTable<D> {
    const OPS: &'static abi::DeviceOps = &abi::DeviceOps {
        head: abi::Head::of::<abi::DeviceOps>(),
        bind: Some(bind::<D>),
        start: Some(start::<D>),
        stop: Some(stop::<D>),
        transmit: Some(transmit::<D>),
        fd: Some(fd::<D>),
        timer: Some(timer::<D>),
        wake: Some(wake::<D>),
        filter: Some(filter::<D>),
        set_mtu: Some(set_mtu::<D>),
        set_caps: Some(set_caps::<D>),
        nicinfo: Some(nicinfo::<D>),
        detach: Some(detach::<D>),
        quiesce: Some(quiesce::<D>),
        set_media: Some(set_media::<D>),
        may_destroy: Some(may_destroy::<D>),
        set_flags: Some(set_flags::<D>),
    };
}

/// Runs `f` on the device unless it has panicked before; a panic asks for the device's removal.
///
/// # Safety
/// `dev` is the pointer of an attached device of type `D`.
unsafe fn with<D: Device, R>(dev: *mut c_void, bad: R, f: impl FnOnce(&mut D, &Port<'_>) -> R) -> R {
    let s = dev.cast::<Slot<D>>();
    // SAFETY: the caller's promise; calls for one device never overlap. Only these fields are borrowed:
    // `quiesce` may look at its own in the middle of this.
    let (dev, handle, poisoned) = unsafe { (&mut (*s).dev, (*s).port, &mut (*s).poisoned) };
    if *poisoned {
        return bad;
    }
    let port = Port::new(handle);
    match catch_unwind(AssertUnwindSafe(|| f(dev, &port))) {
        Ok(r) => r,
        Err(_) => {
            *poisoned = true;
            handle.error("the device is removed because its driver panicked");
            handle.depart();
            bad
        }
    }
}

/// The C result of a call; a text is logged, because an errno says little.
fn code(r: Result<(), Fail>, port: &Port<'_>, what: &str) -> c_int {
    let Err(f) = r else { return 0 };
    if !f.why.is_empty() {
        port.warn(&format!("{what}: {}", f.why));
        port.why(&f.why);
    }
    f.code()
}

unsafe extern "C" fn bind<D: Device>(dev: *mut c_void, port: *mut abi::Port) -> c_int {
    // SAFETY: the host calls with the pointer of an attached device; nobody else uses it now.
    unsafe { (*dev.cast::<Slot<D>>()).port = Handle(port) };
    // SAFETY: as above.
    let r = unsafe { with::<D, _>(dev, Err(Fail::new(errno::EIO, "bind panicked")), |d, p| d.bind(p)) };
    let Err(f) = r else {
        // SAFETY: as above.
        let quiet = unsafe { with::<D, _>(dev, None, |d, _| d.quiesce()) };
        // SAFETY: as above; the host knows the device only after this call.
        unsafe { (*dev.cast::<Slot<D>>()).quiet = quiet };
        return 0;
    };
    let c = f.code();
    // SAFETY: as above.
    unsafe { (*dev.cast::<Slot<D>>()).failed = Some(f) };
    c
}

unsafe extern "C" fn start<D: Device>(dev: *mut c_void) -> c_int {
    // SAFETY: the host calls with the pointer of an attached device.
    unsafe { with::<D, _>(dev, errno::EIO, |d, p| code(d.start(p), p, "start")) }
}

unsafe extern "C" fn stop<D: Device>(dev: *mut c_void) {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.stop(p)) }
}

unsafe extern "C" fn transmit<D: Device>(dev: *mut c_void, v: *mut *mut abi::Mbuf, n: u32) -> u32 {
    // SAFETY: the host gives n packets.
    let v = unsafe { std::slice::from_raw_parts_mut(v, n as usize) };
    // SAFETY: as above.
    let port = unsafe { (*dev.cast::<Slot<D>>()).port };
    let mut q = TxQueue::new(v, port);
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.transmit(p, &mut q)) };
    q.taken()
}

unsafe extern "C" fn fd<D: Device>(dev: *mut c_void, cookie: u64, ready: u32, budget: u32) {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.fd(p, cookie, Ready(ready), budget as usize)) }
}

unsafe extern "C" fn timer<D: Device>(dev: *mut c_void, now: u64) {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.timer(p, now)) }
}

unsafe extern "C" fn wake<D: Device>(dev: *mut c_void) {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.wake(p)) }
}

unsafe extern "C" fn filter<D: Device>(dev: *mut c_void, f: *const abi::Filter) -> c_int {
    // SAFETY: the host gives a filter that lives through the call.
    let f = unsafe { &*f };
    let groups = if f.ngroups == 0 || f.groups.is_null() {
        &[][..]
    } else {
        // SAFETY: the host gives that many addresses.
        unsafe { std::slice::from_raw_parts(f.groups, f.ngroups as usize) }
    };
    let f = Filter { promisc: f.promisc != 0, allmulti: f.allmulti != 0, groups };
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, errno::EIO, |d, p| code(d.filter(p, &f), p, "filter")) }
}

unsafe extern "C" fn set_mtu<D: Device>(dev: *mut c_void, mtu: u32) -> c_int {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, errno::EIO, |d, p| code(d.set_mtu(p, mtu), p, "mtu")) }
}

unsafe extern "C" fn set_caps<D: Device>(dev: *mut c_void, rx: u32, tx: u32) -> c_int {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, errno::EIO, |d, p| code(d.set_caps(p, rx, tx), p, "capabilities")) }
}

unsafe extern "C" fn nicinfo<D: Device>(dev: *mut c_void, out: *const abi::Nicinfo) -> c_int {
    // SAFETY: the host gives a table that lives through the call.
    let mut out = NicInfo { raw: unsafe { &*out } };
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, errno::EIO, |d, p| code(d.nicinfo(p, &mut out), p, "nicinfo")) }
}

unsafe extern "C" fn set_media<D: Device>(dev: *mut c_void, media: u32) -> c_int {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, errno::EIO, |d, p| code(d.set_media(p, media), p, "media")) }
}

unsafe extern "C" fn may_destroy<D: Device>(dev: *mut c_void) -> c_int {
    // SAFETY: as above. One that has panicked is glad to go.
    unsafe { with::<D, _>(dev, 0, |d, p| code(d.may_destroy(p), p, "destroy")) }
}

unsafe extern "C" fn set_flags<D: Device>(dev: *mut c_void, flags: u32) {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.set_flags(p, flags)) }
}

unsafe extern "C" fn quiesce<D: Device>(dev: *mut c_void) {
    // SAFETY: the host calls between bind and detach; the field is only written in bind.
    if let Some(q) = unsafe { (&raw const (*dev.cast::<Slot<D>>()).quiet).read() } {
        (q.call)(q.arg);
    }
}

unsafe extern "C" fn detach<D: Device>(dev: *mut c_void) {
    // SAFETY: as above.
    unsafe { with::<D, _>(dev, (), |d, p| d.detach(p)) };
    // SAFETY: made by Box::into_raw in slot(); this is the last call with it.
    let s = unsafe { Box::from_raw(dev.cast::<Slot<D>>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(s)));
}

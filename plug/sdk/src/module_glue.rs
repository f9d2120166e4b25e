//! The C entries of a module in Rust. No panic leaves them: it is logged, and ends the load or the module.

use crate::glue::hook_panics;
use crate::handle::{self, Handle, Ready};
use crate::mbuf::Mbuf;
use crate::module::{Changed, Module, Stack};
use crate::{Fail, Options, errno};
use iopkt_abi as abi;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::OnceLock;

/// The host's table for modules. What an older host lacks is null: not supported.
static STACK: OnceLock<Table> = OnceLock::new();

struct Table(abi::ModuleHost);
// SAFETY: constant data; the pointer in it is not used, its table has been copied.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// The host's table; `None` only before `load`.
pub(crate) fn stack() -> Option<&'static abi::ModuleHost> {
    STACK.get().map(|t| &t.0)
}

/// The entry table of module `T`.
pub const fn module_ops<T: Module>() -> *const abi::ModuleOps {
    ModuleTable::<T>::OPS
}

struct ModuleTable<T>(PhantomData<T>);

impl<T: Module> ModuleTable<T> {
    const OPS: &'static abi::ModuleOps = &abi::ModuleOps {
        head: abi::Head::of::<abi::ModuleOps>(),
        load: Some(load::<T>),
        fd: Some(fd::<T>),
        timer: Some(timer::<T>),
        wake: Some(wake::<T>),
        input: Some(input::<T>),
        changed: Some(changed::<T>),
        unload: Some(unload::<T>),
    };
}

struct Slot<T> {
    module: T,
    port: Handle,
    poisoned: bool,
}

unsafe extern "C" fn load<T: Module>(
    host: *const abi::ModuleHost,
    port: *mut abi::Port,
    options: *const c_char,
    state: *mut *mut c_void,
) -> c_int {
    // SAFETY: the host gives its own table.
    let Some(table) = (unsafe { abi::copy_table(host) }) else { return errno::EINVAL };
    // SAFETY: as above; the table in it is the host's too.
    if !unsafe { handle::set_host(table.host) } || state.is_null() || options.is_null() {
        return errno::EINVAL;
    }
    let _ = STACK.set(Table(table));
    let port = Handle(port);
    hook_panics(port);
    // SAFETY: the host gives a C string.
    let list = unsafe { CStr::from_ptr(options) }.to_string_lossy();
    let made = catch_unwind(|| T::load(&Stack::new(port), &Options::parse(&list)));
    let fail = match made {
        Ok(Ok(module)) => {
            let slot = Box::new(Slot { module, port, poisoned: false });
            // SAFETY: the host gives a place for the state.
            unsafe { *state = Box::into_raw(slot).cast() };
            return 0;
        }
        Ok(Err(f)) => f,
        Err(_) => Fail::new(errno::EIO, "its load panicked; the log has the place; a fault of the module"),
    };
    Stack::new(port).why(&fail.to_string());
    let code = fail.code();
    drop(fail);
    drop(std::panic::take_hook());
    code
}

/// Runs `f` on the module unless it has panicked before; a panic asks for its end.
///
/// # Safety
/// `state` is what load gave, before unload.
unsafe fn with<T: Module>(state: *mut c_void, f: impl FnOnce(&mut T, &Stack<'_>)) {
    // SAFETY: the caller's promise; calls for one object never overlap.
    let s = unsafe { &mut *state.cast::<Slot<T>>() };
    if s.poisoned {
        return;
    }
    let stack = Stack::new(s.port);
    if catch_unwind(AssertUnwindSafe(|| f(&mut s.module, &stack))).is_err() {
        s.poisoned = true;
        s.port.error("the module is unloaded because it panicked");
        s.port.depart();
    }
}

unsafe extern "C" fn fd<T: Module>(state: *mut c_void, cookie: u64, ready: u32) {
    // SAFETY: the host calls with the state of load.
    unsafe { with::<T>(state, |m, s| m.fd(s, cookie, Ready(ready))) }
}

unsafe extern "C" fn timer<T: Module>(state: *mut c_void, now: u64) {
    // SAFETY: as above.
    unsafe { with::<T>(state, |m, s| m.timer(s, now)) }
}

unsafe extern "C" fn wake<T: Module>(state: *mut c_void) {
    // SAFETY: as above.
    unsafe { with::<T>(state, |m, s| m.wake(s)) }
}

unsafe extern "C" fn input<T: Module>(state: *mut c_void, v: *mut *mut abi::Mbuf, n: u32) {
    // SAFETY: the host calls with the state of load and gives n packets.
    let (port, v) = unsafe { ((*state.cast::<Slot<T>>()).port, std::slice::from_raw_parts(v, n as usize)) };
    // Owned before the first call: a panic in one must not lose the others.
    // SAFETY: the packets are ours from now on.
    let all: Vec<Mbuf> =
        v.iter().filter_map(|p| NonNull::new(*p)).map(|p| unsafe { Mbuf::from_raw(p, port) }).collect();
    for m in all {
        // SAFETY: as above.
        unsafe { with::<T>(state, |module, s| module.input(s, m)) }
    }
}

unsafe extern "C" fn changed<T: Module>(state: *mut c_void, ifindex: u32, what: u32) {
    // SAFETY: as above.
    unsafe { with::<T>(state, |m, s| m.changed(s, ifindex, Changed::of(what))) }
}

unsafe extern "C" fn unload<T: Module>(state: *mut c_void) {
    // SAFETY: as above.
    unsafe { with::<T>(state, |m, s| m.unload(s)) };
    // SAFETY: made by Box::into_raw in load; this is the last call with it.
    let s = unsafe { Box::from_raw(state.cast::<Slot<T>>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(s)));
    drop(std::panic::take_hook());
}

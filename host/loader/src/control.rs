//! The control thread of one object: its load, its own events, its unload.

use crate::Error;
use crate::device::Gone;
use crate::image::Ops;
use crate::info::Kind;
use crate::inlet::Inlet;
use crate::port::{Port, WAKE_SLOT, ready_bits};
use crate::shared::{Core, Msg, Outcome, lock};
use crate::table::HOST;
use crate::table_module::MODULE_HOST;
use iopkt_abi as abi;
use iopkt_base::{Errno, Instant};
use iopkt_sys::{Epoll, Event};
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// The calls for an object, whatever its kind.
#[derive(Clone, Copy)]
struct Calls {
    load: Ops,
    fd: Option<unsafe extern "C" fn(*mut c_void, u64, u32)>,
    timer: Option<unsafe extern "C" fn(*mut c_void, u64)>,
    wake: Option<unsafe extern "C" fn(*mut c_void)>,
    gone: Option<unsafe extern "C" fn(*mut c_void, u64)>,
    input: Option<unsafe extern "C" fn(*mut c_void, *mut *mut abi::Mbuf, u32)>,
    changed: Option<unsafe extern "C" fn(*mut c_void, u32, u32)>,
    unload: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl From<Ops> for Calls {
    fn from(load: Ops) -> Calls {
        match load {
            Ops::Driver(o) => Calls {
                load,
                fd: o.fd,
                timer: o.timer,
                wake: o.wake,
                gone: o.gone,
                input: None,
                changed: None,
                unload: o.unload,
            },
            Ops::Module(o) => Calls {
                load,
                fd: o.fd,
                timer: o.timer,
                wake: o.wake,
                gone: None,
                input: o.input,
                changed: o.changed,
                unload: o.unload,
            },
        }
    }
}

/// The control thread of one object.
pub(crate) fn control(core: &Arc<Core>, port: &Arc<Port>, ep: Arc<Epoll>, ops: Ops, rx: &Receiver<Msg>) {
    let ops = Calls::from(ops);
    let module = core.info.kind == Kind::Module;
    if module {
        core.host.module(&Inlet(core.clone()), true);
    }
    let mut state = std::ptr::null_mut();
    let opened = port.open(&ep, 0, 0, &core.info.name);
    let result = match opened {
        Ok(()) => load(core, port, &ops, &mut state),
        Err(e) => Err((false, Error::new(e, format!("{}: {}", core.info.file(), e.text())))),
    };
    let loaded = match &result {
        Ok(()) => true,
        Err((l, _)) => *l || !state.is_null(),
    };
    let callable = result.is_ok().then_some(&ops);
    *lock(&core.outcome) = match result {
        Ok(()) => Outcome::Loaded,
        Err((_, e)) => Outcome::Failed(e),
    };
    core.loaded.notify_all();
    serve(core, port, &ep, callable, state, rx);
    if loaded && let Some(f) = ops.unload {
        // SAFETY: the driver's function with the state that its load made; the last call.
        unsafe { f(state) };
    }
    if module {
        core.inlet.close();
        core.host.module(&Inlet(core.clone()), false);
    }
    port.close();
    lock(&core.ports).ended = true;
    core.changed.notify_all();
}

/// Runs the driver's `load`. The bool of an error: `load` itself had succeeded, so `unload` is due.
fn load(
    core: &Arc<Core>,
    port: &Arc<Port>,
    ops: &Calls,
    state: &mut *mut c_void,
) -> Result<(), (bool, Error)> {
    let file = core.info.file();
    let fail = |errno: Errno, why: &str, loaded| Err((loaded, Error::new(errno, format!("{file}: {why}"))));
    let Ok(list) = CString::new(core.options.rest.as_str()) else {
        return fail(Errno::EINVAL, "the option list contains a NUL", false);
    };
    let rc = match ops.load {
        // SAFETY: the driver's entry, with a table and a port that live until after its unload.
        Ops::Driver(o) => o.load.map(|f| unsafe { f(&HOST, port.as_raw(), list.as_ptr(), state) }),
        // SAFETY: as above, a module's.
        Ops::Module(o) => o.load.map(|f| unsafe { f(&MODULE_HOST, port.as_raw(), list.as_ptr(), state) }),
    };
    let Some(rc) = rc else { return fail(Errno(libc::ENOEXEC), "it has no load", false) };
    let why = core.take_why();
    if rc != 0 {
        let errno = if rc > 0 { Errno(rc) } else { Errno::EIO };
        let why = if why.is_empty() { format!("failed to load: {}", errno.text()) } else { why };
        return fail(errno, &why, false);
    }
    // One that came and went before `load` returned is no failure: its end is handled like any other.
    let needs_device = core.info.kind == Kind::Driver;
    if needs_device && !lock(&core.ports).ever && core.stay.load(Ordering::Acquire) == 0 {
        let why = if why.is_empty() { "found no device".to_owned() } else { why };
        return fail(Errno::ENODEV, &why, true);
    }
    Ok(())
}

/// The control thread's loop: until told to unload and all devices have gone. Without `ops` (load has
/// failed) the driver is not called any more.
fn serve(
    core: &Arc<Core>,
    port: &Arc<Port>,
    ep: &Epoll,
    ops: Option<&Calls>,
    state: *mut c_void,
    rx: &Receiver<Msg>,
) {
    let mut events: Vec<Event> = Vec::new();
    let mut unloading = false;
    loop {
        while let Ok(m) = rx.try_recv() {
            match m {
                Msg::Unload => {
                    unloading = true;
                    core.depart_all();
                }
                Msg::Gone { cookie, why } => gone(core, ops, state, cookie, why, unloading),
            }
        }
        if unloading && core.devices() == 0 {
            // A device that went between the last look and the count has left its message.
            while let Ok(m) = rx.try_recv() {
                if let Msg::Gone { cookie, why } = m {
                    gone(core, ops, state, cookie, why, true);
                }
            }
            return;
        }
        hear(core, ops, state);
        let now = core.host.now();
        let deadline = port.local(|l| l.deadline).unwrap_or(abi::NEVER);
        if deadline <= now.as_nanos() && deadline != abi::NEVER {
            port.local(|l| l.deadline = abi::NEVER);
            if let Some(f) = ops.and_then(|o| o.timer) {
                // SAFETY: the driver's function with its state, on its control thread.
                unsafe { f(state, now.as_nanos()) };
            }
            continue;
        }
        let wait =
            (deadline != abi::NEVER && ops.is_some()).then(|| Instant::from_nanos(deadline).since(now));
        events.clear();
        if let Err(e) = ep.wait(&mut events, 64, wait) {
            core.host.log(2, &core.info.name, &format!("control thread: {e}"));
            std::thread::sleep(Duration::from_millis(100));
        }
        for e in &events {
            event(port, ops, state, e);
        }
    }
}

/// Hands a module what the stack has for it. Bounded: what is left makes the next wait return at once.
fn hear(core: &Core, ops: Option<&Calls>, state: *mut c_void) {
    if core.info.kind != Kind::Module {
        return;
    }
    for (ifindex, what) in core.inlet.changes() {
        if let Some(f) = ops.and_then(|o| o.changed) {
            // SAFETY: the module's function with its state, on its control thread.
            unsafe { f(state, ifindex, what) };
        }
    }
    for _ in 0..8 {
        let frames = core.inlet.frames();
        if frames.is_empty() {
            break;
        }
        let Some(f) = ops.and_then(|o| o.input) else { continue };
        let mut v: Vec<*mut abi::Mbuf> = frames.into_iter().map(|m| m.into_raw().as_ptr().cast()).collect();
        core.out.fetch_add(v.len() as isize, Ordering::Relaxed);
        // SAFETY: as above; the frames are the module's from now on.
        unsafe { f(state, v.as_mut_ptr(), v.len() as u32) };
    }
    if !core.inlet.is_empty() {
        core.kick();
    }
}

fn gone(core: &Core, ops: Option<&Calls>, state: *mut c_void, cookie: u64, why: Gone, unloading: bool) {
    if let Some(f) = ops.and_then(|o| o.gone) {
        // SAFETY: the driver's function with its state, on its control thread.
        unsafe { f(state, cookie) };
    }
    let bit = match why {
        Gone::Removed => abi::STAY_REMOVED,
        Gone::Destroyed => abi::STAY_DESTROYED,
    };
    if !unloading && core.stay.load(Ordering::Acquire) & bit == 0 && core.last_gone() {
        core.host.finished(core.id);
    }
}

fn event(port: &Port, ops: Option<&Calls>, state: *mut c_void, e: &Event) {
    let slot = e.token as u32;
    if slot == WAKE_SLOT {
        port.drain();
        if port.woken.swap(false, Ordering::AcqRel)
            && let Some(f) = ops.and_then(|o| o.wake)
        {
            // SAFETY: the driver's function with its state, on its control thread.
            unsafe { f(state) };
        }
        return;
    }
    let cookie = port.local(|l| l.cookie(slot)).flatten();
    if let (Some(cookie), Some(f)) = (cookie, ops.and_then(|o| o.fd)) {
        // SAFETY: as above.
        unsafe { f(state, cookie, ready_bits(e)) };
    } else if let (Some(_), None) = (cookie, ops) {
        // Load has failed and left a descriptor registered: level-triggered, it would spin.
        port.close_watches();
    }
}

//! devnp-shim.so: runs drivers of the older kind.
//!
//! io-pkt loads it in the place of a `devn-NAME.so` (`-d NAME` where there is no `devnp-NAME.so`, `-d /path/devn-NAME.so`,
//! `-d shim "devn-NAME.so options"`, mount), with the driver's path and option list as its own, as they stand. It
//! loads the driver, checks the options against those that the driver names, and makes an interface enX for each of
//! its registrations (`include/iopkt/legacy.h`). One shim is loaded for each driver.

mod device;
mod dl;
mod legacy;

use device::{Legacy, Reg};
use dl::Library;
use iopkt_sdk::{Control, Description, Driver, Fail, Handle, Link, Options, Severity, errno, iopkt_driver};
use legacy::{Entry, If, IoNet, VERSION};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// What stands behind `self` of the table that the driver gets.
struct Ground {
    handle: Handle,
    /// The control thread's port, inside `init` only.
    ctl: Mutex<Option<*const Control<'static>>>,
    /// Registrations; their addresses are the driver's handles until it has shut down.
    regs: Mutex<Vec<Arc<Reg>>>,
    file: String,
}

// SAFETY: `ctl` is only used by `reg`, one call at a time, while `load`, which lends it, waits for `init`; what it
// leads to (the host's attach) refuses other threads than the control thread.
unsafe impl Send for Ground {}
// SAFETY: as above.
unsafe impl Sync for Ground {}

struct Shim {
    shutdown: Option<unsafe extern "C" fn() -> c_int>,
    /// Both stay where they are for the driver's sake.
    _table: Box<IoNet>,
    ground: Box<Ground>,
    library: Option<Library>,
}

// SAFETY: the table's pointer is to `ground`, which may be used by any thread.
unsafe impl Send for Shim {}

impl Driver for Shim {
    fn load(ctl: &Control<'_>, options: &Options) -> Result<Self, Fail> {
        let (path, list) = options.list().split_once(' ').unwrap_or((options.list(), ""));
        let file = path.rsplit('/').next().unwrap_or(path).to_owned();
        let fail = |code, why: String| Fail::new(code, format!("{file}: {why}"));
        if path.is_empty() {
            return Err(Fail::new(errno::EINVAL, "name the driver: -d shim \"devn-X.so options\""));
        }
        let library = Library::open(path).map_err(|e| fail(errno::ENOENT, format!("cannot load: {e}")))?;
        // SAFETY: the symbol is the header's constant structure, as the object that exports it promises.
        let entry: Entry =
            unsafe { library.data::<Entry>(c"devn_entry").map(|p| p.read()) }.ok_or_else(|| {
                fail(
                    errno::EINVAL,
                    "exports no devn_entry: not a driver for the shim (see iopkt/legacy.h)".into(),
                )
            })?;
        let Some(init) = entry.init.filter(|_| entry.version == VERSION) else {
            let why =
                format!("built for version {} of iopkt/legacy.h, the shim has {VERSION}", entry.version);
            return Err(fail(errno::EOPNOTSUPP, why));
        };
        // SAFETY: null or a C string of the object.
        let known = (!entry.options.is_null()).then(|| unsafe { CStr::from_ptr(entry.options) });
        check(list, &known.map_or("".into(), CStr::to_string_lossy))
            .map_err(|why| fail(errno::EINVAL, why))?;
        let list = CString::new(list).map_err(|_| Fail::from(errno::EINVAL))?;

        let mut ground = Box::new(Ground {
            handle: ctl.handle(),
            ctl: Mutex::new(Some(std::ptr::from_ref(ctl).cast())),
            regs: Mutex::default(),
            file: file.clone(),
        });
        let table = Box::new(IoNet {
            version: VERSION,
            reserved: 0,
            self_: (&raw mut *ground).cast(),
            reg,
            rx,
            tx_ready,
            link,
            log,
        });
        // SAFETY: the driver's entry, with a table and a list that live through the call.
        let rc = unsafe { init(&*table, list.as_ptr()) };
        *ground.ctl.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let shim = Shim { shutdown: entry.shutdown, _table: table, ground, library: Some(library) };
        if rc == 0 && !shim.ground.regs.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(shim);
        }
        // A driver whose init failed has cleaned up; one that found nothing has not been asked to yet.
        if rc == 0 {
            shim.shut();
        }
        let e = match rc {
            0 => fail(errno::ENODEV, "found no device".into()),
            e if e > 0 => fail(e, format!("failed to load: {}", Fail::from(e))),
            _ => fail(errno::EIO, "failed to load".into()),
        };
        // An interface that it made before it failed still calls the driver: it goes first.
        let regs = std::mem::take(&mut *shim.ground.regs.lock().unwrap_or_else(PoisonError::into_inner));
        if !regs.iter().all(|r| r.remove()) {
            ctl.error(&format!("{file}: stays mapped: an interface of it is still in use"));
            std::mem::forget((regs, shim));
        }
        Err(e)
    }

    fn unload(&mut self, _ctl: &Control<'_>) {
        self.shut();
        drop(self.library.take());
    }
}

impl Shim {
    fn shut(&self) {
        if let Some(f) = self.shutdown {
            // SAFETY: the driver's function, once, after its interfaces have gone.
            let rc = unsafe { f() };
            if rc != 0 {
                self.ground.handle.warn(&format!("{}: shutdown: {}", self.ground.file, Fail::from(rc)));
            }
        }
    }
}

/// Checks an option list against the names that the driver gives (`verbose,mac=`).
fn check(list: &str, known: &str) -> Result<(), String> {
    for word in list.split(',').filter(|w| !w.is_empty()) {
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        let form = known.split(',').find(|k| k.strip_suffix('=').unwrap_or(k) == name);
        match form {
            None => {
                let takes = if known.is_empty() { "none" } else { known };
                let hint = match name {
                    "name" | "unit" => "; name= and unit= work with devnp- drivers only",
                    _ => "",
                };
                return Err(format!("unknown option {name}; it takes {takes}{hint}"));
            }
            Some(f) if f.ends_with('=') && value.is_none_or(str::is_empty) => {
                return Err(format!("option {name} needs a value; write {f}VALUE"));
            }
            Some(f) if !f.ends_with('=') && value.is_some() => {
                return Err(format!("option {name} takes no value; write {f}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

unsafe extern "C" fn reg(me: *mut c_void, i: *const If, out: *mut *const c_void) -> c_int {
    // SAFETY: the driver gives `self` of its table, and null or a struct devn_if.
    let (Some(g), Some(i)) = (unsafe { (me.cast::<Ground>().as_ref(), i.as_ref()) }) else {
        return errno::EINVAL;
    };
    let ctl = g.ctl.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(ctl) = ctl else {
        g.handle.error(&format!("{}: reg outside init: a fault of the driver", g.file));
        return errno::EPERM;
    };
    // SAFETY: set by `load`, which waits for `init`, which calls this; taken out, so nobody else has it.
    let rc = register(g, unsafe { &*ctl }, i, out);
    *g.ctl.lock().unwrap_or_else(PoisonError::into_inner) = Some(ctl);
    rc
}

fn register(g: &Ground, ctl: &Control<'_>, i: &If, out: *mut *const c_void) -> c_int {
    if i.tx.is_none() || !(68..=1500).contains(&i.mtu) {
        ctl.error(&format!("{}: reg: no tx, or an MTU outside 68..=1500: a fault of the driver", g.file));
        return errno::EINVAL;
    }
    let end = i.description.iter().position(|c| *c == 0).unwrap_or(i.description.len());
    let text = String::from_utf8_lossy(&i.description[..end]);
    let reg = Arc::new(Reg::default());
    if !out.is_null() {
        // SAFETY: the driver gives a place for a pointer. Before attach: a frame may come at once.
        unsafe { out.write(Arc::as_ptr(&reg).cast()) };
    }
    g.regs.lock().unwrap_or_else(PoisonError::into_inner).push(reg.clone());
    let desc = Description {
        mtu: u32::from(i.mtu),
        mtu_max: u32::from(i.mtu),
        legacy: true,
        ..Description::ether(format!("{text} ({})", g.file), i.mac)
    };
    match ctl.attach(desc, Legacy { reg, calls: *i, up: false }) {
        Ok(_) => 0,
        Err(e) => e.errno,
    }
}

/// The registration behind a driver's handle.
///
/// # Safety
/// `r` is null or came from `reg`, and the driver has not shut down.
unsafe fn behind<'a>(r: *const c_void) -> Option<&'a Reg> {
    // SAFETY: registrations stay until after shutdown.
    unsafe { r.cast::<Reg>().as_ref() }
}

unsafe extern "C" fn rx(r: *const c_void, frame: *const c_void, len: usize) {
    // SAFETY: the driver gives a registration.
    if let (Some(r), false) = (unsafe { behind(r) }, frame.is_null()) {
        // SAFETY: the driver gives `len` bytes.
        r.rx(unsafe { std::slice::from_raw_parts(frame.cast(), len) });
    }
}

unsafe extern "C" fn tx_ready(r: *const c_void) {
    // SAFETY: the driver gives a registration.
    if let Some(r) = unsafe { behind(r) } {
        r.tx_ready();
    }
}

unsafe extern "C" fn link(r: *const c_void, up: c_int, mbit: c_uint) {
    // SAFETY: the driver gives a registration.
    if let Some(r) = unsafe { behind(r) } {
        r.link(if up == 0 { Link::down() } else { Link::up(u64::from(mbit) * 1_000_000) });
    }
}

unsafe extern "C" fn log(me: *mut c_void, severity: c_int, text: *const c_char) {
    // SAFETY: the driver gives `self` of its table.
    if let (Some(g), false) = (unsafe { me.cast::<Ground>().as_ref() }, text.is_null()) {
        // SAFETY: the driver gives a C string.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        let severity = match severity {
            ..=1 => Severity::Critical,
            2 => Severity::Error,
            3 => Severity::Warning,
            4 => Severity::Notice,
            5 => Severity::Info,
            6 => Severity::Debug1,
            _ => Severity::Debug2,
        };
        g.handle.log(severity, &format!("{}: {text}", g.file));
    }
}

iopkt_driver! {
    driver: Shim,
    name: "shim",
    prefix: "en",
    version: env!("CARGO_PKG_VERSION"),
    description: "runs drivers of the older kind (devn-)",
    needs_minor: 1,
    options: ["*" => "devn-X.so options: the driver and what it takes"],
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn options_are_those_that_the_driver_names() {
        assert_eq!(check("verbose,mac=1,,", "verbose,mac="), Ok(()));
        assert_eq!(check("", ""), Ok(()));
        let e = |list: &str| check(list, "verbose,mac=").unwrap_err();
        assert!(e("name=en").starts_with("unknown option name; it takes verbose,mac="));
        assert!(e("unit=3").contains("devnp- drivers only"));
        assert!(e("ver").starts_with("unknown option ver") && !e("ver").contains("devnp-"));
        assert!(e("mac").contains("needs a value") && e("mac=").contains("needs a value"));
        assert!(e("verbose=1").contains("takes no value"));
        assert!(check("a", "").unwrap_err().contains("it takes none"));
    }
}

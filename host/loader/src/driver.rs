//! A loaded driver or module: its image, its control thread, its life.

use crate::device::{Bound, Device, Gone};
use crate::image::{Image, Ops};
use crate::info::{Info, Kind};
use crate::inlet::{Inlet, Queue};
use crate::options::{self, Options};
use crate::port::{Port, WAKE_SLOT, ready_bits};
use crate::table::HOST;
use crate::table_module::MODULE_HOST;
use crate::{Error, Search};
use iopkt_abi as abi;
use iopkt_base::{Errno, Instant};
use iopkt_ctl::{Reply, Request};
use iopkt_mbuf::{Mbuf, Pool};
use iopkt_sys::{Epoll, Event, Root};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Number of a loaded driver; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DriverId(pub u64);

/// Dead ports that are kept before the oldest is used again: a driver may still name them.
const DEAD_PORTS: usize = 256;

/// What the loader needs from the runtime. All calls may come from any thread, and several at a time.
pub trait Host: Send + Sync + 'static {
    /// A log line: slogger severity, who says it (driver or interface), text.
    fn log(&self, severity: u8, who: &str, text: &str);

    /// Makes an interface of a device: chooses its name and index, moves it to a packet thread, calls
    /// [`Device::bind`] there, and answers when that has returned. Runs on the driver's control thread.
    ///
    /// # Errors
    /// What `bind` said, or why there can be no such interface (EEXIST: the name is taken). The device is
    /// dropped then.
    fn attach(&self, device: Device) -> Result<Bound, Errno>;

    /// The last device of a driver has gone and the driver does not want to stay: [`Driver::unload`] is
    /// due. Runs on the driver's control thread, so must only pass the message on.
    fn finished(&self, driver: DriverId);

    /// A module is about to load (true), or has ended: tell it what happens to interfaces until then, and drop
    /// all its wishes afterwards. Runs on its control thread.
    fn module(&self, inlet: &Inlet, arrives: bool) {
        let _ = (inlet, arrives);
    }

    /// A module asks the stack something; waits for the answer. Runs on its control thread.
    fn ctl(&self, r: Request) -> Reply {
        let _ = r;
        Reply::err(Errno::ENOSYS)
    }

    /// A module wants to hear frames of a type from an interface (0: any), or, with `on` false, does not any more.
    /// Waits for the stack. Runs on its control thread.
    ///
    /// # Errors
    /// As the stack says.
    fn listen(&self, inlet: &Inlet, ifindex: u32, ethertype: u16, on: bool) -> Result<(), Errno> {
        let _ = (inlet, ifindex, ethertype, on);
        Err(Errno::ENOSYS)
    }

    /// A module sends frames; the stack says [`Inlet::sent`] when it has them. Runs on its control thread.
    ///
    /// # Errors
    /// ESHUTDOWN when there is no stack any more.
    fn output(&self, inlet: &Inlet, ifindex: u32, frames: Vec<Mbuf>) -> Result<(), Errno> {
        let _ = (inlet, ifindex, frames);
        Err(Errno::ENOSYS)
    }

    /// What stands before this stack's names below the root (`/alt`), empty for nothing.
    fn prefix(&self) -> &str {
        ""
    }

    /// The clock that deadlines are measured by.
    fn now(&self) -> Instant {
        iopkt_sys::clock::monotonic()
    }

    /// Fills `out` with unpredictable bytes.
    fn random(&self, out: &mut [u8]) {
        if iopkt_sys::random::fill(out).is_err() {
            self.log(2, "io-pkt", "no randomness from the kernel");
        }
    }
}

/// What drivers are loaded with.
#[derive(Clone)]
pub struct Env {
    /// Where names live.
    pub root: Root,
    /// Packet memory.
    pub pool: Pool,
    /// Where objects are looked for.
    pub search: Search,
}

/// A message to a control thread.
pub(crate) enum Msg {
    Gone { cookie: u64, why: Gone },
    Unload,
}

/// How far `load` has come.
enum Outcome {
    Running,
    Loaded,
    Failed(Error),
}

#[derive(Default)]
struct Ports {
    live: Vec<Arc<Port>>,
    /// Made but not bound.
    fresh: Vec<Arc<Port>>,
    dead: VecDeque<Arc<Port>>,
    /// A device has been attached, whether it is still there or not.
    ever: bool,
    /// The runtime has been told that the last device has gone.
    finished: bool,
    /// The control thread has made its last call into the driver.
    ended: bool,
}

/// What a driver's threads and devices share.
pub(crate) struct Core {
    pub(crate) id: DriverId,
    pub(crate) info: Info,
    pub(crate) options: Options,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) root: Root,
    pub(crate) root_c: CString,
    pub(crate) pool: Pool,
    pub(crate) stopping: AtomicBool,
    pub(crate) stay: AtomicU32,
    pub(crate) why: Mutex<String>,
    /// Buffers that the driver owns.
    pub(crate) out: AtomicIsize,
    /// Counts the driver's looks at `stopping`, and its lines.
    pub(crate) pulse: AtomicU64,
    /// What the stack has for a module.
    pub(crate) inlet: Queue,
    control: Mutex<Option<Arc<Port>>>,
    ports: Mutex<Ports>,
    /// Goes with `ports`.
    changed: Condvar,
    outcome: Mutex<Outcome>,
    /// Goes with `outcome`.
    loaded: Condvar,
    names: Mutex<BTreeMap<PathBuf, String>>,
    tx: Mutex<Sender<Msg>>,
    misuses: AtomicU64,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// A port for a device that is being attached.
    pub(crate) fn new_port(self: &Arc<Core>) -> Arc<Port> {
        let mut p = lock(&self.ports);
        let port = if p.dead.len() > DEAD_PORTS { p.dead.pop_front() } else { None };
        let port = port.unwrap_or_else(|| Arc::new(Port::new(Arc::downgrade(self), false, &self.info.name)));
        p.fresh.push(port.clone());
        port
    }

    pub(crate) fn live(&self, port: Arc<Port>) {
        let mut p = lock(&self.ports);
        p.fresh.retain(|f| !Arc::ptr_eq(f, &port));
        p.live.push(port);
        p.finished = false;
    }

    /// The runtime has made an interface for a device.
    pub(crate) fn attached(&self) {
        lock(&self.ports).ever = true;
    }

    /// A device has ended. `last` goes to the control thread, in one step with the change of the count, so
    /// that whoever sees no device left finds the message.
    pub(crate) fn retire(&self, port: Arc<Port>, last: Option<Msg>) {
        let mut p = lock(&self.ports);
        p.fresh.retain(|f| !Arc::ptr_eq(f, &port));
        p.live.retain(|f| !Arc::ptr_eq(f, &port));
        p.dead.push_back(port);
        if let Some(m) = last {
            let _ = lock(&self.tx).send(m);
        }
        drop(p);
        self.kick();
    }

    pub(crate) fn kick(&self) {
        if let Some(p) = &*lock(&self.control) {
            p.kick();
        }
    }

    /// Asks for the removal of all devices.
    fn depart_all(&self) {
        for p in &lock(&self.ports).live {
            p.departs.store(true, Ordering::Release);
            p.kick();
        }
    }

    /// No device is left; true once, although two may have gone before the control thread heard of the first.
    fn last_gone(&self) -> bool {
        let mut p = lock(&self.ports);
        p.live.is_empty() && p.fresh.is_empty() && !std::mem::replace(&mut p.finished, true)
    }

    fn devices(&self) -> usize {
        let p = lock(&self.ports);
        p.live.len() + p.fresh.len()
    }

    pub(crate) fn send(&self, m: Msg) {
        let _ = lock(&self.tx).send(m);
        self.kick();
    }

    /// Logs a driver's mistake; only the first ones, because a mistake on the packet path repeats.
    pub(crate) fn misuse(&self, port: &Port, what: &str) {
        if self.misuses.fetch_add(1, Ordering::Relaxed) < 10 {
            self.host.log(2, &port.label(), &format!("{what}: a fault of the driver {}", self.info.file()));
        }
    }

    pub(crate) fn name_add(&self, port: &Port, name: &str, target: &str) -> Result<(), Errno> {
        // Below the stack's prefix are only names of ours.
        let ours = name.strip_prefix(self.host.prefix()).is_some_and(|n| n.starts_with("/dev/io-net/"));
        if !(ours || name.starts_with("/dev/"))
            || name.contains("..")
            || name.ends_with('/')
            || target.is_empty()
        {
            return Err(Errno::EINVAL);
        }
        let io = |e: std::io::Error| iopkt_sys::errno(&e);
        let path = self.root.prepare(name).map_err(io)?;
        match std::fs::read_link(&path) {
            // Another stack on the same root has it: its target is there. A killed one's is not.
            Ok(old)
                if old.as_os_str() != target && old.exists() && !lock(&self.names).contains_key(&path) =>
            {
                return Err(Errno::EEXIST);
            }
            // Its own, which it may move about as it likes.
            Ok(old) if old.as_os_str() != target && !lock(&self.names).contains_key(&path) => {
                let text = format!("{} pointed to {}, now to {target}", path.display(), old.display());
                self.host.log(4, &port.label(), &text);
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return Err(Errno::EEXIST), // not a link: none of ours
        }
        // Made beside and moved over it, so that the name never fails to exist.
        let tmp = path.with_extension(format!("new{}-{}", std::process::id(), self.id.0));
        std::os::unix::fs::symlink(target, &tmp).map_err(io)?;
        if let Err(e) = std::fs::rename(&tmp, &path) {
            let _ = std::fs::remove_file(&tmp);
            return Err(io(e));
        }
        lock(&self.names).insert(path, target.to_owned());
        Ok(())
    }

    /// The last [`abi::Host::why`], taken.
    pub(crate) fn take_why(&self) -> String {
        std::mem::take(&mut *lock(&self.why))
    }

    /// The node of an interface of a driver for io-net.
    pub(crate) fn legacy_node(&self, legacy: bool, ifname: &str) -> Option<String> {
        legacy.then(|| format!("{}/dev/io-net/{ifname}", self.host.prefix()))
    }

    pub(crate) fn name_del(&self, name: &str) -> Result<(), Errno> {
        let path = self.root.path(name);
        let target = lock(&self.names).remove(&path).ok_or(Errno::ENOENT)?;
        remove_link(&path, &target);
        Ok(())
    }
}

/// Removes a name, unless somebody has made it point elsewhere meanwhile.
fn remove_link(path: &std::path::Path, target: &str) {
    if std::fs::read_link(path).is_ok_and(|t| t.as_os_str() == target) {
        let _ = std::fs::remove_file(path);
    }
}

/// What is left in memory after [`Driver::unload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unloaded {
    /// Nothing.
    Unmapped,
    /// The image: the log says why. Loading the name again loads the file as it is then.
    StillMapped,
}

/// What kind of object is asked for, and so where a bare name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `-d`
    Driver,
    /// `-p`
    Module,
    /// `mount`: whatever the file is.
    Any,
}

/// A loaded driver or module. Dropping it unloads it.
pub struct Driver {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
    image: Option<Image>,
}

impl Driver {
    /// Finds `what` (the word after `-d`, or a path), checks it and `options` against each other, maps it and
    /// starts its `load` on a thread of its own; [`Driver::wait`] tells how that ended.
    ///
    /// # Errors
    /// No such file, not a driver, not for this version, not these options. Nothing of the file has run
    /// unless dlopen itself failed half-way.
    pub fn start(host: Arc<dyn Host>, env: &Env, what: &str, options: &str) -> Result<Driver, Error> {
        Driver::start_as(host, env, Wanted::Driver, what, options)
    }

    /// [`Driver::start`] of a driver or module.
    ///
    /// # Errors
    /// As [`Driver::start`], or an object of the other kind.
    pub fn start_as(
        host: Arc<dyn Host>,
        env: &Env,
        wanted: Wanted,
        what: &str,
        options: &str,
    ) -> Result<Driver, Error> {
        let found = match wanted {
            Wanted::Driver => env.search.driver(what)?,
            Wanted::Module => env.search.module(what)?,
            Wanted::Any => env.search.object(what)?,
        };
        let path = found.path;
        let info = crate::inspect(&path)?;
        let wrong = match (wanted, info.kind) {
            (Wanted::Driver, Kind::Module) => Some("is a stack module, not a driver; load it with -p"),
            (Wanted::Module, Kind::Driver) => Some("is a driver, not a stack module; load it with -d"),
            _ => None,
        };
        if let Some(why) = wrong {
            return Err(Error::new(Errno::EINVAL, format!("{}: {why}", path.display())));
        }
        let options = match &found.legacy {
            Some(driver) => format!("{} {options}", shim_word(driver)?),
            None if info.name == "shim" && info.raw_options => shim_list(&env.search, &path, options)?,
            None => options.to_owned(),
        };
        let options = options::split(&options, &info)?;
        let (image, info, ops) = Image::open(&path)?;
        static IDS: AtomicU64 = AtomicU64::new(0);
        let (tx, rx) = channel();
        let root_c = CString::new(env.root.dir().as_os_str().as_encoded_bytes())
            .map_err(|_| Error::new(Errno::EINVAL, "the root directory's name contains a NUL"))?;
        let core = Arc::new(Core {
            id: DriverId(IDS.fetch_add(1, Ordering::Relaxed) + 1),
            info,
            options,
            host,
            root: env.root.clone(),
            root_c,
            pool: env.pool.clone(),
            stopping: AtomicBool::new(false),
            stay: AtomicU32::new(0),
            why: Mutex::default(),
            out: AtomicIsize::new(0),
            control: Mutex::default(),
            ports: Mutex::default(),
            changed: Condvar::new(),
            outcome: Mutex::new(Outcome::Running),
            loaded: Condvar::new(),
            names: Mutex::default(),
            tx: Mutex::new(tx),
            misuses: AtomicU64::new(0),
            pulse: AtomicU64::new(0),
            inlet: Queue::default(),
        });
        let port = Arc::new(Port::new(Arc::downgrade(&core), true, &core.info.name));
        let mut driver = Driver { core: core.clone(), thread: None, image: Some(image) };
        *lock(&core.control) = Some(port.clone());
        let name: String = core.info.name.chars().take(15).collect();
        let spawned = Epoll::new().and_then(|ep| {
            let c = core.clone();
            std::thread::Builder::new().name(name).spawn(move || control(&c, &port, Arc::new(ep), ops, &rx))
        });
        match spawned {
            Ok(t) => driver.thread = Some(t),
            Err(e) => {
                let text = format!("{}: cannot make its control thread: {e}", core.info.file());
                return Err(Error::new(iopkt_sys::errno(&e), text));
            }
        }
        Ok(driver)
    }

    /// [`Driver::start`] and [`Driver::wait`]; a driver that fails to load is unloaded.
    ///
    /// # Errors
    /// As the two.
    pub fn load(host: Arc<dyn Host>, env: &Env, what: &str, options: &str) -> Result<Driver, Error> {
        let mut d = Driver::start(host, env, what, options)?;
        match d.wait() {
            Ok(()) => Ok(d),
            Err(e) => {
                let _ = d.unload(Duration::from_secs(5));
                Err(e)
            }
        }
    }

    /// Waits until the driver's `load` has returned.
    ///
    /// # Errors
    /// Why it failed; [`Driver::unload`] is due.
    pub fn wait(&self) -> Result<(), Error> {
        let mut o = lock(&self.core.outcome);
        loop {
            match &*o {
                Outcome::Running => o = self.core.loaded.wait(o).unwrap_or_else(PoisonError::into_inner),
                Outcome::Loaded => return Ok(()),
                Outcome::Failed(e) => return Err(e.clone()),
            }
        }
    }

    /// How `load` ended, `None` while it runs.
    pub fn outcome(&self) -> Option<Result<(), Error>> {
        match &*lock(&self.core.outcome) {
            Outcome::Running => None,
            Outcome::Loaded => Some(Ok(())),
            Outcome::Failed(e) => Some(Err(e.clone())),
        }
    }

    /// Its number.
    pub fn id(&self) -> DriverId {
        self.core.id
    }

    /// What its file says.
    pub fn info(&self) -> &Info {
        &self.core.info
    }

    /// The options it was loaded with.
    pub fn options(&self) -> &Options {
        &self.core.options
    }

    /// How many devices it has attached.
    pub fn devices(&self) -> usize {
        self.core.devices()
    }

    /// Whether it stays loaded when its last device goes for this reason.
    pub fn stays(&self, why: Gone) -> bool {
        let bit = match why {
            Gone::Removed => abi::STAY_REMOVED,
            Gone::Destroyed => abi::STAY_DESTROYED,
        };
        self.core.stay.load(Ordering::Acquire) & bit != 0
    }

    /// A number that changes whenever it looks at whether it should stop, or logs.
    pub fn pulse(&self) -> u64 {
        self.core.pulse.load(Ordering::Relaxed)
    }

    /// Packet buffers that it holds.
    pub fn buffers_out(&self) -> isize {
        self.core.out.load(Ordering::Relaxed)
    }

    /// Tells a `load` that still runs to give up; [`Driver::wait`] then fails soon.
    pub fn stop(&self) {
        self.core.stopping.store(true, Ordering::Release);
    }

    /// Asks for the removal of its devices (they depart), waits up to `patience` until the packet threads
    /// have detached them, ends the control thread and unmaps the image.
    ///
    /// # Errors
    /// EBUSY when devices are still there after `patience`; it may be tried again.
    pub fn unload(&mut self, patience: Duration) -> Result<Unloaded, Error> {
        let core = &self.core;
        core.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            core.send(Msg::Unload);
            core.depart_all();
            let (ports, _) = core
                .changed
                .wait_timeout_while(lock(&core.ports), patience, |p| !p.ended)
                .unwrap_or_else(PoisonError::into_inner);
            let (left, ended) = (ports.live.len(), ports.ended);
            drop(ports);
            if !ended {
                self.thread = Some(thread);
                let why = match left {
                    0 => "has not come back from a call yet".to_owned(),
                    n => format!("{n} of its interfaces are still in use"),
                };
                return Err(Error::new(Errno::EBUSY, format!("{}: {why}; try again", core.info.file())));
            }
            if thread.join().is_err() {
                core.host.log(2, &core.info.name, "its control thread panicked");
            }
        }
        Ok(self.unmap())
    }

    fn unmap(&mut self) -> Unloaded {
        let core = &self.core;
        let file = core.info.file();
        for (path, target) in std::mem::take(&mut *lock(&core.names)) {
            remove_link(&path, &target);
        }
        *lock(&core.control) = None;
        let Some(image) = self.image.take() else { return Unloaded::Unmapped };
        let out = core.out.load(Ordering::Acquire);
        if out != 0 {
            image.leak();
            core.host.log(
                2,
                &core.info.name,
                &format!("{file} stays mapped: it still holds {out} packet buffers"),
            );
            return Unloaded::StillMapped;
        }
        if image.close() {
            core.host.log(5, &core.info.name, &format!("{file} unloaded"));
            return Unloaded::Unmapped;
        }
        core.host.log(
            3,
            &core.info.name,
            &format!("{file} unloaded but still mapped: a thread still has its thread-local data"),
        );
        Unloaded::StillMapped
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Err(e) = self.unload(Duration::from_secs(2)) {
            self.core.host.log(2, &self.core.info.name, &e.text);
            // Its code may still be called: leave everything where it is.
            if let Some(i) = self.image.take() {
                i.leak();
            }
        }
    }
}

/// The path of a driver for io-net as the first word of the shim's list.
fn shim_word(driver: &Path) -> Result<String, Error> {
    let text = driver.display().to_string();
    match driver.to_str() {
        Some(s) if !s.contains(|c: char| c.is_whitespace() || c == ',') => Ok(s.to_owned()),
        _ => Err(Error::new(
            Errno::EINVAL,
            format!("{text}: the shim takes no path with blanks or commas; give the file another name"),
        )),
    }
}

/// `devn-X.so opts`, as it follows `-d shim`, with the file found by the rules for all objects.
fn shim_list(search: &Search, shim: &Path, list: &str) -> Result<String, Error> {
    let (word, rest) = list.split_once(' ').unwrap_or((list, ""));
    if word.is_empty() {
        let why = "name the driver for io-net: -d shim \"devn-X.so options\"";
        return Err(Error::new(Errno::EINVAL, format!("{}: {why}", shim.display())));
    }
    Ok(format!("{} {}", shim_word(&search.file(word)?)?, rest.trim()))
}

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
fn control(core: &Arc<Core>, port: &Arc<Port>, ep: Arc<Epoll>, ops: Ops, rx: &Receiver<Msg>) {
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

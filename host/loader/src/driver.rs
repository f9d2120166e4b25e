//! A loaded driver or module: its image, its control thread, its life.

use crate::control::control;
use crate::device::Gone;
use crate::host::{DriverId, Env, Host};
use crate::image::Image;
use crate::info::{Info, Kind};
use crate::inlet::Queue;
use crate::options::{self, Options};
use crate::port::Port;
use crate::shared::{Core, Msg, Outcome, lock, remove_link};
use crate::{Error, Search};
use iopkt_abi as abi;
use iopkt_base::Errno;
use iopkt_sys::Epoll;
use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

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

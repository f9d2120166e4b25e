//! Drivers and modules from their load to their unload: who waits for which, and what each is told.

use super::Control;
use crate::msg::{Ticket, ToControl};
use crate::privilege::DROPROOT;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_ctl::{DriverInfo, ModuleInfo, Reply};
use iopkt_loader::{Driver, DriverId, Error, Gone, Info, Kind, Wanted};
use iopkt_slog::Severity;
use iopkt_sys::clock;
use std::sync::Arc;

/// How long an unload may take before it is given up (and may be tried again).
const UNLOAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a load may go without a word to the host before it is reported.
const LOAD_SILENCE: Duration = Duration::from_secs(5);

/// A loaded driver or module, or one that loads.
pub(super) struct Entry {
    /// Gone while it is being unloaded.
    pub(super) driver: Option<Arc<Driver>>,
    pub(super) info: Info,
    pub(super) options: String,
    pub(super) interfaces: Vec<String>,
    /// It is the shim, with a driver for io-net: umount is for it.
    pub(super) legacy: bool,
    /// Its load has ended (and, without [`Entry::failed`], well).
    pub(super) load_over: bool,
    /// While it loads: when it is looked at again, and what [`Driver::pulse`] was then.
    pub(super) pulse: Option<(Instant, u64)>,
    /// Who waits for its load.
    pub(super) loading: Option<Waiter>,
    /// Who waits for its unload.
    pub(super) unloading: Option<Vec<Ticket>>,
    pub(super) failed: Option<Error>,
}

impl Entry {
    fn is_loaded(&self) -> bool {
        self.load_over && self.failed.is_none()
    }
}

pub(super) enum Waiter {
    /// The start-up.
    Start,
    Ticket(Ticket),
}

impl Control {
    /// Names a driver whose load neither returns nor says anything: it must look at `stopping` now and then.
    pub(super) fn silent_loads(&mut self) {
        let now = clock::monotonic();
        for e in self.drivers.values_mut().filter(|e| !e.load_over) {
            let (Some((at, before)), Some(d)) = (e.pulse, &e.driver) else { continue };
            if at > now {
                continue;
            }
            let pulse = d.pulse();
            e.pulse = (pulse != before).then(|| (now + LOAD_SILENCE, pulse));
            if e.pulse.is_none() {
                let text = format!(
                    "{}: its load hangs: no word for {} s and no look at whether it should stop, a fault of the \
                     driver; everything else goes on, but it cannot be unloaded before it returns",
                    e.info.path.display(),
                    LOAD_SILENCE.as_secs()
                );
                self.env.log(Severity::Error, &text);
            }
        }
    }

    /// `umount`: takes a legacy driver with its interfaces, or a module; others are refused, as documented.
    pub(super) fn umount(&mut self, ticket: Ticket, what: &str) {
        let id = match self.named(what) {
            Some((id, e)) if e.legacy || e.info.kind == Kind::Module => *id,
            Some((_, e)) => return self.answer(ticket, refuse_unload(what, e)),
            None => {
                let why = format!("{what}: no driver or module has this name, nor made such an interface");
                return self.answer(ticket, Reply::why(Errno::ENOENT, why));
            }
        };
        let Some(e) = self.drivers.get_mut(&id) else { return };
        e.unloading.get_or_insert_default().push(ticket);
        self.reap(id);
    }

    /// The object that has this name (of the object, its file, what it was loaded for, or one of its interfaces).
    fn named(&self, what: &str) -> Option<(&DriverId, &Entry)> {
        let file = what.rsplit('/').next().unwrap_or(what);
        let by_if = |e: &Entry| e.interfaces.iter().any(|i| i == file);
        let by_name = |e: &Entry| {
            let kind = match e.info.kind {
                Kind::Driver => "devnp",
                Kind::Module => "lsm",
            };
            e.info.name == file
                || e.info.file() == file
                || format!("{kind}-{}.so", e.info.name) == file
                || (e.legacy && legacy_file(&e.options) == file)
        };
        let find = |f: &dyn Fn(&Entry) -> bool| self.drivers.iter().find(|(_, e)| f(e));
        find(&by_if).or_else(|| find(&by_name))
    }

    pub(super) fn list(&self) -> Reply {
        let of = |k| self.drivers.values().filter(move |e| e.is_loaded() && e.info.kind == k);
        let drivers = of(Kind::Driver).map(|e| DriverInfo {
            name: e.info.name.clone(),
            path: e.info.path.display().to_string(),
            version: e.info.version.clone(),
            options: e.options.clone(),
            interfaces: e.interfaces.clone(),
        });
        let modules = of(Kind::Module).map(|e| ModuleInfo {
            name: e.info.name.clone(),
            path: e.info.path.display().to_string(),
            version: e.info.version.clone(),
            options: e.options.clone(),
        });
        Reply::Loaded { drivers: drivers.collect(), modules: modules.collect() }
    }

    pub(super) fn load(&mut self, wanted: Wanted, what: &str, options: &str, waiter: Waiter) {
        if !self.privilege.may_load() {
            let text =
                format!("{what}: nothing more can be loaded since {DROPROOT} was written (without bit 0x10)");
            return self.load_failed(&Error::new(Errno::EPERM, text), Some(waiter));
        }
        match Driver::start_as(self.env.clone(), &self.loader, wanted, what, options) {
            Err(e) => self.load_failed(&e, Some(waiter)),
            Ok(d) => {
                let (id, driver) = (d.id(), Arc::new(d));
                let raw = driver.info().raw_options;
                let entry = Entry {
                    info: driver.info().clone(),
                    driver: Some(driver.clone()),
                    options: if raw { driver.options().rest.clone() } else { options.to_owned() },
                    interfaces: Vec::new(),
                    legacy: false,
                    load_over: false,
                    pulse: Some((clock::monotonic() + LOAD_SILENCE, driver.pulse())),
                    loading: Some(waiter),
                    unloading: None,
                    failed: None,
                };
                self.drivers.insert(id, entry);
                self.wait_for(id, driver);
            }
        }
    }

    fn wait_for(&mut self, id: DriverId, driver: Arc<Driver>) {
        let env = self.env.clone();
        self.env.workers.run(Box::new(move || {
            let result = driver.wait();
            drop(driver);
            env.tell_control(ToControl::Loaded { driver: id, result });
        }));
    }

    fn load_failed(&mut self, e: &Error, waiter: Option<Waiter>) {
        self.env.log(Severity::Error, &e.text);
        if let Some(Waiter::Ticket(t)) = waiter {
            self.answer(t, Reply::why(e.errno, e.text.clone()));
        }
    }

    pub(super) fn loaded(&mut self, id: DriverId, result: Result<(), Error>) {
        let Some(entry) = self.drivers.get_mut(&id) else { return };
        entry.load_over = true;
        match result {
            Ok(()) => {
                let names = entry.interfaces.clone();
                let text = format!("{} loaded: {}", entry.info.path.display(), names.join(" "));
                let text = text.trim_end_matches(": ").to_owned();
                if let Some(Waiter::Ticket(t)) = entry.loading.take() {
                    self.answer(t, Reply::Names(names));
                }
                self.env.log(Severity::Info, &text);
                if self.ending.is_some() || self.drivers.get(&id).is_some_and(|e| e.unloading.is_some()) {
                    self.reap(id);
                }
            }
            Err(e) => {
                // What the caller hears comes after the object is gone, so that it may try again at once.
                entry.failed = Some(e);
                entry.unloading.get_or_insert_default();
                self.reap(id);
            }
        }
    }

    pub(super) fn detached(&mut self, id: DriverId, name: &str, ticket: Option<Ticket>, why: Gone) {
        let what = match why {
            Gone::Destroyed => "destroyed",
            Gone::Removed => "device removed",
        };
        self.env.log(Severity::Info, &format!("{name}: {what}"));
        // The driver's own thread may have been faster: then the object is unloaded already.
        let Some(e) = self.drivers.get_mut(&id) else {
            if let Some(t) = ticket {
                self.answer(t, Reply::Ok);
            }
            return;
        };
        e.interfaces.retain(|n| n != name);
        let Some(t) = ticket else { return };
        // The last one takes the object with it, unless the driver stays; who asked hears when that is done.
        let stays = e.driver.as_ref().is_some_and(|d| d.stays(why));
        let last = e.interfaces.is_empty() && e.is_loaded() && !stays;
        match &mut e.unloading {
            Some(waiting) => waiting.push(t),
            None if last => e.unloading = Some(vec![t]),
            None => self.answer(t, Reply::Ok),
        }
    }

    /// A driver has nothing left to do.
    pub(super) fn unload(&mut self, id: DriverId) {
        let Some(e) = self.drivers.get_mut(&id) else { return };
        e.unloading.get_or_insert_default();
        self.reap(id);
    }

    /// Unloads on a thread of the pool: a driver may take its time. Does nothing while the driver loads (it
    /// happens when that is over) or is being unloaded.
    pub(super) fn reap(&mut self, id: DriverId) {
        if self.drivers.get(&id).is_none_or(|e| !e.load_over) {
            return;
        }
        // Nobody else has it: the thread that waited for the load gave its share back before it told us.
        let driver = self.drivers.get_mut(&id).and_then(|e| e.driver.take()).and_then(Arc::into_inner);
        let (Some(mut driver), env) = (driver, self.env.clone()) else { return };
        self.env.workers.run(Box::new(move || {
            let result = driver.unload(UNLOAD_PATIENCE);
            let result = match result {
                Ok(_) => Ok(()),
                Err(e) => Err((e, Arc::new(driver))),
            };
            env.tell_control(ToControl::Unloaded { driver: id, result });
        }));
    }

    pub(super) fn unloaded(&mut self, id: DriverId, result: Result<(), (Error, Arc<Driver>)>) {
        if let Err((e, driver)) = result {
            self.env.log(Severity::Error, &e.text);
            if let Some(entry) = self.drivers.get_mut(&id) {
                entry.driver = Some(driver);
                let waiting = entry.unloading.take().unwrap_or_default();
                let load = entry.loading.take();
                let failed = entry.failed.clone();
                for t in waiting {
                    self.answer(t, Reply::why(e.errno, e.text.clone()));
                }
                if let Some(f) = failed {
                    self.load_failed(&f, load);
                }
            }
            return;
        }
        let Some(entry) = self.drivers.remove(&id) else { return };
        for t in entry.unloading.into_iter().flatten() {
            self.answer(t, Reply::Ok);
        }
        if let Some(e) = entry.failed {
            self.load_failed(&e, entry.loading);
        }
    }
}

/// The documented refusal to unmount a native driver.
fn refuse_unload(what: &str, e: &Entry) -> Reply {
    let names = if e.interfaces.is_empty() { vec!["IF".to_owned()] } else { e.interfaces.clone() };
    let how: Vec<_> = names.iter().map(|n| format!("ifconfig {n} destroy")).collect();
    Reply::why(
        Errno::EOPNOTSUPP,
        format!(
            "{what}: umount works for legacy io-net drivers only; destroy the interface instead: {} \
             (the driver is unloaded with its last one)",
            how.join("; ")
        ),
    )
}

/// File name of the driver for io-net in the shim's option list.
fn legacy_file(options: &str) -> &str {
    let path = options.split(' ').next().unwrap_or("");
    path.rsplit('/').next().unwrap_or(path)
}

//! The control thread: signals, loading and unloading, and the requests that are not the shard's.
//!
//! It waits for signals and messages and never for a driver: what may take long (a load, an unload) takes a
//! thread of the pool (`workers`), which sends a message at its end.

use crate::cmdline::Load;
use crate::env::Env;
use crate::msg::{Ticket, ToControl, ToPacket};
use crate::privilege::{DROPROOT, Privilege};
use crate::start::Facts;
use crate::watch::Watch;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_ctl::{DriverInfo, ModuleInfo, NicInfo, Reply, Request};
use iopkt_loader::{Driver, DriverId, Error, Gone, Info, Kind, Wanted};
use iopkt_slog::Severity;
use iopkt_sys::process::{HostnameWatch, Started};
use iopkt_sys::signal::Signals;
use iopkt_sys::{Epoll, Interest, clock};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// How long a start waits for one driver before it goes on with the next and, after the last one, to the
/// background; the driver goes on loading.
const LOAD_PATIENCE: Duration = Duration::from_secs(3);
/// How long an unload may take before it is given up (and may be tried again).
const UNLOAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end waits for drivers.
const END_PATIENCE: Duration = Duration::from_secs(8);

/// A loaded driver or module, or one that loads.
struct Entry {
    /// Gone while it is being unloaded.
    driver: Option<Arc<Driver>>,
    info: Info,
    options: String,
    interfaces: Vec<String>,
    /// It is the shim, with a driver for io-net: umount is for it.
    legacy: bool,
    /// Its load has ended (and, without [`Entry::failed`], well).
    load_over: bool,
    /// While it loads: when it is looked at again, and what [`Driver::pulse`] was then.
    pulse: Option<(Instant, u64)>,
    /// Who waits for its load.
    loading: Option<Waiter>,
    /// Who waits for its unload.
    unloading: Option<Vec<Ticket>>,
    failed: Option<Error>,
}

impl Entry {
    fn is_loaded(&self) -> bool {
        self.load_over && self.failed.is_none()
    }
}

enum Waiter {
    /// The start-up.
    Start,
    Ticket(Ticket),
}

/// A `nicinfo` that is being gathered.
struct Gather {
    left: usize,
    list: Vec<NicInfo>,
}

/// How long a load may go without a word to the host before it is reported.
const LOAD_SILENCE: Duration = Duration::from_secs(5);

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order.
    Good,
    /// Something of ours has failed.
    Failed,
}

pub(crate) struct Control {
    env: Arc<Env>,
    loader: iopkt_loader::Env,
    facts: Facts,
    inbox: Receiver<ToControl>,
    epoll: Epoll,
    signals: Signals,
    started: Started,
    drivers: BTreeMap<DriverId, Entry>,
    gathers: HashMap<Ticket, Gather>,
    /// Drivers and modules of the command line that are still to be started.
    queue: VecDeque<(Wanted, Load)>,
    /// When the start goes on although a driver has not loaded yet.
    patience: Option<Instant>,
    ending: Option<(End, Instant)>,
    /// Tells when the host's name changes (`confstr_monitor`).
    watch: Watch,
    _hostname: Option<HostnameWatch>,
    privilege: Privilege,
}

/// Follows the host's name, where that can be done.
fn watch_hostname(env: &Env, epoll: &Epoll) -> Option<HostnameWatch> {
    let watch = HostnameWatch::new().and_then(|w| {
        epoll.add(&w, TOKEN_HOSTNAME, Interest::CHANGE)?;
        // It may have changed since it was read at the start.
        let value = iopkt_sys::process::hostname();
        env.tell_packet(0, ToPacket::Variable { name: "kern.hostname", value });
        Ok(w)
    });
    watch
        .inspect_err(|e| {
            env.log(Severity::Warning, &format!("confstr_monitor: the host's name cannot be followed: {e}"))
        })
        .ok()
}

const TOKEN_SIGNALS: u64 = 1;
const TOKEN_INBOX: u64 = 2;
const TOKEN_HOSTNAME: u64 = 3;

impl Control {
    #[allow(clippy::too_many_arguments)] // everything that was made on the way here, once
    pub(crate) fn new(
        env: Arc<Env>,
        loader: iopkt_loader::Env,
        facts: Facts,
        inbox: Receiver<ToControl>,
        signals: Signals,
        started: Started,
        queue: Vec<(Wanted, Load)>,
        confstr_monitor: bool,
        privilege: Privilege,
    ) -> std::io::Result<Control> {
        let epoll = Epoll::new()?;
        let threads = env.packet.len();
        let hostname = if confstr_monitor { watch_hostname(&env, &epoll) } else { None };
        epoll.add(&signals, TOKEN_SIGNALS, Interest::READ)?;
        epoll.add(&env.control_waker, TOKEN_INBOX, Interest::READ)?;
        Ok(Control {
            env,
            loader,
            facts,
            inbox,
            epoll,
            signals,
            started,
            drivers: BTreeMap::new(),
            gathers: HashMap::new(),
            queue: queue.into(),
            patience: Some(Instant::ZERO),
            ending: None,
            watch: Watch::new(threads),
            _hostname: hostname,
            privilege,
        })
    }

    /// Runs until the end.
    pub(crate) fn run(mut self) -> End {
        loop {
            self.go_on_starting();
            if let Some((end, at)) = self.ending
                && (self.drivers.is_empty() || clock::monotonic() >= at)
            {
                self.report_left();
                return end;
            }
            self.watch.look(clock::monotonic(), &self.env);
            self.silent_loads();
            let pulses = self.drivers.values().filter_map(|e| e.pulse.filter(|_| !e.load_over)).map(|p| p.0);
            let next = [self.patience, self.ending.map(|e| e.1), self.watch.deadline()];
            let next = next.into_iter().flatten().chain(pulses).min();
            let timeout = next.map(|at| at.since(clock::monotonic()));
            let mut events = Vec::new();
            if let Err(e) = self.epoll.wait(&mut events, 8, timeout) {
                self.env.log(Severity::Critical, &format!("control thread: {e}"));
                return End::Failed;
            }
            if events.iter().any(|e| e.token == TOKEN_HOSTNAME) {
                self.hostname_changed();
            }
            self.env.control_waker.drain();
            while let Some(s) = self.signals.next() {
                self.env.log(Severity::Info, &format!("signal {s}: ending"));
                self.end(End::Good);
            }
            while let Ok(m) = self.inbox.try_recv() {
                self.message(m);
            }
        }
    }

    /// Names a driver whose load neither returns nor says anything: it must look at `stopping` now and then.
    fn silent_loads(&mut self) {
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

    fn hostname_changed(&mut self) {
        let value = iopkt_sys::process::hostname();
        self.env.log(Severity::Info, &format!("the host's name is now {value}"));
        self.env.tell_packet(0, ToPacket::Variable { name: "kern.hostname", value });
    }

    /// Starts the next driver of the command line when the one before has loaded, failed, or taken too long;
    /// after the last one the start is done.
    fn go_on_starting(&mut self) {
        while let Some(at) = self.patience {
            let busy = self.drivers.values().any(|e| matches!(e.loading, Some(Waiter::Start)));
            let late = clock::monotonic() >= at;
            if self.ending.is_none() && busy && !late {
                return;
            }
            match self.queue.pop_front() {
                Some((wanted, l)) if self.ending.is_none() => {
                    self.load(wanted, &l.name, &l.options, Waiter::Start);
                    self.patience = Some(clock::monotonic() + LOAD_PATIENCE);
                }
                _ => {
                    self.patience = None;
                    self.start_done();
                }
            }
        }
    }

    fn start_done(&mut self) {
        for e in self.drivers.values().filter(|e| e.loading.is_some()) {
            let text = match e.info.kind {
                Kind::Driver => format!("driver {} is still loading; its interfaces follow", e.info.name),
                Kind::Module => format!("module {} is still loading", e.info.name),
            };
            self.env.log(Severity::Notice, &text);
        }
        if self.ending.is_some() {
            return;
        }
        if let Err(e) = self.started.ok() {
            self.env.log(Severity::Warning, &format!("cannot leave the terminal: {e}"));
        }
    }

    fn message(&mut self, m: ToControl) {
        match m {
            ToControl::Ctl { ticket, request } => self.request(ticket, *request),
            ToControl::Attached { driver, name, legacy } => {
                if let Some(e) = self.drivers.get_mut(&driver) {
                    e.interfaces.push(name);
                    e.legacy |= legacy;
                }
            }
            ToControl::Refused { name, ticket, errno, why } => {
                let why = if why.is_empty() { "its driver does not let it go now".into() } else { why };
                let text = format!("{name}: not destroyed: {why}");
                self.env.log(Severity::Notice, &text);
                self.answer(ticket, Reply::why(errno, text));
            }
            ToControl::Detached { driver, name, ticket, why } => self.detached(driver, &name, ticket, why),
            ToControl::NoDevice { name, ticket } => {
                let why = format!("{name}: no such interface of a driver; ifconfig -a lists what there is");
                self.answer(ticket, Reply::why(Errno::ENXIO, why));
            }
            ToControl::NicInfoCount { ticket, count } => {
                self.gathers.insert(ticket, Gather { left: count, list: Vec::new() });
                self.gathered(ticket);
            }
            ToControl::NicInfo { ticket, info } => {
                if let Some(g) = self.gathers.get_mut(&ticket) {
                    g.left -= 1;
                    g.list.extend(info);
                }
                self.gathered(ticket);
            }
            ToControl::Loaded { driver, result } => self.loaded(driver, result),
            ToControl::Finished { driver } => self.unload(driver),
            ToControl::Unloaded { driver, result } => self.unloaded(driver, result),
            ToControl::Died { thread } => {
                self.env.log(Severity::Critical, &format!("packet thread {thread} has failed: ending"));
                self.end(End::Failed);
            }
        }
    }

    fn answer(&self, ticket: Ticket, reply: Reply) {
        self.env.tell_packet(0, ToPacket::Answer { ticket, reply: Box::new(reply) });
    }

    fn gathered(&mut self, ticket: Ticket) {
        if self.gathers.get(&ticket).is_some_and(|g| g.left == 0)
            && let Some(g) = self.gathers.remove(&ticket)
        {
            self.answer(ticket, Reply::NicInfo(g.list));
        }
    }

    fn request(&mut self, ticket: Ticket, r: Request) {
        if self.ending.is_some() {
            return self.answer(ticket, Reply::why(Errno::ESHUTDOWN, "io-pkt is ending"));
        }
        match r {
            Request::Stack => {
                let info = self.facts.info();
                self.answer(ticket, Reply::Stack(info));
            }
            Request::Load { object, options } => {
                self.load(Wanted::Any, &object, &options, Waiter::Ticket(ticket));
            }
            Request::Unload { what } => self.umount(ticket, &what),
            Request::Loaded => self.answer(ticket, self.list()),
            Request::Destroy { name } => {
                self.env.tell_packet(0, ToPacket::Destroy { name, ticket });
            }
            Request::NicInfo { name } => {
                self.env.tell_packet(0, ToPacket::NicInfo { name, ticket });
            }
            Request::Sysctl { name, value: Some(value) } if name == DROPROOT => {
                let reply = match self.privilege.write(&value, self.env.sink) {
                    Ok(now) => {
                        self.env.tell_packet(0, ToPacket::Variable { name: DROPROOT, value: now.clone() });
                        Reply::Sysctl(vec![(name, now)])
                    }
                    Err((e, why)) => Reply::why(e, why),
                };
                self.answer(ticket, reply);
            }
            Request::Sysctl { name, .. } if name == "kern.hostname" => {
                let why = "kern.hostname is the host's: change it there (hostname(1)); -ptcpip confstr_monitor follows it";
                self.answer(ticket, Reply::why(Errno::EPERM, why));
            }
            Request::Shutdown => {
                self.answer(ticket, Reply::Ok);
                self.env.log(Severity::Info, "asked to end");
                self.end(End::Good);
            }
            _ => self.answer(ticket, Reply::err(Errno::ENOSYS)),
        }
    }

    /// `umount`: takes a legacy driver with its interfaces, or a module; others are refused, as documented.
    fn umount(&mut self, ticket: Ticket, what: &str) {
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

    fn list(&self) -> Reply {
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

    fn load(&mut self, wanted: Wanted, what: &str, options: &str, waiter: Waiter) {
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

    fn loaded(&mut self, id: DriverId, result: Result<(), Error>) {
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

    fn detached(&mut self, id: DriverId, name: &str, ticket: Option<Ticket>, why: Gone) {
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
    fn unload(&mut self, id: DriverId) {
        let Some(e) = self.drivers.get_mut(&id) else { return };
        e.unloading.get_or_insert_default();
        self.reap(id);
    }

    /// Unloads on a thread of the pool: a driver may take its time. Does nothing while the driver loads (it
    /// happens when that is over) or is being unloaded.
    fn reap(&mut self, id: DriverId) {
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

    fn unloaded(&mut self, id: DriverId, result: Result<(), (Error, Arc<Driver>)>) {
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

    /// Begins the end: drivers are told to stop; when the last has, or patience runs out, the loop ends. A
    /// second call means that somebody is out of patience.
    fn end(&mut self, how: End) {
        let now = clock::monotonic();
        if let Some((_, at)) = &mut self.ending {
            *at = now;
            return;
        }
        self.ending = Some((how, now + END_PATIENCE));
        let ids: Vec<DriverId> = self.drivers.keys().copied().collect();
        for id in ids {
            let Some(e) = self.drivers.get_mut(&id) else { continue };
            if let Some(d) = &e.driver {
                d.stop();
            }
            e.unloading.get_or_insert_default();
            self.reap(id);
        }
    }

    fn report_left(&self) {
        for e in self.drivers.values() {
            let text = format!("driver {} did not end in time; ending without it", e.info.name);
            self.env.log(Severity::Error, &text);
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

//! The control thread: signals, loading and unloading, and the requests that are not the shard's.
//!
//! It waits for signals and messages and never for a driver: what may take long (a load, an unload) takes a
//! thread of the pool (`workers`), which sends a message at its end.

mod objects;

use crate::cmdline::Load;
use crate::env::Env;
use crate::msg::{Ticket, ToControl, ToPacket};
use crate::privilege::{DROPROOT, Privilege};
use crate::start::Facts;
use crate::watch::Watch;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_ctl::{NicInfo, Reply, Request};
use iopkt_loader::{DriverId, Kind, Wanted};
use iopkt_slog::Severity;
use iopkt_sys::process::{HostnameWatch, Started};
use iopkt_sys::signal::Signals;
use iopkt_sys::{Epoll, Interest, clock};
use objects::{Entry, Waiter};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// How long a start waits for one driver before it goes on with the next and, after the last one, to the
/// background; the driver goes on loading.
const LOAD_PATIENCE: Duration = Duration::from_secs(3);
/// How long the end waits for drivers.
const END_PATIENCE: Duration = Duration::from_secs(8);

/// A `nicinfo` that is being gathered.
struct Gather {
    left: usize,
    list: Vec<NicInfo>,
}

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

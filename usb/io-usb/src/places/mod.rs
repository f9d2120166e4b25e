//! Devices that are not simulated: those of this machine and those of other servers, under one numbering.
//!
//! Each bus has a number of its own. A real bus keeps its number when that is free, which it is unless something
//! is simulated (bus 1) or a remote bus came first; else it gets the next free one and keeps it. A bus id is that number,
//! a dash, and the path of ports as it was.

mod place;

use crate::bus::BUSNUM;
use crate::mail::{self, Mail, Post};
use crate::remote::{self, Link};
use crate::usbfs::{self, Device, Failure, Filter, Found, Manners, open};
use iopkt_base::Instant;
use iopkt_usbip::op::{Description, DeviceInfo, WatchEvent, st};
pub use place::{Leftover, Place};
use place::{Origin, State};
use std::io::{self, Write};
use std::time::Duration;

/// How long a device that was just plugged in may take until it is told of anyway.
const SETTLE: Duration = Duration::from_secs(1);
/// Class of hubs.
const HUB: u8 = 9;

/// What the options of the process say about real devices.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `-r`
    pub retries: u32,
    /// `-T`
    pub timeout: Duration,
    /// `-E`, `-e`: QNX priority of threads that enumerate and open.
    pub priority: Option<u8>,
}

/// A remote server.
struct Server {
    host: String,
    extended: bool,
}

/// A thing that its owner must be told.
pub enum Tell {
    /// The import was done.
    Imported(u64, DeviceInfo),
    /// Or refused.
    Refused(u64, u32),
    /// The device went: end its URBs, close the connection.
    Gone(u64, Leftover),
}

/// All of them.
pub struct Places {
    /// The devices.
    pub all: Vec<Place>,
    /// What watchers are to be told.
    pub news: Vec<WatchEvent>,
    policy: Policy,
    filters: Vec<Filter>,
    servers: Vec<Server>,
    /// (0 for here, server + 1), their bus number, ours.
    numbers: Vec<(usize, u32, u32)>,
    /// Devices that were seen and are not settled yet: name, address, when they are told of anyway.
    settling: Vec<(String, u32, Instant)>,
    next_id: u64,
    post: Post,
}

impl Places {
    /// No devices yet; starts a thread for each remote server.
    pub fn new(
        filters: Vec<Filter>,
        hosts: &[String],
        simulated: bool,
        policy: Policy,
        post: &Post,
    ) -> Places {
        for (i, h) in hosts.iter().enumerate() {
            let (h, post) = (h.clone(), post.clone());
            mail::spawn("usb-remote", policy.priority, move || {
                remote::watch::run(i, &h, policy.timeout, &post);
            });
        }
        let servers = hosts.iter().map(|h| Server { host: h.clone(), extended: false }).collect();
        // The simulated bus has its number before everybody else.
        let numbers = if simulated { vec![(usize::MAX, BUSNUM, BUSNUM)] } else { Vec::new() };
        Places {
            all: Vec::new(),
            news: Vec::new(),
            policy,
            filters,
            servers,
            numbers,
            settling: Vec::new(),
            next_id: 1,
            post: post.clone(),
        }
    }

    /// Our number of somebody's bus.
    fn number(&mut self, origin: usize, theirs: u32) -> u32 {
        if let Some(n) = self.numbers.iter().find(|n| n.0 == origin && n.1 == theirs) {
            return n.2;
        }
        let free = |n: &u32| !self.numbers.iter().any(|x| x.2 == *n);
        let ours = Some(theirs).filter(free).or_else(|| (1..).find(free)).unwrap_or(theirs);
        self.numbers.push((origin, theirs, ours));
        ours
    }

    /// Puts a device under our numbers.
    fn renumber(&mut self, origin: usize, mut info: DeviceInfo) -> DeviceInfo {
        let theirs = info.busnum;
        info.busnum = self.number(origin, theirs);
        if let Some(path) = info.busid.strip_prefix(&format!("{theirs}-")) {
            info.busid = format!("{}-{path}", info.busnum);
        } else if self.all.iter().any(|p| p.info.busid == info.busid) {
            info.busid = format!("{}-{}", info.busnum, info.busid);
        }
        info
    }

    /// Looks at what this machine has.
    ///
    /// # Errors
    /// There is no USB here.
    pub fn scan(&mut self, now: Instant, first: bool) -> io::Result<Vec<Tell>> {
        if self.filters.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = usbfs::scan(&self.filters)?;
        let settling = std::mem::take(&mut self.settling);
        let (mut told, mut barred) = (Vec::new(), Vec::new());
        for p in &mut self.all {
            let Origin::Local(f) = &p.origin else { continue };
            let same = |x: &Found| x.name == f.name && x.info.device_address() == f.info.device_address();
            match found.iter().position(same) {
                Some(i) => {
                    // Interfaces change with the configuration; the bus id does not.
                    let new = usbfs::device_info(&found.swap_remove(i));
                    (p.info.config, p.info.num_interfaces) = (new.config, new.num_interfaces);
                    p.info.interfaces = new.interfaces;
                }
                None => p.gone = true,
            }
        }
        told.extend(self.sweep());
        for f in found {
            let address = u32::from(f.info.device_address());
            let due = settling.iter().find(|s| s.0 == f.name && s.1 == address).map(|s| s.2);
            if !f.settled && !first && due.is_none_or(|t| t > now) {
                self.settling.push((f.name.clone(), address, due.unwrap_or(now + SETTLE)));
                continue;
            }
            let info = usbfs::device_info(&f);
            if !usbfs::is_accessible(&open::node(&f.info)) {
                barred.push(open::node(&f.info));
            }
            self.add(0, info, Origin::Local(Box::new(f)));
        }
        if let Some(one) = barred.first() {
            let others = match barred.len() {
                1 => String::new(),
                n => format!(" (and {} others)", n - 1),
            };
            let text = format!("-d usbfs: {}{others}", open::denied(one));
            log::warn!("{text}");
            if first {
                // Whoever starts us should read it, with or without -v.
                let _ = writeln!(io::stderr(), "io-usb: {text}");
            }
        }
        Ok(told)
    }

    /// What a remote server has now.
    pub fn listed(&mut self, server: usize, list: Vec<DeviceInfo>) -> Vec<Tell> {
        for p in &mut self.all {
            let Origin::Remote(s, busid) = &p.origin else { continue };
            if *s != server {
                continue;
            }
            // After a new stay the device has another address.
            if list.iter().any(|d| d.busid == *busid && d.devnum == p.info.devnum) {
                p.absent = 0;
            } else if self.servers[server].extended {
                p.gone = true;
            } else if !matches!(p.state, State::Opening | State::Remote(_)) {
                // A stock server does not list what is in use, by us or just now still by us.
                p.absent += 1;
                p.gone = p.absent >= 2;
            }
        }
        let told = self.sweep();
        for d in list {
            let known = |p: &Place| {
                matches!(&p.origin, Origin::Remote(s, b) if *s == server && *b == d.busid) && !p.gone
            };
            if !self.all.iter().any(known) {
                let busid = d.busid.clone();
                self.add(server + 1, d, Origin::Remote(server, busid));
            }
        }
        told
    }

    /// The connection over which a remote device was used has ended from afar. A stock server does that when the device is
    /// unplugged, and will list it again when it is not.
    pub fn lost(&mut self, id: u64) -> Vec<Tell> {
        let stock = |p: &Place, s: &[Server]| matches!(&p.origin, Origin::Remote(n, _) if !s[*n].extended);
        if let Some(p) = self.all.iter_mut().find(|p| p.id == id)
            && stock(p, &self.servers)
        {
            p.gone = true;
        }
        self.sweep()
    }

    /// Whether a server has io-usb's own operations.
    pub fn extended(&mut self, server: usize, yes: bool) {
        if let Some(s) = self.servers.get_mut(server) {
            s.extended = yes;
        }
    }

    fn add(&mut self, origin: usize, info: DeviceInfo, from: Origin) {
        let info = self.renumber(origin, info);
        log::info!(
            "{} plugged in: {:04x}:{:04x}, address {} ({})",
            info.busid,
            info.vendor,
            info.product,
            info.devnum,
            match &from {
                Origin::Local(f) => format!("usbfs {}", f.name),
                Origin::Remote(s, b) => format!("usbip {} {b}", self.servers[*s].host),
            }
        );
        self.news.push(WatchEvent::Added(info.clone()));
        let id = self.next_id;
        self.next_id += 1;
        let (owner, gone, state, learned, watched) = (None, false, State::Free, Description::default(), None);
        let (complaint, absent) = (String::new(), 0);
        self.all.push(Place {
            id,
            info,
            owner,
            gone,
            origin: from,
            state,
            learned,
            absent,
            complaint,
            watched,
        });
    }

    /// Removes what is gone, as far as nobody is busy with it; the owners are to be told.
    fn sweep(&mut self) -> Vec<Tell> {
        let mut told = Vec::new();
        let mut i = 0;
        while i < self.all.len() {
            let p = &mut self.all[i];
            if !p.gone {
                i += 1;
                continue;
            }
            // It leaves the list now, though a thread may still have it.
            let p = self.all.remove(i);
            log::info!("{} unplugged", p.info.busid);
            self.news.push(WatchEvent::Removed(p.info));
            match (p.state, p.owner) {
                (State::Opening | State::Closing | State::Unwanted(_), Some(o)) => {
                    told.push(Tell::Refused(o, st::NODEV));
                }
                (State::Local(d), Some(o)) => told.push(Tell::Gone(o, Leftover::Local(d))),
                (State::Remote(l), Some(o)) => told.push(Tell::Gone(o, Leftover::Remote(l))),
                (State::Free, Some(o)) => told.push(Tell::Gone(o, Leftover::Nothing)),
                (_, None) => {}
            }
        }
        told
    }

    /// Place of an id.
    pub fn get(&mut self, id: u64) -> Option<&mut Place> {
        self.all.iter_mut().find(|p| p.id == id)
    }

    /// All devices.
    pub fn list(&self) -> impl Iterator<Item = &DeviceInfo> + Clone {
        self.all.iter().map(|p| &p.info)
    }

    /// A connection wants a device: its place (the answer comes as a [`Tell`]), or why not.
    ///
    /// # Errors
    /// [`st`]
    pub fn import(&mut self, busid: &str, conn: u64) -> Result<u64, u32> {
        let p = self.all.iter_mut().find(|p| p.info.busid == busid).ok_or(st::NODEV)?;
        if p.info.class[0] == HUB {
            return Err(st::HUB);
        }
        if p.owner.is_some() {
            return Err(st::DEV_BUSY);
        }
        p.owner = Some(conn);
        let id = p.id;
        self.start(id);
        Ok(id)
    }

    /// Opens a device that has an owner and is free.
    fn start(&mut self, id: u64) {
        let (policy, post) = (self.policy, self.post.clone());
        let Some(p) = self.all.iter_mut().find(|p| p.id == id) else { return };
        if !matches!(p.state, State::Free) || p.owner.is_none() {
            return; // whoever has it now starts us when it is done
        }
        p.state = State::Opening;
        let (retries, timeout, priority) = (policy.retries, policy.timeout, policy.priority);
        match &p.origin {
            Origin::Local(f) => {
                let (info, manners) = (f.info.clone(), Manners { retries, detach: !f.keep });
                mail::spawn("usb-open", priority, move || {
                    let r = open::open(&info, manners);
                    let r = r.map(|c| Box::new(Device::new(id, c, post.clone(), timeout, priority)));
                    post.send(Mail::Opened(id, r));
                });
            }
            Origin::Remote(s, busid) => {
                let (host, busid) = (self.servers[*s].host.clone(), busid.clone());
                mail::spawn("usb-import", priority, move || {
                    let r = remote::import(&host, &busid, timeout, retries).map(Box::new);
                    post.send(Mail::Linked(id, r));
                });
            }
        }
    }

    /// A device was opened, or not.
    pub fn opened(&mut self, id: u64, r: Result<Box<Device>, Failure>) -> Option<Tell> {
        let Some(p) = self.all.iter_mut().find(|p| p.id == id) else {
            if let Ok(d) = r {
                drop(d.close());
            }
            return None;
        };
        match (r, p.owner) {
            (Ok(d), Some(o)) => {
                let from = d.drivers();
                if !from.is_empty() {
                    log::info!("{}: taken from {from}", p.info.busid);
                }
                if let Some(c) = d.configuration() {
                    p.info.config = c;
                }
                p.state = State::Local(d);
                p.complaint.clear();
                Some(Tell::Imported(o, p.info.clone()))
            }
            (Ok(d), None) => {
                p.state = State::Closing;
                drop(d.close());
                None
            }
            (Err(f), owner) => self.failed(id, &f, owner),
        }
    }

    /// A remote device was imported, or not.
    pub fn linked(&mut self, id: u64, r: Result<Box<Link>, Failure>) -> Option<Tell> {
        let p = self.all.iter_mut().find(|p| p.id == id)?;
        match (r, p.owner) {
            (Ok(l), Some(o)) => {
                p.state = State::Remote(l);
                p.complaint.clear();
                p.watched = None;
                Some(Tell::Imported(o, p.info.clone()))
            }
            (Ok(_), None) => {
                p.state = State::Free;
                None
            }
            (Err(f), owner) => self.failed(id, &f, owner),
        }
    }

    fn failed(&mut self, id: u64, f: &Failure, owner: Option<u64>) -> Option<Tell> {
        let p = self.all.iter_mut().find(|p| p.id == id)?;
        if p.complaint != f.why {
            log::warn!("{}: {}", p.info.busid, f.why);
            p.complaint.clone_from(&f.why);
        }
        (p.state, p.owner) = (State::Free, None);
        owner.map(|o| Tell::Refused(o, f.status))
    }

    /// A device was given back.
    pub fn closed(&mut self, id: u64) {
        if let Some(p) = self.get(id) {
            log::info!("{} given back", p.info.busid);
            p.state = State::Free;
            self.start(id);
        }
    }

    /// The connection that has a device is gone (or does not want it any more).
    pub fn release(&mut self, id: u64) {
        let Some(p) = self.get(id) else { return };
        p.owner = None;
        p.state = match std::mem::replace(&mut p.state, State::Free) {
            State::Local(d) => match d.close() {
                Ok(()) => State::Closing,
                Err(d) => State::Unwanted(d),
            },
            State::Remote(l) => {
                p.learned = l.relay.learned().clone();
                State::Free
            }
            // The thread that has it finds no owner.
            other => other,
        };
    }

    /// The descriptors of a device as far as they are known here, or the server that can be asked: host and bus id.
    pub fn describe(&self, busid: &str) -> Option<Result<Description, (String, String)>> {
        let p = self.all.iter().find(|p| p.info.busid == busid)?;
        Some(match (&p.origin, &p.state) {
            (Origin::Local(f), _) => Ok(usbfs::description(&f.info)),
            (Origin::Remote(s, b), _) if self.servers[*s].extended => {
                Err((self.servers[*s].host.clone(), b.clone()))
            }
            (Origin::Remote(..), State::Remote(l)) => Ok(l.relay.learned().clone()),
            (Origin::Remote(..), _) => Ok(p.learned.clone()),
        })
    }

    /// Asks a remote server for descriptors, for the connection `conn`; the answer comes by post.
    pub fn ask(&self, conn: u64, host: String, busid: String) {
        let (timeout, post) = (self.policy.timeout, self.post.clone());
        mail::spawn("usb-describe", self.policy.priority, move || {
            post.send(Mail::Described(conn, remote::describe(&host, &busid, timeout)));
        });
    }

    /// When [`Places::scan`] is wanted next.
    pub fn deadline(&self) -> Instant {
        self.settling.iter().fold(Instant::FAR, |t, s| t.min(s.2))
    }

    /// Lets go of every device, for the end of the process.
    pub fn release_all(&mut self) {
        let ids: Vec<u64> = self.all.iter().map(|p| p.id).collect();
        ids.into_iter().for_each(|id| self.release(id));
    }

    /// Devices of this machine that are not given back yet.
    pub fn busy(&self) -> usize {
        let busy = |p: &&Place| {
            let local = matches!(p.origin, Origin::Local(_));
            local && !matches!(p.state, State::Free)
        };
        self.all.iter().filter(busy).count()
    }

    /// One line for a device in a list.
    pub fn line(&self, p: &Place, user: Option<String>) -> String {
        let i = &p.info;
        let how = match &p.origin {
            Origin::Local(f) => {
                let node = open::node(&f.info);
                let bar = if usbfs::is_accessible(&node) { "" } else { " (not permitted)" };
                format!("usbfs {}{bar}", node.display())
            }
            Origin::Remote(s, b) => format!("usbip {} {b}", self.servers[*s].host),
        };
        let state = match (&p.state, user) {
            (State::Opening, _) => "being opened".to_owned(),
            (State::Closing | State::Unwanted(_), _) => "being given back".to_owned(),
            (_, Some(u)) => format!("used by {u}"),
            (_, None) => "free".to_owned(),
        };
        format!("{}: {:04x}:{:04x} address {}, {state}, {how}", i.busid, i.vendor, i.product, i.devnum)
    }
}

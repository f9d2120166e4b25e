//! The loop: connections, devices, networks, in one thread.
//!
//! What blocks runs on threads of its own, which post their results ([`crate::mail`]); [`crate::real`] has the turn of real devices.
//! A turn waits for descriptors and deadlines, reads what has come, lets devices and networks work, and writes
//! once to each connection. A connection that does not read what it asked for is not read from; a device whose
//! host does not fetch is not fed.

use crate::bus::{Bus, World};
use crate::conn::{Claim, Conn, Peer};
use crate::control;
use crate::far::Received;
use crate::mail::Mailbox;
use crate::places::Places;
use crate::usbfs::uevent::Uevents;
use iopkt_base::Instant;
use iopkt_gadget::Event;
use iopkt_sys::{Epoll, Interest, clock, signal::Signals};
use iopkt_usbip::op::{WatchEvent, st};
use iopkt_usbip::server::Request;
use std::io;
use std::os::fd::OwnedFd;

/// Most connections; more wait in the kernel's queue.
const MAX_CONNS: usize = 256;
/// Frames from a network in one turn.
const BUDGET: usize = 256;

const TOKEN_SIGNALS: u64 = 1;
const TOKEN_MAIL: u64 = 2;
const TOKEN_UEVENT: u64 = 3;
const TOKEN_LISTEN: u64 = 0x1_0000;
const TOKEN_FAR: u64 = 0x2_0000;
const TOKEN_CONN: u64 = 0x3_0000;
/// Connections to remote servers: the id of the place is added.
pub const TOKEN_LINK: u64 = 1 << 32;

/// A listening socket.
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// Whether it is TCP.
    pub tcp: bool,
}

/// The running manager.
pub struct Server {
    pub(crate) epoll: Epoll,
    signals: Signals,
    listeners: Vec<Listener>,
    accepting: bool,
    bus: Bus,
    pub(crate) places: Places,
    pub(crate) mailbox: Mailbox,
    pub(crate) uevents: Option<Uevents>,
    pub(crate) conns: Vec<Option<Conn>>,
    next_conn: u64,
    /// For each port: generation and write interest of its far descriptor as the epoll has it.
    fars: Vec<Option<(u64, bool, bool)>>,
    events: Vec<(usize, Event)>,
    stop: bool,
}

impl Server {
    /// A manager over these listeners and this bus.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new(
        signals: Signals,
        listeners: Vec<Listener>,
        bus: Bus,
        places: Places,
        mailbox: Mailbox,
        uevents: Option<Uevents>,
    ) -> io::Result<Server> {
        let epoll = Epoll::new()?;
        epoll.add(&signals, TOKEN_SIGNALS, Interest::READ)?;
        epoll.add(&mailbox, TOKEN_MAIL, Interest::READ)?;
        if let Some(u) = &uevents {
            epoll.add(u, TOKEN_UEVENT, Interest::READ)?;
        }
        for (i, l) in listeners.iter().enumerate() {
            epoll.add(&l.fd, TOKEN_LISTEN + i as u64, Interest::READ)?;
        }
        let fars = vec![None; bus.ports.len()];
        let conns = Vec::new();
        let (accepting, stop, events, next_conn) = (true, false, Vec::new(), 1);
        Ok(Server {
            epoll,
            signals,
            listeners,
            accepting,
            bus,
            places,
            mailbox,
            uevents,
            conns,
            next_conn,
            fars,
            events,
            stop,
        })
    }

    /// Runs until SIGTERM, SIGINT or the stop command.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut more = false;
        while !self.stop {
            self.watch_fars();
            let now = clock::monotonic();
            let timeout = match self.bus.deadline().min(self.places.deadline()) {
                _ if more => Some(core::time::Duration::ZERO),
                Instant::FAR => None,
                t => Some(t.since(now)),
            };
            ready.clear();
            self.epoll.wait(&mut ready, 128, timeout)?;
            let now = clock::monotonic();
            for e in &ready {
                match e.token {
                    TOKEN_SIGNALS => self.signal(),
                    TOKEN_MAIL => self.mailbox.quiet(),
                    TOKEN_UEVENT => self.uevent(now),
                    t if t >= TOKEN_LINK => {} // looked at below
                    t if t >= TOKEN_CONN => {
                        self.conn_ready(now, (t - TOKEN_CONN) as usize, e.write, e.hup || e.error)
                    }
                    t if t >= TOKEN_FAR => {} // looked at below
                    t => self.accept((t - TOKEN_LISTEN) as usize),
                }
            }
            more = self.turn(now);
        }
        self.give_back();
        log::info!("io-usb ends");
        Ok(())
    }

    fn signal(&mut self) {
        while let Some(s) = self.signals.next() {
            log::info!("signal {s}");
            self.stop = true;
        }
    }

    /// Lets everything work that is not a connection's input. True when there is more to do at once.
    fn turn(&mut self, now: Instant) -> bool {
        self.bus.tick(now);
        let mut more = false;
        for i in 0..self.bus.ports.len() {
            self.device_tick(now, i);
            self.bus.ports[i].far.turn(now);
            more |= self.feed(now, i);
            self.bus.ports[i].far.turn(now);
        }
        self.handle_events(now);
        more |= self.real_turn(now);
        self.tell_news();
        for i in 0..self.conns.len() {
            self.flush(i);
        }
        more
    }

    fn device_tick(&mut self, now: Instant, i: usize) {
        let p = &mut self.bus.ports[i];
        let Some(d) = p.device.as_mut().filter(|d| d.deadline() <= now) else { return };
        let host = p.owner.and_then(|o| self.conns[o].as_mut()).map(|c| c.session.replies());
        d.tick(now, &mut World { host, far: Some(&mut p.far), events: &mut self.events, port: i });
    }

    /// Frames from a network to its modem; true when there may be more.
    fn feed(&mut self, now: Instant, i: usize) -> bool {
        let p = &mut self.bus.ports[i];
        let carrying = p.device.as_ref().is_some_and(|d| d.function().is_carrying());
        let Some(d) = p.device.as_mut().filter(|_| carrying) else {
            // Nobody is there: what the network says is not kept.
            return p.far.receive(BUDGET, &mut |_| {}) == Received::More;
        };
        let mut host = p.owner.and_then(|o| self.conns[o].as_mut()).map(|c| c.session.replies());
        if host.as_ref().is_some_and(|h| h.is_congested()) {
            return false;
        }
        let budget = BUDGET.min(d.frame_room(now));
        if budget == 0 {
            return false;
        }
        let events = &mut self.events;
        let r = p.far.receive(budget, &mut |f| {
            let host = host.as_deref_mut();
            d.frame(now, f, &mut World { host, far: None, events, port: i });
        });
        r == Received::More
    }

    /// Has the epoll wait for the far sides' descriptors as they are now.
    fn watch_fars(&mut self) {
        for i in 0..self.bus.ports.len() {
            let p = &mut self.bus.ports[i];
            let congested = match (&mut p.device, p.owner.and_then(|o| self.conns[o].as_ref())) {
                (Some(d), Some(c)) if d.function().is_carrying() => {
                    c.session.is_congested() || d.frame_room(Instant::ZERO) == 0
                }
                _ => false,
            };
            let want = p.far.fd().map(|(_, write, generation)| (generation, write, !congested));
            if want == self.fars[i] {
                continue;
            }
            if let (Some((fd, ..)), Some((generation, write, read))) = (p.far.fd(), want) {
                let (token, interest) = (TOKEN_FAR + i as u64, Interest::of(read, write));
                let known = self.fars[i].is_some_and(|f| f.0 == generation);
                let r = if known {
                    self.epoll.modify(fd, token, interest)
                } else {
                    self.epoll.add(fd, token, interest)
                };
                if let Err(e) = r {
                    log::warn!("far side of {}: {e}", p.busid);
                }
            }
            self.fars[i] = want;
        }
    }

    fn accept(&mut self, listener: usize) {
        let Some(l) = self.listeners.get(listener) else { return };
        loop {
            let free = self.conns.iter().position(Option::is_none).unwrap_or(self.conns.len());
            if free >= MAX_CONNS {
                self.set_accepting(false);
                return;
            }
            let fd = match iopkt_sys::unix::accept(&l.fd) {
                Ok(Some(fd)) => fd,
                Ok(None) => return,
                Err(e) => {
                    log::warn!("accept: {e}");
                    self.set_accepting(false);
                    return;
                }
            };
            let peer = Peer::of(&fd, l.tcp);
            if let Err(e) = self.epoll.add(&fd, TOKEN_CONN + free as u64, Interest::READ) {
                log::warn!("connection of {peer}: {e}");
                continue;
            }
            log::debug!("connection of {peer}");
            if free == self.conns.len() {
                self.conns.push(None);
            }
            self.conns[free] = Some(Conn::new(fd, peer, self.next_conn));
            self.next_conn += 1;
        }
    }

    /// Stops listening while there is no room, so that a waiting client does not keep us awake.
    fn set_accepting(&mut self, on: bool) {
        if self.accepting != on {
            self.accepting = on;
            for (i, l) in self.listeners.iter().enumerate() {
                let _ = self.epoll.modify(&l.fd, TOKEN_LISTEN + i as u64, Interest::of(on, false));
            }
        }
    }

    fn conn_ready(&mut self, now: Instant, i: usize, writable: bool, over: bool) {
        if writable {
            self.flush(i);
        }
        let mut rounds = 0;
        loop {
            let Some(Some(c)) = self.conns.get_mut(i) else { return };
            let busy = c.place().and_then(|p| self.places.get(p)).is_some_and(|p| p.is_congested());
            if c.session.is_congested() || c.waiting || busy {
                // The end of a connection is told even when nobody wants to read.
                return if over {
                    self.close(i, "closed by the peer")
                };
            }
            match c.read() {
                Ok(0) => return,
                Ok(_) => {}
                Err(why) => return self.close(i, why),
            }
            let requests = self.requests(now, i);
            self.handle_events(now);
            match requests {
                Ok(()) => {}
                Err(why) => return self.close(i, &why),
            }
            rounds += 1;
            // Others want their turn too; what is left makes the descriptor ready again.
            if rounds == 4 {
                return;
            }
        }
    }

    /// Handles what a connection has sent.
    pub(crate) fn requests(&mut self, now: Instant, i: usize) -> Result<(), String> {
        loop {
            let Some(Some(c)) = self.conns.get_mut(i) else { return Ok(()) };
            if c.waiting {
                return Ok(());
            }
            let (claim, id) = (c.claim, c.id);
            let Some((request, replies)) = c.session.poll().map_err(|e| e.to_string())? else {
                return Ok(());
            };
            match request {
                Request::Submit(s, data) => match claim {
                    Some(Claim::Port(port)) => {
                        let Some(p) = self.bus.ports.get_mut(port) else { return Ok(()) };
                        let Some(d) = p.device.as_mut() else { return Ok(()) };
                        let events = &mut self.events;
                        let (host, far) = (Some(replies), Some(&mut p.far));
                        d.submit(now, &s, data, &mut World { host, far, events, port });
                        if !self.events.is_empty() {
                            return Ok(()); // the plug may have been pulled
                        }
                    }
                    Some(Claim::Place(p)) => {
                        let Some(p) = self.places.get(p) else { return Ok(()) };
                        p.submit(&s, data, replies).map_err(|e| e.to_string())?;
                    }
                    None => return Ok(()),
                },
                Request::Unlink(u) => match claim {
                    Some(Claim::Place(p)) => {
                        let Some(p) = self.places.get(p) else { return Ok(()) };
                        p.unlink(&u, replies).map_err(|e| e.to_string())?;
                    }
                    _ => {
                        let port = claim.and_then(|c| if let Claim::Port(p) = c { Some(p) } else { None });
                        let device =
                            port.and_then(|p| self.bus.ports.get_mut(p)).and_then(|p| p.device.as_mut());
                        let cancelled = device.is_some_and(|d| d.unlink(u.victim));
                        replies.unlinked(u.seqnum, cancelled);
                    }
                },
                Request::DevList => {
                    let simulated = self.bus.list();
                    replies.devlist(simulated.iter().chain(self.places.list()));
                }
                Request::Import(busid) if self.bus.find(&busid).is_none() => {
                    match self.places.import(&busid, id) {
                        Ok(place) => {
                            c.claim = Some(Claim::Place(place));
                            c.waiting = true;
                        }
                        Err(status) => {
                            log::info!("{busid} not given to {}: {}", c.peer, st::text(status));
                            replies.imported(Err(status));
                        }
                    }
                }
                Request::Import(busid) => match self.bus.import(&busid, i) {
                    Ok((port, info)) => {
                        log::info!("{busid} imported by {}", c.peer);
                        replies.imported(Ok(&info));
                        c.claim = Some(Claim::Port(port));
                    }
                    Err(status) => {
                        log::info!("{busid} not given to {}: {}", c.peer, st::text(status));
                        replies.imported(Err(status));
                    }
                },
                Request::Watch => {
                    replies.watching();
                    let all = self.bus.list().into_iter().chain(self.places.list().cloned());
                    all.for_each(|d| replies.event(&WatchEvent::Added(d)));
                    replies.event(&WatchEvent::Settled);
                }
                Request::Describe(busid) => {
                    let device = self.bus.find(&busid).and_then(|p| self.bus.ports[p].device.as_ref());
                    match device.map(|d| Ok(d.describe())).or_else(|| self.places.describe(&busid)) {
                        Some(Ok(d)) if d.records.is_empty() => replies.description(Err(st::NA)),
                        Some(Ok(d)) => replies.description(Ok(&d)),
                        // Another server must be asked.
                        Some(Err((host, busid))) => {
                            c.waiting = true;
                            self.places.ask(id, host, busid);
                        }
                        None => replies.description(Err(st::NODEV)),
                    }
                }
                Request::Control(command) => self.control(now, i, &command),
            }
        }
    }

    fn control(&mut self, now: Instant, i: usize, command: &str) {
        let Some(Some(c)) = self.conns.get_mut(i) else { return };
        if command.trim() == "rescan" && c.peer.may_control() {
            let r = self.rescan(now);
            if let Some(Some(c)) = self.conns.get_mut(i) {
                c.session.replies().control(r.as_deref().map_err(String::as_str));
            }
            return;
        }
        let r = if c.peer.may_control() {
            log::info!("command of {}: {command}", c.peer);
            let peers: Vec<_> =
                self.conns.iter().map(|c| c.as_ref().map(|c| (c.id, c.peer.to_string()))).collect();
            let mut hosts = control::Hosts { conns: &mut self.conns, peers };
            let places = &self.places;
            control::run(now, command, &mut self.bus, places, &mut hosts, &mut self.events, &mut self.stop)
        } else {
            Err("only the user who runs io-usb, and root, may command it, over its Unix socket".into())
        };
        if let Some(Some(c)) = self.conns.get_mut(i) {
            c.session.replies().control(r.as_deref().map_err(String::as_str));
        }
    }

    /// Does what devices (and commands) have asked of the bus.
    fn handle_events(&mut self, now: Instant) {
        while let Some((port, e)) = self.events.pop() {
            let Some(owner) = self.bus.unplug(port) else { continue };
            if let Some(o) = owner
                && let Some(Some(c)) = self.conns.get_mut(o)
            {
                if e == (Event::Unplug { torn: true }) {
                    c.tear();
                }
                self.close(o, "its device was unplugged");
            }
            if e == Event::Restart {
                self.bus.restart(now, port);
            }
        }
    }

    fn tell_news(&mut self) {
        let news = core::mem::take(&mut self.bus.news).into_iter();
        for e in news.chain(core::mem::take(&mut self.places.news)) {
            for c in self.conns.iter_mut().flatten().filter(|c| c.session.is_watching()) {
                c.session.replies().event(&e);
            }
        }
    }

    pub(crate) fn flush(&mut self, i: usize) {
        let Some(Some(c)) = self.conns.get_mut(i) else { return };
        if let Err(why) = c.write() {
            return self.close(i, why);
        }
        // A watcher that reads nothing while devices come and go is not worth the memory.
        if c.session.is_watching() && c.session.is_congested() {
            return self.close(i, "it does not read its events");
        }
        let busy = c.place().and_then(|p| self.places.get(p)).is_some_and(|p| p.is_congested());
        let read = !c.session.is_congested() && !c.waiting && !busy;
        let interest = Interest::of(read, !c.session.tx().is_empty());
        if c.interest != interest {
            c.interest = interest;
            let _ = self.epoll.modify(&c.fd, TOKEN_CONN + i as u64, interest);
        }
    }

    pub(crate) fn close(&mut self, i: usize, why: &str) {
        if let Some(c) = self.conns.get_mut(i).and_then(Option::take) {
            match c.claim {
                Some(Claim::Port(p)) => log::info!("{} left by {}: {why}", self.bus.ports[p].busid, c.peer),
                Some(Claim::Place(p)) => {
                    if let Some(p) = self.places.get(p) {
                        log::info!("{} left by {}: {why}", p.info.busid, c.peer);
                    }
                    self.places.release(p);
                }
                None => log::debug!("connection of {} ends: {why}", c.peer),
            }
            drop(c);
            self.bus.release(i);
            self.set_accepting(true);
        }
    }
}

//! The AT port on its packet thread: terminals of programs on one side, the modem's AT channel on the other.

use crate::at::At;
use crate::serial::mux::Mux;
use crate::serial::{LINGER, Serial};
use crate::shared::Shared;
use iopkt_sdk::{Fail, Port, Ready};

/// Cookies of its descriptors, see the device.
const OPENS: u64 = 1;
const TTY: u64 = 16;

/// A terminal that programs have, or had a moment ago.
#[derive(Clone, Copy)]
struct User {
    id: u64,
    interest: Ready,
    /// When nobody had it open any more.
    closed: Option<u64>,
    watched: bool,
}

/// The AT port of one device.
pub struct SerialPort {
    terms: Serial,
    mux: Mux,
    users: Vec<User>,
    /// An open was seen before the port had its name.
    pending: bool,
    /// Lines lost that were logged.
    said: u64,
}

impl SerialPort {
    /// A port on these terminals, with `bufsz` bytes each way for each opener.
    pub fn new(terms: Serial, bufsz: usize) -> SerialPort {
        SerialPort { terms, mux: Mux::new(bufsz), users: Vec::new(), pending: false, said: 0 }
    }

    /// Watches for opens; without inotify, everybody shares the first terminal, which is open from the start.
    pub fn watch(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        match self.terms.watcher() {
            Some(w) => port.watch(w, Ready::READ, OPENS),
            None => {
                self.begin(port, self.terms.shared().id);
                Ok(())
            }
        }
    }

    fn begin(&mut self, port: &Port<'_>, id: u64) {
        let Some(t) = self.terms.term(id) else { return };
        if port.watch(t, Ready::READ, TTY + id).is_ok() {
            self.mux.open(id);
            self.users.push(User { id, interest: Ready::READ, closed: None, watched: true });
        } else {
            self.terms.close(id);
        }
    }

    /// The port was opened or closed.
    pub fn opened(&mut self, port: &Port<'_>, shared: &Shared) {
        self.pending |= self.terms.look();
        self.relink(port, shared);
        self.settle(port, port.now());
    }

    /// Gives the terminal that was opened to its program, and the name to the next one.
    pub fn relink(&mut self, port: &Port<'_>, shared: &Shared) {
        let Some(name) = shared.port_name().filter(|_| self.pending) else { return };
        self.pending = false;
        let fresh = self.terms.shared().id;
        match self.terms.promote(|path| port.name_add(&name, path).is_ok()) {
            Some(id) if self.users.iter().any(|u| u.id == id) => {} // it was shared until now
            Some(id) => self.begin(port, id),
            // No terminal is left: who comes now shares the one that the name leads to.
            None if self.users.iter().all(|u| u.id != fresh) => {
                port.warn(&format!("{name}: no terminals left, programs that open it from now on share one"));
                self.begin(port, fresh);
            }
            None => {}
        }
    }

    /// Ends the openers whose terminal nobody has open any more, once what they wrote has been read.
    fn settle(&mut self, port: &Port<'_>, now: u64) {
        for i in (0..self.users.len()).rev() {
            let User { id, closed, watched, .. } = self.users[i];
            let in_use = self.terms.term(id).is_some_and(|t| t.in_use());
            if watched && !in_use {
                // A hang-up would be told again and again.
                if let Some(t) = self.terms.term(id) {
                    let _ = port.unwatch(t);
                }
                self.users[i].watched = false;
            }
            match closed {
                None if !in_use => {
                    while self.read(id) > 0 {}
                    if self.mux.room(id) > 0 {
                        self.mux.close(id);
                        self.users[i].closed = Some(now);
                    }
                }
                Some(_) if in_use => {
                    let Some(t) = self.terms.term(id) else { continue };
                    let watched = port.watch(t, Ready::READ, TTY + id).is_ok();
                    self.mux.open(id);
                    self.users[i] = User { id, interest: Ready::READ, closed: None, watched };
                }
                Some(t) if now >= t + LINGER => {
                    self.terms.close(id);
                    self.users.remove(i);
                }
                _ => {}
            }
        }
    }

    /// Reads once from a terminal, as much as there is room for.
    fn read(&mut self, id: u64) -> usize {
        let mut b = [0; 512];
        let n = self.mux.room(id).min(b.len());
        let n = self.terms.term(id).filter(|_| n > 0).map_or(0, |t| t.read(&mut b[..n]));
        self.mux.typed(id, &b[..n]);
        n
    }

    /// A terminal is readable.
    pub fn readable(&mut self, id: u64) {
        self.read(id);
    }

    /// Moves what waits between programs and modem; true when there is something for the modem.
    pub fn pump(&mut self, port: &Port<'_>, shared: &Shared, at: &mut At, now: u64) -> bool {
        if !at.waiting().is_empty() {
            // Who has closed the port meanwhile has no use for an answer.
            self.opened(port, shared);
        }
        while !at.waiting().is_empty() && self.mux.modem_room() > 0 {
            let n = at.waiting().len().min(self.mux.modem_room());
            self.mux.from_modem(&at.waiting()[..n], now);
            at.written(n);
        }
        let typed = self.mux.for_modem(at.room(), now);
        at.typed(&typed);
        self.settle(port, now);
        for u in self.users.iter_mut().filter(|u| u.closed.is_none() && u.watched) {
            let (id, Some(t)) = (&u.id, self.terms.term(u.id)) else { continue };
            while !self.mux.output(*id).is_empty() {
                let n = t.write(self.mux.output(*id));
                if n == 0 {
                    break;
                }
                self.mux.written(*id, n);
            }
            let mut want = if self.mux.room(*id) > 0 { Ready::READ } else { Ready::NONE };
            if !self.mux.output(*id).is_empty() {
                want = Ready(want.0 | Ready::WRITE.0);
            }
            if want != u.interest {
                u.interest = want;
                let _ = port.rewatch(t, want);
            }
        }
        if self.mux.lost > 0 && self.said == 0 {
            port.warn(
                "AT port: a program that does not read it loses lines (said once; nicinfo counts them)",
            );
        }
        self.said = self.mux.lost;
        !typed.is_empty()
    }

    /// See [`Mux::deadline`].
    pub fn deadline(&self) -> u64 {
        let closed = self.users.iter().filter_map(|u| u.closed).min();
        self.mux.deadline().min(closed.map_or(u64::MAX, |t| t + LINGER))
    }

    /// See [`Mux::tick`]; terminals that nobody needs go.
    pub fn tick(&mut self, now: u64) {
        self.mux.tick(now);
    }

    /// For nicinfo.
    pub fn describe(&self, shared: &Shared) -> String {
        let name = shared.port_name().unwrap_or_else(|| "without a name".into());
        format!("{name}, {} openers, {} lines lost", self.mux.openers(), self.mux.lost)
    }

    /// The device is gone: programs see the end of the port.
    pub fn hang_up(self, port: &Port<'_>, shared: &Shared) {
        for u in self.users.iter().filter(|u| u.watched) {
            if let Some(t) = self.terms.term(u.id) {
                let _ = port.unwatch(t);
            }
        }
        if let Some(w) = self.terms.watcher() {
            let _ = port.unwatch(w);
        }
        if let Some(name) = shared.port_name() {
            shared.set_port_name(None);
            let _ = port.name_del(&name);
        }
    }
}

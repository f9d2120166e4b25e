//! The loop's part for devices that are not simulated.

use crate::mail::Mail;
use crate::places::{Leftover, Tell};
use crate::serve::{Server, TOKEN_LINK};
use iopkt_base::Instant;
use iopkt_sys::{Interest, clock};
use iopkt_usbip::op::st;
use std::time::Duration;

/// Longest wait at the end for devices to be given back to the kernel.
const GIVE_BACK: Duration = Duration::from_secs(5);

impl Server {
    /// Takes the post, lets real devices work. True when there is more to do at once.
    pub(crate) fn real_turn(&mut self, now: Instant) -> bool {
        while let Some(m) = self.mailbox.take() {
            self.mail(now, m);
        }
        if self.places.deadline() <= now {
            self.look(now);
        }
        let mut more = false;
        let mut k = 0;
        while k < self.places.all.len() {
            let id = self.places.all[k].id;
            more |= self.place_turn(k);
            // One that is lost leaves the list.
            k += usize::from(self.places.all.get(k).is_some_and(|p| p.id == id));
        }
        more
    }

    fn mail(&mut self, now: Instant, m: Mail) {
        let tell = match m {
            Mail::Opened(id, r) => self.places.opened(id, r),
            Mail::Linked(id, r) => self.places.linked(id, r),
            Mail::Closed(id) => {
                self.places.closed(id);
                None
            }
            Mail::List(server, list) => {
                for t in self.places.listed(server, list) {
                    self.tell(now, t);
                }
                None
            }
            Mail::Extended(server, yes) => {
                self.places.extended(server, yes);
                None
            }
            Mail::Described(conn, d) => {
                if let Some(i) = self.conn(conn)
                    && let Some(c) = &mut self.conns[i]
                {
                    c.waiting = false;
                    c.session.replies().description(d.as_ref().ok_or(st::NA));
                    self.resume(now, i);
                }
                None
            }
            Mail::Settled(id, back) => {
                let conns = &mut self.conns;
                if let Some(p) = self.places.get(id) {
                    let c = conns.iter_mut().flatten().find(|c| Some(c.id) == p.owner);
                    match (p.local(), c) {
                        (Some(d), Some(c)) => {
                            d.settled(*back, c.session.replies());
                            p.info.config = d.configuration().unwrap_or(p.info.config);
                        }
                        _ => p.settled_unwanted(*back),
                    }
                }
                None
            }
        };
        if let Some(t) = tell {
            self.tell(now, t);
        }
    }

    /// Index of a connection.
    fn conn(&self, id: u64) -> Option<usize> {
        self.conns.iter().position(|c| c.as_ref().is_some_and(|c| c.id == id))
    }

    /// Handles what a connection had sent behind a request that has now been answered.
    fn resume(&mut self, now: Instant, i: usize) {
        if let Err(why) = self.requests(now, i) {
            self.close(i, &why);
        }
    }

    fn tell(&mut self, now: Instant, t: Tell) {
        let id = match &t {
            Tell::Imported(o, _) | Tell::Refused(o, _) | Tell::Gone(o, _) => *o,
        };
        let Some(i) = self.conn(id) else { return };
        let Some(c) = &mut self.conns[i] else { return };
        match t {
            Tell::Imported(_, info) => {
                log::info!("{} imported by {}", info.busid, c.peer);
                c.waiting = false;
                c.session.replies().imported(Ok(&info));
                self.resume(now, i);
            }
            Tell::Refused(_, status) => {
                c.waiting = false;
                c.claim = None;
                c.session.replies().imported(Err(status));
                self.resume(now, i);
            }
            Tell::Gone(_, left) => self.gone(i, left, "its device was unplugged"),
        }
    }

    /// Ends every URB of a connection and the connection.
    fn gone(&mut self, i: usize, left: Leftover, why: &str) {
        if let Some(c) = &mut self.conns[i] {
            c.claim = None;
            left.abort(c.session.replies());
        }
        self.flush(i);
        self.close(i, why);
    }

    /// Lets the device of one place work: what has ended becomes replies, what was asked for goes out.
    fn place_turn(&mut self, k: usize) -> bool {
        let p = &mut self.places.all[k];
        let (id, Some(owner)) = (p.id, p.owner) else { return false };
        let Some(i) = self.conns.iter().position(|c| c.as_ref().is_some_and(|c| c.id == owner)) else {
            return false;
        };
        let Some(c) = &mut self.conns[i] else { return false };
        if let Some(d) = p.local() {
            if d.is_ringing() {
                if c.session.is_congested() {
                    // Its client does not read; the write interest of its socket brings us back.
                    d.snooze();
                } else {
                    d.poll(c.session.replies());
                }
            }
            return false;
        }
        let before = p.watched;
        let Some(l) = p.link() else { return false };
        let r = link_turn(l, &mut c.session);
        match r {
            Ok(more) => {
                let want = (!c.session.is_congested(), !l.relay.tx().is_empty());
                let (interest, token) = (Interest::of(want.0, want.1), TOKEN_LINK + id);
                let r = match before {
                    Some(b) if b == want => Ok(()),
                    Some(_) => self.epoll.modify(&*l, token, interest),
                    None => self.epoll.add(&*l, token, interest),
                };
                if let Err(e) = r {
                    log::warn!("{}: {e}", p.info.busid);
                }
                p.watched = Some(want);
                more && want.0
            }
            Err(why) => {
                l.relay.abort(c.session.replies());
                let busid = p.info.busid.clone();
                self.flush(i);
                // Its release frees the place.
                self.close(i, &why);
                log::info!("{busid}: {why}");
                for t in self.places.lost(id) {
                    self.tell(clock::monotonic(), t);
                }
                true
            }
        }
    }

    /// The kernel or udev has said something.
    pub(crate) fn uevent(&mut self, now: Instant) {
        if self.uevents.as_ref().is_some_and(|u| u.drain()) {
            self.look(now);
        }
    }

    /// Looks at what this machine has.
    fn look(&mut self, now: Instant) {
        match self.places.scan(now, false) {
            Ok(told) => told.into_iter().for_each(|t| self.tell(now, t)),
            Err(e) => log::warn!("{e}"),
        }
    }

    /// The command of that name.
    pub(crate) fn rescan(&mut self, now: Instant) -> Result<String, String> {
        let told = self.places.scan(now, true).map_err(|e| e.to_string())?;
        told.into_iter().for_each(|t| self.tell(now, t));
        Ok(String::new())
    }

    /// Gives every device back to the kernel, before the process ends.
    pub(crate) fn give_back(&mut self) {
        self.places.release_all();
        let end = clock::monotonic() + GIVE_BACK;
        let mut ready = Vec::new();
        while self.places.busy() > 0 {
            let now = clock::monotonic();
            if now >= end {
                log::warn!("{} devices were not given back in time", self.places.busy());
                return;
            }
            ready.clear();
            self.mailbox.quiet();
            while let Some(m) = self.mailbox.take() {
                self.mail(now, m);
            }
            if self.places.busy() > 0 {
                let left = end.since(clock::monotonic()).min(Duration::from_millis(100));
                let _ = self.epoll.wait(&mut ready, 16, Some(left));
            }
        }
    }
}

/// Moves what waits between a client and a remote server; true when there is more to read.
fn link_turn(
    l: &mut crate::remote::Link,
    session: &mut iopkt_usbip::server::Session,
) -> Result<bool, String> {
    l.write().map_err(str::to_owned)?;
    // Bounded, so that others have their turn.
    for _ in 0..8 {
        if session.is_congested() {
            return Ok(false);
        }
        let n = l.read();
        // What came before the end still counts.
        while l.relay.poll(session.replies()).map_err(|e| format!("the remote server: {e}"))? {}
        if n.map_err(str::to_owned)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

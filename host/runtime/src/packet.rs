//! A packet thread: waits for descriptors, runs the calls of its devices, and, if it is the first one, the
//! stack.
//!
//! A turn: wait; messages; devices that have something; the stack (which takes what the devices received and leaves what they
//! are to send); transmit; sleep until something happens or the nearest deadline. Everything in a turn is
//! bounded; what is left over makes the next wait return at once. There is one clock read, one batch of
//! transmit calls per device, at most one wake-up per other thread in a turn. Nothing runs periodically: an idle thread
//! sleeps for ever.

use crate::device::{Slot, forward};
use crate::env::Env;
use crate::lanes::Seat;
use crate::msg::{AttachReply, ToControl, ToPacket};
use crate::spin::Spin;
use crate::stack::Stack;
use crate::watch;
use iopkt_base::Instant;
use iopkt_loader::{Device, Gone};
use iopkt_mbuf::Mbuf;
use iopkt_slog::Severity;
use iopkt_sys::{Epoll, Event, Interest, Waker, clock, process};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

/// Token of the thread's waker.
pub(crate) const TOKEN_WAKER: u64 = 0;
/// Top byte of the socket server's tokens; the numbers of devices stay below it.
pub(crate) const TAG_SERVER: u8 = 0xff;
/// Numbers of devices begin here, so that no token of theirs is one of the above.
pub(crate) const FIRST_DEVICE: u32 = 1;

/// Messages taken in a turn.
const MESSAGES: usize = 64;
/// Events taken in a turn.
const EVENTS: usize = 256;

/// A packet thread.
pub(crate) struct Packet {
    me: usize,
    env: Arc<Env>,
    epoll: Arc<Epoll>,
    waker: Waker,
    inbox: Receiver<ToPacket>,
    slots: Vec<Slot>,
    stack: Option<Box<Stack>>,
    events: Vec<Event>,
    /// Events that were found in the last turn, for this one.
    late: Vec<Event>,
    /// When the turn began.
    now: Instant,
    rx: Vec<Mbuf>,
    /// Something is left to do: do not sleep.
    more: bool,
    quit: bool,
    /// Looks before it sleeps.
    spin: Spin,
    /// Priority without devices that ask for one; `None`: as the thread was started.
    base: Option<u8>,
    /// Priority that it has.
    priority: Option<u8>,
}

impl Packet {
    pub(crate) fn new(
        me: usize,
        env: Arc<Env>,
        inbox: Receiver<ToPacket>,
        stack: Option<Box<Stack>>,
        base: Option<u8>,
    ) -> std::io::Result<Packet> {
        let threads = env.packet.len();
        let (epoll, waker) = (env.packet[me].epoll.clone(), env.packet[me].waker.clone());
        epoll.add(&waker, TOKEN_WAKER, Interest::READ)?;
        Ok(Packet {
            me,
            env,
            epoll,
            waker,
            inbox,
            slots: Vec::new(),
            stack,
            events: Vec::new(),
            late: Vec::new(),
            now: clock::monotonic(),
            rx: Vec::new(),
            more: false,
            quit: false,
            spin: Spin::new(threads, process::cpus(), process::processors()),
            base,
            priority: None,
        })
    }

    /// Runs until told to quit.
    pub(crate) fn run(mut self) {
        let guard = Guard { env: self.env.clone(), me: self.me };
        self.prioritise();
        while !self.quit {
            if let Err(e) = self.turn() {
                self.env.log(Severity::Critical, &format!("packet thread {}: {e}", self.me));
                return;
            }
        }
        std::mem::forget(guard);
        for s in self.slots.drain(..) {
            s.detach(Gone::Removed);
        }
    }

    /// Takes the priority that its devices ask for, or its own.
    fn prioritise(&mut self) {
        let want = self.env.lanes.priority(self.me).or(self.base);
        if want != self.priority {
            let who = format!("packet thread {}", self.me);
            // Back to where it was: 10 is what an ordinary program has.
            crate::start::priority(self.env.sink, &who, want.unwrap_or(10));
            self.priority = want;
        }
    }

    fn turn(&mut self) -> std::io::Result<()> {
        let timeout = self.timeout();
        self.events.clear();
        if let Some(s) = &self.stack {
            self.spin.set_bound(s.busy_poll(&self.env));
        } else {
            self.spin.set_bound(self.env.busy_poll.load(Ordering::Relaxed));
        }
        self.spin.wait(&self.epoll, &mut self.events, EVENTS, timeout)?;
        self.events.append(&mut self.late);
        watch::begin(self.me, &self.env);
        let now = clock::monotonic();
        self.now = now;
        self.more = false;
        if let Some(s) = &mut self.stack {
            s.begin(now);
        }
        // Before the messages: what is sent after we looked must wake us again.
        if self.events.iter().any(|e| e.token == TOKEN_WAKER) {
            self.waker.drain();
        }
        self.messages();
        let events = std::mem::take(&mut self.events);
        for e in &events {
            if (e.token >> 56) as u8 == TAG_SERVER {
                if let Some(s) = &mut self.stack {
                    s.event(e);
                }
            } else if let Some(s) = self.slots.iter_mut().find(|s| s.owns(e)) {
                s.ready(e);
            }
        }
        self.events = events;
        self.serve(now)?;
        watch::end(self.me);
        Ok(())
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        if self.more || !self.late.is_empty() {
            return Some(std::time::Duration::ZERO);
        }
        let mut at = self.slots.iter().map(Slot::deadline).min().unwrap_or(Instant::FAR);
        if let Some(s) = &self.stack {
            at = at.min(s.deadline());
        }
        // Counted from the begin of the turn that now ends: no second look at the clock.
        (at != Instant::FAR).then(|| at.since(self.now))
    }

    /// Timers of the devices, then everything that they and the stack have for each other.
    fn serve(&mut self, now: Instant) -> std::io::Result<()> {
        let mut gone = Vec::new();
        let mut wake = false;
        for s in &mut self.slots {
            s.tick(now);
            let said = s.collect(&mut self.rx);
            match &mut self.stack {
                Some(stack) => {
                    stack.heard(s.ifindex, said);
                    stack.input(s.ifindex, &mut self.rx);
                    if s.dev.departs() {
                        gone.push(s.num);
                    }
                }
                None => {
                    let departs = s.dev.departs() && !std::mem::replace(&mut s.leaving, true);
                    forward(&self.env, s.num, said, departs);
                    let (w, more) = s.exchange(&mut self.rx);
                    wake |= w;
                    self.more |= more;
                }
            }
        }
        if wake {
            self.env.packet[0].waker.wake();
        }
        for num in gone {
            self.departed(num);
        }
        if let Some(stack) = &mut self.stack {
            self.more |= stack.turn(&self.env, &mut self.slots, &self.epoll, &mut self.late)?;
        }
        Ok(())
    }

    fn messages(&mut self) {
        for _ in 0..MESSAGES {
            let Ok(m) = self.inbox.try_recv() else { return };
            self.message(m);
        }
        self.more = true;
    }

    fn message(&mut self, m: ToPacket) {
        match m {
            ToPacket::Attach { device, seat, reply } => self.attach(device, seat, reply),
            ToPacket::Bind { num, device, seat, ifindex, name, ends, reply } => {
                let slot = Slot::new(num, ifindex, name, device, seat, Some(ends));
                if !self.bind(slot, &reply) {
                    self.env.tell_packet(0, ToPacket::BindFailed { num });
                }
            }
            ToPacket::Order { num, op } => {
                if let Some(s) = self.slots.iter_mut().find(|s| s.num == num) {
                    s.order(&self.env, &op);
                }
            }
            ToPacket::Detach { num, why, ticket } => self.detach(num, why, ticket),
            ToPacket::NicInfoOf { num, name, ticket } => {
                let slot = self.slots.iter_mut().find(|s| s.num == num);
                let info = slot.and_then(|s| s.nicinfo(name));
                self.env.tell_control(ToControl::NicInfo { ticket, info });
            }
            ToPacket::Departed { num } => self.departed(num),
            ToPacket::MayDestroy { num, ticket } => self.may_destroy(num, ticket),
            ToPacket::Destroyable { num, ticket } => self.remove(num, Gone::Destroyed, Some(ticket)),
            ToPacket::Destroy { name, ticket } => {
                match self.stack.as_mut().and_then(|s| s.device_of(&name)) {
                    Some((num, 0)) => self.may_destroy(num, ticket),
                    Some((num, thread)) => {
                        self.env.tell_packet(thread, ToPacket::MayDestroy { num, ticket });
                    }
                    None => self.env.tell_control(ToControl::NoDevice { name, ticket }),
                }
            }
            ToPacket::Quit => self.quit = true,
            other => {
                if let Some(stack) = &mut self.stack {
                    stack.message(&self.env, &mut self.slots, other);
                }
            }
        }
    }

    /// Thread 0: an interface for a device, which is then bound here or on the thread it is dealt to.
    fn attach(&mut self, device: Box<Device>, seat: Seat, reply: AttachReply) {
        let Some(stack) = &mut self.stack else { return };
        let made = match stack.attach(&self.env, &device, seat.thread()) {
            Ok(m) => m,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        match made.ends {
            None => {
                let slot = Slot::new(made.num, made.ifindex, made.name, device, seat, None);
                if !self.bind(slot, &reply)
                    && let Some(stack) = &mut self.stack
                {
                    stack.forget(&self.env, made.num);
                }
            }
            Some(ends) => {
                let (num, ifindex, name) = (made.num, made.ifindex, made.name);
                let thread = seat.thread();
                let bind = ToPacket::Bind { num, device, seat, ifindex, name, ends, reply };
                self.env.tell_packet(thread, bind);
            }
        }
    }

    fn bind(&mut self, mut slot: Slot, reply: &AttachReply) -> bool {
        let r = slot.bind(&self.epoll);
        let ok = r.is_ok();
        if ok {
            let (driver, legacy) = (slot.dev.driver().id(), slot.dev.description().legacy);
            self.env.tell_control(ToControl::Attached { driver, name: slot.name.clone(), legacy });
            self.slots.push(slot);
            self.prioritise();
            self.more = true; // it may have spoken already
        }
        let _ = reply.send(r);
        ok
    }

    /// Asks the driver of a device of this thread; it goes when nothing stands against it.
    fn may_destroy(&mut self, num: u32, ticket: crate::msg::Ticket) {
        let Some(s) = self.slots.iter_mut().find(|s| s.num == num) else {
            return self.env.tell_control(ToControl::NoDevice { name: String::new(), ticket });
        };
        match s.may_destroy() {
            Err((errno, why)) => {
                let name = s.name.clone();
                self.env.tell_control(ToControl::Refused { name, ticket, errno, why });
            }
            Ok(()) if self.stack.is_some() => self.remove(num, Gone::Destroyed, Some(ticket)),
            Ok(()) => {
                self.env.tell_packet(0, ToPacket::Destroyable { num, ticket });
            }
        }
    }

    /// A device of this thread (thread 0), or of another one that told us, has left.
    fn departed(&mut self, num: u32) {
        self.remove(num, Gone::Removed, None);
    }

    /// Thread 0: takes the interface away, then the device.
    fn remove(&mut self, num: u32, why: Gone, ticket: Option<crate::msg::Ticket>) {
        let Some(stack) = &mut self.stack else { return };
        match stack.forget(&self.env, num) {
            Some(0) => self.detach(num, why, ticket),
            Some(thread) => {
                self.env.tell_packet(thread, ToPacket::Detach { num, why, ticket });
            }
            None => {
                // It has departed meanwhile.
                if let Some(ticket) = ticket {
                    self.env.tell_control(ToControl::NoDevice { name: String::new(), ticket });
                }
            }
        }
    }

    fn detach(&mut self, num: u32, why: Gone, ticket: Option<crate::msg::Ticket>) {
        let Some(i) = self.slots.iter().position(|s| s.num == num) else { return };
        let s = self.slots.remove(i);
        let (driver, name) = (s.dev.driver().id(), s.name.clone());
        s.detach(why);
        self.prioritise();
        self.env.tell_control(ToControl::Detached { driver, name, ticket, why });
    }
}

/// Tells the control thread when a packet thread ends by a panic or an error.
struct Guard {
    env: Arc<Env>,
    me: usize,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.env.tell_control(ToControl::Died { thread: self.me });
    }
}

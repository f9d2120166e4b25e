//! A port: the place where calls into a driver run, and what the driver has asked for there.
//!
//! A driver knows a port by a pointer that stays good until the driver's `unload` has returned. What a port
//! holds is in three parts: identity (constant), what any thread may touch (atomics, locks), and [`Local`],
//! which only the thread that is inside a call for this port touches. That thread's number is in `thread`;
//! a call from another thread is refused and logged, so that a driver's mistake cannot become a data race.

use crate::shared::Core;
use iopkt_abi as abi;
use iopkt_base::Errno;
use iopkt_mbuf::{Cache, Mbuf};
use iopkt_sys::{Epoll, Interest, Waker};
use std::cell::{Cell, UnsafeCell};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Slot number of the port's own waker.
pub(crate) const WAKE_SLOT: u32 = u32::MAX;
/// Most descriptors of one port.
const MAX_FDS: usize = 1024;
/// Most packets that one turn of a device may deliver; more are dropped and counted.
pub(crate) const RX_MAX: usize = 1024;

/// What a driver has said during calls for a device; whoever made the calls takes it from here.
#[derive(Debug, Default)]
pub struct Effects {
    /// Packets received, their `ifindex` set.
    pub rx: Vec<Mbuf>,
    /// The device takes packets again.
    pub tx_ready: bool,
    /// The link changed.
    pub link: Option<Link>,
    /// Receive errors.
    pub ierrors: u64,
    /// Packets dropped on receive for want of room.
    pub iqdrops: u64,
    /// Transmit errors.
    pub oerrors: u64,
    /// Collisions.
    pub collisions: u64,
}

/// State of the link below a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// `None`: the driver cannot tell.
    pub up: Option<bool>,
    /// Full duplex.
    pub full_duplex: bool,
    /// Bits per second towards us, 0 for unknown.
    pub speed_rx: u64,
    /// Bits per second from us, 0 for unknown.
    pub speed_tx: u64,
}

impl From<&abi::Link> for Link {
    fn from(l: &abi::Link) -> Link {
        let up = match l.state {
            abi::LINK_UP => Some(true),
            abi::LINK_DOWN => Some(false),
            _ => None,
        };
        Link { up, full_duplex: l.full_duplex != 0, speed_rx: l.speed_rx, speed_tx: l.speed_tx }
    }
}

struct Slot {
    fd: RawFd,
    generation: u16,
    cookie: u64,
}

/// What only the thread that is inside a call for the port touches.
pub(crate) struct Local {
    pub(crate) epoll: Option<Arc<Epoll>>,
    pub(crate) token: u32,
    pub(crate) ifindex: u32,
    slots: Vec<Slot>,
    pub(crate) deadline: u64,
    pub(crate) cache: Option<Cache>,
    pub(crate) fx: Effects,
}

impl Local {
    fn new() -> Local {
        Local {
            epoll: None,
            token: 0,
            ifindex: 0,
            slots: Vec::new(),
            deadline: abi::NEVER,
            cache: None,
            fx: Effects::default(),
        }
    }

    fn slot_token(&self, i: usize) -> u64 {
        u64::from(self.token) << 32 | u64::from(self.slots[i].generation) << 16 | i as u64
    }

    pub(crate) fn fd_add(&mut self, fd: RawFd, interest: u32, cookie: u64) -> Result<(), Errno> {
        let ep = self.epoll.clone().ok_or(Errno::ENXIO)?;
        if fd < 0 {
            return Err(Errno::EBADF);
        }
        if self.slots.iter().any(|s| s.fd == fd) {
            return Err(Errno::EEXIST);
        }
        let i = match self.slots.iter().position(|s| s.fd < 0) {
            Some(i) => i,
            None if self.slots.len() < MAX_FDS => {
                self.slots.push(Slot { fd: -1, generation: 0, cookie: 0 });
                self.slots.len() - 1
            }
            None => return Err(Errno::ENOSPC),
        };
        self.slots[i].generation = self.slots[i].generation.wrapping_add(1) & 0x7fff;
        let token = self.slot_token(i);
        // SAFETY: only lent to epoll_ctl, which checks it; the descriptor is the driver's.
        let b = unsafe { BorrowedFd::borrow_raw(fd) };
        ep.add(b, token, interest_of(interest)).map_err(|e| iopkt_sys::errno(&e))?;
        self.slots[i].fd = fd;
        self.slots[i].cookie = cookie;
        Ok(())
    }

    pub(crate) fn fd_mod(&mut self, fd: RawFd, interest: u32) -> Result<(), Errno> {
        let i = self.slots.iter().position(|s| s.fd == fd && fd >= 0).ok_or(Errno::ENOENT)?;
        let ep = self.epoll.as_ref().ok_or(Errno::ENXIO)?;
        // SAFETY: as in fd_add.
        let b = unsafe { BorrowedFd::borrow_raw(fd) };
        ep.modify(b, self.slot_token(i), interest_of(interest)).map_err(|e| iopkt_sys::errno(&e))
    }

    pub(crate) fn fd_del(&mut self, fd: RawFd) -> Result<(), Errno> {
        let i = self.slots.iter().position(|s| s.fd == fd && fd >= 0).ok_or(Errno::ENOENT)?;
        self.slots[i].fd = -1;
        let ep = self.epoll.as_ref().ok_or(Errno::ENXIO)?;
        // SAFETY: as in fd_add.
        let b = unsafe { BorrowedFd::borrow_raw(fd) };
        ep.delete(b).map_err(|e| iopkt_sys::errno(&e))
    }

    /// The cookie of the descriptor that slot number `slot` (the low half of a token) means, if it is still
    /// the one that was registered.
    pub(crate) fn cookie(&self, slot: u32) -> Option<u64> {
        let s = self.slots.get((slot & 0xffff) as usize)?;
        (s.fd >= 0 && u32::from(s.generation) == slot >> 16).then_some(s.cookie)
    }

    /// Ends every watch; returns how many the driver had left.
    fn close(&mut self) -> usize {
        let left: Vec<RawFd> = self.slots.iter().map(|s| s.fd).filter(|f| *f >= 0).collect();
        for fd in &left {
            let _ = self.fd_del(*fd);
        }
        left.len()
    }
}

fn interest_of(bits: u32) -> Interest {
    Interest::of(bits & abi::FD_READ != 0, bits & abi::FD_WRITE != 0)
}

/// Readiness in the ABI's bits.
pub(crate) fn ready_bits(e: &iopkt_sys::Event) -> u32 {
    let mut r = 0;
    for (on, bit) in [
        (e.read || e.rdhup, abi::FD_READ),
        (e.write, abi::FD_WRITE),
        (e.error, abi::FD_ERROR),
        (e.hup, abi::FD_HANGUP),
    ] {
        if on {
            r |= bit;
        }
    }
    r
}

pub(crate) struct Port {
    pub(crate) core: Weak<Core>,
    /// The object's own port, else a device's.
    pub(crate) control: bool,
    /// For log lines: "ecm", "ecm0".
    label: Mutex<String>,
    /// The thread that is inside calls for this port, 0 for none.
    thread: AtomicU64,
    waker: Mutex<Option<Waker>>,
    pub(crate) woken: AtomicBool,
    pub(crate) departs: AtomicBool,
    /// `bind` has succeeded: the driver's device is ours to detach.
    pub(crate) bound: AtomicBool,
    local: UnsafeCell<Local>,
}

// SAFETY: `local` is only reached through `local()`, which admits one thread at a time (the one whose number
// `thread` holds); everything else is atomic, locked or constant.
unsafe impl Sync for Port {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Port {}

thread_local! {
    static ME: Cell<u64> = const { Cell::new(0) };
}
static THREADS: AtomicU64 = AtomicU64::new(0);

/// A number for the calling thread that no other ever has.
pub(crate) fn me() -> u64 {
    ME.with(|m| {
        if m.get() == 0 {
            m.set(THREADS.fetch_add(1, Ordering::Relaxed) + 1);
        }
        m.get()
    })
}

impl Port {
    pub(crate) fn new(core: Weak<Core>, control: bool, label: &str) -> Port {
        Port {
            core,
            control,
            label: Mutex::new(label.to_owned()),
            thread: AtomicU64::new(0),
            waker: Mutex::new(None),
            woken: AtomicBool::new(false),
            departs: AtomicBool::new(false),
            bound: AtomicBool::new(false),
            local: UnsafeCell::new(Local::new()),
        }
    }

    pub(crate) fn as_raw(&self) -> *mut abi::Port {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    pub(crate) fn label(&self) -> String {
        self.label.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Says that calls for this port now run on the calling thread.
    pub(crate) fn enter(&self) {
        self.thread.store(me(), Ordering::Relaxed);
    }

    pub(crate) fn is_mine(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == me()
    }

    /// Runs `f` on the local part; `None` when the calling thread is not inside a call for this port.
    /// `f` must not call into the driver.
    pub(crate) fn local<R>(&self, f: impl FnOnce(&mut Local) -> R) -> Option<R> {
        if !self.is_mine() {
            return None;
        }
        // SAFETY: only the thread that `thread` names gets here, and `f` is leaf code that cannot come
        // back here, so this is the only reference.
        Some(f(unsafe { &mut *self.local.get() }))
    }

    /// Connects the port to a thread's epoll. `label` is the name for log lines.
    pub(crate) fn open(&self, ep: &Arc<Epoll>, token: u32, ifindex: u32, label: &str) -> Result<(), Errno> {
        self.enter();
        let waker = Waker::new().map_err(|e| iopkt_sys::errno(&e))?;
        let t = u64::from(token) << 32 | u64::from(WAKE_SLOT);
        ep.add(&waker, t, Interest::READ).map_err(|e| iopkt_sys::errno(&e))?;
        self.woken.store(false, Ordering::Relaxed);
        self.departs.store(false, Ordering::Relaxed);
        self.bound.store(false, Ordering::Relaxed);
        *self.waker.lock().unwrap_or_else(|e| e.into_inner()) = Some(waker);
        label.clone_into(&mut self.label.lock().unwrap_or_else(|e| e.into_inner()));
        self.local(|l| {
            l.epoll = Some(ep.clone());
            l.token = token;
            l.ifindex = ifindex;
        });
        Ok(())
    }

    /// Disconnects the port: later calls of the driver for it do nothing. Returns how many descriptors the
    /// driver had left registered.
    pub(crate) fn close(&self) -> usize {
        let waker = self.waker.lock().unwrap_or_else(|e| e.into_inner()).take();
        let left = self.local(|l| {
            let left = l.close();
            if let (Some(w), Some(ep)) = (&waker, &l.epoll) {
                let _ = ep.delete(w);
            }
            *l = Local::new();
            left
        });
        self.thread.store(0, Ordering::Relaxed);
        left.unwrap_or(0)
    }

    /// Ends the watches of a driver that will not be called any more.
    pub(crate) fn close_watches(&self) {
        self.local(|l| {
            l.close();
        });
    }

    /// Makes the port's thread look at `woken` and `departs`.
    pub(crate) fn kick(&self) {
        if let Some(w) = &*self.waker.lock().unwrap_or_else(|e| e.into_inner()) {
            w.wake();
        }
    }

    pub(crate) fn drain(&self) {
        if let Some(w) = &*self.waker.lock().unwrap_or_else(|e| e.into_inner()) {
            w.drain();
        }
    }
}

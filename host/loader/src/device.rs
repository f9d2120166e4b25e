//! A device that a driver has attached, as the packet thread that owns it sees it.

use crate::info;
use crate::port::{Effects, Link, Port, WAKE_SLOT, ready_bits};
use crate::shared::{Core, Msg};
use iopkt_abi as abi;
use iopkt_abi::copy_table;
use iopkt_base::{Errno, Instant};
use iopkt_mbuf::{Mbuf, MbufHdr};
use iopkt_sys::{Epoll, Event};
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Packets that a device's `fd` call is asked to handle at most.
pub const BUDGET: u32 = 64;

/// What a driver says of a device that it attaches.
#[derive(Clone, Debug)]
pub struct Description {
    /// One line.
    pub text: String,
    /// Interface prefix (the driver's; `name=` goes before it).
    pub prefix: String,
    /// Number wanted by the driver, if any (`unit=` goes before it).
    pub unit: Option<u32>,
    /// Ethernet frames, else raw IP packets.
    pub ether: bool,
    /// Link-level address.
    pub mac: [u8; 6],
    /// MTU at start, bytes of network packet.
    pub mtu: u32,
    /// Largest MTU.
    pub mtu_max: u32,
    /// Print a media line.
    pub media: bool,
    /// Can send and receive multicast.
    pub multicast: bool,
    /// Capabilities, receive (`IFCAP_` bits).
    pub caps_rx: u32,
    /// Capabilities, transmit.
    pub caps_tx: u32,
    /// They are all enabled at the start.
    pub caps_on: bool,
    /// Link at start.
    pub link: Link,
    /// Media words that it can be set to, the one at start first.
    pub media_words: Vec<u32>,
    /// A driver for io-net stands behind it.
    pub legacy: bool,
}

/// Why a device goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The user destroyed the interface.
    Destroyed,
    /// The device left ([`Device::departs`]).
    Removed,
}

/// Where a device is to run.
pub struct Place<'a> {
    /// Epoll of the packet thread. Events for the device carry `token` in the upper half of theirs.
    pub epoll: &'a Arc<Epoll>,
    /// Any number, but one for each device of that epoll.
    pub token: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: &'a str,
}

/// What [`Device::transmit`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets taken by the driver.
    pub packets: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Multicast and broadcast ones among them (by the buffer's flags).
    pub mcasts: u64,
    /// The driver took less than it was given: do not call again before [`Effects::tx_ready`].
    pub full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Made, not bound.
    New,
    Stopped,
    Started,
    Detached,
}

/// A device, owned by one packet thread after [`Device::bind`].
///
/// Calls go down into the driver; what the driver says meanwhile is collected in [`Effects`], to be taken
/// after each call or batch of calls. Nothing calls back into the owner.
pub struct Device {
    core: Arc<Core>,
    port: Arc<Port>,
    dev: *mut c_void,
    ops: abi::DeviceOps,
    cookie: u64,
    desc: Description,
    state: State,
    /// Capabilities that the driver has been told to use.
    caps: (u32, u32),
    media: u32,
}

// SAFETY: `dev` is only handed to the driver's operations, which by the ABI run on whatever thread owns the
// device, one at a time.
unsafe impl Send for Device {}

impl Device {
    /// Checks what a driver wants to attach.
    ///
    /// # Safety
    /// `d` is null or a struct iopkt_device as the header wants it.
    pub(crate) unsafe fn from_raw(core: &Arc<Core>, d: *const abi::Device) -> Result<Device, Errno> {
        let bad = |why: &str| {
            core.host.log(2, &core.info.name, &format!("attach: {why}: a fault of the driver"));
            Err(Errno::EINVAL)
        };
        // SAFETY: the caller's promise.
        let Some(d) = (unsafe { copy_table(d) }) else { return bad("no device, or of another version") };
        // SAFETY: as above; the table is null or one of the ABI.
        let Some(ops) = (unsafe { copy_table(d.ops) }) else { return bad("no operations") };
        if ops.bind.is_none() || ops.transmit.is_none() || ops.detach.is_none() {
            return bad("bind, transmit or detach is missing");
        }
        if d.link_type != abi::LINK_ETHER && d.link_type != abi::LINK_RAWIP {
            return bad("unknown link type");
        }
        let ether = d.link_type == abi::LINK_ETHER;
        if ether && (d.mac[0] & 1 != 0 || d.mac == [0; 6]) {
            return bad("the MAC address is zero or a multicast address");
        }
        let mtu_max = if d.mtu_max == 0 { d.mtu } else { d.mtu_max };
        if !(68..=65535).contains(&d.mtu) || !(d.mtu..=65535).contains(&mtu_max) {
            return bad("the MTU is not in 68..=65535 or above mtu_max");
        }
        let (Some(text), Some(mut prefix)) = (info::text(&d.description), info::text(&d.prefix)) else {
            return bad("description or prefix is not clean text");
        };
        if prefix.is_empty() {
            prefix.clone_from(&core.info.prefix);
        }
        if !info::good_prefix(&prefix) {
            return bad("the interface prefix is no good");
        }
        let desc = Description {
            text,
            prefix,
            unit: (d.unit <= crate::options::UNIT_MAX).then_some(d.unit),
            ether,
            mac: d.mac,
            mtu: d.mtu,
            mtu_max,
            media: d.flags & abi::DEV_MEDIA != 0,
            multicast: d.flags & abi::DEV_NOMULTICAST == 0,
            caps_rx: d.caps_rx,
            caps_tx: d.caps_tx,
            caps_on: d.flags & abi::DEV_CAPSON != 0,
            link: (&d.link).into(),
            media_words: d.media.iter().copied().take_while(|m| *m != 0).collect(),
            legacy: d.flags & abi::DEV_LEGACY != 0,
        };
        let port = core.new_port();
        Ok(Device {
            core: core.clone(),
            port,
            dev: d.dev,
            ops,
            cookie: d.cookie,
            media: desc.media_words.first().copied().unwrap_or(0),
            desc,
            state: State::New,
            caps: (0, 0),
        })
    }

    /// What the driver says of it.
    pub fn description(&self) -> &Description {
        &self.desc
    }

    /// Where its packets come from.
    pub fn pool(&self) -> &iopkt_mbuf::Pool {
        &self.core.pool
    }

    pub(crate) fn port(&self) -> Arc<Port> {
        self.port.clone()
    }

    /// The driver that attached it.
    pub fn driver(&self) -> DriverRef {
        DriverRef(self.core.clone())
    }

    /// Connects it to the calling thread, which owns it from now on. This is what a driver's attach waits for.
    ///
    /// # Errors
    /// What the driver's `bind` says (the device is forgotten then), or what kept us from watching it.
    pub fn bind(&mut self, at: Place<'_>) -> Result<Bound, Errno> {
        if self.state != State::New {
            return Err(Errno::EBUSY);
        }
        self.port.open(at.epoll, at.token, at.ifindex, at.name).inspect_err(|_| {
            self.port.close();
        })?;
        let cache = self.core.pool.cache(self.core.pool.config().keep);
        self.port.local(|l| l.cache = Some(cache));
        let rc = match self.ops.bind {
            // SAFETY: the driver's function with the driver's pointer, on the thread that owns the device.
            Some(f) => unsafe { f(self.dev, self.port.as_raw()) },
            None => Errno::EINVAL.0,
        };
        if rc != 0 {
            self.port.close();
            self.core.retire(self.port.clone(), None);
            self.state = State::Detached;
            return Err(errno(rc));
        }
        self.state = State::Stopped;
        if let Some(name) = self.core.legacy_node(self.desc.legacy, at.name)
            && let Err(e) = self.core.name_add(&self.port, &name, "../socket")
        {
            self.core.host.log(3, at.name, &format!("cannot make {name}: {}", e.text()));
        }
        self.port.bound.store(true, Ordering::Release);
        self.core.live(self.port.clone());
        Ok(Bound { name: at.name.to_owned(), ifindex: at.ifindex })
    }

    /// The interface goes up. No effect when it is up.
    ///
    /// # Errors
    /// What the driver says.
    pub fn start(&mut self) -> Result<(), Errno> {
        if self.state != State::Stopped {
            return if self.state == State::Started { Ok(()) } else { Err(Errno::ENXIO) };
        }
        self.port.enter();
        // SAFETY: as in bind.
        let rc = self.ops.start.map_or(0, |f| unsafe { f(self.dev) });
        if rc != 0 {
            return Err(errno(rc));
        }
        self.state = State::Started;
        Ok(())
    }

    /// The interface goes down. No effect when it is down.
    pub fn stop(&mut self) {
        if self.state == State::Started {
            self.state = State::Stopped;
            self.port.enter();
            if let Some(f) = self.ops.stop {
                // SAFETY: as in bind.
                unsafe { f(self.dev) };
            }
        }
    }

    /// Offers up to 32 packets from the front of `q`; what the driver does not take stays there.
    pub fn transmit(&mut self, q: &mut VecDeque<Mbuf>) -> Sent {
        let mut sent = Sent::default();
        let Some(f) = self.ops.transmit.filter(|_| self.state == State::Started && !q.is_empty()) else {
            return sent;
        };
        self.port.enter();
        let mut raw = [std::ptr::null_mut::<abi::Mbuf>(); abi::BATCH];
        let mut lens = [(0u32, false); abi::BATCH];
        let n = q.len().min(abi::BATCH);
        for (i, m) in q.drain(..n).enumerate() {
            let group = m.flags() & (abi::M_BCAST | abi::M_MCAST) != 0;
            lens[i] = (m.len() as u32, group);
            raw[i] = m.into_raw().as_ptr().cast();
        }
        // Counted before: the driver may free them inside the call.
        self.core.out.fetch_add(n as isize, Ordering::Relaxed);
        // SAFETY: as in bind; `raw` has n buffers that are the driver's up to what it returns.
        let k = unsafe { f(self.dev, raw.as_mut_ptr(), n as u32) } as usize;
        if k > n {
            self.core.misuse(&self.port, "transmit took more packets than there were");
        }
        let k = k.min(n);
        for h in raw[k..n].iter().rev() {
            if let Some(h) = NonNull::new(h.cast::<MbufHdr>()) {
                // SAFETY: not taken by the driver, so still ours.
                q.push_front(unsafe { Mbuf::from_raw(h) });
            }
        }
        self.core.out.fetch_sub((n - k) as isize, Ordering::Relaxed);
        sent.packets = k;
        sent.bytes = lens[..k].iter().map(|l| u64::from(l.0)).sum();
        sent.mcasts = lens[..k].iter().filter(|l| l.1).count() as u64;
        sent.full = k < n;
        sent
    }

    /// An event whose token has this device's number in its upper half.
    pub fn ready(&mut self, e: &Event) {
        if !self.is_bound() {
            return;
        }
        self.port.enter();
        let slot = e.token as u32;
        if slot == WAKE_SLOT {
            self.port.drain();
            if self.port.woken.swap(false, Ordering::AcqRel)
                && let Some(f) = self.ops.wake
            {
                // SAFETY: as in bind.
                unsafe { f(self.dev) };
            }
            return;
        }
        if let (Some(Some(cookie)), Some(f)) = (self.port.local(|l| l.cookie(slot)), self.ops.fd) {
            // SAFETY: as in bind.
            unsafe { f(self.dev, cookie, ready_bits(e), BUDGET) };
        }
    }

    /// When [`Device::tick`] is to be called; [`Instant::FAR`] for never.
    pub fn deadline(&self) -> Instant {
        Instant::from_nanos(self.port.local(|l| l.deadline).unwrap_or(abi::NEVER))
    }

    /// Runs the device's timer if its deadline has passed.
    pub fn tick(&mut self, now: Instant) {
        if !self.is_bound() {
            return;
        }
        self.port.enter();
        let due = self.port.local(|l| {
            let due = l.deadline != abi::NEVER && l.deadline <= now.as_nanos();
            if due {
                l.deadline = abi::NEVER;
            }
            due
        });
        if let (Some(true), Some(f)) = (due, self.ops.timer) {
            // SAFETY: as in bind.
            unsafe { f(self.dev, now.as_nanos()) };
        }
    }

    /// Takes what the driver has said since the last time: swaps it with `fx`, which must be drained.
    pub fn take_effects(&mut self, fx: &mut Effects) {
        self.port.enter();
        self.port.local(|l| std::mem::swap(&mut l.fx, fx));
    }

    /// The driver says that the device is no more: detach it, with [`Gone::Removed`].
    pub fn departs(&self) -> bool {
        self.port.departs.load(Ordering::Acquire)
    }

    /// Sets the receive filter.
    ///
    /// # Errors
    /// What the driver says.
    pub fn filter(&mut self, promisc: bool, allmulti: bool, groups: &[[u8; 6]]) -> Result<(), Errno> {
        let Some(f) = self.ops.filter.filter(|_| self.is_bound()) else { return Ok(()) };
        self.port.enter();
        let arg = abi::Filter {
            head: abi::Head::of::<abi::Filter>(),
            promisc: u32::from(promisc),
            allmulti: u32::from(allmulti),
            ngroups: u32::try_from(groups.len()).unwrap_or(0),
            pad: 0,
            groups: groups.as_ptr(),
        };
        // SAFETY: as in bind; `arg` and the groups live through the call.
        rc(unsafe { f(self.dev, &arg) })
    }

    /// Sets the MTU.
    ///
    /// # Errors
    /// EINVAL above the device's limit, else what the driver says.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<(), Errno> {
        if !(68..=self.desc.mtu_max).contains(&mtu) {
            return Err(Errno::EINVAL);
        }
        let Some(f) = self.ops.set_mtu.filter(|_| self.is_bound()) else { return Ok(()) };
        self.port.enter();
        // SAFETY: as in bind.
        rc(unsafe { f(self.dev, mtu) })
    }

    /// Enables capabilities, receive and transmit; those not named are off. At start all are off.
    ///
    /// # Errors
    /// EINVAL for what the device does not have, else what the driver says; they then are as they were.
    pub fn set_caps(&mut self, rx: u32, tx: u32) -> Result<(), Errno> {
        if rx & !self.desc.caps_rx != 0 || tx & !self.desc.caps_tx != 0 {
            return Err(Errno::EINVAL);
        }
        if let Some(f) = self.ops.set_caps.filter(|_| self.is_bound()) {
            self.port.enter();
            // SAFETY: as in bind.
            self::rc(unsafe { f(self.dev, rx, tx) })?;
        }
        self.caps = (rx, tx);
        Ok(())
    }

    /// The capabilities that are enabled, receive and transmit.
    pub fn caps(&self) -> (u32, u32) {
        self.caps
    }

    /// Selects a medium.
    ///
    /// # Errors
    /// EINVAL for one that the device does not have, EOPNOTSUPP, else what the driver says; it then is as it was.
    pub fn set_media(&mut self, media: u32) -> Result<(), Errno> {
        if !self.desc.media_words.contains(&media) {
            return Err(Errno::EINVAL);
        }
        let f = self.ops.set_media.filter(|_| self.is_bound()).ok_or(Errno::EOPNOTSUPP)?;
        self.port.enter();
        // SAFETY: as in bind.
        rc(unsafe { f(self.dev, media) })?;
        self.media = media;
        Ok(())
    }

    /// The medium that is selected, 0 when there is nothing to select.
    pub fn media(&self) -> u32 {
        self.media
    }

    /// Tells the driver which of its flags (debug, link0 ...) are set. One to which they mean nothing is not asked.
    pub fn set_flags(&mut self, flags: u32) {
        let Some(f) = self.ops.set_flags.filter(|_| self.is_bound()) else { return };
        self.port.enter();
        // SAFETY: as in bind.
        unsafe { f(self.dev, flags) };
    }

    /// Asks the driver whether the user may destroy the interface.
    ///
    /// # Errors
    /// What the driver says, and why.
    pub fn may_destroy(&mut self) -> Result<(), (Errno, String)> {
        let Some(f) = self.ops.may_destroy.filter(|_| self.is_bound()) else { return Ok(()) };
        self.port.enter();
        self.core.take_why();
        // SAFETY: as in bind.
        rc(unsafe { f(self.dev) }).map_err(|e| (e, self.core.take_why()))
    }

    /// The driver's call that only quiets the hardware, and its argument: for a process that dies. The ABI
    /// allows it on any thread and in a signal handler, as long as the device is bound.
    pub fn quiesce(&self) -> Option<(unsafe extern "C" fn(*mut c_void), *mut c_void)> {
        self.ops.quiesce.map(|f| (f, self.dev))
    }

    /// What the driver knows of its hardware: label and value, in order of printing.
    ///
    /// # Errors
    /// EOPNOTSUPP, or what the driver says.
    pub fn nicinfo(&mut self) -> Result<Vec<(String, String)>, Errno> {
        let f = self.ops.nicinfo.filter(|_| self.is_bound()).ok_or(Errno::EOPNOTSUPP)?;
        self.port.enter();
        let mut lines: Vec<(String, String)> = Vec::new();
        let arg = abi::Nicinfo {
            head: abi::Head::of::<abi::Nicinfo>(),
            cookie: (&raw mut lines).cast(),
            put: Some(put),
        };
        // SAFETY: as in bind; `lines` lives through the call and only `put` touches it.
        rc(unsafe { f(self.dev, &arg) })?;
        Ok(lines)
    }

    /// Stops it and gives it back to the driver. The driver's control thread is told, and decides with
    /// `why` whether the driver is still needed.
    pub fn detach(mut self, why: Gone) {
        self.end(why);
    }

    fn is_bound(&self) -> bool {
        matches!(self.state, State::Stopped | State::Started)
    }

    fn end(&mut self, why: Gone) {
        if !self.is_bound() {
            if self.state == State::New {
                self.core.retire(self.port.clone(), None);
                self.state = State::Detached;
            }
            return;
        }
        self.stop();
        self.state = State::Detached;
        self.port.enter();
        if let Some(f) = self.ops.detach {
            // SAFETY: as in bind; the last call for this device.
            unsafe { f(self.dev) };
        }
        if let Some(name) = self.core.legacy_node(self.desc.legacy, &self.port.label()) {
            let _ = self.core.name_del(&name);
        }
        let left = self.port.close();
        if left > 0 {
            self.core.misuse(&self.port, &format!("left {left} descriptors registered at detach"));
        }
        self.core.retire(self.port.clone(), Some(Msg::Gone { cookie: self.cookie, why }));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.end(Gone::Destroyed);
    }
}

/// Proof that a device has been bound, for the reply to the driver.
#[derive(Debug)]
pub struct Bound {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
}

/// Which driver a device belongs to.
#[derive(Clone)]
pub struct DriverRef(Arc<Core>);

impl DriverRef {
    /// The driver's number.
    pub fn id(&self) -> crate::DriverId {
        self.0.id
    }
    /// What the driver's file says.
    pub fn info(&self) -> &info::Info {
        &self.0.info
    }
    /// The generic options that it was loaded with.
    pub fn options(&self) -> &crate::Options {
        &self.0.options
    }
}

unsafe extern "C" fn put(cookie: *mut c_void, label: *const c_char, value: *const c_char) {
    // SAFETY: `cookie` is the list that nicinfo() lends for the call.
    let Some(lines) = (unsafe { cookie.cast::<Vec<(String, String)>>().as_mut() }) else { return };
    let text = |p: *const c_char| {
        if p.is_null() {
            return String::new();
        }
        // SAFETY: the driver gives null or a C string.
        let s = unsafe { CStr::from_ptr(p) }.to_string_lossy();
        s.chars().take(256).map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    if lines.len() < 256 {
        lines.push((text(label), text(value)));
    }
}

fn errno(rc: c_int) -> Errno {
    if rc > 0 { Errno(rc) } else { Errno::EIO }
}

fn rc(rc: c_int) -> Result<(), Errno> {
    if rc == 0 { Ok(()) } else { Err(errno(rc)) }
}

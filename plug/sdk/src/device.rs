//! The device's side: what runs on the packet thread.

use crate::handle::{Handle, Ready, host};
use crate::here::Here;
use crate::mbuf::{Batch, Marks, Mbuf, marks_of};
use crate::{Fail, errno};
use iopkt_abi as abi;
use std::ffi::CString;
use std::ops::Deref;
use std::ptr::NonNull;

/// A device. All calls run on the packet thread that owns it, one at a time, and must not block. It is made
/// on the control thread, and dropped on the packet thread after [`Device::detach`].
pub trait Device: Send + 'static {
    /// First call.
    ///
    /// # Errors
    /// Ends the attach; [`crate::Control::attach`] gives the error to the driver.
    fn bind(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        let _ = port;
        Ok(())
    }

    /// The interface goes up.
    ///
    /// # Errors
    /// It stays down.
    fn start(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        let _ = port;
        Ok(())
    }

    /// The interface goes down: no receive after it, drop what is queued.
    fn stop(&mut self, port: &Port<'_>) {
        let _ = port;
    }

    /// Sends from the front of `q`. What is left there says "full": the host keeps it and waits for
    /// [`Port::tx_ready`].
    fn transmit(&mut self, port: &Port<'_>, q: &mut TxQueue<'_>);

    /// A descriptor is ready (level triggered); receive at most `budget` packets.
    fn fd(&mut self, port: &Port<'_>, cookie: u64, ready: Ready, budget: usize) {
        let _ = (port, cookie, ready, budget);
    }

    /// The deadline has passed; `now` in ns.
    fn timer(&mut self, port: &Port<'_>, now: u64) {
        let _ = (port, now);
    }

    /// Somebody called [`Handle::wake`] of this port.
    fn wake(&mut self, port: &Port<'_>) {
        let _ = port;
    }

    /// Receive these frames.
    ///
    /// # Errors
    /// As the hardware says; the host logs it.
    fn filter(&mut self, port: &Port<'_>, f: &Filter<'_>) -> Result<(), Fail> {
        let _ = (port, f);
        Ok(())
    }

    /// New MTU, not above [`crate::Description::mtu_max`].
    ///
    /// # Errors
    /// The MTU stays as it was.
    fn set_mtu(&mut self, port: &Port<'_>, mtu: u32) -> Result<(), Fail> {
        let _ = (port, mtu);
        Ok(())
    }

    /// Capabilities now enabled.
    ///
    /// # Errors
    /// They stay as they were.
    fn set_caps(&mut self, port: &Port<'_>, rx: u32, tx: u32) -> Result<(), Fail> {
        let _ = (port, rx, tx);
        Ok(())
    }

    /// What is known of the hardware.
    ///
    /// # Errors
    /// EOPNOTSUPP is the default.
    fn nicinfo(&mut self, port: &Port<'_>, out: &mut NicInfo<'_>) -> Result<(), Fail> {
        let _ = (port, out);
        Err(Fail::from(errno::EOPNOTSUPP))
    }

    /// Use this medium from now on (`MEDIA_` word), one of [`crate::Description::media_words`].
    ///
    /// # Errors
    /// It stays as it was.
    fn set_media(&mut self, port: &Port<'_>, media: u32) -> Result<(), Fail> {
        let _ = (port, media);
        Err(Fail::from(errno::EOPNOTSUPP))
    }

    /// The user wants the interface destroyed.
    ///
    /// # Errors
    /// Why it may not be: EBUSY, EOPNOTSUPP. Not asked when the device departs or io-pkt ends.
    fn may_destroy(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        let _ = port;
        Ok(())
    }

    /// The interface's flags that a driver gives a meaning to (`FLAG_DEBUG`, `FLAG_LINK0` ...), when one has changed.
    /// None is set at the start.
    fn set_flags(&mut self, port: &Port<'_>, flags: u32) {
        let _ = (port, flags);
    }

    /// How the hardware is quieted when the process dies; asked once, after [`Device::bind`].
    fn quiesce(&self) -> Option<Quiesce> {
        None
    }

    /// Last call before it is dropped; the interface has been stopped.
    fn detach(&mut self, port: &Port<'_>) {
        let _ = port;
    }
}

/// What quiets a device when the process dies, by a crash or in good order. It may run on any thread, in a signal
/// handler, and in the middle of another call for the device: it gets a number (a descriptor, an address of a
/// register) and nothing else, and must not allocate, lock, log or panic.
#[derive(Clone, Copy, Debug)]
pub struct Quiesce {
    /// What to call.
    pub call: fn(u64),
    /// With what.
    pub arg: u64,
}

/// Counters that only the driver can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Receive errors.
    InErrors = abi::COUNT_IERRORS as isize,
    /// Received and dropped for want of room.
    InDrops = abi::COUNT_IQDROPS as isize,
    /// Transmit errors.
    OutErrors = abi::COUNT_OERRORS as isize,
    /// Collisions.
    Collisions = abi::COUNT_COLLISIONS as isize,
}

/// The link below a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// `None`: cannot tell.
    pub up: Option<bool>,
    /// Full duplex.
    pub full_duplex: bool,
    /// Bits per second towards us, 0 for unknown.
    pub speed_rx: u64,
    /// Bits per second from us, 0 for unknown.
    pub speed_tx: u64,
}

impl Link {
    /// Up, full duplex, the same speed both ways.
    pub fn up(speed: u64) -> Link {
        Link { up: Some(true), full_duplex: true, speed_rx: speed, speed_tx: speed }
    }

    /// Down.
    pub fn down() -> Link {
        Link { up: Some(false), ..Link::default() }
    }

    pub(crate) fn to_abi(self) -> abi::Link {
        abi::Link {
            head: abi::Head::of::<abi::Link>(),
            state: match self.up {
                None => abi::LINK_UNKNOWN,
                Some(false) => abi::LINK_DOWN,
                Some(true) => abi::LINK_UP,
            },
            full_duplex: u32::from(self.full_duplex),
            speed_rx: self.speed_rx,
            speed_tx: self.speed_tx,
        }
    }
}

/// What frames to receive.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Everything.
    pub promisc: bool,
    /// All multicast.
    pub allmulti: bool,
    /// Else these multicast addresses.
    pub groups: &'a [[u8; 6]],
}

/// A device's port, inside a call on its packet thread.
pub struct Port<'a>(Here<'a>);

impl<'a> Deref for Port<'a> {
    type Target = Here<'a>;
    fn deref(&self) -> &Here<'a> {
        &self.0
    }
}

impl Port<'_> {
    pub(crate) fn new(handle: Handle) -> Self {
        Port(Here::new(handle))
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::new(self.handle())
    }

    /// Hands received packets to the stack; the batch is empty afterwards.
    pub fn receive(&self, b: &mut Batch) {
        if let Some((v, n)) = b.take()
            && let Some(f) = host().and_then(|h| h.receive)
        {
            // SAFETY: our port, and n buffers that the batch owned.
            unsafe { f(self.0.handle.0, v, n) };
        }
    }

    /// There is room again after [`Device::transmit`] left packets.
    pub fn tx_ready(&self) {
        if let Some(f) = host().and_then(|h| h.tx_ready) {
            // SAFETY: our port.
            unsafe { f(self.0.handle.0) };
        }
    }

    /// The link changed.
    pub fn link(&self, l: Link) {
        if let Some(f) = host().and_then(|h| h.link) {
            let l = l.to_abi();
            // SAFETY: our port and a table that lives through the call.
            unsafe { f(self.0.handle.0, &l) };
        }
    }

    /// Adds to a counter.
    pub fn count(&self, what: Count, n: u64) {
        if let Some(f) = host().and_then(|h| h.count) {
            // SAFETY: our port.
            unsafe { f(self.0.handle.0, what as u32, n) };
        }
    }
}

/// Packets to send, first in, first out. What is not taken stays with the host.
pub struct TxQueue<'a> {
    v: &'a mut [*mut abi::Mbuf],
    next: usize,
    port: Handle,
}

impl<'a> TxQueue<'a> {
    pub(crate) fn new(v: &'a mut [*mut abi::Mbuf], port: Handle) -> Self {
        TxQueue { v, next: 0, port }
    }

    pub(crate) fn taken(&self) -> u32 {
        self.next as u32
    }

    /// Packets left.
    pub fn len(&self) -> usize {
        self.v.len() - self.next
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first packet's bytes, without taking it.
    pub fn peek(&self) -> Option<&[u8]> {
        // SAFETY: the host lends the packet for the call.
        let h = unsafe { self.v.get(self.next)?.as_ref() }?;
        // SAFETY: off + len <= cap, storage is initialised, and it stays with the host while `self` is lent.
        Some(unsafe { std::slice::from_raw_parts(h.buf.add(h.off as usize), h.len as usize) })
    }

    /// What the first packet says of its checksum and segments.
    pub fn peek_marks(&self) -> Option<Marks> {
        // SAFETY: the host lends the packet for the call.
        let h = unsafe { self.v.get(self.next)?.as_ref() }?;
        Some(marks_of(h))
    }

    /// Takes the first packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        let raw = NonNull::new(*self.v.get(self.next)?)?;
        self.next += 1;
        // SAFETY: the host gives packets up to the number that transmit returns, and this one is now among
        // them.
        Some(unsafe { Mbuf::from_raw(raw, self.port) })
    }
}

/// Where [`Device::nicinfo`] puts its lines.
pub struct NicInfo<'a> {
    pub(crate) raw: &'a abi::Nicinfo,
}

impl NicInfo<'_> {
    /// Adds a line; an empty label is a blank line.
    pub fn line(&mut self, label: &str, value: &str) {
        let c = |s: &str| CString::new(s.replace('\0', " ")).unwrap_or_default();
        if let Some(f) = self.raw.put {
            let (l, v) = (c(label), c(value));
            // SAFETY: the host's function with its cookie, and two C strings that live through the call.
            unsafe { f(self.raw.cookie, l.as_ptr(), v.as_ptr()) };
        }
    }
}

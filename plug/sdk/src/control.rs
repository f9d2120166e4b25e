//! The object's side: what runs on the control thread.

use crate::device::{Device, Link};
use crate::handle::{Handle, Ready, host};
use crate::here::Here;
use crate::{Fail, Options, errno, glue};
use iopkt_abi as abi;
use std::ops::Deref;

/// A driver: finds devices and attaches them. All calls run on the object's control thread and may block, but
/// must look at [`Handle::stopping`] now and then.
pub trait Driver: Sized + Send + 'static {
    /// Finds devices and attaches them with [`Control::attach`].
    ///
    /// # Errors
    /// Why not; devices attached before are detached by the host. `Ok` without a device attached fails with
    /// ENODEV unless [`Control::stay`] was asked for.
    fn load(ctl: &Control<'_>, options: &Options) -> Result<Self, Fail>;

    /// A descriptor is ready (level triggered).
    fn fd(&mut self, ctl: &Control<'_>, cookie: u64, ready: Ready) {
        let _ = (ctl, cookie, ready);
    }

    /// The deadline has passed.
    fn timer(&mut self, ctl: &Control<'_>) {
        let _ = ctl;
    }

    /// Somebody called [`Handle::wake`] of the object's port.
    fn wake(&mut self, ctl: &Control<'_>) {
        let _ = ctl;
    }

    /// A device has been detached; `cookie` is that of its [`Description`].
    fn gone(&mut self, ctl: &Control<'_>, cookie: u64) {
        let _ = (ctl, cookie);
    }

    /// Last call: all devices have gone. The driver is dropped after it.
    fn unload(&mut self, ctl: &Control<'_>) {
        let _ = ctl;
    }
}

/// When an object without devices stays loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stay {
    /// When its last device departs by itself (`pnp`).
    pub removed: bool,
    /// When the user destroys its last interface.
    pub destroyed: bool,
}

/// The object's port, inside a call on the control thread.
pub struct Control<'a>(Here<'a>);

impl<'a> Deref for Control<'a> {
    type Target = Here<'a>;
    fn deref(&self) -> &Here<'a> {
        &self.0
    }
}

impl Control<'_> {
    pub(crate) fn new(handle: Handle) -> Self {
        Control(Here::new(handle))
    }

    /// Makes an interface of `dev`. Its [`Device::bind`] has run when this returns.
    ///
    /// # Errors
    /// What `bind` or the host says; `dev` is dropped.
    pub fn attach<D: Device>(&self, d: Description, dev: D) -> Result<Attached, Fail> {
        let f = host().and_then(|h| h.attach).ok_or(Fail::from(errno::ENXIO))?;
        let slot = glue::slot(dev);
        let raw = d.to_abi(slot.cast(), glue::device_ops::<D>());
        let mut out = abi::Attached {
            head: abi::Head::of::<abi::Attached>(),
            port: std::ptr::null_mut(),
            ifindex: 0,
            name: [0; 16],
        };
        // SAFETY: our port; the description lives through the call and its table as long as the image.
        let rc = unsafe { f(self.0.handle.0, &raw, &mut out) };
        if rc != 0 {
            // SAFETY: the host has forgotten the device; it is still ours.
            let why = unsafe { glue::unslot::<D>(slot) };
            return Err(why.unwrap_or_else(|| Fail::from(rc)));
        }
        let end = out.name.iter().position(|c| *c == 0).unwrap_or(15);
        Ok(Attached {
            name: String::from_utf8_lossy(&out.name[..end]).into_owned(),
            ifindex: out.ifindex,
            handle: Handle(out.port),
        })
    }

    /// Says whether the object stays loaded without devices; at start it does not.
    pub fn stay(&self, s: Stay) {
        if let Some(f) = host().and_then(|h| h.resident) {
            let bits =
                u32::from(s.removed) * abi::STAY_REMOVED + u32::from(s.destroyed) * abi::STAY_DESTROYED;
            // SAFETY: our port.
            unsafe { f(self.0.handle.0, bits) };
        }
    }
}

/// An attached device, as the driver's side sees it.
#[derive(Clone, Debug)]
pub struct Attached {
    /// `ecm0`; empty when the interface was removed at once.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// The device's port, to wake it or make it depart.
    pub handle: Handle,
}

/// What a device is.
#[derive(Clone, Debug)]
pub struct Description {
    /// One line ("Huawei E3372"); at most 95 bytes are used.
    pub text: String,
    /// Comes back in [`Driver::gone`].
    pub cookie: u64,
    /// Interface prefix instead of the object's.
    pub prefix: Option<&'static str>,
    /// Interface number wanted.
    pub unit: Option<u32>,
    /// Ethernet frames without FCS, else IP packets.
    pub ether: bool,
    /// Link-level address.
    pub mac: [u8; 6],
    /// Bytes of network packet at start.
    pub mtu: u32,
    /// Largest MTU.
    pub mtu_max: u32,
    /// `ifconfig` prints a media line.
    pub media: bool,
    /// Can send and receive multicast.
    pub multicast: bool,
    /// Capabilities, receive (`CAP_`).
    pub caps_rx: u32,
    /// Capabilities, transmit.
    pub caps_tx: u32,
    /// All of them are enabled at the start: [`crate::Device::set_caps`] is called before the first start.
    pub caps_on: bool,
    /// Link at start.
    pub link: Link,
    /// Media words that it can be set to (`MEDIA_`), the one at start first, at most 16; none: autoselect only.
    pub media_words: Vec<u32>,
    /// A driver for io-net stands behind it: the flag SHIM, a node `/dev/io-net/NAME`, umount.
    pub legacy: bool,
}

impl Description {
    /// An Ethernet device with an MTU of 1500, nothing special, and a link that is not known.
    pub fn ether(text: impl Into<String>, mac: [u8; 6]) -> Description {
        Description {
            text: text.into(),
            cookie: 0,
            prefix: None,
            unit: None,
            ether: true,
            mac,
            mtu: 1500,
            mtu_max: 1500,
            media: false,
            multicast: true,
            caps_rx: 0,
            caps_tx: 0,
            caps_on: false,
            link: Link::default(),
            media_words: Vec::new(),
            legacy: false,
        }
    }

    fn to_abi(&self, dev: *mut std::ffi::c_void, ops: *const abi::DeviceOps) -> abi::Device {
        let mut flags = 0;
        if self.media {
            flags |= abi::DEV_MEDIA;
        }
        if !self.multicast {
            flags |= abi::DEV_NOMULTICAST;
        }
        if self.caps_on {
            flags |= abi::DEV_CAPSON;
        }
        if self.legacy {
            flags |= abi::DEV_LEGACY;
        }
        let mut media = [0; abi::MEDIA_MAX];
        media.iter_mut().zip(&self.media_words).for_each(|(to, from)| *to = *from);
        abi::Device {
            head: abi::Head::of::<abi::Device>(),
            dev,
            ops,
            cookie: self.cookie,
            description: clip(&self.text),
            prefix: clip(self.prefix.unwrap_or("")),
            unit: self.unit.unwrap_or(abi::UNIT_ANY),
            link_type: if self.ether { abi::LINK_ETHER } else { abi::LINK_RAWIP },
            mac: self.mac,
            pad: [0; 2],
            mtu: self.mtu,
            mtu_max: self.mtu_max,
            flags,
            caps_rx: self.caps_rx,
            caps_tx: self.caps_tx,
            link: self.link.to_abi(),
            media,
        }
    }
}

/// As much of `s` as fits, without control characters, cut between characters.
fn clip<const N: usize>(s: &str) -> [u8; N] {
    let mut out = [0; N];
    let mut n = 0;
    for c in s.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if n + c.len_utf8() >= N {
            break;
        }
        c.encode_utf8(&mut out[n..]);
        n += c.len_utf8();
    }
    out
}

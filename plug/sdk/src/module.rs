//! A stack module's side: everything runs on its control thread.

use crate::handle::Handle;
use crate::here::Here;
use crate::mbuf::{Batch, Mbuf};
use crate::module_glue::stack;
use crate::{Fail, Options, Ready, errno};
use iopkt_abi as abi;
use std::ffi::{CString, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

/// A stack module: a protocol beside the stack. All calls run on its control thread, one at a time, and may block, but
/// must look at [`Handle::stopping`] now and then. Frames that it does not fetch in time are dropped and counted.
pub trait Module: Sized + Send + 'static {
    /// Begins: reads options, looks at interfaces, listens, sets a timer.
    ///
    /// # Errors
    /// Why not; the module is then not loaded.
    fn load(stack: &Stack<'_>, options: &Options) -> Result<Self, Fail>;

    /// A descriptor is ready (level triggered).
    fn fd(&mut self, stack: &Stack<'_>, cookie: u64, ready: Ready) {
        let _ = (stack, cookie, ready);
    }

    /// The deadline has passed; `now` in ns.
    fn timer(&mut self, stack: &Stack<'_>, now: u64) {
        let _ = (stack, now);
    }

    /// Somebody called [`Handle::wake`] of the module's port.
    fn wake(&mut self, stack: &Stack<'_>) {
        let _ = stack;
    }

    /// A frame of a type that it listens to ([`Stack::listen`]), complete with link-level header (without one from
    /// an interface that is not Ethernet); [`Mbuf::ifindex`] says where it came from.
    fn input(&mut self, stack: &Stack<'_>, frame: Mbuf) {
        let _ = (stack, frame);
    }

    /// Something happened to an interface; several changes may come as one.
    fn changed(&mut self, stack: &Stack<'_>, ifindex: u32, what: Changed) {
        let _ = (stack, ifindex, what);
    }

    /// Last call: take away what should not stay (addresses that are set do stay). The module is dropped after it.
    fn unload(&mut self, stack: &Stack<'_>) {
        let _ = stack;
    }
}

/// What changed about an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// It is new.
    pub arrived: bool,
    /// It is gone.
    pub departed: bool,
    /// Flags or link.
    pub state: bool,
    /// Addresses.
    pub addrs: bool,
}

impl Changed {
    pub(crate) fn of(bits: u32) -> Changed {
        Changed {
            arrived: bits & abi::CHANGED_ARRIVED != 0,
            departed: bits & abi::CHANGED_DEPARTED != 0,
            state: bits & abi::CHANGED_STATE != 0,
            addrs: bits & abi::CHANGED_ADDRS != 0,
        }
    }
}

/// Where an address stands with duplicate detection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddrState {
    /// In use.
    #[default]
    Valid,
    /// Being probed.
    Tentative,
    /// Somebody else has it.
    Duplicated,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// The address.
    pub addr: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_len: u8,
    /// IPv4 broadcast address; `None` in [`Stack::add_addr`] means "host part all ones".
    pub broadcast: Option<IpAddr>,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Read only.
    pub state: AddrState,
}

impl Addr {
    /// An address with its prefix length and nothing special.
    pub fn new(addr: impl Into<IpAddr>, prefix_len: u8) -> Addr {
        Addr { addr: addr.into(), prefix_len, broadcast: None, peer: None, state: AddrState::Valid }
    }

    fn to_abi(self, flags: u8) -> abi::Addr {
        let set = |a: Option<IpAddr>, bit| if a.is_some() { bit } else { 0 };
        abi::Addr {
            family: if self.addr.is_ipv4() { 4 } else { 6 },
            prefix_len: self.prefix_len,
            state: abi::ADDR_VALID,
            flags: flags | set(self.broadcast, abi::ADDR_BROADCAST) | set(self.peer, abi::ADDR_PEER),
            addr: bytes(self.addr),
            broadcast: self.broadcast.map_or([0; 16], bytes),
            peer: self.peer.map_or([0; 16], bytes),
        }
    }

    fn from_abi(a: &abi::Addr) -> Addr {
        let ip = |b: [u8; 16]| match a.family {
            4 => IpAddr::V4(Ipv4Addr::new(b[0], b[1], b[2], b[3])),
            _ => IpAddr::V6(Ipv6Addr::from(b)),
        };
        Addr {
            addr: ip(a.addr),
            prefix_len: a.prefix_len,
            broadcast: (a.flags & abi::ADDR_BROADCAST != 0).then(|| ip(a.broadcast)),
            peer: (a.flags & abi::ADDR_PEER != 0).then(|| ip(a.peer)),
            state: match a.state {
                abi::ADDR_TENTATIVE => AddrState::Tentative,
                abi::ADDR_DUPLICATED => AddrState::Duplicated,
                _ => AddrState::Valid,
            },
        }
    }
}

fn bytes(a: IpAddr) -> [u8; 16] {
    let mut out = [0; 16];
    match a {
        IpAddr::V4(a) => out[..4].copy_from_slice(&a.octets()),
        IpAddr::V6(a) => out = a.octets(),
    }
    out
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index, from 1.
    pub index: u32,
    /// `ecm0`
    pub name: String,
    /// `en0`, or empty.
    pub alias: String,
    /// Its driver, empty for built-in ones.
    pub driver: String,
    /// `IF_` bits.
    pub flags: u32,
    /// Bytes of network packet.
    pub mtu: u32,
    /// Ethernet, else IP packets without link-level header.
    pub ether: bool,
    /// Whether the link is up; `None`: its driver cannot tell.
    pub link: Option<bool>,
    /// Link-level address, zero for none.
    pub mac: [u8; 6],
    /// Addresses, primary first.
    pub addrs: Vec<Addr>,
}

impl Interface {
    /// Administratively up, and the link not known to be down.
    pub fn usable(&self) -> bool {
        self.flags & abi::IF_UP != 0 && self.link != Some(false)
    }

    fn from_abi(i: &abi::If) -> Interface {
        let addrs = match i.naddrs {
            0 => &[][..],
            // SAFETY: the host shows `naddrs` addresses that live through the call.
            n => unsafe { std::slice::from_raw_parts(i.addrs, n as usize) },
        };
        Interface {
            index: i.ifindex,
            name: text(&i.name),
            alias: text(&i.alias),
            driver: text(&i.driver),
            flags: i.flags,
            mtu: i.mtu,
            ether: i.link_type == abi::LINK_ETHER,
            link: match i.link_state {
                abi::LINK_UP => Some(true),
                abi::LINK_DOWN => Some(false),
                _ => None,
            },
            mac: i.mac,
            addrs: addrs.iter().map(Addr::from_abi).collect(),
        }
    }
}

fn text(b: &[u8]) -> String {
    let end = b.iter().position(|c| *c == 0).unwrap_or(b.len());
    String::from_utf8_lossy(&b[..end]).into_owned()
}

/// The stack, inside a call for a module. What answers waits for the stack.
pub struct Stack<'a>(Here<'a>);

impl<'a> Deref for Stack<'a> {
    type Target = Here<'a>;
    fn deref(&self) -> &Here<'a> {
        &self.0
    }
}

const NOT: Fail = Fail { errno: errno::EOPNOTSUPP, why: String::new() };

impl Stack<'_> {
    pub(crate) fn new(handle: Handle) -> Self {
        Stack(Here::new(handle))
    }

    /// All interfaces.
    ///
    /// # Errors
    /// ESHUTDOWN when the stack is ending.
    pub fn interfaces(&self) -> Result<Vec<Interface>, Fail> {
        self.list(None)
    }

    /// The interface of this name, or alias.
    ///
    /// # Errors
    /// ENXIO when there is none.
    pub fn interface(&self, name: &str) -> Result<Interface, Fail> {
        let name = CString::new(name).map_err(|_| Fail::from(errno::EINVAL))?;
        self.list(Some(name))?.pop().ok_or(Fail::from(errno::ENXIO))
    }

    fn list(&self, name: Option<CString>) -> Result<Vec<Interface>, Fail> {
        let f = stack().and_then(|h| h.interfaces).ok_or(NOT)?;
        let mut out: Vec<Interface> = Vec::new();
        let name = name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
        // SAFETY: our port, null or a C string, and a list that only `put` touches during the call.
        Fail::check(unsafe { f(self.0.handle.0, name, (&raw mut out).cast(), Some(put)) })?;
        Ok(out)
    }

    /// Adds an address beside those that are there (`ifconfig IF alias`).
    ///
    /// # Errors
    /// As ifconfig would get: EEXIST, EINVAL, ENXIO ...
    pub fn add_addr(&self, ifindex: u32, a: &Addr) -> Result<(), Fail> {
        self.addr_add(ifindex, &a.to_abi(0))
    }

    /// Sets the primary address, in place of the one that is there.
    ///
    /// # Errors
    /// As [`Stack::add_addr`].
    pub fn set_addr(&self, ifindex: u32, a: &Addr) -> Result<(), Fail> {
        self.addr_add(ifindex, &a.to_abi(abi::ADDR_PRIMARY))
    }

    fn addr_add(&self, ifindex: u32, a: &abi::Addr) -> Result<(), Fail> {
        let f = stack().and_then(|h| h.addr_add).ok_or(NOT)?;
        // SAFETY: our port and an address that lives through the call.
        Fail::check(unsafe { f(self.0.handle.0, ifindex, a) })
    }

    /// Removes an address.
    ///
    /// # Errors
    /// EADDRNOTAVAIL, ENXIO.
    pub fn del_addr(&self, ifindex: u32, a: IpAddr) -> Result<(), Fail> {
        let f = stack().and_then(|h| h.addr_del).ok_or(NOT)?;
        // SAFETY: as above.
        Fail::check(unsafe { f(self.0.handle.0, ifindex, &Addr::new(a, 0).to_abi(0)) })
    }

    /// Sets and clears flags that a user may change (`IF_` bits).
    ///
    /// # Errors
    /// ENXIO.
    pub fn set_flags(&self, ifindex: u32, set: u32, clear: u32) -> Result<(), Fail> {
        let f = stack().and_then(|h| h.if_flags).ok_or(NOT)?;
        // SAFETY: our port.
        Fail::check(unsafe { f(self.0.handle.0, ifindex, set, clear) })
    }

    /// Hears frames of an Ethernet type that interface `ifindex` (0: any) receives; [`Module::input`] gets them. The
    /// stack goes on to take those of types that it knows.
    ///
    /// # Errors
    /// EEXIST, ENOSPC.
    pub fn listen(&self, ifindex: u32, ethertype: u16) -> Result<(), Fail> {
        let f = stack().and_then(|h| h.listen).ok_or(NOT)?;
        // SAFETY: our port.
        Fail::check(unsafe { f(self.0.handle.0, ifindex, ethertype) })
    }

    /// Takes the wish back.
    ///
    /// # Errors
    /// ENOENT.
    pub fn unlisten(&self, ifindex: u32, ethertype: u16) -> Result<(), Fail> {
        let f = stack().and_then(|h| h.unlisten).ok_or(NOT)?;
        // SAFETY: our port.
        Fail::check(unsafe { f(self.0.handle.0, ifindex, ethertype) })
    }

    /// Sends a copy of a complete frame (link-level header included; none on an interface that is not Ethernet). It
    /// does not wait: what the interface cannot take is counted there.
    ///
    /// # Errors
    /// ENOBUFS without packet memory or when too many wait.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> Result<(), Fail> {
        let mut b = Batch::new(self.handle());
        b.fill(1, frame.len());
        let mut m = b.pop().ok_or(Fail::from(errno::ENOBUFS))?;
        if !m.extend_from_slice(frame) {
            return Err(Fail::from(errno::ENOBUFS));
        }
        self.output(ifindex, m)
    }

    /// Sends a packet as it is: one that was heard, turned round.
    ///
    /// # Errors
    /// As [`Stack::send`].
    pub fn output(&self, ifindex: u32, m: Mbuf) -> Result<(), Fail> {
        let f = stack().and_then(|h| h.output).ok_or(NOT)?;
        let mut v = [m.into_raw()];
        // SAFETY: our port, and one buffer that we owned.
        Fail::check(unsafe { f(self.0.handle.0, ifindex, v.as_mut_ptr(), 1) })
    }

    /// Asks for the module's own end, as if the user had unloaded it.
    pub fn finish(&self) {
        self.handle().depart();
    }
}

unsafe extern "C" fn put(cookie: *mut c_void, i: *const abi::If) {
    // SAFETY: `cookie` is the list that Stack::list lends for the call, and the host shows a table of its.
    let (list, i) = unsafe { (cookie.cast::<Vec<Interface>>().as_mut(), abi::copy_table(i)) };
    if let (Some(list), Some(i)) = (list, i) {
        list.push(Interface::from_abi(&i));
    }
}

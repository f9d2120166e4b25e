//! The table that modules call. Each function checks its arguments and that the module's own thread is calling;
//! what it asks goes to the stack through [`crate::Host`].

use crate::info::Kind;
use crate::inlet::Inlet;
use crate::port::Port;
use crate::shared::Core;
use crate::table::{HOST, both, code, cstr, stranger, take};
use iopkt_abi as abi;
use iopkt_base::Errno;
use iopkt_ctl::{AddrInfo, AddrState, IfKind, Ifconf, LinkState, Reply, Request};
use std::ffi::{c_char, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub(crate) static MODULE_HOST: abi::ModuleHost = abi::ModuleHost {
    head: abi::Head::of::<abi::ModuleHost>(),
    host: &HOST,
    interfaces: Some(interfaces),
    addr_add: Some(addr_add),
    addr_del: Some(addr_del),
    if_flags: Some(if_flags),
    listen: Some(listen),
    unlisten: Some(unlisten),
    output: Some(output),
};

/// The module behind a port, when this is its own thread.
///
/// # Safety
/// As [`both`].
unsafe fn module<'a>(p: *mut abi::Port, call: &str) -> Result<(&'a Port, Arc<Core>), Errno> {
    // SAFETY: passed on.
    let (port, core) = unsafe { both(p) }.ok_or(Errno::EINVAL)?;
    if !port.is_mine() || core.info.kind != Kind::Module {
        return Err(Errno(stranger(port, call)));
    }
    Ok((port, core))
}

fn done(r: Reply) -> Result<(), Errno> {
    match r {
        Reply::Err { errno, .. } => Err(errno),
        _ => Ok(()),
    }
}

fn list(core: &Core, name: Option<String>) -> Result<Vec<Ifconf>, Errno> {
    match core.host.ctl(Request::Interfaces { name }) {
        Reply::Interfaces(l) => Ok(l),
        Reply::Err { errno, .. } => Err(errno),
        _ => Err(Errno::EIO),
    }
}

fn name_of(core: &Core, ifindex: u32) -> Result<String, Errno> {
    list(core, None)?.into_iter().find(|i| i.index == ifindex).map(|i| i.name).ok_or(Errno::ENXIO)
}

unsafe extern "C" fn interfaces(
    p: *mut abi::Port,
    name: *const c_char,
    cookie: *mut c_void,
    put: Option<abi::PutIf>,
) -> c_int {
    let found = || {
        // SAFETY: the module gives a port of its own, and null or a C string.
        let (_, core) = unsafe { module(p, "interfaces") }?;
        // SAFETY: as above.
        let name = if name.is_null() { None } else { Some(unsafe { cstr(name) }?.to_owned()) };
        list(&core, name)
    };
    let (found, put) = match (found(), put) {
        (Ok(f), Some(p)) => (f, p),
        (Ok(_), None) => return Errno::EINVAL.0,
        (Err(e), _) => return code(Err(e)),
    };
    for i in &found {
        let addrs: Vec<abi::Addr> = i.addrs.iter().map(addr_out).collect();
        let shown = if_out(i, &addrs);
        // SAFETY: the module's function with its cookie; what it is shown lives through the call.
        unsafe { put(cookie, &shown) };
    }
    0
}

fn clip<const N: usize>(s: &str) -> [u8; N] {
    let mut out = [0; N];
    let n = s.len().min(N - 1);
    out[..n].copy_from_slice(&s.as_bytes()[..n]);
    out
}

fn if_out(i: &Ifconf, addrs: &[abi::Addr]) -> abi::If {
    abi::If {
        head: abi::Head::of::<abi::If>(),
        ifindex: i.index,
        flags: i.flags,
        mtu: i.mtu,
        link_type: if i.kind == IfKind::Ethernet { abi::LINK_ETHER } else { abi::LINK_RAWIP },
        link_state: match i.link {
            LinkState::Unknown => abi::LINK_UNKNOWN,
            LinkState::Down => abi::LINK_DOWN,
            LinkState::Up => abi::LINK_UP,
        },
        mac: i.mac,
        pad: [0; 2],
        name: clip(&i.name),
        alias: clip(i.alias.as_deref().unwrap_or("")),
        driver: clip(&i.driver),
        naddrs: addrs.len() as u32,
        pad2: 0,
        addrs: addrs.as_ptr(),
    }
}

fn bytes(a: IpAddr) -> [u8; 16] {
    match a {
        IpAddr::V4(a) => {
            let mut out = [0; 16];
            out[..4].copy_from_slice(&a.octets());
            out
        }
        IpAddr::V6(a) => a.octets(),
    }
}

fn addr_out(a: &AddrInfo) -> abi::Addr {
    let mut flags = 0;
    if a.broadcast.is_some() {
        flags |= abi::ADDR_BROADCAST;
    }
    if a.peer.is_some() {
        flags |= abi::ADDR_PEER;
    }
    abi::Addr {
        family: if a.addr.is_ipv4() { 4 } else { 6 },
        prefix_len: a.prefix_len,
        state: match a.state {
            AddrState::Valid => abi::ADDR_VALID,
            AddrState::Tentative => abi::ADDR_TENTATIVE,
            AddrState::Duplicated => abi::ADDR_DUPLICATED,
        },
        flags,
        addr: bytes(a.addr),
        broadcast: a.broadcast.map_or([0; 16], bytes),
        peer: a.peer.map_or([0; 16], bytes),
    }
}

fn ip(family: u8, b: [u8; 16]) -> Result<IpAddr, Errno> {
    match family {
        4 => Ok(Ipv4Addr::new(b[0], b[1], b[2], b[3]).into()),
        6 => Ok(Ipv6Addr::from(b).into()),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn addr_in(a: &abi::Addr) -> Result<AddrInfo, Errno> {
    let set = |bit, b| if a.flags & bit != 0 { ip(a.family, b).map(Some) } else { Ok(None) };
    Ok(AddrInfo {
        addr: ip(a.family, a.addr)?,
        prefix_len: a.prefix_len,
        broadcast: set(abi::ADDR_BROADCAST, a.broadcast)?,
        peer: set(abi::ADDR_PEER, a.peer)?,
        state: AddrState::Valid,
    })
}

unsafe extern "C" fn addr_add(p: *mut abi::Port, ifindex: u32, a: *const abi::Addr) -> c_int {
    let r = || {
        // SAFETY: the module gives a port of its own, and null or an address.
        let ((_, core), a) = unsafe { (module(p, "addr_add")?, a.as_ref().ok_or(Errno::EINVAL)?) };
        let (name, addr) = (name_of(&core, ifindex)?, addr_in(a)?);
        done(core.host.ctl(Request::AddAddr { name, addr, replace: a.flags & abi::ADDR_PRIMARY != 0 }))
    };
    code(r())
}

unsafe extern "C" fn addr_del(p: *mut abi::Port, ifindex: u32, a: *const abi::Addr) -> c_int {
    let r = || {
        // SAFETY: as in addr_add.
        let ((_, core), a) = unsafe { (module(p, "addr_del")?, a.as_ref().ok_or(Errno::EINVAL)?) };
        let (name, addr) = (name_of(&core, ifindex)?, ip(a.family, a.addr)?);
        done(core.host.ctl(Request::DelAddr { name, addr: Some(addr) }))
    };
    code(r())
}

unsafe extern "C" fn if_flags(p: *mut abi::Port, ifindex: u32, set: u32, clear: u32) -> c_int {
    let r = || {
        // SAFETY: the module gives a port of its own.
        let (_, core) = unsafe { module(p, "if_flags") }?;
        let name = name_of(&core, ifindex)?;
        done(core.host.ctl(Request::SetFlags { name, set, clear }))
    };
    code(r())
}

unsafe fn listening(p: *mut abi::Port, ifindex: u32, ethertype: u16, on: bool) -> c_int {
    let r = || {
        // SAFETY: the module gives a port of its own.
        let (_, core) = unsafe { module(p, "listen") }?;
        core.host.listen(&Inlet(core.clone()), ifindex, ethertype, on)
    };
    code(r())
}

unsafe extern "C" fn listen(p: *mut abi::Port, ifindex: u32, ethertype: u16) -> c_int {
    // SAFETY: passed on.
    unsafe { listening(p, ifindex, ethertype, true) }
}

unsafe extern "C" fn unlisten(p: *mut abi::Port, ifindex: u32, ethertype: u16) -> c_int {
    // SAFETY: passed on.
    unsafe { listening(p, ifindex, ethertype, false) }
}

unsafe extern "C" fn output(p: *mut abi::Port, ifindex: u32, v: *mut *mut abi::Mbuf, n: u32) -> c_int {
    // SAFETY: the module gives a port of its own.
    let Some((port, core)) = (unsafe { both(p) }) else { return Errno::EINVAL.0 };
    let mut frames = Vec::new();
    // SAFETY: the module gives n buffers of its own.
    unsafe {
        take(&core, v, n, |mut m| {
            if m.is_sane() && !m.is_empty() {
                m.clear_flags(abi::M_MASK);
                frames.push(m);
            }
        });
    }
    if !port.is_mine() || core.info.kind != Kind::Module {
        return stranger(port, "output");
    }
    if n as usize > abi::BATCH || frames.len() < n as usize {
        core.misuse(port, "output of more than 32, or of empty or damaged, packets");
        return Errno::EINVAL.0;
    }
    if !core.inlet.may_send(frames.len()) {
        return Errno::ENOBUFS.0;
    }
    code(core.host.output(&Inlet(core.clone()), ifindex, frames))
}

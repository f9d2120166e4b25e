//! Whose packet is it? Connections by their four-tuple, the rest by port and then by fit.
//!
//! Two indexes, both hashed with a secret key so that nobody can aim packets at one bucket ([`crate::hash`]):
//! `conns` holds every connected socket under protocol, local and remote end; `ports` holds, for each
//! protocol and local port, the sockets that were bound to it. The most specific one wins: connected to
//! the sender, then bound to the very address, then bound to the interface, then wildcard (Linux's
//! `compute_score`). Among equals SO_REUSEPORT sockets share by a hash of the four-tuple; without it the one
//! bound last wins.

use super::sock::Sock;
use super::table::Table;
use super::types::proto;
use crate::hash::KeyedState;
use alloc::vec::Vec;
use core::cell::Cell;
use core::hash::{BuildHasher, Hasher};
use core::net::{IpAddr, SocketAddr};
use hashbrown::{HashMap, HashTable};
use iopkt_base::Keyed;

/// What names a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnKey {
    pub proto: u8,
    pub local: IpAddr,
    pub lport: u16,
    pub remote: IpAddr,
    pub rport: u16,
}

impl ConnKey {
    pub fn new(proto: u8, local: IpAddr, lport: u16, remote: SocketAddr) -> ConnKey {
        ConnKey { proto, local, lport, remote: remote.ip(), rport: remote.port() }
    }
}

impl ConnKey {
    /// Its hash: two words for IPv4.
    #[inline]
    fn hash(&self, key: &KeyedState) -> u64 {
        let mut h = key.build_hasher();
        let end = |a: u32, port: u16| u64::from(a) << 16 | u64::from(port);
        match (self.local, self.remote) {
            (IpAddr::V4(l), IpAddr::V4(r)) => {
                h.word(end(l.to_bits(), self.lport) | u64::from(self.proto) << 48);
                h.word(end(r.to_bits(), self.rport));
            }
            (l, r) => {
                h.write(&bytes16(l));
                h.write(&bytes16(r));
                h.word(u64::from(self.lport) << 16 | u64::from(self.rport) | u64::from(self.proto) << 32);
            }
        }
        h.finish()
    }
}

/// An address as 16 bytes, IPv4 mapped into IPv6.
pub(crate) fn bytes16(a: IpAddr) -> [u8; 16] {
    match a {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// TCP connections that use a port without having been bound to it, by local address.
pub(crate) struct ConnUse {
    pub local: IpAddr,
    pub total: u32,
    /// Those of them without SO_REUSEADDR, and without SO_REUSEPORT.
    pub no_reuse: u32,
    pub no_rport: u32,
}

/// Users of one port.
#[derive(Default)]
pub(crate) struct PortEntry {
    /// Slots of the sockets bound to it, oldest first.
    pub bound: Vec<u32>,
    pub conns: Vec<ConnUse>,
}

/// The indexes.
pub(crate) struct Demux {
    key: KeyedState,
    conns: HashTable<(ConnKey, u32)>,
    /// The connection that was found last: packets come in trains. Forgotten whenever `conns` changes.
    last: Cell<Option<(ConnKey, u32)>>,
    /// Those of `conns` that are not TCP's.
    dgram_conns: usize,
    /// The port that was looked up last, if one socket only is bound to it. Forgotten whenever `ports` changes.
    sole: Cell<Option<((u8, u16), u32)>>,
    ports: HashMap<(u8, u16), PortEntry, KeyedState>,
    /// Slots of raw sockets.
    pub raws: Vec<u32>,
}

/// Facts of a packet that the choice needs.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    pub proto: u8,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub ifindex: u32,
}

impl Demux {
    pub fn new(secret: &Keyed) -> Demux {
        let key = KeyedState::new(secret, "demux");
        Demux {
            ports: HashMap::with_hasher(key.clone()),
            key,
            conns: HashTable::new(),
            last: Cell::new(None),
            dgram_conns: 0,
            sole: Cell::new(None),
            raws: Vec::new(),
        }
    }

    /// Enters a connection.
    pub fn add_conn(&mut self, k: ConnKey, slot: u32) {
        let key = self.key.clone();
        self.last.set(None);
        self.dgram_conns += usize::from(k.proto != proto::TCP);
        self.conns.insert_unique(k.hash(&key), (k, slot), |e| e.0.hash(&key));
    }

    /// Removes a connection; no harm when it is not there.
    pub fn del_conn(&mut self, k: ConnKey, slot: u32) {
        self.last.set(None);
        if let Ok(e) = self.conns.find_entry(k.hash(&self.key), |e| e.0 == k && e.1 == slot) {
            e.remove();
            self.dgram_conns -= usize::from(k.proto != proto::TCP);
        }
    }

    /// The users of a port.
    pub fn port(&self, proto: u8, port: u16) -> Option<&PortEntry> {
        self.ports.get(&(proto, port))
    }

    /// How many ports are in use.
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// The users of a port, to change.
    fn ports_mut(&mut self) -> &mut HashMap<(u8, u16), PortEntry, KeyedState> {
        self.sole.set(None);
        &mut self.ports
    }

    /// The socket connected so, if it may hear interface `ifindex`.
    #[inline]
    pub fn find_conn(&self, table: &Table, k: ConnKey, ifindex: u32) -> Option<u32> {
        if let Some((last, slot)) = self.last.get()
            && last == k
            && table.at(slot).is_some_and(|s| hears(s, ifindex))
        {
            return Some(slot);
        }
        let heard = |e: &(ConnKey, u32)| e.0 == k && table.at(e.1).is_some_and(|s| hears(s, ifindex));
        let slot = self.conns.find(k.hash(&self.key), heard)?.1;
        self.last.set(Some((k, slot)));
        Some(slot)
    }

    /// Enters a socket under its port.
    pub fn add_bound(&mut self, proto: u8, port: u16, slot: u32) {
        self.ports_mut().entry((proto, port)).or_default().bound.push(slot);
    }

    /// Removes a socket from its port.
    pub fn del_bound(&mut self, proto: u8, port: u16, slot: u32) {
        let ports = self.ports_mut();
        if let Some(e) = ports.get_mut(&(proto, port)) {
            e.bound.retain(|s| *s != slot);
            if e.bound.is_empty() && e.conns.is_empty() {
                ports.remove(&(proto, port));
            }
        }
    }

    /// Counts a connection that uses a port without being bound to it.
    pub fn add_use(&mut self, proto: u8, port: u16, local: IpAddr, reuse: bool, rport: bool) {
        let e = self.ports_mut().entry((proto, port)).or_default();
        let i = e.conns.iter().position(|c| c.local == local).unwrap_or_else(|| {
            e.conns.push(ConnUse { local, total: 0, no_reuse: 0, no_rport: 0 });
            e.conns.len() - 1
        });
        let c = &mut e.conns[i];
        c.total += 1;
        c.no_reuse += u32::from(!reuse);
        c.no_rport += u32::from(!rport);
    }

    /// Undoes [`Demux::add_use`], with the same flags.
    pub fn del_use(&mut self, proto: u8, port: u16, local: IpAddr, reuse: bool, rport: bool) {
        let ports = self.ports_mut();
        let Some(e) = ports.get_mut(&(proto, port)) else { return };
        let Some(i) = e.conns.iter().position(|c| c.local == local) else { return };
        let c = &mut e.conns[i];
        c.total = c.total.saturating_sub(1);
        c.no_reuse = c.no_reuse.saturating_sub(u32::from(!reuse));
        c.no_rport = c.no_rport.saturating_sub(u32::from(!rport));
        if c.total == 0 {
            e.conns.swap_remove(i);
        }
        if e.bound.is_empty() && e.conns.is_empty() {
            ports.remove(&(proto, port));
        }
    }

    /// The one socket that gets a unicast packet.
    pub fn find(&self, table: &Table, p: &Packet) -> Option<u32> {
        let k = ConnKey::new(p.proto, p.dst.ip(), p.dst.port(), p.src);
        if (p.proto == proto::TCP || self.dgram_conns > 0)
            && let Some(slot) = self.find_conn(table, k, p.ifindex)
        {
            return Some(slot);
        }
        let port = (p.proto, p.dst.port());
        if let Some((last, slot)) = self.sole.get()
            && last == port
        {
            // Whether it fits is asked each time: its options may change.
            return score(table.at(slot)?, p).map(|_| slot);
        }
        let list = &self.ports.get(&port)?.bound;
        if let [slot] = **list {
            self.sole.set(Some((port, slot)));
        }
        let mut best: Option<(u32, u8)> = None;
        let mut ties = 0u64;
        for &slot in list {
            let Some(s) = table.at(slot) else { continue };
            let Some(score) = score(s, p) else { continue };
            match best {
                Some((_, b)) if score < b => {}
                Some((_, b)) if score == b => {
                    best = Some((slot, score));
                    ties += 1;
                }
                _ => {
                    best = Some((slot, score));
                    ties = 1;
                }
            }
        }
        let (last, top) = best?;
        if ties < 2 || !table.at(last)?.opt.reuseport {
            return Some(last);
        }
        // SO_REUSEPORT: the same flow always goes to the same socket.
        let pick = k.hash(&self.key) % ties;
        list.iter()
            .copied()
            .filter(|&i| table.at(i).is_some_and(|s| score(s, p) == Some(top)))
            .nth(pick as usize)
            .or(Some(last))
    }

    /// Every socket that gets a copy: multicast and broadcast, and unicast under `reuseport_unicast`.
    pub fn find_all(&self, table: &Table, p: &Packet, out: &mut Vec<u32>) {
        let Some(e) = self.ports.get(&(p.proto, p.dst.port())) else { return };
        let group = p.dst.ip().is_multicast();
        for &slot in &e.bound {
            let Some(s) = table.at(slot) else { continue };
            if score(s, p).is_some() && (!group || s.wants_group(p.dst.ip(), p.src.ip(), p.ifindex)) {
                out.push(slot);
            }
        }
    }
}

/// Whether a socket takes packets from an interface (SO_BINDTODEVICE); 0 stands for any.
pub(crate) fn hears(s: &Sock, ifindex: u32) -> bool {
    s.opt.bound_dev == 0 || ifindex == 0 || s.opt.bound_dev == ifindex
}

/// How well a bound socket fits a packet; `None` if not at all.
fn score(s: &Sock, p: &Packet) -> Option<u8> {
    if !hears(s, p.ifindex) {
        return None;
    }
    let mut n = u8::from(s.opt.bound_dev != 0);
    match s.remote {
        // Addresses and ports only: an IPv6 flow label or scope names nobody.
        Some(r) if r.ip() == p.src.ip() && r.port() == p.src.port() => n += 4,
        Some(_) => return None,
        None if p.proto == proto::TCP && !s.is_listening() => return None,
        None => {}
    }
    let same = s.local.is_ipv4() == p.dst.is_ipv4();
    if s.local == p.dst.ip() {
        n += 2;
    } else if !s.local.is_unspecified() || !(same || (p.dst.is_ipv4() && s.spans())) {
        return None;
    }
    // Between two wildcards the one of the packet's own family.
    Some(2 * n + u8::from(same))
}

//! Local ports: who may share one, and which one a socket gets that does not ask for one.
//!
//! Sharing follows Linux: two sockets conflict when their addresses overlap, unless both have SO_REUSEADDR (TCP:
//! and neither listens) or both have SO_REUSEPORT. Choice follows RFC 6056 algorithm 4: an offset that
//! depends on a secret and the remote end, plus a counter, so that a port is not used again soon and an
//! outsider can't guess the next one.

use super::demux::{ConnKey, Demux, bytes16};
use super::sock::Sock;
use super::table::Table;
use super::types::proto;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::Keyed;

/// Counters of RFC 6056 algorithm 4; more of them make one destination's use tell less about another's.
const COUNTERS: usize = 64;

/// The ephemeral range and the state of the choice.
pub(crate) struct Ports {
    /// First and last port of the range (`net.inet.ip.anonportmin` and `anonportmax`).
    pub range: (u16, u16),
    next: [u16; COUNTERS],
    salt: u64,
}

impl Ports {
    pub fn new() -> Ports {
        Ports { range: (49152, 65535), next: [0; COUNTERS], salt: 0 }
    }

    /// The range for a socket: its own (IP_LOCAL_PORT_RANGE) as far as it lies in the stack's.
    pub fn range_of(&self, s: &Sock) -> (u16, u16) {
        let (lo, hi) = self.range;
        let inside = |p: u16, lo: u16| p != 0 && (lo..=hi).contains(&p);
        let (first, last) = s.opt.port_range;
        let lo = if inside(first, lo) { first } else { lo };
        (lo, if inside(last, lo) { last } else { hi })
    }

    /// Offers ports of the range in the order of algorithm 4 until `ok` takes one. `remote` is `None` for a
    /// bind: then the start is random (algorithm 1), for there is nothing to tie it to.
    fn pick(
        &mut self,
        secret: &Keyed,
        local: IpAddr,
        remote: Option<SocketAddr>,
        (lo, hi): (u16, u16),
        mut ok: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let n = u32::from(hi.saturating_sub(lo)) + 1;
        let rport = remote.map_or(0, |r| r.port()).to_be_bytes();
        let raddr = remote.map_or([0; 16], |r| bytes16(r.ip()));
        self.salt = self.salt.wrapping_add(1);
        let salt = if remote.is_some() { [0; 8] } else { self.salt.to_ne_bytes() };
        let f = secret.hash(&[b"port", &bytes16(local), &raddr, &rport, &salt]);
        let slot = (f >> 40) as usize % COUNTERS;
        for _ in 0..n {
            let port = lo + (((f as u32) as u64 + u64::from(self.next[slot])) % u64::from(n)) as u16;
            self.next[slot] = self.next[slot].wrapping_add(1);
            if ok(port) {
                return Some(port);
            }
        }
        None
    }

    /// A port that no other socket's address overlaps with; `None` when all are taken.
    pub fn for_bind(
        &mut self,
        secret: &Keyed,
        demux: &Demux,
        table: &Table,
        me: &Sock,
        local: IpAddr,
    ) -> Option<u16> {
        let p = me.proto;
        self.pick(secret, local, None, self.range_of(me), |port| match demux.port(p, port) {
            None => true,
            Some(e) => {
                e.conns.iter().all(|c| !me.may_mean(local, c.local))
                    && e.bound.iter().all(|&i| table.at(i).is_none_or(|s| !me.overlaps(local, s)))
            }
        })
    }

    /// A port for a TCP connection to `remote`: nobody may be bound to it, and whoever has the four-tuple must
    /// satisfy `give_way`.
    pub fn for_connect(
        &mut self,
        secret: &Keyed,
        demux: &Demux,
        table: &Table,
        (local, remote): (IpAddr, SocketAddr),
        range: (u16, u16),
        give_way: impl Fn(&Sock) -> bool,
    ) -> Option<u16> {
        self.pick(secret, local, Some(remote), range, |port| {
            let free = demux.port(proto::TCP, port).is_none_or(|e| e.bound.is_empty());
            let has = demux.find_conn(table, ConnKey::new(proto::TCP, local, port, remote), 0);
            free && has.and_then(|i| table.at(i)).is_none_or(&give_way)
        })
    }
}

/// Whether two local addresses can both be meant by one packet.
pub(crate) fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// Whether `me` must not bind to `local` and `port`.
pub(crate) fn conflicts(demux: &Demux, table: &Table, me: &Sock, local: IpAddr, port: u16) -> bool {
    let Some(e) = demux.port(me.proto, port) else { return false };
    let tcp = me.proto == proto::TCP;
    let with_bound = e.bound.iter().filter(|&&i| i != me.id.index).any(|&i| {
        let Some(o) = table.at(i) else { return false };
        let apart = me.opt.bound_dev != 0 && o.opt.bound_dev != 0 && me.opt.bound_dev != o.opt.bound_dev;
        if apart || !me.overlaps(local, o) {
            return false;
        }
        let by_addr = me.opt.reuseaddr && o.opt.reuseaddr && !(tcp && o.is_listening());
        let by_port = me.opt.reuseport && o.opt.reuseport;
        !(by_addr || by_port)
    });
    with_bound
        || e.conns.iter().any(|c| {
            let shared = (me.opt.reuseaddr && c.no_reuse == 0) || (me.opt.reuseport && c.no_rport == 0);
            me.may_mean(local, c.local) && !shared
        })
}

/// Whether a listener that overlaps `me` (and does not share by SO_REUSEPORT) exists already.
pub(crate) fn listen_conflicts(demux: &Demux, table: &Table, me: &Sock) -> bool {
    let Some(e) = demux.port(me.proto, me.lport) else { return false };
    e.bound.iter().filter(|&&i| i != me.id.index).any(|&i| {
        let Some(o) = table.at(i) else { return false };
        let apart = me.opt.bound_dev != 0 && o.opt.bound_dev != 0 && me.opt.bound_dev != o.opt.bound_dev;
        let shared = me.opt.reuseport && o.opt.reuseport;
        o.is_listening() && me.overlaps(me.local, o) && !shared && !apart
    })
}

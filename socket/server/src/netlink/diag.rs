//! NETLINK_SOCK_DIAG (sock_diag(7)): the stack's sockets for `ss`, one or all, with what TCP_INFO tells.
//!
//! Answered are TCP, UDP, UDP-Lite and raw sockets of both families. Other families are ENOENT: `ss` goes on with the kernel's
//! `/proc/net/unix` and the like. The filter that a program may send along (INET_DIAG_REQ_BYTECODE) is not run: it saves the kernel work,
//! and `ss` filters again. Sockets are not destroyed by request (`ss -K`).

use super::msg::{Head, Out, byte, word};
use crate::Host;
use crate::server::Server;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Result};
use iopkt_ctl::{Reply, Request, SockInfo};
use iopkt_sockproto::linux::{AF_INET, AF_INET6};

use iopkt_stack::Shard;
use iopkt_stack::sockets::{SockId, Waits};

/// SOCK_DIAG_BY_FAMILY, of requests and answers alike.
pub(super) const BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Where in it the socket's name (`struct inet_diag_sockid`) stands.
const ID: usize = 8;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    family: u8,
    protocol: u8,
    /// INET_DIAG_* attributes, a bit each from bit 0 for number 1.
    ext: u8,
    /// States, Linux's numbers.
    states: u32,
}

/// The socket that a request without NLM_F_DUMP names.
struct Name {
    local: SocketAddr,
    remote: SocketAddr,
    cookie: [u8; 8],
}

impl Wanted {
    /// # Errors
    /// EINVAL for a request that is too short, ENOENT for what this stack does not have.
    pub fn parse(body: &[u8]) -> Result<Wanted> {
        if body.len() < 2 {
            return Err(Errno::EINVAL);
        }
        let w = Wanted {
            family: byte(body, 0),
            protocol: byte(body, 1),
            ext: byte(body, 2),
            states: word(body, 4),
        };
        let ours = matches!(i32::from(w.family), AF_INET | AF_INET6);
        // TCP, UDP, UDP-Lite, raw.
        match (ours, w.protocol) {
            (true, 6 | 17 | 136 | 255) if body.len() < REQUEST => Err(Errno::EINVAL),
            (true, 6 | 17 | 136 | 255) => Ok(w),
            _ => Err(Errno::ENOENT),
        }
    }

    fn wants(&self, i: &SockInfo, state: u8) -> bool {
        let family = if i.family == 4 { AF_INET } else { AF_INET6 };
        let proto = match self.protocol {
            6 => "tcp",
            17 => "udp",
            255 => "raw",
            // UDP-Lite's are not told apart from UDP's.
            _ => return false,
        };
        // What is bound to nothing is in no table of Linux's.
        let known = match i.proto.as_str() {
            "tcp" => i.state != "CLOSED",
            "udp" => i.local.port() != 0,
            _ => true,
        };
        i.proto == proto && i32::from(self.family) == family && known && self.states >> state & 1 != 0
    }

    fn attr(&self, number: u8) -> bool {
        self.ext >> (number - 1) & 1 != 0
    }
}

impl Name {
    fn parse(body: &[u8], family: u8) -> Name {
        let port = |at: usize| u16::from_be_bytes([byte(body, at), byte(body, at + 1)]);
        let ip = |at: usize| -> IpAddr {
            let b: [u8; 16] = body.get(at..).and_then(|b| b.first_chunk().copied()).unwrap_or_default();
            match b {
                [a, b, c, d, ..] if i32::from(family) == AF_INET => [a, b, c, d].into(),
                b => b.into(),
            }
        };
        Name {
            local: SocketAddr::new(ip(ID + 4), port(ID)),
            remote: SocketAddr::new(ip(ID + 20), port(ID + 2)),
            cookie: body.get(ID + 40..).and_then(|b| b.first_chunk().copied()).unwrap_or([0xff; 8]),
        }
    }

    /// INET_DIAG_NOCOOKIE is all ones.
    fn is(&self, i: &SockInfo, cookie: [u8; 8]) -> bool {
        let same = |a: SocketAddr, b: SocketAddr| {
            a.ip().to_canonical() == b.ip().to_canonical() && a.port() == b.port()
        };
        let remote = i.remote.unwrap_or(SocketAddr::new(self.remote.ip(), 0));
        let nowhere = i.remote.is_none() && self.remote.port() == 0;
        same(i.local, self.local)
            && (nowhere || same(remote, self.remote))
            && (self.cookie == [0xff; 8] || self.cookie == cookie)
    }
}

/// Linux's number of a state.
fn number(i: &SockInfo) -> u8 {
    const STATES: [&str; 11] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RCVD",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "TIME_WAIT",
        "CLOSED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    match i.proto.as_str() {
        "tcp" => STATES.iter().position(|t| *t == i.state).map_or(7, |p| p as u8 + 1),
        _ if i.remote.is_some() => 1,
        _ => 7,
    }
}

fn sock_id(i: &SockInfo) -> SockId {
    SockId { index: i.id as u32, generation: (i.id >> 32) as u32 }
}

/// An option of a socket, as getsockopt(2) tells it.
fn option(shard: &mut Shard, i: &SockInfo, level: i32, name: i32, room: usize) -> Option<Vec<u8>> {
    let mut b = alloc::vec![0; room];
    let n = shard.sockets.getsockopt(&mut shard.cx, &shard.net, sock_id(i), level, name, &mut b).ok()?;
    b.truncate(n);
    Some(b)
}

/// SO_PROTOCOL.
pub(crate) fn protocol(shard: &mut Shard, i: &SockInfo) -> u16 {
    option(shard, i, 1, 38, 4).map_or(0, |b| word(&b, 0) as u16)
}

/// SO_COOKIE.
fn cookie(shard: &mut Shard, i: &SockInfo) -> [u8; 8] {
    option(shard, i, 1, 57, 8).and_then(|b| b.try_into().ok()).unwrap_or_default()
}

/// Address and port in a message.
fn put_ip(o: &mut Out, a: Option<IpAddr>) {
    match a {
        Some(IpAddr::V4(a)) => o.raw(&a.octets()).raw(&[0; 12]),
        Some(IpAddr::V6(a)) => o.raw(&iopkt_base::zone::strip(a).octets()),
        None => o.raw(&[0; 16]),
    };
}

/// `struct inet_diag_msg` and the attributes that are wanted.
fn message(h: Head, shard: &mut Shard, w: &Wanted, i: &SockInfo) -> Vec<u8> {
    let state = number(i);
    let id = sock_id(i);
    let timer = shard.sockets.timer(id, shard.cx.now);
    let remote = i.remote.filter(|_| state != 10);
    let mut o = Out::begin(h);
    let (timer, left, tries) = timer.map_or((0, 0, 0), |(what, left, tries)| {
        let n = match what {
            Waits::Retransmit => 1,
            Waits::Keepalive => 2,
            Waits::TimeWait => 3,
            Waits::Window => 4,
        };
        (n, left.as_millis().min(u128::from(u32::MAX)) as u32, tries)
    });
    o.raw(&[w.family, state, timer, tries]);
    let port = |a: Option<SocketAddr>| a.map_or(0, |a| a.port()).to_be_bytes();
    // Of a raw socket the protocol stands where others have a port.
    let local = if w.protocol == 255 { protocol(shard, i) } else { i.local.port() };
    o.raw(&local.to_be_bytes()).raw(&port(remote));
    put_ip(&mut o, Some(i.local.ip()));
    put_ip(&mut o, remote.map(|r| r.ip()));
    let scope = |a: SocketAddr| match a {
        SocketAddr::V6(a) => a.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let link = remote.map_or(0, scope).max(scope(i.local));
    let cookie = cookie(shard, i);
    let info = if w.protocol == 6 { option(shard, i, 6, 11, 512) } else { None };
    // A listener's queue is told where others have what waits to be acknowledged: its length, its limit.
    let backlog = info.as_ref().filter(|_| state == 10).map(|b| word(b, 28));
    o.raw(&link.to_ne_bytes()).raw(&cookie);
    let queues = [left, i.recv_q as u32, backlog.unwrap_or(i.send_q as u32), i.uid, i.ino as u32];
    o.raw(&queues.map(u32::to_ne_bytes).concat());
    attributes(&mut o, shard, w, i, state, info);
    o.end()
}

fn attributes(o: &mut Out, shard: &mut Shard, w: &Wanted, i: &SockInfo, state: u8, info: Option<Vec<u8>>) {
    let v6 = i.family == 6;
    let memory = option(shard, i, 1, 55, 36).unwrap_or_default();
    // INET_DIAG_SHUTDOWN: nothing is known here of halves that are shut.
    o.attr(8, &[0]);
    if w.attr(5)
        && let Some(t) = option(shard, i, 0, 1, 4)
    {
        o.attr(5, &t[..1]);
    }
    if v6 {
        if w.attr(6)
            && let Some(t) = option(shard, i, 41, 67, 4)
        {
            o.attr(6, &t[..1]);
        }
        if matches!(state, 7 | 10)
            && let Some(only) = option(shard, i, 41, 26, 4)
        {
            // INET_DIAG_SKV6ONLY.
            o.attr(11, &only[..1]);
        }
    }
    let m = |at: usize| word(&memory, at * 4);
    if w.attr(1) {
        // INET_DIAG_MEMINFO: receiving, sending and not sent, allotted, sending.
        o.attr(1, &[m(0), m(2), m(4), m(2)].map(u32::to_ne_bytes).concat());
    }
    if w.attr(7) && !memory.is_empty() {
        o.attr(7, &memory);
    }
    if let Some(b) = info.filter(|_| w.attr(2)) {
        o.attr(2, &b);
    }
    if w.protocol == 6
        && w.attr(4)
        && let Some(name) = option(shard, i, 6, 13, 16)
    {
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        o.text(4, core::str::from_utf8(&name[..end]).unwrap_or(""));
    }
}

impl<H: Host> Server<H> {
    /// A page of the stack's sockets with the users and inodes of their descriptors.
    fn page_of_sockets(&self, shard: &mut Shard, cursor: u32) -> (Vec<SockInfo>, u32) {
        match shard.ctl(&Request::Sockets { cursor }).map(|r| self.with_descriptors(r)) {
            Some(Reply::Sockets { list, next }) => (list, next),
            _ => (Vec::new(), 0),
        }
    }

    /// One page of a listing, and where the next one begins (0: there is none).
    pub(super) fn diag_page(
        &self,
        shard: &mut Shard,
        h: Head,
        w: &Wanted,
        cursor: u32,
    ) -> (Vec<Vec<u8>>, u32) {
        let (list, next) = self.page_of_sockets(shard, cursor);
        let of = list.iter().filter(|i| w.wants(i, number(i)));
        (of.map(|i| message(h, shard, w, i)).collect(), next)
    }

    /// The one socket that a request names.
    ///
    /// # Errors
    /// ENOENT.
    pub(super) fn diag_one(&self, shard: &mut Shard, h: Head, body: &[u8]) -> Result<Vec<u8>> {
        let w = Wanted { states: u32::MAX, ..Wanted::parse(body)? };
        let name = Name::parse(body, w.family);
        let mut cursor = 0;
        loop {
            let (list, next) = self.page_of_sockets(shard, cursor);
            for i in list.iter().filter(|i| w.wants(i, number(i))) {
                let c = cookie(shard, i);
                if name.is(i, c) {
                    return Ok(message(h, shard, &w, i));
                }
            }
            cursor = next;
            if cursor == 0 {
                return Err(Errno::ENOENT);
            }
        }
    }
}

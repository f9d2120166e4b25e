//! AF_NETLINK sockets of NETLINK_ROUTE (netlink(7), rtnetlink(7)): what this stack has, for Linux programs.
//!
//! Links, addresses, routes, neighbours and rules are told, one or all of them, and the multicast groups hear of changes.
//! What changes something ([`change`]) becomes a configuration request, as ifconfig, route and ndp make them, for root and the user of
//! io-pkt. Everything else is answered with EOPNOTSUPP.
//!
//! Sockets of NETLINK_SOCK_DIAG share all but the messages ([`diag`]).
//!
//! A dump is made a page at a time, as fast as the program takes it, in messages of less than 4096 bytes (the
//! buffer of glibc and Go).

pub(crate) mod addr;
mod change;
pub(crate) mod diag;
mod link;
pub(crate) mod msg;
mod neigh;
pub(crate) mod route;
mod rule;

use crate::Host;
use crate::server::Server;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result};
use iopkt_ctl::{Reply, Request, rtf};
use iopkt_sockproto::linux::{AF_INET, AF_INET6, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use iopkt_stack::{AddrNote, RtKind, RtNote, Shard};
use msg::{
    HDR, Head, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_MULTI, NLMSG_DONE, NLMSG_ERROR,
    Out, af, byte, pack,
};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;
const NEWRULE: u16 = 32;
const GETRULE: u16 = 34;

const GROUP_LINK: u32 = 1;
const GROUP_NEIGH: u32 = 4;
const GROUP_IPV4_IFADDR: u32 = 0x10;
const GROUP_IPV4_ROUTE: u32 = 0x40;
const GROUP_IPV6_IFADDR: u32 = 0x100;
const GROUP_IPV6_ROUTE: u32 = 0x400;
/// Groups beyond the 32 of bind(2) that Linux knows: nothing is ever told to them.
const MOST_GROUPS: u32 = 64;

/// Netlink's part of a routing socket.
#[derive(Debug, Default)]
pub(crate) struct Netlink {
    /// `nl_pid`, 0 until it is bound.
    port: u32,
    groups: u32,
    /// It is one of NETLINK_SOCK_DIAG, not of NETLINK_ROUTE.
    diag: bool,
    /// Failures are explained (NETLINK_EXT_ACK).
    explains: bool,
    dump: Option<Dump>,
}

/// A listing under way.
#[derive(Debug)]
struct Dump {
    ty: u16,
    family: u8,
    /// Neighbours: those that are only answered for.
    proxies: bool,
    /// Sockets: which.
    sockets: Option<diag::Wanted>,
    seq: u32,
    /// Where the next page begins; `None`: the last one was made.
    next: Option<u32>,
    pending: VecDeque<Vec<u8>>,
}

impl Netlink {
    /// Of NETLINK_ROUTE, or of NETLINK_SOCK_DIAG.
    pub fn new(diag: bool) -> Netlink {
        Netlink { diag, ..Netlink::default() }
    }

    /// The protocol, as SO_PROTOCOL tells it.
    pub fn protocol(&self) -> i32 {
        if self.diag { NETLINK_SOCK_DIAG } else { NETLINK_ROUTE }
    }

    pub fn bind(&mut self, port: u32, groups: u32) {
        (self.port, self.groups) = (if port == 0 { self.port } else { port }, groups);
    }

    /// Address of the socket: who has none gets the number of its process, as the kernel does it.
    pub fn name(&mut self, pid: u32) -> (u32, u32) {
        if self.port == 0 {
            self.port = pid;
        }
        (self.port, self.groups)
    }

    /// setsockopt(2) at SOL_NETLINK.
    pub fn set_option(&mut self, name: i32, v: i32) -> Result<()> {
        let bit = || match u32::try_from(v) {
            Ok(v @ 1..=32) => Some(1u32 << (v - 1)),
            Ok(v) if (1..=MOST_GROUPS).contains(&v) => Some(0),
            _ => None,
        };
        match name {
            1 => self.groups |= bit().ok_or(Errno::EINVAL)?,
            2 => self.groups &= !bit().ok_or(Errno::EINVAL)?,
            // PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, CAP_ACK: they ask for more than is ever sent.
            3..=5 | 10 => {}
            11 => self.explains = v != 0,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}

/// Most messages of one write that are answered.
const MESSAGES: usize = 64;

impl<H: Host> Server<H> {
    /// What a program wrote: one message or several.
    pub(crate) fn netlink_request(&mut self, shard: &mut Shard, k: u32, mut msg: &[u8]) -> Result<()> {
        let mut count = 0;
        while msg.len() >= HDR {
            let len = u32::from_ne_bytes([msg[0], msg[1], msg[2], msg[3]]) as usize;
            // As in Linux, what follows and is no message is left alone: programs send their whole buffer.
            let Some(m) = msg.get(..len).filter(|_| len >= HDR) else { break };
            count += 1;
            if count > MESSAGES {
                // Each may look through a whole table, and everybody waits meanwhile.
                if let Some(port) = self.routing_mut(k).and_then(|r| Some(r.netlink.as_mut()?.name(r.pid).0))
                {
                    self.netlink_error(k, m, port, Some(Errno::ENOBUFS), "too many requests in one write");
                }
                break;
            }
            self.one_netlink(shard, k, m);
            msg = msg.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn one_netlink(&mut self, shard: &mut Shard, k: u32, m: &[u8]) {
        let (ty, flags) = (u16::from_ne_bytes([m[4], m[5]]), u16::from_ne_bytes([m[6], m[7]]));
        let seq = u32::from_ne_bytes([m[8], m[9], m[10], m[11]]);
        let body = &m[HDR..];
        let Some(r) = self.routing_mut(k) else { return };
        let (pid, trusted) = (r.pid, r.trusted);
        let Some(n) = &mut r.netlink else { return };
        let (port, _) = n.name(pid);
        // NLMSG_NOOP and what is no request need no answer.
        if ty < 16 {
            return;
        }
        if n.diag {
            return self.one_diag(shard, k, m, port);
        }
        let listed = matches!(ty, GETLINK | GETADDR | GETROUTE | GETNEIGH | GETRULE);
        if listed && flags & NLM_F_DUMP != 0 {
            if n.dump.is_some() {
                return self.netlink_error(k, m, port, Some(Errno::EBUSY), "");
            }
            let family = match byte(body, 0) {
                f if i32::from(f) == AF_INET || i32::from(f) == AF_INET6 => f,
                _ => 0,
            };
            let proxies = ty == GETNEIGH && byte(body, 10) & neigh::PROXY != 0;
            n.dump = Some(Dump {
                ty,
                family,
                proxies,
                sockets: None,
                seq,
                next: Some(0),
                pending: VecDeque::new(),
            });
            self.continue_dump(shard, k);
            return;
        }
        let head = |ty| Head { ty, flags: 0, seq, port };
        let answer = match ty {
            GETLINK => link::one(shard, body).map(|i| Some(link::link(head(NEWLINK), &i))),
            GETROUTE => route::lookup(head(NEWROUTE), shard, body).map(Some),
            GETNEIGH => neigh::one(head(NEWNEIGH), shard, body).map(Some),
            _ if change::is_one(ty) => {
                let done =
                    if trusted { change::change(shard, ty, flags, body) } else { Err(Errno::EPERM.into()) };
                // What changed is told before it is acknowledged, as Linux does.
                self.tell_routing(shard);
                match done {
                    Ok(()) => Ok(None),
                    Err(f) => return self.netlink_error(k, m, port, Some(f.errno), &f.why),
                }
            }
            _ => Err(Errno::EOPNOTSUPP),
        };
        match answer {
            Ok(b) => {
                if let Some(b) = &b {
                    self.put_routing(k, b);
                }
                if flags & NLM_F_ACK != 0 {
                    self.netlink_error(k, m, port, None, "");
                }
            }
            Err(e) => self.netlink_error(k, m, port, Some(e), ""),
        }
    }

    /// A request about sockets.
    fn one_diag(&mut self, shard: &mut Shard, k: u32, m: &[u8], port: u32) {
        let (ty, flags) = (u16::from_ne_bytes([m[4], m[5]]), u16::from_ne_bytes([m[6], m[7]]));
        let seq = u32::from_ne_bytes([m[8], m[9], m[10], m[11]]);
        let body = &m[HDR..];
        let wanted = match ty {
            diag::BY_FAMILY => diag::Wanted::parse(body),
            _ => Err(Errno::EOPNOTSUPP),
        };
        let w = match wanted {
            Ok(w) => w,
            Err(e) => return self.netlink_error(k, m, port, Some(e), ""),
        };
        if flags & NLM_F_DUMP == 0 {
            return match self.diag_one(shard, Head { ty, flags: 0, seq, port }, body) {
                Ok(b) => self.put_routing(k, &b),
                Err(e) => self.netlink_error(k, m, port, Some(e), ""),
            };
        }
        let Some(n) = self.routing_mut(k).and_then(|r| r.netlink.as_mut()) else { return };
        if n.dump.is_some() {
            return self.netlink_error(k, m, port, Some(Errno::EBUSY), "");
        }
        let pending = VecDeque::new();
        n.dump = Some(Dump { ty, family: 0, proxies: false, sockets: Some(w), seq, next: Some(0), pending });
        self.continue_dump(shard, k);
    }

    /// NLMSG_ERROR, which with 0 is the acknowledgement; `why` is for people.
    fn netlink_error(&mut self, k: u32, m: &[u8], port: u32, e: Option<Errno>, why: &str) {
        let seq = u32::from_ne_bytes([m[8], m[9], m[10], m[11]]);
        let explains = self.routing_mut(k).and_then(|r| r.netlink.as_ref()).is_some_and(|n| n.explains);
        let why = Some(why).filter(|w| explains && !w.is_empty());
        let flags = NLM_F_CAPPED | if why.is_some() { NLM_F_ACK_TLVS } else { 0 };
        let mut o = Out::begin(Head { ty: NLMSG_ERROR, flags, seq, port });
        o.raw(&(-e.map_or(0, |e| e.raw())).to_ne_bytes()).raw(&m[..HDR]);
        if let Some(w) = why {
            // NLMSGERR_ATTR_MSG.
            o.text(1, w);
        }
        self.put_routing(k, &o.end());
    }

    /// Makes the next page.
    fn next_page(&self, shard: &mut Shard, d: &mut Dump, port: u32) {
        let Some(cursor) = d.next.take() else { return };
        let wanted = |v4: bool| d.family == 0 || d.family == af(v4);
        let head = |ty| Head { ty, flags: NLM_F_MULTI, seq: d.seq, port };
        let list: Vec<Vec<u8>> = match (d.ty, d.sockets) {
            (_, Some(w)) => {
                let (list, next) = self.diag_page(shard, head(diag::BY_FAMILY), &w, cursor);
                d.next = (next != 0).then_some(next);
                list
            }
            (GETLINK, _) => {
                let l = link::interfaces(shard, None).unwrap_or_default();
                l.iter().map(|i| link::link(head(NEWLINK), i)).collect()
            }
            (GETADDR, _) => {
                let stable = addr::stable(shard);
                let all = link::interfaces(shard, None).unwrap_or_default();
                let pairs = all.iter().flat_map(|i| i.addrs.iter().map(move |a| (i, a)));
                let of = pairs.filter(|(_, a)| wanted(a.addr.is_ipv4()));
                of.map(|(i, a)| addr::addr(head(NEWADDR), i, a, stable)).collect()
            }
            (GETROUTE, _) => match shard.ctl(&Request::Routes { cursor }) {
                Some(Reply::Routes { list, next }) => {
                    d.next = (next != 0).then_some(next);
                    let main = list.iter().filter(|r| r.flags & rtf::LLINFO == 0 && wanted(r.dst.is_ipv4()));
                    main.map(|r| route::route(head(NEWROUTE), shard, r, false)).collect()
                }
                _ => Vec::new(),
            },
            (GETNEIGH, _) => {
                let routers = neigh::routers(shard);
                let list = neigh::all(shard, d.family, d.proxies);
                list.iter().map(|n| neigh::neigh(head(NEWNEIGH), shard, n, &routers)).collect()
            }
            _ => rule::rules(head(NEWRULE), d.family),
        };
        d.pending = pack(list);
        if d.next.is_none() {
            let mut o = Out::begin(head(NLMSG_DONE));
            o.raw(&[0; 4]);
            d.pending.push_back(o.end());
        }
    }

    /// Sends more of a listing; whether one is under way.
    pub(crate) fn continue_dump(&mut self, shard: &mut Shard, k: u32) -> bool {
        loop {
            let Some(sk) = self.socks.get_mut(k as usize) else { return false };
            let crate::sock::State::Routing(r) = &mut sk.state else { return false };
            let Some(n) = &mut r.netlink else { return false };
            let Some(d) = &mut n.dump else { return false };
            if !sk.writable || !r.out.is_empty() {
                return true;
            }
            let Some(m) = d.pending.front() else {
                let port = n.port;
                let Some(mut d) = n.dump.take_if(|d| d.next.is_some()) else {
                    n.dump = None;
                    return false;
                };
                self.next_page(shard, &mut d, port);
                if let Some(n) = self.routing_mut(k).and_then(|r| r.netlink.as_mut()) {
                    n.dump = Some(d);
                }
                continue;
            };
            if self.host.send_msg(sk.end, &[], m) == Err(Errno::EAGAIN) {
                sk.writable = false;
            } else {
                d.pending.pop_front();
            }
        }
    }

    /// Tells the members of the groups.
    pub(crate) fn tell_netlink(&mut self, shard: &mut Shard, n: &RtNote) {
        let v = |v4: bool, four, six| if v4 { four } else { six };
        let (group, m) = match n {
            RtNote::IfInfo(i) => (GROUP_LINK, link::link(Head::told(NEWLINK), i)),
            RtNote::IfAnnounce { name, arrived: true, .. } => {
                match link::interfaces(shard, Some(name.clone())).ok().and_then(|l| l.into_iter().next()) {
                    Some(i) => (GROUP_LINK, link::link(Head::told(NEWLINK), &i)),
                    None => return,
                }
            }
            RtNote::IfAnnounce { index, name, arrived: false } => {
                (GROUP_LINK, link::gone(Head::told(DELLINK), *index, name))
            }
            RtNote::Addr { what, iface, addr: a } => {
                let ty = if *what == AddrNote::Removed { DELADDR } else { NEWADDR };
                let group = v(a.addr.is_ipv4(), GROUP_IPV4_IFADDR, GROUP_IPV6_IFADDR);
                (group, addr::addr(Head::told(ty), iface, a, addr::stable(shard)))
            }
            RtNote::Route { kind, route: r, .. } => {
                let ty = match kind {
                    RtKind::Add | RtKind::Change | RtKind::Redirect | RtKind::Lock => NEWROUTE,
                    RtKind::Delete => DELROUTE,
                    RtKind::Losing => return,
                };
                let group = v(r.dst.is_ipv4(), GROUP_IPV4_ROUTE, GROUP_IPV6_ROUTE);
                (group, route::route(Head::told(ty), shard, r, false))
            }
            RtNote::Neigh { now: Some(n), .. } => {
                let routers = neigh::routers(shard);
                (GROUP_NEIGH, neigh::neigh(Head::told(NEWNEIGH), shard, n, &routers))
            }
            RtNote::Neigh { ifindex, ip, now: None } => {
                (GROUP_NEIGH, neigh::gone(Head::told(DELNEIGH), *ifindex, *ip))
            }
            RtNote::Miss(_) => return,
        };
        for k in self.routing.clone() {
            let member = self
                .routing_mut(k)
                .and_then(|r| r.netlink.as_ref())
                .is_some_and(|n| !n.diag && n.groups & group != 0);
            if member {
                self.put_routing(k, &m);
            }
        }
    }
}

//! The queue of errors of a datagram socket with IP_RECVERR (ip(7), linux/errqueue.h): what ICMP said, or this stack itself,
//! about a datagram, with its destination and as much of it as was quoted. recvmsg(2) with MSG_ERRQUEUE takes one.
//!
//! SO_ERROR is the errno of the oldest one in the queue (Linux: of the next one, after each that is taken). Bounded: [`MAX`]
//! entries of [`QUOTE`] bytes; more of them are only an errno.

use super::dgram::{real_dst, way};
use super::names::outward;
use super::opt_ip6::ip6;
use super::sock::{Body, Sock};
use super::types::{Datagram, SendOpts, SockId};
use super::{Sockets, ev};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::IcmpErr;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Instant};

/// Entries.
const MAX: usize = 64;
/// Bytes kept of a datagram: RFC 1812 section 4.3.2.3 has routers quote up to 576 in all.
const QUOTE: usize = 548;

/// Who says it: `SO_EE_ORIGIN_*`.
pub mod origin {
    /// This stack.
    pub const LOCAL: u8 = 1;
    /// ICMP.
    pub const ICMP: u8 = 2;
    /// ICMPv6.
    pub const ICMP6: u8 = 3;
    /// SO_TIMESTAMPING of what was sent.
    pub const TIMESTAMPING: u8 = 4;
    /// MSG_ZEROCOPY.
    pub const ZEROCOPY: u8 = 5;
}

/// An error, as `struct sock_extended_err` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SockErr {
    /// What it means to a program.
    pub errno: Errno,
    /// [`origin`].
    pub origin: u8,
    /// ICMP type and code.
    pub icmp: (u8, u8),
    /// `ee_info`: the MTU, for EMSGSIZE.
    pub info: u32,
    /// `ee_data`: byte or number that a report is about.
    pub data: u32,
    /// The time that a report is of.
    pub at: Option<Instant>,
    /// Node that reported it.
    pub offender: Option<IpAddr>,
    /// Where the datagram went.
    pub dst: SocketAddr,
    /// What was quoted of its payload.
    pub payload: Vec<u8>,
}

impl Sock {
    /// Puts an error into the queue (of who has IP_RECVERR) and into SO_ERROR.
    pub(super) fn put_error(&mut self, e: SockErr) {
        self.err = Some(e.errno);
        if self.opt.hears_errors(e.dst.is_ipv4()) && self.errors.len() < MAX {
            self.errors.push_back(e);
        }
    }

    /// A report that is no error.
    pub(super) fn queue_error(&mut self, e: SockErr) {
        if self.errors.len() < MAX {
            self.errors.push_back(e);
        }
    }

    /// An ICMP error; `payload` is what follows the transport header in the quote.
    pub(super) fn put_icmp(&mut self, e: &IcmpErr, dst: SocketAddr, payload: &[u8]) {
        let errno = if e.mtu != 0 { Errno::EMSGSIZE } else { e.errno };
        let origin = if e.dst.is_ipv4() { origin::ICMP } else { origin::ICMP6 };
        self.put_error(SockErr {
            errno,
            origin,
            icmp: e.icmp,
            info: e.mtu,
            data: 0,
            at: None,
            offender: Some(e.from),
            dst,
            payload: payload[..payload.len().min(QUOTE)].to_vec(),
        });
    }
}

impl Sockets {
    /// IPV6_RECVPATHMTU (RFC 3542 section 11.3): an empty datagram that brings the MTU of a path.
    fn tell_path_mtu(&mut self, cx: &mut Cx, id: SockId, from: SocketAddr, mtu: u32) {
        let Ok(s) = self.table.get_mut(id) else { return };
        let wants = from.is_ipv6() && s.opt.v6.flag(ip6::RECVPATHMTU);
        let Ok(d) = s.dgram() else { return };
        // One at a time: the latest is what counts, and nobody may fill the queue with them.
        if !wants || d.rx.iter().any(|g| g.mtu != 0) {
            return;
        }
        let Some(m) = cx.mbufs.copy_of(&[]) else { return };
        d.rx_bytes += super::dgram::cost(&m);
        d.rx.push_back(Datagram {
            from,
            to: from.ip(),
            ifindex: 0,
            ttl: 0,
            tos: 0,
            drops: d.drops,
            at: cx.now,
            ext: None,
            mtu,
            m,
        });
        self.raise(id.index, ev::READ);
    }

    /// Takes the oldest error of the queue; SO_ERROR is then that of the next one, if there is one.
    pub fn take_queued_error(&mut self, id: SockId) -> Option<SockErr> {
        let s = self.table.get_mut(id).ok()?;
        let family = s.family;
        let e = s.errors.pop_front()?;
        let network = |e: &&SockErr| matches!(e.origin, origin::LOCAL | origin::ICMP | origin::ICMP6);
        if network(&&e) || !matches!(s.body, Body::Conn(_)) {
            s.err = s.errors.front().filter(network).map(|e| e.errno);
        }
        if !s.errors.is_empty() {
            self.raise(id.index, ev::ERROR);
        }
        let show = |a: IpAddr| outward(family, SocketAddr::new(a, 0)).ip();
        Some(SockErr { dst: outward(family, e.dst), offender: e.offender.map(show), ..e })
    }

    /// A program sent what is longer than any datagram. Over IPv6 Linux tells it the path's MTU by the queue, too; the error.
    pub fn no_datagram(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
    ) -> Errno {
        if let Ok(s) = self.table.get(id)
            && let Some(to) = to.or(s.remote).filter(|t| real_dst(t.ip()).is_ipv6())
            && let Ok(path) = way(s, cx, net, to.ip(), opts)
        {
            self.too_long(cx, id, to, path.mtu);
        }
        Errno::EMSGSIZE
    }

    /// A datagram was too long for its path and may not be fragmented: the sender hears it by the queue, too (what
    /// tracepath(8) goes by).
    pub(super) fn too_long(&mut self, cx: &mut Cx, id: SockId, dst: SocketAddr, mtu: u32) {
        self.tell_path_mtu(cx, id, dst, mtu);
        let Ok(s) = self.table.get_mut(id) else { return };
        if s.opt.hears_errors(dst.is_ipv4()) && s.errors.len() < MAX {
            let (errno, origin) = (Errno::EMSGSIZE, origin::LOCAL);
            let e = SockErr {
                errno,
                origin,
                icmp: (0, 0),
                info: mtu,
                data: 0,
                at: None,
                offender: None,
                dst,
                payload: Vec::new(),
            };
            s.errors.push_back(e);
        }
    }
}

//! ICMP datagram sockets, Linux's "ping sockets" (icmp(7)): echo without privileges.
//!
//! The program writes an echo request beginning at the ICMP header; the identifier is the socket's port,
//! whatever it wrote, and the checksum is ours. Echo replies with this identifier come back, ICMP header
//! included, IP header not. Nothing but echo can be sent.

use super::Sockets;
use super::demux::hears;
use super::dgram::{max_transport, real_dst, send, way};
use super::types::{SendOpts, SockId, ev, proto};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{Family, IcmpErr, IpInfo};
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Result};
use iopkt_mbuf::Mbuf;
use iopkt_wire::checksum::{Sum, pseudo};

const HEADER: usize = 8;

/// Echo request and echo reply of a family.
fn echo(f: Family) -> (u8, u8) {
    match f {
        Family::V4 => (8, 0),
        Family::V6 => (128, 129),
    }
}

impl Sockets {
    /// The ping socket of this identifier that fits, the one bound to the very address first.
    fn ping_socket(&self, p: u8, ident: u16, local: IpAddr, from: IpAddr, ifindex: u32) -> Option<u32> {
        let list = &self.demux.port(p, ident)?.bound;
        let fits = |i: &&u32| {
            self.table.at(**i).is_some_and(|s| {
                hears(s, ifindex)
                    && (s.local.is_unspecified() || s.local == local || local.is_multicast())
                    && s.remote.is_none_or(|r| r.ip() == from || r.ip().is_multicast())
            })
        };
        list.iter().filter(fits).max_by_key(|i| self.table.at(**i).is_some_and(|s| s.local == local)).copied()
    }

    /// Gives an echo reply to the socket that asked.
    pub(super) fn ping_input(&mut self, cx: &mut Cx, info: &IpInfo, m: &Mbuf) {
        let body = m.as_slice().get(usize::from(info.hdr_len)..).unwrap_or(&[]);
        let Some(h) = body.first_chunk::<HEADER>() else { return };
        if h[0] != echo(Family::of(&info.dst)).1 {
            return;
        }
        let ident = u16::from_be_bytes([h[4], h[5]]);
        // [RFC4443 4.2b]
        if let Some(slot) = self.ping_socket(info.proto, ident, info.dst, info.src, info.ifindex) {
            self.deliver_copies(cx, &[slot], SocketAddr::new(info.src, 0), info, body, Some(m));
        }
    }

    /// Sends an echo request; the common checks are done.
    pub(super) fn ping_send(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        mut m: Mbuf,
    ) -> Result<()> {
        let s = self.table.get(id)?;
        let to = to.or(s.remote).ok_or(Errno::EDESTADDRREQ)?;
        let dst = real_dst(to.ip());
        if m.len() > max_transport(s.family) {
            return Err(Errno::EMSGSIZE);
        }
        // Linux: only echo requests, with code 0.
        if m.len() < HEADER || m.as_slice()[..2] != [echo(s.family).0, 0] {
            return Err(Errno::EINVAL);
        }
        if s.lport == 0 {
            self.autobind(cx, id)?;
        }
        let s = self.table.get(id)?;
        let path = way(s, cx, net, dst, opts)?;
        let b = m.as_mut_slice();
        b[2..4].fill(0);
        b[4..6].copy_from_slice(&s.lport.to_be_bytes());
        let mut sum = match s.family {
            Family::V4 => Sum::ZERO,
            Family::V6 => pseudo(path.src, dst, proto::ICMP6, b.len() as u32),
        };
        sum.add(b);
        b[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        let sent = send(s, cx, &path, dst, opts, s.proto, m);
        if sent == Err(Errno::EMSGSIZE) {
            self.too_long(cx, id, to, path.mtu);
        }
        sent
    }

    /// An ICMP error about an echo request of ours; whether a socket may have sent it.
    pub(super) fn ping_error(&mut self, e: &IcmpErr, quote: &[u8]) -> bool {
        let ident = u16::from_be_bytes([e.head[4], e.head[5]]);
        if e.head[0] != echo(Family::of(&e.dst)).0 {
            return false;
        }
        let Some(slot) = self.ping_socket(e.proto, ident, e.src, e.dst, 0) else { return false };
        let Some(s) = self.table.at_mut(slot) else { return false };
        if s.opt.hears_errors(e.dst.is_ipv4()) || (s.remote.is_some() && e.hard) {
            // Linux shows the whole echo request.
            s.put_icmp(e, SocketAddr::new(e.dst, 0), quote);
            self.raise(slot, ev::ERROR);
        }
        true
    }
}

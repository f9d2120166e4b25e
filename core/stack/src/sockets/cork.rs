//! Datagrams that are written in pieces (UDP_CORK, MSG_MORE), and pieces that are several datagrams (UDP_SEGMENT).
//!
//! Like Linux's: the destination and control messages of the first piece are those of the datagram; each piece is put
//! behind the others until one comes without MSG_MORE on a socket without UDP_CORK, or until that is turned off.

use super::Sockets;
use super::types::{SendOpts, SockId};
use crate::cx::Cx;
use crate::net::Net;
use alloc::vec::Vec;
use core::net::SocketAddr;
use iopkt_base::{Errno, Result};
use iopkt_mbuf::Mbuf;

/// Longest payload (RFC 768, over IPv4).
const MAX: usize = 65_507;
/// Datagrams that one call may be cut into (Linux's UDP_MAX_SEGMENTS).
const MAX_SEGMENTS: usize = 128;
/// Network and transport header of a datagram without options.
const HEADERS: usize = 28;

/// A datagram that is not complete yet.
pub(crate) struct Corked {
    to: Option<SocketAddr>,
    opts: SendOpts,
    bytes: Vec<u8>,
}

impl Sockets {
    /// A piece of a datagram, which most often is all of it.
    pub(super) fn udp_gather(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        m: Mbuf,
    ) -> Result<()> {
        let s = self.table.io(id)?;
        let more = opts.more || s.opt.udp.cork;
        let no_peer = to.is_none() && s.remote.is_none();
        let single = s.opt.udp.segment == 0 && opts.segment.is_none();
        let d = s.dgram()?;
        if d.corked.is_none() && !more {
            if single {
                return self.udp_send(cx, net, id, to, opts, m);
            }
            return self.udp_segments(cx, net, id, to, opts, m);
        }
        if d.corked.is_none() && no_peer {
            return Err(Errno::EDESTADDRREQ);
        }
        let c = d.corked.get_or_insert_with(|| Corked { to, opts: opts.clone(), bytes: Vec::new() });
        let fits = c.bytes.len() + m.len() <= MAX;
        if fits {
            c.bytes.extend_from_slice(m.as_slice());
        }
        cx.mbufs.free(m);
        match (fits, more) {
            (false, _) => Err(Errno::EMSGSIZE),
            (true, true) => Ok(()),
            (true, false) => self.uncork(cx, net, id),
        }
    }

    /// Sends what was held back, if anything was.
    pub(super) fn uncork(&mut self, cx: &mut Cx, net: &mut Net, id: SockId) -> Result<()> {
        let Some(c) = self.table.get_mut(id)?.dgram()?.corked.take() else { return Ok(()) };
        let m = cx.mbufs.copy_of(&c.bytes).ok_or(Errno::ENOBUFS)?;
        self.udp_segments(cx, net, id, c.to, &c.opts, m)
    }

    /// Sends a payload as one datagram, or as several with UDP_SEGMENT.
    fn udp_segments(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        m: Mbuf,
    ) -> Result<()> {
        let o = &self.table.get(id)?.opt;
        let size = usize::from(opts.segment.unwrap_or(o.udp.segment));
        if size == 0 {
            return self.udp_send(cx, net, id, to, opts, m);
        }
        let checked = self.may_segment(cx, net, id, to, opts, size, m.len());
        if checked.is_err() || m.len() <= size {
            checked?;
            return self.udp_send(cx, net, id, to, opts, m);
        }
        let mut sent = Ok(());
        for part in m.as_slice().chunks(size) {
            let Some(p) = cx.mbufs.copy_of(part) else {
                sent = Err(Errno::ENOBUFS);
                break;
            };
            sent = self.udp_send(cx, net, id, to, opts, p);
            if sent.is_err() {
                break;
            }
        }
        cx.mbufs.free(m);
        sent
    }

    #[allow(clippy::too_many_arguments)] // the arguments of a send
    /// Linux's conditions of UDP_SEGMENT: each datagram fits the path, is summed, and they are not too many.
    fn may_segment(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        size: usize,
        len: usize,
    ) -> Result<()> {
        let s = self.table.get(id)?;
        let to = to.or(s.remote).ok_or(Errno::EDESTADDRREQ)?;
        let path = super::dgram::way(s, cx, net, super::dgram::real_dst(to.ip()), opts)?;
        if size + HEADERS > path.mtu as usize {
            return Err(Errno::EMSGSIZE);
        }
        if len > size * MAX_SEGMENTS || s.opt.no_check {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

//! The calls a program makes, as BSD has them: socket, bind, connect, names, shutdown, close.
//!
//! What only streams do is in `tcp` and `tcp_listen`, what only datagram sockets do in `dgram` and `udp`.

use super::Sockets;
use super::demux::ConnKey;
use super::dgram::is_icmp;
use super::sock::{Body, Sock};
use super::types::{SockId, SockType, ev, proto};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Result};
use iopkt_tcp::State;

/// The protocol that a socket of this type gets for the one asked for (0 is "the usual one").
fn protocol(family: Family, ty: SockType, p: u8) -> Result<u8> {
    let icmp = if family == Family::V4 { proto::ICMP } else { proto::ICMP6 };
    match (ty, p) {
        (SockType::Stream, 0 | proto::TCP) => Ok(proto::TCP),
        (SockType::Dgram, 0 | proto::UDP) => Ok(proto::UDP),
        (SockType::Dgram, p) if p == icmp => Ok(p),
        (SockType::Raw, 0) => Err(Errno::EPROTONOSUPPORT),
        (SockType::Raw, p) => Ok(p),
        (SockType::Dgram, proto::UDPLITE) => Ok(p),
        // Linux: the protocol exists, but not with this type.
        (_, proto::TCP | proto::UDP) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

impl Sockets {
    /// socket(2).
    ///
    /// # Errors
    /// EAFNOSUPPORT, EPROTONOSUPPORT, ENFILE at the limit.
    pub fn socket(&mut self, cx: &mut Cx, family: Family, ty: SockType, proto: u8) -> Result<SockId> {
        let _ = cx;
        if !self.families[usize::from(family == Family::V6)] {
            return Err(Errno::EAFNOSUPPORT);
        }
        let p = protocol(family, ty, proto)?;
        let body = if ty == SockType::Stream { Body::Idle } else { Body::Dgram(Box::default()) };
        let id = self.table.insert(|id| Sock::new(id, family, ty, p, body))?;
        self.table.get_mut(id)?.opt.clone_from(self.tune.opts(ty));
        if family == Family::V6 {
            // Linux's default for IPv4's groups of an IPv6 socket.
            self.table.get_mut(id)?.opt.mcast_all = false;
        }
        // Linux: a ping socket speaks its own family only, and says so.
        if p == super::types::proto::ICMP6 && ty == SockType::Dgram {
            let o = &mut self.table.get_mut(id)?.opt;
            (o.v6only, o.reuseaddr) = (true, true);
        }
        if ty == SockType::Raw {
            self.demux.raws.push(id.index);
            // Linux's default for them (INET_PROTOSW_REUSE).
            self.table.get_mut(id)?.opt.reuseaddr = true;
            if p == super::types::proto::RAW {
                self.table.get_mut(id)?.opt.hdrincl = true;
            }
        }
        Ok(id)
    }

    /// bind(2).
    ///
    /// # Errors
    /// EAFNOSUPPORT, EINVAL when already bound, EADDRNOTAVAIL when the address is not ours (unless
    /// IP_FREEBIND), EADDRINUSE.
    pub fn bind(&mut self, cx: &mut Cx, net: &Net, id: SockId, addr: SocketAddr) -> Result<()> {
        let s = self.table.get(id)?;
        if Family::of(&addr.ip()) != s.family {
            return Err(Errno::EAFNOSUPPORT);
        }
        let addr = s.inward(addr, 0).map_err(|e| if e == Errno::ENETUNREACH { Errno::EINVAL } else { e })?;
        let ip = addr.ip();
        let raw = s.ty == SockType::Raw;
        if !raw && (s.lport != 0 || s.addr_locked || s.remote.is_some()) {
            return Err(Errno::EINVAL);
        }
        if !self.may_bind(net, s, ip) {
            // [RFC9293 MUST-43]
            return Err(Errno::EADDRNOTAVAIL);
        }
        if raw {
            self.table.get_mut(id)?.local = ip;
        } else {
            self.bind_port(cx, id, ip, addr.port())?;
        }
        let s = self.table.get_mut(id)?;
        s.addr_locked = !ip.is_unspecified();
        s.port_locked = addr.port() != 0;
        Ok(())
    }

    /// Whether an address may be somebody's own: local, wildcard, or for datagrams a group or broadcast.
    fn may_bind(&self, net: &Net, s: &Sock, ip: IpAddr) -> bool {
        let anywhere = s.opt.binds_anywhere();
        if ip.is_unspecified() || anywhere || net.is_local(ip, s.opt.bound_dev) {
            return true;
        }
        // Linux lets streams have them, too, whatever for.
        let limited = matches!(ip, IpAddr::V4(a) if a.is_broadcast());
        ip.is_multicast() || limited || net.path(ip, None, 0).is_ok_and(|p| p.broadcast)
    }

    /// connect(2). For TCP: EINPROGRESS, then [`ev::CONNECTED`] or [`ev::ERROR`]. `None` dissolves the
    /// association of a datagram socket (AF_UNSPEC).
    ///
    /// # Errors
    /// EAFNOSUPPORT, EACCES (broadcast without SO_BROADCAST), EAGAIN without a free port, those of
    /// [`Net::path`].
    pub fn connect(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, to: Option<SocketAddr>) -> Result<()> {
        let s = self.table.get_mut(id)?;
        super::opt_ip6::set_flow(s, to);
        let to = to.map(|t| s.inward(t, 0)).transpose()?;
        if !self.is_stream(id)? {
            return self.dgram_connect(cx, net, id, to);
        }
        match to {
            Some(to) => self.tcp_connect(cx, net, id, to),
            None => self.tcp_disconnect(cx, id),
        }
    }

    /// getsockname(2).
    ///
    /// # Errors
    /// EBADF.
    pub fn local_addr(&self, id: SockId) -> Result<SocketAddr> {
        let s = self.table.get(id)?;
        // raw(7): the port of a raw socket's name is its protocol.
        let port = if s.ty == SockType::Raw { u16::from(s.proto) } else { s.lport };
        Ok(s.outward(SocketAddr::new(s.local, port)))
    }

    /// getpeername(2).
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self, id: SockId) -> Result<SocketAddr> {
        let s = self.table.get(id)?;
        // Linux: a connection that is over in both directions has no peer.
        let over =
            matches!(&s.body, Body::Conn(c) if matches!(c.tcb.state(), State::Closed | State::TimeWait));
        s.remote.filter(|_| !over).map(|r| s.outward(r)).ok_or(Errno::ENOTCONN)
    }

    /// The socket of this table at the other end of a stream's connection, if it is here.
    pub fn other_side(&self, id: SockId) -> Option<SockId> {
        let s = self.table.get(id).ok().filter(|s| s.ty == SockType::Stream)?;
        let far = s.remote?;
        let k = ConnKey::new(proto::TCP, far.ip(), far.port(), SocketAddr::new(s.local, s.lport));
        Some(self.table.at(self.demux.find_conn(&self.table, k, 0)?)?.id)
    }

    /// Whether a listener of this table accepts connections to `to` without waiting for their data.
    pub fn accepts_at_once(&self, to: SocketAddr) -> bool {
        let list = self.demux.port(proto::TCP, to.port()).map_or(&[][..], |e| &e.bound);
        let mut those = list.iter().filter_map(|&i| self.table.at(i)).filter(|s| {
            matches!(s.body, Body::Listen(_)) && (s.local.is_unspecified() || s.local == to.ip())
        });
        those.next().is_some_and(|s| s.opt.tcp.defer_accept == 0)
            && those.all(|s| s.opt.tcp.defer_accept == 0)
    }

    /// Whether a raw socket is open that sees the segments of others.
    pub fn raw_sees_tcp(&self) -> bool {
        self.demux.raws.iter().any(|&i| self.table.at(i).is_some_and(|s| s.proto == proto::TCP))
    }

    /// shutdown(2): 0 read, 1 write, 2 both.
    ///
    /// # Errors
    /// EINVAL, ENOTCONN.
    pub fn shutdown(&mut self, cx: &mut Cx, id: SockId, how: u8) -> Result<()> {
        if how > 2 {
            return Err(Errno::EINVAL);
        }
        if self.is_stream(id)? {
            return self.tcp_shutdown(cx, id, how);
        }
        let s = self.table.get_mut(id)?;
        let connected = s.remote.is_some();
        s.shut_rd |= how != 1 && connected;
        s.shut_wr |= how != 0 && connected;
        if !connected {
            return Err(Errno::ENOTCONN);
        }
        if how != 1 {
            self.raise(id.index, ev::READ);
        }
        Ok(())
    }

    /// The program is gone (close(2), or killed): the socket becomes an orphan that ends by itself. `unread`
    /// says that bytes handed to the program's descriptor were never read: the peer gets an RST.
    pub fn close(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, unread: bool) {
        match self.is_stream(id) {
            Ok(true) => self.tcp_close(cx, net, id, unread),
            Ok(false) => self.discard(cx, net, id.index),
            Err(_) => {}
        }
    }

    /// Gives back the port of a datagram socket whose program is gone: nothing more comes to it and others may bind there,
    /// but what it still has to send goes out under its name.
    pub fn release_port(&mut self, id: SockId) {
        let Ok(s) = self.table.get_mut(id) else { return };
        if s.lport != 0 && !s.released && matches!(s.body, Body::Dgram(_)) {
            s.released = true;
            self.demux.del_bound(s.proto, s.lport, id.index);
            if let Some(r) = s.remote {
                self.demux.del_conn(ConnKey::new(s.proto, s.local, s.lport, r), id.index);
            }
        }
    }

    /// Takes a socket out of everything that knows it and frees it.
    pub(super) fn discard(&mut self, cx: &mut Cx, net: &mut Net, slot: u32) {
        let Some(mut s) = self.take_out(slot) else { return };
        match &mut s.body {
            Body::Dgram(d) => {
                // Out of the table: what the others hear is reckoned without it.
                for g in core::mem::take(&mut d.groups) {
                    self.left(cx, net, &g);
                }
                for g in d.rx.drain(..) {
                    cx.mbufs.free(g.m);
                }
            }
            Body::Listen(l) => self.close_listener(cx, l),
            Body::Conn(_) | Body::Idle => {}
        }
    }

    /// Takes a socket out of the table and the indexes.
    pub(super) fn take_out(&mut self, slot: u32) -> Option<Box<Sock>> {
        self.unlink(slot);
        let s = self.table.remove(slot)?;
        if let (Some(r), Body::Dgram(_)) = (s.remote, &s.body) {
            self.demux.del_conn(ConnKey::new(s.proto, s.local, s.lport, r), slot);
        }
        if s.lport != 0 && !s.released {
            self.demux.del_bound(s.proto, s.lport, slot);
        }
        if s.ty == SockType::Raw {
            self.demux.raws.retain(|i| *i != slot);
        }
        if let Body::Conn(c) = &s.body {
            self.conn_gone(c, s.local);
        }
        Some(s)
    }

    /// Whether a datagram socket waits with something to be read, and room to write: for poll(2).
    pub fn readable(&self, id: SockId) -> bool {
        self.table.get(id).is_ok_and(|s| match &s.body {
            Body::Dgram(d) => !d.rx.is_empty() || s.shut_rd,
            Body::Conn(c) => c.tcb.readable() > 0 || self.at_eof(id),
            Body::Listen(l) => !l.ready.is_empty(),
            Body::Idle => s.shut_rd,
        })
    }

    /// Type, family and protocol of a socket.
    ///
    /// # Errors
    /// EBADF.
    pub fn kind(&self, id: SockId) -> Result<(SockType, Family, u8)> {
        let s = self.table.get(id)?;
        debug_assert!(!is_icmp(s.proto) || s.ty != SockType::Stream);
        Ok((s.ty, s.family, s.proto))
    }

    /// Room in the send buffer of a stream, or what a datagram socket may still send in this turn; bytes.
    pub fn write_space(&self, id: SockId) -> usize {
        self.table.get(id).map_or(0, |s| match &s.body {
            Body::Dgram(d) => self.dgram_space(s, d),
            Body::Conn(c) if !s.shut_wr => c.tcb.write_space(),
            _ => 0,
        })
    }
}

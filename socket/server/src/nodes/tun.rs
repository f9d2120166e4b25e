//! The program's end of TUN and TAP interfaces (tun(4), tap(4)): one packet a message, both ways.

use super::Base;
use crate::Host;
use alloc::vec;
use alloc::vec::Vec;
use iopkt_base::{Errno, Instant, Result};
use iopkt_ctl::{IfKind, iff};
use iopkt_sockproto::bpf::*;
use iopkt_sockproto::linux::{IFNAMSIZ, IFREQ_LEN};
use iopkt_stack::Shard;
use iopkt_stack::tun::{MAX_MTU, Node};
use iopkt_wire::ethernet::HEADER_LEN;

/// BSD's numbers of the families, in front of packets with TUNSIFHEAD.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 24;
/// Packets given in a turn.
const GIVEN: usize = 256;

/// A program that has a node open.
#[derive(Debug)]
pub(crate) struct Program {
    pub ifindex: u32,
    node: Node,
    /// Opened as `/dev/tap`: the interface lives as long as the descriptor.
    pub own: bool,
    /// TUNSIFHEAD.
    head: bool,
    /// TUNSDEBUG.
    debug: u32,
    /// The interface was up when we last looked.
    up: bool,
}

fn int(b: &[u8]) -> Result<u32> {
    b.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
}

/// A TAP interface for who opened `/dev/tap`.
pub(crate) fn free_tap(shard: &mut Shard) -> Result<u32> {
    let free = |u: &u32| shard.net.ifindex_of(&alloc::format!("tap{u}")) == 0;
    let unit = (0..1024).find(free).ok_or(Errno::ENOSPC)?;
    shard.create_node(&alloc::format!("tap{unit}"))
}

impl Program {
    pub fn new(ifindex: u32, node: Node) -> Program {
        Program { ifindex, node, own: false, head: false, debug: 0, up: false }
    }

    /// ioctl(2): the bytes that come back.
    pub fn ioctl(&mut self, shard: &mut Shard, request: u32, arg: &[u8]) -> Result<Vec<u8>> {
        let i = shard.net.iface_mut(self.ifindex).ok_or(Errno::ENXIO)?;
        match (self.node, request) {
            (Node::Tap, TAPGIFNAME) => {
                let mut out = vec![0; IFREQ_LEN];
                let n = i.name.len().min(IFNAMSIZ - 1);
                out[..n].copy_from_slice(&i.name.as_bytes()[..n]);
                return Ok(out);
            }
            (Node::Tun, TUNSIFMODE) => {
                if i.is_up() {
                    return Err(Errno::EBUSY);
                }
                let mode = int(arg)? & !iff::MULTICAST;
                if mode != iff::POINTOPOINT && mode != iff::BROADCAST {
                    return Err(Errno::EINVAL);
                }
                i.flags = i.flags & !(iff::POINTOPOINT | iff::BROADCAST) | mode;
            }
            (Node::Tun, TUNSIFHEAD) => self.head = int(arg)? != 0,
            (Node::Tun, TUNGIFHEAD) => return Ok(u32::from(self.head).to_ne_bytes().to_vec()),
            (_, TUNSDEBUG) => self.debug = int(arg)?,
            (_, TUNGDEBUG) => return Ok(self.debug.to_ne_bytes().to_vec()),
            _ => return Err(Errno::ENOTTY),
        }
        Ok(Vec::new())
    }

    /// write(2): one packet, received by the interface.
    pub fn write(&mut self, shard: &mut Shard, packet: &[u8]) -> Result<usize> {
        let r = self.receive(shard, packet);
        if let (Err(e), true) = (&r, self.debug != 0) {
            let name = shard.net.ifname(self.ifindex).unwrap_or("?");
            let text = alloc::format!("{name}: a packet of {} bytes was not taken: {e}", packet.len());
            shard.cx.log(6, text);
        }
        r
    }

    fn receive(&mut self, shard: &mut Shard, packet: &[u8]) -> Result<usize> {
        let i = shard.net.iface(self.ifindex).ok_or(Errno::ENXIO)?;
        if !i.is_up() {
            return Err(Errno::EHOSTDOWN);
        }
        let body = if self.head && self.node == Node::Tun {
            let (af, rest) = packet.split_at_checked(4).ok_or(Errno::EIO)?;
            match u32::from_be_bytes([af[0], af[1], af[2], af[3]]) {
                AF_INET | AF_INET6 => rest,
                _ => return Err(Errno::EAFNOSUPPORT),
            }
        } else {
            packet
        };
        let most = MAX_MTU as usize + HEADER_LEN;
        if body.is_empty() || body.len() > most || self.node == Node::Tap && body.len() < HEADER_LEN {
            return Err(Errno::EIO);
        }
        let m = shard.cx.mbufs.copy_of(body).ok_or(Errno::ENOBUFS)?;
        shard.input(self.ifindex, &mut vec![m]);
        Ok(packet.len())
    }

    /// Gives the program what the interface sends. Also what is to be told: the interface is gone.
    pub fn down<H: Host>(
        &mut self,
        shard: &mut Shard,
        host: &mut H,
        base: &mut Base,
    ) -> (Instant, Option<Errno>) {
        let Shard { cx, net, .. } = shard;
        let Some(i) = net.iface_mut(self.ifindex) else { return (Instant::FAR, Some(Errno::ENXIO)) };
        if core::mem::replace(&mut self.up, i.is_up()) && !i.is_up() {
            base.err = Some(Errno::EHOSTDOWN);
        }
        for _ in 0..GIVEN {
            if !base.writable {
                break;
            }
            let Some(m) = i.tx.pop_front() else { break };
            let bytes = m.as_slice();
            let af = if bytes.first().is_some_and(|b| b >> 4 == 6) { AF_INET6 } else { AF_INET };
            let af = af.to_be_bytes();
            let head: &[u8] = if self.head && i.kind == IfKind::PointToPoint { &af } else { &[] };
            match host.send_msg(base.end, head, bytes) {
                Ok(()) => cx.mbufs.free(m),
                Err(Errno::EAGAIN) => {
                    base.writable = false;
                    i.tx.push_front(m);
                }
                Err(_) => {
                    i.counters.oerrors += 1;
                    cx.mbufs.free(m);
                }
            }
        }
        let more = base.writable && !i.tx.is_empty();
        (if more { Instant::ZERO } else { Instant::FAR }, None)
    }

    /// The program is gone.
    pub fn end(self, shard: &mut Shard) {
        if self.own {
            let _ = shard.detach(self.ifindex);
        } else {
            shard.node_opened(self.ifindex, false);
        }
    }
}

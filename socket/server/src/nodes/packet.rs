//! Packet sockets (packet(7)): every frame of an interface, or of all, with `struct sockaddr_ll`.
//!
//! What libpcap needs of them on Linux, and what programs that speak raw Ethernet use: SOCK_RAW and SOCK_DGRAM, bind to an
//! interface and a protocol, promiscuous mode, socket filters, receive rings (`ring`), statistics, sending.

use super::Base;
use super::ring::{Ring, Version};
use crate::Host;
use alloc::vec::Vec;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_bpf::{Dialect, Program};
use iopkt_ctl::IfKind;
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{DgramHdr, LINK_ADDR_LEN, df};
use iopkt_stack::Shard;
use iopkt_stack::tap::{Link, Seen, TapConfig, TapId, TapStats, Towards};

/// Linux's default for SO_RCVBUF, as it counts.
const RCVBUF: usize = 212_992;
/// Memberships of one socket.
const MEMBERSHIPS: usize = 64;

/// `ARPHRD_*`.
pub(crate) fn hatype(kind: IfKind) -> u16 {
    match kind {
        IfKind::Ethernet => 1,
        IfKind::Loopback => 772,
        IfKind::PointToPoint => 65534,
    }
}

/// A packet socket.
pub(crate) struct Packet {
    tap: TapId,
    raw: bool,
    protocol: u16,
    ifindex: u32,
    version: Version,
    /// PACKET_RESERVE.
    reserve: u32,
    pub ring: Option<Ring>,
    memberships: Vec<(u32, u16)>,
    /// SO_TIMESTAMP, SO_TIMESTAMPNS, PACKET_AUXDATA.
    stamp: [i32; 2],
    auxdata: i32,
    ignore_outgoing: bool,
    /// What PACKET_STATISTICS has told already.
    told: TapStats,
}

fn int(b: &[u8]) -> Result<i32> {
    b.get(..4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes).ok_or(Errno::EINVAL)
}

impl Packet {
    pub fn new(shard: &mut Shard, raw: bool, protocol: u16) -> Result<Packet> {
        let link = if raw { Link::Ethernet } else { Link::Cooked };
        let tap = shard.tap_open(TapConfig { link, room: RCVBUF, ..TapConfig::default() })?;
        let mut p = Packet {
            tap,
            raw,
            protocol: 0,
            ifindex: 0,
            version: Version::V1,
            reserve: 0,
            ring: None,
            memberships: Vec::new(),
            stamp: [0; 2],
            auxdata: 0,
            ignore_outgoing: false,
            told: TapStats::default(),
        };
        p.listen(shard, protocol);
        Ok(p)
    }

    /// Sets what the tap hears.
    fn listen(&mut self, shard: &mut Shard, protocol: u16) {
        self.protocol = protocol;
        let Some(t) = shard.taps.get_mut(self.tap) else { return };
        t.cfg.on = protocol != 0 && !t.gone;
        let all = protocol == ETH_P_ALL;
        t.cfg.protocol = if all { 0 } else { protocol };
        // As in Linux, only who listens to everything hears what we send.
        t.cfg.sent = all && !self.ignore_outgoing;
    }

    /// bind(2). `protocol` in network byte order, 0: as it was.
    pub fn bind(&mut self, shard: &mut Shard, ifindex: u32, protocol: u16) -> Result<()> {
        shard.tap_attach(self.tap, ifindex).map_err(|_| Errno::ENODEV)?;
        if shard.net.iface(ifindex).is_some_and(|i| !i.is_up()) {
            return Err(Errno::ENETDOWN);
        }
        self.ifindex = ifindex;
        let protocol = if protocol == 0 { self.protocol } else { u16::from_be(protocol) };
        self.listen(shard, protocol);
        Ok(())
    }

    /// getsockname(2): a `struct sockaddr_ll`.
    pub fn name(&self, shard: &Shard) -> [u8; LINK_ADDR_LEN] {
        let i = shard.net.iface(self.ifindex);
        let kind = i.map_or(0, |i| hatype(i.kind));
        let mac = i.map(|i| i.mac);
        address(self.protocol, self.ifindex, kind, 0, mac.filter(|_| kind == 1))
    }

    /// Domain, type and protocol.
    pub fn numbers(&self) -> [i32; 3] {
        [AF_PACKET, if self.raw { SOCK_RAW } else { SOCK_DGRAM }, i32::from(self.protocol.to_be())]
    }

    pub fn set<H: Host>(
        &mut self,
        shard: &mut Shard,
        host: &mut H,
        level: i32,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        match (level, name) {
            (SOL_SOCKET, SO_ATTACH_FILTER) => {
                let p = Program::from_bytes(v, Dialect::Linux).map_err(|_| Errno::EINVAL)?;
                self.tap(shard)?.cfg.program = Some(p);
            }
            (SOL_SOCKET, SO_DETACH_FILTER) => {
                self.tap(shard)?.cfg.program.take().map(drop).ok_or(Errno::ENOENT)?;
            }
            (SOL_SOCKET, SO_RCVBUF | SO_RCVBUFFORCE) => {
                let n = usize::try_from(int(v)?).map_err(|_| Errno::EINVAL)?;
                // Linux doubles it, for its own overhead.
                self.tap(shard)?.cfg.room = n.saturating_mul(2).clamp(2304, 64 << 20);
            }
            (SOL_SOCKET, SO_TIMESTAMP) => self.stamp[0] = int(v)?,
            (SOL_SOCKET, SO_TIMESTAMPNS) => self.stamp[1] = int(v)?,
            // Nothing here has an effect on frames, and nobody would notice one.
            (SOL_SOCKET, SO_SNDBUF | SO_REUSEADDR | SO_BROADCAST | SO_PRIORITY) => drop(int(v)?),
            (SOL_PACKET, PACKET_AUXDATA) => self.auxdata = int(v)?,
            (SOL_PACKET, PACKET_IGNORE_OUTGOING) => {
                self.ignore_outgoing = int(v)? != 0;
                self.listen(shard, self.protocol);
            }
            (SOL_PACKET, PACKET_FATE) => self.tap(shard)?.cfg.fate = int(v)? != 0,
            (SOL_PACKET, PACKET_VERSION) => {
                if self.ring.is_some() {
                    return Err(Errno::EBUSY);
                }
                self.version = Version::of(int(v)?)?;
            }
            (SOL_PACKET, PACKET_RESERVE) => {
                if self.ring.is_some() {
                    return Err(Errno::EBUSY);
                }
                let n = int(v)? as u32;
                self.reserve = if n > 4096 { return Err(Errno::EINVAL) } else { n };
            }
            (SOL_PACKET, PACKET_RX_RING) => self.set_ring(shard, host, v)?,
            (SOL_PACKET, PACKET_ADD_MEMBERSHIP) => self.join(shard, v)?,
            (SOL_PACKET, PACKET_DROP_MEMBERSHIP) => {
                let m = membership(v)?;
                let at = self.memberships.iter().position(|x| *x == m).ok_or(Errno::EADDRNOTAVAIL)?;
                self.memberships.swap_remove(at);
                shard.net.promisc_users(&mut shard.cx, m.0, false);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn join(&mut self, shard: &mut Shard, v: &[u8]) -> Result<()> {
        let m = membership(v)?;
        if shard.net.iface(m.0).is_none() {
            return Err(Errno::ENODEV);
        }
        if self.memberships.len() >= MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        // All multicast is part of everything.
        shard.net.promisc_users(&mut shard.cx, m.0, true);
        self.memberships.push(m);
        Ok(())
    }

    fn set_ring<H: Host>(&mut self, shard: &mut Shard, host: &mut H, v: &[u8]) -> Result<()> {
        let blocks = v.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
        if blocks.ok_or(Errno::EINVAL)? == 0 {
            if let Some(r) = self.ring.take() {
                host.ring_free(r.id);
            }
            return Ok(());
        }
        if self.ring.is_some() {
            return Err(Errno::EBUSY);
        }
        self.ring = Some(Ring::new(host, self.version, self.reserve, self.raw, v)?);
        // What was queued before is not in the ring.
        self.tap(shard)?.flush();
        Ok(())
    }

    fn tap<'a>(&self, shard: &'a mut Shard) -> Result<&'a mut iopkt_stack::tap::Tap> {
        shard.taps.get_mut(self.tap).ok_or(Errno::EBADF)
    }

    pub fn get(&mut self, shard: &mut Shard, level: i32, name: i32) -> Result<Vec<u8>> {
        let [domain, ty, protocol] = self.numbers();
        let v = match (level, name) {
            (SOL_SOCKET, SO_TYPE) => ty,
            (SOL_SOCKET, SO_DOMAIN) => domain,
            (SOL_SOCKET, SO_PROTOCOL) => protocol,
            (SOL_SOCKET, SO_RCVBUF) => i32::try_from(self.tap(shard)?.cfg.room).unwrap_or(i32::MAX),
            (SOL_SOCKET, SO_SNDBUF) => RCVBUF as i32,
            (SOL_SOCKET, SO_ACCEPTCONN) => 0,
            (SOL_SOCKET, SO_TIMESTAMP) => self.stamp[0],
            (SOL_SOCKET, SO_TIMESTAMPNS) => self.stamp[1],
            (SOL_SOCKET, SO_WANTS) => self.wants() as i32,
            (SOL_PACKET, PACKET_VERSION) => self.version as i32,
            (SOL_PACKET, PACKET_RESERVE) => self.reserve as i32,
            (SOL_PACKET, PACKET_AUXDATA) => self.auxdata,
            (SOL_PACKET, PACKET_IGNORE_OUTGOING) => i32::from(self.ignore_outgoing),
            (SOL_PACKET, PACKET_STATISTICS) => return self.statistics(shard),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(v.to_ne_bytes().to_vec())
    }

    /// The bits of SO_WANTS: of the two kinds of time the finer one counts, as with Linux.
    fn wants(&self) -> u32 {
        let stamp = match self.stamp {
            [_, ns] if ns != 0 => SO_TIMESTAMPNS,
            [us, _] if us != 0 => SO_TIMESTAMP,
            _ => 0,
        };
        let auxdata = if self.auxdata != 0 { wants::AUXDATA } else { 0 };
        (stamp as u32) << wants::STAMP_SHIFT | auxdata
    }

    /// `struct tpacket_stats` or `tpacket_stats_v3`: what happened since it was last asked for.
    fn statistics(&mut self, shard: &mut Shard) -> Result<Vec<u8>> {
        let s = self.tap(shard)?.stats;
        let (ring_lost, frozen) = self.ring.as_mut().map_or((0, 0), Ring::take_losses);
        let packets = (s.matched - self.told.matched) as u32;
        let drops = (s.dropped - self.told.dropped) as u32 + ring_lost;
        self.told = s;
        let mut v = packets.to_ne_bytes().to_vec();
        v.extend(drops.to_ne_bytes());
        if self.version == Version::V3 {
            v.extend(frozen.to_ne_bytes());
        }
        Ok(v)
    }

    /// Sends a frame: `msg` with or without a header.
    pub fn send(&mut self, shard: &mut Shard, msg: &[u8], key: u64) -> Result<usize> {
        let (to, frame) = match DgramHdr::decode(msg, key) {
            Some((h, p)) if h.flags & df::PACKET != 0 => (Some(h.link), p),
            Some((_, p)) => (None, p),
            None => (None, msg),
        };
        let ifindex = match to {
            Some(a) => u32::from_ne_bytes([a[4], a[5], a[6], a[7]]),
            None => self.ifindex,
        };
        let i = shard.net.iface(ifindex).ok_or(Errno::ENXIO)?;
        match (self.raw, i.kind) {
            (true, IfKind::Loopback) => {
                // Programs see Linux's loopback with an Ethernet header, and write one.
                shard.inject(ifindex, frame.get(14..).ok_or(Errno::EINVAL)?)?;
            }
            (true, _) | (false, IfKind::PointToPoint | IfKind::Loopback) => shard.inject(ifindex, frame)?,
            (false, IfKind::Ethernet) => {
                let a = to.filter(|a| a[11] == 6).ok_or(Errno::EINVAL)?;
                let mut whole = Vec::with_capacity(14 + frame.len());
                whole.extend_from_slice(&a[12..18]);
                whole.extend_from_slice(&i.mac);
                whole.extend_from_slice(&a[2..4]);
                whole.extend_from_slice(frame);
                shard.inject(ifindex, &whole)?;
            }
        }
        Ok(frame.len())
    }

    /// Gives the program what the tap took. Also when it wants to be called again, and what is to be told if the
    /// interface is gone.
    pub fn down<H: Host>(
        &mut self,
        shard: &mut Shard,
        host: &mut H,
        base: &mut Base,
        key: u64,
        now: Instant,
    ) -> (Instant, Option<Errno>) {
        let Some(t) = shard.taps.get_mut(self.tap) else { return (Instant::FAR, None) };
        let lost = t.gone.then_some(Errno::ENETDOWN);
        let Some(ring) = &mut self.ring else {
            while base.writable
                && let Some((s, bytes)) = t.first()
            {
                let h = DgramHdr {
                    flags: df::PACKET,
                    ifindex: s.ifindex,
                    stamp: s.at.as_nanos(),
                    len: s.wire_len,
                    err: s.why.map_or(0, |w| w as i32 + 1),
                    icmp: (s.csum_pending.into(), s.net.try_into().unwrap_or(u8::MAX)),
                    extra: bytes.len().try_into().unwrap_or(u16::MAX),
                    link: sender(s),
                    ..DgramHdr::default()
                };
                match host.send_msg(base.end, &h.encode(key), bytes) {
                    Err(Errno::EAGAIN) => base.writable = false,
                    _ => t.pop(),
                }
            }
            return (Instant::FAR, lost);
        };
        let mut ready = false;
        while let Some((s, bytes)) = t.first() {
            ready |= ring.put(host, s, &sender(s), bytes);
            t.pop();
        }
        let (at, closed) = ring.retire(host, now);
        if ready || closed {
            base.token(host);
        }
        (at, lost)
    }

    pub fn end<H: Host>(mut self, shard: &mut Shard, host: &mut H) {
        for (ifindex, _) in self.memberships.drain(..) {
            shard.net.promisc_users(&mut shard.cx, ifindex, false);
        }
        shard.tap_close(self.tap);
        if let Some(r) = self.ring {
            host.ring_free(r.id);
        }
    }
}

/// `struct packet_mreq`: interface and type.
fn membership(v: &[u8]) -> Result<(u32, u16)> {
    let b = v.get(..16).ok_or(Errno::EINVAL)?;
    let m = (u32::from_ne_bytes([b[0], b[1], b[2], b[3]]), u16::from_ne_bytes([b[4], b[5]]));
    match m.1 {
        PACKET_MR_PROMISC | PACKET_MR_ALLMULTI => Ok(m),
        // Groups are joined by IP address here (IP_ADD_MEMBERSHIP).
        PACKET_MR_MULTICAST => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

/// A `struct sockaddr_ll`.
fn address(
    protocol: u16,
    ifindex: u32,
    hatype: u16,
    pkttype: u8,
    mac: Option<[u8; 6]>,
) -> [u8; LINK_ADDR_LEN] {
    let mut a = [0; LINK_ADDR_LEN];
    a[..2].copy_from_slice(&(AF_PACKET as u16).to_ne_bytes());
    a[2..4].copy_from_slice(&protocol.to_be_bytes());
    a[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    a[8..10].copy_from_slice(&hatype.to_ne_bytes());
    a[10] = pkttype;
    if let Some(m) = mac {
        a[11] = 6;
        a[12..18].copy_from_slice(&m);
    }
    a
}

fn sender(s: &Seen) -> [u8; LINK_ADDR_LEN] {
    let has_mac = s.kind != IfKind::PointToPoint;
    address(s.protocol, s.ifindex, hatype(s.kind), s.towards as u8, has_mac.then_some(s.from))
}

const _: () = assert!(Towards::Out as u8 == 4);

/// How long TPACKET_V3 keeps a block open if the program does not say.
pub(crate) const RETIRE: Duration = Duration::from_millis(8);

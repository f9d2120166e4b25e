//! What netstat shows: a line per socket, counters in BSD's words.

use super::Sockets;
use super::sock::{Body, Sock};
use super::types::{SockId, SockType, proto};
use crate::counters::Why;
use crate::packet::Family;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::Result;
use iopkt_ctl::{Counter, SockInfo};
use iopkt_tcp::State;

/// Counters of UDP.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UdpStats {
    pub received: u64,
    pub short: u64,
    pub bad_length: u64,
    pub bad_checksum: u64,
    pub no_socket: u64,
    pub no_socket_mcast: u64,
    pub filtered: u64,
    /// Datagrams that found a full receive buffer.
    pub full: u64,
    pub delivered: u64,
    pub sent: u64,
}

impl UdpStats {
    pub fn bad(&mut self, why: Why) {
        match why {
            Why::BadLength => self.bad_length += 1,
            Why::BadTransportChecksum => self.bad_checksum += 1,
            _ => self.short += 1,
        }
    }
}

/// Counters of TCP that no connection has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpStats {
    pub received: u64,
    pub sent: u64,
    pub short: u64,
    pub bad_checksum: u64,
    pub no_socket: u64,
    pub active_opens: u64,
    pub accepts: u64,
    pub listen_overflow: u64,
    pub cookies_sent: u64,
    pub cookies_good: u64,
    pub cookies_bad: u64,
    pub resets_sent: u64,
    pub resets_limited: u64,
    pub aborted_on_close: u64,
    pub time_wait_overflow: u64,
    pub pressed: u64,
    pub fast_active: u64,
    pub fast_active_fail: u64,
    pub fast_passive: u64,
    pub fast_passive_fail: u64,
    pub fast_requests: u64,
    pub fast_overflow: u64,
    /// ICMP errors about what is not in flight.
    pub icmp_stray: u64,
    /// Sums over connections that are no more.
    pub bytes_in: u64,
    pub bytes_acked: u64,
    pub retransmits: u64,
    pub timeouts: u64,
    pub dup_acks: u64,
    pub ooo: u64,
    pub paws: u64,
    pub probes: u64,
    pub challenges: u64,
}

impl TcpStats {
    /// Adds the counters of one connection.
    pub fn add(&mut self, s: &iopkt_tcp::Stats) {
        self.bytes_in += s.bytes_in;
        self.bytes_acked += s.bytes_acked;
        self.retransmits += u64::from(s.retransmits);
        self.timeouts += u64::from(s.timeouts);
        self.dup_acks += u64::from(s.dup_acks);
        self.ooo += u64::from(s.ooo);
        self.paws += u64::from(s.paws);
        self.probes += u64::from(s.probes);
        self.challenges += u64::from(s.challenges);
    }
}

/// Counters of raw sockets: of copies, one for each socket that wants a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawStats {
    pub received: u64,
    /// IPV6_CHECKSUM was looked at.
    pub summed: u64,
    pub bad_checksum: u64,
    pub full: u64,
    pub delivered: u64,
    pub sent: u64,
}

/// Counters of the sockets' packets of one version of IP. A packet counts for the version it has, whatever its socket's family.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct VersionStats {
    pub udp: UdpStats,
    pub tcp: TcpStats,
    pub raw: RawStats,
}

/// Counters of all sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    v4: VersionStats,
    v6: VersionStats,
}

impl Stats {
    /// Those of the version that an address has.
    #[inline]
    pub fn of(&mut self, a: &IpAddr) -> &mut VersionStats {
        if a.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

fn counter(group: &str, text: &str, value: u64) -> Counter {
    Counter { group: group.to_string(), text: text.to_string(), value }
}

impl Sockets {
    /// Sockets from slot `cursor` on, at most `limit` of them, and the cursor for the rest (0 at the end).
    pub fn list(&self, cursor: u32, limit: usize) -> (Vec<SockInfo>, u32) {
        let mut out = Vec::new();
        for i in cursor..self.table.span() {
            if out.len() >= limit {
                return (out, i);
            }
            if let Some(s) = self.table.at(i) {
                out.push(info(s));
            }
        }
        (out, 0)
    }

    /// Notes which process a socket belongs to, for listings.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_owner(&mut self, id: SockId, pid: u32) -> Result<()> {
        self.table.get_mut(id)?.pid = pid;
        Ok(())
    }

    /// Counters in the order and the words of `netstat -s`, of both versions of IP.
    pub fn stats(&self) -> Vec<Counter> {
        let mut all = self.stats;
        // Connections of each version.
        let mut now = [0; 2];
        for s in (0..self.table.span()).filter_map(|i| self.table.at(i)) {
            if let Body::Conn(c) = &s.body {
                all.of(&s.local).tcp.add(c.tcb.stats());
                now[usize::from(s.local.is_ipv6())] += u64::from(c.linked);
            }
        }
        let mut v = Vec::new();
        tcp_rows(&mut v, "tcp", &all.v4.tcp, now[0]);
        udp_rows(&mut v, "udp", &all.v4.udp);
        tcp_rows(&mut v, "tcp6", &all.v6.tcp, now[1]);
        udp_rows(&mut v, "udp6", &all.v6.udp);
        raw_rows(&mut v, "raw6", &all.v6.raw);
        v.extend([
            counter("socket", "{} ports in use", self.demux.port_count() as u64),
            counter("socket", "{} sockets open", self.table.len() as u64),
            counter("socket", "{} connections without a process", self.orphans as u64),
            counter(
                "socket",
                "{} packets delivered to raw sockets",
                all.v4.raw.delivered + all.v6.raw.delivered,
            ),
        ]);
        v
    }
}

fn rows(v: &mut Vec<Counter>, group: &str, list: &[(&str, u64)]) {
    v.extend(list.iter().map(|(text, value)| counter(group, text, *value)));
}

fn tcp_rows(v: &mut Vec<Counter>, group: &str, t: &TcpStats, connections: u64) {
    let list = [
        ("{} packets sent", t.sent),
        ("{} bytes sent and acknowledged", t.bytes_acked),
        ("{} data packets retransmitted", t.retransmits),
        ("{} window probe packets", t.probes),
        ("{} packets received", t.received),
        ("{} bytes received in-sequence", t.bytes_in),
        ("{} duplicate acks", t.dup_acks),
        ("{} out-of-order packets", t.ooo),
        ("{} old duplicate packets (timestamps)", t.paws),
        ("{} retransmit timeouts", t.timeouts),
        ("{} challenge acks", t.challenges),
        ("{} data packets not kept for lack of memory", t.pressed),
        ("{} discarded for bad checksums", t.bad_checksum),
        ("{} discarded because packet too short", t.short),
        ("{} connection requests", t.active_opens),
        ("{} connections opened with data in the SYN", t.fast_active),
        ("{} SYNs whose data was not taken", t.fast_active_fail),
        ("{} connections accepted with data in the SYN", t.fast_passive),
        ("{} bad Fast Open cookies", t.fast_passive_fail),
        ("{} Fast Open cookies asked for", t.fast_requests),
        ("{} Fast Opens refused by a full queue", t.fast_overflow),
        ("{} connection accepts", t.accepts),
        ("{} dropped due to no socket", t.no_socket),
        ("{} resets sent for segments without a connection", t.resets_sent),
        ("{} resets suppressed by the rate limit", t.resets_limited),
        ("{} listen queue overflows", t.listen_overflow),
        ("{} SYN cookies sent", t.cookies_sent),
        ("{} SYN cookies accepted", t.cookies_good),
        ("{} bad SYN cookies", t.cookies_bad),
        ("{} connections reset on close", t.aborted_on_close),
        ("{} TIME_WAIT connections recycled", t.time_wait_overflow),
        ("{} ICMP errors about what is not in flight", t.icmp_stray),
        ("{} connections", connections),
    ];
    rows(v, group, &list);
}

fn udp_rows(v: &mut Vec<Counter>, group: &str, u: &UdpStats) {
    let list = [
        ("{} datagrams received", u.received),
        ("{} with incomplete header", u.short),
        ("{} with bad data length field", u.bad_length),
        ("{} with bad checksum", u.bad_checksum),
        ("{} dropped due to no socket", u.no_socket),
        ("{} broadcast/multicast datagrams dropped due to no socket", u.no_socket_mcast),
        ("{} dropped by a socket filter or checksum coverage", u.filtered),
        ("{} dropped due to full socket buffers", u.full),
        ("{} delivered", u.delivered),
        ("{} datagrams output", u.sent),
    ];
    rows(v, group, &list);
}

fn raw_rows(v: &mut Vec<Counter>, group: &str, r: &RawStats) {
    let list = [
        ("{} messages received", r.received),
        ("{} checksum calculations on inbound", r.summed),
        ("{} messages with bad checksum", r.bad_checksum),
        ("{} messages dropped due to full socket buffers", r.full),
        ("{} delivered", r.delivered),
        ("{} datagrams output", r.sent),
    ];
    rows(v, group, &list);
}

/// netstat's word for a state.
pub(crate) fn state(s: State) -> &'static str {
    match s {
        State::Closed => "CLOSED",
        State::SynSent => "SYN_SENT",
        State::SynReceived => "SYN_RCVD",
        State::Established => "ESTABLISHED",
        State::CloseWait => "CLOSE_WAIT",
        State::FinWait1 => "FIN_WAIT_1",
        State::Closing => "CLOSING",
        State::LastAck => "LAST_ACK",
        State::FinWait2 => "FIN_WAIT_2",
        State::TimeWait => "TIME_WAIT",
    }
}

fn name(s: &Sock) -> String {
    let n = match (s.ty, s.proto) {
        (SockType::Stream, _) => "tcp",
        (SockType::Raw, _) => "raw",
        (_, proto::UDP) => "udp",
        _ => "icmp",
    };
    n.to_string()
}

fn info(s: &Sock) -> SockInfo {
    let (recv_q, send_q, state) = match &s.body {
        Body::Dgram(d) => (d.rx_payload as u64, 0, String::new()),
        Body::Idle => (0, 0, "CLOSED".to_string()),
        Body::Listen(l) => (l.ready.len() as u64, 0, "LISTEN".to_string()),
        Body::Conn(c) => {
            (c.tcb.readable() as u64, c.tcb.unsent_or_unacked() as u64, state(c.tcb.state()).to_string())
        }
    };
    SockInfo {
        proto: name(s),
        family: if s.family == Family::V4 { 4 } else { 6 },
        recv_q,
        send_q,
        local: s.outward(s.local_sa()),
        remote: s.remote.map(|r| s.outward(r)),
        state,
        pid: s.pid,
        id: u64::from(s.id.generation) << 32 | u64::from(s.id.index),
        ino: 0,
        uid: 0,
        zone: None,
    }
}

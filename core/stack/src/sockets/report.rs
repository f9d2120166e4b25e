//! What netstat shows: a line per socket, counters in BSD's words.

use super::Sockets;
use super::sock::{Body, Sock};
use super::types::{SockId, SockType, proto};
use crate::counters::Why;
use crate::packet::Family;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
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

/// Counters of all sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub udp: UdpStats,
    pub tcp: TcpStats,
    pub raw_delivered: u64,
    /// Datagrams that found a full receive buffer.
    pub full: u64,
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

    /// Counters in the order and the words of `netstat -s`.
    pub fn stats(&self) -> Vec<Counter> {
        let u = &self.stats.udp;
        let c = counter;
        let mut sums = self.stats.tcp;
        let live = (0..self.table.span()).filter_map(|i| self.table.at(i));
        for s in live {
            if let Body::Conn(c) = &s.body {
                sums.add(c.tcb.stats());
            }
        }
        let t = &sums;
        let mut v = Vec::new();
        v.extend([
            c("tcp", "{} packets sent", t.sent),
            c("tcp", "{} bytes sent and acknowledged", t.bytes_acked),
            c("tcp", "{} data packets retransmitted", t.retransmits),
            c("tcp", "{} window probe packets", t.probes),
            c("tcp", "{} packets received", t.received),
            c("tcp", "{} bytes received in-sequence", t.bytes_in),
            c("tcp", "{} duplicate acks", t.dup_acks),
            c("tcp", "{} out-of-order packets", t.ooo),
            c("tcp", "{} old duplicate packets (timestamps)", t.paws),
            c("tcp", "{} retransmit timeouts", t.timeouts),
            c("tcp", "{} challenge acks", t.challenges),
            c("tcp", "{} data packets not kept for lack of memory", t.pressed),
            c("tcp", "{} discarded for bad checksums", t.bad_checksum),
            c("tcp", "{} discarded because packet too short", t.short),
            c("tcp", "{} connection requests", t.active_opens),
            c("tcp", "{} connections opened with data in the SYN", t.fast_active),
            c("tcp", "{} SYNs whose data was not taken", t.fast_active_fail),
            c("tcp", "{} connections accepted with data in the SYN", t.fast_passive),
            c("tcp", "{} bad Fast Open cookies", t.fast_passive_fail),
            c("tcp", "{} Fast Open cookies asked for", t.fast_requests),
            c("tcp", "{} Fast Opens refused by a full queue", t.fast_overflow),
            c("tcp", "{} connection accepts", t.accepts),
            c("tcp", "{} dropped due to no socket", t.no_socket),
            c("tcp", "{} resets sent for segments without a connection", t.resets_sent),
            c("tcp", "{} resets suppressed by the rate limit", t.resets_limited),
            c("tcp", "{} listen queue overflows", t.listen_overflow),
            c("tcp", "{} SYN cookies sent", t.cookies_sent),
            c("tcp", "{} SYN cookies accepted", t.cookies_good),
            c("tcp", "{} bad SYN cookies", t.cookies_bad),
            c("tcp", "{} connections reset on close", t.aborted_on_close),
            c("tcp", "{} TIME_WAIT connections recycled", t.time_wait_overflow),
            c("tcp", "{} ICMP errors about what is not in flight", t.icmp_stray),
            c("tcp", "{} connections", self.demux.conn_count() as u64),
            c("tcp", "{} connections without a process", self.orphans as u64),
            c("udp", "{} datagrams received", u.received),
            c("udp", "{} with incomplete header", u.short),
            c("udp", "{} with bad data length field", u.bad_length),
            c("udp", "{} with bad checksum", u.bad_checksum),
            c("udp", "{} dropped due to no socket", u.no_socket),
            c("udp", "{} broadcast/multicast datagrams dropped due to no socket", u.no_socket_mcast),
            c("udp", "{} dropped by a socket filter or checksum coverage", u.filtered),
            c("udp", "{} dropped due to full socket buffers", self.stats.full),
            c("udp", "{} delivered", u.delivered),
            c("udp", "{} datagrams output", u.sent),
            c("socket", "{} ports in use", self.demux.port_count() as u64),
            c("socket", "{} sockets open", self.table.len() as u64),
            c("socket", "{} packets delivered to raw sockets", self.stats.raw_delivered),
        ]);
        v
    }
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
    }
}

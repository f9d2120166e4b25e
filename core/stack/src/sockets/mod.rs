//! Sockets: the table, the demultiplexer, UDP, raw, and the TCP machine's place among them.
//!
//! The calls of [`Sockets`] are BSD's, without blocking: who would wait gets EAGAIN or EINPROGRESS and later
//! an [`Event`]. The socket server turns them into descriptors.
//!
//! Files: `table` (slots, names), `sock` (one socket), `demux` (whose packet), `ports` (who may have which), `reuseport` (who of a group),
//! `dgram` (queue and path of datagrams) with `udp`, `raw`, `icmp`, `mcast` and `mcast6` on it, `ext6` (extension headers), `errqueue` beside; `tcp` (a stream's life) with
//! `tcp_calls`, `tcp_in`, `tcp_train`, `tcp_listen`, `tcp_out`, `tcp_info`, `fastopen` and `timers`; `options` with a file per level
//! (`opt_socket`, `opt_ip`, `opt_ip6`, `opt_tcp` with `opt_tcp_rest`, `opt_udp`), `calls` (socket, bind, connect ... close), `tune` (what new sockets begin with), `policy` (what holds for all connections), `pressure` (what is kept when
//! memory is scarce), `report` (netstat).
//!
//! Limits: [`crate::Config::max_sockets`] sockets, orphans and TIME-WAITs (see `tcp`); receive queues by SO_RCVBUF; what datagram sockets send in
//! one turn by SO_SNDBUF.
//!
//! Privileges (ports under 1024, raw sockets) are the server's business: it knows who calls.

mod calls;
mod cork;
mod demux;
mod dgram;
mod errqueue;
mod ext6;
mod fastopen;
mod icmp;
mod linux_room;
mod mcast;
mod mcast6;
mod names;
mod opt_ip;
mod opt_ip6;
mod opt_socket;
mod opt_tcp;
mod opt_tcp_rest;
mod opt_udp;
mod options;
mod policy;
mod ports;
mod raw;
mod report;
mod reuseport;
mod sock;

mod pressure;
mod table;
mod tcp;
mod tcp_calls;
mod tcp_in;
mod tcp_info;
mod tcp_listen;
mod tcp_marks;
mod tcp_out;
mod tcp_train;
mod timers;
mod tune;
mod types;
mod udp;

pub use errqueue::{SockErr, origin};
pub use ext6::{Ext6, read_wire};
pub use iopkt_tcp::Waits;
pub use opt_ip6::mtu_info;
pub use options::RecvWants;
pub use tcp_marks::Written;
pub use types::{Datagram, Event, SendOpts, SockId, SockType, ev};

use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{Family, IcmpErr, IpInfo};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use iopkt_base::{Instant, Keyed};
use iopkt_mbuf::Mbuf;
use types::proto;

/// The socket table of a shard.
pub struct Sockets {
    table: table::Table,
    demux: demux::Demux,
    ports: ports::Ports,
    stats: report::Stats,
    tune: tune::Tune,
    fast: fastopen::Fast,
    policy: policy::Policy,
    /// Families that the shard has a domain for: IPv4, IPv6.
    families: [bool; 2],
    /// Sockets with untold events.
    happened: Vec<SockId>,
    /// Datagram sockets that were refused for having sent too much in this turn.
    throttled: Vec<SockId>,
    /// Counts turns (calls of [`Sockets::output`]).
    turn: u64,
    timers: timers::Timers,
    /// Slots of connections that may have something to send.
    dirties: Vec<u32>,
    /// Those of them whose device has a long queue, and when to look again without being asked.
    held: Vec<u32>,
    held_until: Instant,
    /// Connections without a program, TIME-WAIT apart.
    orphans: usize,
    /// Connections in TIME-WAIT, oldest first (stale names among them).
    time_waits: VecDeque<SockId>,
    /// Resets sent since an instant.
    rst_rate: (Instant, u32),
    /// How scarce packet memory is.
    pressure: pressure::Pressure,
    /// Packets received since it was last looked at.
    unweighed: u32,
    /// The owner hands error queues and control messages of streams on.
    messages: bool,
    /// Slots that a packet is for; kept to keep its memory.
    scratch: Vec<u32>,
}

impl Sockets {
    /// An empty table. `secret` is the shard's ([`Cx::secret`]): the demultiplexer's hash keys derive from it.
    /// `max` is the most sockets that may exist.
    pub fn new(secret: &Keyed, max: usize) -> Sockets {
        Sockets {
            table: table::Table::new(max),
            demux: demux::Demux::new(secret),
            ports: ports::Ports::new(),
            stats: report::Stats::default(),
            tune: tune::Tune::default(),
            fast: fastopen::Fast::new(secret),
            policy: policy::Policy {
                max_tw: tcp::MAX_TIME_WAIT.min(max / 2) as u32,
                ..policy::Policy::default()
            },
            families: [false; 2],
            happened: Vec::new(),
            throttled: Vec::new(),
            turn: 1,
            timers: timers::Timers::default(),
            dirties: Vec::new(),
            held: Vec::new(),
            held_until: Instant::ZERO,
            orphans: 0,
            time_waits: VecDeque::new(),
            rst_rate: (Instant::ZERO, 0),
            pressure: pressure::Pressure::default(),
            unweighed: 0,
            messages: false,
            scratch: Vec::new(),
        }
    }

    /// Says that the shard has a domain of this family; sockets of others are EAFNOSUPPORT.
    pub fn add_family(&mut self, family: Family) {
        self.families[usize::from(family == Family::V6)] = true;
    }

    /// First and last port of the ephemeral range (`net.inet.ip.anonportmin`, `anonportmax`).
    pub fn port_range(&self) -> (u16, u16) {
        self.ports.range
    }

    /// Changes the ephemeral range; false (and no change) when it is empty or begins with 0.
    pub fn set_port_range(&mut self, first: u16, last: u16) -> bool {
        let ok = first != 0 && first <= last;
        if ok {
            self.ports.range = (first, last);
        }
        ok
    }

    /// Sockets that exist.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that something happened to a socket; told once per turn.
    fn raise(&mut self, slot: u32, what: u8) {
        if let Some(s) = self.table.io_at(slot) {
            if s.ev == 0 {
                self.happened.push(s.id);
            }
            s.ev |= what;
        }
    }

    /// Moves what happened to sockets since the last call into `cx.events`; [`Sockets::output`] does it too.
    pub fn flush_events(&mut self, cx: &mut Cx) {
        for id in self.happened.drain(..) {
            if let Ok(s) = self.table.io(id) {
                cx.events.push_back(Event { id, what: core::mem::take(&mut s.ev) });
            }
        }
    }

    /// A transport packet for this host. `m` begins at the network header; its payload starts `info.hdr_len`
    /// bytes in. `None`: taken, or ended with its reason. `Some(m)`: no socket or protocol wants it; the
    /// domain answers with ICMP (port unreachable for UDP, protocol unreachable for the rest, nothing for what
    /// was not unicast) and ends it. For ICMP the domain does its own work and then calls this too: raw and
    /// ping sockets get their copies, and `Some(m)` just comes back.
    pub fn input(&mut self, cx: &mut Cx, net: &mut Net, info: &IpInfo, m: Mbuf) -> Option<Mbuf> {
        // A turn may bring more packets than lie between two grades of pressure.
        self.unweighed += 1;
        if self.unweighed >= pressure::EVERY {
            self.weigh(cx);
        }
        let raw = self.raw_input(cx, info, &m);
        match info.proto {
            proto::TCP => {
                self.tcp_input(cx, net, info, m);
                None
            }
            proto::UDP | proto::UDPLITE => self.udp_input(cx, net, info, m),
            proto::ICMP | proto::ICMP6 => {
                self.ping_input(cx, info, &m);
                Some(m)
            }
            _ if raw => {
                cx.mbufs.free(m);
                None
            }
            _ => Some(m),
        }
    }

    /// An error report about a packet of ours.
    pub fn icmp_error(&mut self, cx: &mut Cx, net: &mut Net, e: &IcmpErr) {
        self.icmp_error_quoting(cx, net, e, &e.head);
    }

    /// The same, with what the report quotes of the packet behind its network header.
    /// A path MTU is believed when a socket can have sent the packet: anybody may write a report about one that nobody sent (RFC
    /// 8201 section 4, RFC 5927 section 7).
    pub fn icmp_error_quoting(&mut self, cx: &mut Cx, net: &mut Net, e: &IcmpErr, quote: &[u8]) {
        let known = match e.proto {
            // Of a stream only when the segment is in flight: it lowers by itself.
            proto::TCP => {
                self.tcp_error(cx, net, e);
                false
            }
            proto::UDP | proto::UDPLITE => self.udp_error(e, quote),
            proto::ICMP | proto::ICMP6 => self.ping_error(e, quote),
            _ => false,
        };
        let raw = self.raw_error(e, quote);
        if (known || raw && e.proto != proto::TCP) && e.mtu != 0 {
            net.pmtu.lower(cx.now, e.dst, e.mtu);
        }
    }

    /// Does what is due at `cx.now` (TCP timers).
    pub fn tick(&mut self, cx: &mut Cx, net: &mut Net) {
        self.tcp_tick(cx, net);
    }

    /// When [`Sockets::tick`] and [`Sockets::output`] want to be called next; [`Instant::ZERO`] when
    /// something waits for output or to be told.
    pub fn deadline(&self) -> Instant {
        let idle = self.happened.is_empty() && self.throttled.is_empty() && self.dirties.is_empty();
        match (idle, self.held.is_empty()) {
            (false, _) => Instant::ZERO,
            (true, false) => self.timers.first().min(self.held_until),
            (true, true) => self.timers.first(),
        }
    }

    fn weigh(&mut self, cx: &Cx) {
        self.pressure = pressure::Pressure::of(cx.mbufs.pool());
        self.unweighed = 0;
    }

    /// Sends what sockets have to send and tells what happened: called once per turn, after input, timers and
    /// user calls. Appends to `cx.down` and `cx.events`.
    pub fn output(&mut self, cx: &mut Cx, net: &mut Net) {
        self.turn += 1;
        self.weigh(cx);
        self.tcp_output(cx, net);
        while let Some(id) = self.throttled.pop() {
            if self.table.get(id).is_ok() {
                self.raise(id.index, ev::WRITE);
            }
        }
        self.flush_events(cx);
    }
}

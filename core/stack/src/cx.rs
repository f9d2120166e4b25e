//! The one context that every layer gets.

use crate::counters::{Counters, Why};
use crate::packet::IpOut;
use crate::sockets::Event;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::{Instant, Keyed, Rng};
use iopkt_mbuf::{Cache, Mbuf};

/// Limits and defaults of a shard, from the command line. An immutable snapshot: changes arrive as messages.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cap of listen backlogs (`somaxconn`).
    pub somaxconn: u32,
    /// Unicast UDP goes to every SO_REUSEPORT socket on the port (`reuseport_unicast`).
    pub reuseport_unicast: bool,
    /// enXX names are mapped onto real interfaces (off with `enmap`).
    pub enmap: bool,
    /// Most sockets.
    pub max_sockets: usize,
    /// Most ARP or neighbour entries.
    pub max_neighbours: usize,
    /// Most packets held per unresolved neighbour.
    pub neighbour_hold: usize,
    /// Most datagrams in reassembly.
    pub max_reassembly: usize,
    /// Host name, for whoever asks.
    pub hostname: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            somaxconn: 4096,
            reuseport_unicast: false,
            enmap: true,
            max_sockets: 262_144,
            max_neighbours: 4096,
            neighbour_hold: 16,
            max_reassembly: 200,
            hostname: String::new(),
        }
    }
}

/// Something a device must do; the runtime passes it to the device's packet thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevOp {
    /// Start: the interface went up.
    Start(u32),
    /// Stop: the interface went down. The physical link goes down too.
    Stop(u32),
    /// New receive filter.
    Filter {
        /// Interface.
        ifindex: u32,
        /// Everything.
        promisc: bool,
        /// All multicast.
        allmulti: bool,
        /// Multicast addresses wanted.
        groups: Vec<[u8; 6]>,
    },
    /// New MTU.
    Mtu(u32, u32),
}

/// Something worth a line in the log or a message on a routing socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A log line: slogger severity (0 shutdown ... 7 debug2) and text.
    Log(u8, String),
    /// Link state or flags of an interface changed.
    IfInfo(u32),
    /// An address was added.
    NewAddr(u32),
    /// An address was removed.
    DelAddr(u32),
    /// An interface arrived (true) or departed (false).
    IfAnnounce(u32, bool),
}

/// Context of a turn: clock, randomness, configuration, packet memory, counters and the down-queues.
pub struct Cx {
    /// Time of this turn.
    pub now: Instant,
    /// Randomness that may be seen on the wire.
    pub rng: Rng,
    /// Keyed function for what must not be predicted: ISNs, ports, cookies.
    pub secret: Keyed,
    /// Limits.
    pub cfg: Config,
    /// Packet memory of this thread.
    pub mbufs: Cache,
    /// Counters, drop reasons among them.
    pub counters: Counters,
    /// Transport packets on their way to a domain.
    pub down: VecDeque<IpOut>,
    /// Link-level frames on their way to a device: interface index, complete frame.
    pub frames: VecDeque<(u32, Mbuf)>,
    /// What happened to sockets, for the socket server.
    pub events: VecDeque<Event>,
    /// Orders for devices.
    pub dev_ops: Vec<DevOp>,
    /// Log lines and routing messages.
    pub notes: Vec<Note>,
}

impl Cx {
    /// Ends a packet: counted with its reason, memory given back.
    pub fn drop(&mut self, m: Mbuf, why: Why) {
        self.counters.dropped(why);
        self.mbufs.free(m);
    }

    /// Queues a log line.
    pub fn log(&mut self, severity: u8, text: impl Into<String>) {
        // Bounded: a flood of reasons to log must not become a flood of memory.
        if self.notes.len() < 1024 {
            self.notes.push(Note::Log(severity, text.into()));
        }
    }
}

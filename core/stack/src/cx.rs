//! The one context that every layer gets.

use crate::counters::{Counters, Why};
use crate::packet::IpOut;
use crate::rtnote::RtQueue;
use crate::sockets::Event;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::{Instant, Keyed, Rng};
use iopkt_mbuf::{Cache, Chain, Mbuf, flags};
use iopkt_wire::checksum::Sum;

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
    /// SO_TXPRIO may be set (`so_txprio_enable`).
    pub txprio: bool,
    /// Variables that belong to the runtime (`kern.hostname`, `qnx.kern.droproot`), as they are now. The stack shows
    /// them; to write them is the runtime's business.
    pub host: Vec<(String, String)>,
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
            txprio: false,
            host: Vec::new(),
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
    /// Capabilities now enabled, subsets of those that the device has.
    Caps {
        /// Interface.
        ifindex: u32,
        /// Receive ([`iopkt_ctl::IFCAP_IP4CSUM`] ...).
        rx: u32,
        /// Transmit.
        tx: u32,
    },
    /// Use this medium (NetBSD's media word), one of those that the device has.
    Media(u32, u32),
    /// Those of the flags debug, link0, link1 and link2 that are set.
    Flags(u32, u32),
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
    /// Frames that follow the one that is on its way up, in order (see the module `rows`): the connection takes them with it, or
    /// they go up themselves. Empty between calls of the shard.
    pub train: Chain,
    /// Bytes of headers in front of the payload of each of them.
    pub train_skip: usize,
    /// What happened to sockets, for the socket server.
    pub events: VecDeque<Event>,
    /// Frames for stack modules: who listens (see [`crate::Listeners`]), complete frame.
    pub heard: VecDeque<(u64, Mbuf)>,
    /// Orders for devices.
    pub dev_ops: Vec<DevOp>,
    /// Log lines and routing messages.
    pub notes: Vec<Note>,
    /// Messages for routing sockets.
    pub rt: RtQueue,
}

impl Cx {
    /// A context with empty queues. `seed` is for what may be seen on the wire, `key` for what must not be
    /// predicted.
    pub fn new(now: Instant, cfg: Config, seed: u64, key: [u8; 16], mbufs: Cache) -> Cx {
        Cx {
            now,
            rng: Rng::new(seed),
            secret: Keyed::new(key),
            cfg,
            mbufs,
            counters: Counters::default(),
            down: VecDeque::new(),
            frames: VecDeque::new(),
            train: Chain::new(),
            train_skip: 0,
            events: VecDeque::new(),
            heard: VecDeque::new(),
            dev_ops: Vec::new(),
            notes: Vec::new(),
            rt: RtQueue::default(),
        }
    }

    /// Grows a packet by `n` bytes at the front, moving it to another buffer when it has no headroom; a
    /// pending checksum keeps its place. `None`: no memory, the packet ended.
    #[inline]
    pub fn prepend(&mut self, m: Mbuf, n: usize) -> Option<Mbuf> {
        let mut m = if m.headroom() >= n { m } else { self.realloc(m, n, 0)? };
        m.prepend(n)?;
        if m.flags() & flags::CSUM_PARTIAL != 0 {
            let (start, off) = (m.meta().csum_start, m.meta().csum_offset);
            m.set_csum_partial(start + n as u16, off);
        }
        Some(m)
    }

    /// Moves a packet to a buffer with at least `front` bytes of headroom and `back` of tailroom. `None`: no
    /// memory, the packet ended.
    pub fn realloc(&mut self, m: Mbuf, front: usize, back: usize) -> Option<Mbuf> {
        let usual = self.mbufs.pool().config().headroom;
        let extra = front.saturating_sub(usual);
        let Some(mut new) = self.mbufs.alloc_len(m.len() + back + extra) else {
            self.drop(m, Why::NoMemory);
            return None;
        };
        new.reset(usual + extra);
        if !new.extend_from_slice(m.as_slice()) {
            self.drop(m, Why::NoMemory);
            return None;
        }
        new.set_ifindex(m.ifindex());
        new.set_flags(m.flags());
        if m.flags() & flags::CSUM_PARTIAL != 0 {
            new.set_csum_partial(m.meta().csum_start, m.meta().csum_offset);
        }
        new.set_gso(m.meta().gso_type, m.meta().gso_size);
        new.set_priority(m.priority());
        self.mbufs.free(m);
        Some(new)
    }

    /// A copy of a packet with its marks; `None` without memory.
    pub fn copy(&mut self, m: &Mbuf) -> Option<Mbuf> {
        let mut new = self.mbufs.copy_of(m.as_slice())?;
        new.set_ifindex(m.ifindex());
        new.set_flags(m.flags());
        if m.flags() & flags::CSUM_PARTIAL != 0 {
            new.set_csum_partial(m.meta().csum_start, m.meta().csum_offset);
        }
        new.set_gso(m.meta().gso_type, m.meta().gso_size);
        Some(new)
    }

    /// Completes a checksum that was left for the device. The field holds the sum of the pseudo-header.
    pub fn finish_checksum(m: &mut Mbuf) {
        if m.flags() & flags::CSUM_PARTIAL == 0 {
            return;
        }
        let (start, off) = (usize::from(m.meta().csum_start), usize::from(m.meta().csum_offset));
        m.clear_flags(flags::CSUM_PARTIAL);
        let Some(b) = m.as_mut_slice().get_mut(start..) else { return };
        let sum = Sum::of(b).finish();
        if let Some(f) = b.get_mut(off..off + 2) {
            // RFC 768: a UDP checksum of zero means "none"; for TCP both zeros are the same number.
            f.copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
        }
    }

    /// Queues a routing message or log line, bounded.
    pub fn note(&mut self, n: Note) {
        if self.notes.len() < 1024 {
            self.notes.push(n);
        }
    }

    /// Ends a packet: counted with its reason, memory given back.
    pub fn drop(&mut self, m: Mbuf, why: Why) {
        self.counters.dropped(why);
        self.mbufs.free(m);
    }

    /// Ends packets: each counted with the reason.
    pub fn drop_all(&mut self, mut c: Chain, why: Why) {
        while let Some(m) = c.pop() {
            self.drop(m, why);
        }
    }

    /// Queues a log line.
    pub fn log(&mut self, severity: u8, text: impl Into<String>) {
        // Bounded: a flood of reasons to log must not become a flood of memory.
        self.note(Note::Log(severity, text.into()));
    }
}

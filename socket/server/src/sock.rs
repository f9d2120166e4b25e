//! One socket of a program, as the server knows it, and what is remembered of dead ones.

use crate::host::EndId;
use crate::routing::Routing;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use hashbrown::HashMap;
use iopkt_base::Errno;
use iopkt_stack::Family;
use iopkt_stack::sockets::{Datagram, SockId, SockType};

/// What kind of socket it is: the arguments of socket(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub family: Family,
    pub ty: SockType,
    pub proto: u8,
    /// Its connections may be joined (see `sockf::JOINS`).
    pub joins: bool,
}

impl Kind {
    /// Whether its pair carries bytes.
    pub fn stream(&self) -> bool {
        self.ty == SockType::Stream
    }
}

/// Where a socket stands.
#[derive(Debug)]
pub(crate) enum State {
    /// A stream that is not connected, nor being so.
    Fresh,
    /// A connect is under way; `wait`: the program's descriptor is in blocking mode.
    Connecting { wait: bool },
    /// A connection. `told`: connect(2) or its status was answered with success.
    Up { told: bool },
    /// A listener.
    Listening(Listening),
    /// UDP, ICMP, raw.
    Dgram(Box<Messages>),
    /// AF_ROUTE, AF_NETLINK: no socket of the stack.
    Routing(Box<Routing>),
}

/// What a listener has besides.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// Bytes in the pair: one for each connection that waits, up to a bound.
    pub tokens: usize,
    /// Taken from the stack by an accept(2) that could then not make a pair: the next one gets it.
    pub spare: Option<(SockId, SocketAddr)>,
}

/// What a datagram socket has besides.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// The peer, when connected: bare payload in the pair.
    pub peer: Option<SocketAddr>,
    /// The program's side strips headers in every read (see `sockf::STRIPS`).
    pub strips: bool,
    /// Messages of the program that the stack had no room for in that turn: what was left of a batch.
    pub unsent: VecDeque<Vec<u8>>,
    /// Datagrams on their way into the pair: what was left of a batch.
    pub held: VecDeque<Datagram>,
    /// Headers of what was given to a program that does not strip them, oldest first.
    pub heads: VecDeque<crate::messages::Kept>,
    /// Complete messages that go before it: rewritten by connect.
    pub first: VecDeque<Vec<u8>>,
}

/// A socket of a program.
#[derive(Debug)]
pub(crate) struct Sock {
    pub id: SockId,
    pub end: EndId,
    pub ino: u64,
    pub kind: Kind,
    /// Whose share it counts in.
    pub uid: u32,
    pub state: State,
    /// In the list of those to look at.
    pub queued: bool,
    /// Hints about the pair.
    pub readable: bool,
    pub writable: bool,
    pub rdhup: bool,
    pub hup: bool,
    /// Bytes that the stack took from the program.
    pub moved: u64,
    /// In the list of those whose program is gone.
    pub lingers: bool,
    /// The stack was told that the program will write no more.
    pub fin_sent: bool,
    /// The program was told that nothing more comes.
    pub eof_sent: bool,
    /// The program shut its reading half: what comes is thrown away.
    pub deaf: bool,
    /// The connection is gone; what is there is still delivered.
    pub dead: bool,
    /// The program's writes fail: its connection is gone.
    pub deafened: bool,
    /// Datagrams: the stack has an error to report.
    pub told_error: bool,
    /// Datagrams: the program asked for control messages: headers although connected.
    pub ancillary: bool,
    /// SO_ERROR, as far as the server took it over from the stack.
    pub err: Option<Errno>,
    /// Bytes read from the pair that the stack did not take although it had promised.
    pub stash: Vec<u8>,
    /// Urgent data (its last byte is) that goes to the stack when so many more bytes of the pair have.
    pub urgent: VecDeque<(usize, Vec<u8>)>,
    /// Whether its data goes past the stack.
    pub join: Join,
}

/// How far a connection between two programs of this stack is joined (see `join`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Join {
    /// Not: its bytes go by the stack.
    #[default]
    No,
    /// May become so when the other side accepts: what the program writes stays in the pair until then.
    Held,
    /// Its pair's other end is the other program's.
    Joined,
}

impl Sock {
    pub fn new(id: SockId, end: EndId, ino: u64, kind: Kind, uid: u32, state: State) -> Sock {
        Sock {
            id,
            end,
            ino,
            kind,
            uid,
            state,
            queued: false,
            readable: true,
            writable: true,
            rdhup: false,
            hup: false,
            moved: 0,
            lingers: false,
            fin_sent: false,
            eof_sent: false,
            deaf: false,
            dead: false,
            deafened: false,
            told_error: false,
            ancillary: false,
            err: None,
            stash: Vec::new(),
            urgent: VecDeque::new(),
            join: Join::No,
        }
    }
}

/// What is remembered of a socket whose end is closed while the program may still hold its own.
#[derive(Clone, Debug)]
pub(crate) struct Tomb {
    pub kind: Kind,
    pub err: Option<Errno>,
    pub local: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
}

/// The dead, oldest forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Tombs {
    map: HashMap<u64, Tomb>,
    order: VecDeque<u64>,
    max: usize,
}

impl Tombs {
    pub fn new(max: usize) -> Tombs {
        Tombs { max, ..Tombs::default() }
    }

    pub fn bury(&mut self, ino: u64, t: Tomb) {
        if self.map.insert(ino, t).is_none() {
            self.order.push_back(ino);
        }
        while self.order.len() > self.max {
            if let Some(old) = self.order.pop_front() {
                self.map.remove(&old);
            }
        }
    }

    pub fn get(&mut self, ino: u64) -> Option<&mut Tomb> {
        self.map.get_mut(&ino)
    }

    /// A new socket has this inode number: the old one is surely gone.
    pub fn forget(&mut self, ino: u64) {
        if self.map.remove(&ino).is_some() {
            self.order.retain(|i| *i != ino);
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }
}

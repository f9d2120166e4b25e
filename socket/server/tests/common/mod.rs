//! Two hosts with socket servers in the simulator's world; programs in memory. One seed, same run.
#![allow(dead_code)] // each test uses its part

use iopkt_base::{Duration, Errno};
use iopkt_sim::{Faults, World as Sim};
use iopkt_sockproto::linux::SOCK_STREAM;
use iopkt_sockproto::{Op, Rep};
use iopkt_sockserver::ServerConfig;
use iopkt_sockserver::mem::{MemFd, Program};
use iopkt_stack::Config;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

pub const KEY: u64 = 0x1234_5678_9abc_def0;

/// The world, and what only these tests ask of it.
pub struct World(Sim);

impl Deref for World {
    type Target = Sim;
    fn deref(&self) -> &Sim {
        &self.0
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Sim {
        &mut self.0
    }
}

pub fn sa(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

impl World {
    pub fn new(seed: u64) -> World {
        World::with(seed, Config::default(), ServerConfig::default())
    }

    pub fn with(seed: u64, cfg: Config, server: ServerConfig) -> World {
        let link = Faults { delay: Duration::from_millis(1), ..Faults::default() };
        let mut w = Sim::with(2, seed, link, &cfg);
        w.serve(&ServerConfig { key: KEY, ..server });
        // Address conflict detection takes its time.
        w.pass(Duration::from_secs(20));
        World(w)
    }

    pub fn set_loss(&mut self, loss: f64) {
        self.links.iter_mut().flatten().for_each(|l| l.faults.loss = loss);
    }

    /// Goes on to the next instant at which something happens.
    pub fn advance(&mut self) {
        self.settle();
        let end = self.now + Duration::from_millis(100);
        self.0.step(end);
    }

    pub fn until(&mut self, what: &str, mut f: impl FnMut(&mut World) -> bool) {
        let end = self.now + Duration::from_secs(1000);
        while !f(self) {
            assert!(self.now < end, "never: {what}");
            self.advance();
        }
    }

    pub fn at(&mut self, p: &Program, op: Op, to: &str, fd: &MemFd) -> Result<Rep, Errno> {
        self.ask_at(p, op, sa(to), fd)
    }

    pub fn listener(&mut self, p: &Program, at: &str) -> MemFd {
        self.0.listener(p, sa(at), 10).unwrap()
    }

    /// A connection from stack 0 to stack 1.
    pub fn connected(&mut self, p: &Program, q: &Program) -> (MemFd, MemFd) {
        let l = self.listener(q, "10.0.0.2:0");
        let to = self.ask(q, Op::Getsockname, &[], &l).unwrap().addr.0.unwrap();
        let a = self.socket(p, SOCK_STREAM).unwrap();
        assert_eq!(self.at(p, Op::Connect, &to.to_string(), &a), Err(Errno::EINPROGRESS));
        self.until("connected", |_| a.poll().writable);
        self.ask(p, Op::ConnectStatus, &[], &a).unwrap();
        self.until("to be accepted", |_| l.poll().readable);
        let b = self.accept(q, &l).unwrap();
        assert!(!l.poll().readable);
        (a, b)
    }

    /// Ends the world: nothing of the programs is left, every packet buffer is home.
    pub fn end(mut self) {
        self.until_empty();
        self.0.end();
    }
}

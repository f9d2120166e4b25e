//! Two stacks with socket servers on one Ethernet, on a virtual clock; programs in memory. One seed, same run.
#![allow(dead_code)] // each test uses its part

use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_ctl::{AddrInfo, AddrState, LinkState, Reply, Request};
use iopkt_inet::Inet;
use iopkt_mbuf::{Pool, PoolConfig};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, HDR_LEN, Op, Rep, Req};
use iopkt_sockserver::mem::{Faults, MemFd, MemHost, Program};
use iopkt_sockserver::{Server, ServerConfig};
use iopkt_stack::{Config, IfAttach, Note, Shard};
use std::net::SocketAddr;

pub const KEY: u64 = 0x1234_5678_9abc_def0;

pub struct Stack {
    pub shard: Shard,
    pub server: Server<MemHost>,
    pub eth: u32,
    pub log: Vec<String>,
}

pub struct World {
    pub stacks: Vec<Stack>,
    pub pool: Pool,
    pub now: Instant,
    pub rng: Rng,
    /// Frames lost, in 256.
    pub loss: u32,
    pub delay: Duration,
    flights: Vec<(Instant, usize, Vec<u8>)>,
}

pub fn sa(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

impl World {
    pub fn new(seed: u64) -> World {
        World::with(seed, Config::default(), ServerConfig::default())
    }

    pub fn with(seed: u64, cfg: Config, server: ServerConfig) -> World {
        let pool = Pool::new(PoolConfig::default());
        let now = Instant::from_millis(1000);
        let stacks = (1..3u8)
            .map(|n| {
                let domains: Vec<Box<dyn iopkt_stack::Domain>> = vec![Box::new(Inet::new())];
                let mut shard =
                    Shard::new(now, cfg.clone(), seed ^ u64::from(n), [n; 16], pool.cache(64), domains);
                let mac = [2, 0, 0, 0, 0, n];
                let eth =
                    shard.attach(IfAttach { link: LinkState::Up, ..IfAttach::ethernet("eth", mac) }).unwrap();
                let addr = AddrInfo {
                    addr: [10, 0, 0, n].into(),
                    prefix_len: 24,
                    broadcast: None,
                    peer: None,
                    state: AddrState::Valid,
                };
                let add = Request::AddAddr { name: "eth0".into(), addr, replace: false };
                assert_eq!(shard.ctl(&add), Some(Reply::Ok));
                let cfg = ServerConfig { instance: n.into(), key: KEY, ..server.clone() };
                Stack { shard, server: Server::new(MemHost::new(), cfg), eth, log: Vec::new() }
            })
            .collect();
        let mut w = World {
            stacks,
            pool,
            now,
            rng: Rng::new(seed),
            loss: 0,
            delay: Duration::from_millis(1),
            flights: Vec::new(),
        };
        // Address conflict detection takes its time.
        w.run_for(Duration::from_secs(20));
        w
    }

    pub fn faults(&mut self, seed: u64, short: u8, again: u8, no_fd: u8) {
        for (i, s) in self.stacks.iter_mut().enumerate() {
            let rng = Rng::new(seed + i as u64);
            s.server.host.set_faults(Some(Faults { rng, short, again, no_fd }));
        }
    }

    pub fn no_faults(&mut self) {
        for s in &mut self.stacks {
            s.server.host.set_faults(None);
        }
    }

    /// Turns both until nothing moves at this instant.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for i in 0..self.stacks.len() {
                let mut batch = Vec::new();
                let (now, pool) = (self.now, &self.pool);
                self.flights.retain(|(at, to, frame)| {
                    let due = *to == i && *at <= now;
                    if due {
                        let mut m = pool.cache(0).alloc_len(frame.len()).expect("memory");
                        m.extend_from_slice(frame);
                        batch.push(m);
                    }
                    !due
                });
                moved |= !batch.is_empty();
                let s = &mut self.stacks[i];
                s.shard.begin(self.now);
                let eth = s.eth;
                s.shard.input(eth, &mut batch);
                moved |= s.server.turn(&mut s.shard);
                s.shard.turn();
                moved |= !s.shard.cx.events.is_empty() || s.server.host.is_ready();
                for n in s.shard.cx.notes.drain(..) {
                    if let Note::Log(_, t) = n {
                        s.log.push(t);
                    }
                }
                let mut out = Vec::new();
                s.shard.take_frames(eth, &mut out);
                for m in out {
                    if self.rng.below(256) >= self.loss {
                        self.flights.push((self.now + self.delay, 1 - i, m.as_slice().to_vec()));
                    }
                    s.shard.cx.mbufs.free(m);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Goes on to the next instant at which something happens.
    pub fn step(&mut self) {
        self.settle();
        let next =
            self.stacks.iter().map(|s| s.shard.deadline()).chain(self.flights.iter().map(|f| f.0)).min();
        let next = next.unwrap_or(Instant::FAR).min(self.now + Duration::from_millis(100));
        self.now = next.max(self.now + Duration::from_micros(10));
    }

    pub fn run_for(&mut self, d: Duration) {
        let end = self.now + d;
        while self.now < end {
            self.step();
        }
    }

    /// Goes on until `f` says so; `what` for whom waits in vain.
    pub fn until(&mut self, what: &str, mut f: impl FnMut(&mut World) -> bool) {
        let end = self.now + Duration::from_secs(1000);
        while !f(self) {
            assert!(self.now < end, "never: {what}");
            self.step();
        }
    }

    /// A program on stack `i` that has said hello.
    pub fn program(&mut self, i: usize) -> Program {
        self.user(i, 0)
    }

    pub fn user(&mut self, i: usize, uid: u32) -> Program {
        let p = self.stacks[i].server.host.connect(uid, 100 + i as u32);
        self.call(&p, Req::new(Op::Hello, 0), &[], None).unwrap();
        p
    }

    /// One request and its reply.
    pub fn call(
        &mut self,
        p: &Program,
        mut r: Req,
        payload: &[u8],
        fd: Option<&MemFd>,
    ) -> Result<(Rep, Vec<u8>, Option<MemFd>), Errno> {
        r.len = payload.len() as u32;
        p.send(&[&r.encode()[..], payload].concat(), fd)?;
        for _ in 0..10_000 {
            self.settle();
            let Some((m, fd)) = p.recv() else {
                if p.ended() {
                    return Err(Errno::EPIPE);
                }
                self.step();
                continue;
            };
            let (rep, body) = Rep::decode(&m).unwrap();
            assert_eq!((rep.id, rep.len as usize), (r.id, m.len() - HDR_LEN));
            return if rep.status == 0 || fd.is_some() {
                Ok((rep, body.to_vec(), fd))
            } else {
                Err(Errno(rep.status))
            };
        }
        panic!("no reply to {r:?}");
    }

    pub fn ask(&mut self, p: &Program, op: Op, args: &[i32], fd: &MemFd) -> Result<Rep, Errno> {
        let mut r = Req::new(op, 1);
        r.args[..args.len()].copy_from_slice(args);
        self.call(p, r, &[], Some(fd)).map(|x| x.0)
    }

    pub fn at(&mut self, p: &Program, op: Op, to: &str, fd: &MemFd) -> Result<Rep, Errno> {
        let r = Req { addr: Addr(Some(sa(to))), ..Req::new(op, 1) };
        self.call(p, r, &[], Some(fd)).map(|x| x.0)
    }

    pub fn socket(&mut self, p: &Program, ty: i32) -> Result<MemFd, Errno> {
        let mut r = Req::new(Op::Socket, 1);
        r.args[..2].copy_from_slice(&[AF_INET, ty]);
        self.call(p, r, &[], None).map(|x| x.2.expect("a descriptor"))
    }

    pub fn listener(&mut self, p: &Program, at: &str) -> MemFd {
        let l = self.socket(p, SOCK_STREAM).unwrap();
        self.at(p, Op::Bind, at, &l).unwrap();
        self.ask(p, Op::Listen, &[10], &l).unwrap();
        l
    }

    pub fn accept(&mut self, p: &Program, l: &MemFd) -> Result<MemFd, Errno> {
        self.call(p, Req::new(Op::Accept, 1), &[], Some(l)).map(|x| x.2.expect("a descriptor"))
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

    /// Programs are gone; so is everything of them, in time.
    pub fn until_empty(&mut self) {
        self.until("nothing held", |w| {
            w.stacks.iter().all(|s| {
                let h = s.server.held();
                h.sessions == 0
                    && h.sockets == 0
                    && h.asked == 0
                    && s.server.host.held() == (0, 0)
                    && s.shard.sockets.is_empty()
            })
        });
    }

    /// Ends the world: every packet buffer is home.
    pub fn end(mut self) {
        self.until_empty();
        let World { stacks, pool, .. } = self;
        drop(stacks);
        let st = pool.stats();
        assert_eq!((st.out, st.big_bytes), (0, 0), "buffers leaked");
    }
}

//! Programs on the hosts: what they ask of the socket servers, and what must be left of them in the end.

use crate::family::Via;
use crate::world::World;
use iopkt_base::{Duration, Errno, Rng};
use iopkt_sockproto::linux::{AF_INET, AF_INET6, SOCK_STREAM};
use iopkt_sockproto::{Addr, HDR_LEN, Op, Rep, Req, sockf};
use iopkt_sockserver::mem::{self, MemFd, MemHost, Program};
use iopkt_sockserver::{Server, ServerConfig};
use std::net::SocketAddr;

/// Turns that a request may take.
const PATIENCE: u32 = 100_000;

/// The number of the sockets' family of this run.
pub fn af() -> i32 {
    if Via::now() == Via::V4 { AF_INET } else { AF_INET6 }
}

/// A request's reply: its head, its payload, its descriptor.
pub type Answer = Result<(Rep, Vec<u8>, Option<MemFd>), Errno>;

impl World {
    /// Gives every host a socket server.
    pub fn serve(&mut self, cfg: &ServerConfig) {
        for (i, h) in self.hosts.iter_mut().enumerate() {
            let cfg = ServerConfig { instance: i as u64 + 1, ..cfg.clone() };
            h.server = Some(Server::new(MemHost::new(), cfg));
        }
    }

    /// The socket server of a host.
    ///
    /// # Panics
    /// It has none.
    pub fn server(&mut self, host: usize) -> &mut Server<MemHost> {
        self.hosts[host].server.as_mut().expect("the world is served")
    }

    /// Makes the servers' operating systems cut, refuse and run out, each with a chance in 256.
    pub fn host_faults(&mut self, seed: u64, short: u8, again: u8, no_fd: u8) {
        for i in 0..self.hosts.len() {
            let rng = Rng::new(seed + i as u64);
            self.server(i).host.set_faults(Some(mem::Faults { rng, short, again, no_fd }));
        }
    }

    /// Ends that.
    pub fn no_host_faults(&mut self) {
        for i in 0..self.hosts.len() {
            self.server(i).host.set_faults(None);
        }
    }

    /// Turns until nothing moves at this instant.
    pub fn settle(&mut self) {
        let now = self.now;
        while self.step(now) {}
    }

    /// Goes on until `f` says so.
    ///
    /// # Panics
    /// It does not in 1000 s; `what` names for what was waited.
    pub fn until(&mut self, what: &str, f: impl FnMut(&mut World) -> bool) {
        assert!(self.run(Duration::from_secs(1000), f), "never: {what}");
    }

    /// A program on a host that has said hello.
    ///
    /// # Panics
    /// The server does not greet it.
    pub fn program(&mut self, host: usize) -> Program {
        self.user(host, 0)
    }

    /// The same of a user.
    ///
    /// # Panics
    /// The server does not greet it.
    pub fn user(&mut self, host: usize, uid: u32) -> Program {
        let p = self.server(host).host.connect(uid, 100 + host as u32);
        self.call(&p, Req::new(Op::Hello, 0), &[], None).expect("a greeting");
        p
    }

    /// One request and its reply.
    ///
    /// # Errors
    /// The reply's, EPIPE when the session was ended.
    ///
    /// # Panics
    /// The reply is malformed, another's, or does not come.
    pub fn call(&mut self, p: &Program, mut r: Req, payload: &[u8], fd: Option<&MemFd>) -> Answer {
        r.len = payload.len() as u32;
        p.send(&[&r.encode()[..], payload].concat(), fd)?;
        for _ in 0..PATIENCE {
            self.turn();
            let Some((m, fd)) = p.recv() else {
                if p.ended() {
                    return Err(Errno::EPIPE);
                }
                self.step(self.now + Duration::from_secs(1));
                continue;
            };
            let (rep, body) = Rep::decode(&m).expect("a well-formed reply");
            assert_eq!((rep.id, rep.len as usize), (r.id, m.len() - HDR_LEN));
            return match rep.status {
                e if e != 0 && fd.is_none() => Err(Errno(e)),
                _ => Ok((rep, body.to_vec(), fd)),
            };
        }
        panic!("no reply to {r:?}");
    }

    /// A request about a socket.
    ///
    /// # Errors
    /// The reply's.
    pub fn ask(&mut self, p: &Program, op: Op, args: &[i32], fd: &MemFd) -> Result<Rep, Errno> {
        let mut r = Req::new(op, 1);
        r.args[..args.len()].copy_from_slice(args);
        self.call(p, r, &[], Some(fd)).map(|x| x.0)
    }

    /// A request about a socket with an address.
    ///
    /// # Errors
    /// The reply's.
    pub fn ask_at(&mut self, p: &Program, op: Op, to: SocketAddr, fd: &MemFd) -> Result<Rep, Errno> {
        let r = Req { addr: Addr(Some(to)), ..Req::new(op, 1) };
        self.call(p, r, &[], Some(fd)).map(|x| x.0)
    }

    /// A socket of this run's family ([`Via`]).
    ///
    /// # Errors
    /// The reply's.
    pub fn socket(&mut self, p: &Program, ty: i32) -> Result<MemFd, Errno> {
        let mut r = Req::new(Op::Socket, 1);
        r.args[..4].copy_from_slice(&[af(), ty, 0, sockf::STRIPS]);
        self.call(p, r, &[], None).map(|x| x.2.expect("a descriptor"))
    }

    /// A stream socket that listens.
    ///
    /// # Errors
    /// The replies'.
    pub fn listener(&mut self, p: &Program, at: SocketAddr, backlog: i32) -> Result<MemFd, Errno> {
        let l = self.socket(p, SOCK_STREAM)?;
        self.ask_at(p, Op::Bind, at, &l)?;
        self.ask(p, Op::Listen, &[backlog], &l)?;
        Ok(l)
    }

    /// The next connection of a listener.
    ///
    /// # Errors
    /// The reply's.
    pub fn accept(&mut self, p: &Program, l: &MemFd) -> Result<MemFd, Errno> {
        self.call(p, Req::new(Op::Accept, 1), &[], Some(l)).map(|x| x.2.expect("a descriptor"))
    }

    /// Programs are gone; so is everything of them, in time.
    ///
    /// # Panics
    /// Something is left.
    pub fn until_empty(&mut self) {
        let empty = self.run(Duration::from_secs(1000), |w| {
            w.hosts.iter().all(|h| {
                let held = h.server.as_ref().map(|s| (s.held(), s.host.held()));
                h.shard.sockets.is_empty()
                    && held.is_none_or(|(h, m)| h.sessions + h.sockets + h.asked == 0 && m == (0, 0))
            })
        });
        let left: Vec<_> = self.hosts.iter().filter_map(|h| h.server.as_ref()).map(|s| s.held()).collect();
        let socks: Vec<_> = self.hosts.iter().map(|h| h.shard.sockets.len()).collect();
        assert!(empty, "left of dead programs: {left:?}, sockets {socks:?}");
    }
}

//! Programs on several hosts connect, accept, send, half-close, reset and die at random, over faulty links and
//! with operating systems that cut and refuse. Every stream is a prefix of what was sent; of programs that are
//! gone nothing is left; every frame ended for a reason.

use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_sim::family::Via;
use iopkt_sim::{Faults, World, for_seeds, pattern, sa};
use iopkt_sockproto::linux::SOCK_STREAM;
use iopkt_sockproto::{Addr, Op, Rep, Req};
use iopkt_sockserver::ServerConfig;
use iopkt_sockserver::mem::{MemFd, Program};

/// Hosts of a world.
const HOSTS: u8 = 3;
/// The port that everybody listens on.
const PORT: u16 = 80;
/// Most ends that are open at a time.
const ENDS: usize = 24;

/// One direction of a stream, as its writer or its reader sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    seed: u64,
    count: u64,
}

/// One end of a connection in a program's hands.
struct End {
    fd: MemFd,
    out: Half,
    /// What comes in; a stream's first eight bytes say which it is.
    input: Option<Half>,
    head: Vec<u8>,
    shut: bool,
    /// Reads nothing for now.
    lazy: bool,
    over: bool,
}

/// A program with its session and descriptors.
struct Prog {
    session: Program,
    listener: Option<MemFd>,
    ends: Vec<End>,
    /// Replies that are due.
    asked: u32,
}

struct Play {
    w: World,
    rng: Rng,
    progs: Vec<Option<Prog>>,
    /// How much was written to each stream, by its seed.
    written: std::collections::HashMap<u64, u64>,
    serial: u64,
    /// Bytes that arrived and streams that ended: it is no test if there are none.
    read: u64,
    ended_well: u64,
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut rng = Rng::new(seed ^ 0x9209);
        let mut w = World::new(HOSTS, seed, faults(&mut rng));
        w.serve(&ServerConfig { key: seed, ..ServerConfig::default() });
        let progs = (0..2 * HOSTS).map(|_| None).collect();
        Play { w, rng, progs, written: Default::default(), serial: seed << 20, read: 0, ended_well: 0 }
    }

    fn below(&mut self, n: u32) -> u32 {
        self.rng.below(n)
    }

    fn host(prog: usize) -> usize {
        prog % usize::from(HOSTS)
    }

    /// Something happens to a program.
    fn act(&mut self, p: usize) {
        let what = self.below(100);
        let Some(prog) = self.progs[p].as_mut() else {
            return self.start(p);
        };
        if prog.session.ended() {
            // Out of descriptors, the server may end a session; a program then starts anew.
            self.progs[p] = None;
            return;
        }
        match what {
            0..=29 => self.connect(p),
            30..=59 => self.accept(p),
            60..=69 => self.shut(p),
            70..=79 => self.toggle(p),
            80..=89 => self.close_one(p),
            90..=92 => self.relisten(p),
            93 => self.progs[p] = None,
            _ => {}
        }
    }

    fn ask(&mut self, p: usize, r: Req, fd: Option<&MemFd>) {
        let Some(prog) = self.progs[p].as_mut() else { return };
        if prog.session.send(&r.encode(), fd).is_ok() {
            prog.asked += 1;
        }
    }

    fn start(&mut self, p: usize) {
        let session = self.w.server(Play::host(p)).host.connect(0, p as u32);
        self.progs[p] = Some(Prog { session, listener: None, ends: Vec::new(), asked: 0 });
        self.ask(p, Req::new(Op::Hello, HELLO), None);
        self.socket(p, LISTEN);
    }

    fn socket(&mut self, p: usize, id: u32) {
        let mut r = Req::new(Op::Socket, id);
        r.args[..2].copy_from_slice(&[iopkt_sim::af(), SOCK_STREAM]);
        self.ask(p, r, None);
    }

    fn connect(&mut self, p: usize) {
        if self.progs[p].as_ref().is_some_and(|x| x.ends.len() < ENDS / 2) {
            self.socket(p, CONNECT);
        }
    }

    fn accept(&mut self, p: usize) {
        let Some(prog) = &self.progs[p] else { return };
        if let Some(l) = prog.listener.clone().filter(|l| l.poll().readable && prog.ends.len() < ENDS) {
            self.ask(p, Req::new(Op::Accept, ACCEPT), Some(&l));
        }
    }

    fn pick(&mut self, p: usize) -> Option<usize> {
        let n = self.progs[p].as_ref()?.ends.len() as u32;
        (n > 0).then(|| self.below(n) as usize)
    }

    fn shut(&mut self, p: usize) {
        let Some(i) = self.pick(p) else { return };
        let Some(prog) = &mut self.progs[p] else { return };
        let e = &mut prog.ends[i];
        if e.out.count >= 8 && !e.shut {
            e.fd.shutdown(1);
            e.shut = true;
        }
    }

    fn toggle(&mut self, p: usize) {
        let Some(i) = self.pick(p) else { return };
        if let Some(prog) = &mut self.progs[p] {
            prog.ends[i].lazy ^= true;
        }
    }

    /// Closes an end as it is: with unread data that is a reset.
    fn close_one(&mut self, p: usize) {
        let Some(i) = self.pick(p) else { return };
        if let Some(prog) = &mut self.progs[p] {
            prog.ends.swap_remove(i);
        }
    }

    fn relisten(&mut self, p: usize) {
        if let Some(prog) = &mut self.progs[p] {
            prog.listener = None;
            self.socket(p, LISTEN);
        }
    }

    /// Takes in replies; goes on with what they were for.
    fn replies(&mut self, p: usize) {
        while let Some((m, fd)) = self.progs[p].as_mut().and_then(|x| x.session.recv()) {
            let (rep, _) = Rep::decode(&m).expect("a well-formed reply");
            let prog = self.progs[p].as_mut().expect("it lives");
            prog.asked = prog.asked.checked_sub(1).expect("a reply that nobody asked for");
            let Some(fd) = fd else { continue };
            match rep.id {
                LISTEN => {
                    prog.listener = Some(fd.clone());
                    let any = Addr(Some((Via::now().any(), PORT + p as u16).into()));
                    self.ask(p, Req { addr: any, ..Req::new(Op::Bind, OTHER) }, Some(&fd));
                    let mut r = Req::new(Op::Listen, OTHER);
                    r.args[0] = 1 + self.below(4) as i32;
                    self.ask(p, r, Some(&fd));
                }
                CONNECT => {
                    let q = self.below(self.progs.len() as u32) as usize;
                    let to = sa(1 + Play::host(q) as u8, PORT + q as u16);
                    self.ask(p, Req { addr: Addr(Some(to)), ..Req::new(Op::Connect, OTHER) }, Some(&fd));
                    self.take(p, fd);
                }
                ACCEPT => self.take(p, fd),
                id => panic!("a descriptor in the reply to {id}"),
            }
        }
    }

    fn take(&mut self, p: usize, fd: MemFd) {
        self.serial += 1;
        let out = Half { seed: self.serial, count: 0 };
        self.written.insert(self.serial, 0);
        let lazy = self.rng.chance(0.1);
        let e = End { fd, out, input: None, head: Vec::new(), shut: false, lazy, over: false };
        self.progs[p].as_mut().expect("it lives").ends.push(e);
    }

    /// Reads and writes what can be.
    fn data(&mut self, p: usize) {
        let Play { progs, rng, written, read, ended_well, .. } = self;
        let Some(prog) = &mut progs[p] else { return };
        for e in &mut prog.ends {
            write(e, rng, written);
            if !e.lazy {
                let (n, end) = take_in(e, written);
                *read += n;
                *ended_well += u64::from(end && e.input.is_some());
                e.over |= end;
            }
        }
        prog.ends.retain(|e| !e.over || !e.shut);
    }

    /// Goes on for a while: time passes, data flows.
    fn go_on(&mut self, d: Duration) {
        let end = self.w.now + d;
        loop {
            for p in 0..self.progs.len() {
                self.replies(p);
                self.data(p);
            }
            if !self.w.step(end) {
                return;
            }
        }
    }
}

const HELLO: u32 = 1;
const LISTEN: u32 = 2;
const CONNECT: u32 = 3;
const ACCEPT: u32 = 4;
const OTHER: u32 = 5;

/// Byte `i` of a stream: its seed, then a pattern that follows from it.
fn byte(h: Half, i: u64) -> u8 {
    if i < 8 { h.seed.to_le_bytes()[i as usize] } else { pattern(h.seed, i) }
}

fn write(e: &mut End, rng: &mut Rng, written: &mut std::collections::HashMap<u64, u64>) {
    // A connection carries up to some 100 kB; the seed says which.
    let most = 8 + (e.out.seed.wrapping_mul(0x9e37_79b9) >> 7) % 100_000;
    while !e.shut {
        let n = (1 + u64::from(rng.below(4000))).min(most - e.out.count);
        let part: Vec<u8> = (e.out.count..e.out.count + n).map(|i| byte(e.out, i)).collect();
        match e.fd.write(&part) {
            Ok(k) => {
                e.out.count += k as u64;
                *written.get_mut(&e.out.seed).expect("known") += k as u64;
            }
            Err(Errno::EAGAIN) => return,
            Err(_) => (e.over, e.shut) = (true, true),
        }
        if e.out.count == most && !e.shut {
            e.fd.shutdown(1);
            e.shut = true;
        }
    }
}

/// Checks what arrived; bytes read, and whether the stream has ended.
fn take_in(e: &mut End, written: &std::collections::HashMap<u64, u64>) -> (u64, bool) {
    let (mut buf, mut read) = ([0; 4096], 0);
    loop {
        let n = match e.fd.read(&mut buf) {
            Ok(0) => return (read, true),
            Ok(n) => n,
            Err(Errno::EAGAIN) => return (read, false),
            Err(_) => return (read, true),
        };
        read += n as u64;
        for b in &buf[..n] {
            let Some(h) = &mut e.input else {
                e.head.push(*b);
                if let Ok(seed) = <[u8; 8]>::try_from(&e.head[..]) {
                    let seed = u64::from_le_bytes(seed);
                    assert!(written.contains_key(&seed), "nobody sent the stream {seed:#x}");
                    e.input = Some(Half { seed, count: 8 });
                }
                continue;
            };
            assert_eq!(*b, byte(*h, h.count), "byte {} of stream {:#x}", h.count, h.seed);
            h.count += 1;
            assert!(h.count <= written[&h.seed], "more of {:#x} was read than written", h.seed);
        }
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut chance =
        |p: f64, max: f64| if rng.chance(p) { f64::from(rng.below(1000)) / 1000.0 * max } else { 0.0 };
    let (loss, reorder, duplicate, corrupt) =
        (chance(0.6, 0.1), chance(0.5, 0.1), chance(0.5, 0.1), chance(0.3, 0.03));
    Faults {
        delay: Duration::from_micros(100 + u64::from(rng.below(30_000))),
        jitter: Duration::from_micros(u64::from(rng.below(3_000))),
        loss,
        reorder,
        duplicate,
        corrupt,
        ..Faults::default()
    }
}

/// A run; bytes read, streams that ended, frames sent and the time at the end.
fn play(seed: u64) -> (u64, u64, u64, Instant) {
    let mut p = Play::new(seed);
    let (short, again, no_fd) = (p.below(128) as u8, p.below(64) as u8, p.below(12) as u8);
    if p.rng.chance(0.7) {
        p.w.host_faults(seed, short, again, no_fd);
    }
    for _ in 0..80 {
        let n = 1 + p.below(4);
        for _ in 0..n {
            let who = p.below(p.progs.len() as u32) as usize;
            p.act(who);
        }
        match p.below(60) {
            0 => {
                let f = faults(&mut p.rng);
                p.w.set_faults(f);
            }
            1 => p.w.set_down(true),
            2..=9 => p.w.set_down(false),
            _ => {}
        }
        let ms = 1 + u64::from(p.below(400));
        p.go_on(Duration::from_millis(ms));
        p.w.check();
    }
    // Everybody goes, at once and as they are; then the network heals and forgets.
    p.progs.clear();
    p.w.no_host_faults();
    p.w.set_down(false);
    p.w.set_faults(Faults { delay: Duration::from_millis(1), ..Faults::default() });
    p.w.until_empty();
    p.w.assert_goes_idle(Duration::from_secs(300));
    p.w.check();
    let r = (p.read, p.ended_well, p.w.frames, p.w.now);
    p.w.end();
    r
}

#[test]
fn programs_come_and_go() {
    let (read, ended) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let runs = std::cell::Cell::new(0);
    for_seeds(12, |seed| {
        let (r, e, ..) = play(seed);
        read.set(read.get() + r);
        ended.set(ended.get() + e);
        runs.set(runs.get() + 1);
    });
    assert!(read.get() > 50_000 * runs.get() && ended.get() > 2 * runs.get(), "{read:?} {ended:?} {runs:?}");
}

#[test]
fn a_seed_is_a_run() {
    assert_eq!(play(7), play(7));
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    iopkt_sim::family::again(&[], &[]);
}

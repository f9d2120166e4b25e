//! Two ends, a faulty link, a virtual clock: the same seed gives the same run.
#![allow(dead_code, unreachable_pub)] // every test file uses its part

pub mod goodput;
pub mod script;

use iopkt_base::{Duration, Instant, Rng};
use iopkt_mbuf::{Cache, Mbuf, Pool, PoolConfig};
pub use iopkt_sim::{Faults, Link};
use iopkt_tcp::{Config, Csum, FastOpen, Outcome, SegOut, Segment, Seq, State, Tcb, what};
use iopkt_wire::checksum::{Sum, pseudo_v4};
use iopkt_wire::tcp::{Flags, Header};

pub const A: [u8; 4] = [10, 0, 0, 1];
pub const B: [u8; 4] = [10, 0, 0, 2];

/// A packet seen on the link, for assertions.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// 0: from the first end, 1: from the second.
    pub from: usize,
    pub h: Header,
    pub len: usize,
    pub dropped: bool,
    /// Went as ECT(0); a router marked it.
    pub ect: bool,
    pub ce: bool,
}

/// Says whether to drop a packet: who sent it, its header, its payload's length.
pub type Filter = Box<dyn FnMut(usize, &Header, usize) -> bool>;

/// What a link carries: a segment and the ECN field of the IP header that it would have.
#[derive(Clone)]
pub struct Packet {
    bytes: Vec<u8>,
    ecn: u8,
}

impl iopkt_sim::Item for Packet {
    fn size(&self) -> usize {
        self.bytes.len()
    }
    fn damage(&mut self, at: usize, bit: u32) {
        self.bytes.damage(at, bit);
    }
}

/// A link that takes 10 ms and does nothing else.
pub fn clean() -> Faults {
    Faults { delay: Duration::from_millis(10), ..Faults::default() }
}

/// A link that loses, doubles and damages; what jitters overtakes.
pub fn bad(loss: f64) -> Faults {
    Faults { jitter: Duration::from_millis(8), loss, duplicate: loss / 2.0, corrupt: loss / 4.0, ..clean() }
}

/// One end and what its program sees.
pub struct End {
    pub tcb: Option<Tcb>,
    pub cfg: Config,
    pub iss: Seq,
    pub listening: bool,
    /// Its Fast Open cookie, when it listens for that.
    pub cookie: Option<FastOpen>,
    pub what: u16,
    pub error: Option<iopkt_base::Errno>,
    pub got: Vec<u8>,
    /// Reads as data comes.
    pub reads: bool,
    /// Written so far by `feed`.
    pub to_write: Vec<u8>,
    pub written: usize,
    pub close_after: bool,
    pub closed: bool,
    /// Segments that came while there was no TCB.
    pub strays: usize,
    /// The owner forgot a finished connection.
    pub gone: bool,
}

pub struct Net {
    pub now: Instant,
    pub ends: [End; 2],
    /// From the first end, from the second; what they carry are segments.
    pub links: [Link<Packet>; 2],
    pub seen: Vec<Seen>,
    /// Says which packets to drop: (from, header, payload length, how many were seen from that end).
    pub filter: Option<Filter>,
    /// Super-segments are cut on their way out, as devices do.
    pub cuts: bool,
    /// Says which ECT packets a router marks.
    pub marker: Option<Filter>,
    pub cache: Cache,
    pub pool: Pool,
}

pub fn pattern(n: usize, seed: u64) -> Vec<u8> {
    let mut r = Rng::new(seed);
    let mut v = Vec::with_capacity(n + 8);
    while v.len() < n {
        v.extend_from_slice(&r.next_u64().to_le_bytes());
    }
    v.truncate(n);
    v
}

impl Net {
    pub fn new(seed: u64, a: Config, b: Config) -> Net {
        let pool = Pool::new(PoolConfig { max_clusters: 100_000, ..PoolConfig::default() });
        let mut rng = Rng::new(seed);
        let mut end = |cfg| End {
            tcb: None,
            cfg,
            iss: Seq(rng.next_u32()),
            listening: false,
            cookie: None,
            what: 0,
            error: None,
            got: Vec::new(),
            reads: true,
            to_write: Vec::new(),
            written: 0,
            close_after: false,
            closed: false,
            strays: 0,
            gone: false,
        };
        let ends = [end(a), end(b)];
        Net {
            now: Instant::from_millis(1000),
            ends,
            links: [Link::new(clean(), seed ^ 0xa), Link::new(clean(), seed ^ 0xb << 32)],
            seen: Vec::new(),
            filter: None,
            cuts: false,
            marker: None,
            cache: pool.cache(64),
            pool,
        }
    }

    /// Changes what both links do.
    pub fn set_links(&mut self, f: Faults) {
        self.links.iter_mut().for_each(|l| l.faults = f);
    }

    /// Two ends with the same settings, the second listening, the first connecting.
    pub fn pair(seed: u64, cfg: Config) -> Net {
        let mut n = Net::new(seed, cfg, cfg);
        n.ends[1].listening = true;
        n.connect(0);
        n
    }

    /// A pair whose handshake is done.
    pub fn connected(seed: u64, cfg: Config) -> Net {
        let mut n = Net::pair(seed, cfg);
        n.run_until(Duration::from_secs(10), |n| n.established());
        assert!(n.established());
        n
    }

    pub fn established(&self) -> bool {
        self.ends.iter().all(|e| e.what & what::CONNECTED != 0)
    }

    pub fn connect(&mut self, i: usize) {
        self.prepare(i);
        self.output(i);
    }

    /// Like `connect`, but nothing is sent yet.
    pub fn prepare(&mut self, i: usize) {
        let e = &mut self.ends[i];
        e.tcb = Some(Tcb::connect(self.now, &e.cfg, e.iss));
    }

    pub fn tcb(&mut self, i: usize) -> &mut Tcb {
        self.ends[i].tcb.as_mut().expect("no connection")
    }

    pub fn state(&self, i: usize) -> State {
        self.ends[i].tcb.as_ref().map_or(State::Closed, |t| t.state())
    }

    /// Queues data that the program writes as room appears.
    pub fn send(&mut self, i: usize, data: &[u8]) {
        self.ends[i].to_write.extend_from_slice(data);
        self.pump(i);
        self.output(i);
    }

    pub fn close(&mut self, i: usize) {
        let now = self.now;
        let o = self.tcb(i).close(now, false, drop);
        self.ends[i].closed = true;
        self.took(i, o);
        self.output(i);
    }

    pub fn shutdown(&mut self, i: usize) {
        self.tcb(i).shutdown_write();
        self.output(i);
    }

    /// Reads `n` bytes at most.
    pub fn read(&mut self, i: usize, n: usize) {
        let e = &mut self.ends[i];
        let Some(t) = &mut e.tcb else { return };
        let mut slots: [&[u8]; 64] = [&[]; 64];
        let k = t.peek(&mut slots);
        let mut left = n;
        let mut took = 0;
        for s in &slots[..k] {
            let c = s.len().min(left);
            e.got.extend_from_slice(&s[..c]);
            left -= c;
            took += c;
        }
        t.consume(took, drop);
        self.output(i);
    }

    fn pump(&mut self, i: usize) {
        let e = &mut self.ends[i];
        let Some(t) = &mut e.tcb else { return };
        if e.reads {
            while t.readable() > 0 {
                let mut slots: [&[u8]; 64] = [&[]; 64];
                let k = t.peek(&mut slots);
                let mut n = 0;
                for s in &slots[..k] {
                    e.got.extend_from_slice(s);
                    n += s.len();
                }
                t.consume(n, drop);
            }
        }
        if e.written < e.to_write.len() && t.state() != State::Closed {
            e.written += t.write(&e.to_write[e.written..]).unwrap_or(0);
        }
        if e.close_after && e.written == e.to_write.len() {
            t.shutdown_write();
        }
    }

    fn took(&mut self, i: usize, o: Outcome) {
        let e = &mut self.ends[i];
        e.what |= o.what;
        e.error = e.error.or(o.error);
        assert_eq!(o.error.is_some(), o.what & what::ERROR != 0);
    }

    pub fn output(&mut self, i: usize) {
        let Some(mut t) = self.ends[i].tcb.take() else { return };
        let mut out = Vec::new();
        let cache = &mut self.cache;
        t.output(self.now, &mut |s: &SegOut<'_>| {
            let size = usize::from(s.gso_size);
            if size == 0 || !self.cuts {
                out.push((pack(cache, i, s), s.ect));
                return true;
            }
            // What a device makes of a super-segment.
            let all: Vec<u8> = s.payload.0.iter().chain(s.payload.1).copied().collect();
            for (k, piece) in all.chunks(size).enumerate() {
                let last = (k + 1) * size >= all.len();
                let flags = if last { s.flags } else { s.flags.without(Flags::FIN | Flags::PSH) };
                let p = SegOut {
                    seq: s.seq + (k * size) as u32,
                    flags,
                    payload: (piece, &[]),
                    gso_size: 0,
                    ..*s
                };
                out.push((pack(cache, i, &p), s.ect));
            }
            true
        });
        // What arrived before the end may still be read.
        let over = t.state() == State::Closed && !t.wants_output();
        let gone = over && (t.readable() == 0 || self.ends[i].closed);
        self.ends[i].gone |= gone;
        if !gone {
            self.ends[i].tcb = Some(t);
        }
        for (m, ect) in out {
            self.transmit(i, m, ect);
        }
    }

    /// Puts a raw segment on the link from end `i` (an attacker's, an old duplicate).
    pub fn inject(&mut self, i: usize, s: &SegOut<'_>) {
        let m = pack(&mut self.cache, i, s);
        self.transmit(i, m, s.ect);
    }

    fn transmit(&mut self, from: usize, m: Mbuf, ect: bool) {
        let (h, hl) = Header::parse(m.as_slice()).expect("own segments parse");
        let len = m.len() - hl;
        let ce = ect && self.marker.as_mut().is_some_and(|f| f(from, &h, len));
        let packet = Packet { bytes: m.as_slice().to_vec(), ecn: if ce { 3 } else { 2 * u8::from(ect) } };
        let dropped = self.filter.as_mut().is_some_and(|f| f(from, &h, len))
            || !self.links[from].send(self.now, packet);
        self.seen.push(Seen { at: self.now, from, h, len, dropped, ect, ce });
    }

    fn deliver(&mut self, i: usize, mut m: Mbuf, ecn: u8) {
        let (src, dst) = if i == 0 { (B, A) } else { (A, B) };
        let mut sum = pseudo_v4(src, dst, 6, m.len() as u32);
        sum.add(m.as_slice());
        if !sum.is_valid() {
            return;
        }
        let Ok((mut seg, _, _)) = Segment::from_mbuf(&mut m) else { return };
        seg.ecn = ecn;
        let (now, len) = (self.now, m.len());
        let fresh = self.ends[i].tcb.is_none() && self.ends[i].listening && !self.ends[i].gone;
        if fresh && iopkt_tcp::listen::judge(&seg) == iopkt_tcp::listen::Verdict::Syn {
            let e = &mut self.ends[i];
            let good = e.cookie.is_some()
                && seg
                    .options
                    .fast_open
                    .is_some_and(|c| Some(c.bytes()) == e.cookie.as_ref().map(|c| c.bytes()));
            if good {
                let (t, o) = Tcb::accept_fast(now, &e.cfg, e.iss, &seg, m);
                e.tcb = Some(t);
                self.took(i, o);
                self.pump(i);
            } else {
                let mut t = Tcb::accept(now, &e.cfg, e.iss, &seg);
                if let (Some(c), Some(_)) = (e.cookie, seg.options.fast_open) {
                    t.offer_cookie(c);
                }
                e.tcb = Some(t);
            }
            self.output(i);
            return;
        }
        if self.state(i) == State::Closed {
            self.ends[i].strays += 1;
            if let Some(r) = iopkt_tcp::listen::reset(&seg, len) {
                self.inject(i, &r);
            }
            return;
        }
        let o = self.tcb(i).input(now, &seg, m);
        self.took(i, o);
        self.pump(i);
        self.output(i);
    }

    /// The next thing that happens; false when nothing ever will.
    pub fn step(&mut self) -> bool {
        let packet = (0..2).map(|i| (self.links[i].deadline(), i)).min().filter(|p| p.0 != Instant::FAR);
        let timer = (0..2)
            .filter_map(|i| self.ends[i].tcb.as_ref().map(|t| (t.deadline(), i)))
            .min()
            .filter(|t| t.0 != Instant::FAR);
        match (packet, timer) {
            (None, None) => false,
            (Some((at, from)), t) if t.is_none_or(|t| at <= t.0) => {
                self.now = self.now.max(at);
                let p = self.links[from].recv(self.now).expect("it has arrived");
                let m = self.cache.copy_of(&p.bytes).expect("memory");
                self.deliver(1 - from, m, p.ecn);
                true
            }
            (_, Some((at, i))) => {
                self.now = self.now.max(at);
                let now = self.now;
                let o = self.tcb(i).tick(now);
                self.took(i, o);
                self.pump(i);
                self.output(i);
                true
            }
            (Some(_), None) => unreachable!(),
        }
    }

    /// Runs until `done`, for at most `span` of virtual time; true when `done`.
    pub fn run_until(&mut self, span: Duration, done: impl Fn(&Net) -> bool) -> bool {
        let end = self.now + span;
        let mut steps = 0u64;
        while !done(self) {
            let next = self.next_event();
            if next > end || !self.step() {
                self.now = self.now.max(end.min(next));
                return done(self);
            }
            steps += 1;
            assert!(steps < 3_000_000, "no progress: an endless exchange of packets");
        }
        true
    }

    pub fn next_event(&self) -> Instant {
        let p = self.links[0].deadline().min(self.links[1].deadline());
        let t = self.ends.iter().filter_map(|e| e.tcb.as_ref().map(|t| t.deadline())).min();
        p.min(t.unwrap_or(Instant::FAR))
    }

    /// Runs for `span` of virtual time.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(span, |_| false);
        self.now = self.now.max(end);
    }

    /// Segments from `i` that satisfy `f`.
    pub fn count(&self, i: usize, f: impl Fn(&Seen) -> bool) -> usize {
        self.seen.iter().filter(|s| s.from == i && f(s)).count()
    }

    /// Asserts that what each end read is a prefix of what the other wrote.
    pub fn check_prefixes(&self) {
        for i in 0..2 {
            let (got, sent) = (&self.ends[i].got, &self.ends[1 - i].to_write);
            assert!(got.len() <= sent.len(), "end {i} got {} of {} bytes", got.len(), sent.len());
            assert!(got[..] == sent[..got.len()], "end {i}: bytes differ");
        }
    }

    pub fn all_read(&self) -> bool {
        (0..2).all(|i| self.ends[i].got.len() == self.ends[1 - i].to_write.len())
    }
}

fn pack(cache: &mut Cache, from: usize, s: &SegOut<'_>) -> Mbuf {
    let (src, dst) = if from == 0 { (A, B) } else { (B, A) };
    let (sp, dp) = if from == 0 { (4000, 80) } else { (80, 4000) };
    let mut m = cache.alloc_len(s.len()).expect("memory");
    let pseudo: Sum = pseudo_v4(src, dst, 6, s.len() as u32);
    assert!(s.write(sp, dp, &mut m, pseudo, Csum::Full));
    m
}

/// A bare segment to inject.
pub fn raw(seq: Seq, ack: Seq, flags: Flags) -> SegOut<'static> {
    SegOut {
        seq,
        ack,
        flags,
        window: 65535,
        urgent: 0,
        options: iopkt_wire::tcp::Options::NONE,
        payload: (&[], &[]),
        gso_size: 0,
        ect: false,
    }
}

/// Settings without timestamps, so that injected segments need none.
pub fn plain() -> Config {
    Config { timestamps: false, ..Config::default() }
}

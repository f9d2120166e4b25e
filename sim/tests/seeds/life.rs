//! One seed's run.

use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_ctl::{AddrInfo, AddrState, Reply, Request};
use iopkt_sim::family::Via;
use iopkt_sim::{Faults, Flow, World, pattern, sa};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Why};

/// What seeds did, summed.
#[derive(Debug, Default)]
pub struct Tally {
    pub flows: u64,
    /// Flows that arrived whole.
    pub complete: u64,
    /// Connections reset by their program.
    pub aborted: u64,
    /// Times that the cable, the interface, the address went.
    pub cut_off: u64,
    pub downed: u64,
    pub readdressed: u64,
    /// Datagrams that arrived.
    pub datagrams: u64,
    /// Old frames that came again.
    pub replayed: u64,
    /// Frames for which there was no buffer, and data not kept for lack of them.
    pub starved: u64,
}

impl Tally {
    pub fn add(&mut self, t: &Tally) {
        self.flows += t.flows;
        self.complete += t.complete;
        self.aborted += t.aborted;
        self.cut_off += t.cut_off;
        self.downed += t.downed;
        self.readdressed += t.readdressed;
        self.datagrams += t.datagrams;
        self.replayed += t.replayed;
        self.starved += t.starved;
    }
}

/// A connection and what its programs will do.
struct Conn {
    client: Option<SockId>,
    listener: Option<SockId>,
    server: Option<SockId>,
    up: Flow,
    down: Flow,
    /// Each reader reads nothing before this.
    read_from: [Instant; 2],
    /// The program resets it when it comes to this (0 client, 1 server).
    abort: Option<(usize, Instant)>,
    /// The client is gone as soon as everything is written.
    hasty: bool,
    begins: Instant,
    /// An end was told an error, or its program reset it.
    broken: bool,
}

/// What happens to the network.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Every cable is pulled, is back.
    Cut(bool),
    /// A host's interface goes down, comes up.
    Iface(usize, bool),
    /// A host's address is removed, is back.
    Addr(usize, bool),
    /// A datagram.
    Datagram(usize),
    /// A frame that was seen before comes again.
    Replay(usize),
}

pub struct Life {
    w: World,
    rng: Rng,
    conns: Vec<Conn>,
    /// Latest first.
    events: Vec<(Instant, Event)>,
    udp: [SockId; 2],
    t: Tally,
    told: u32,
}

fn some_faults(r: &mut Rng) -> Faults {
    let part = |r: &mut Rng, often: f64, most: f64| {
        if r.chance(often) { f64::from(r.below(1000)) / 1000.0 * most } else { 0.0 }
    };
    let narrow = r.chance(0.3);
    Faults {
        delay: Duration::from_micros(u64::from(r.below(40_000))),
        jitter: Duration::from_micros(u64::from(r.below(4_000))),
        loss: part(r, 0.5, 0.15),
        reorder: part(r, 0.4, 0.3),
        duplicate: part(r, 0.3, 0.2),
        corrupt: part(r, 0.3, 0.05),
        rate: if narrow { 500_000 + u64::from(r.below(20_000_000)) } else { 0 },
        queue: 2 + r.below(60) as usize,
        ..Faults::default()
    }
}

impl Life {
    pub fn new(seed: u64) -> Life {
        let mut rng = Rng::new(seed ^ 0x000c_4a05);
        let f = some_faults(&mut rng);
        let clusters = if rng.chance(0.2) { 64 + rng.below(64) as usize } else { 1024 };
        let cfg = Config { max_sockets: 64, ..Config::default() };
        let mut w = World::with_memory(2, seed, f, &cfg, clusters);
        let udp = [0, 1].map(|h| {
            let s = &mut w.hosts[h].shard;
            let id = s.sockets.socket(&mut s.cx, Via::now().family(), SockType::Dgram, 0).expect("a socket");
            s.sockets.bind(&mut s.cx, &s.net, id, sa(h as u8 + 1, 7)).expect("a port");
            id
        });
        let mut l = Life { w, rng, conns: vec![], events: vec![], udp, t: Tally::default(), told: 0 };
        for i in 0..=l.rng.below(3) {
            let c = l.conn(seed, i as u16);
            l.conns.push(c);
        }
        l.plan();
        l
    }

    fn soon(&mut self, ms: u32) -> Instant {
        self.w.now + Duration::from_micros(u64::from(self.rng.below(ms * 1000)))
    }

    fn conn(&mut self, seed: u64, i: u16) -> Conn {
        let listener = self.w.hosts[1].listen(80 + i);
        if self.rng.chance(0.3) {
            // Small windows.
            let v = (self.rng.below(6000) as i32).to_ne_bytes();
            let s = &mut self.w.hosts[1].shard;
            for name in [7, 8] {
                let r = s.sockets.setsockopt(&mut s.cx, &mut s.net, listener, 1, name, &v);
                r.expect("SO_SNDBUF and SO_RCVBUF take any size");
            }
        }
        let nobody = (0, self.udp[0]);
        let total = |r: &mut Rng, most| if r.chance(0.2) { 0 } else { u64::from(r.below(most)) };
        let hasty = self.rng.chance(0.2);
        let down = if hasty { 0 } else { total(&mut self.rng, 20_000) };
        let up = total(&mut self.rng, 40_000);
        let late = |l: &mut Life| if l.rng.chance(0.2) { l.soon(5000) } else { Instant::ZERO };
        Conn {
            client: None,
            listener: Some(listener),
            server: None,
            up: Flow::new(nobody, nobody, seed, up),
            down: Flow::new(nobody, nobody, !seed, down),
            read_from: [late(self), late(self)],
            abort: self.rng.chance(0.2).then(|| (self.rng.below(2) as usize, self.soon(1500))),
            hasty,
            begins: self.soon(200),
            broken: false,
        }
    }

    fn plan(&mut self) {
        for _ in 0..self.rng.below(6) {
            let at = self.soon(2000);
            let h = self.rng.below(2) as usize;
            // Often short, sometimes long enough for time-outs and for neighbours to be forgotten.
            let span = [20, 500, 5000, 60_000][self.rng.below(4) as usize];
            let back = at + Duration::from_micros(u64::from(self.rng.below(span * 1000)));
            let pair = match self.rng.below(10) {
                0 => Some((Event::Cut(true), Event::Cut(false))),
                1 => Some((Event::Iface(h, false), Event::Iface(h, true))),
                2 => Some((Event::Addr(h, false), Event::Addr(h, true))),
                3 | 4 => {
                    self.events.push((at, Event::Replay(h)));
                    None
                }
                _ => {
                    self.events.push((at, Event::Datagram(h)));
                    None
                }
            };
            if let Some((go, come)) = pair {
                self.events.extend([(at, go), (back, come)]);
            }
        }
        self.events.sort_by_key(|e| std::cmp::Reverse(e.0));
    }

    fn happen(&mut self, e: Event) {
        match e {
            Event::Cut(down) => {
                self.w.set_down(down);
                self.t.cut_off += u64::from(down);
            }
            Event::Iface(h, up) => {
                let (set, clear) = if up { (iopkt_ctl::iff::UP, 0) } else { (0, iopkt_ctl::iff::UP) };
                let r = Request::SetFlags { name: "eth0".into(), set, clear };
                assert_eq!(self.w.hosts[h].shard.ctl(&r), Some(Reply::Ok));
                self.t.downed += u64::from(!up);
            }
            Event::Addr(h, true) => {
                let addr = AddrInfo {
                    addr: Via::now().wire(h as u8 + 1),
                    prefix_len: Via::now().plen(),
                    broadcast: None,
                    peer: None,
                    state: AddrState::Valid,
                };
                let r = Request::AddAddr { name: "eth0".into(), addr, replace: true };
                assert_eq!(self.w.hosts[h].shard.ctl(&r), Some(Reply::Ok));
            }
            Event::Addr(h, false) => {
                let r = Request::DelAddr { name: "eth0".into(), addr: Some(Via::now().wire(h as u8 + 1)) };
                // Two such events may overlap.
                let _ = self.w.hosts[h].shard.ctl(&r);
                self.t.readdressed += 1;
            }
            Event::Datagram(h) => {
                // Two damaged fragments may cancel each other out in the checksum; one damaged packet is always found.
                let most = if self.w.links[0][1].faults.corrupt > 0.0 { 1400 } else { 6000 };
                let n = self.rng.below(most);
                let b: Vec<u8> = (0..u64::from(n)).map(|i| pattern(u64::from(n), i)).collect();
                let s = &mut self.w.hosts[h].shard;
                let Some(m) = s.cx.mbufs.copy_of(&b) else { return };
                let to = Some(sa(2 - h as u8, 7));
                let _ = s.sockets.send_to(&mut s.cx, &mut s.net, self.udp[h], to, &SendOpts::default(), m);
            }
            Event::Replay(h) => {
                let seen = frames(self.w.pcap.bytes());
                let n = seen.len().max(1) as u32;
                if let Some(f) = seen.get(self.rng.below(n) as usize) {
                    self.w.links[1 - h][h].send(self.w.now, f.to_vec());
                    self.t.replayed += 1;
                }
            }
        }
    }

    /// What the programs do now.
    fn programs(&mut self) {
        let now = self.w.now;
        for i in 0..self.conns.len() {
            self.open(i, now);
            self.transfer(i, now);
            self.finish(i, now);
        }
        for h in 0..2 {
            let s = &mut self.w.hosts[h].shard;
            while let Some(d) = s.sockets.recv_from(&mut s.cx, self.udp[h]) {
                let n = d.m.len() as u64;
                assert!(
                    d.m.as_slice().iter().enumerate().all(|(i, b)| *b == pattern(n, i as u64)),
                    "a datagram of {n} bytes"
                );
                s.cx.mbufs.free(d.m);
                self.t.datagrams += 1;
            }
        }
    }

    fn open(&mut self, i: usize, now: Instant) {
        let c = &mut self.conns[i];
        if c.client.is_none() && !c.broken && c.begins <= now {
            let h = &mut self.w.hosts[0];
            let id = h.open();
            let s = &mut h.shard;
            match s.sockets.connect(&mut s.cx, &mut s.net, id, Some(sa(2, 80 + i as u16))) {
                Err(Errno::EINPROGRESS) => {
                    c.client = Some(id);
                    (c.up.from, c.down.to) = ((0, id), (0, id));
                }
                Err(Errno::ENETUNREACH | Errno::EADDRNOTAVAIL | Errno::EHOSTUNREACH | Errno::ENETDOWN) => {
                    h.close(id);
                    c.broken = true;
                }
                r => panic!("connect: {r:?}"),
            }
        }
        if let Some(l) = c.listener {
            let s = &mut self.w.hosts[1].shard;
            if let Ok((id, _)) = s.sockets.accept(&mut s.cx, l) {
                c.server = Some(id);
                (c.up.to, c.down.from) = ((1, id), (1, id));
                self.w.hosts[1].close(l);
                c.listener = None;
            }
        }
    }

    fn transfer(&mut self, i: usize, now: Instant) {
        let Conn { client, server, up, down, read_from, hasty, .. } = &mut self.conns[i];
        let [a, b] = &mut self.w.hosts[..] else { unreachable!() };
        if client.is_some() && !up.shut {
            up.write(a);
        }
        if server.is_some() && !down.shut {
            down.write(b);
        }
        if server.is_some() && read_from[1] <= now {
            up.read(b);
        }
        if client.is_some() && !*hasty && read_from[0] <= now {
            down.read(a);
        }
    }

    fn finish(&mut self, i: usize, now: Instant) {
        let c = &mut self.conns[i];
        c.broken |= c.up.error.is_some() || c.down.error.is_some();
        if let Some(e) = [(0, c.client), (1, c.server)]
            .into_iter()
            .find_map(|(h, id)| self.w.hosts[h].shard.sockets.take_error(id?))
        {
            let known = [
                Errno::ETIMEDOUT,
                Errno::ECONNRESET,
                Errno::ECONNREFUSED,
                Errno::EHOSTUNREACH,
                Errno::ENETUNREACH,
                Errno::EPIPE,
            ];
            assert!(
                known.contains(&e) || e == Errno::EHOSTDOWN || e == Errno::ENETDOWN,
                "a connection ends with {e:?}"
            );
            c.broken = true;
        }
        if let Some((who, _)) = c.abort.filter(|x| x.1 <= now) {
            let end = if who == 0 { &mut c.client } else { &mut c.server };
            if let Some(id) = end.take() {
                let s = &mut self.w.hosts[who].shard;
                s.sockets.close(&mut s.cx, &mut s.net, id, true);
                c.abort = None;
                c.broken = true;
                self.t.aborted += 1;
            }
        }
        if c.hasty
            && c.up.shut
            && c.server.is_some()
            && let Some(id) = c.client.take()
        {
            self.w.hosts[0].close(id);
        }
    }

    /// Whether nothing is left to be done.
    fn over(&self) -> bool {
        let mut all = self.conns.iter();
        self.events.is_empty() && all.all(|c| c.broken || c.up.done() && (c.hasty || c.down.done()))
    }

    /// The next time at which this, not the network, does something.
    fn next(&self) -> Instant {
        let times = self
            .conns
            .iter()
            .flat_map(|c| [c.begins, c.read_from[0], c.read_from[1], c.abort.map_or(Instant::ZERO, |a| a.1)]);
        let now = self.w.now;
        let event = self.events.last().map_or(Instant::FAR, |e| e.0);
        times.filter(|t| *t > now).min().unwrap_or(Instant::FAR).min(event.max(now))
    }

    pub fn run(mut self) -> Tally {
        let end = self.w.now + Duration::from_secs(7200);
        while !self.over() && self.w.now < end {
            while let Some((_, e)) = self.events.pop_if(|e| e.0 <= self.w.now) {
                self.happen(e);
            }
            self.programs();
            // What a turn told the programs they see at the next event, or soon when there is none.
            let until = self.next().min(self.w.now + Duration::from_secs(30));
            self.w.step(until);
            self.told += 1;
            if self.told.is_multiple_of(256) {
                self.w.check();
            }
        }
        for c in &self.conns {
            let whole = c.up.done() && (c.hasty || c.down.done());
            let socks = || self.w.hosts.iter().map(|h| h.shard.sockets.list(0, 100).0).collect::<Vec<_>>();
            assert!(c.broken || whole, "stuck: up {:?}\ndown {:?}\n{:#?}", c.up, c.down, socks());
            self.t.flows += 2;
            self.t.complete += u64::from(c.up.done()) + u64::from(c.down.done());
        }
        self.end()
    }

    fn end(mut self) -> Tally {
        self.w.set_faults(Faults { delay: Duration::from_millis(1), ..Faults::default() });
        for c in &self.conns {
            for (h, id) in [(0, c.client), (1, c.server), (1, c.listener)] {
                if let Some(id) = id {
                    self.w.hosts[h].close(id);
                }
            }
        }
        for h in 0..2 {
            self.w.hosts[h].close(self.udp[h]);
        }
        // An orphan may still have to find out that nobody is there any more.
        self.w.assert_goes_idle(Duration::from_secs(3600));
        self.w.check();
        for h in &self.w.hosts {
            let stats = h.shard.sockets.stats();
            let of = |text: &str| {
                stats
                    .iter()
                    .find(|c| c.text == text && Via::now().counts(&c.group))
                    .expect("a counter of this text")
                    .value
            };
            for what in
                ["{} connections", "{} connections without a process", "{} ports in use", "{} sockets open"]
            {
                assert_eq!(of(what), 0, "{}: {what}", h.name);
            }
            let full = h.no_memory + h.shard.cx.counters.drops(Why::NoMemory);
            self.t.starved += full + of("{} data packets not kept for lack of memory");
        }
        self.w.end();
        self.t
    }
}

/// The frames of a capture.
fn frames(pcap: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (&pcap[24..], Vec::new());
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let n = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        all.push(&tail[..n]);
        rest = &tail[n..];
    }
    all
}

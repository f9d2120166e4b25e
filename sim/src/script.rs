//! Runs described by bytes: what a fuzzer (or a random generator) says happens to two whole stacks.
//!
//! [`calls`]: bytes are frames, calls of programs, requests, faults and time, everything allowed. Nothing may panic, every frame is
//! accounted for, and when the sockets are closed nothing is left. [`streams`]: bytes are writes, reads, faults and
//! time of connections; each stream is exact at any time and whole in the end.

use crate::link::Faults;
use crate::stream::Flow;
use crate::world::World;
use iopkt_base::Duration;
use iopkt_ctl::{AddrInfo, AddrState, Request, iff};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Family};
use iopkt_wire::checksum::{checksum, pseudo_v4};
use iopkt_wire::ipv4;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Most operations of a run.
const OPS: usize = 300;
/// Most frames that are kept to come again.
const KEPT: usize = 64;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }
    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }
    fn take(&mut self, n: usize) -> &[u8] {
        let (a, b) = self.0.split_at(n.min(self.0.len()));
        self.0 = b;
        a
    }
}

fn faults(b: &mut Bytes<'_>) -> Faults {
    let (l, d, j, r) = (b.u8(), b.u8(), b.u8(), b.u8());
    Faults {
        delay: Duration::from_millis(u64::from(d & 31)),
        jitter: Duration::from_millis(u64::from(j & 15)),
        loss: f64::from(l) / 600.0,
        reorder: f64::from(j >> 4) / 60.0,
        duplicate: f64::from(r & 15) / 100.0,
        corrupt: f64::from(d >> 5) / 100.0,
        rate: if r & 128 != 0 { 1_000_000 } else { 0 },
        queue: 1 + usize::from(r >> 4 & 7) * 4,
        ..Faults::default()
    }
}

/// Two hosts and what bytes do to them.
struct Calls {
    w: World,
    socks: Vec<(usize, SockId)>,
    old: Vec<Vec<u8>>,
}

/// Everything at once; see the module.
///
/// # Panics
/// An invariant is broken.
pub fn calls(data: &[u8]) {
    let mut b = Bytes(data);
    let cfg = Config { max_sockets: 40, ..Config::default() };
    let clusters = if b.u8() & 1 != 0 { 96 } else { 1024 };
    let mut w = World::with_memory(2, b.u8().into(), Faults::default(), &cfg, clusters);
    w.pcap.stop();
    w.seen = Some(Vec::new());
    for h in &mut w.hosts {
        assert!(h.shard.sockets.set_port_range(1, 40));
    }
    let mut c = Calls { w, socks: Vec::new(), old: Vec::new() };
    for _ in 0..OPS {
        if b.0.is_empty() {
            break;
        }
        c.operation(&mut b);
        let seen = std::mem::take(c.w.seen.as_mut().expect("frames are seen"));
        c.old.extend(seen.into_iter().map(|f| f.1));
        let n = c.old.len();
        c.old.drain(..n.saturating_sub(KEPT));
    }
    c.end();
}

/// Makes addresses, lengths and checksums right, so that what is behind them is reached.
fn mend(f: &mut Vec<u8>, to: usize) {
    f.resize(f.len().clamp(60, 1514), 0);
    f[..12].copy_from_slice(&[2, 0, 0, 0, 0, to as u8 + 1, 2, 0, 0, 0, 0, 2 - to as u8]);
    if f[12..14] == [8, 6] {
        return;
    }
    f[12..14].copy_from_slice(&[8, 0]);
    let p = &mut f[14..];
    p[0] = 0x45 | p[0] & 3;
    let (hl, n) = (usize::from(p[0] & 15) * 4, p.len());
    let said = usize::from(u16::from_be_bytes([p[2], p[3]]));
    let len = if (hl + 8..=n).contains(&said) { said } else { n };
    p[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    let (src, dst) = ([10, 0, 0, 2 - to as u8], [10, 0, 0, to as u8 + 1]);
    p[12..16].copy_from_slice(&src);
    p[16..20].copy_from_slice(&dst);
    ipv4::set_checksum(&mut p[..hl]);
    let (proto, t) = (p[9], &mut p[hl..len]);
    let at = match proto {
        1 | 2 => 2,
        6 if t.len() >= 20 => 16,
        17 => 6,
        _ => return,
    };
    t[at..at + 2].copy_from_slice(&[0, 0]);
    let mut sum = pseudo_v4(src, dst, proto, t.len() as u32);
    sum.add(t);
    let c = if at == 2 { checksum(t) } else { sum.finish() };
    t[at..at + 2].copy_from_slice(&c.to_be_bytes());
}

fn place(b: &mut Bytes<'_>) -> SocketAddr {
    let ip = [
        [10, 0, 0, 1],
        [10, 0, 0, 2],
        [127, 0, 0, 1],
        [0; 4],
        [10, 0, 0, 255],
        [224, 0, 0, 5],
        [192, 0, 2, 1],
        [255; 4],
    ];
    let x = b.u8();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip[usize::from(x & 7)])), u16::from(x >> 3))
}

impl Calls {
    fn operation(&mut self, b: &mut Bytes<'_>) {
        let op = b.u8();
        let h = usize::from(op & 1);
        match op >> 1 & 15 {
            0 => {
                let n = usize::from(b.u8());
                let mut f = b.take(n).to_vec();
                mend(&mut f, h);
                self.w.links[1 - h][h].send(self.w.now, f);
            }
            1 | 2 => self.again(h, b),
            3 => drop(self.w.run(Duration::from_millis(u64::from(b.u8())), |_| false)),
            4 => drop(self.w.run(Duration::from_millis(u64::from(b.u16())), |_| false)),
            5 => {
                let f = faults(b);
                self.w.set_faults(f);
            }
            6 => self.network(h, b),
            7 | 8 if self.socks.len() < 40 => self.socket(h, b),
            _ => self.call(b),
        }
        // Nobody listens, and nobody may pile it up.
        self.w.hosts[h].shard.cx.events.clear();
    }

    /// A frame that was seen comes again, somewhat different.
    fn again(&mut self, h: usize, b: &mut Bytes<'_>) {
        let (which, changes) = (usize::from(b.u8()), b.u8());
        let Some(f) = self.old.iter().rev().nth(which % KEPT) else { return };
        let mut f = f.clone();
        for _ in 0..changes & 3 {
            let (at, x) = (usize::from(b.u8()), b.u8());
            if let Some(p) = f.get_mut(14 + at % 80) {
                *p = if changes & 4 != 0 { p.wrapping_add(x) } else { x };
            }
        }
        mend(&mut f, h);
        self.w.links[1 - h][h].send(self.w.now, f);
    }

    fn network(&mut self, h: usize, b: &mut Bytes<'_>) {
        let x = b.u8();
        let addr: IpAddr = Ipv4Addr::new(10, 0, 0, h as u8 + 1).into();
        let name = || "eth0".to_string();
        let r = match x & 7 {
            0 => Request::SetFlags { name: name(), set: 0, clear: iff::UP },
            1 => Request::DelAddr { name: name(), addr: Some(addr) },
            2 | 3 => {
                let addr =
                    AddrInfo { addr, prefix_len: 24, broadcast: None, peer: None, state: AddrState::Valid };
                Request::AddAddr { name: name(), addr, replace: true }
            }
            _ => Request::SetFlags { name: name(), set: iff::UP, clear: 0 },
        };
        let _ = self.w.hosts[h].shard.ctl(&r);
    }

    fn socket(&mut self, h: usize, b: &mut Bytes<'_>) {
        let (ty, p) = [
            (SockType::Stream, 0),
            (SockType::Dgram, 0),
            (SockType::Stream, 6),
            (SockType::Raw, 6),
            (SockType::Dgram, 1),
            (SockType::Raw, 255),
        ][usize::from(b.u8()) % 6];
        let s = &mut self.w.hosts[h].shard;
        if let Ok(id) = s.sockets.socket(&mut s.cx, Family::V4, ty, p) {
            self.socks.push((h, id));
        }
    }

    fn call(&mut self, b: &mut Bytes<'_>) {
        let (which, op) = (usize::from(b.u8()), b.u8());
        let Some(&(h, id)) = self.socks.get(which % self.socks.len().max(1)) else { return };
        let s = &mut self.w.hosts[h].shard;
        let (cx, net, k) = (&mut s.cx, &mut s.net, &mut s.sockets);
        match op & 15 {
            0 => drop(k.bind(cx, net, id, place(b))),
            1 | 2 => drop(k.connect(cx, net, id, Some(place(b)))),
            3 => drop(k.connect(cx, net, id, None)),
            4 => drop(k.listen(cx, id, u32::from(b.u8() & 7))),
            5 => {
                if let Ok((c, _)) = k.accept(cx, id) {
                    self.socks.push((h, c));
                }
            }
            6 | 7 => {
                let n = usize::from(b.u16()) % 20_000;
                let _ = k.write(cx, id, &vec![op; n]);
            }
            8 => {
                let mut v: [&[u8]; 4] = [&[]; 4];
                if let Ok(n) = k.peek(id, &mut v) {
                    let n: usize = v[..n].iter().map(|x| x.len()).sum();
                    k.consume(cx, id, n.min(usize::from(b.u16())));
                }
                if let Some(d) = k.recv_from(cx, id) {
                    cx.mbufs.free(d.m);
                }
            }
            9 => drop(k.shutdown(cx, id, b.u8() & 3)),
            10 => {
                self.socks.retain(|x| *x != (h, id));
                k.close(cx, net, id, op & 16 != 0);
            }
            11 => {
                let (n, to) = (usize::from(b.u16()) % 4000, place(b));
                if let Some(m) = cx.mbufs.copy_of(&vec![op; n]) {
                    let to = (op & 16 == 0).then_some(to);
                    let _ = k.send_to(cx, net, id, to, &SendOpts::default(), m);
                }
            }
            12 | 13 => {
                let level = [0, 1, 6, 17, 255][usize::from(b.u8()) % 5];
                let (name, n) = (i32::from(b.u8() & 127), usize::from(b.u8() & 31));
                let _ = k.setsockopt(cx, net, id, level, name, b.take(n));
                let mut out = [0; 256];
                if let Ok(n) = k.getsockopt(cx, net, id, level, name, &mut out) {
                    assert!(n <= out.len());
                }
            }
            14 => drop(k.take_error(id)),
            _ => k.set_held(id, u32::from(b.u16())),
        }
    }

    fn end(mut self) {
        self.w.set_faults(Faults { delay: Duration::from_millis(1), ..Faults::default() });
        for (h, id) in std::mem::take(&mut self.socks) {
            self.w.hosts[h].close(id);
        }
        self.w.seen = None;
        self.w.pass(Duration::from_secs(7200));
        self.w.check();
        for h in &self.w.hosts {
            assert!(h.shard.sockets.is_empty(), "{}: {:?}", h.name, h.shard.sockets.list(0, 10));
        }
        self.w.end();
    }
}

/// Connections whose streams must be exact; see the module.
///
/// # Panics
/// A byte is wrong, or a stream does not arrive.
pub fn streams(data: &[u8]) {
    let mut b = Bytes(data);
    let mut w = World::new(2, b.u8().into(), Faults::default());
    let mut flows: Vec<Flow> = Vec::new();
    for i in 0..=u16::from(b.u8() & 1) {
        let (x, y) = w.connect(0, 1, 80 + i);
        let v = [(0, x), (1, y)];
        for (from, to) in [(v[0], v[1]), (v[1], v[0])] {
            // SO_SNDBUF of one and SO_RCVBUF of the other.
            for ((h, id), name) in [(from, 7), (to, 8)] {
                let size = i32::from(b.u16());
                let s = &mut w.hosts[h].shard;
                let r = s.sockets.setsockopt(&mut s.cx, &mut s.net, id, 1, name, &size.to_ne_bytes());
                r.expect("a buffer of any size");
            }
            flows.push(Flow::new(from, to, u64::from(i), 0));
        }
    }
    for _ in 0..OPS {
        if b.0.is_empty() {
            break;
        }
        let op = b.u8();
        let i = usize::from(op & 3) % flows.len();
        let f = &mut flows[i];
        match op >> 2 & 7 {
            0 | 1 if !f.shut => {
                f.total += u64::from(b.u16());
                f.more(&mut w.hosts[f.from.0]);
            }
            2 => f.read(&mut w.hosts[f.to.0]),
            3 => w.pass(Duration::from_millis(u64::from(b.u8()))),
            4 => w.pass(Duration::from_millis(u64::from(b.u16() & 4095))),
            5 => {
                let f = faults(&mut b);
                w.set_faults(f);
            }
            6 => w.set_down(op & 128 != 0),
            _ => f.write(&mut w.hosts[f.from.0]),
        }
    }
    w.set_down(false);
    w.set_faults(Faults { delay: Duration::from_millis(1), ..Faults::default() });
    let done = w.run(Duration::from_secs(7200), |w| {
        flows.iter_mut().for_each(|f| f.step(&mut w.hosts));
        flows.iter().all(Flow::done)
    });
    let socks = || w.hosts.iter().map(|h| h.shard.sockets.list(0, 10).0).collect::<Vec<_>>();
    assert!(done, "stuck: {flows:?}\n{:?}\n{:?}", socks(), w.hosts[1].shard.sockets.stats());
    for f in &flows {
        w.hosts[f.from.0].close(f.from.1);
    }
    w.pass(Duration::from_secs(600));
    w.check();
    assert!(w.hosts.iter().all(|h| h.shard.sockets.is_empty()), "sockets are left");
    w.end();
}

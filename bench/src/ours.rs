//! Our side: two shards joined in memory, one thread, Ethernet frames at an MTU of 1500, checksums computed and
//! verified. Frames change hands as buffers, as between two drivers of one process.

use iopkt_base::{Errno, Instant};
use iopkt_ctl::{AddrInfo, LinkState, Reply, Request, iff};
use iopkt_inet::Inet;
use iopkt_inet6::{Inet6, Tunables};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_stack::{Config, Domain, Family, IfAttach, Shard};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes that are written at a time.
pub const CHUNK: usize = 65_536;
/// What is sent repeats after so many bytes: a prime, so that a segment out of place shows.
pub const PERIOD: usize = 65_521;

/// Enough of the bytes that are sent to take a chunk from any place of the period.
pub fn pattern() -> Vec<u8> {
    let mut x = 1u32;
    let once: Vec<u8> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    })
    .take(PERIOD)
    .collect();
    once.iter().chain(&once).chain(&once).copied().take(PERIOD + CHUNK).collect()
}

/// Whether `bytes`, the `at`-th and later of the stream, are what was sent.
pub fn same(pattern: &[u8], at: usize, bytes: &[u8]) -> bool {
    bytes
        .chunks(CHUNK)
        .scan(at, |at, c| {
            let from = *at % PERIOD;
            *at += c.len();
            Some(pattern[from..from + c.len()] == *c)
        })
        .all(|x| x)
}

pub struct Host {
    pub s: Shard,
    pub ifindex: u32,
    pub family: Family,
}

/// The address of host `n`: 10.0.0.n or fd00::n.
pub fn address(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, n).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into(),
    }
}

/// A host that speaks this family, with its [`address`].
pub fn host(n: u8, pool: &Pool, family: Family) -> Host {
    let domain: Box<dyn Domain> = match family {
        Family::V4 => Box::new(Inet::new()),
        // The address is used at once.
        Family::V6 => Box::new(Inet6::with(Tunables { dad_count: 0, ..Tunables::default() })),
    };
    let mut s = Shard::new(
        Instant::from_millis(1),
        Config::default(),
        u64::from(n),
        [n; 16],
        pool.cache(256),
        vec![domain],
    );
    let ifindex = s
        .attach(IfAttach { link: LinkState::Up, ..IfAttach::ethernet("eth", [2, 0, 0, 0, 0, n]) })
        .expect("attach");
    let addr = AddrInfo {
        addr: address(family, n),
        prefix_len: if family == Family::V4 { 24 } else { 64 },
        broadcast: None,
        peer: None,
        state: Default::default(),
    };
    for r in [
        Request::AddAddr { name: "eth0".into(), addr, replace: true },
        Request::SetFlags { name: "eth0".into(), set: iff::UP, clear: 0 },
    ] {
        assert_eq!(s.ctl(&r), Some(Reply::Ok));
    }
    Host { s, ifindex, family }
}

/// Moves what one host sent to the other; returns how many frames.
pub fn carry(from: &mut Host, to: &mut Host, batch: &mut Vec<Mbuf>) -> usize {
    let n = from.s.take_frames(from.ifindex, batch);
    to.s.input(to.ifindex, batch);
    n
}

fn stream(h: &mut Host, buffer: usize) -> SockId {
    let (s, size) = (&mut h.s, (buffer as u32).to_ne_bytes());
    let id = s.sockets.socket(&mut s.cx, h.family, SockType::Stream, 0).expect("socket");
    for name in [7, 8] {
        s.sockets.setsockopt(&mut s.cx, &mut s.net, id, 1, name, &size).expect("buffer size");
    }
    id
}

/// A listener on port 80 whose connections have buffers of this size.
pub fn listen(h: &mut Host, buffer: usize) -> SockId {
    let id = stream(h, buffer);
    let (s, me) = (&mut h.s, SocketAddr::new(address(h.family, 2), 80));
    s.sockets.bind(&mut s.cx, &s.net, id, me).expect("bind");
    s.sockets.listen(&mut s.cx, id, 1).expect("listen");
    id
}

/// A connection to it, under way.
pub fn connect(h: &mut Host, buffer: usize) -> SockId {
    let id = stream(h, buffer);
    let (s, to) = (&mut h.s, SocketAddr::new(address(h.family, 2), 80));
    assert_eq!(s.sockets.connect(&mut s.cx, &mut s.net, id, Some(to)), Err(Errno::EINPROGRESS));
    id
}

/// Writes what fits of the stream from byte `at` to `total`; returns how much.
pub fn write(h: &mut Host, id: SockId, pattern: &[u8], at: usize, total: usize) -> usize {
    let mut sent = at;
    while sent < total {
        let from = sent % PERIOD;
        let want = CHUNK.min(total - sent);
        match h.s.sockets.write(&mut h.s.cx, id, &pattern[from..from + want]) {
            Ok(0) | Err(_) => break,
            Ok(n) => sent += n,
        }
    }
    sent - at
}

/// Takes what waits, the `at`-th byte of the stream and later; with a pattern it is compared.
pub fn read(h: &mut Host, id: SockId, pattern: Option<&[u8]>, at: usize) -> usize {
    let mut n = 0;
    let mut slices: [&[u8]; 64] = [&[]; 64];
    let k = h.s.sockets.peek(id, &mut slices).unwrap_or(0);
    for s in &slices[..k] {
        assert!(pattern.is_none_or(|p| same(p, at + n, s)), "byte {} or later is wrong", at + n);
        n += s.len();
    }
    if n > 0 {
        h.s.sockets.consume(&mut h.s.cx, id, n);
    }
    n
}

/// Transfers `total` bytes with socket buffers of `buffer` bytes; returns the seconds it took. With `check` every byte
/// that arrives is compared, which costs time.
pub fn transfer(family: Family, total: usize, buffer: usize, check: bool) -> f64 {
    let pool = Pool::new(PoolConfig::default());
    let (mut a, mut b) = (host(1, &pool, family), host(2, &pool, family));
    let (mut ab, mut ba) = (Vec::new(), Vec::new());
    let (lb, ca) = (listen(&mut b, buffer), connect(&mut a, buffer));
    let pattern = pattern();
    let (mut sent, mut got, mut cb) = (0, 0, None);
    let start = std::time::Instant::now();
    while got < total {
        let now = Instant::from_nanos(1_000_000 + start.elapsed().as_nanos() as u64);
        a.s.begin(now);
        b.s.begin(now);
        sent += write(&mut a, ca, &pattern, sent, total);
        a.s.turn();
        carry(&mut a, &mut b, &mut ab);
        if cb.is_none() {
            cb = b.s.sockets.accept(&mut b.s.cx, lb).ok().map(|x| x.0);
        }
        if let Some(id) = cb {
            got += read(&mut b, id, check.then_some(&pattern[..]), got);
        }
        b.s.turn();
        carry(&mut b, &mut a, &mut ba);
        a.s.cx.events.clear();
        b.s.cx.events.clear();
    }
    start.elapsed().as_secs_f64()
}

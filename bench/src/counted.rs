//! Work whose instructions are counted (`cargo xtask budget`): the same in every run, because time is counted in turns, and
//! in functions of its own, so that valgrind can be told to count nothing else (`--toggle-collect`).

use crate::ours::{CHUNK, Host, PERIOD, carry, connect, host, listen, pattern, read, write};
use iopkt_base::Instant;
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::Family;
use iopkt_stack::sockets::{SockId, SockType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Payload of a full segment: 1500 bytes less headers and timestamps.
pub const SEGMENT: usize = 1448;
const BUFFER: usize = 262_144;
/// A turn of the clock.
const TURN_NS: u64 = 20_000;

/// All that the sending end does: the program's write, acknowledgments, what goes out.
#[inline(never)]
fn budget_sent(h: &mut Host, id: SockId, p: &[u8], at: usize, total: usize, acks: &mut Vec<Mbuf>) -> usize {
    h.s.input(h.ifindex, acks);
    let n = write(h, id, p, at, total);
    h.s.turn();
    n
}

/// All that the receiving end does: segments in order, the program's read, acknowledgments.
#[inline(never)]
fn budget_received(h: &mut Host, id: SockId, at: usize, batch: &mut Vec<Mbuf>) -> usize {
    h.s.input(h.ifindex, batch);
    let n = read(h, id, None, at);
    h.s.turn();
    n
}

/// `n` full segments from one shard to another, in order and without loss.
pub fn transfer(n: usize) {
    let total = n * SEGMENT;
    let pool = Pool::new(PoolConfig::default());
    let (mut a, mut b) = (host(1, &pool, Family::V4), host(2, &pool, Family::V4));
    let (mut ab, mut ba) = (Vec::new(), Vec::new());
    let (lb, ca) = (listen(&mut b, BUFFER), connect(&mut a, BUFFER));
    let pattern = pattern();
    let (mut sent, mut got, mut cb, mut now) = (0, 0, None, 1_000_000);
    while got < total {
        now += TURN_NS;
        a.s.begin(Instant::from_nanos(now));
        b.s.begin(Instant::from_nanos(now));
        match cb {
            None => {
                a.s.turn();
                carry(&mut a, &mut b, &mut ab);
                b.s.turn();
                carry(&mut b, &mut a, &mut ba);
                cb = b.s.sockets.accept(&mut b.s.cx, lb).ok().map(|x| x.0);
            }
            Some(id) => {
                sent += budget_sent(&mut a, ca, &pattern, sent, total, &mut ba);
                a.s.take_frames(a.ifindex, &mut ab);
                got += budget_received(&mut b, id, got, &mut ab);
                b.s.take_frames(b.ifindex, &mut ba);
            }
        }
        a.s.cx.events.clear();
        b.s.cx.events.clear();
    }
    assert!(
        PERIOD > CHUNK / 2 && got == total && sent == total,
        "{sent} bytes sent, {got} arrived of {total}"
    );
}

#[inline(never)]
fn budget_lookup(h: &mut Host, batch: &mut Vec<Mbuf>) {
    h.s.input(h.ifindex, batch);
}

/// Segments that are received on a machine of `n` connections.
pub const LOOKUPS: usize = 2000;

/// A segment for one of `n` connections, [`LOOKUPS`] times, another one each time: they wait for the answer to their SYN, and take
/// nothing else, so that finding them is most of what is done.
pub fn lookup(n: usize) {
    let pool = Pool::new(PoolConfig::default());
    let mut h = host(2, &pool, Family::V4);
    h.s.begin(Instant::from_millis(2));
    let mut frames = Vec::new();
    let mut ends = Vec::with_capacity(n);
    for i in 0..n {
        let s = &mut h.s;
        let id = s.sockets.socket(&mut s.cx, Family::V4, SockType::Stream, 0).expect("socket");
        let to = SocketAddr::new(IpAddr::from([10, 0, 0, 3 + (i % 200) as u8]), 1 + (i / 200) as u16);
        let _ = s.sockets.connect(&mut s.cx, &mut s.net, id, Some(to));
        let me = s.sockets.local_addr(id).expect("a name");
        ends.push((to, me.port(), id));
        if i % 64 == 0 {
            s.turn();
            h.s.take_frames(h.ifindex, &mut frames);
            frames.clear();
            h.s.cx.events.clear();
        }
    }
    h.s.turn();
    let mut batch = Vec::new();
    for i in 0..LOOKUPS {
        let (from, port, _) = ends[i * 7919 % n];
        let f = segment(from, port);
        batch.push(h.s.cx.mbufs.copy_of(&f).expect("memory"));
        budget_lookup(&mut h, &mut batch);
    }
    assert!(ends.iter().all(|e| h.s.sockets.local_addr(e.2).is_ok()), "connections are still there");
}

/// A TCP segment without any flag from there to our port, checksums right.
fn segment(from: SocketAddr, port: u16) -> Vec<u8> {
    let IpAddr::V4(src) = from.ip() else { unreachable!("IPv4 only") };
    let dst = Ipv4Addr::new(10, 0, 0, 2);
    let mut t = from.port().to_be_bytes().to_vec();
    t.extend(port.to_be_bytes());
    t.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0, 0x20, 0, 0, 0, 0, 0]);
    let sum = |parts: &[&[u8]]| {
        let all = parts.concat();
        let mut s: u32 = all.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
        while s > 0xffff {
            s = (s & 0xffff) + (s >> 16);
        }
        (!(s as u16)).to_be_bytes()
    };
    let c = sum(&[&src.octets(), &dst.octets(), &[0, 6, 0, 20], &t]);
    t[16..18].copy_from_slice(&c);
    let mut h = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    h.extend(src.octets());
    h.extend(dst.octets());
    let c = sum(&[&h]);
    h[10..12].copy_from_slice(&c);
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &h, &t].concat()
}

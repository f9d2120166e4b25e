//! UDP with payloads of 64 bytes in memory: two of our shards beside two smoltcp interfaces, one thread.

use crate::ours::{address, carry, host};
use crate::smol;
use iopkt_base::Instant;
use iopkt_mbuf::{Pool, PoolConfig};
use iopkt_stack::Family;
use iopkt_stack::sockets::{SendOpts, SockType};
use smoltcp::socket::udp;
use smoltcp::wire::IpAddress;
use std::net::SocketAddr;

/// Payload of a datagram: its number, and zeros.
const SIZE: usize = 64;
/// Datagrams that go between two turns.
const BURST: usize = 32;

fn payload(n: u64) -> [u8; SIZE] {
    let mut b = [0; SIZE];
    b[..8].copy_from_slice(&n.to_le_bytes());
    b
}

/// Sends `total` datagrams and checks that each arrives, in order; returns the seconds it took.
pub fn ours(family: Family, total: u64) -> f64 {
    let pool = Pool::new(PoolConfig::default());
    let (mut a, mut b) = (host(1, &pool, family), host(2, &pool, family));
    let (mut ab, mut ba) = (Vec::new(), Vec::new());
    let make = |h: &mut crate::ours::Host, n: u8| {
        let s = &mut h.s;
        let id = s.sockets.socket(&mut s.cx, family, SockType::Dgram, 17).expect("socket");
        let me = SocketAddr::new(address(family, n), 7);
        s.sockets.bind(&mut s.cx, &s.net, id, me).expect("bind");
        id
    };
    let (sa, sb) = (make(&mut a, 1), make(&mut b, 2));
    let to = Some(SocketAddr::new(address(family, 2), 7));
    let (mut sent, mut got) = (0, 0);
    let start = std::time::Instant::now();
    while got < total {
        let now = Instant::from_nanos(1_000_000 + start.elapsed().as_nanos() as u64);
        a.s.begin(now);
        b.s.begin(now);
        // The first one alone: it waits for its neighbour.
        let burst = if got == 0 { 1 } else { BURST as u64 };
        while sent < total && sent - got < burst {
            let Some(m) = a.s.cx.mbufs.copy_of(&payload(sent)) else { break };
            let s = &mut a.s;
            if s.sockets.send_to(&mut s.cx, &mut s.net, sa, to, &SendOpts::default(), m).is_err() {
                break;
            }
            sent += 1;
        }
        a.s.turn();
        carry(&mut a, &mut b, &mut ab);
        while let Some(d) = b.s.sockets.recv_from(&mut b.s.cx, sb) {
            assert_eq!(d.m.as_slice(), payload(got), "datagram {got}");
            got += 1;
            b.s.cx.mbufs.free(d.m);
        }
        b.s.turn();
        carry(&mut b, &mut a, &mut ba);
        a.s.cx.events.clear();
        b.s.cx.events.clear();
    }
    start.elapsed().as_secs_f64()
}

/// The same with smoltcp.
pub fn smol(total: u64) -> f64 {
    let (mut ea, mut eb) = smol::cable();
    let make = |n: u8, end: &mut smol::End| {
        let (i, mut s) = smol::bare(n, end);
        let buf =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 2 * BURST], vec![0; 2 * BURST * SIZE]);
        let mut u = udp::Socket::new(buf(), buf());
        u.bind((IpAddress::v4(10, 0, 0, n), 7)).expect("bind");
        let h = s.add(u);
        (i, s, h)
    };
    let (mut ia, mut sa, ha) = make(1, &mut ea);
    let (mut ib, mut sb, hb) = make(2, &mut eb);
    let (mut sent, mut got) = (0, 0);
    let start = std::time::Instant::now();
    while got < total {
        let now = smoltcp::time::Instant::from_micros(start.elapsed().as_micros() as i64);
        let burst = if got == 0 { 1 } else { BURST as u64 };
        let s = sa.get_mut::<udp::Socket<'_>>(ha);
        while sent < total && sent - got < burst {
            if s.send_slice(&payload(sent), (IpAddress::v4(10, 0, 0, 2), 7)).is_err() {
                break;
            }
            sent += 1;
        }
        ia.poll(now, &mut ea, &mut sa);
        ib.poll(now, &mut eb, &mut sb);
        let s = sb.get_mut::<udp::Socket<'_>>(hb);
        while let Ok((d, _)) = s.recv() {
            assert_eq!(d, payload(got), "datagram {got}");
            got += 1;
        }
    }
    start.elapsed().as_secs_f64()
}

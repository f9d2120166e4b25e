//! Throughput of one TCP connection between two whole shards in memory (sockets, TCP, IP, ARP, Ethernet):
//! `cargo run --release -p iopkt-inet --example two_shards [MiB] [MTU]`.
//!
//! Frames are handed over as buffers are between a device and a shard, without a copy; both ends run on one
//! thread, a turn each in alternation. The receiver checks every byte. Prints one line.

use iopkt_base::{Duration, Instant};
use iopkt_ctl::{AddrInfo, AddrState, LinkState, Reply, Request};
use iopkt_inet::Inet;
use iopkt_mbuf::{Cache, Mbuf, Pool, PoolConfig};
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_stack::{Config, Family, IfAttach, Shard};

fn host(n: u8, mtu: u32, mbufs: Cache) -> Shard {
    let mut s = Shard::new(
        Instant::from_millis(1),
        Config::default(),
        n.into(),
        [n; 16],
        mbufs,
        vec![Box::new(Inet::new())],
    );
    let a =
        IfAttach { link: LinkState::Up, mtu, max_mtu: mtu, ..IfAttach::ethernet("eth", [2, 0, 0, 0, 0, n]) };
    s.attach(a).expect("attach");
    let addr = format!("10.0.0.{n}").parse().expect("an address");
    let addr = AddrInfo { addr, prefix_len: 24, broadcast: None, peer: None, state: AddrState::Valid };
    let r = s.ctl(&Request::AddAddr { name: "eth0".into(), addr, replace: false });
    assert_eq!(r, Some(Reply::Ok));
    s
}

fn stream(s: &mut Shard) -> SockId {
    let id = s.sockets.socket(&mut s.cx, Family::V4, SockType::Stream, 0).expect("socket");
    for name in [7, 8] {
        let v = (512 * 1024i32).to_ne_bytes();
        s.sockets.setsockopt(&mut s.cx, &mut s.net, id, 1, name, &v).expect("buffer size");
    }
    id
}

/// A turn of one host: frames in, frames out.
fn turn(s: &mut Shard, now: Instant, rx: &mut Vec<Mbuf>, tx: &mut Vec<Mbuf>) {
    s.begin(now);
    s.input(2, rx);
    s.turn();
    s.take_frames(2, tx);
    s.cx.events.clear();
}

fn main() {
    let arg = |i: usize, d: u64| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(d);
    let (total, mtu) = (arg(1, 512) << 20, arg(2, 1500) as u32);
    let cluster = (mtu as usize + 256).next_multiple_of(2048);
    let pool = Pool::new(PoolConfig { cluster, ..PoolConfig::default() });
    let (mut a, mut b) = (host(1, mtu, pool.cache(2048)), host(2, mtu, pool.cache(2048)));
    let l = stream(&mut b);
    b.sockets.bind(&mut b.cx, &b.net, l, "0.0.0.0:80".parse().expect("an address")).expect("bind");
    b.sockets.listen(&mut b.cx, l, 1).expect("listen");
    let c = stream(&mut a);
    let to = "10.0.0.2:80".parse().expect("an address");
    let _ = a.sockets.connect(&mut a.cx, &mut a.net, c, Some(to));
    let data: Vec<u8> = (0..1 << 16).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut up, mut down): (Vec<Mbuf>, Vec<Mbuf>) = Default::default();
    let (mut wrote, mut read, mut frames, mut turns) = (0u64, 0u64, 0u64, 0u64);
    let (mut s, mut now) = (None, Instant::from_millis(1));
    let start = std::time::Instant::now();
    while read < total {
        now += Duration::from_micros(20);
        turns += 1;
        while wrote < total {
            let at = (wrote % data.len() as u64) as usize;
            let n = data.len().min(at + (total - wrote) as usize);
            match a.sockets.write(&mut a.cx, c, &data[at..n]) {
                Ok(n) => wrote += n as u64,
                Err(_) => break,
            }
        }
        turn(&mut a, now, &mut down, &mut up);
        frames += up.len() as u64;
        turn(&mut b, now, &mut up, &mut down);
        frames += down.len() as u64;
        let Some(s) = s else {
            s = b.sockets.accept(&mut b.cx, l).ok().map(|x| x.0);
            continue;
        };
        loop {
            let mut v: [&[u8]; 32] = [&[]; 32];
            let n = b.sockets.peek(s, &mut v).expect("a stream");
            let mut got = 0;
            for x in &v[..n] {
                let at = ((read + got) % data.len() as u64) as usize;
                let first = x.len().min(data.len() - at);
                assert!(x[..first] == data[at..at + first] && x[first..] == data[..x.len() - first]);
                got += x.len() as u64;
            }
            if got == 0 {
                break;
            }
            b.sockets.consume(&mut b.cx, s, got as usize);
            read += got;
        }
    }
    let t = start.elapsed().as_secs_f64();
    println!(
        "{} MiB, MTU {mtu}: {:.0} MiB/s, {:.2} Gbit/s, {:.2} M frames/s, {turns} turns",
        total >> 20,
        total as f64 / t / (1 << 20) as f64,
        total as f64 * 8e-9 / t,
        frames as f64 * 1e-6 / t,
    );
}

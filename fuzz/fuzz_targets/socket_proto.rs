//! Bytes from a program: every decoder of the socket protocol, then a whole session against the server and a
//! shard, after which nothing may be left.
#![no_main]

use iopkt_base::Instant;
use iopkt_inet::Inet;
use iopkt_mbuf::{Pool, PoolConfig};
use iopkt_sockproto::{Addr, DgramHdr, Hello, Op, PairName, Rep, Req};
use iopkt_sockserver::mem::MemHost;
use iopkt_sockserver::{Server, ServerConfig};
use iopkt_stack::{Config, Shard};
use libfuzzer_sys::fuzz_target;

const KEY: u64 = 0x0102_0304_0506_0708;

fn decoders(b: &[u8]) {
    if let Ok((r, payload)) = Req::decode(b) {
        assert_eq!(r.len as usize, payload.len());
        assert_eq!(Req::decode(&[&r.encode()[..], payload].concat()).map(|x| x.0), Ok(r));
    }
    if let Ok((r, payload)) = Rep::decode(b) {
        assert_eq!(Rep::decode(&[&r.encode()[..], payload].concat()).map(|x| x.0), Ok(r));
    }
    let _ = DgramHdr::decode(b, KEY);
    let _ = Hello::decode(b);
    let _ = PairName::decode(b);
    if let Ok(a) = Addr::from_sockaddr(b) {
        assert_eq!(Addr::decode(&a.encode()), Ok(a));
    }
}

fuzz_target!(|data: &[u8]| {
    decoders(data);
    let pool = Pool::new(PoolConfig::default());
    let mut shard = Shard::new(Instant::ZERO, Config::default(), 1, [1; 16], pool.cache(8), vec![Box::new(Inet::new())]);
    let cfg = ServerConfig { key: KEY, ..ServerConfig::default() };
    let mut server = Server::new(MemHost::new(), cfg);
    let program = server.host.connect(0, 1);
    let _ = program.send(&Req::new(Op::Hello, 1).encode(), None);
    let mut fds = Vec::new();
    // Each piece: what to do, how long, bytes.
    let mut rest = data;
    while let [what, len, tail @ ..] = rest {
        let (piece, next) = tail.split_at((*len as usize).min(tail.len()));
        rest = next;
        let fd = fds.get(usize::from(what >> 4));
        match what & 7 {
            0 => drop(program.send(piece, fd)),
            1..=4 => {
                // A well-formed request with the bytes as its fields and payload.
                let b = |i: usize| piece.get(i).copied().unwrap_or(0);
                let op = Op::ALL[usize::from(b(0)) % Op::ALL.len()];
                let mut r = Req::new(op, 9);
                r.args = [b(1).into(), b(2).into(), b(3).into(), b(4).into(), 0];
                r.addr = Addr((b(5) & 1 == 0).then(|| ([127, 0, 0, 1], u16::from(b(6))).into()));
                let payload = piece.get(7..).unwrap_or(&[]);
                r.len = payload.len() as u32;
                let _ = program.send(&[&r.encode()[..], payload].concat(), fd);
            }
            5 => drop(fd.map(|f: &iopkt_sockserver::mem::MemFd| f.write(piece))),
            6 => drop(fd.map(|f| f.shutdown(*len))),
            _ => drop(fd.map(|f| f.read(&mut [0; 256]))),
        }
        server.turn(&mut shard);
        shard.turn();
        while let Some((m, fd)) = program.recv() {
            Rep::decode(&m).expect("replies are well-formed");
            fds.extend(fd);
        }
    }
    drop((program, fds));
    for _ in 0..100 {
        server.turn(&mut shard);
        shard.turn();
    }
    let held = server.held();
    assert_eq!((held.sessions, held.sockets), (0, 0));
});

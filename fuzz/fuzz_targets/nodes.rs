//! A program that has device nodes and packet sockets open and says what it likes: requests, packets into TUN, TAP and BPF devices,
//! the interfaces coming and going. Nothing may panic, and nothing may be left when the program is gone.
#![no_main]

use iopkt_base::{Duration, Instant};
use iopkt_ctl::{AddrInfo, Request};
use iopkt_inet::Inet;
use iopkt_mbuf::{Pool, PoolConfig};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Op, Rep, Req, bpf::*, sockf};
use iopkt_sockserver::mem::{MemFd, MemHost};
use iopkt_sockserver::{Server, ServerConfig};
use iopkt_stack::{Config, Shard};
use libfuzzer_sys::fuzz_target;

const REQUESTS: &[u32] = &[
    BIOCGBLEN, BIOCSBLEN, BIOCSETF, BIOCFLUSH, BIOCPROMISC, BIOCGDLT, BIOCGETIF, BIOCSETIF, BIOCGSTATS, BIOCIMMEDIATE,
    BIOCVERSION, BIOCGHDRCMPLT, BIOCSHDRCMPLT, BIOCSDLT, BIOCGDLTLIST, BIOCGSEESENT, BIOCSSEESENT, BIOCSRTIMEOUT,
    BIOCGRTIMEOUT, TUNSIFMODE, TUNGDEBUG, TUNSDEBUG, TUNSIFHEAD, TUNGIFHEAD, TAPGIFNAME, SIOCGIFINDEX, SIOCGIFHWADDR,
];
const OPTIONS: &[(i32, i32)] = &[
    (SOL_SOCKET, SO_ATTACH_FILTER), (SOL_SOCKET, SO_DETACH_FILTER), (SOL_SOCKET, SO_RCVBUF), (SOL_PACKET, PACKET_RX_RING),
    (SOL_PACKET, PACKET_VERSION), (SOL_PACKET, PACKET_ADD_MEMBERSHIP), (SOL_PACKET, PACKET_DROP_MEMBERSHIP),
    (SOL_PACKET, PACKET_STATISTICS), (SOL_PACKET, PACKET_RESERVE), (SOL_PACKET, PACKET_FATE), (SOL_SOCKET, SO_ERROR),
];
const NAMES: &[&str] = &["/dev/bpf", "/dev/tun0", "/dev/tap0", "/dev/tap", "/dev/tun1", "/dev/null"];

fuzz_target!(|data: &[u8]| {
    let pool = Pool::new(PoolConfig::default());
    let mut shard =
        Shard::new(Instant::ZERO, Config::default(), 1, [1; 16], pool.cache(8), vec![Box::new(Inet::new())]);
    let mut server = Server::new(MemHost::new(), ServerConfig { key: 7, ..ServerConfig::default() });
    let program = server.host.connect(0, 1);
    let _ = program.send(&Req::new(Op::Hello, 1).encode(), None);
    for (name, a) in [("tun0", [10, 7, 0, 1]), ("tap0", [10, 8, 0, 1])] {
        shard.ctl(&Request::Create { name: name.into() });
        let addr =
            AddrInfo { addr: a.into(), prefix_len: 24, broadcast: None, peer: None, state: Default::default() };
        shard.ctl(&Request::AddAddr { name: name.into(), addr, replace: true });
    }
    let mut fds: Vec<MemFd> = Vec::new();
    let mut now = Instant::from_millis(1000);
    let mut rest = data;
    while let [what, len, tail @ ..] = rest {
        let (piece, next) = tail.split_at((*len as usize).min(tail.len()));
        rest = next;
        let b = |i: usize| piece.get(i).copied().unwrap_or(0);
        let fd = fds.get(usize::from(what >> 4)).cloned();
        let mut ask = |op, args: [i32; 4], payload: &[u8]| {
            let args = [args[0], args[1], args[2], args[3], 0];
            let r = Req { args, len: payload.len() as u32, ..Req::new(op, 9) };
            let _ = program.send(&[&r.encode()[..], payload].concat(), fd.as_ref());
        };
        match what & 15 {
            0 => ask(Op::Open, [0, 0, 0, sockf::STRIPS], NAMES[usize::from(b(0)) % NAMES.len()].as_bytes()),
            1 => ask(Op::Socket, [AF_PACKET, 2 + i32::from(b(0) & 1), 0x300, sockf::STRIPS], &[]),
            2 => ask(Op::Bind, [i32::from(b(0)), 0x300, 0, 0], &[]),
            3..=5 => ask(Op::Ioctl, [REQUESTS[usize::from(b(0)) % REQUESTS.len()] as i32, 0, 0, 0], piece.get(1..).unwrap_or(&[])),
            6 | 7 => {
                let (level, name) = OPTIONS[usize::from(b(0)) % OPTIONS.len()];
                let op = if b(1) & 1 == 0 { Op::Setsockopt } else { Op::Getsockopt };
                ask(op, [level, name, 64, 0], piece.get(2..).unwrap_or(&[]));
            }
            8 => ask(Op::Send, [0, i32::from(b(0) & 1), 0, 0], piece.get(1..).unwrap_or(&[])),
            9..=11 => drop(fd.map(|f| f.write(piece))),
            12 => drop(fd.map(|f| f.read(&mut [0; 40_000]))),
            13 => {
                let name = ["tun0", "tap0", "tun1"][usize::from(b(0)) % 3].to_string();
                let r = match b(1) % 3 {
                    0 => Request::Create { name },
                    1 => Request::Destroy { name },
                    _ => Request::SetFlags { name, set: u32::from(b(2) & 1), clear: u32::from(b(2) >> 1 & 1) },
                };
                shard.ctl(&r);
            }
            14 if !fds.is_empty() => drop(fds.swap_remove(usize::from(*len) % fds.len())),
            _ => now += Duration::from_millis(u64::from(*len) * 20),
        }
        shard.begin(now);
        server.turn(&mut shard);
        shard.turn();
        server.nodes_down(&mut shard);
        while let Some((m, fd)) = program.recv() {
            Rep::decode(&m).expect("replies are well-formed");
            fds.extend(fd);
        }
        fds.truncate(16);
    }
    drop((program, fds));
    for _ in 0..100 {
        server.turn(&mut shard);
        shard.turn();
        server.nodes_down(&mut shard);
    }
    let held = server.held();
    assert_eq!((held.sessions, held.sockets, held.nodes, server.host.held()), (0, 0, 0, (0, 0)));
    assert!(!shard.taps.is_open());
});

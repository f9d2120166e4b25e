//! Frames into a whole shard with open sockets: no panic, no leak, and the host still answers a ping. The input
//! is a list of frames: a length byte, a byte of flags and time, then the frame's bytes.
#![no_main]

use iopkt_wire::checksum::{checksum, pseudo_v4};
use iopkt_wire::icmp4::ty;
use iopkt_wire::ipv4;
use libfuzzer_sys::fuzz_target;

#[path = "../../core/inet/tests/common/mod.rs"]
mod common;
use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_stack::Family;
use iopkt_stack::sockets::SockType;

const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Puts addresses and checksums right, so that what is behind them is reached.
fn mend(f: &mut [u8], how: u8) {
    if f.len() < 14 {
        return;
    }
    f[..6].copy_from_slice(if how & 4 != 0 { &[0xff; 6] } else { &ME });
    f[6..12].copy_from_slice(&PEER);
    f[12..14].copy_from_slice(if how & 8 != 0 { &[8, 6] } else { &[8, 0] });
    let p = &mut f[14..];
    if how & 2 == 0 || p.len() < 20 || how & 8 != 0 {
        return;
    }
    p[0] = 0x45 + (p[0] & 3);
    let (hl, n) = (usize::from(p[0] & 15) * 4, p.len());
    if hl > n {
        return;
    }
    p[2..4].copy_from_slice(&(n as u16).to_be_bytes());
    p[12..16].copy_from_slice(&[10, 0, 0, 9]);
    if how & 16 == 0 {
        p[16..20].copy_from_slice(&[10, 0, 0, 1]);
    }
    ipv4::set_checksum(&mut p[..hl]);
    if (p[9] == 1 || p[9] == 2) && n >= hl + 8 {
        p[hl + 2..hl + 4].copy_from_slice(&[0, 0]);
        let c = checksum(&p[hl..]);
        p[hl + 2..hl + 4].copy_from_slice(&c.to_be_bytes());
    }
    let field = match p[9] {
        6 if n >= hl + 20 => 16,
        17 if n >= hl + 8 => {
            p[hl + 4..hl + 6].copy_from_slice(&((n - hl) as u16).to_be_bytes());
            6
        }
        _ => return,
    };
    p[hl + field..hl + field + 2].copy_from_slice(&[0, 0]);
    let dst = [p[16], p[17], p[18], p[19]];
    let mut sum = pseudo_v4([10, 0, 0, 9], dst, p[9], (n - hl) as u32);
    sum.add(&p[hl..]);
    p[hl + field..hl + field + 2].copy_from_slice(&sum.finish().to_be_bytes());
}

fuzz_target!(|data: &[u8]| {
    let mut h = Host::new(1);
    h.udp("0.0.0.0:7");
    h.raw(1);
    let l = h.s.sockets.socket(&mut h.s.cx, Family::V4, SockType::Stream, 6).expect("a socket");
    h.s.sockets.bind(&mut h.s.cx, &h.s.net, l, sa("0.0.0.0:80")).expect("a port");
    h.s.sockets.listen(&mut h.s.cx, l, 5).expect("listening");
    let (mut rest, mut t) = (data, Instant::from_millis(20_000));
    while let [len, how, more @ ..] = rest {
        let n = usize::from(*len).min(more.len());
        let mut f = more[..n].to_vec();
        rest = &more[n..];
        if how & 1 != 0 {
            mend(&mut f, *how);
        }
        h.feed(t, &f);
        t += Duration::from_millis(u64::from(how >> 5) * 500);
    }
    let arp = iopkt_wire::arp::Packet {
        op: 1,
        sha: PEER,
        spa: [10, 0, 0, 9].into(),
        tha: [0; 6],
        tpa: [10, 0, 0, 1].into(),
    };
    h.feed(t, &frame([0xff; 6], PEER, 0x806, &arp.emit()));
    let echo = packet("10.0.0.9", "10.0.0.1", 1, &icmp(ty::ECHO, 0, [1, 2, 3, 4], b"alive?"));
    let out = h.feed(t, &frame(ME, PEER, 0x800, &echo));
    assert!(out.iter().any(|f| f[12..14] == [8, 0] && f[34] == ty::ECHO_REPLY), "no answer");
    h.end();
});

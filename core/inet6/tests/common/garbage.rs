//! Frames made of any bytes, mended so far that what is behind the checks is reached: for the property test and the fuzz target.

use super::*;

/// The host's own address, and the stranger's.
pub const ME: &str = "2001:db8::1";
const HE: &str = "2001:db8::77";

/// A host with an address, a server and a listener, whose neighbour the stranger is.
pub fn host() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr(ME, 64);
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    w.run(3000);
    let h = &mut w.hosts[0];
    h.udp("[::]:7");
    let l = h.socket(SockType::Stream, 6);
    h.s.sockets.bind(&mut h.s.cx, &h.s.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.s.sockets.listen(&mut h.s.cx, l, 5).unwrap();
    w
}

/// A frame of these bytes: as they are, or behind an IPv6 header, or as an ICMPv6 message of a neighbour with a good checksum.
pub fn made(w: &Wire, how: u8, bytes: &[u8]) -> Vec<u8> {
    let mac = w.hosts[0].mac;
    let group = how & 4 != 0;
    let dst = if group { a6("ff02::1") } else { a6(ME) };
    let src = if how & 8 != 0 { a6("fe80::77") } else { a6(HE) };
    match how & 3 {
        0 => [&mac[..], &[2, 0, 0, 0, 0, 0xee, 0x86, 0xdd], bytes].concat(),
        1 => frame(mac, src, dst, 64, bytes.first().copied().unwrap_or(59), bytes.get(1..).unwrap_or(&[])),
        // Any ICMPv6 message, of those that only a neighbour may send too.
        _ if bytes.len() < 8 => frame(mac, src, dst, 255, 58, bytes),
        _ => frame(mac, src, dst, 255, 58, &summed(bytes.to_vec(), src, dst)),
    }
}

/// Feeds a list of frames (a length byte, a byte of flags and time, the bytes), then sees that the host still answers.
pub fn run(data: &[u8]) {
    let mut w = host();
    let mut rest = data;
    while let [len, how, more @ ..] = rest {
        let n = usize::from(*len).min(more.len());
        let f = made(&w, *how, &more[..n]);
        rest = &more[n..];
        w.inject(0, f);
        w.run(1 + u64::from(how >> 5) * 700);
        w.log.clear();
    }
    // Whoever is heard of an address can make it go (a router's lifetime, a duplicate): given again, it works again.
    let h = &mut w.hosts[0];
    let _ = h.s.net.del_addr(&mut h.s.cx, ETH, a6(ME).into());
    h.sysctl("net.inet6.ip6.dad_count", "0");
    h.addr(ME, 64);
    h.s.net.neigh.remove_if(&mut h.s.cx, Why::NoNeighbour, |_, _| true);
    let key = (ETH, a6(HE).into());
    h.s.net.neigh.set(&mut h.s.cx, key, [2, 0, 0, 0, 0, 0xee], true, false).unwrap();
    w.run(5000);
    let echo = summed(vec![128, 0, 0, 0, 0, 1, 0, 2], a6(HE), a6(ME));
    let f = frame(w.hosts[0].mac, a6(HE), a6(ME), 64, 58, &echo);
    w.inject(0, f);
    w.run(10);
    assert_eq!(w.sent(0, 129).len(), 1, "no answer");
    w.end();
}

//! The frames that carry the machine's messages while the interface has no address.

use iopkt_wire::ethernet::{self, BROADCAST, MIN_FRAME, TYPE_ARP, TYPE_IPV4};
use iopkt_wire::{arp, checksum, ipv4, udp};
use std::net::Ipv4Addr;

const UDP: u8 = 17;
const ETHER: usize = ethernet::HEADER_LEN;

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// An ARP packet.
    Arp(arp::Packet),
    /// The payload of a UDP datagram to the client's port.
    Message(&'a [u8]),
}

/// A broadcast UDP datagram as a frame.
pub fn broadcast(mac: [u8; 6], src: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let len = udp::HEADER_LEN + payload.len();
    let total_len = ipv4::HEADER_LEN + len;
    let mut f = vec![0; (ETHER + total_len).max(MIN_FRAME)];
    ethernet::Header { dst: BROADCAST, src: mac, ethertype: TYPE_IPV4 }.emit(&mut f);
    let dst = Ipv4Addr::BROADCAST;
    let ip = ipv4::Header {
        header_len: ipv4::HEADER_LEN,
        tos: 0x10, // low delay, as other clients have it
        total_len,
        id: 0,
        df: false,
        mf: false,
        frag: 0,
        ttl: 64,
        proto: UDP,
        src,
        dst,
    };
    ip.emit(&mut f[ETHER..], &[]);
    let u = &mut f[ETHER + ipv4::HEADER_LEN..ETHER + total_len];
    udp::Header { src: ports.0, dst: ports.1, len: len as u16, checksum: 0 }.emit(u);
    u[udp::HEADER_LEN..].copy_from_slice(payload);
    let mut sum = checksum::pseudo_v4(src.octets(), dst.octets(), UDP, len as u32);
    sum.add(u);
    let c = match sum.finish() {
        0 => 0xffff,
        c => c,
    };
    u[udp::CHECKSUM_OFFSET..udp::HEADER_LEN].copy_from_slice(&c.to_be_bytes());
    f
}

/// Takes a frame apart. With `csum_pending` the UDP checksum is not there yet (a local sender).
pub fn heard(f: &[u8], client_port: u16, csum_pending: bool) -> Option<Heard<'_>> {
    let b = f.get(ETHER..)?;
    match u16::from_be_bytes([f[12], f[13]]) {
        TYPE_ARP => arp::Packet::parse(b).map(Heard::Arp),
        TYPE_IPV4 => {
            let h = ipv4::Header::parse(b).ok().filter(|h| h.proto == UDP && !h.is_fragment())?;
            let d = &b[h.header_len..h.total_len];
            let u = udp::Header::parse(d).filter(|u| u.dst == client_port)?;
            let d = &d[..usize::from(u.len)];
            let mut sum = checksum::pseudo_v4(h.src.octets(), h.dst.octets(), UDP, u.len.into());
            sum.add(d);
            let good = u.checksum == 0 || csum_pending || sum.is_valid();
            good.then_some(Heard::Message(&d[udp::HEADER_LEN..]))
        }
        _ => None,
    }
}

/// A classic BPF program that lets through what [`heard`] understands.
pub fn filter(client_port: u16) -> Vec<u8> {
    // Code, jump if true, jump if false, constant (bpf(4)).
    let program: [(u16, u8, u8, u32); 12] = [
        (0x28, 0, 0, 12),                 // ldh [12]
        (0x15, 8, 0, TYPE_ARP.into()),    // jeq ARP: take
        (0x15, 0, 8, TYPE_IPV4.into()),   // jeq IPv4, else leave
        (0x30, 0, 0, 23),                 // ldb [23]
        (0x15, 0, 6, UDP.into()),         // jeq UDP
        (0x28, 0, 0, 20),                 // ldh [20]
        (0x45, 4, 0, 0x1fff),             // a later fragment: leave
        (0xb1, 0, 0, 14),                 // ldxb 4*([14]&0xf)
        (0x48, 0, 0, 16),                 // ldh [x+16]
        (0x15, 0, 1, client_port.into()), // jeq the port
        (0x06, 0, 0, 0x40000),            // take
        (0x06, 0, 0, 0),                  // leave
    ];
    program
        .iter()
        .flat_map(|(code, jt, jf, k)| [&code.to_ne_bytes()[..], &[*jt, *jf], &k.to_ne_bytes()].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_made_is_heard() {
        let f = broadcast([2; 6], Ipv4Addr::UNSPECIFIED, (67, 68), b"message");
        assert_eq!(f.len(), 60);
        assert_eq!(heard(&f, 68, false), Some(Heard::Message(b"message")));
        assert_eq!(heard(&f, 69, false), None);
        let mut bad = f.clone();
        bad[43] ^= 1;
        assert_eq!(heard(&bad, 68, false), None);
        assert_eq!(heard(&bad, 68, true), Some(Heard::Message(b"mdssage")));
        let p = arp::Packet { op: 1, sha: [2; 6], spa: 1.into(), tha: [3; 6], tpa: 2.into() };
        assert_eq!(heard(&p.broadcast(), 68, false), Some(Heard::Arp(p)));
    }

    proptest! {
        #[test]
        fn any_frame(f in proptest::collection::vec(any::<u8>(), 0..120), kind: bool) {
            let mut f = f;
            if f.len() > 14 {
                f[12..14].copy_from_slice(&if kind { TYPE_ARP } else { TYPE_IPV4 }.to_be_bytes());
            }
            heard(&f, 68, false);
        }
    }
}

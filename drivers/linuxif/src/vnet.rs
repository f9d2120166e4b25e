//! The header that goes in front of each frame with IFF_VNET_HDR (TAP) or PACKET_VNET_HDR (packet sockets):
//! `struct virtio_net_hdr` of `<linux/virtio_net.h>` in the machine's byte order (as long as nobody calls TUNSETVNETLE), 10 bytes.

use iopkt_sdk::{Marks, abi};

/// Length, bytes; what TUNSETVNETHDRSZ is told.
pub const LEN: usize = 10;

/// `flags`: the checksum is to be completed, or was left so by the sender.
const NEEDS_CSUM: u8 = 1;
/// `flags`: the checksum has been verified.
const DATA_VALID: u8 = 2;

/// `gso_type`; TCP's and UDP's numbers are those of the driver interface.
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

const _: () = assert!(
    GSO_TCP4 == abi::GSO_TCP4
        && GSO_TCP6 == abi::GSO_TCP6
        && GSO_UDP_L4 == abi::GSO_UDP
        && GSO_ECN == abi::GSO_ECN
);

/// What the header in front of a received frame says; `None` for a kind of segments that nobody asked the kernel for.
pub fn parse(h: &[u8; LEN]) -> Option<Marks> {
    let [flags, kind, _, _, s0, s1, c0, c1, o0, o1] = *h;
    let gso = match kind & !GSO_ECN {
        0 => (0, 0),
        GSO_TCP4 | GSO_TCP6 | GSO_UDP_L4 => (kind, u16::from_ne_bytes([s0, s1])),
        _ => return None,
    };
    let partial =
        (flags & NEEDS_CSUM != 0).then_some((u16::from_ne_bytes([c0, c1]), u16::from_ne_bytes([o0, o1])));
    Some(Marks { verified: flags & DATA_VALID != 0, partial, gso })
}

/// The header for a frame to send.
pub fn emit(m: &Marks, frame: &[u8]) -> [u8; LEN] {
    let mut h = [0; LEN];
    if let Some((start, offset)) = m.partial {
        h[0] = NEEDS_CSUM;
        h[6..8].copy_from_slice(&start.to_ne_bytes());
        h[8..10].copy_from_slice(&offset.to_ne_bytes());
    }
    if m.gso.0 != 0 {
        h[1] = m.gso.0;
        // Where the payload begins: the kernel puts what is in front of it into one piece.
        let start = m.partial.map_or(0, |p| p.0);
        let transport = match m.gso.0 & !GSO_ECN {
            GSO_UDP_L4 => 8,
            _ => frame.get(usize::from(start) + 12).map_or(20, |b| u16::from(b >> 4) * 4),
        };
        h[2..4].copy_from_slice(&(start + transport).to_ne_bytes());
        h[4..6].copy_from_slice(&m.gso.1.to_ne_bytes());
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_the_kernel_is_understood_from_it() {
        let mut frame = [0u8; 100];
        frame[34 + 12] = 8 << 4;
        for m in [
            Marks::default(),
            Marks { partial: Some((34, 6)), ..Marks::default() },
            Marks { partial: Some((34, 16)), gso: (GSO_TCP4, 1448), ..Marks::default() },
            Marks { partial: Some((34, 16)), gso: (GSO_TCP6 | GSO_ECN, 1), ..Marks::default() },
            Marks { partial: Some((34, 6)), gso: (GSO_UDP_L4, 1472), ..Marks::default() },
        ] {
            assert_eq!(parse(&emit(&m, &frame)), Some(m));
        }
        let tcp = Marks { partial: Some((34, 16)), gso: (GSO_TCP4, 1448), ..Marks::default() };
        assert_eq!(
            emit(&tcp, &frame)[2..4],
            66u16.to_ne_bytes(),
            "Ethernet, IP, TCP with 12 bytes of options"
        );
        assert_eq!(
            parse(&[2, 0, 0, 0, 9, 9, 9, 9, 9, 9]),
            Some(Marks { verified: true, ..Marks::default() })
        );
    }

    #[test]
    fn a_kind_that_was_not_asked_for_is_refused() {
        for kind in [2, 3, 6, 0x7f, 0xff] {
            assert_eq!(parse(&[1, kind, 0, 0, 0, 0, 0, 0, 0, 0]), None, "{kind}");
        }
    }
}

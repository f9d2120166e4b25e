//! IPv6's header, its extension headers and their options (RFC 8200).

use core::net::Ipv6Addr;

/// Length of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Smallest MTU that every link must carry (RFC 8200 section 5).
pub const MIN_MTU: usize = 1280;
/// Longest packet: the payload length has 16 bits. Jumbograms (RFC 2675) are not read.
pub const MAX_LEN: usize = HEADER_LEN + 65535;
/// Length of a fragment header.
pub const FRAGMENT_LEN: usize = 8;

/// Values of "next header".
#[allow(missing_docs)]
pub mod next {
    pub const HOP_BY_HOP: u8 = 0;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMP6: u8 = 58;
    pub const NONE: u8 = 59;
    pub const DEST_OPTS: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// Option types of hop-by-hop and destination options headers.
#[allow(missing_docs)]
pub mod opt {
    pub const PAD1: u8 = 0;
    pub const PADN: u8 = 1;
    /// RFC 2711.
    pub const ROUTER_ALERT: u8 = 5;
    /// RFC 2675.
    pub const JUMBO: u8 = 0xc2;
    /// RFC 6275.
    pub const HOME_ADDRESS: u8 = 0xc9;
}

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits (RFC 6437).
    pub flow_label: u32,
    /// Bytes behind this header.
    pub payload_len: usize,
    /// What follows ([`next`]).
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Shorter than a header, or not version 6.
    Header,
    /// The payload length exceeds the packet.
    Length,
}

impl Header {
    /// Reads and checks a header. The packet may be longer than header and payload (link padding).
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn parse(b: &[u8]) -> Result<Header, Bad> {
        let h = Header::parse_unchecked(b).ok_or(Bad::Header)?;
        if HEADER_LEN + h.payload_len > b.len() {
            return Err(Bad::Length);
        }
        Ok(h)
    }

    /// Reads a header whose packet may be cut, as one that an ICMP error quotes. `None` when it is shorter than a
    /// header or its version is not 6.
    #[inline]
    pub fn parse_unchecked(b: &[u8]) -> Option<Header> {
        let h: &[u8; HEADER_LEN] = b.first_chunk()?;
        let w = u32::from_be_bytes([h[0], h[1], h[2], h[3]]);
        if w >> 28 != 6 {
            return None;
        }
        let addr = |at: usize| {
            let mut a = [0; 16];
            a.copy_from_slice(&h[at..at + 16]);
            Ipv6Addr::from(a)
        };
        Some(Header {
            traffic_class: (w >> 20) as u8,
            flow_label: w & 0xf_ffff,
            payload_len: usize::from(u16::from_be_bytes([h[4], h[5]])),
            next: h[6],
            hop_limit: h[7],
            src: addr(8),
            dst: addr(24),
        })
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes; a shorter buffer is left alone. A payload length
    /// over 65,535 is the caller's error and is cut.
    #[inline]
    pub fn emit(&self, b: &mut [u8]) {
        let Some(h) = b.first_chunk_mut::<HEADER_LEN>() else { return };
        let w = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        h[..4].copy_from_slice(&w.to_be_bytes());
        h[4..6].copy_from_slice(&(self.payload_len as u16).to_be_bytes());
        h[6] = self.next;
        h[7] = self.hop_limit;
        h[8..24].copy_from_slice(&self.src.octets());
        h[24..].copy_from_slice(&self.dst.octets());
    }
}

/// Whether a "next header" value is an extension header that a node walks over to find the transport (RFC 7045 1.1; ESP hides
/// what follows, and none follows NONE).
#[inline]
pub const fn is_extension(n: u8) -> bool {
    matches!(
        n,
        next::HOP_BY_HOP
            | next::ROUTING
            | next::FRAGMENT
            | next::AH
            | next::DEST_OPTS
            | next::MOBILITY
            | next::HIP
            | next::SHIM6
    )
}

/// One extension header in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ext<'a> {
    /// Which ([`next`]).
    pub kind: u8,
    /// What follows it.
    pub next: u8,
    /// Where it begins, bytes from the start of the packet.
    pub at: usize,
    /// Where its kind is written: the offset of the "next header" field that named it.
    pub named_at: usize,
    /// The header, whole.
    pub bytes: &'a [u8],
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol that is no extension header.
    pub proto: u8,
    /// Where it begins, bytes from the start of the packet.
    pub at: usize,
    /// The offset of the "next header" field that named it.
    pub named_at: usize,
}

/// Walks over the extension headers of a packet (`packet` begins with the fixed header).
///
/// Yields each extension header; `Err` and the end when one is cut off. A fragment header other than the first fragment's
/// ends the walk: what follows is payload. After the last item [`Chain::upper`] names the transport.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    packet: &'a [u8],
    next: u8,
    named_at: usize,
    at: usize,
    done: bool,
}

/// A chain that does not fit its packet; the offset of the header that is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff(pub usize);

impl<'a> Chain<'a> {
    /// The chain of a packet whose fixed header says `first` comes next.
    #[inline]
    pub fn new(packet: &'a [u8], first: u8) -> Chain<'a> {
        Chain { packet, next: first, named_at: 6, at: HEADER_LEN, done: false }
    }

    /// What the walk has come to: after the iterator ended without an error, the transport.
    #[inline]
    pub fn upper(&self) -> Upper {
        Upper { proto: self.next, at: self.at, named_at: self.named_at }
    }
}

impl<'a> Iterator for Chain<'a> {
    type Item = Result<Ext<'a>, CutOff>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done || !is_extension(self.next) {
            return None;
        }
        let rest = self.packet.get(self.at..).unwrap_or_default();
        let len = match (self.next, rest) {
            (next::FRAGMENT, _) => FRAGMENT_LEN,
            // RFC 4302 2.2: in words of 4 bytes, less 2.
            (next::AH, [_, l, ..]) => (usize::from(*l) + 2) * 4,
            (_, [_, l, ..]) => (usize::from(*l) + 1) * 8,
            _ => usize::MAX,
        };
        let Some(bytes) = rest.get(..len) else {
            self.done = true;
            return Some(Err(CutOff(self.at)));
        };
        let e = Ext { kind: self.next, next: bytes[0], at: self.at, named_at: self.named_at, bytes };
        self.named_at = self.at;
        self.at += len;
        self.next = e.next;
        self.done = e.kind == next::FRAGMENT && Fragment::parse(bytes).is_some_and(|f| f.offset != 0);
        Some(Ok(e))
    }
}

/// A fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What follows in the first fragment.
    pub next: u8,
    /// Where this piece belongs, bytes from the start of the fragmentable part: a multiple of 8.
    pub offset: usize,
    /// More pieces follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

impl Fragment {
    /// Reads the header; `None` when `b` is shorter.
    #[inline]
    pub fn parse(b: &[u8]) -> Option<Fragment> {
        let h: &[u8; FRAGMENT_LEN] = b.first_chunk()?;
        let w = u16::from_be_bytes([h[2], h[3]]);
        Some(Fragment {
            next: h[0],
            offset: usize::from(w & !7),
            more: w & 1 != 0,
            id: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        })
    }

    /// The header's bytes.
    pub fn emit(&self) -> [u8; FRAGMENT_LEN] {
        let w = (self.offset as u16 & !7) | u16::from(self.more);
        let (w, id) = (w.to_be_bytes(), self.id.to_be_bytes());
        [self.next, 0, w[0], w[1], id[0], id[1], id[2], id[3]]
    }
}

/// An option of a hop-by-hop or destination options header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    /// Type, with the bits that say what to do with one that is not known.
    pub ty: u8,
    /// Where its type stands, bytes from the start of the extension header.
    pub at: usize,
    /// Its data.
    pub data: &'a [u8],
}

/// What a node does with an option that it does not know (RFC 8200 section 4.2: the two highest bits of the type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Goes on.
    Skip,
    /// Drops the packet.
    Discard,
    /// Drops it and sends a parameter problem.
    Problem,
    /// The same, but only when the destination was not multicast.
    ProblemUnlessMulticast,
}

impl Opt<'_> {
    /// What to do with it if it is not known.
    pub const fn unknown(&self) -> Unknown {
        match self.ty >> 6 {
            0 => Unknown::Skip,
            1 => Unknown::Discard,
            2 => Unknown::Problem,
            _ => Unknown::ProblemUnlessMulticast,
        }
    }
}

/// The options of an extension header (`ext` is the whole of it), padding left out. `Err` with the offset of an option that is
/// cut off, then the end.
pub fn options(ext: &[u8]) -> impl Iterator<Item = Result<Opt<'_>, usize>> {
    let mut at = 2;
    core::iter::from_fn(move || {
        loop {
            let ty = *ext.get(at)?;
            // [RFC8200 4.2b]
            if ty == opt::PAD1 {
                at += 1;
                continue;
            }
            let here = at;
            let data = ext.get(at + 1).and_then(|l| ext.get(at + 2..at + 2 + usize::from(*l)));
            let Some(data) = data else {
                at = usize::MAX;
                return Some(Err(here));
            };
            at += 2 + data.len();
            if ty != opt::PADN {
                return Some(Ok(Opt { ty, at: here, data }));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn walk(b: &[u8], first: u8) -> (Vec<u8>, Result<Upper, CutOff>) {
        let mut c = Chain::new(b, first);
        let mut kinds = Vec::new();
        for e in c.by_ref() {
            match e {
                Ok(e) => kinds.push(e.kind),
                Err(e) => return (kinds, Err(e)),
            }
        }
        (kinds, Ok(c.upper()))
    }

    #[test]
    fn a_chain_is_walked_to_the_transport() {
        let mut b = alloc::vec![0; HEADER_LEN];
        b.extend([next::DEST_OPTS, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop
        b.extend([next::ROUTING, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        b.extend([next::FRAGMENT, 0, 4, 0, 0, 0, 0, 0]);
        b.extend([next::AH, 0, 0, 1, 0, 0, 0, 9]); // offset 0
        b.extend([next::UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // AH: 3 words
        let (kinds, upper) = walk(&b, next::HOP_BY_HOP);
        assert_eq!(kinds, [next::HOP_BY_HOP, next::DEST_OPTS, next::ROUTING, next::FRAGMENT, next::AH]);
        assert_eq!(upper, Ok(Upper { proto: next::UDP, at: b.len(), named_at: b.len() - 12 }));
        b[HEADER_LEN + 8 + 16 + 8 + 3] = 8; // a later fragment: the rest is payload
        let (kinds, upper) = walk(&b, next::HOP_BY_HOP);
        assert_eq!(kinds.len(), 4);
        assert_eq!(upper.unwrap().proto, next::AH);
        assert_eq!(walk(&b[..HEADER_LEN + 9], next::HOP_BY_HOP).1, Err(CutOff(HEADER_LEN + 8)));
        assert_eq!(walk(&b, next::NONE).1.unwrap().at, HEADER_LEN);
    }

    #[test]
    fn options_without_padding_and_one_that_is_cut() {
        let e = [17, 1, 0, 1, 1, 0, 5, 2, 0, 0, 0xc2, 9, 1, 1, 1, 1];
        let got: Vec<_> = options(&e).collect();
        assert_eq!(got[0], Ok(Opt { ty: opt::ROUTER_ALERT, at: 6, data: &[0, 0] }));
        assert_eq!(got[1..], [Err(10)]);
        assert_eq!(options(&[17, 0, 1, 4, 0, 0, 0, 0]).count(), 0);
        let o = |ty| Opt { ty, at: 0, data: &[] }.unknown();
        assert_eq!((o(5), o(0x45), o(0x85)), (Unknown::Skip, Unknown::Discard, Unknown::Problem));
        assert_eq!(o(0xc2), Unknown::ProblemUnlessMulticast);
    }

    proptest! {
        #[test]
        fn parse_undoes_emit(tc: u8, label in 0u32..0x10_0000, n in 0usize..100, nx: u8, hl: u8, src: [u8; 16], dst: [u8; 16]) {
            let h = Header {
                traffic_class: tc, flow_label: label, payload_len: n, next: nx, hop_limit: hl, src: src.into(), dst: dst.into(),
            };
            let mut b = alloc::vec![0; HEADER_LEN + n];
            h.emit(&mut b);
            prop_assert_eq!(Header::parse(&b), Ok(h));
            b.push(0);
            prop_assert_eq!(Header::parse(&b), Ok(h));
            b.truncate((HEADER_LEN + n).wrapping_sub(1));
            prop_assert_eq!(Header::parse(&b), Err(if n == 0 { Bad::Header } else { Bad::Length }));
        }

        #[test]
        fn a_fragment_header_comes_back(next: u8, offset in 0usize..8192, more: bool, id: u32) {
            let f = Fragment { next, offset: offset * 8, more, id };
            prop_assert_eq!(Fragment::parse(&f.emit()), Some(f));
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..200), first: u8) {
            let _ = Header::parse(&b);
            let mut last = 0;
            let mut c = Chain::new(&b, first);
            for e in c.by_ref().flatten() {
                prop_assert!(e.at >= last && e.at + e.bytes.len() <= b.len());
                last = e.at + e.bytes.len();
                for o in options(e.bytes).flatten() {
                    prop_assert!(o.at + 2 + o.data.len() <= e.bytes.len());
                }
            }
        }
    }
}

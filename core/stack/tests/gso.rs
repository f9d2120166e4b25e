//! Cutting super-segments: against the definition, and with marks that lie.

use iopkt_ctl::{IFCAP_TCP4CSUM, IFCAP_TSO4, IFCAP_TSO6, IFCAP_UDP4CSUM, IFCAP_USO4};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig, flags, gso as kind};
use iopkt_stack::gso;
use proptest::prelude::*;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// RFC 1071's sum, word by word, not complemented.
fn sum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut s: u64 = all.chunks(2).map(|c| u64::from(c[0]) << 8 | u64::from(*c.get(1).unwrap_or(&0))).sum();
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// What a stream or a sender of datagrams has to say, and the packets that it becomes.
#[derive(Clone, Debug)]
struct Talk {
    v4: bool,
    tcp: bool,
    tos: u8,
    ident: u16,
    df: bool,
    seq: u32,
    flags: u8,
    options: Vec<u8>,
    payload: Vec<u8>,
    size: u16,
}

impl Talk {
    fn l4(&self) -> usize {
        14 + if self.v4 { 20 } else { 40 }
    }

    /// A packet by the definition: everything from scratch.
    fn packet(&self, ident: u16, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut t = vec![0x12, 0x34, 0, 80];
        if self.tcp {
            t.extend(seq.to_be_bytes());
            t.extend(0x1122_3344u32.to_be_bytes());
            t.extend([((20 + self.options.len() as u8) / 4) << 4, flags, 0x20, 0, 0, 0, 0, 0]);
            t.extend(&self.options);
        } else {
            t.extend((8 + payload.len() as u16).to_be_bytes());
            t.extend([0, 0]);
        }
        t.extend(payload);
        let (src, dst): (Vec<u8>, Vec<u8>) = if self.v4 {
            (vec![10, 0, 0, 1], vec![10, 0, 0, 2])
        } else {
            ((1..17).collect(), (21..37).collect())
        };
        let proto = if self.tcp { 6 } else { 17 };
        let mut c = !sum(&[&src, &dst, &[0, proto], &(t.len() as u16).to_be_bytes(), &t]);
        if c == 0 && !self.tcp {
            c = 0xffff;
        }
        let at = if self.tcp { 16 } else { 6 };
        t[at..at + 2].copy_from_slice(&c.to_be_bytes());
        let mut f = MACS.to_vec();
        if self.v4 {
            let mut h = vec![0x45, self.tos];
            h.extend((20 + t.len() as u16).to_be_bytes());
            h.extend(ident.to_be_bytes());
            h.extend([if self.df { 0x40 } else { 0 }, 0, 64, proto, 0, 0]);
            h.extend(&src);
            h.extend(&dst);
            let c = !sum(&[&h]);
            h[10..12].copy_from_slice(&c.to_be_bytes());
            f.extend([8, 0]);
            f.extend(h);
        } else {
            f.extend([0x86, 0xdd, 0x60 | self.tos >> 4, self.tos << 4, 0, 7]);
            f.extend((t.len() as u16).to_be_bytes());
            f.extend([proto, 64]);
            f.extend(&src);
            f.extend(&dst);
        }
        f.extend(t);
        f
    }

    /// The pieces as they must be.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let n = self.payload.chunks(self.size.into()).count();
        let of = |(i, p): (usize, &[u8])| {
            let mut f = self.flags;
            f &= if i + 1 < n { !0x09 } else { 0xff };
            f &= if i > 0 { !0x80 } else { 0xff };
            let seq = self.seq.wrapping_add((i * usize::from(self.size)) as u32);
            self.packet(self.ident.wrapping_add(i as u16), seq, f, p)
        };
        self.payload.chunks(self.size.into()).enumerate().map(of).collect()
    }

    /// All in one, with marks.
    fn whole(&self, pool: &Pool) -> Mbuf {
        let mut b = self.packet(self.ident, self.seq, self.flags, &self.payload);
        let l4 = self.l4();
        let len = (b.len() - l4) as u32;
        let at = l4 + if self.tcp { 16 } else { 6 };
        let (proto, a) = if self.tcp { (6u8, 26..34) } else { (17, 26..34) };
        let a = if self.v4 { a } else { 22..54 };
        let p = sum(&[&b[a], &[0, proto], &len.to_be_bytes()]);
        b[at..at + 2].copy_from_slice(&p.to_be_bytes());
        let mut m = mbuf(pool, &b);
        m.set_csum_partial(l4 as u16, if self.tcp { 16 } else { 6 });
        let k = match (self.tcp, self.v4) {
            (false, _) => kind::UDP,
            (true, true) => kind::TCP4,
            (true, false) => kind::TCP6,
        };
        m.set_gso(k, self.size);
        m
    }
}

fn pool() -> Pool {
    Pool::new(PoolConfig::default())
}

fn mbuf(p: &Pool, b: &[u8]) -> Mbuf {
    p.cache(0).copy_of(b).unwrap()
}

fn cut(m: &Mbuf, pool: &Pool, caps: u32) -> Vec<Mbuf> {
    let (mut v, mut c) = (Vec::new(), pool.cache(0));
    let n = gso::cut(m, true, caps, |n| c.alloc_len(n), |p| v.push(p)).unwrap();
    assert_eq!((n, n), (v.len(), gso::whole(m, true)));
    assert!(n <= gso::at_most(m));
    v
}

fn bytes(v: &[Mbuf]) -> Vec<Vec<u8>> {
    v.iter().map(|m| m.as_slice().to_vec()).collect()
}

fn talk(plain: bool) -> impl Strategy<Value = Talk> {
    let options =
        prop_oneof![Just(vec![]), Just(vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7]), Just(vec![1; 40])];
    let size = prop_oneof![Just(1448u16), Just(1460), 1u16..3000];
    let head =
        (any::<bool>(), any::<bool>(), any::<u8>(), any::<u16>(), any::<bool>(), any::<u32>(), any::<u8>());
    (head, options, 1usize..20_000, any::<u8>(), size).prop_map(move |(h, options, len, fill, size)| {
        let (v4, tcp, tos, ident, df, seq, flags) = h;
        let flags = if plain { flags & 0x48 | 0x10 } else { flags };
        let payload =
            (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(fill ^ (i >> 8) as u8)).collect();
        // At most 400 pieces.
        let size = size.max((len / 400) as u16 + 1);
        Talk { v4, tcp, tos, ident, df, seq, flags, options, payload, size }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_what_the_definition_makes(t in talk(false)) {
        let p = pool();
        let mut m = t.whole(&p);
        gso::check(&mut m, true).unwrap();
        m = t.whole(&p); // one piece loses its mark
        prop_assert_eq!(bytes(&cut(&m, &p, 0)), t.pieces());
    }

    /// A device that sums but does not cut gets pieces with a sum to complete.
    #[test]
    fn partial_pieces_complete_to_the_same(t in talk(false)) {
        let p = pool();
        let mut v = cut(&t.whole(&p), &p, u32::MAX);
        for m in &mut v {
            prop_assert!(m.flags() & flags::CSUM_PARTIAL != 0);
            iopkt_stack::Cx::finish_checksum(m);
        }
        // A TCP sum of zero may be written either way.
        for (a, b) in v.iter().zip(t.pieces()) {
            let (a, at) = (a.as_slice(), t.l4() + if t.tcp { 16 } else { 6 });
            prop_assert_eq!(&a[..at], &b[..at]);
            prop_assert_eq!(&a[at + 2..], &b[at + 2..]);
            prop_assert_eq!(u16::from_be_bytes([a[at], a[at + 1]]) % 0xffff, u16::from_be_bytes([b[at], b[at + 1]]) % 0xffff);
        }
    }

    #[test]
    fn marks_that_lie_are_contained(
        b in proptest::collection::vec(any::<u8>(), 0..200),
        t in talk(false), broken in any::<bool>(), at in 0usize..80, byte: u8, start: u16, offset: u16, size: u16, k: u8, fl in 0u32..16,
    ) {
        let p = pool();
        let mut m = if broken { mbuf(&p, &b) } else { t.whole(&p) };
        if let Some(x) = m.as_mut_slice().get_mut(at) {
            *x = byte;
        }
        if broken || byte & 1 != 0 {
            m.set_csum_partial(start, offset);
            m.clear_flags(flags::CSUM_PARTIAL);
            m.set_flags(fl & (flags::CSUM_OK | flags::CSUM_PARTIAL));
            m.set_gso(k, size);
        }
        for ether in [true, false] {
            let mut c = p.cache(0);
            let (mut total, mut n) = (0, 0);
            let done = gso::cut(&m, ether, 0, |n| c.alloc_len(n), |p| { total += p.len(); n += 1 });
            prop_assert!(n <= 65_536 && total <= n * 120 + m.len(), "{n} pieces of {total} bytes");
            let mut copy = mbuf(&p, m.as_slice());
            copy.set_flags(m.flags());
            if m.flags() & flags::CSUM_PARTIAL != 0 {
                copy.set_csum_partial(m.meta().csum_start, m.meta().csum_offset);
            }
            copy.set_gso(m.meta().gso_type, m.meta().gso_size);
            if gso::check(&mut copy, ether).is_ok() && copy.meta().gso_type != 0 && ether && copy.as_slice().get(12..14) == Some(&[8, 0]) {
                prop_assert!(done.is_ok(), "what was found good can be cut");
            }
            let _ = (gso::unit(&m, 20), gso::at_most(&m), gso::takes(0, &m, ether));
        }
    }
}

fn example() -> Talk {
    Talk {
        v4: true,
        tcp: true,
        tos: 0,
        ident: 65_535,
        df: false,
        seq: u32::MAX - 10,
        flags: 0x19,
        options: vec![],
        payload: vec![7; 3001],
        size: 1000,
    }
}

#[test]
fn marks_are_judged() {
    let p = pool();
    let judge = |f: &dyn Fn(&mut Mbuf)| {
        let mut m = example().whole(&p);
        f(&mut m);
        gso::check(&mut m, true)
    };
    assert_eq!(judge(&|_| {}), Ok(()));
    assert!(judge(&|m| m.set_gso(kind::TCP4, 0)).is_err(), "size 0");
    assert!(judge(&|m| m.set_gso(kind::TCP6, 1000)).is_err(), "the other family");
    assert!(judge(&|m| m.set_gso(kind::UDP, 1000)).is_err(), "the other protocol");
    assert!(judge(&|m| m.set_gso(77, 1000)).is_err(), "a kind that there is not");
    assert!(judge(&|m| m.set_csum_partial(60_000, 16)).is_err(), "outside the packet");
    assert!(judge(&|m| m.set_csum_partial(65_535, 65_535)).is_err());
    assert!(judge(&|m| m.set_csum_partial(10, 16)).is_err(), "in the Ethernet header");
    assert!(judge(&|m| m.set_csum_partial(36, 16)).is_err(), "not at the transport header");
    assert!(judge(&|m| m.clear_flags(flags::CSUM_PARTIAL)).is_err(), "a super-segment has no checksum");
    assert!(judge(&|m| m.as_mut_slice()[20] = 0x20).is_err(), "a fragment");
    assert!(judge(&|m| m.as_mut_slice()[46] = 0x40).is_err(), "a header of 16 bytes");
    assert!(judge(&|m| m.truncate(2000)).is_err(), "shorter than its header says");
    let mut many = Talk { tcp: false, size: 1, ..example() }.whole(&p);
    assert!(gso::check(&mut many, true).is_err(), "3001 datagrams");
    let mut one = Talk { payload: vec![1; 1000], ..example() }.whole(&p);
    assert_eq!((gso::check(&mut one, true), one.meta().gso_type), (Ok(()), kind::NONE), "one piece is none");
}

#[test]
fn capabilities_are_asked_for_by_kind() {
    let p = pool();
    let t = example().whole(&p);
    let u = Talk { tcp: false, ..example() }.whole(&p);
    assert!(gso::takes(IFCAP_TSO4 | IFCAP_TCP4CSUM, &t, true));
    assert!(!gso::takes(IFCAP_TSO4, &t, true), "who cuts must sum");
    assert!(!gso::takes(IFCAP_TCP4CSUM | IFCAP_TSO6 | IFCAP_USO4, &t, true));
    assert!(
        gso::takes(IFCAP_USO4 | IFCAP_UDP4CSUM, &u, true)
            && !gso::takes(IFCAP_TSO4 | IFCAP_UDP4CSUM, &u, true)
    );
    let mut ip = mbuf(&p, &t.as_slice()[14..]);
    ip.set_gso(kind::TCP4, 1000);
    assert_eq!(gso::unit(&ip, 20), 1040);
}

#[test]
fn no_memory_ends_the_pieces() {
    let p = pool();
    let m = example().whole(&p);
    let (mut c, mut left, mut n) = (p.cache(0), 2, 0);
    let alloc = |len| {
        left -= 1;
        if left < 0 { None } else { c.alloc_len(len) }
    };
    assert_eq!(gso::cut(&m, true, 0, alloc, |_| n += 1), Ok(2));
    assert_eq!(n, 2);
}

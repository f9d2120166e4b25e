//! Any answers in any order at any times: the DHCPv6 client always has a next time that is to come, and never says much at once.

use iopkt_autoconf::dhcp6::{Action6, Client6, Config6};
use iopkt_base::{Duration, Instant, Rng};
use proptest::prelude::*;

const DUID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

fn put(v: &mut Vec<u8>, code: u16, b: &[u8]) {
    v.extend(code.to_be_bytes());
    v.extend((b.len() as u16).to_be_bytes());
    v.extend(b);
}

/// A lifetime, or T1 or T2: none, for ever, or some.
fn secs(rng: &mut Rng) -> [u8; 4] {
    match rng.below(5) {
        0 => 0,
        1 => u32::MAX,
        _ => rng.below(5000),
    }
    .to_be_bytes()
}

fn status(v: &mut Vec<u8>, rng: &mut Rng) {
    put(v, 13, &(rng.below(7) as u16).to_be_bytes());
}

/// A message that is well made and says anything.
fn message(kind: u8, xid: [u8; 3], rng: &mut Rng) -> Vec<u8> {
    let mut m = vec![kind, xid[0], xid[1], xid[2]];
    put(&mut m, 1, &DUID);
    put(&mut m, 2, &[0, 3, 0, 1, rng.below(2) as u8]);
    if rng.below(3) == 0 {
        put(&mut m, 14, &[]);
    }
    if rng.below(6) == 0 {
        status(&mut m, rng);
    }
    for _ in 0..rng.below(4) {
        let prefix = rng.below(2) == 0;
        let mut ia = [(7 + rng.below(3)).to_be_bytes(), secs(rng), secs(rng)].concat();
        for _ in 0..rng.below(3) {
            let (mut addr, life) = ([0; 16], [secs(rng), secs(rng)].concat());
            (addr[0], addr[15]) = (0x20, rng.below(5) as u8);
            if prefix {
                put(&mut ia, 26, &[&life[..], &[rng.below(130) as u8], &addr].concat());
            } else {
                put(&mut ia, 5, &[&addr[..], &life].concat());
            }
        }
        if rng.below(4) == 0 {
            status(&mut ia, rng);
        }
        put(&mut m, if prefix { 25 } else { 3 }, &ia);
    }
    m
}

proptest! {
    #[test]
    fn there_is_always_a_next_time(
        (addresses, prefixes, rapid) in (0u32..3, 0usize..3, any::<bool>()),
        seed in any::<u64>(),
        steps in proptest::collection::vec((0u64..200, 0u8..12, any::<u64>()), 0..40),
    ) {
        let prefixes = [56, 0][..prefixes.min(2)].to_vec();
        let cfg = Config6 { duid: DUID.to_vec(), iaid: 7, addresses, prefixes, rapid };
        let mut now = Instant::from_millis(1000);
        let mut c = Client6::new(cfg, Rng::new(seed), now);
        let mut xid = [0; 3];
        for (secs, kind, r) in steps {
            c.tick(now);
            let mut said = 0;
            while let Some(a) = c.next() {
                said += 1;
                if let Action6::Send(m) = a {
                    xid.copy_from_slice(&m[1..4]);
                }
            }
            prop_assert!(said < 8, "{said} things at once");
            prop_assert!(c.deadline() > now, "again and again at {now:?}");
            now += Duration::from_secs(secs * secs);
            match kind {
                0 => c.release(now),
                1 => {
                    let taken: Vec<_> = c.lease().into_iter().flat_map(|l| l.addrs.first()).map(|g| g.addr).collect();
                    c.decline(now, &taken);
                }
                2 => c.link_up(now),
                3 => c.input(now, &message(2, xid, &mut Rng::new(r))),
                _ => c.input(now, &message(7, xid, &mut Rng::new(r))),
            }
            if let Some(l) = c.lease() {
                prop_assert!(l.addrs.len() + l.prefixes.len() <= 32, "{l:?}");
            }
        }
    }
}

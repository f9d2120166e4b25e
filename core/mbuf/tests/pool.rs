//! Buffers come out, go home and stay within their limits, from one thread and from several.

use iopkt_mbuf::{BATCH, Mbuf, Pool, PoolConfig, flags};

fn pool(max: usize) -> Pool {
    Pool::new(PoolConfig { cluster: 512, max_clusters: max, max_big_bytes: 100_000, headroom: 64 })
}

#[test]
fn a_buffer_grows_and_shrinks_at_both_ends() {
    let p = pool(64);
    let mut c = p.cache(8);
    let mut m = c.alloc().expect("within the limit");
    assert_eq!((m.len(), m.headroom(), m.tailroom()), (0, 64, 448));
    assert!(m.extend_from_slice(b"payload"));
    m.prepend(3).expect("room").copy_from_slice(b"hdr");
    assert_eq!(m.as_slice(), b"hdrpayload");
    m.trim_front(3);
    m.truncate(3);
    assert_eq!(m.as_slice(), b"pay");
    m.trim_front(99);
    assert!(m.is_empty());
    assert!(m.prepend(513).is_none() && m.append(513).is_none() && m.is_sane());
    m.set_flags(flags::BCAST);
    m.reset(1_000_000);
    assert_eq!((m.headroom(), m.tailroom(), m.flags()), (512, 0, 0));
}

#[test]
fn the_limit_holds_and_everything_goes_home() {
    let p = pool(40);
    let mut c = p.cache(0);
    let held: Vec<Mbuf> = std::iter::from_fn(|| c.alloc()).collect();
    assert_eq!(held.len(), 40);
    assert_eq!(p.stats().denied, 1);
    for (i, m) in held.into_iter().enumerate() {
        if i % 2 == 0 { c.free(m) } else { drop(m) }
    }
    drop(c);
    let s = p.stats();
    assert_eq!((s.clusters, s.out), (40, 0));
}

#[test]
fn big_buffers_have_their_own_limit() {
    let p = pool(40);
    let mut c = p.cache(0);
    let a = c.alloc_len(60_000).expect("within the limit");
    assert!(a.tailroom() >= 60_000);
    assert!(c.alloc_len(60_000).is_none(), "over the limit together");
    c.free(a);
    assert_eq!(p.stats().big_bytes, 0);
    let m = c.copy_of(&[7; 90_000]).expect("room again");
    assert_eq!(m.as_slice(), &[7; 90_000][..]);
    assert!(c.alloc_len(usize::MAX).is_none());
}

#[test]
fn a_buffer_outlives_pool_and_cache() {
    let p = pool(40);
    let mut c = p.cache(4);
    let mut m = c.copy_of(b"still here").expect("room");
    let big = c.copy_of(&[1; 5000]).expect("room");
    drop((c, p));
    assert_eq!(m.as_slice(), b"still here");
    m.as_mut_slice()[0] = b'S';
    assert_eq!(big.len(), 5000);
}

#[test]
fn threads_hand_buffers_to_each_other() {
    let p = pool(4 * BATCH);
    let (tx, rx) = std::sync::mpsc::channel::<Mbuf>();
    let p2 = p.clone();
    let t = std::thread::spawn(move || {
        let mut c = p2.cache(BATCH);
        let mut sum = 0u64;
        for m in rx {
            sum += u64::from(m.as_slice()[0]);
            c.free(m);
        }
        sum
    });
    let mut c = p.cache(BATCH);
    let (mut sent, mut want) = (0u32, 0u64);
    // Miri checks every access: a few hundred show it as well.
    let total = if cfg!(miri) { 300 } else { 20_000 };
    while sent < total {
        if let Some(mut m) = c.alloc() {
            m.extend_from_slice(&[sent as u8]);
            want += u64::from(sent as u8);
            sent += 1;
            tx.send(m).expect("receiver lives");
        } else {
            std::thread::yield_now();
        }
    }
    drop((tx, c));
    assert_eq!(t.join().expect("no panic"), want);
    assert_eq!(p.stats().out, 0);
}

#[test]
fn raw_hand_over_keeps_the_packet() {
    let p = pool(40);
    let m = p.cache(0).copy_of(b"abc").expect("room");
    let raw = m.into_raw();
    // SAFETY: just came from into_raw, unchanged.
    let m = unsafe { Mbuf::from_raw(raw) };
    assert_eq!(m.as_slice(), b"abc");
}

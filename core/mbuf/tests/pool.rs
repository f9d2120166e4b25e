//! Buffers come out, go home and stay within their limits, from one thread and from several.

use iopkt_mbuf::{BATCH, Mbuf, Pool, PoolConfig, flags};

fn pool(max: usize) -> Pool {
    Pool::new(PoolConfig {
        cluster: 512,
        max_clusters: max,
        max_big_bytes: 100_000,
        headroom: 64,
        ..PoolConfig::default()
    })
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

/// Memory of one's own: counts, and tells what was asked for.
#[derive(Default)]
struct Counted {
    taken: std::sync::Mutex<Vec<(usize, usize)>>,
    most: usize,
}

/// The pool has it, and so has the test.
struct Shared(std::sync::Arc<Counted>);

// SAFETY: it is the allocator's, with a count.
unsafe impl iopkt_mbuf::Memory for Shared {
    fn take(&self, l: std::alloc::Layout) -> Option<std::ptr::NonNull<u8>> {
        let mut t = self.0.taken.lock().unwrap();
        if t.iter().map(|x| x.1).sum::<usize>() + l.size() > self.0.most {
            return None;
        }
        // SAFETY: pools ask for no empty layout.
        let at = std::ptr::NonNull::new(unsafe { std::alloc::alloc_zeroed(l) })?;
        t.push((at.as_ptr() as usize, l.size()));
        Some(at)
    }
    unsafe fn give(&self, at: std::ptr::NonNull<u8>, l: std::alloc::Layout) {
        let mut t = self.0.taken.lock().unwrap();
        let i = t.iter().position(|x| *x == (at.as_ptr() as usize, l.size())).expect("ours, and this size");
        t.remove(i);
        // SAFETY: it came from `take` with this layout.
        unsafe { std::alloc::dealloc(at.as_ptr(), l) };
    }
}

#[test]
fn chunks_follow_the_page() {
    for (page, want) in [(4096, 20_480), (16_384, 32_768), (65_536, 65_536)] {
        let m = std::sync::Arc::new(Counted { most: 1 << 20, ..Counted::default() });
        let cfg = PoolConfig { cluster: 512, page, headroom: 64, ..PoolConfig::default() };
        let p = Pool::with_memory(cfg, Some(Box::new(Shared(m.clone()))));
        let mut c = p.cache(0);
        let one = c.alloc().unwrap();
        assert_eq!(m.taken.lock().unwrap().iter().map(|t| t.1).collect::<Vec<_>>(), [want]);
        assert_eq!((p.config().chunk(), p.stats().clusters), (want, want / (512 + 64)));
        // Big buffers are the allocator's, unless the page is meant strictly.
        let big = p.alloc_big(3000).unwrap();
        assert_eq!((m.taken.lock().unwrap().len(), p.stats().big_bytes), (1, 3072));
        drop((one, big, c, p));
        assert_eq!(m.taken.lock().unwrap().len(), 0, "all is given back with the last handle");
    }
}

#[test]
fn strict_pages_are_for_big_buffers_too() {
    let m = std::sync::Arc::new(Counted { most: 3 * 65_536, ..Counted::default() });
    let cfg = PoolConfig { page: 65_536, strict: true, max_clusters: 4096, ..PoolConfig::default() };
    let p = Pool::with_memory(cfg, Some(Box::new(Shared(m.clone()))));
    let mut a = p.alloc_big(3000).unwrap();
    a.extend_from_slice(&[7; 3000]);
    let b = p.alloc_big(65_536).unwrap();
    let sizes = || m.taken.lock().unwrap().iter().map(|t| t.1).collect::<Vec<_>>();
    assert_eq!(sizes(), [65_536, 131_072]);
    assert!(p.stats().big_bytes + 2 * 64 == 3 * 65_536, "what is counted is what is taken, less the headers");
    // The memory's own end is like the limit: denied, not fatal.
    assert!(p.alloc_big(10).is_none() && p.cache(0).alloc().is_none());
    assert_eq!(p.stats().denied, 2);
    drop(b);
    assert_eq!(sizes(), [65_536]);
    assert!(p.alloc_big(10).is_some());
    drop(a);
    drop(p);
    assert_eq!(sizes(), [0; 0]);
}

#[test]
fn without_caching_each_buffer_goes_home_at_once() {
    let p = Pool::new(PoolConfig { cluster: 512, caching: false, ..PoolConfig::default() });
    let mut c = p.cache(100);
    let (a, b) = (c.alloc().unwrap(), c.alloc().unwrap());
    assert_eq!(p.stats().out, 2, "none is taken ahead");
    c.free(a);
    assert_eq!(p.stats().out, 1);
    c.free(b);
    assert_eq!(p.stats().out, 0);
    // With it, they stay with the thread, and a batch is taken at a time.
    let p = Pool::new(PoolConfig { cluster: 512, ..PoolConfig::default() });
    let mut c = p.cache(100);
    let a = c.alloc().unwrap();
    c.free(a);
    assert_eq!(p.stats().out, BATCH);
}

#[test]
fn the_bytes_of_all_clusters_are_enough_for_them() {
    for (cluster, max, page) in
        [(2048, 4096, 4096), (2048, 1024, 65_536), (512, 7, 4096), (65_536, 1024, 1 << 21)]
    {
        let cfg = PoolConfig { cluster, max_clusters: max, page, ..PoolConfig::default() };
        let m = std::sync::Arc::new(Counted { most: cfg.cluster_bytes(), ..Counted::default() });
        let p = Pool::with_memory(cfg, Some(Box::new(Shared(m))));
        let mut c = p.cache(0);
        let all: Vec<_> = std::iter::from_fn(|| c.alloc()).collect();
        assert_eq!(all.len(), max);
    }
}

#[test]
fn a_chain_keeps_order_and_gives_all_back() {
    let pool = Pool::new(PoolConfig::default());
    let mut c = pool.cache(0);
    let mut chain = iopkt_mbuf::Chain::new();
    assert!(chain.pop().is_none());
    for round in 0..3u8 {
        for i in 0..40u8 {
            chain.push(c.copy_of(&[round, i]).unwrap());
        }
        assert_eq!(chain.len(), 40);
        // Half of them: the rest stays in order behind what comes next.
        for i in 0..20u8 {
            assert_eq!(chain.pop().unwrap().as_slice(), &[round, i]);
        }
        for i in 20..40u8 {
            let m = chain.pop().unwrap();
            assert_eq!(m.as_slice(), &[round, i]);
            c.free(m);
        }
        assert!(chain.is_empty() && chain.pop().is_none());
    }
    assert!(chain.front().is_none());
    for i in 0..100u8 {
        chain.push(c.copy_of(&[i]).unwrap());
    }
    assert_eq!(chain.front().unwrap().as_slice(), &[0]);
    assert_eq!(std::thread::spawn(move || chain.len()).join().unwrap(), 100);
    drop(c);
    assert_eq!(pool.stats().out, 0);
}

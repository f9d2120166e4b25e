//! x86-64 with AVX2.

use super::BLOCK;
use core::arch::x86_64::{
    __cpuid, __cpuid_count, __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_setzero_si256,
    _mm256_srli_epi64, _mm256_storeu_si256, _xgetbv,
};
use core::sync::atomic::{AtomicU8, Ordering};

const ASKED: u8 = 1;
const THERE: u8 = 2;

/// Whether the processor has AVX2 and the operating system saves its registers.
#[inline]
pub(crate) fn have() -> bool {
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let there = ask();
            KNOWN.store(ASKED | if there { THERE } else { 0 }, Ordering::Relaxed);
            there
        }
        k => k & THERE != 0,
    }
}

#[cold]
fn ask() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const AVX2: u32 = 1 << 5;
    /// SSE and AVX state.
    const STATE: u64 = 6;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & (OSXSAVE | AVX) != OSXSAVE | AVX {
        return false;
    }
    // SAFETY: OSXSAVE says that XGETBV is there.
    let state = unsafe { state() };
    state & STATE == STATE && __cpuid_count(7, 0).ebx & AVX2 != 0
}

#[target_feature(enable = "xsave")]
fn state() -> u64 {
    // SAFETY: register 0 exists wherever XGETBV does.
    unsafe { _xgetbv(0) }
}

/// Four lanes of words as they are, and of their upper halves.
#[derive(Clone, Copy)]
struct Lanes {
    all: __m256i,
    high: __m256i,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Lanes {
        Lanes { all: _mm256_setzero_si256(), high: _mm256_setzero_si256() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, v: __m256i) {
        self.all = _mm256_add_epi64(self.all, v);
        self.high = _mm256_add_epi64(self.high, _mm256_srli_epi64::<32>(v));
    }

    /// The sum of both halves, of all lanes of both; see the crate's page.
    fn fold(self, o: Lanes) -> u64 {
        let words = |v: __m256i| -> u64 {
            // SAFETY: both are 32 bytes for which every pattern is a value.
            let w: [u64; 4] = unsafe { core::mem::transmute(v) };
            w.into_iter().fold(0, u64::wrapping_add)
        };
        let all = words(self.all).wrapping_add(words(o.all));
        // Less than 2^32 times the number of words: no carry.
        let high = words(self.high) + words(o.high);
        let fold = |x: u64| (x & 0xffff_ffff) + (x >> 32);
        fold(all.wrapping_sub(high << 32)) + fold(high)
    }
}

/// A block.
#[inline]
#[target_feature(enable = "avx2")]
fn load(b: &[u8; BLOCK]) -> __m256i {
    // SAFETY: 32 bytes, read unaligned.
    unsafe { _mm256_loadu_si256(b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(b: &mut [u8; BLOCK], v: __m256i) {
    // SAFETY: 32 bytes, written unaligned.
    unsafe { _mm256_storeu_si256(b.as_mut_ptr().cast(), v) }
}

#[target_feature(enable = "avx2")]
pub(crate) fn sum(blocks: &[[u8; BLOCK]]) -> u64 {
    // Two of them, so that additions need not wait for each other.
    let (mut a, mut b) = (Lanes::zero(), Lanes::zero());
    let (pairs, last) = blocks.as_chunks::<2>();
    for [x, y] in pairs {
        a.add(load(x));
        b.add(load(y));
    }
    for x in last {
        a.add(load(x));
    }
    a.fold(b)
}

#[target_feature(enable = "avx2")]
pub(crate) fn copy(dst: &mut [[u8; BLOCK]], src: &[[u8; BLOCK]]) -> u64 {
    let n = dst.len().min(src.len());
    let (mut a, mut b) = (Lanes::zero(), Lanes::zero());
    let (to, to_last) = dst[..n].as_chunks_mut::<2>();
    let (from, from_last) = src[..n].as_chunks::<2>();
    for ([p, q], [x, y]) in to.iter_mut().zip(from) {
        let (x, y) = (load(x), load(y));
        store(p, x);
        store(q, y);
        a.add(x);
        b.add(y);
    }
    for (p, x) in to_last.iter_mut().zip(from_last) {
        let x = load(x);
        store(p, x);
        a.add(x);
    }
    a.fold(b)
}

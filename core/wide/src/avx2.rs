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

    /// The sum of both halves; see the crate's page. Each half's is less than 2^32 times the number of words.
    fn fold(self) -> u64 {
        let words = |v: __m256i| -> [u64; 4] {
            // SAFETY: both are 32 bytes for which every pattern is a value.
            unsafe { core::mem::transmute(v) }
        };
        let (all, high) = (words(self.all), words(self.high));
        let fold = |x: u64| (x & 0xffff_ffff) + (x >> 32);
        all.iter().zip(high).map(|(a, h)| fold(a.wrapping_sub(h << 32)) + fold(h)).sum()
    }
}

/// The two halves of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn load(b: &[u8; BLOCK]) -> (__m256i, __m256i) {
    let p = b.as_ptr();
    // SAFETY: 64 bytes, read as two times 32, unaligned.
    unsafe { (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())) }
}

#[target_feature(enable = "avx2")]
pub(crate) fn sum(blocks: &[[u8; BLOCK]]) -> u64 {
    // Two of them, so that additions need not wait for each other.
    let (mut a, mut b) = (Lanes::zero(), Lanes::zero());
    for block in blocks {
        let (x, y) = load(block);
        a.add(x);
        b.add(y);
    }
    a.fold() + b.fold()
}

#[target_feature(enable = "avx2")]
pub(crate) fn copy(dst: &mut [[u8; BLOCK]], src: &[[u8; BLOCK]]) -> u64 {
    let (mut a, mut b) = (Lanes::zero(), Lanes::zero());
    for (to, block) in dst.iter_mut().zip(src) {
        let (x, y) = load(block);
        let p = to.as_mut_ptr();
        // SAFETY: 64 bytes, written as two times 32, unaligned.
        unsafe {
            _mm256_storeu_si256(p.cast(), x);
            _mm256_storeu_si256(p.add(32).cast(), y);
        }
        a.add(x);
        b.add(y);
    }
    a.fold() + b.fold()
}

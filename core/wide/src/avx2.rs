//! x86-64 with AVX2.

use super::BLOCK;
use core::arch::x86_64::{
    __cpuid, __cpuid_count, __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_set1_epi16, _mm256_setzero_si256, _mm256_storeu_si256, _mm256_xor_si256, _xgetbv,
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

/// Blocks that are added before lanes of 32 bits could overflow (each block adds at most 2^16 to one, up or down), with room to spare
/// for all registers together.
const RUN: usize = 4096;
/// Blocks of one turn of the inner loop: additions to one register must not wait for each other.
const ABREAST: usize = 4;

/// Eight lanes of 32 bits; see the crate's page.
#[derive(Clone, Copy)]
struct Lanes(__m256i);

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Lanes {
        Lanes(_mm256_setzero_si256())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, v: __m256i) {
        let signed = _mm256_xor_si256(v, _mm256_set1_epi16(i16::MIN));
        self.0 = _mm256_add_epi32(self.0, _mm256_madd_epi16(signed, _mm256_set1_epi16(1)));
    }
}

/// The sum of what these registers hold after `blocks` blocks.
#[target_feature(enable = "avx2")]
fn fold(all: [Lanes; ABREAST], blocks: usize) -> u64 {
    let [a, b, c, d] = all.map(|l| l.0);
    let v = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
    // SAFETY: both are 32 bytes for which every pattern is a value.
    let w: [i32; 8] = unsafe { core::mem::transmute(v) };
    let less = (blocks * (BLOCK / 2)) as i64 * -i64::from(i16::MIN);
    (w.into_iter().map(i64::from).sum::<i64>() + less) as u64
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
    let mut total = 0;
    for run in blocks.chunks(RUN) {
        let mut lanes = [Lanes::zero(); ABREAST];
        let (fours, last) = run.as_chunks::<ABREAST>();
        for four in fours {
            for (l, b) in lanes.iter_mut().zip(four) {
                l.add(load(b));
            }
        }
        for (l, b) in lanes.iter_mut().zip(last) {
            l.add(load(b));
        }
        total += fold(lanes, run.len());
    }
    total
}

#[target_feature(enable = "avx2")]
pub(crate) fn copy(dst: &mut [[u8; BLOCK]], src: &[[u8; BLOCK]]) -> u64 {
    let mut total = 0;
    for (to, from) in dst.chunks_mut(RUN).zip(src.chunks(RUN)) {
        let n = to.len().min(from.len());
        let mut lanes = [Lanes::zero(); ABREAST];
        let (to, to_last) = to[..n].as_chunks_mut::<ABREAST>();
        let (from, from_last) = from[..n].as_chunks::<ABREAST>();
        for (to, from) in to.iter_mut().zip(from) {
            for ((l, d), s) in lanes.iter_mut().zip(to).zip(from) {
                let v = load(s);
                store(d, v);
                l.add(v);
            }
        }
        for ((l, d), s) in lanes.iter_mut().zip(to_last).zip(from_last) {
            let v = load(s);
            store(d, v);
            l.add(v);
        }
        total += fold(lanes, n);
    }
    total
}

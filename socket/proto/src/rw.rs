//! Numbers in and out of byte arrays. Callers have checked the length; out of range reads 0, writes nothing.

pub(crate) fn get<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(src) = b.get(at..at + N) {
        out.copy_from_slice(src);
    }
    out
}

pub(crate) fn put(b: &mut [u8], at: usize, v: &[u8]) {
    if let Some(dst) = b.get_mut(at..at + v.len()) {
        dst.copy_from_slice(v);
    }
}

pub(crate) fn get_u16(b: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(get(b, at))
}
pub(crate) fn get_u32(b: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(get(b, at))
}
pub(crate) fn get_i32(b: &[u8], at: usize) -> i32 {
    i32::from_ne_bytes(get(b, at))
}
pub(crate) fn get_u64(b: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(get(b, at))
}

//! Sequence numbers: a 32-bit circle (RFC 9293 section 3.4). [RFC9293 3.4]

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number. Comparisons are on the circle: `a` is before `b` when the way forward from `a` to `b`
/// is shorter than 2^31. There is no `Ord`, because the circle has none; the methods say what they compare.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// `self` comes before `o`.
    #[inline]
    pub const fn lt(self, o: Seq) -> bool {
        (self.0.wrapping_sub(o.0) as i32) < 0
    }
    /// `self` comes before `o` or is it.
    #[inline]
    pub const fn le(self, o: Seq) -> bool {
        !o.lt(self)
    }
    /// `self` comes after `o`.
    #[inline]
    pub const fn gt(self, o: Seq) -> bool {
        o.lt(self)
    }
    /// `self` comes after `o` or is it.
    #[inline]
    pub const fn ge(self, o: Seq) -> bool {
        !self.lt(o)
    }
    /// The later of two.
    #[inline]
    pub const fn max(self, o: Seq) -> Seq {
        if self.lt(o) { o } else { self }
    }
    /// The earlier of two.
    #[inline]
    pub const fn min(self, o: Seq) -> Seq {
        if self.lt(o) { self } else { o }
    }
    /// Whether it lies in `[from, to)`.
    #[inline]
    pub const fn within(self, from: Seq, to: Seq) -> bool {
        self.0.wrapping_sub(from.0) < to.0.wrapping_sub(from.0)
    }
    /// Bytes from `earlier` to here, 0 when `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Seq) -> u32 {
        let d = self.0.wrapping_sub(earlier.0);
        if (d as i32) < 0 { 0 } else { d }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    #[inline]
    fn add(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, n: u32) {
        self.0 = self.0.wrapping_add(n);
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;
    #[inline]
    fn sub(self, n: u32) -> Seq {
        Seq(self.0.wrapping_sub(n))
    }
}

impl Sub for Seq {
    type Output = i32;
    /// Signed distance on the circle.
    #[inline]
    fn sub(self, o: Seq) -> i32 {
        self.0.wrapping_sub(o.0) as i32
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_goes_round_the_circle() {
        // [RFC9293 3.4]
        for base in [0u32, 1, 0x7fff_fff0, 0x8000_0000, u32::MAX - 3, u32::MAX] {
            let a = Seq(base);
            for d in [1u32, 2, 1000, 0x7fff_ffff] {
                let b = a + d;
                assert!(a.lt(b) && a.le(b) && b.gt(a) && b.ge(a) && !b.lt(a) && !b.le(a));
                assert_eq!((a.max(b), a.min(b), b.max(a)), (b, a, b));
                assert_eq!((b.since(a), a.since(b)), (d, 0));
                assert!(a.within(a, b) && !b.within(a, b) && (b - 1).within(a, b));
            }
            assert!(a.le(a) && a.ge(a) && !a.lt(a) && !a.within(a, a));
            assert_eq!((a + 5) - a, 5);
            assert_eq!(a - (a + 5), -5);
        }
    }
}

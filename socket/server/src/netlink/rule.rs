//! Rules of policy routing as RTM_NEWRULE tells them: this stack has one table, which Linux's programs see as its rules for
//! own addresses and for everything else.

use super::msg::{Head, Out, af};
use super::route::{LOCAL, MAIN};
use alloc::vec::Vec;

/// The rules of a family: priority and table.
const RULES: [(u32, u8); 2] = [(0, LOCAL), (32766, MAIN)];

pub(super) fn rules(h: Head, family: u8) -> Vec<Vec<u8>> {
    let of = [true, false].into_iter().filter(|v4| family == 0 || family == af(*v4));
    of.flat_map(|v4| RULES.map(|r| rule(h, v4, r))).collect()
}

/// `struct fib_rule_hdr` and attributes.
fn rule(h: Head, v4: bool, (priority, table): (u32, u8)) -> Vec<u8> {
    const FR_ACT_TO_TBL: u8 = 1;
    let mut o = Out::begin(h);
    o.raw(&[af(v4), 0, 0, 0, table, 0, 0, FR_ACT_TO_TBL]).raw(&[0; 4]);
    // FRA_TABLE, FRA_SUPPRESS_PREFIXLEN (nothing), FRA_PRIORITY where it is not 0.
    o.u32(15, table.into()).u32(14, u32::MAX);
    if priority != 0 {
        o.u32(6, priority);
    }
    o.end()
}

//! ioctl(2) requests of device nodes: `<iopkt/bpf.h>`, `<iopkt/if_tun.h>` and `<iopkt/if_tap.h>` have the same numbers. Names, groups and
//! arguments are NetBSD's (bpf(4), tun(4), tap(4)), the encoding of direction and length is this machine's `_IOR` and `_IOW`.
#![allow(missing_docs)] // each is the name and value of a header of ours

use crate::linux::IFREQ_LEN;

const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn io(dir: u32, group: u8, nr: u32, len: usize) -> u32 {
    dir << 30 | (len as u32) << 16 | (group as u32) << 8 | nr
}

/// `struct bpf_stat`.
pub const BPF_STAT_LEN: usize = 128;
/// `struct bpf_program`, `struct bpf_dltlist`: a count, padding, a pointer.
pub const POINTER_LEN: usize = 16;

pub const BIOCGBLEN: u32 = io(READ, b'B', 102, 4);
pub const BIOCSBLEN: u32 = io(READ | WRITE, b'B', 102, 4);
pub const BIOCSETF: u32 = io(WRITE, b'B', 103, POINTER_LEN);
pub const BIOCFLUSH: u32 = io(NONE, b'B', 104, 0);
pub const BIOCPROMISC: u32 = io(NONE, b'B', 105, 0);
pub const BIOCGDLT: u32 = io(READ, b'B', 106, 4);
pub const BIOCGETIF: u32 = io(READ, b'B', 107, IFREQ_LEN);
pub const BIOCSETIF: u32 = io(WRITE, b'B', 108, IFREQ_LEN);
pub const BIOCGSTATS: u32 = io(READ, b'B', 111, BPF_STAT_LEN);
pub const BIOCIMMEDIATE: u32 = io(WRITE, b'B', 112, 4);
pub const BIOCVERSION: u32 = io(READ, b'B', 113, 4);
pub const BIOCGHDRCMPLT: u32 = io(READ, b'B', 116, 4);
pub const BIOCSHDRCMPLT: u32 = io(WRITE, b'B', 117, 4);
pub const BIOCSDLT: u32 = io(WRITE, b'B', 118, 4);
pub const BIOCGDLTLIST: u32 = io(READ | WRITE, b'B', 119, POINTER_LEN);
pub const BIOCGSEESENT: u32 = io(READ, b'B', 120, 4);
pub const BIOCSSEESENT: u32 = io(WRITE, b'B', 121, 4);
pub const BIOCSRTIMEOUT: u32 = io(WRITE, b'B', 122, 16);
pub const BIOCGRTIMEOUT: u32 = io(READ, b'B', 123, 16);

pub const TUNSIFMODE: u32 = io(WRITE, b't', 88, 4);
pub const TUNGDEBUG: u32 = io(READ, b't', 89, 4);
pub const TUNSDEBUG: u32 = io(WRITE, b't', 90, 4);
pub const TUNSIFHEAD: u32 = io(WRITE, b't', 66, 4);
pub const TUNGIFHEAD: u32 = io(READ, b't', 65, 4);
pub const TAPGIFNAME: u32 = io(READ, b'e', 0, IFREQ_LEN);

pub const DLT_NULL: u32 = 0;
pub const DLT_EN10MB: u32 = 1;
pub const DLT_RAW: u32 = 12;

/// Length of the argument of a request, and whether it goes in and comes out.
pub const fn shape(request: u32) -> (usize, bool, bool) {
    ((request >> 16 & 0x3fff) as usize, request >> 30 & WRITE != 0, request >> 30 & READ != 0)
}

/// Whether a request is one of those above, by its group.
pub const fn is_node_request(request: u32) -> bool {
    matches!((request >> 8) as u8, b'B' | b't' | b'e')
}

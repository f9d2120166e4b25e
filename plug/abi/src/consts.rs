//! Constants of the header, under their names without `IOPKT_`.

pub const ABI_MAJOR: u16 = 1;
pub const ABI_MINOR: u16 = 0;
pub const MAGIC: [u8; 8] = *b"IOPKTOBJ";
/// Name of the one data symbol that an object exports.
pub const OBJECT_SYMBOL: &str = "iopkt_object";

pub const KIND_DRIVER: u16 = 1;
pub const KIND_MODULE: u16 = 2;

/// Most buffers that one call carries.
pub const BATCH: usize = 32;

pub const M_BCAST: u32 = 0x1;
pub const M_MCAST: u32 = 0x2;
pub const M_CSUM_OK: u32 = 0x4;
pub const M_CSUM_PARTIAL: u32 = 0x8;
pub const M_LOOP: u32 = 0x10;
pub const M_PROMISC: u32 = 0x20;
pub const M_MASK: u32 = 0x3f;

pub const GSO_NONE: u8 = 0;
pub const GSO_TCP4: u8 = 1;
pub const GSO_TCP6: u8 = 4;
pub const GSO_UDP: u8 = 5;

pub const LOG_SHUTDOWN: i32 = 0;
pub const LOG_CRITICAL: i32 = 1;
pub const LOG_ERROR: i32 = 2;
pub const LOG_WARNING: i32 = 3;
pub const LOG_NOTICE: i32 = 4;
pub const LOG_INFO: i32 = 5;
pub const LOG_DEBUG1: i32 = 6;
pub const LOG_DEBUG2: i32 = 7;

pub const FD_READ: u32 = 0x1;
pub const FD_WRITE: u32 = 0x2;
pub const FD_ERROR: u32 = 0x4;
pub const FD_HANGUP: u32 = 0x8;

/// A deadline that is not set.
pub const NEVER: u64 = u64::MAX;

pub const LINK_ETHER: u32 = 1;
pub const LINK_RAWIP: u32 = 2;

pub const LINK_UNKNOWN: u32 = 0;
pub const LINK_DOWN: u32 = 1;
pub const LINK_UP: u32 = 2;

pub const CAP_IP4CSUM: u32 = 0x1;
pub const CAP_TCP4CSUM: u32 = 0x2;
pub const CAP_UDP4CSUM: u32 = 0x4;
pub const CAP_TCP6CSUM: u32 = 0x8;
pub const CAP_UDP6CSUM: u32 = 0x10;
pub const CAP_TSO4: u32 = 0x20;
pub const CAP_TSO6: u32 = 0x40;

pub const DEV_MEDIA: u32 = 0x1;
pub const DEV_NOMULTICAST: u32 = 0x2;

/// "Next free number" for [`crate::Device::unit`].
pub const UNIT_ANY: u32 = u32::MAX;

pub const STAY_REMOVED: u32 = 0x1;
pub const STAY_DESTROYED: u32 = 0x2;

pub const COUNT_IERRORS: u32 = 1;
pub const COUNT_IQDROPS: u32 = 2;
pub const COUNT_OERRORS: u32 = 3;
pub const COUNT_COLLISIONS: u32 = 4;

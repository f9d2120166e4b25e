//! Constants of the header, under their names without `IOPKT_`.

pub const ABI_MAJOR: u16 = 1;
pub const ABI_MINOR: u16 = 2;
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
pub const GSO_ECN: u8 = 0x80;

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
pub const CAP_LRO: u32 = 0x80;
pub const CAP_USO4: u32 = 0x100;
pub const CAP_USO6: u32 = 0x200;

pub const DEV_MEDIA: u32 = 0x1;
pub const DEV_NOMULTICAST: u32 = 0x2;
pub const DEV_LEGACY: u32 = 0x4;
pub const DEV_CAPSON: u32 = 0x8;

pub const MEDIA_ETHER: u32 = 0x20;
pub const MEDIA_AUTO: u32 = 0x0;
pub const MEDIA_MANUAL: u32 = 0x1;
pub const MEDIA_NONE: u32 = 0x2;
pub const MEDIA_10_T: u32 = 0x3;
pub const MEDIA_100_TX: u32 = 0x6;
pub const MEDIA_1000_T: u32 = 0x10;
pub const MEDIA_FDX: u32 = 0x0010_0000;
pub const MEDIA_HDX: u32 = 0x0020_0000;
pub const MEDIA_MAX: usize = 16;

pub const FLAG_DEBUG: u32 = 0x4;
pub const FLAG_LINK0: u32 = 0x1000;
pub const FLAG_LINK1: u32 = 0x2000;
pub const FLAG_LINK2: u32 = 0x4000;

/// "Next free number" for [`crate::Device::unit`].
pub const UNIT_ANY: u32 = u32::MAX;

pub const STAY_REMOVED: u32 = 0x1;
pub const STAY_DESTROYED: u32 = 0x2;

pub const COUNT_IERRORS: u32 = 1;
pub const COUNT_IQDROPS: u32 = 2;
pub const COUNT_OERRORS: u32 = 3;
pub const COUNT_COLLISIONS: u32 = 4;

pub const ADDR_VALID: u8 = 0;
pub const ADDR_TENTATIVE: u8 = 1;
pub const ADDR_DUPLICATED: u8 = 2;

pub const ADDR_BROADCAST: u8 = 0x1;
pub const ADDR_PEER: u8 = 0x2;
pub const ADDR_PRIMARY: u8 = 0x4;

pub const IF_UP: u32 = 0x1;
pub const IF_BROADCAST: u32 = 0x2;
pub const IF_LOOPBACK: u32 = 0x8;
pub const IF_POINTOPOINT: u32 = 0x10;
pub const IF_RUNNING: u32 = 0x40;
pub const IF_NOARP: u32 = 0x80;
pub const IF_PROMISC: u32 = 0x100;
pub const IF_ALLMULTI: u32 = 0x200;
pub const IF_MULTICAST: u32 = 0x8000;

pub const CHANGED_ARRIVED: u32 = 0x1;
pub const CHANGED_DEPARTED: u32 = 0x2;
pub const CHANGED_STATE: u32 = 0x4;
pub const CHANGED_ADDRS: u32 = 0x8;

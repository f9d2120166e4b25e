//! The network control model: NCM 1.0 (with errata 1). Many Ethernet frames ("datagrams") in one transfer.
//!
//! A bulk transfer holds one *NTB*. It begins with a header (NTH: signature, sequence number, length of the
//! block, where the first table is). A table (NDP) lists offset and length of datagrams and ends with a zero
//! entry; tables may be chained. There are two widths of all those numbers, NTB-16 and NTB-32. With CRC mode
//! each datagram is followed by its CRC-32, which its length includes.
//!
//! The function says in [`Parameters`] how large NTBs may be and how their parts must be aligned, and the host
//! chooses width, size and CRC mode while the data interface is in setting 0, which also resets them.
//!
//! [`parse`] reads NTBs without copying, [`build`] writes them straight into the buffer that leaves.

pub mod build;
mod crc;
pub mod parse;

use crate::desc;
use crate::setup::{Setup, rt};

pub use build::{Builder, Shape, Sink};
pub use crc::crc32;
pub use parse::{Bad, Block};

/// Subclass of a control interface: network control model.
pub const SUBCLASS_NCM: u8 = 0x0d;
/// Protocol of a data interface that carries NTBs.
pub const PROTOCOL_NTB: u8 = 0x01;
/// Subtype of the NCM functional descriptor.
pub const FUNC_NCM: u8 = 0x1a;

/// Class requests (NCM 1.0, table 6-2).
#[allow(missing_docs)]
pub mod req {
    pub const GET_NTB_PARAMETERS: u8 = 0x80;
    pub const GET_NET_ADDRESS: u8 = 0x81;
    pub const SET_NET_ADDRESS: u8 = 0x82;
    pub const GET_NTB_FORMAT: u8 = 0x83;
    pub const SET_NTB_FORMAT: u8 = 0x84;
    pub const GET_NTB_INPUT_SIZE: u8 = 0x85;
    pub const SET_NTB_INPUT_SIZE: u8 = 0x86;
    pub const GET_MAX_DATAGRAM_SIZE: u8 = 0x87;
    pub const SET_MAX_DATAGRAM_SIZE: u8 = 0x88;
    pub const GET_CRC_MODE: u8 = 0x89;
    pub const SET_CRC_MODE: u8 = 0x8a;
}

/// Bits of `bmNetworkCapabilities` (NCM 1.0, table 5-2).
#[allow(missing_docs)]
pub mod cap {
    pub const PACKET_FILTER: u8 = 0x01;
    pub const NET_ADDRESS: u8 = 0x02;
    pub const ENCAPSULATED: u8 = 0x04;
    pub const MAX_DATAGRAM_SIZE: u8 = 0x08;
    pub const CRC_MODE: u8 = 0x10;
    pub const NTB_INPUT_SIZE_8: u8 = 0x20;
}

/// Width of the numbers in an NTB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// 16 bits; every function has it.
    #[default]
    Ntb16,
    /// 32 bits.
    Ntb32,
}

impl Format {
    /// Bytes of the header.
    pub const fn header(self) -> usize {
        match self {
            Format::Ntb16 => 12,
            Format::Ntb32 => 16,
        }
    }

    /// Bytes of a table before its entries.
    pub const fn table(self) -> usize {
        match self {
            Format::Ntb16 => 8,
            Format::Ntb32 => 16,
        }
    }

    /// Bytes of a table's entry.
    pub const fn entry(self) -> usize {
        match self {
            Format::Ntb16 => 4,
            Format::Ntb32 => 8,
        }
    }

    /// Its bit in `bmNtbFormatsSupported`.
    pub const fn bit(self) -> u16 {
        match self {
            Format::Ntb16 => 1,
            Format::Ntb32 => 2,
        }
    }

    /// `wValue` of SET_NTB_FORMAT.
    pub const fn value(self) -> u16 {
        match self {
            Format::Ntb16 => 0,
            Format::Ntb32 => 1,
        }
    }
}

/// Largest length that a sum of 16 bits can say; an NTB-16 is no longer.
pub const MAX_NTB16: u32 = 0xffff;
/// Smallest NTB size that a function may ask for (NCM 1.0, 6.2.7 and table 6-3).
pub const MIN_NTB: u32 = 2048;

/// What GET_NTB_PARAMETERS answers (NCM 1.0, table 6-3), little-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `bmNtbFormatsSupported`: [`Format::bit`]s.
    pub formats: u16,
    /// `dwNtbInMaxSize`: longest NTB to the host, bytes.
    pub in_max: u32,
    /// `wNdpInDivisor`: alignment of the payload of datagrams to the host.
    pub in_divisor: u16,
    /// `wNdpInPayloadRemainder`
    pub in_remainder: u16,
    /// `wNdpInAlignment`: of tables to the host, a power of two.
    pub in_alignment: u16,
    /// `dwNtbOutMaxSize`: longest NTB from the host, bytes.
    pub out_max: u32,
    /// `wNdpOutDivisor`
    pub out_divisor: u16,
    /// `wNdpOutPayloadRemainder`
    pub out_remainder: u16,
    /// `wNdpOutAlignment`
    pub out_alignment: u16,
    /// `wNtbOutMaxDatagrams`: most datagrams in an NTB from the host, 0 for no limit.
    pub out_datagrams: u16,
}

impl Default for Parameters {
    /// What Linux's gadget says.
    fn default() -> Parameters {
        Parameters {
            formats: 3,
            in_max: 16_384,
            in_divisor: 4,
            in_remainder: 0,
            in_alignment: 4,
            out_max: 16_384,
            out_divisor: 4,
            out_remainder: 0,
            out_alignment: 4,
            out_datagrams: 0,
        }
    }
}

impl Parameters {
    /// Length on the wire.
    pub const LEN: usize = 28;

    /// Reads the structure; `None` when the bytes are too few.
    pub fn parse(b: &[u8]) -> Option<Parameters> {
        let b: &[u8; Parameters::LEN] = b.first_chunk()?;
        let w = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        let d = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Some(Parameters {
            formats: w(2),
            in_max: d(4),
            in_divisor: w(8),
            in_remainder: w(10),
            in_alignment: w(12),
            out_max: d(16),
            out_divisor: w(20),
            out_remainder: w(22),
            out_alignment: w(24),
            out_datagrams: w(26),
        })
    }

    /// The structure as it is sent.
    pub fn to_bytes(&self) -> [u8; Parameters::LEN] {
        let mut b = [0; Parameters::LEN];
        let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
        put(0, &(Parameters::LEN as u16).to_le_bytes());
        put(2, &self.formats.to_le_bytes());
        put(4, &self.in_max.to_le_bytes());
        put(8, &self.in_divisor.to_le_bytes());
        put(10, &self.in_remainder.to_le_bytes());
        put(12, &self.in_alignment.to_le_bytes());
        put(16, &self.out_max.to_le_bytes());
        put(20, &self.out_divisor.to_le_bytes());
        put(22, &self.out_remainder.to_le_bytes());
        put(24, &self.out_alignment.to_le_bytes());
        put(26, &self.out_datagrams.to_le_bytes());
        b
    }
}

/// `bmNetworkCapabilities` of an NCM functional descriptor (NCM 1.0, 5.2.1); `None` when the bytes are none.
pub fn capabilities(b: &[u8]) -> Option<u8> {
    match *b {
        [len, desc::CS_INTERFACE, FUNC_NCM, _, _, caps, ..] if len >= 6 => Some(caps),
        _ => None,
    }
}

/// `bmNetworkCapabilities` of the function with this control interface; 0 without the descriptor.
pub fn function_capabilities(config: &[u8], control: u8) -> u8 {
    desc::settings(config)
        .filter(|s| s.interface.number == control)
        .find_map(|s| desc::iter(s.body).find_map(capabilities))
        .unwrap_or(0)
}

/// Body of the NCM functional descriptor for [`desc::Builder::class_specific`].
pub fn functional(caps: u8) -> [u8; 4] {
    [FUNC_NCM, 0x00, 0x01, caps]
}

fn out(request: u8, value: u16, control: u8, length: u16) -> Setup {
    Setup { request_type: rt::CLASS | rt::INTERFACE, request, value, index: u16::from(control), length }
}

/// GET_NTB_PARAMETERS.
pub fn get_parameters(control: u8) -> Setup {
    Setup {
        request_type: rt::IN | rt::CLASS | rt::INTERFACE,
        request: req::GET_NTB_PARAMETERS,
        value: 0,
        index: u16::from(control),
        length: Parameters::LEN as u16,
    }
}

/// SET_NTB_FORMAT.
pub fn set_format(control: u8, f: Format) -> Setup {
    out(req::SET_NTB_FORMAT, f.value(), control, 0)
}

/// SET_NTB_INPUT_SIZE, and its data stage: four bytes, or eight (no limit of datagrams) where `caps` says so.
pub fn set_input_size(control: u8, caps: u8, size: u32) -> (Setup, [u8; 8]) {
    let s = size.to_le_bytes();
    let length = if caps & cap::NTB_INPUT_SIZE_8 != 0 { 8 } else { 4 };
    (out(req::SET_NTB_INPUT_SIZE, 0, control, length), [s[0], s[1], s[2], s[3], 0, 0, 0, 0])
}

/// SET_MAX_DATAGRAM_SIZE, and its data stage.
pub fn set_max_datagram(control: u8, size: u16) -> (Setup, [u8; 2]) {
    (out(req::SET_MAX_DATAGRAM_SIZE, 0, control, 2), size.to_le_bytes())
}

/// SET_CRC_MODE.
pub fn set_crc_mode(control: u8, on: bool) -> Setup {
    out(req::SET_CRC_MODE, u16::from(on), control, 0)
}

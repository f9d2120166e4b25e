//! Communication devices: functional descriptors, requests and notifications of CDC 1.2, ECM 1.2 and PSTN 1.2.
//!
//! An Ethernet function (ECM) is a control interface of class 2, subclass 6 and a data interface of class 10,
//! joined by a union descriptor. The data interface usually has an alternate setting 0 without endpoints
//! ("network off") and a setting with a bulk pair. An abstract control model function (ACM, a serial port, here
//! the AT port of a modem) looks the same with subclass 2.

use crate::desc::{self, Endpoint, Setting, Transfer};
use crate::ncm::SUBCLASS_NCM;
use crate::setup::{Setup, rt};
use alloc::vec::Vec;

/// Interface class: communication (control).
pub const CLASS_COMM: u8 = 0x02;
/// Interface class: data.
pub const CLASS_DATA: u8 = 0x0a;
/// Subclass of a control interface: abstract control model.
pub const SUBCLASS_ACM: u8 = 0x02;
/// Subclass of a control interface: Ethernet.
pub const SUBCLASS_ECM: u8 = 0x06;

/// Functional descriptor subtypes (CDC 1.2, table 13).
#[allow(missing_docs)]
pub mod func {
    pub const HEADER: u8 = 0x00;
    pub const CALL_MANAGEMENT: u8 = 0x01;
    pub const ACM: u8 = 0x02;
    pub const UNION: u8 = 0x06;
    pub const ETHERNET: u8 = 0x0f;
}

/// Class requests (CDC 1.2, table 19; ECM 1.2, table 6; PSTN 1.2, table 13).
#[allow(missing_docs)]
pub mod req {
    pub const SEND_ENCAPSULATED_COMMAND: u8 = 0x00;
    pub const GET_ENCAPSULATED_RESPONSE: u8 = 0x01;
    pub const SET_LINE_CODING: u8 = 0x20;
    pub const GET_LINE_CODING: u8 = 0x21;
    pub const SET_CONTROL_LINE_STATE: u8 = 0x22;
    pub const SEND_BREAK: u8 = 0x23;
    pub const SET_ETHERNET_MULTICAST_FILTERS: u8 = 0x40;
    pub const SET_ETHERNET_PM_PATTERN: u8 = 0x41;
    pub const GET_ETHERNET_PM_PATTERN: u8 = 0x42;
    pub const SET_ETHERNET_PACKET_FILTER: u8 = 0x43;
    pub const GET_ETHERNET_STATISTIC: u8 = 0x44;
}

/// Packet filter bits (ECM 1.2, table 8).
#[allow(missing_docs)]
pub mod filter {
    pub const PROMISCUOUS: u16 = 0x01;
    pub const ALL_MULTICAST: u16 = 0x02;
    pub const DIRECTED: u16 = 0x04;
    pub const BROADCAST: u16 = 0x08;
    pub const MULTICAST: u16 = 0x10;
}

/// Ethernet statistics selectors (ECM 1.2, table 9); bit `n - 1` of bmEthernetStatistics says that `n` is had.
#[allow(missing_docs)]
pub mod stat {
    pub const XMIT_OK: u16 = 0x01;
    pub const RCV_OK: u16 = 0x02;
    pub const XMIT_ERROR: u16 = 0x03;
    pub const RCV_ERROR: u16 = 0x04;
    pub const RCV_NO_BUFFER: u16 = 0x05;
}

/// Notification codes (CDC 1.2, table 20; PSTN 1.2, table 30).
#[allow(missing_docs)]
pub mod note {
    pub const NETWORK_CONNECTION: u8 = 0x00;
    pub const RESPONSE_AVAILABLE: u8 = 0x01;
    pub const SERIAL_STATE: u8 = 0x20;
    pub const CONNECTION_SPEED_CHANGE: u8 = 0x2a;
}

/// The Ethernet networking functional descriptor (ECM 1.2, 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// `iMACAddress`: string of 12 upper-case hexadecimal digits.
    pub mac_str: u8,
    /// `bmEthernetStatistics`: which of [`stat`] it has.
    pub statistics: u32,
    /// `wMaxSegmentSize` in bytes, Ethernet header included.
    pub max_segment: u16,
    /// `wNumberMCFilters`: multicast filters in bits 14..0, bit 15 set when they are imperfect (hashed).
    pub mc_filters: u16,
    /// `bNumberPowerFilters`.
    pub power_filters: u8,
}

impl Ethernet {
    /// Reads the descriptor; `None` when the bytes are not one.
    pub fn parse(b: &[u8]) -> Option<Ethernet> {
        let b: &[u8; 13] = b.get(..13)?.try_into().ok()?;
        if b[0] < 13 || b[1] != desc::CS_INTERFACE || b[2] != func::ETHERNET {
            return None;
        }
        Some(Ethernet {
            mac_str: b[3],
            statistics: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
            max_segment: u16::from_le_bytes([b[8], b[9]]),
            mc_filters: u16::from_le_bytes([b[10], b[11]]),
            power_filters: b[12],
        })
    }

    /// Body for [`desc::Builder::class_specific`].
    pub fn body(&self) -> [u8; 11] {
        let s = self.statistics.to_le_bytes();
        let (m, n) = (self.max_segment.to_le_bytes(), self.mc_filters.to_le_bytes());
        [func::ETHERNET, self.mac_str, s[0], s[1], s[2], s[3], m[0], m[1], n[0], n[1], self.power_filters]
    }
}

/// Control interface and first subordinate of a union descriptor (CDC 1.2, 5.2.3.2); `None` when the bytes
/// are not one.
pub fn union(b: &[u8]) -> Option<(u8, u8)> {
    match *b {
        [len, desc::CS_INTERFACE, func::UNION, control, data, ..] if len >= 5 => Some((control, data)),
        _ => None,
    }
}

/// A function of a communication device, found in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// `bConfigurationValue` of the configuration.
    pub config: u8,
    /// Number of the control interface.
    pub control: u8,
    /// Number of the data interface.
    pub data: u8,
    /// Alternate setting of the data interface that has the bulk pair.
    pub data_alt: u8,
    /// Whether the data interface has other settings, so that the setting must be selected.
    pub has_alts: bool,
    /// Notification endpoint, if there is one.
    pub notify: Option<Endpoint>,
    /// Bulk endpoint to the host.
    pub bulk_in: Endpoint,
    /// Bulk endpoint to the device.
    pub bulk_out: Endpoint,
    /// Ethernet networking descriptor; always there in an ECM function.
    pub ethernet: Option<Ethernet>,
}

/// Functions of this control subclass ([`SUBCLASS_ECM`], [`SUBCLASS_NCM`], [`SUBCLASS_ACM`]) in a configuration. One without a
/// usable data interface, or an Ethernet function without its descriptor, is passed over. A union descriptor
/// that is missing is replaced by "the next data interface", which is what such devices mean.
pub fn functions(config: &[u8], subclass: u8) -> impl Iterator<Item = Function> + '_ {
    let value = desc::Config::parse(config).map_or(0, |c| c.value);
    desc::settings(config).filter_map(move |s| {
        let i = s.interface;
        if i.class != CLASS_COMM || i.subclass != subclass {
            return None;
        }
        function_at(config, value, &s)
    })
}

fn function_at(config: &[u8], value: u8, s: &Setting<'_>) -> Option<Function> {
    let control = s.interface.number;
    let ethernet = desc::iter(s.body).find_map(Ethernet::parse);
    if [SUBCLASS_ECM, SUBCLASS_NCM].contains(&s.interface.subclass) && ethernet.is_none() {
        return None;
    }
    let named = desc::iter(s.body).find_map(union).filter(|u| u.0 == control).map(|u| u.1);
    let is_data = |number: u8, class: u8| match named {
        Some(n) => number == n,
        None => class == CLASS_DATA && number > control,
    };
    let mut found: Option<(u8, u8, Endpoint, Endpoint)> = None;
    let mut alts = 0;
    for d in desc::settings(config).filter(|d| is_data(d.interface.number, d.interface.class)) {
        if found.is_some_and(|(n, ..)| n != d.interface.number) {
            break;
        }
        alts += 1;
        let pair = d.endpoint(Transfer::Bulk, true).zip(d.endpoint(Transfer::Bulk, false));
        if let (None, Some((i, o))) = (found, pair) {
            found = Some((d.interface.number, d.interface.alt, i, o));
        }
    }
    let (data, data_alt, bulk_in, bulk_out) = found?;
    if bulk_in.max_packet() == 0 || bulk_out.max_packet() == 0 {
        return None;
    }
    let notify = s.endpoint(Transfer::Interrupt, true);
    Some(Function {
        config: value,
        control,
        data,
        data_alt,
        has_alts: alts > 1,
        notify,
        bulk_in,
        bulk_out,
        ethernet,
    })
}

/// MAC address in the text of the iMACAddress string: 12 hexadecimal digits. `None` when it is not that, or is
/// no unicast address.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let t = text.trim();
    if t.len() != 12 || !t.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let v = u64::from_str_radix(t, 16).ok()?.to_be_bytes();
    let mac = [v[2], v[3], v[4], v[5], v[6], v[7]];
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

/// A notification that came in on the interrupt endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// The network came (true) or went.
    NetworkConnection(bool),
    /// [`req::GET_ENCAPSULATED_RESPONSE`] has something to fetch.
    ResponseAvailable,
    /// The speed of the link in bits per second.
    SpeedChange {
        /// Towards the host.
        down: u32,
        /// From the host.
        up: u32,
    },
    /// State of a serial line (PSTN 1.2, table 31): bit 0 carrier, bit 1 DSR, bit 3 ring.
    SerialState(u16),
    /// Another one, by its code.
    Other(u8),
}

impl Notification {
    /// Reads a notification and the number of the interface that it is about; `None` when the bytes are none.
    pub fn parse(b: &[u8]) -> Option<(u16, Notification)> {
        let (h, data) = b.split_first_chunk::<8>()?;
        if h[0] != 0xa1 {
            return None;
        }
        let value = u16::from_le_bytes([h[2], h[3]]);
        let n = match h[1] {
            note::NETWORK_CONNECTION => Notification::NetworkConnection(value != 0),
            note::RESPONSE_AVAILABLE => Notification::ResponseAvailable,
            note::CONNECTION_SPEED_CHANGE => {
                let d: &[u8; 8] = data.first_chunk()?;
                Notification::SpeedChange {
                    down: u32::from_le_bytes([d[0], d[1], d[2], d[3]]),
                    up: u32::from_le_bytes([d[4], d[5], d[6], d[7]]),
                }
            }
            note::SERIAL_STATE => {
                let d: &[u8; 2] = data.first_chunk()?;
                Notification::SerialState(u16::from_le_bytes(*d))
            }
            other => Notification::Other(other),
        };
        Some((u16::from_le_bytes([h[4], h[5]]), n))
    }

    /// Writes the notification for `interface`; returns the buffer and how much of it is used.
    pub fn to_bytes(self, interface: u8) -> ([u8; 16], usize) {
        let mut b = [0; 16];
        b[0] = 0xa1;
        b[4] = interface;
        let (code, value, data): (u8, u16, &[u8]) = match self {
            Notification::NetworkConnection(on) => (note::NETWORK_CONNECTION, u16::from(on), &[]),
            Notification::ResponseAvailable => (note::RESPONSE_AVAILABLE, 0, &[]),
            Notification::SpeedChange { down, up } => {
                let (d, u) = (down.to_le_bytes(), up.to_le_bytes());
                (note::CONNECTION_SPEED_CHANGE, 0, &[d[0], d[1], d[2], d[3], u[0], u[1], u[2], u[3]])
            }
            Notification::SerialState(s) => (note::SERIAL_STATE, 0, &s.to_le_bytes()),
            Notification::Other(code) => (code, 0, &[]),
        };
        b[1] = code;
        b[2..4].copy_from_slice(&value.to_le_bytes());
        b[6] = data.len() as u8;
        b[8..8 + data.len()].copy_from_slice(data);
        (b, 8 + data.len())
    }
}

fn class_out(request: u8, value: u16, interface: u8, length: u16) -> Setup {
    Setup { request_type: rt::CLASS | rt::INTERFACE, request, value, index: u16::from(interface), length }
}

fn class_in(request: u8, value: u16, interface: u8, length: u16) -> Setup {
    Setup {
        request_type: rt::IN | rt::CLASS | rt::INTERFACE,
        request,
        value,
        index: u16::from(interface),
        length,
    }
}

/// SET_ETHERNET_PACKET_FILTER with [`filter`] bits.
pub fn set_packet_filter(control: u8, bits: u16) -> Setup {
    class_out(req::SET_ETHERNET_PACKET_FILTER, bits, control, 0)
}

/// SET_ETHERNET_MULTICAST_FILTERS; the data stage is `count` addresses of six bytes.
pub fn set_multicast_filters(control: u8, count: u16) -> Setup {
    class_out(req::SET_ETHERNET_MULTICAST_FILTERS, count, control, count.saturating_mul(6))
}

/// SET_ETHERNET_POWER_MANAGEMENT_PATTERN_FILTER of filter `n`; the data stage is [`power_pattern`], empty to
/// take the filter away.
pub fn set_power_filter(control: u8, n: u16, length: u16) -> Setup {
    class_out(req::SET_ETHERNET_PM_PATTERN, n, control, length)
}

/// GET_ETHERNET_POWER_MANAGEMENT_PATTERN_FILTER of filter `n`: two bytes, 1 when it is active.
pub fn get_power_filter(control: u8, n: u16) -> Setup {
    class_in(req::GET_ETHERNET_PM_PATTERN, n, control, 2)
}

/// A wake-up pattern (ECM 1.2, table 7): the size of the mask, the mask with a bit for each byte of the
/// pattern, the pattern. This one fits frames that begin with these bytes, at most eight.
pub fn power_pattern(start: &[u8]) -> Vec<u8> {
    let start = &start[..start.len().min(8)];
    let mask = ((1u16 << start.len()) - 1) as u8;
    let mut v = alloc::vec![1, 0, mask];
    v.extend_from_slice(start);
    v
}

/// Reads a wake-up pattern: bytes and whether each counts; `None` when the bytes are none.
pub fn parse_power_pattern(b: &[u8]) -> Option<Vec<(u8, bool)>> {
    let (size, rest) = b.split_first_chunk::<2>()?;
    let (mask, pattern) = rest.split_at_checked(usize::from(u16::from_le_bytes(*size)))?;
    let counts = |i: usize| mask.get(i / 8).is_some_and(|m| m & (1 << (i % 8)) != 0);
    Some(pattern.iter().enumerate().map(|(i, b)| (*b, counts(i))).collect())
}

/// GET_ETHERNET_STATISTIC: four bytes, little-endian.
pub fn get_statistic(control: u8, selector: u16) -> Setup {
    class_in(req::GET_ETHERNET_STATISTIC, selector, control, 4)
}

/// SEND_ENCAPSULATED_COMMAND with a data stage of `length` bytes.
pub fn send_encapsulated(control: u8, length: u16) -> Setup {
    class_out(req::SEND_ENCAPSULATED_COMMAND, 0, control, length)
}

/// GET_ENCAPSULATED_RESPONSE of at most `length` bytes.
pub fn get_encapsulated(control: u8, length: u16) -> Setup {
    class_in(req::GET_ENCAPSULATED_RESPONSE, 0, control, length)
}

/// SET_LINE_CODING; the data stage is [`line_coding`].
pub fn set_line_coding(control: u8) -> Setup {
    class_out(req::SET_LINE_CODING, 0, control, 7)
}

/// SET_CONTROL_LINE_STATE: data terminal ready, request to send.
pub fn set_control_line_state(control: u8, dtr: bool, rts: bool) -> Setup {
    class_out(req::SET_CONTROL_LINE_STATE, u16::from(dtr) | u16::from(rts) << 1, control, 0)
}

/// Data stage of SET_LINE_CODING for `rate` bits per second, 8 data bits, no parity, one stop bit.
pub fn line_coding(rate: u32) -> [u8; 7] {
    let r = rate.to_le_bytes();
    [r[0], r[1], r[2], r[3], 0, 0, 8]
}

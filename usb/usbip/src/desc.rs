//! Descriptors (USB 2.0, 9.6): reading them from bytes nobody vouches for, and writing them.
//!
//! Every descriptor starts with its length and type. A reader takes descriptors one after the other and stops
//! at one that does not fit; a descriptor that is longer than the standard says is read up to there (devices
//! do that), a shorter one is not the descriptor that it says it is.

use alloc::string::String;
use alloc::vec::Vec;

/// Descriptor type: device.
pub const DEVICE: u8 = 1;
/// Descriptor type: configuration.
pub const CONFIG: u8 = 2;
/// Descriptor type: string.
pub const STRING: u8 = 3;
/// Descriptor type: interface.
pub const INTERFACE: u8 = 4;
/// Descriptor type: endpoint.
pub const ENDPOINT: u8 = 5;
/// Descriptor type: device qualifier (what the device would be at the other speed).
pub const DEVICE_QUALIFIER: u8 = 6;
/// Descriptor type: interface association.
pub const INTERFACE_ASSOCIATION: u8 = 11;
/// Descriptor type: class-specific, of an interface.
pub const CS_INTERFACE: u8 = 0x24;
/// Descriptor type: class-specific, of an endpoint.
pub const CS_ENDPOINT: u8 = 0x25;

/// Transfer types, bits 1..0 of an endpoint's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Control.
    Control,
    /// Isochronous.
    Isochronous,
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
}

/// A device descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// `bcdUSB`: 0x0200 is USB 2.0.
    pub usb: u16,
    /// `bDeviceClass`.
    pub class: u8,
    /// `bDeviceSubClass`.
    pub subclass: u8,
    /// `bDeviceProtocol`.
    pub protocol: u8,
    /// `bMaxPacketSize0` in bytes.
    pub max_packet0: u8,
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`: release of the device.
    pub release: u16,
    /// `iManufacturer`, 0 for none.
    pub manufacturer_str: u8,
    /// `iProduct`, 0 for none.
    pub product_str: u8,
    /// `iSerialNumber`, 0 for none.
    pub serial_str: u8,
    /// `bNumConfigurations`.
    pub configs: u8,
}

impl Device {
    /// Length of the descriptor.
    pub const LEN: usize = 18;

    /// Reads a device descriptor; `None` when the bytes are not one.
    pub fn parse(b: &[u8]) -> Option<Device> {
        let b: &[u8; Self::LEN] = b.get(..Self::LEN)?.try_into().ok()?;
        if usize::from(b[0]) < Self::LEN || b[1] != DEVICE {
            return None;
        }
        Some(Device {
            usb: le(b[2], b[3]),
            class: b[4],
            subclass: b[5],
            protocol: b[6],
            max_packet0: b[7],
            vendor: le(b[8], b[9]),
            product: le(b[10], b[11]),
            release: le(b[12], b[13]),
            manufacturer_str: b[14],
            product_str: b[15],
            serial_str: b[16],
            configs: b[17],
        })
    }

    /// The descriptor's bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let (u, v, p, r) = (
            self.usb.to_le_bytes(),
            self.vendor.to_le_bytes(),
            self.product.to_le_bytes(),
            self.release.to_le_bytes(),
        );
        let (m, s) = (self.manufacturer_str, self.serial_str);
        [
            18,
            DEVICE,
            u[0],
            u[1],
            self.class,
            self.subclass,
            self.protocol,
            self.max_packet0,
            v[0],
            v[1],
            p[0],
            p[1],
            r[0],
            r[1],
            m,
            self.product_str,
            s,
            self.configs,
        ]
    }
}

/// The header of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `wTotalLength`: bytes of the configuration with all that belongs to it.
    pub total_len: u16,
    /// `bNumInterfaces`.
    pub interfaces: u8,
    /// `bConfigurationValue`: what SET_CONFIGURATION takes.
    pub value: u8,
    /// `iConfiguration`, 0 for none.
    pub name_str: u8,
    /// `bmAttributes`: 0x80 always, 0x40 self-powered, 0x20 remote wake-up.
    pub attributes: u8,
    /// `bMaxPower` in units of 2 mA.
    pub max_power: u8,
}

impl Config {
    /// Length of the header.
    pub const LEN: usize = 9;

    /// Reads the header; `None` when the bytes are not one.
    pub fn parse(b: &[u8]) -> Option<Config> {
        let b: &[u8; Self::LEN] = b.get(..Self::LEN)?.try_into().ok()?;
        if usize::from(b[0]) < Self::LEN || b[1] != CONFIG {
            return None;
        }
        Some(Config {
            total_len: le(b[2], b[3]),
            interfaces: b[4],
            value: b[5],
            name_str: b[6],
            attributes: b[7],
            max_power: b[8],
        })
    }
}

/// An interface descriptor: one alternate setting of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `bInterfaceNumber`.
    pub number: u8,
    /// `bAlternateSetting`.
    pub alt: u8,
    /// `bNumEndpoints`, without endpoint 0.
    pub endpoints: u8,
    /// `bInterfaceClass`.
    pub class: u8,
    /// `bInterfaceSubClass`.
    pub subclass: u8,
    /// `bInterfaceProtocol`.
    pub protocol: u8,
    /// `iInterface`, 0 for none.
    pub name_str: u8,
}

impl Interface {
    /// Length of the descriptor.
    pub const LEN: usize = 9;

    /// Reads an interface descriptor; `None` when the bytes are not one.
    pub fn parse(b: &[u8]) -> Option<Interface> {
        let b: &[u8; Self::LEN] = b.get(..Self::LEN)?.try_into().ok()?;
        if usize::from(b[0]) < Self::LEN || b[1] != INTERFACE {
            return None;
        }
        Some(Interface {
            number: b[2],
            alt: b[3],
            endpoints: b[4],
            class: b[5],
            subclass: b[6],
            protocol: b[7],
            name_str: b[8],
        })
    }
}

/// An endpoint descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `bEndpointAddress`: number in bits 3..0, bit 7 set for IN.
    pub addr: u8,
    /// `bmAttributes`.
    pub attributes: u8,
    /// `wMaxPacketSize` as it stands there (bits 12..11: extra transactions).
    pub max_packet_raw: u16,
    /// `bInterval`.
    pub interval: u8,
}

impl Endpoint {
    /// Length of the descriptor (audio devices append two bytes, which are ignored).
    pub const LEN: usize = 7;

    /// Reads an endpoint descriptor; `None` when the bytes are not one.
    pub fn parse(b: &[u8]) -> Option<Endpoint> {
        let b: &[u8; Self::LEN] = b.get(..Self::LEN)?.try_into().ok()?;
        if usize::from(b[0]) < Self::LEN || b[1] != ENDPOINT {
            return None;
        }
        Some(Endpoint { addr: b[2], attributes: b[3], max_packet_raw: le(b[4], b[5]), interval: b[6] })
    }

    /// Endpoint number.
    pub fn number(&self) -> u8 {
        self.addr & 15
    }

    /// Direction bit.
    pub fn is_in(&self) -> bool {
        self.addr & 0x80 != 0
    }

    /// Transfer type.
    pub fn transfer(&self) -> Transfer {
        match self.attributes & 3 {
            0 => Transfer::Control,
            1 => Transfer::Isochronous,
            2 => Transfer::Bulk,
            _ => Transfer::Interrupt,
        }
    }

    /// Bytes of a packet.
    pub fn max_packet(&self) -> u16 {
        self.max_packet_raw & 0x7ff
    }
}

/// Descriptors one after the other, each as a slice of at least two bytes that starts with its length.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

/// The descriptors in `b`. Ends at the first that does not fit.
pub fn iter(b: &[u8]) -> Iter<'_> {
    Iter { rest: b }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.rest.first()?);
        if len < 2 || len > self.rest.len() {
            self.rest = &[];
            return None;
        }
        let (d, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(d)
    }
}

/// One alternate setting with the descriptors that follow its own, up to the next interface's.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The interface descriptor.
    pub interface: Interface,
    /// What follows: class-specific descriptors, endpoints and theirs.
    pub body: &'a [u8],
}

impl<'a> Setting<'a> {
    /// Its endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> + use<'a> {
        iter(self.body).filter_map(Endpoint::parse)
    }

    /// The first endpoint of this type and direction.
    pub fn endpoint(&self, transfer: Transfer, is_in: bool) -> Option<Endpoint> {
        self.endpoints().find(|e| e.transfer() == transfer && e.is_in() == is_in)
    }
}

/// The alternate settings in a configuration (`b` starts with the configuration's header; bytes behind its
/// total length are ignored), in the order of the descriptors.
pub fn settings(b: &[u8]) -> impl Iterator<Item = Setting<'_>> {
    let b = match Config::parse(b) {
        Some(c) => &b[..b.len().min(usize::from(c.total_len))],
        None => &[],
    };
    let mut rest = iter(b);
    core::iter::from_fn(move || {
        loop {
            let Some(interface) = Interface::parse(rest.next()?) else { continue };
            let start = rest.rest;
            let mut ahead = rest.clone();
            let mut used = 0;
            while let Some(d) = ahead.next() {
                // An association opens the next function.
                if d[1] == INTERFACE || d[1] == INTERFACE_ASSOCIATION {
                    break;
                }
                used += d.len();
                rest = ahead.clone();
            }
            return Some(Setting { interface, body: &start[..used] });
        }
    })
}

/// Text of a string descriptor; `None` when it is not one. Unpaired surrogates become U+FFFD.
pub fn string(b: &[u8]) -> Option<String> {
    let len = usize::from(*b.first()?);
    if len < 2 || *b.get(1)? != STRING {
        return None;
    }
    // A device that answers with less than it promised: take what is there.
    let body = &b[2..len.min(b.len())];
    let units = body.chunks_exact(2).map(|c| le(c[0], c[1]));
    Some(char::decode_utf16(units).map(|r| r.unwrap_or('\u{fffd}')).collect())
}

/// A string descriptor for `text`, cut to the 126 UTF-16 units that fit.
pub fn string_bytes(text: &str) -> Vec<u8> {
    let mut v = Vec::with_capacity(2 + text.len() * 2);
    v.extend_from_slice(&[0, STRING]);
    let mut units = [0u16; 2];
    for c in text.chars() {
        let u = c.encode_utf16(&mut units);
        if v.len() + u.len() * 2 > 254 {
            break;
        }
        u.iter().for_each(|u| v.extend_from_slice(&u.to_le_bytes()));
    }
    v[0] = v.len() as u8;
    v
}

/// Writes a configuration, descriptor by descriptor; the total length and the number of interfaces are filled
/// in by [`Builder::finish`].
#[derive(Debug)]
pub struct Builder {
    out: Vec<u8>,
    numbers: Vec<u8>,
}

impl Builder {
    /// Starts a configuration: its value, its name (string index), attributes and power in mA.
    pub fn new(value: u8, name_str: u8, attributes: u8, milliamps: u16) -> Builder {
        let power = (milliamps / 2).min(250) as u8;
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&[9, CONFIG, 0, 0, 0, value, name_str, attributes | 0x80, power]);
        Builder { out, numbers: Vec::new() }
    }

    /// Appends an interface association: `count` interfaces from `first` are one function.
    pub fn association(mut self, first: u8, count: u8, class: [u8; 3], name_str: u8) -> Builder {
        let [c, s, p] = class;
        self.out.extend_from_slice(&[8, INTERFACE_ASSOCIATION, first, count, c, s, p, name_str]);
        self
    }

    /// Appends an interface descriptor.
    pub fn interface(mut self, i: Interface) -> Builder {
        let Interface { number, alt, endpoints, class, subclass, protocol, name_str } = i;
        self.out
            .extend_from_slice(&[9, INTERFACE, number, alt, endpoints, class, subclass, protocol, name_str]);
        if !self.numbers.contains(&number) {
            self.numbers.push(number);
        }
        self
    }

    /// Appends a class-specific interface descriptor; `body` starts with the subtype and is at most 253 bytes.
    pub fn class_specific(mut self, body: &[u8]) -> Builder {
        let body = &body[..body.len().min(253)];
        self.out.extend_from_slice(&[body.len() as u8 + 2, CS_INTERFACE]);
        self.out.extend_from_slice(body);
        self
    }

    /// Appends an endpoint descriptor.
    pub fn endpoint(mut self, addr: u8, transfer: Transfer, max_packet: u16, interval: u8) -> Builder {
        let m = max_packet.to_le_bytes();
        self.out.extend_from_slice(&[7, ENDPOINT, addr, transfer as u8, m[0], m[1], interval]);
        self
    }

    /// The finished configuration.
    pub fn finish(mut self) -> Vec<u8> {
        let total = (self.out.len() as u16).to_le_bytes();
        self.out[2..4].copy_from_slice(&total);
        self.out[4] = self.numbers.len() as u8;
        self.out
    }
}

fn le(a: u8, b: u8) -> u16 {
    u16::from_le_bytes([a, b])
}

//! Control requests: the eight bytes of a set-up packet (USB 2.0, 9.3) and the standard ones (9.4).

/// Standard request codes (USB 2.0, table 9-4).
#[allow(missing_docs)]
pub mod req {
    pub const GET_STATUS: u8 = 0;
    pub const CLEAR_FEATURE: u8 = 1;
    pub const SET_FEATURE: u8 = 3;
    pub const SET_ADDRESS: u8 = 5;
    pub const GET_DESCRIPTOR: u8 = 6;
    pub const SET_DESCRIPTOR: u8 = 7;
    pub const GET_CONFIGURATION: u8 = 8;
    pub const SET_CONFIGURATION: u8 = 9;
    pub const GET_INTERFACE: u8 = 10;
    pub const SET_INTERFACE: u8 = 11;
}

/// Values of `bmRequestType`: direction, type and recipient.
#[allow(missing_docs)]
pub mod rt {
    pub const IN: u8 = 0x80;
    pub const TYPE_MASK: u8 = 0x60;
    pub const STANDARD: u8 = 0x00;
    pub const CLASS: u8 = 0x20;
    pub const VENDOR: u8 = 0x40;
    pub const RECIPIENT_MASK: u8 = 0x1f;
    pub const DEVICE: u8 = 0;
    pub const INTERFACE: u8 = 1;
    pub const ENDPOINT: u8 = 2;
    pub const OTHER: u8 = 3;
}

/// Feature selector ENDPOINT_HALT.
pub const ENDPOINT_HALT: u16 = 0;
/// Feature selector DEVICE_REMOTE_WAKEUP.
pub const DEVICE_REMOTE_WAKEUP: u16 = 1;
/// Feature selector PORT_RESET (USB 2.0, 11.24.2) of a hub's port.
pub const PORT_RESET: u16 = 4;
/// Language id of the strings everybody has: English (United States).
pub const LANG_EN_US: u16 = 0x0409;

/// A set-up packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// `bmRequestType`: [`rt`].
    pub request_type: u8,
    /// `bRequest`: [`req`], or a class's own.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
    /// `wLength`: bytes of the data stage.
    pub length: u16,
}

impl Setup {
    /// Reads the eight bytes.
    pub fn from_bytes(b: &[u8; 8]) -> Setup {
        Setup {
            request_type: b[0],
            request: b[1],
            value: u16::from_le_bytes([b[2], b[3]]),
            index: u16::from_le_bytes([b[4], b[5]]),
            length: u16::from_le_bytes([b[6], b[7]]),
        }
    }

    /// The eight bytes.
    pub fn to_bytes(&self) -> [u8; 8] {
        let (v, i, l) = (self.value.to_le_bytes(), self.index.to_le_bytes(), self.length.to_le_bytes());
        [self.request_type, self.request, v[0], v[1], i[0], i[1], l[0], l[1]]
    }

    /// Whether the data stage goes to the host.
    pub fn is_in(&self) -> bool {
        self.request_type & rt::IN != 0
    }

    /// Type bits: [`rt::STANDARD`], [`rt::CLASS`], [`rt::VENDOR`].
    pub fn kind(&self) -> u8 {
        self.request_type & rt::TYPE_MASK
    }

    /// Recipient bits: [`rt::DEVICE`], [`rt::INTERFACE`], [`rt::ENDPOINT`].
    pub fn recipient(&self) -> u8 {
        self.request_type & rt::RECIPIENT_MASK
    }

    /// GET_DESCRIPTOR for descriptor `index` of type `ty`; `lang` is 0 except for strings.
    pub fn get_descriptor(ty: u8, index: u8, lang: u16, length: u16) -> Setup {
        Setup {
            request_type: rt::IN,
            request: req::GET_DESCRIPTOR,
            value: u16::from(ty) << 8 | u16::from(index),
            index: lang,
            length,
        }
    }

    /// GET_DESCRIPTOR for string `index` in English.
    pub fn get_string(index: u8) -> Setup {
        Setup::get_descriptor(crate::desc::STRING, index, LANG_EN_US, 255)
    }

    /// SET_CONFIGURATION to the configuration of this `bConfigurationValue`, 0 for none.
    pub fn set_configuration(value: u8) -> Setup {
        let value = u16::from(value);
        Setup { request_type: 0, request: req::SET_CONFIGURATION, value, index: 0, length: 0 }
    }

    /// SET_INTERFACE: selects an alternate setting.
    pub fn set_interface(interface: u8, alt: u8) -> Setup {
        let (value, index) = (u16::from(alt), u16::from(interface));
        Setup { request_type: rt::INTERFACE, request: req::SET_INTERFACE, value, index, length: 0 }
    }

    /// CLEAR_FEATURE(ENDPOINT_HALT) for an endpoint address (with its direction bit).
    pub fn clear_halt(ep_addr: u8) -> Setup {
        let index = u16::from(ep_addr);
        Setup {
            request_type: rt::ENDPOINT,
            request: req::CLEAR_FEATURE,
            value: ENDPOINT_HALT,
            index,
            length: 0,
        }
    }

    /// SET_FEATURE(PORT_RESET): a hub's request, which a USB/IP server that sees it takes as "reset this device"
    /// (Linux's usbip-host does; the state after it is that of a device that was just plugged in).
    pub fn port_reset() -> Setup {
        let request_type = rt::CLASS | rt::OTHER;
        Setup { request_type, request: req::SET_FEATURE, value: PORT_RESET, index: 1, length: 0 }
    }

    /// Whether this is [`Setup::port_reset`].
    pub fn is_port_reset(&self) -> bool {
        let r = Setup::port_reset();
        (self.request_type, self.request, self.value) == (r.request_type, r.request, r.value)
    }

    /// GET_STATUS of an endpoint: two bytes, bit 0 is "halted".
    pub fn endpoint_status(ep_addr: u8) -> Setup {
        let index = u16::from(ep_addr);
        Setup { request_type: rt::IN | rt::ENDPOINT, request: req::GET_STATUS, value: 0, index, length: 2 }
    }
}

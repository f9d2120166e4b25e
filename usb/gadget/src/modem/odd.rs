//! Oddities: what devices in the field get wrong, for a modem to be built with.

use super::descriptors::{ECM_CONTROL, ECM_DATA};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_usbip::cdc::{func, stat};
use iopkt_usbip::desc;

macro_rules! odd {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// One thing that is wrong with the modem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Odd {
            $($(#[$doc])* $name,)*
        }

        impl Odd {
            /// Every oddity with its word.
            pub const ALL: &[(&str, Odd)] = &[$(($word, Odd::$name),)*];
        }
    };
}

odd! {
    /// The MAC address string has lower-case digits.
    MacLower = "mac-lower",
    /// ... has colons between the bytes.
    MacColons = "mac-colons",
    /// ... lacks a digit.
    MacShort = "mac-short",
    /// ... is all zeros.
    MacZero = "mac-zero",
    /// ... is a multicast address.
    MacGroup = "mac-group",
    /// ... is no address at all.
    MacGarbage = "mac-garbage",
    /// ... cannot be read (its index stalls).
    MacStall = "mac-stall",
    /// ... has index 0: there is none.
    MacNone = "mac-none",
    /// There is no union descriptor.
    NoUnion = "no-union",
    /// The union descriptor has control and data interface interchanged (Ambit cable modems).
    SwappedUnion = "swapped-union",
    /// The union descriptor names an interface that is not there.
    WrongUnion = "wrong-union",
    /// There is no Ethernet descriptor.
    NoEthernet = "no-ethernet",
    /// There is no header descriptor.
    NoHeader = "no-header",
    /// Functional descriptors stand behind the configuration descriptor (Motorola SB4100 and others).
    EarlyDescriptors = "early-descriptors",
    /// Functional descriptors stand behind the endpoint (2Wire).
    LateDescriptors = "late-descriptors",
    /// wMaxSegmentSize is 0.
    ZeroSegment = "zero-segment",
    /// wMaxSegmentSize is 65535.
    HugeSegment = "huge-segment",
    /// Bulk endpoints with packets of 0 bytes.
    ZeroPacket = "zero-packet",
    /// The data interface has no endpoints in any setting.
    NoBulk = "no-bulk",
    /// The configuration is shorter than its total length says.
    Torn = "torn",
    /// A descriptor of length 0 stands in the middle: a careless reader runs for ever.
    Loop = "loop",
    /// The data interface has one setting only.
    OneSetting = "one-setting",
    /// There is no notification endpoint.
    NoNotify = "no-notify",
    /// The notification endpoint has packets of 8 bytes: a speed change comes in two.
    SmallNotify = "small-notify",
    /// Notifications carry the number of another interface.
    WrongIndex = "wrong-index",
    /// Nothing is ever said about the link.
    Mute = "mute",
    /// Every NETWORK_CONNECTION comes twice (ZTE).
    Twice = "twice",
    /// SET_ETHERNET_PACKET_FILTER stalls.
    NoFilter = "no-filter",
    /// There is no multicast filter.
    NoMulticast = "no-multicast",
    /// The multicast filter is announced, and stalls.
    BadMulticast = "bad-multicast",
    /// The multicast filter is a hash table of 8 buckets.
    Hashed = "hashed",
    /// Zero-length packets are not understood: the bus reports an error for each.
    NoZlp = "no-zlp",
    /// Frames carry their FCS, both ways (Zaurus).
    Fcs = "fcs",
    /// Frames come with a made-up destination address (ZTE).
    BogusDst = "bogus-dst",
    /// There is no serial function: AT commands go by encapsulated commands.
    NoAcm = "no-acm",
    /// Frames of wake-up patterns are held: two of them.
    Power = "power",
    /// The control interface is of a vendor's class (ff/42), as RMNET devices have it.
    Vendor = "vendor",
}

impl Odd {
    /// The host cannot know the modem's idea of its address: frames to any get through.
    pub(super) fn hides_mac(self) -> bool {
        use Odd::*;
        matches!(self, MacShort | MacZero | MacGroup | MacGarbage | MacStall | MacNone | NoEthernet)
    }

    /// Reads words joined by `+`.
    ///
    /// # Errors
    /// The word that is none, and those that are.
    pub fn parse(words: &str) -> Result<Vec<Odd>, String> {
        let one = |w: &str| {
            Odd::ALL.iter().find(|o| o.0 == w).map(|o| o.1).ok_or_else(|| {
                let all: Vec<&str> = Odd::ALL.iter().map(|o| o.0).collect();
                format!("odd={w}: there are {}", all.join(", "))
            })
        };
        words.split('+').map(one).collect()
    }
}

/// The text of the MAC address string; `None` when it cannot be read.
pub(super) fn mac_text(odd: &[Odd], mac: &[u8; 6]) -> Option<String> {
    let hex = |sep: &str| mac.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(sep);
    let has = |o| odd.contains(&o);
    Some(match () {
        _ if has(Odd::MacStall) => return None,
        _ if has(Odd::MacLower) => hex("").to_lowercase(),
        _ if has(Odd::MacColons) => hex(":"),
        _ if has(Odd::MacShort) => hex("")[..11].into(),
        _ if has(Odd::MacZero) => "000000000000".into(),
        _ if has(Odd::MacGroup) => "01005E000001".into(),
        _ if has(Odd::MacGarbage) => "not an address".into(),
        _ => hex(""),
    })
}

/// A configuration as built, made odd.
pub(super) fn spoil(mut config: Vec<u8>, odd: &[Odd]) -> Vec<u8> {
    let has = |o| odd.contains(&o);
    let list: Vec<Vec<u8>> = desc::iter(&config).map(<[u8]>::to_vec).collect();
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut early: Vec<Vec<u8>> = Vec::new();
    let mut late: Vec<Vec<u8>> = Vec::new();
    let mut interface = (0xff, 0);
    let mut acm = false;
    for mut d in list {
        match d[1] {
            desc::INTERFACE => interface = (d[2], d[3]),
            desc::INTERFACE_ASSOCIATION => acm = d[2] != ECM_CONTROL,
            _ => {}
        }
        if acm && has(Odd::NoAcm) {
            continue;
        }
        let functional = d[1] == desc::CS_INTERFACE && interface.0 == ECM_CONTROL;
        let data_endpoint = d[1] == desc::ENDPOINT && interface.0 == ECM_DATA;
        let gone = match (functional, d[2]) {
            (true, func::UNION) => has(Odd::NoUnion),
            (true, func::ETHERNET) => has(Odd::NoEthernet),
            (true, func::HEADER) => has(Odd::NoHeader),
            _ => {
                data_endpoint && has(Odd::NoBulk)
                    || has(Odd::OneSetting) && d[1] == desc::INTERFACE && interface == (ECM_DATA, 0)
            }
        };
        if gone || (d[1] == desc::ENDPOINT && interface.0 == ECM_CONTROL && has(Odd::NoNotify)) {
            continue;
        }
        change(&mut d, interface.0, functional, odd);
        if has(Odd::Loop) && d[1] == desc::INTERFACE && interface.0 == ECM_DATA {
            out.push(alloc::vec![0, 0]);
        }
        match (functional, has(Odd::EarlyDescriptors), has(Odd::LateDescriptors)) {
            (true, true, _) => early.push(d),
            (true, _, true) => late.push(d),
            _ => {
                let endpoint = d[1] == desc::ENDPOINT && interface.0 == ECM_CONTROL;
                out.push(d);
                if endpoint {
                    out.append(&mut late);
                }
            }
        }
    }
    out.splice(1..1, early);
    config = out.concat();
    let total = (config.len() as u16).to_le_bytes();
    config[2..4].copy_from_slice(&total);
    let mut numbers: Vec<u8> = out.iter().filter(|d| d[1] == desc::INTERFACE).map(|d| d[2]).collect();
    numbers.dedup();
    config[4] = numbers.len() as u8;
    if has(Odd::Torn) {
        config.truncate(config.len() - 12);
    }
    config
}

fn change(d: &mut [u8], interface: u8, functional: bool, odd: &[Odd]) {
    let has = |o| odd.contains(&o);
    match (d[1], functional.then_some(d[2])) {
        (_, Some(func::UNION)) if has(Odd::SwappedUnion) => d.swap(3, 4),
        (_, Some(func::UNION)) if has(Odd::WrongUnion) => d[4] = 9,
        (_, Some(func::ETHERNET)) => {
            if has(Odd::MacNone) {
                d[3] = 0;
            }
            if has(Odd::ZeroSegment) || has(Odd::HugeSegment) {
                d[8..10].fill(if has(Odd::ZeroSegment) { 0 } else { 0xff });
            }
            if has(Odd::NoMulticast) {
                d[10..12].fill(0);
            }
            if has(Odd::Hashed) {
                d[11] |= 0x80;
            }
            if has(Odd::Power) {
                d[12] = 2;
            }
            // One that it has not: refused when it is asked for.
            d[4] |= if has(Odd::Mute) { 1 << (stat::XMIT_OK + 6) } else { 0 };
        }
        (desc::INTERFACE, _) if interface == ECM_DATA => {
            if has(Odd::OneSetting) {
                d[3] = 0;
            }
            if has(Odd::NoBulk) {
                d[4] = 0;
            }
        }
        (desc::INTERFACE, _) if interface == ECM_CONTROL => {
            if has(Odd::NoNotify) {
                d[4] = 0;
            }
            if has(Odd::Vendor) {
                (d[5], d[6]) = (0xff, 0x42);
            }
        }
        (desc::ENDPOINT, _) if interface == ECM_DATA && has(Odd::ZeroPacket) => d[4..6].fill(0),
        (desc::ENDPOINT, _) if interface == ECM_CONTROL && has(Odd::SmallNotify) => d[4] = 8,
        _ => {}
    }
}

//! Devices that need to be treated in a way of their own, as Linux's cdc_ether and zaurus and NetBSD's cdce know
//! them. By vendor and product id; product 0 stands for all of the vendor.
//!
//! Not in the table: adapters (Realtek RTL8152/8153 and their many names) that Linux's cdc_ether leaves to a
//! driver of the vendor's own mode. Their ECM configuration works, and there is no such driver here.

/// How a device is to be treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Each frame carries its FCS.
    pub fcs: bool,
    /// Frames come with made-up destinations, and the address of its string is no good when it is a local one.
    pub bogus_mac: bool,
    /// It is not for this driver; why.
    pub refuse: Option<&'static str>,
}

const FCS: Quirks = Quirks { fcs: true, bogus_mac: false, refuse: None };
const BOGUS: Quirks = Quirks { fcs: false, bogus_mac: true, refuse: None };

const fn no(why: &'static str) -> Quirks {
    Quirks { fcs: false, bogus_mac: false, refuse: Some(why) }
}

const TABLE: &[(u16, u16, Quirks)] = &[
    // Sharp Zaurus: SL-5500, A-300, SL-5600, C-700, C-750/760, SL-6000, C-860. Olympus R-1000. Motorola phones.
    (0x04dd, 0x8004, FCS),
    (0x04dd, 0x8005, FCS),
    (0x04dd, 0x8006, FCS),
    (0x04dd, 0x8007, FCS),
    (0x04dd, 0x9031, FCS),
    (0x04dd, 0x9032, FCS),
    (0x04dd, 0x9050, FCS),
    (0x07b4, 0x0f02, FCS),
    (0x22b8, 0x600c, FCS),
    (0x22b8, 0x6027, FCS),
    // ZTE: MF823, MF831, MF910 and others.
    (0x19d2, 0, BOGUS),
    (0x1004, 0x61aa, no("LG VL600: it says CDC-ECM, but frames its packets in a way of its own")),
    (0x046d, 0xc11f, no("Logitech Harmony: it says CDC, but speaks BLAN")),
];

/// How the device with these ids is to be treated.
pub fn of(vendor: u16, product: u16) -> Quirks {
    let hit = TABLE.iter().find(|t| t.0 == vendor && (t.1 == product || t.1 == 0));
    hit.map_or(Quirks::default(), |t| t.2)
}

/// A MAC address string, as devices write it: 12 hexadecimal digits by the book; also with separators. What is
/// wrong with it otherwise.
///
/// # Errors
/// In words.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    let hex: String = text.trim().chars().filter(|c| !matches!(c, ':' | '-' | '.' | ' ' | '\0')).collect();
    let digits = hex.strip_prefix("0x").unwrap_or(&hex);
    let v = (digits.len() == 12 && digits.bytes().all(|c| c.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
        .ok_or_else(|| format!("\"{}\" is not 12 hexadecimal digits", text.escape_default()))?
        .to_be_bytes();
    let mac = [v[2], v[3], v[4], v[5], v[6], v[7]];
    match mac {
        [0, 0, 0, 0, 0, 0] => Err("it is all zeros".into()),
        [b, ..] if b & 1 != 0 => Err(format!("\"{digits}\" is a multicast address")),
        m => Ok(m),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_by_vendor_and_product() {
        assert!(of(0x04dd, 0x8004).fcs && !of(0x04dd, 0x8008).fcs);
        assert!(of(0x19d2, 0x1405).bogus_mac && of(0x1004, 0x61aa).refuse.is_some());
        assert_eq!(of(0x0bda, 0x8153), Quirks::default());
    }

    #[test]
    fn addresses_as_devices_write_them() {
        let good = Ok([2, 0x50, 0xf4, 0xab, 0xcd, 0xef]);
        for t in [
            "0250F4ABCDEF",
            "0250f4abcdef",
            "02:50:f4:AB:cd:EF",
            "02-50-F4-AB-CD-EF",
            " 0250F4ABCDEF\0",
            "0x0250F4ABCDEF",
        ] {
            assert_eq!(mac(t), good, "{t:?}");
        }
        for t in
            ["", "0250F4ABCDE", "0250F4ABCDEF0", "zz50F4ABCDEF", "000000000000", "01005E000001", "\u{fffd}"]
        {
            assert!(mac(t).is_err(), "{t:?}");
        }
    }
}

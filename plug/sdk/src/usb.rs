//! Which USB device an option list means, for drivers of USB devices.
//!
//! Two spellings exist side by side: native drivers take `busnum=` and `devnum=`, those that came from NetBSD `did=`
//! (product), `vid=` (vendor), `busno=` (host controller) and `devno=` (address), all as `usb -v` shows them. A list keeps
//! to one of them: what a mixed one means nobody could say.

use crate::{Fail, Options, errno};
use std::fmt;

/// The devices that an option list means: those that fit everything that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsbSelect {
    /// `vid=`: idVendor.
    pub vendor: Option<u16>,
    /// `did=`: idProduct.
    pub product: Option<u16>,
    /// `busno=` or `busnum=`.
    pub bus: Option<u32>,
    /// `devno=` or `devnum=`.
    pub device: Option<u32>,
    netbsd: bool,
}

const NETBSD: [&str; 4] = ["did", "vid", "busno", "devno"];
const NATIVE: [&str; 2] = ["busnum", "devnum"];

impl UsbSelect {
    /// Reads either spelling. A driver that takes both lists the forms `did=ID`, `vid=ID`, `busno=N`, `devno=N`, `busnum=N`
    /// and `devnum=N` among its options.
    ///
    /// # Errors
    /// EINVAL with a text that names the option: not a number in range, or both spellings in one list.
    pub fn read(o: &Options) -> Result<UsbSelect, Fail> {
        let first = |names: &[&'static str]| names.iter().copied().find(|n| o.has(n));
        if let (Some(a), Some(b)) = (first(&NETBSD), first(&NATIVE)) {
            let why = format!(
                "options {a}= and {b}= are two spellings of which a list takes one: \
                 did=,vid=,busno=,devno= (NetBSD's) or busnum=,devnum= (native)"
            );
            return Err(Fail::new(errno::EINVAL, why));
        }
        let either =
            |a, b| -> Result<Option<u32>, Fail> { Ok(o.number(a, 0..=65_535)?.or(o.number(b, 0..=65_535)?)) };
        Ok(UsbSelect {
            vendor: o.number("vid", 0..=u16::MAX)?,
            product: o.number("did", 0..=u16::MAX)?,
            bus: either("busno", "busnum")?,
            device: either("devno", "devnum")?,
            netbsd: first(&NETBSD).is_some(),
        })
    }

    /// Whether a device with this vendor and product, at this address of this bus, is meant.
    pub fn takes(&self, vendor: u16, product: u16, bus: u32, device: u32) -> bool {
        self.vendor.is_none_or(|v| v == vendor)
            && self.product.is_none_or(|p| p == product)
            && self.bus.is_none_or(|b| b == bus)
            && self.device.is_none_or(|d| d == device)
    }

    /// Nothing was given: any device will do.
    pub fn is_any(&self) -> bool {
        UsbSelect { netbsd: false, ..*self } == UsbSelect::default()
    }
}

/// As the user spelt it, for a line of the log: `vid=0x13b1,did=0x0020,busno=1`; empty for any.
impl fmt::Display for UsbSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device) = if self.netbsd { ("busno", "devno") } else { ("busnum", "devnum") };
        let hex = |name: &str, v: Option<u16>| v.map(|v| format!("{name}={v:#06x}"));
        let dec = |name: &str, v: Option<u32>| v.map(|v| format!("{name}={v}"));
        let all =
            [hex("vid", self.vendor), hex("did", self.product), dec(bus, self.bus), dec(device, self.device)];
        f.write_str(&all.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<UsbSelect, Fail> {
        UsbSelect::read(&Options::parse(list))
    }

    #[test]
    fn either_spelling() {
        let s = read("did=0x0020,vid=0x13b1,devno=1,busno=1").unwrap(); // the manual's line
        assert!(s.takes(0x13b1, 0x20, 1, 1));
        for other in [(0x13b2, 0x20, 1, 1), (0x13b1, 0x21, 1, 1), (0x13b1, 0x20, 2, 1), (0x13b1, 0x20, 1, 2)]
        {
            assert!(!s.takes(other.0, other.1, other.2, other.3), "{other:?}");
        }
        assert_eq!(s.to_string(), "vid=0x13b1,did=0x0020,busno=1,devno=1");
        let s = read("busnum=2,verbose").unwrap();
        assert!(s.takes(1, 2, 2, 9) && !s.takes(1, 2, 3, 9) && !s.is_any());
        assert_eq!(s.to_string(), "busnum=2");
        let s = read("verbose").unwrap();
        assert!(s.is_any() && s.takes(1, 2, 3, 4) && s.to_string().is_empty());
    }

    #[test]
    fn never_both() {
        for list in ["busno=1,devnum=2", "vid=0x1,busnum=1", "devnum=3,did=2", "busnum=1,busno=1"] {
            let e = read(list).unwrap_err();
            assert!(e.errno == errno::EINVAL && e.why.contains("two spellings"), "{list}: {e}");
        }
        assert!(read("vid=0x12345").unwrap_err().why.contains("vid=0x12345"));
        assert!(read("devno=x").unwrap_err().why.contains("devno=x"));
    }
}

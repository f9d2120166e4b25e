//! Names of vendors and products, from the system's `usb.ids` if it has one.
//!
//! A line `vvvv  Name` is a vendor, a line `<tab>pppp  Name` behind it one of its products; other sections begin with
//! letters. The device's own strings come first; this is for devices that have none.

use std::collections::HashMap;

/// Where systems keep the file.
const PLACES: [&str; 3] =
    ["/usr/share/hwdata/usb.ids", "/usr/share/misc/usb.ids", "/var/lib/usbutils/usb.ids"];

/// The names.
#[derive(Debug, Default)]
pub struct Names {
    vendors: HashMap<u16, String>,
    products: HashMap<(u16, u16), String>,
}

impl Names {
    /// Those that the system has; none when it has no such file.
    pub fn of_the_system() -> Names {
        let text = PLACES.iter().find_map(|p| std::fs::read(p).ok()).unwrap_or_default();
        Names::parse(&String::from_utf8_lossy(&text))
    }

    /// Reads the file; what it does not understand is passed over.
    pub fn parse(text: &str) -> Names {
        let mut n = Names::default();
        let mut vendor = None;
        for l in text.lines() {
            if l.is_empty() || l.starts_with('#') {
                continue;
            }
            let (depth, l) = match l.strip_prefix('\t') {
                None => (0, l),
                Some(r) if r.starts_with('\t') => continue,
                Some(r) => (1, r),
            };
            let entry = l.split_once(char::is_whitespace).filter(|(id, _)| id.len() == 4);
            let entry =
                entry.and_then(|(id, t)| Some((u16::from_str_radix(id, 16).ok()?, t.trim().to_owned())));
            match (depth, entry, vendor) {
                (0, Some((id, name)), _) => {
                    vendor = Some(id);
                    n.vendors.insert(id, name);
                }
                (1, Some((id, name)), Some(v)) => drop(n.products.insert((v, id), name)),
                // Another section: classes, languages ...
                (0, None, _) => vendor = None,
                _ => {}
            }
        }
        n
    }

    /// Name of a vendor.
    pub fn vendor(&self, v: u16) -> Option<&str> {
        self.vendors.get(&v).map(String::as_str)
    }

    /// Name of a product.
    pub fn product(&self, v: u16, p: u16) -> Option<&str> {
        self.products.get(&(v, p)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vendors_products_and_nothing_else() {
        let n = Names::parse(
            "# comment\n\n0525  Netchip Technology, Inc.\n\ta4a2  Linux-USB Ethernet/RNDIS Gadget\n\t\t01  an interface\n\
             1d6b  Linux Foundation\n\t0104  Multifunction Composite Gadget\nC 02  Communications\n\t0006  no product\n",
        );
        assert_eq!(n.vendor(0x0525), Some("Netchip Technology, Inc."));
        assert_eq!(n.product(0x0525, 0xa4a2), Some("Linux-USB Ethernet/RNDIS Gadget"));
        assert_eq!(n.product(0x1d6b, 0x0104), Some("Multifunction Composite Gadget"));
        assert_eq!((n.vendor(0x0006), n.product(0x1d6b, 6)), (None, None));
        assert_eq!((n.vendors.len(), n.products.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(\t{0,3}[0-9a-fC ]{0,6} {0,2}[a-z\\PC]{0,8}\n){0,20}") {
            let n = Names::parse(&text);
            prop_assert!(n.vendors.len() + n.products.len() <= text.lines().count());
        }
    }
}

//! `usb`'s listing in QNX's layout: a label column 27 wide, a colon, the value.

use super::stack::Device;
use iopkt_usbip::desc::{self, Transfer};
use iopkt_usbip::op::speed;
use std::fmt::Write;

/// How much to show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Detail {
    /// Address, vendor, product, class.
    Short,
    /// All of the device and its configurations.
    Device,
    /// Interfaces and endpoints too.
    Interfaces,
}

fn class_name(c: u8) -> &'static str {
    match c {
        0x00 => "Independent per interface",
        0x01 => "Audio",
        0x02 => "Communications",
        0x03 => "HID",
        0x05 => "Physical",
        0x06 => "Imaging",
        0x07 => "Printer",
        0x08 => "Mass Storage",
        0x09 => "Hub",
        0x0a => "CDC Data",
        0x0b => "Smart Card",
        0x0e => "Video",
        0xdc => "Diagnostic",
        0xe0 => "Wireless",
        0xef => "Miscellaneous",
        0xfe => "Application specific",
        0xff => "Vendor specific",
        _ => "Unknown",
    }
}

fn speed_name(s: u32) -> &'static str {
    match s {
        speed::LOW => "Low",
        speed::FULL => "Full",
        speed::HIGH => "High",
        speed::SUPER => "Super",
        _ => "Unknown",
    }
}

fn row(o: &mut String, indent: usize, label: &str, value: impl std::fmt::Display) {
    let l = format!("{:indent$}{label}", "");
    let _ = writeln!(o, "{l:<27}: {value}");
}

/// `0x0483 (STMicroelectronics)`: a number with the device's own words for it.
fn named(n: u16, text: Option<String>) -> String {
    text.filter(|t| !t.is_empty()).map_or_else(|| format!("0x{n:04x}"), |t| format!("0x{n:04x} ({t})"))
}

/// Every device, under a heading for its bus.
pub fn list(all: &[Device], detail: Detail) -> String {
    let mut o = String::new();
    let mut bus = None;
    for d in all {
        if bus != Some(d.info.busnum) {
            bus = Some(d.info.busnum);
            let _ = writeln!(o, "USB {} (USB/IP) v1.11, {}", d.info.busnum, d.info.path);
            if detail >= Detail::Device {
                o.push_str("    Control, Interrupt, Bulk, High Speed\n");
            }
        }
        o.push('\n');
        device(&mut o, d, detail);
    }
    if all.is_empty() {
        o.push_str("no devices\n");
    }
    o
}

fn device(o: &mut String, d: &Device, detail: Detail) {
    let (i, x) = (&d.info, &d.description);
    let dev = x.device();
    let text = |n: Option<u8>| n.and_then(|n| x.string(n));
    row(o, 0, "Device Address", i.devnum);
    if detail >= Detail::Device {
        row(o, 0, "Upstream Host Controller", i.busnum);
        row(o, 0, "Upstream Device Address", 0);
        row(o, 0, "Upstream Port", i.busid.rsplit(['-', '.']).next().unwrap_or("1"));
        row(o, 0, "Upstream Port Speed", speed_name(i.speed));
    }
    row(o, 0, "Vendor", named(i.vendor, text(dev.map(|v| v.manufacturer_str))));
    row(o, 0, "Product", named(i.product, text(dev.map(|v| v.product_str))));
    if detail >= Detail::Device {
        row(o, 0, "Device Release", format!("r{:x}.{:02x}", i.release >> 8, i.release & 0xff));
        if let Some(s) = text(dev.map(|v| v.serial_str)) {
            row(o, 0, "Serial Number", s);
        }
    }
    row(o, 0, "Class", format!("0x{:02x} ({})", i.class[0], class_name(i.class[0])));
    row(o, 0, "Subclass", format!("0x{:02x}", i.class[1]));
    row(o, 0, "Protocol", format!("0x{:02x}", i.class[2]));
    if detail < Detail::Device {
        return;
    }
    if let Some(v) = dev {
        row(o, 0, "Max PacketSize0", v.max_packet0);
    }
    row(o, 0, "Configurations", i.configs);
    for c in x.configs() {
        configuration(o, c, detail);
    }
}

fn configuration(o: &mut String, bytes: &[u8], detail: Detail) {
    let Some(c) = desc::Config::parse(bytes) else { return };
    row(o, 2, "Configuration", c.value);
    let power = if c.attributes & 0x40 != 0 { "Self-powered" } else { "Bus-powered" };
    row(o, 4, "Attributes", format!("0x{:02x} ({power})", c.attributes));
    row(o, 4, "Max Power", format!("{} mA", u32::from(c.max_power) * 2));
    if detail < Detail::Interfaces {
        return;
    }
    row(o, 4, "Interfaces", c.interfaces);
    for s in desc::settings(bytes) {
        let n = s.interface;
        row(o, 6, "Interface", format!("{} / {}", n.number, n.alt));
        row(o, 8, "Class", format!("0x{:02x} ({})", n.class, class_name(n.class)));
        row(o, 8, "Subclass", format!("0x{:02x}", n.subclass));
        row(o, 8, "Protocol", format!("0x{:02x}", n.protocol));
        let eps: Vec<desc::Endpoint> = s.endpoints().collect();
        row(o, 8, "Endpoints", eps.len());
        for e in eps {
            row(o, 10, "Endpoint", e.number());
            let kind = match e.transfer() {
                Transfer::Control => "Control",
                Transfer::Isochronous => "Isochronous",
                Transfer::Bulk => "Bulk",
                Transfer::Interrupt => "Interrupt",
            };
            row(o, 12, "Attributes", format!("{kind}/{}", if e.is_in() { "IN" } else { "OUT" }));
            row(o, 12, "Max Packet Size", e.max_packet());
            row(o, 12, "Interval", e.interval);
        }
    }
}

/// One line a device, indented below its bus.
pub fn tree(all: &[Device]) -> String {
    let (mut o, mut bus) = (String::new(), None);
    for d in all {
        if bus != Some(d.info.busnum) {
            bus = Some(d.info.busnum);
            let _ = writeln!(o, "USB {}", d.info.busnum);
        }
        let name =
            d.description.device().and_then(|v| d.description.string(v.product_str)).unwrap_or_default();
        let _ = writeln!(
            o,
            "  +- {} {:04x}:{:04x} {} speed {name}",
            d.info.devnum,
            d.info.vendor,
            d.info.product,
            speed_name(d.info.speed)
        );
    }
    o
}

/// A device for `--json`.
pub fn json(d: &Device) -> serde_json::Value {
    let (i, x) = (&d.info, &d.description);
    let text = |f: fn(&desc::Device) -> u8| x.device().and_then(|v| x.string(f(&v)));
    serde_json::json!({
        "bus": i.busnum, "address": i.devnum, "busid": i.busid, "speed": speed_name(i.speed),
        "vendor": i.vendor, "product": i.product, "release": i.release, "class": i.class,
        "configuration": i.config, "configurations": i.configs, "interfaces": i.interfaces,
        "manufacturer": text(|v| v.manufacturer_str), "product_name": text(|v| v.product_str),
        "serial": text(|v| v.serial_str),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_usbip::op::{Description, DeviceInfo};

    #[test]
    fn labels_stand_in_a_column_27_wide() {
        let d = Device {
            info: DeviceInfo {
                busid: "1-1".into(),
                busnum: 1,
                devnum: 2,
                vendor: 0x483,
                product: 0x374b,
                release: 0x100,
                class: [0xef, 2, 1],
                configs: 1,
                speed: speed::FULL,
                ..DeviceInfo::default()
            },
            description: Description::default(),
        };
        let t = list(&[d], Detail::Device);
        for l in [
            "Device Address             : 2",
            "Upstream Port Speed        : Full",
            "Vendor                     : 0x0483",
            "Device Release             : r1.00",
            "Class                      : 0xef (Miscellaneous)",
            "Subclass                   : 0x02",
            "Configurations             : 1",
        ] {
            assert!(t.lines().any(|x| x == l), "{l}\n{t}");
        }
        assert_eq!(list(&[], Detail::Short), "no devices\n");
    }
}

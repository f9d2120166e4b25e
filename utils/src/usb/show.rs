//! `usb`'s listing in QNX's layout: a label column 27 wide, a colon, the value.

use super::decode::{class_name, controller, descriptor_name, hex, parent, ports, product, speed_name};
use super::decode::{transfer_name, vendor};
use super::ids::Names;
use super::stack::Device;
use iopkt_usbip::desc;
use iopkt_usbip::op::speed;
use std::fmt::{Display, Write};

/// How much to show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Detail {
    /// Address, vendor, product, class.
    Short,
    /// All of the device and its configurations.
    Device,
    /// Interfaces and endpoints too.
    Interfaces,
    /// Every descriptor too.
    Descriptors,
}

fn row(o: &mut String, indent: usize, label: &str, value: impl Display) {
    let l = format!("{:indent$}{label}", "");
    let _ = writeln!(o, "{l:<27}: {value}");
}

/// `0x0483 (STMicroelectronics)`: a number with a name for it.
fn named(n: u16, text: Option<String>) -> String {
    text.map_or_else(|| format!("0x{n:04x}"), |t| format!("0x{n:04x} ({t})"))
}

/// The devices to show, under a heading for each bus; `all` is where hubs are looked up.
pub fn list(shown: &[&Device], all: &[Device], names: &Names, detail: Detail) -> String {
    let mut o = String::new();
    let mut bus = None;
    for d in shown {
        if bus != Some(d.info.busnum) {
            if bus.is_some() {
                o.push('\n');
            }
            bus = Some(d.info.busnum);
            heading(&mut o, d, all, detail);
        }
        o.push('\n');
        device(&mut o, d, all, names, detail);
    }
    if shown.is_empty() {
        o.push_str("no devices\n");
    }
    o
}

fn heading(o: &mut String, d: &Device, all: &[Device], detail: Detail) {
    let n = d.info.busnum;
    let _ = writeln!(o, "USB {n} ({}) v1.11, DLL: Active", controller(d));
    if detail >= Detail::Device {
        let fastest = all.iter().filter(|d| d.info.busnum == n).map(|d| d.info.speed).max();
        let speeds: &[&str] = match fastest {
            Some(s) if s >= speed::SUPER => &["High Speed", "Super Speed"],
            Some(speed::HIGH) => &["High Speed"],
            _ => &["Full Speed"],
        };
        let _ = writeln!(o, "    Control, Interrupt, Bulk, {}", speeds.join(", "));
    }
}

fn device(o: &mut String, d: &Device, all: &[Device], names: &Names, detail: Detail) {
    let (i, x) = (&d.info, &d.description);
    let dev = x.device();
    row(o, 0, "Device Address", i.devnum);
    if detail >= Detail::Device {
        row(o, 0, "Upstream Host Controller", i.busnum);
        row(o, 0, "Upstream Device Address", parent(d, all).map_or(0, |p| p.info.devnum));
        row(o, 0, "Upstream Port", ports(&i.busid).1);
        row(o, 0, "Upstream Port Speed", speed_name(i.speed));
    }
    row(o, 0, "Vendor", named(i.vendor, vendor(d, names)));
    row(o, 0, "Product", named(i.product, product(d, names)));
    if detail >= Detail::Device {
        row(o, 0, "Device Release", format!("r{:x}.{:02x}", i.release >> 8, i.release & 0xff));
        if let Some(s) = dev.and_then(|v| x.string(v.serial_str)) {
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
        if detail >= Detail::Descriptors {
            row(o, 0, "USB Version", format!("{:x}.{:02x}", v.usb >> 8, v.usb & 0xff));
        }
    }
    row(o, 0, "Configurations", i.configs);
    for c in x.configs() {
        configuration(o, d, c, detail);
    }
    // A stock server shows only the interfaces of the configuration that is set.
    if x.configs().next().is_none() && detail >= Detail::Interfaces {
        row(o, 0, "Interfaces", i.interfaces.len());
        for (n, c) in i.interfaces.iter().enumerate() {
            row(o, 2, "Interface", n);
            class(o, 4, *c);
        }
    }
    if detail >= Detail::Descriptors {
        for (ty, index, bytes) in &x.records {
            match *ty {
                desc::STRING => {
                    row(o, 0, &format!("String {index}"), desc::string(bytes).unwrap_or_default())
                }
                desc::DEVICE => row(o, 0, "Device Descriptor", hex(bytes)),
                _ => {}
            }
        }
    }
}

fn class(o: &mut String, indent: usize, c: [u8; 3]) {
    row(o, indent, "Class", format!("0x{:02x} ({})", c[0], class_name(c[0])));
    row(o, indent, "Subclass", format!("0x{:02x}", c[1]));
    row(o, indent, "Protocol", format!("0x{:02x}", c[2]));
}

fn configuration(o: &mut String, d: &Device, bytes: &[u8], detail: Detail) {
    let Some(c) = desc::Config::parse(bytes) else { return };
    let all = detail >= Detail::Descriptors;
    let text = |n: u8| d.description.string(n);
    let active = if d.info.config == c.value { " (active)" } else { "" };
    let active = if detail >= Detail::Interfaces { active } else { "" };
    row(o, 2, "Configuration", format!("{}{active}", c.value));
    if let Some(t) = text(c.name_str).filter(|_| all) {
        row(o, 4, "Name", t);
    }
    let power = if c.attributes & 0x40 != 0 { "Self-powered" } else { "Bus-powered" };
    let wake = if c.attributes & 0x20 != 0 { ", Remote-wakeup" } else { "" };
    row(o, 4, "Attributes", format!("0x{:02x} ({power}{wake})", c.attributes));
    row(o, 4, "Max Power", format!("{} mA", u32::from(c.max_power) * 2));
    if detail < Detail::Interfaces {
        return;
    }
    row(o, 4, "Interfaces", c.interfaces);
    let mut descriptors = desc::iter(bytes);
    if all {
        // What stands before the first interface.
        for b in descriptors.by_ref().take_while(|b| b[1] != desc::INTERFACE) {
            row(o, 4, descriptor_name(b, 0), hex(b));
        }
    }
    for s in desc::settings(bytes) {
        let n = s.interface;
        row(o, 6, "Interface", format!("{} / {}", n.number, n.alt));
        if let Some(t) = text(n.name_str).filter(|_| all) {
            row(o, 8, "Name", t);
        }
        class(o, 8, [n.class, n.subclass, n.protocol]);
        let functional = desc::iter(s.body).filter(|b| desc::Endpoint::parse(b).is_none());
        for b in functional.filter(|_| all) {
            row(o, 8, descriptor_name(b, n.class), hex(b));
        }
        let eps: Vec<desc::Endpoint> = s.endpoints().collect();
        row(o, 8, "Endpoints", eps.len());
        for e in eps {
            row(o, 10, "Endpoint", e.number());
            let way = if e.is_in() { "IN" } else { "OUT" };
            row(o, 12, "Attributes", format!("{}/{way}", transfer_name(&e)));
            row(o, 12, "Max Packet Size", e.max_packet());
            row(o, 12, "Interval", e.interval);
        }
    }
}

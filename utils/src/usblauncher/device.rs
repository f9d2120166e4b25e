//! What is known of a device: what rules match on and what is published.

use iopkt_usbip::desc;
use iopkt_usbip::op::{Description, DeviceInfo, speed};
use std::fmt::Write;

/// Longest text that is taken from a device.
const MAX_TEXT: usize = 126;

/// One interface of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `bConfigurationValue`; 0 when the server does not tell.
    pub config: u8,
    /// `bInterfaceNumber`.
    pub number: u8,
    /// Class, subclass, protocol.
    pub class: [u8; 3],
}

/// A device of one of the USB stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name of the USB stack as it was given (`/dev/usb`, HOST:PORT).
    pub stack: String,
    /// What the device list says.
    pub info: DeviceInfo,
    /// Text of the device.
    pub manufacturer: String,
    /// Text of the device.
    pub product: String,
    /// Text of the device.
    pub serial: String,
    /// Interfaces of all configurations, without their alternate settings.
    pub interfaces: Vec<Interface>,
}

impl Device {
    /// Puts together what lists and descriptors say; `None` when its bus id is no word that a path and a command
    /// line can hold.
    pub fn new(stack: &str, info: DeviceInfo, d: &Description) -> Option<Device> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
        if info.busid.is_empty() || !info.busid.chars().all(plain) || info.busid.starts_with(['.', '-']) {
            return None;
        }
        let text = |i: u8| clean(&d.string(i).unwrap_or_default());
        let strings = d.device().map_or([0; 3], |d| [d.manufacturer_str, d.product_str, d.serial_str]);
        let mut interfaces = Vec::new();
        for c in d.configs() {
            let config = desc::Config::parse(c).map_or(0, |c| c.value);
            for s in desc::settings(c) {
                let i = s.interface;
                if !interfaces.iter().any(|k: &Interface| k.config == config && k.number == i.number) {
                    let class = [i.class, i.subclass, i.protocol];
                    interfaces.push(Interface { config, number: i.number, class });
                }
            }
        }
        if interfaces.is_empty() {
            let all = info.interfaces.iter().enumerate();
            let config = info.config;
            interfaces = all.map(|(n, class)| Interface { config, number: n as u8, class: *class }).collect();
        }
        let [manufacturer, product, serial] = strings.map(text);
        Some(Device { stack: stack.into(), info, manufacturer, product, serial, interfaces })
    }

    /// Name and text of each property, as published.
    pub fn properties(&self) -> Vec<(&'static str, String)> {
        let i = &self.info;
        let byte = |v: u8| format!("0x{v:02x}");
        let mut v = vec![
            ("bus", "usb".to_string()),
            ("stack", self.stack.clone()),
            ("busid", i.busid.clone()),
            ("busno", format!("0x{:02x}", i.busnum)),
            ("devno", format!("0x{:02x}", i.devnum)),
            ("configuration", byte(i.config)),
            ("configurations", byte(i.configs)),
            ("device_class", byte(i.class[0])),
            ("device_subclass", byte(i.class[1])),
            ("device_protocol", byte(i.class[2])),
            ("vendor_id", format!("0x{:04x}", i.vendor)),
            ("product_id", format!("0x{:04x}", i.product)),
            ("release", format!("0x{:04x}", i.release)),
            ("manufacturer", self.manufacturer.clone()),
            ("product", self.product.clone()),
            ("serial_number", self.serial.clone()),
        ];
        let mut list = String::new();
        for f in &self.interfaces {
            let sep = if list.is_empty() { "" } else { " " };
            let [c, s, p] = f.class;
            let _ = write!(list, "{sep}{}.{}:{c:02x}/{s:02x}/{p:02x}", f.config, f.number);
        }
        v.push(("interfaces", list));
        // 1-2.3 is port 3 of the hub in port 2 of bus 1's root; without a hub the root itself is upstream.
        if let Some((_, ports)) = i.busid.split_once('-') {
            v.push(("topology", ports.to_string()));
            v.push(("upstream_host_controller", format!("0x{:02x}", i.busnum)));
            v.push(("upstream_port", ports.rsplit('.').next().unwrap_or_default().to_string()));
        }
        v.push((
            "upstream_port_speed",
            match i.speed {
                speed::LOW => "Low",
                speed::FULL => "Full",
                speed::HIGH => "High",
                s if s >= speed::SUPER => "Super",
                _ => "Unknown",
            }
            .to_string(),
        ));
        v
    }
}

/// Text of a device without what could break a line, bounded.
fn clean(t: &str) -> String {
    t.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect::<String>().trim().to_string()
}

//! Numbers of descriptors as words.

use super::ids::Names;
use super::stack::Device;
use iopkt_usbip::cdc;
use iopkt_usbip::desc::{self, Endpoint, Transfer};
use iopkt_usbip::op::speed;

/// Name of a class.
pub fn class_name(c: u8) -> &'static str {
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
        0x0d => "Content Security",
        0x0e => "Video",
        0x0f => "Personal Healthcare",
        0x10 => "Audio/Video",
        0xdc => "Diagnostic",
        0xe0 => "Wireless",
        0xef => "Miscellaneous",
        0xfe => "Application specific",
        0xff => "Vendor specific",
        _ => "Unknown",
    }
}

/// Name of a speed.
pub fn speed_name(s: u32) -> &'static str {
    match s {
        speed::LOW => "Low",
        speed::FULL => "Full",
        speed::HIGH => "High",
        speed::SUPER => "Super",
        _ => "Unknown",
    }
}

/// Kind of an endpoint.
pub fn transfer_name(e: &Endpoint) -> &'static str {
    match e.transfer() {
        Transfer::Control => "Control",
        Transfer::Isochronous => "Isochronous",
        Transfer::Bulk => "Bulk",
        Transfer::Interrupt => "Interrupt",
    }
}

/// What a descriptor is.
pub fn descriptor_name(d: &[u8], class: u8) -> &'static str {
    match (d.get(1).copied().unwrap_or(0), d.get(2).copied().unwrap_or(0xff)) {
        (desc::DEVICE, _) => "Device",
        (desc::CONFIG, _) => "Configuration",
        (desc::STRING, _) => "String",
        (desc::INTERFACE, _) => "Interface",
        (desc::ENDPOINT, _) => "Endpoint",
        (desc::DEVICE_QUALIFIER, _) => "Device Qualifier",
        (desc::INTERFACE_ASSOCIATION, _) => "Interface Association",
        (0x0f, _) => "Binary Object Store",
        (0x21, _) => "HID",
        (0x30, _) => "SuperSpeed Endpoint Companion",
        (desc::CS_INTERFACE, sub) if class == cdc::CLASS_COMM => match sub {
            cdc::func::HEADER => "CDC Header",
            cdc::func::CALL_MANAGEMENT => "CDC Call Management",
            cdc::func::ACM => "CDC Abstract Control Management",
            cdc::func::UNION => "CDC Union",
            cdc::func::ETHERNET => "CDC Ethernet Networking",
            0x07 => "CDC Country Selection",
            0x1a => "CDC NCM",
            0x1b => "CDC MBIM",
            _ => "CDC Functional",
        },
        (desc::CS_INTERFACE, _) => "Class Specific Interface",
        (desc::CS_ENDPOINT, _) => "Class Specific Endpoint",
        _ => "Unknown",
    }
}

/// Bytes as hexadecimal.
pub fn hex(b: &[u8]) -> String {
    b.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// The device's own word for its vendor, else the system's.
pub fn vendor(d: &Device, names: &Names) -> Option<String> {
    let own = d.description.device().and_then(|v| d.description.string(v.manufacturer_str));
    own.filter(|t| !t.trim().is_empty()).or_else(|| names.vendor(d.info.vendor).map(str::to_owned))
}

/// The device's own word for itself, else the system's.
pub fn product(d: &Device, names: &Names) -> Option<String> {
    let own = d.description.device().and_then(|v| d.description.string(v.product_str));
    let theirs = || names.product(d.info.vendor, d.info.product).map(str::to_owned);
    own.filter(|t| !t.trim().is_empty()).or_else(theirs)
}

/// Path of ports of a bus id, `1.4` of `2-1.4`, and its last port.
pub fn ports(busid: &str) -> (&str, &str) {
    let path = busid.rsplit_once('-').map_or(busid, |x| x.1);
    (path, path.rsplit('.').next().unwrap_or(path))
}

/// The hub that a device hangs on, when it is listed.
pub fn parent<'a>(d: &Device, all: &'a [Device]) -> Option<&'a Device> {
    let (up, _) = d.info.busid.rsplit_once('.')?;
    all.iter().find(|p| p.info.busnum == d.info.busnum && p.info.busid == up)
}

/// Kind of a bus's controller, by what a device's path tells: `SIM`, `XHCI`, else `USB/IP`.
pub fn controller(d: &Device) -> String {
    if d.info.path.starts_with("/io-usb/sim/") {
        return "SIM".into();
    }
    // A path of this machine's own sysfs names the controller; one of another machine is not there.
    let host =
        d.info.path.split("/usb").next().filter(|h| h.starts_with("/sys/") && d.info.path.len() > h.len());
    let driver = host.and_then(|h| std::fs::read_link(format!("{h}/driver")).ok());
    let driver = driver.and_then(|l| Some(l.file_name()?.to_str()?.to_ascii_uppercase()));
    driver.map_or("USB/IP".into(), |d| d.split(['_', '-']).next().unwrap_or(&d).to_owned())
}

//! `-d usbfs`: the devices of this machine, by the `nusb` crate over Linux's usbfs and sysfs.
//!
//! sysfs says what is there; the kernel's uevents (and udev's, which come when permissions are set) say when to look
//! again. A device is taken from the kernel's drivers when a client imports it and not before, whole, and given
//! back when the client goes: [`open`]. [`device`] turns URBs into transfers, [`queue`] is what USB/IP wants and
//! `nusb` does not have, [`pipe`] joins the two.

pub mod device;
pub mod open;
pub mod pipe;
pub mod queue;
pub mod uevent;

pub use device::{Back, Device};
pub use open::Manners;

use iopkt_usbip::desc;
use iopkt_usbip::op::{Description, DeviceInfo, speed};
use nusb::{MaybeFuture, Speed};
use std::io;
use std::path::Path;

/// Why something about a device did not work.
#[derive(Debug)]
pub struct Failure {
    /// What the client is told ([`iopkt_usbip::op::st`]).
    pub status: u32,
    /// What the log says.
    pub why: String,
}

/// Which devices a `-d usbfs` is about; what is `None` matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `idVendor`
    pub vendor: Option<u16>,
    /// `idProduct`
    pub product: Option<u16>,
    /// Linux's bus number.
    pub bus: Option<u8>,
    /// Device address.
    pub address: Option<u8>,
    /// Linux's name, such as 1-1.4.
    pub busid: Option<String>,
    /// Leave what a kernel driver has alone.
    pub keep: bool,
}

impl Filter {
    fn takes(&self, d: &nusb::DeviceInfo) -> bool {
        self.vendor.is_none_or(|v| v == d.vendor_id())
            && self.product.is_none_or(|v| v == d.product_id())
            && self.bus.is_none_or(|v| v == d.busnum())
            && self.address.is_none_or(|v| v == d.device_address())
            && self.busid.as_deref().is_none_or(|v| v == name(d))
    }
}

/// A device of this machine.
pub struct Found {
    /// Linux's name, such as 1-1.4.
    pub name: String,
    /// As `nusb` knows it.
    pub info: nusb::DeviceInfo,
    /// Whether the kernel (its configuration) and udev (its permissions) are done with it.
    pub settled: bool,
    /// Leave it to a kernel driver that has it.
    pub keep: bool,
}

fn name(d: &nusb::DeviceInfo) -> String {
    d.sysfs_path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is plugged in and matches a filter.
///
/// # Errors
/// There is no USB in this kernel.
pub fn scan(filters: &[Filter]) -> io::Result<Vec<Found>> {
    let all = nusb::list_devices().wait().map_err(|e| {
        let hint = "this kernel has no USB, or not yet (modprobe usbcore and the controller's driver)";
        io::Error::new(io::ErrorKind::NotFound, format!("-d usbfs: {e}; {hint}"))
    })?;
    let found = all.filter_map(|info| {
        let f = filters.iter().find(|f| f.takes(&info))?;
        let settled = is_configured(info.sysfs_path()) && is_accessible(&open::node(&info));
        Some(Found { name: name(&info), settled, keep: f.keep, info })
    });
    Ok(found.collect())
}

fn is_configured(sysfs: &Path) -> bool {
    let number = |f: &str| {
        let t = std::fs::read_to_string(sysfs.join(f)).unwrap_or_default();
        t.trim().parse::<usize>().unwrap_or(0)
    };
    let dirs = std::fs::read_dir(sysfs).into_iter().flatten().flatten();
    let there = dirs.filter(|e| e.file_name().as_encoded_bytes().contains(&b':')).count();
    number("bConfigurationValue") > 0 && there >= number("bNumInterfaces")
}

/// Whether the device's file may be read and written.
pub fn is_accessible(node: &Path) -> bool {
    rustix::fs::access(node, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok()
}

/// How lists describe it, under Linux's numbers.
pub fn device_info(f: &Found) -> DeviceInfo {
    let d = &f.info;
    let text = std::fs::read_to_string(d.sysfs_path().join("bConfigurationValue")).unwrap_or_default();
    let configs = std::fs::read_to_string(d.sysfs_path().join("bNumConfigurations")).unwrap_or_default();
    let interfaces: Vec<_> = d.interfaces().map(|i| [i.class(), i.subclass(), i.protocol()]).collect();
    DeviceInfo {
        path: d.sysfs_path().to_string_lossy().into_owned(),
        busid: f.name.clone(),
        busnum: d.busnum().into(),
        devnum: d.device_address().into(),
        speed: match d.speed() {
            Some(Speed::Low) => speed::LOW,
            Some(Speed::Full) => speed::FULL,
            Some(Speed::High) => speed::HIGH,
            Some(_) => speed::SUPER,
            None => 0,
        },
        vendor: d.vendor_id(),
        product: d.product_id(),
        release: d.device_version(),
        class: [d.class(), d.subclass(), d.protocol()],
        config: text.trim().parse().unwrap_or(0),
        configs: configs.trim().parse().unwrap_or(1),
        num_interfaces: interfaces.len().min(255) as u8,
        interfaces,
    }
}

/// The descriptors that the kernel has read; nothing is asked of the device.
pub fn description(info: &nusb::DeviceInfo) -> Description {
    let raw = std::fs::read(info.sysfs_path().join("descriptors")).unwrap_or_default();
    let mut d = split(&raw);
    let Some(dev) = d.device() else { return d };
    let texts = [
        (dev.manufacturer_str, info.manufacturer_string()),
        (dev.product_str, info.product_string()),
        (dev.serial_str, info.serial_number()),
    ];
    for (i, t) in texts {
        if let Some(t) = t.filter(|_| i != 0) {
            d.records.push((desc::STRING, i, desc::string_bytes(t)));
        }
    }
    d
}

/// Takes sysfs' `descriptors` apart: the device's, then each configuration with all that belongs to it.
pub fn split(raw: &[u8]) -> Description {
    let mut d = Description::default();
    let Some((dev, mut rest)) = raw.split_at_checked(desc::Device::LEN) else { return d };
    d.records.push((desc::DEVICE, 0, dev.to_vec()));
    while let Some(c) = desc::Config::parse(rest) {
        let len = usize::from(c.total_len).max(desc::Config::LEN).min(rest.len());
        let (one, more) = rest.split_at(len);
        let index = (d.records.len() - 1).min(255) as u8;
        d.records.push((desc::CONFIG, index, one.to_vec()));
        rest = more;
    }
    d
}

#[cfg(test)]
mod queue_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn configurations_are_told_apart() {
        let device = [18, 1, 0, 2, 2, 0, 0, 64, 0x25, 5, 0xa2, 0xa4, 0, 0, 1, 2, 10, 2];
        let (a, b) =
            (desc::Builder::new(2, 0, 0x80, 100).finish(), desc::Builder::new(1, 0, 0xc0, 0).finish());
        let d = split(&[&device[..], &a, &b].concat());
        assert_eq!(d.device().map(|d| (d.vendor, d.configs)), Some((0x0525, 2)));
        assert_eq!(d.configs().collect::<Vec<_>>(), [&a[..], &b]);
        assert!(split(&device[..17]).records.is_empty());
    }

    #[test]
    fn events_of_the_subsystem_usb_count() {
        assert!(uevent::is_usb(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0"));
        assert!(!uevent::is_usb(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=net\0X=SUBSYSTEM=usb\0"));
        assert!(!uevent::is_usb(b""));
    }

    proptest! {
        #[test]
        fn splitting_garbage_is_harmless(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let d = split(&raw);
            prop_assert!(d.records.iter().map(|r| r.2.len()).sum::<usize>() <= raw.len());
        }
    }
}

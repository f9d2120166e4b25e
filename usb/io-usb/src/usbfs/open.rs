//! Taking a device from the kernel, and giving it back. All of this may block: it runs on threads of its own.

use super::Failure;
use iopkt_usbip::desc;
use iopkt_usbip::op::st;
use nusb::{DeviceInfo, ErrorKind, Interface, MaybeFuture};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How an import takes a device.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// How often a busy device is tried again (`-r`).
    pub retries: u32,
    /// Whether kernel drivers may be asked to let go (not with `keep`).
    pub detach: bool,
}

/// A device that is ours, and what must be given back.
pub struct Claimed {
    /// The open device.
    pub dev: nusb::Device,
    /// Its interfaces, all of them.
    pub ifaces: BTreeMap<u8, Interface>,
    /// The whole of each configuration.
    pub configs: Vec<Vec<u8>>,
    /// Configuration that is set, 0 for none.
    pub config: u8,
    sysfs: PathBuf,
    manners: Manners,
    /// Configuration that was set when we came.
    found_config: u8,
    /// Interfaces that had a kernel driver, and which.
    drivers: Vec<(u8, String)>,
}

/// Kernel driver of an interface, from sysfs.
fn driver(sysfs: &Path, config: u8, interface: u8) -> Option<String> {
    let name = sysfs.file_name()?.to_str()?;
    let link = std::fs::read_link(sysfs.join(format!("{name}:{config}.{interface}/driver"))).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// Driver of the device itself: "usb" for the kernel's own that sets a configuration, another (such as usbip-host) for one
/// that has taken the whole device.
fn device_driver(sysfs: &Path) -> Option<String> {
    let link = std::fs::read_link(sysfs.join("driver")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

fn set_config(sysfs: &Path) -> u8 {
    let text = std::fs::read_to_string(sysfs.join("bConfigurationValue")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// The file of a device.
pub fn node(info: &DeviceInfo) -> PathBuf {
    PathBuf::from(format!("/dev/bus/usb/{:03}/{:03}", info.busnum(), info.device_address()))
}

/// Why a device's file cannot be opened, and what to do about it.
pub fn denied(node: &Path) -> String {
    let uid = rustix::process::geteuid().as_raw();
    format!(
        "cannot open {}: permission denied for user {uid}. Give the user the right with a udev rule: copy \
         60-io-pkt-usb.rules (in share/udev of the distribution) to /etc/udev/rules.d, run `udevadm control \
         --reload && udevadm trigger -s usb`, and be in the group plugdev or at the console; or, until the device \
         is plugged again, `setfacl -m u:{uid}:rw {}`; or run io-usb as root",
        node.display(),
        node.display()
    )
}

fn failure(what: &str, e: &nusb::Error) -> Failure {
    let status = match e.kind() {
        ErrorKind::Disconnected => st::NODEV,
        ErrorKind::Busy => st::DEV_BUSY,
        ErrorKind::PermissionDenied => st::DENIED,
        _ => st::DEV_ERR,
    };
    Failure { status, why: format!("{what}: {e}") }
}

/// Interface numbers of a configuration.
fn interfaces(config: &[u8]) -> Vec<u8> {
    let mut v: Vec<u8> = desc::settings(config).map(|s| s.interface.number).collect();
    v.sort_unstable();
    v.dedup();
    v
}

/// Opens a device and claims all of its interfaces; kernel drivers are asked to let go.
///
/// # Errors
/// Why not; nothing is held then, and drivers have back what they had.
pub fn open(info: &DeviceInfo, manners: Manners) -> Result<Claimed, Failure> {
    let node = node(info);
    if let Some(d) = device_driver(info.sysfs_path()).filter(|d| d != "usb") {
        return Err(Failure { status: st::DEV_BUSY, why: format!("it belongs to the kernel's {d}") });
    }
    let dev = info.open().wait().map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => Failure { status: st::DENIED, why: denied(&node) },
        _ => failure(&node.display().to_string(), &e),
    })?;
    let configs = dev.configurations().map(|c| c.as_bytes().to_vec()).collect();
    let sysfs = info.sysfs_path().to_path_buf();
    let config = set_config(&sysfs);
    let (found_config, ifaces, drivers) = (config, BTreeMap::new(), Vec::new());
    let mut c = Claimed { dev, ifaces, configs, config, sysfs, manners, found_config, drivers };
    match c.claim() {
        Ok(()) => Ok(c),
        Err(e) => {
            c.give_back();
            Err(e)
        }
    }
}

impl Claimed {
    /// The whole of the configuration that is set.
    pub fn current(&self) -> &[u8] {
        let is = |c: &&Vec<u8>| desc::Config::parse(c).is_some_and(|d| d.value == self.config);
        self.configs.iter().find(is).map_or(&[], |c| c)
    }

    /// Drivers that were asked to let go.
    pub fn drivers(&self) -> String {
        let mut names: Vec<&str> = self.drivers.iter().map(|d| &d.1[..]).collect();
        names.dedup();
        names.join(", ")
    }

    /// Claims what the current configuration has.
    fn claim(&mut self) -> Result<(), Failure> {
        for n in interfaces(self.current()) {
            let mut tries = self.manners.retries;
            let mut pause = Duration::from_millis(50);
            let iface = loop {
                if let Some(d) = driver(&self.sysfs, self.config, n) {
                    if d == "usbfs" {
                        // Another process: it can only be asked to end.
                    } else if !self.manners.detach {
                        let why = format!("interface {n} belongs to the kernel driver {d} (keep)");
                        return Err(Failure { status: st::DEV_BUSY, why });
                    } else if self.dev.detach_kernel_driver(n).is_ok() {
                        self.drivers.push((n, d));
                    }
                }
                match self.dev.claim_interface(n).wait() {
                    Ok(i) => break i,
                    Err(e) if e.kind() == ErrorKind::Busy && tries > 0 => {
                        tries -= 1;
                        std::thread::sleep(pause);
                        pause *= 2;
                    }
                    Err(e) => return Err(failure(&format!("interface {n}"), &e)),
                }
            };
            self.ifaces.insert(n, iface);
        }
        Ok(())
    }

    /// Sets a configuration and claims what it has.
    ///
    /// # Errors
    /// Why not; the device may be without a configuration then.
    pub fn configure(&mut self, value: u8) -> Result<(), Failure> {
        if value == self.config && value != 0 {
            // The same again is a request to be as after setting it: alternate settings 0, toggles reset.
            for (n, i) in &self.ifaces {
                let first =
                    desc::settings(self.current()).any(|s| s.interface.number == *n && s.interface.alt == 0);
                if first {
                    i.set_alt_setting(0).wait().map_err(|e| failure("SET_INTERFACE", &e))?;
                }
            }
            return Ok(());
        }
        self.ifaces.clear();
        self.dev.set_configuration(value).wait().map_err(|e| failure("SET_CONFIGURATION", &e))?;
        self.config = value;
        // The kernel has looked for drivers for the new interfaces meanwhile. They were not there when we came, so
        // that only the first configuration's get back what they had.
        let had = std::mem::take(&mut self.drivers);
        let r = self.claim();
        self.drivers = had;
        r
    }

    /// Lets go of everything; kernel drivers get back what they had.
    pub fn give_back(mut self) {
        for (_, i) in std::mem::take(&mut self.ifaces) {
            let _ = i.release().wait();
        }
        if self.config != self.found_config {
            // The kernel looks for drivers by itself then.
            if let Err(e) = self.dev.set_configuration(self.found_config).wait()
                && e.kind() != ErrorKind::Disconnected
            {
                log::warn!("{}: back to configuration {}: {e}", self.sysfs.display(), self.found_config);
            }
            return;
        }
        for (n, name) in &self.drivers {
            // A driver may have taken this interface when it took another.
            let free = driver(&self.sysfs, self.config, *n).is_none();
            if free
                && let Err(e) = self.dev.attach_kernel_driver(*n)
                && e.kind() != ErrorKind::Disconnected
            {
                log::warn!("{}: interface {n} back to {name}: {e}", self.sysfs.display());
            }
        }
    }
}

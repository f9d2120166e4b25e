//! The simulated bus: ports, what is plugged into them, who has imported it.

use crate::far::Far;
use crate::options::SimDevice;
use iopkt_base::Instant;
use iopkt_gadget::faults::{Fault, LinkFaults};
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::{Device, Event, Modem, Outside};
use iopkt_usbip::op::{DeviceInfo, WatchEvent, st};
use iopkt_usbip::server::Replies;
use std::io;
use std::time::Duration;

/// How long a device that restarts itself is away.
const RESTART: Duration = Duration::from_millis(500);

/// A place for a device.
pub struct Port {
    /// Name of the place, and of the device in it: `1-1`.
    pub busid: String,
    /// What is plugged in.
    pub device: Option<Device<Modem>>,
    /// Network of the modem; it stays when the modem goes.
    pub far: Far,
    /// Connection that has imported the device.
    pub owner: Option<usize>,
    /// Faults of the link that a newly plugged in device has.
    pub link: LinkFaults,
    devnum: u32,
    modem: ModemConfig,
    back_at: Instant,
}

/// The bus.
pub struct Bus {
    /// Its ports.
    pub ports: Vec<Port>,
    /// What watchers are to be told.
    pub news: Vec<WatchEvent>,
    next_devnum: u32,
}

/// Number of the one simulated bus.
pub const BUSNUM: u32 = 1;

impl Bus {
    /// A bus with these devices.
    ///
    /// # Errors
    /// A far side cannot be had.
    pub fn new(now: Instant, devices: &[SimDevice]) -> io::Result<Bus> {
        let mut bus = Bus { ports: Vec::new(), news: Vec::new(), next_devnum: 2 };
        for (i, d) in devices.iter().enumerate() {
            bus.ports.push(Port {
                busid: format!("{BUSNUM}-{}", i + 1),
                device: None,
                far: d.far.open(now)?,
                owner: None,
                link: d.link,
                devnum: 0,
                modem: d.modem.clone(),
                back_at: Instant::FAR,
            });
            if d.plugged {
                bus.plug(now, i);
            }
        }
        Ok(bus)
    }

    /// Port of a bus id.
    pub fn find(&self, busid: &str) -> Option<usize> {
        self.ports.iter().position(|p| p.busid == busid)
    }

    /// Plugs the device of a port in; false when it is.
    pub fn plug(&mut self, now: Instant, i: usize) -> bool {
        let devnum = self.next_devnum;
        let p = &mut self.ports[i];
        p.back_at = Instant::FAR;
        if p.device.is_some() {
            return false;
        }
        // USB has 127 addresses; a new one each time shows that it is not the same stay.
        self.next_devnum = if devnum >= 127 { 2 } else { devnum + 1 };
        let mut d = Modem::device(p.modem.clone());
        if !p.link.is_none() {
            let set = d.fault(now, &Fault::Link(p.link), &mut iopkt_gadget::Nobody);
            debug_assert!(set.is_ok());
        }
        p.device = Some(d);
        p.devnum = devnum;
        if let Some(info) = self.info(i) {
            log::info!(
                "{} plugged in: {:04x}:{:04x}, address {devnum}",
                info.busid,
                info.vendor,
                info.product
            );
            self.news.push(WatchEvent::Added(info));
        }
        true
    }

    /// Pulls the device of a port out; gives the connection that had imported it. `None` when none was in.
    pub fn unplug(&mut self, i: usize) -> Option<Option<usize>> {
        let info = self.info(i);
        let p = &mut self.ports[i];
        p.back_at = Instant::FAR;
        p.device.take()?;
        if let Some(info) = info {
            log::info!("{} unplugged", info.busid);
            self.news.push(WatchEvent::Removed(info));
        }
        Some(p.owner.take())
    }

    /// The device of a port comes back by itself.
    pub fn restart(&mut self, now: Instant, i: usize) {
        self.ports[i].back_at = now + RESTART;
    }

    /// How lists describe the device of a port.
    pub fn info(&self, i: usize) -> Option<DeviceInfo> {
        let p = &self.ports[i];
        let path = format!("/io-usb/sim/usb{BUSNUM}/{}", p.busid);
        Some(p.device.as_ref()?.info(&path, &p.busid, BUSNUM, p.devnum))
    }

    /// All devices that are plugged in.
    pub fn list(&self) -> Vec<DeviceInfo> {
        (0..self.ports.len()).filter_map(|i| self.info(i)).collect()
    }

    /// A connection wants a device: the port and its description, or why not.
    ///
    /// # Errors
    /// [`st`]
    pub fn import(&mut self, busid: &str, conn: usize) -> Result<(usize, DeviceInfo), u32> {
        let i = self.find(busid).ok_or(st::NODEV)?;
        let info = self.info(i).ok_or(st::NODEV)?;
        let p = &mut self.ports[i];
        if p.owner.is_some() {
            return Err(st::DEV_BUSY);
        }
        p.owner = Some(conn);
        Ok((i, info))
    }

    /// A connection is gone: its device is as after a reset.
    pub fn release(&mut self, conn: usize) {
        for p in self.ports.iter_mut().filter(|p| p.owner == Some(conn)) {
            p.owner = None;
            if let Some(d) = &mut p.device {
                d.detach();
            }
        }
    }

    /// Devices that come back by themselves and are due.
    pub fn tick(&mut self, now: Instant) {
        for i in 0..self.ports.len() {
            if self.ports[i].back_at <= now {
                self.plug(now, i);
            }
        }
    }

    /// When something of the bus is due.
    pub fn deadline(&self) -> Instant {
        let ports = self.ports.iter();
        ports.fold(Instant::FAR, |t, p| {
            let d = p.device.as_ref().map_or(Instant::FAR, Device::deadline);
            t.min(p.back_at).min(d).min(p.far.deadline())
        })
    }
}

/// What a device reaches while the bus runs.
pub struct World<'a> {
    /// The host that has imported it.
    pub host: Option<&'a mut Replies>,
    /// Its network; `None` while that is what feeds it.
    pub far: Option<&'a mut Far>,
    /// What it asks of the bus.
    pub events: &'a mut Vec<(usize, Event)>,
    /// Its port.
    pub port: usize,
}

impl Outside for World<'_> {
    fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]) {
        if let Some(h) = &mut self.host {
            h.complete(seqnum, status, actual, parts);
        }
    }

    fn frame(&mut self, frame: &[u8]) {
        if let Some(f) = &mut self.far {
            f.transmit(frame);
        }
    }

    fn event(&mut self, e: Event) {
        self.events.push((self.port, e));
    }
}

//! Looks at a device and sets it up as far as the packet thread needs: import, descriptors, configuration.
//! Runs on the control thread and may block, each step for a bounded time.

use crate::bus::{Bus, Stream, bad};
use crate::machine::NtbSetting;
use crate::options::{NcmOptions, Options};
use iopkt_usbip::cdc::{self, Function};
use iopkt_usbip::client::{Client, Event, Limits};
use iopkt_usbip::op::{self, DeviceInfo};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::status;
use iopkt_usbip::{desc, ncm};
use std::io::{self, Read, Write};

/// Largest segment that we take: standard Ethernet with a VLAN tag and some more, below our cluster size.
const MAX_SEGMENT: u16 = 1700;

/// A device, imported and configured.
pub struct Found {
    /// The connection, blocking until the device is handed to its packet thread.
    pub stream: Stream,
    /// USB/IP on that connection.
    pub client: Client,
    /// What the device list says.
    pub info: DeviceInfo,
    /// The ECM or NCM function.
    pub ecm: Function,
    /// A serial function beside it, for AT commands.
    pub acm: Option<Function>,
    /// MAC address.
    pub mac: [u8; 6],
    /// Whether `mac` is the device's own (not made up because its string is bad).
    pub mac_good: bool,
    /// Longest Ethernet frame, bytes.
    pub max_segment: u16,
    /// Multicast addresses that its filter holds (0: none).
    pub mc_filters: u16,
    /// "Manufacturer Product".
    pub name: String,
    /// Serial number string; empty without.
    pub serial: String,
    /// How an NCM function is used.
    pub blocks: Option<NtbSetting>,
}

impl Found {
    /// What tells this device from others, wherever it is plugged in: its ids and serial number, or its place when it has none.
    pub fn identity(&self) -> String {
        let place = if self.serial.is_empty() { &self.info.busid } else { &self.serial };
        format!("{:04x}:{:04x} {place}", self.info.vendor, self.info.product)
    }
}

/// Why a device was not taken.
#[derive(Debug)]
pub enum Not {
    /// It is no such device, or the options exclude it: nothing to say.
    Ours,
    /// Somebody else has it.
    Busy,
    /// It was unplugged meanwhile: nothing to say.
    Gone,
    /// It should work but does not; a line for the log.
    Working(String),
}

impl From<io::Error> for Not {
    fn from(e: io::Error) -> Not {
        let slow = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        Not::Working(if slow.contains(&e.kind()) {
            "the device does not answer".into()
        } else {
            e.to_string()
        })
    }
}

/// Whether the list's entry may be one of ours, so that importing it is worth it.
pub fn may_match(d: &DeviceInfo, o: &Options) -> bool {
    if o.busnum.is_some_and(|b| b != d.busnum) || o.devnum.is_some_and(|n| n != d.devnum) {
        return false;
    }
    // Lists show the interfaces of the current configuration only; a server may show none at all.
    let ours = |i: &[u8; 3]| i[0] == cdc::CLASS_COMM && i[1] == subclass(o);
    d.interfaces.is_empty() || d.configs > 1 || d.interfaces.iter().any(ours)
}

/// Subclass of the control interface that is looked for.
fn subclass(o: &Options) -> u8 {
    if o.ncm.is_some() { ncm::SUBCLASS_NCM } else { cdc::SUBCLASS_ECM }
}

/// Imports and configures.
///
/// # Errors
/// [`Not`].
pub fn probe(bus: &Bus, d: &DeviceInfo, o: &Options, random: impl FnOnce() -> [u8; 6]) -> Result<Found, Not> {
    let stream = bus.connect()?;
    let limits = Limits { urbs: o.receive + 2 * o.transmit + 64, ..Limits::default() };
    let mut s = Session { stream, client: Client::import(&d.busid, limits) };
    let info = s.import()?;
    let device = s.descriptor(desc::DEVICE, 0, desc::Device::LEN as u16)?;
    let device = desc::Device::parse(&device).ok_or_else(|| wrong("its device descriptor is bad"))?;
    let (config, ecm) = s.configuration(device.configs, subclass(o))?;
    let acm = cdc::functions(&config, cdc::SUBCLASS_ACM).next();
    let ether = ecm.ethernet.ok_or(Not::Ours)?;
    s.control(Setup::set_configuration(ecm.config), &[])
        .map_err(|e| wrong(format!("SET_CONFIGURATION: {e}")))?;
    if ecm.has_alts {
        // Off until the interface goes up; also resets the data toggles after a previous owner.
        let off = if ecm.data_alt == 0 { 1 } else { 0 };
        let _ = s.control(Setup::set_interface(ecm.data, off), &[]);
    }
    // 0 is met in the field; 14 bytes of header and an IPv4 minimum packet are the least that makes sense.
    let max_segment = if ether.max_segment < 14 + 68 { 1514 } else { ether.max_segment.min(MAX_SEGMENT) };
    let blocks = match &o.ncm {
        Some(n) => Some(s.blocks(&config, ecm.control, max_segment, n)?),
        None => None,
    };
    let own = s.string(ether.mac_str).and_then(|t| cdc::parse_mac(&t));
    let maker = s.string(device.manufacturer_str).unwrap_or_default();
    let serial = s.string(device.serial_str).unwrap_or_default();
    let product = s.string(device.product_str).unwrap_or_else(|| format!("{} device", o.kind()));
    Ok(Found {
        mac: own.unwrap_or_else(|| local_mac(random())),
        mac_good: own.is_some(),
        max_segment,
        blocks,
        mc_filters: ether.mc_filters & 0x7fff,
        serial: serial.trim().to_string(),
        name: format!("{maker} {product}").trim().to_string(),
        stream: s.stream,
        client: s.client,
        info,
        ecm,
        acm,
    })
}

fn wrong(why: impl Into<String>) -> Not {
    Not::Working(why.into())
}

/// Makes random bytes a locally administered unicast address.
fn local_mac(mut m: [u8; 6]) -> [u8; 6] {
    m[0] = (m[0] & 0xfc) | 2;
    m
}

/// Blocking USB/IP.
struct Session {
    stream: Stream,
    client: Client,
}

impl Session {
    /// Writes what waits, then reads until `f` takes an event.
    fn pump<T>(&mut self, mut f: impl FnMut(Event<'_>) -> Option<T>) -> io::Result<T> {
        loop {
            let n = self.client.tx().len();
            if n > 0 {
                let Session { stream, client } = self;
                stream.write_all(client.tx())?;
                client.tx_done(n);
            }
            while let Some(e) = self.client.poll().map_err(bad)? {
                if let Some(t) = f(e) {
                    return Ok(t);
                }
            }
            let Session { stream, client } = self;
            match stream.read(client.space())? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the device was removed")),
                n => client.commit(n),
            }
        }
    }

    fn import(&mut self) -> Result<DeviceInfo, Not> {
        let r = self.pump(|e| match e {
            Event::Imported(i) => Some(Ok(i)),
            Event::Refused(st) => Some(Err(st)),
            Event::Done(_) => None,
        })?;
        r.map_err(|st| match st {
            op::st::DEV_BUSY => Not::Busy,
            op::st::NODEV => Not::Gone,
            st => wrong(format!("import: {}", op::st::text(st))),
        })
    }

    fn control(&mut self, setup: Setup, data: &[u8]) -> io::Result<Vec<u8>> {
        self.client.control(0, setup, data).map_err(|_| io::Error::other("too many requests"))?;
        let (st, data) = self.pump(|e| match e {
            Event::Done(c) if c.token == 0 => Some((c.status, c.data.to_vec())),
            _ => None,
        })?;
        match st {
            status::OK | status::EREMOTEIO => Ok(data),
            status::EPIPE => Err(io::Error::new(io::ErrorKind::Unsupported, "stalled (not supported)")),
            e => Err(io::Error::from_raw_os_error(-e)),
        }
    }

    fn descriptor(&mut self, ty: u8, index: u8, length: u16) -> io::Result<Vec<u8>> {
        self.control(Setup::get_descriptor(ty, index, 0, length), &[])
    }

    fn string(&mut self, index: u8) -> Option<String> {
        if index == 0 {
            return None;
        }
        desc::string(&self.control(Setup::get_string(index), &[]).ok()?)
    }

    /// Asks an NCM function what its blocks may be like.
    fn blocks(
        &mut self,
        config: &[u8],
        control: u8,
        max_segment: u16,
        o: &NcmOptions,
    ) -> Result<NtbSetting, Not> {
        let answer = self
            .control(ncm::get_parameters(control), &[])
            .map_err(|e| wrong(format!("GET_NTB_PARAMETERS: {e}")))?;
        let params =
            ncm::Parameters::parse(&answer).ok_or_else(|| wrong("its NTB parameters are too short"))?;
        let least = u32::from(max_segment) + 64;
        if params.in_max < least || params.out_max < least {
            let (i, o) = (params.in_max, params.out_max);
            return Err(wrong(format!(
                "its blocks ({i} and {o} bytes) cannot hold a frame of {max_segment}"
            )));
        }
        let format = if o.ntb32 { ncm::Format::Ntb32 } else { ncm::Format::Ntb16 };
        let caps = ncm::function_capabilities(config, control);
        Ok(NtbSetting { params, caps, format, crc: o.crc, frames: o.npkt, block: o.ntbsize })
    }

    /// The first configuration that has a function of this subclass, whole.
    fn configuration(&mut self, count: u8, subclass: u8) -> Result<(Vec<u8>, Function), Not> {
        for i in 0..count {
            let head = self.descriptor(desc::CONFIG, i, desc::Config::LEN as u16)?;
            let Some(c) = desc::Config::parse(&head) else {
                return Err(wrong("its configuration descriptor is bad"));
            };
            let whole = self.descriptor(desc::CONFIG, i, c.total_len)?;
            let found = cdc::functions(&whole, subclass).next();
            if let Some(f) = found {
                return Ok((whole, f));
            }
        }
        Err(Not::Ours)
    }
}

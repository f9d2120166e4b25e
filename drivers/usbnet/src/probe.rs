//! Looks at a device and sets it up as far as the packet thread needs: import, descriptors, configuration.
//! Runs on the control thread and may block, each step for a bounded time.

use crate::bus::{Bus, Stream, bad};
use crate::find::{self, Want};
use crate::machine::NtbSetting;
use crate::options::{NcmOptions, Options};
use crate::quirks::{self, Quirks};
use iopkt_usbip::cdc::{self, Function};
use iopkt_usbip::client::{Client, Event, Limits};
use iopkt_usbip::op::{self, DeviceInfo};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::{ProtoError, status};
use iopkt_usbip::{desc, ncm};
use std::io::{self, Read, Write};
use std::time::Duration;

/// Largest segment that we take: standard Ethernet with a VLAN tag and some more, below our cluster size.
const MAX_SEGMENT: u16 = 1700;
/// Most configurations to look at; devices have one or two.
const MAX_CONFIGS: u8 = 8;

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
    /// Longest Ethernet frame, bytes.
    pub max_segment: u16,
    /// How this kind of device is treated.
    pub quirks: Quirks,
    /// What is odd about it, in words.
    pub odd: Vec<String>,
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
    /// It is no such device, or the options exclude it: nothing to say, but perhaps what it is instead.
    Ours(Option<&'static str>),
    /// Somebody else has it.
    Busy,
    /// It was unplugged meanwhile: nothing to say.
    Gone,
    /// The server still sends answers that were for the last owner's requests: soon to be tried again.
    Stale,
    /// It should work but does not; a line for the log.
    Working(String),
}

/// How an answer to nobody's request shows as an I/O error.
const STALE: io::ErrorKind = io::ErrorKind::StaleNetworkFileHandle;
/// Tries of a device whose server has not finished with its last owner, and the pause between them.
const STALE_TRIES: u32 = 20;
const STALE_PAUSE: Duration = Duration::from_millis(200);

impl From<io::Error> for Not {
    fn from(e: io::Error) -> Not {
        if e.kind() == STALE {
            return Not::Stale;
        }
        let slow = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        Not::Working(if slow.contains(&e.kind()) {
            "the device does not answer".into()
        } else {
            e.to_string()
        })
    }
}

/// Whether the options mean this device.
pub fn is_meant(d: &DeviceInfo, o: &Options) -> bool {
    o.select.takes(d.vendor, d.product, d.busnum, d.devnum)
}

/// Whether the list's entry may be one of ours, so that importing it is worth it.
pub fn may_match(d: &DeviceInfo, o: &Options) -> bool {
    // Lists show the interfaces of the current configuration only; a server may show none at all. Which kinds
    // of MDLM are ours only the descriptors tell.
    let w = want(o);
    let ours =
        |i: &[u8; 3]| (i[0], i[1]) == w.class || (o.ncm.is_none() && i[0] == cdc::CLASS_COMM && i[1] == 0x0a);
    d.interfaces.is_empty() || d.configs > 1 || d.interfaces.iter().any(ours)
}

/// The function that is looked for.
fn want(o: &Options) -> Want {
    let subclass = if o.ncm.is_some() { ncm::SUBCLASS_NCM } else { cdc::SUBCLASS_ECM };
    let mut w = Want { lowest: o.intf, exact: o.iface, ..Want::cdc(subclass) };
    if let Some(c) = o.class {
        w.class = c;
    }
    w
}

/// Imports and configures.
///
/// Linux's usbip-vudc keeps answers to a client that is gone and sends them to the next one; they are gone with a
/// connection. So a connection that begins with such is given up for another.
///
/// # Errors
/// [`Not`]; never [`Not::Stale`].
pub fn probe(bus: &Bus, d: &DeviceInfo, o: &Options, random: impl Fn() -> [u8; 6]) -> Result<Found, Not> {
    let mut stale = false;
    for _ in 0..STALE_TRIES {
        match probe_once(bus, d, o, &random) {
            Err(Not::Stale) => stale = true,
            // It is still letting go of the connection before.
            Err(Not::Busy) if stale => {}
            r => return r,
        }
        std::thread::sleep(STALE_PAUSE);
    }
    Err(wrong("its server goes on sending answers for its last owner"))
}

fn probe_once(bus: &Bus, d: &DeviceInfo, o: &Options, random: &impl Fn() -> [u8; 6]) -> Result<Found, Not> {
    let stream = bus.connect()?;
    // Each URB may have an unlink beside it.
    let limits = Limits { urbs: 2 * (o.receive + o.transmit) + 64, ..Limits::default() };
    let mut s = Session { stream, client: Client::import(&d.busid, limits) };
    let info = s.import()?;
    let device = s.descriptor(desc::DEVICE, 0, desc::Device::LEN as u16)?;
    let device = desc::Device::parse(&device).ok_or_else(|| wrong("its device descriptor is bad"))?;
    let quirks = quirks::of(device.vendor, device.product);
    if let Some(why) = quirks.refuse {
        return Err(Not::Working(why.into()));
    }
    let (config, find::Found { function: ecm, mut odd }) = s.configuration(device.configs, o)?;
    let acm = cdc::functions(&config, cdc::SUBCLASS_ACM).next();
    s.control(Setup::set_configuration(ecm.config), &[])
        .map_err(|e| wrong(format!("SET_CONFIGURATION: {e}")))?;
    if ecm.has_alts {
        // Off until the interface goes up; also resets the data toggles after a previous owner.
        let off = if ecm.data_alt == 0 { 1 } else { 0 };
        let _ = s.control(Setup::set_interface(ecm.data, off), &[]);
    }
    let max_segment = max_segment(ecm.ethernet.map(|e| e.max_segment), &mut odd);
    let blocks = match &o.ncm {
        Some(n) => Some(s.blocks(&config, ecm.control, max_segment, n)?),
        None => None,
    };
    let mac = s.mac(ecm.ethernet.map(|e| e.mac_str), quirks.bogus_mac).unwrap_or_else(|why| {
        odd.push(format!("it has no good MAC address ({why}), using a random one"));
        local_mac(random())
    });
    let maker = s.string(device.manufacturer_str).unwrap_or_default();
    let serial = s.string(device.serial_str).unwrap_or_default();
    let product = s.string(device.product_str).unwrap_or_else(|| format!("{} device", o.kind()));
    Ok(Found {
        mac,
        max_segment,
        quirks,
        odd,
        blocks,
        serial: serial.trim().to_string(),
        name: format!("{maker} {product}").trim().to_string(),
        stream: s.stream,
        client: s.client,
        info,
        ecm,
        acm,
    })
}

/// Longest frame of a device that says this. 0 is met in the field; 14 bytes of header and an IPv4 minimum packet
/// are the least that makes sense.
fn max_segment(said: Option<u16>, odd: &mut Vec<String>) -> u16 {
    match said {
        None => 1514,
        Some(n) if n < 14 + 68 => {
            odd.push(format!("its largest segment of {n} bytes makes no sense, using 1514"));
            1514
        }
        Some(n) => n.min(MAX_SEGMENT),
    }
}

fn wrong(why: impl Into<String>) -> Not {
    Not::Working(why.into())
}

/// Makes random bytes a locally administered unicast address.
fn local_mac(mut m: [u8; 6]) -> [u8; 6] {
    m[0] = (m[0] & 0xfc) | 2;
    m
}

/// A protocol error as an I/O error; an answer that nobody asked for has a kind of its own.
fn foreign(e: ProtoError) -> io::Error {
    match e {
        ProtoError::Sequence(_) => STALE.into(),
        e => bad(e),
    }
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
            while let Some(e) = self.client.poll().map_err(foreign)? {
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

    /// The address of the device's string. One with the vendor's habit of made-up local addresses has none.
    fn mac(&mut self, index: Option<u8>, bogus: bool) -> Result<[u8; 6], String> {
        let index = index.filter(|i| *i != 0).ok_or("it names no string")?;
        let text = self.string(index).ok_or("its string cannot be read")?;
        let mac = quirks::mac(&text)?;
        if bogus && mac[0] & 2 != 0 {
            return Err("this vendor's local addresses are all the same".into());
        }
        Ok(mac)
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

    /// The first configuration that has the function, whole.
    fn configuration(&mut self, count: u8, o: &Options) -> Result<(Vec<u8>, find::Found), Not> {
        let (w, mut why, mut instead) = (want(o), None, None);
        for i in 0..count.min(MAX_CONFIGS) {
            let head = self.descriptor(desc::CONFIG, i, desc::Config::LEN as u16)?;
            let Some(c) = desc::Config::parse(&head) else {
                why = Some("its configuration descriptor is bad".to_string());
                continue;
            };
            if o.cfg.is_some_and(|v| v != c.value) {
                continue;
            }
            let whole = self.descriptor(desc::CONFIG, i, c.total_len)?;
            match find::function(&whole, &w) {
                Ok(Some(mut f)) => {
                    if whole.len() < usize::from(c.total_len) {
                        f.odd.push("its configuration breaks off".into());
                    }
                    return Ok((whole, f));
                }
                Ok(None) => instead = instead.or(find::instead(&whole)),
                Err(e) => why = Some(e),
            }
        }
        Err(why.map_or(Not::Ours(instead), Not::Working))
    }
}

#[cfg(test)]
mod stale_tests {
    use super::*;
    use iopkt_usbip::hdr::RetSubmit;
    use std::os::unix::net::UnixListener;

    /// What Linux's usbip-vudc does to who comes soon after another client.
    #[test]
    fn a_server_that_answers_its_last_owner_is_tried_again() {
        let path = std::env::temp_dir().join(format!("iopkt-stale-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let l = UnixListener::bind(&path).expect("bind");
        let info = DeviceInfo { busid: "1-1".into(), ..DeviceInfo::default() };
        let server = std::thread::spawn(move || {
            let mut request = [0; 40];
            let (mut s, _) = l.accept().expect("first");
            s.read_exact(&mut request).expect("an import");
            let mut reply = op::header(op::REQ_IMPORT & !op::REQUEST, 0).to_vec();
            info.write(&mut reply);
            let old =
                RetSubmit { seqnum: 12348, status: 0, actual: 0, start_frame: 0, packets: 0, errors: 0 };
            reply.extend_from_slice(&old.to_bytes());
            s.write_all(&reply).expect("write");
            let _ = s.read(&mut request);
            drop(s);
            for status in [op::st::DEV_BUSY, op::st::NODEV] {
                let (mut s, _) = l.accept().expect("another");
                s.read_exact(&mut request).expect("an import");
                s.write_all(&op::header(op::REQ_IMPORT & !op::REQUEST, status)).expect("write");
            }
        });
        let dev = DeviceInfo { busid: "1-1".into(), ..DeviceInfo::default() };
        let r = probe(&Bus::Unix(path.clone()), &dev, &Options::default(), || [2; 6]);
        assert!(matches!(r.map(|f| f.name), Err(Not::Gone)));
        server.join().expect("the server saw three connections");
        let _ = std::fs::remove_file(&path);
    }
}

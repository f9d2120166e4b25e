//! Operations: what a connection begins with.
//!
//! A request is an 8-byte header (version, code, status 0) and what belongs to the code; the reply is the same
//! with the code's top bit clear. After a reply to [`REQ_IMPORT`] with status 0 the connection belongs to the
//! device; after any other reply the server closes it or waits for the next request.
//!
//! Three codes are ours. A stock server closes the connection when it sees one: fall back (poll the list, import
//! the device to read its descriptors).
//!
//! | code | request body | reply body |
//! | --- | --- | --- |
//! | [`REQ_WATCH`] | none | events without end, see [`WatchEvent`] |
//! | [`REQ_DESCRIBE`] | bus id, 32 bytes | u32 length, then records, see [`Description`] |
//! | [`REQ_CONTROL`] | u32 length, UTF-8 text | u32 length, UTF-8 text |

use crate::desc;
use crate::hdr::ProtoError;
use alloc::string::String;
use alloc::vec::Vec;

/// Protocol version 1.1.1.
pub const VERSION: u16 = 0x0111;
/// Length of the header of an operation.
pub const OP_LEN: usize = 8;
/// Request: import the device of a bus id.
pub const REQ_IMPORT: u16 = 0x8003;
/// Request: list devices.
pub const REQ_DEVLIST: u16 = 0x8005;
/// Request of ours: the devices that are there, then every one that comes or goes.
pub const REQ_WATCH: u16 = 0x8040;
/// Request of ours: descriptors of a device, imported by somebody or not.
pub const REQ_DESCRIBE: u16 = 0x8041;
/// Request of ours: a command for the stack manager, as text.
pub const REQ_CONTROL: u16 = 0x8042;
/// Set in the codes of requests.
pub const REQUEST: u16 = 0x8000;

/// Length of a bus id field.
pub const BUSID_LEN: usize = 32;
/// Length of the description of a device without its interfaces.
pub const DEVICE_LEN: usize = 312;
/// Most devices in a list.
pub const MAX_DEVICES: u32 = 1024;
/// Longest control text and longest set of descriptors, bytes.
pub const MAX_BODY: u32 = 65_536;

/// Status values of a reply (Linux's `ST_*`).
#[allow(missing_docs)]
pub mod st {
    pub const OK: u32 = 0;
    /// Not available (any reason).
    pub const NA: u32 = 1;
    /// Somebody has imported it.
    pub const DEV_BUSY: u32 = 2;
    pub const DEV_ERR: u32 = 3;
    pub const NODEV: u32 = 4;
    pub const ERROR: u32 = 5;
    /// Ours: the stack manager may not open it (permissions of the device's file).
    pub const DENIED: u32 = 0x100;
    /// Ours: it is a hub, which belongs to the USB stack itself.
    pub const HUB: u32 = 0x101;

    /// The status in words.
    pub fn text(status: u32) -> &'static str {
        match status {
            OK => "ok",
            NA => "not available",
            DEV_BUSY => "in use by another client",
            DEV_ERR => "in an error state",
            NODEV => "no such device",
            DENIED => "io-usb may not open it (no udev rule for its user? see io-usb(8), PERMISSIONS)",
            HUB => "it is a hub, which the USB stack keeps",
            _ => "request failed",
        }
    }
}

/// Speeds (Linux's `enum usb_device_speed`).
#[allow(missing_docs)]
pub mod speed {
    pub const LOW: u32 = 1;
    pub const FULL: u32 = 2;
    pub const HIGH: u32 = 3;
    pub const SUPER: u32 = 5;
}

/// A device as lists and imports describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Path in the server's sysfs, or something like it.
    pub path: String,
    /// Bus id: what an import names. At most 31 bytes.
    pub busid: String,
    /// Bus number.
    pub busnum: u32,
    /// Device address.
    pub devnum: u32,
    /// [`speed`].
    pub speed: u32,
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// `bDeviceClass`, `bDeviceSubClass`, `bDeviceProtocol`.
    pub class: [u8; 3],
    /// Current configuration, 0 for none.
    pub config: u8,
    /// Number of configurations.
    pub configs: u8,
    /// Number of interfaces; may be 0 while no configuration is set.
    pub num_interfaces: u8,
    /// Class, subclass and protocol of each interface; only lists and events carry them.
    pub interfaces: Vec<[u8; 3]>,
}

impl DeviceInfo {
    /// `busnum << 16 | devnum`, which the headers of commands carry.
    pub fn devid(&self) -> u32 {
        self.busnum << 16 | self.devnum & 0xffff
    }

    /// Reads the fixed part; `b` has at least [`DEVICE_LEN`] bytes.
    fn parse(b: &[u8; DEVICE_LEN]) -> Result<DeviceInfo, ProtoError> {
        Ok(DeviceInfo {
            path: text(&b[..256])?,
            busid: text(&b[256..288])?,
            busnum: be32(b, 288),
            devnum: be32(b, 292),
            speed: be32(b, 296),
            vendor: be16(b, 300),
            product: be16(b, 302),
            release: be16(b, 304),
            class: [b[306], b[307], b[308]],
            config: b[309],
            configs: b[310],
            num_interfaces: b[311],
            interfaces: Vec::new(),
        })
    }

    /// Appends the fixed part.
    pub fn write(&self, out: &mut Vec<u8>) {
        field(out, &self.path, 256);
        field(out, &self.busid, BUSID_LEN);
        for v in [self.busnum, self.devnum, self.speed] {
            out.extend_from_slice(&v.to_be_bytes());
        }
        for v in [self.vendor, self.product, self.release] {
            out.extend_from_slice(&v.to_be_bytes());
        }
        out.extend_from_slice(&self.class);
        out.extend_from_slice(&[self.config, self.configs, self.num_interfaces]);
    }

    /// Appends the fixed part and the interfaces, as lists have it.
    pub fn write_with_interfaces(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write(out);
        let n = self.interfaces.len().min(255);
        out[start + DEVICE_LEN - 1] = n as u8;
        for [c, s, p] in &self.interfaces[..n] {
            out.extend_from_slice(&[*c, *s, *p, 0]);
        }
    }

    fn read_with_interfaces(r: &mut Reader<'_>) -> Result<Option<DeviceInfo>, ProtoError> {
        let Some(fixed) = r.take(DEVICE_LEN) else { return Ok(None) };
        let Ok(fixed) = fixed.try_into() else { return Ok(None) };
        let mut d = DeviceInfo::parse(fixed)?;
        let Some(ifs) = r.take(usize::from(d.num_interfaces) * 4) else { return Ok(None) };
        d.interfaces = ifs.chunks_exact(4).map(|c| [c[0], c[1], c[2]]).collect();
        Ok(Some(d))
    }
}

/// Something that a watcher is told. On the wire: u32 kind, u32 0, and for the first two a device with its
/// interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Kind 1: a device is there (first all that are, then those that come).
    Added(DeviceInfo),
    /// Kind 2: a device went away.
    Removed(DeviceInfo),
    /// Kind 3: all devices that were there at the start of the watch have been told.
    Settled,
}

impl WatchEvent {
    /// Appends the event.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (kind, dev) = match self {
            WatchEvent::Added(d) => (1u32, Some(d)),
            WatchEvent::Removed(d) => (2, Some(d)),
            WatchEvent::Settled => (3, None),
        };
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        if let Some(d) = dev {
            d.write_with_interfaces(out);
        }
    }

    /// Reads one event from the front of `b`: the event and its length, `None` while it is incomplete.
    ///
    /// # Errors
    /// An unknown kind, or a bad text in the device.
    pub fn parse(b: &[u8]) -> Result<Option<(WatchEvent, usize)>, ProtoError> {
        let mut r = Reader { b, at: 0 };
        let Some(head) = r.take(8) else { return Ok(None) };
        let kind = be32(head, 0);
        if kind == 3 {
            return Ok(Some((WatchEvent::Settled, 8)));
        }
        if kind != 1 && kind != 2 {
            return Err(ProtoError::Command(kind));
        }
        let Some(d) = DeviceInfo::read_with_interfaces(&mut r)? else { return Ok(None) };
        let e = if kind == 1 { WatchEvent::Added(d) } else { WatchEvent::Removed(d) };
        Ok(Some((e, r.at)))
    }
}

/// The descriptors of a device: device, configurations and strings, as GET_DESCRIPTOR would give them. On the
/// wire a record is type, index, u16 length, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Descriptor type, index, bytes.
    pub records: Vec<(u8, u8, Vec<u8>)>,
}

impl Description {
    /// The bytes of one descriptor.
    pub fn get(&self, ty: u8, index: u8) -> Option<&[u8]> {
        self.records.iter().find(|r| r.0 == ty && r.1 == index).map(|r| &r.2[..])
    }

    /// The device descriptor.
    pub fn device(&self) -> Option<desc::Device> {
        desc::Device::parse(self.get(desc::DEVICE, 0)?)
    }

    /// The configurations, each with all that belongs to it.
    pub fn configs(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().filter(|r| r.0 == desc::CONFIG).map(|r| &r.2[..])
    }

    /// Text of a string; `None` for index 0 and for strings that the device does not have.
    pub fn string(&self, index: u8) -> Option<String> {
        if index == 0 { None } else { desc::string(self.get(desc::STRING, index)?) }
    }

    /// The records as they stand on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (ty, index, bytes) in &self.records {
            let n = bytes.len().min(usize::from(u16::MAX));
            out.extend_from_slice(&[*ty, *index]);
            out.extend_from_slice(&(n as u16).to_be_bytes());
            out.extend_from_slice(&bytes[..n]);
        }
        out
    }

    /// Reads records; ends at the first that does not fit.
    pub fn parse(b: &[u8]) -> Description {
        let mut r = Reader { b, at: 0 };
        let mut records = Vec::new();
        while let Some(h) = r.take(4) {
            let Some(bytes) = r.take(usize::from(be16(h, 2))) else { break };
            records.push((h[0], h[1], bytes.to_vec()));
        }
        Description { records }
    }
}

/// The header of an operation.
pub fn header(code: u16, status: u32) -> [u8; OP_LEN] {
    let (v, c, s) = (VERSION.to_be_bytes(), code.to_be_bytes(), status.to_be_bytes());
    [v[0], v[1], c[0], c[1], s[0], s[1], s[2], s[3]]
}

/// A request without a body: [`REQ_DEVLIST`], [`REQ_WATCH`].
pub fn request(code: u16) -> [u8; OP_LEN] {
    header(code, 0)
}

/// A request that names a device: [`REQ_IMPORT`], [`REQ_DESCRIBE`]. A bus id longer than 31 bytes is cut (and
/// then names no device).
pub fn request_busid(code: u16, busid: &str) -> [u8; OP_LEN + BUSID_LEN] {
    let mut b = [0; OP_LEN + BUSID_LEN];
    b[..OP_LEN].copy_from_slice(&header(code, 0));
    let n = busid.len().min(BUSID_LEN - 1);
    b[OP_LEN..OP_LEN + n].copy_from_slice(&busid.as_bytes()[..n]);
    b
}

/// A [`REQ_CONTROL`] request.
pub fn request_control(command: &str) -> Vec<u8> {
    let mut v = header(REQ_CONTROL, 0).to_vec();
    v.extend_from_slice(&(command.len() as u32).to_be_bytes());
    v.extend_from_slice(command.as_bytes());
    v
}

/// Reads the header of an operation: code and status; `None` while it is incomplete.
///
/// # Errors
/// Another protocol version.
pub fn parse_header(b: &[u8]) -> Result<Option<(u16, u32)>, ProtoError> {
    if b.len() < OP_LEN {
        return Ok(None);
    }
    match be16(b, 0) {
        VERSION => Ok(Some((be16(b, 2), be32(b, 4)))),
        v => Err(ProtoError::Version(v)),
    }
}

/// What a reply holds, with the status of a refusal in [`Err`], and how many bytes it took; `None` while
/// incomplete.
pub type Parsed<T> = Result<Option<(Result<T, u32>, usize)>, ProtoError>;

/// Starts reading the reply to `request`: `Some(Ok(rest))` after a good header.
fn reply_body(b: &[u8], request: u16) -> Result<Option<Result<Reader<'_>, u32>>, ProtoError> {
    let Some((code, status)) = parse_header(b)? else { return Ok(None) };
    if code != request & !REQUEST {
        return Err(ProtoError::Operation(code));
    }
    Ok(Some(if status == st::OK { Ok(Reader { b, at: OP_LEN }) } else { Err(status) }))
}

/// Reads a reply to [`REQ_DEVLIST`].
///
/// # Errors
/// What is not such a reply, or lists more than [`MAX_DEVICES`].
pub fn parse_devlist(b: &[u8]) -> Parsed<Vec<DeviceInfo>> {
    let mut r = match reply_body(b, REQ_DEVLIST)? {
        None => return Ok(None),
        Some(Err(status)) => return Ok(Some((Err(status), OP_LEN))),
        Some(Ok(r)) => r,
    };
    let Some(n) = r.take(4).map(|n| be32(n, 0)) else { return Ok(None) };
    if n > MAX_DEVICES {
        return Err(ProtoError::TooLong(n));
    }
    let mut list = Vec::new();
    for _ in 0..n {
        let Some(d) = DeviceInfo::read_with_interfaces(&mut r)? else { return Ok(None) };
        list.push(d);
    }
    Ok(Some((Ok(list), r.at)))
}

/// Reads a reply to [`REQ_IMPORT`].
///
/// # Errors
/// What is not such a reply.
pub fn parse_import(b: &[u8]) -> Parsed<DeviceInfo> {
    let mut r = match reply_body(b, REQ_IMPORT)? {
        None => return Ok(None),
        Some(Err(status)) => return Ok(Some((Err(status), OP_LEN))),
        Some(Ok(r)) => r,
    };
    let Some(Ok(fixed)) = r.take(DEVICE_LEN).map(TryInto::try_into) else { return Ok(None) };
    Ok(Some((Ok(DeviceInfo::parse(fixed)?), r.at)))
}

/// Reads a reply to [`REQ_WATCH`]; events follow it.
///
/// # Errors
/// What is not such a reply.
pub fn parse_watch(b: &[u8]) -> Parsed<()> {
    Ok(reply_body(b, REQ_WATCH)?.map(|r| (r.map(|_| ()), OP_LEN)))
}

/// Reads a reply to [`REQ_DESCRIBE`].
///
/// # Errors
/// What is not such a reply, or is longer than [`MAX_BODY`].
pub fn parse_describe(b: &[u8]) -> Parsed<Description> {
    match reply_body(b, REQ_DESCRIBE)? {
        None => Ok(None),
        Some(Err(status)) => Ok(Some((Err(status), OP_LEN))),
        Some(Ok(mut r)) => Ok(r.counted()?.map(|body| (Ok(Description::parse(body)), r.at))),
    }
}

/// Reads a reply to [`REQ_CONTROL`]: whether the command was done, and its text (the result, or why not).
///
/// # Errors
/// What is not such a reply, is longer than [`MAX_BODY`], or is not UTF-8.
pub fn parse_control(b: &[u8]) -> Result<Option<(bool, String, usize)>, ProtoError> {
    let Some((code, status)) = parse_header(b)? else { return Ok(None) };
    if code != REQ_CONTROL & !REQUEST {
        return Err(ProtoError::Operation(code));
    }
    let mut r = Reader { b, at: OP_LEN };
    let Some(body) = r.counted()? else { return Ok(None) };
    let text = core::str::from_utf8(body).map_err(|_| ProtoError::Text)?;
    Ok(Some((status == st::OK, String::from(text), r.at)))
}

/// Bytes being read in order.
pub(crate) struct Reader<'a> {
    pub(crate) b: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let s = self.b.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(s)
    }

    /// A u32 length and that many bytes.
    pub(crate) fn counted(&mut self) -> Result<Option<&'a [u8]>, ProtoError> {
        let Some(n) = self.take(4).map(|n| be32(n, 0)) else { return Ok(None) };
        if n > MAX_BODY {
            return Err(ProtoError::TooLong(n));
        }
        Ok(self.take(n as usize))
    }
}

/// Text of a field that is filled up with zeros.
pub(crate) fn text(b: &[u8]) -> Result<String, ProtoError> {
    let end = b.iter().position(|c| *c == 0).unwrap_or(b.len());
    core::str::from_utf8(&b[..end]).map(String::from).map_err(|_| ProtoError::Text)
}

fn field(out: &mut Vec<u8>, s: &str, len: usize) {
    let n = s.len().min(len - 1);
    out.extend_from_slice(&s.as_bytes()[..n]);
    out.resize(out.len() + len - n, 0);
}

fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn be32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

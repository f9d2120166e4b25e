//! The 48-byte headers that carry URBs after an import.
//!
//! Layout (offsets in bytes, all big-endian): 0 command, 4 sequence number, 8 device id (`busnum << 16 |
//! devnum`), 12 direction, 16 endpoint number, then 28 bytes that depend on the command. Data follows a submit
//! of an OUT transfer and the reply to an IN transfer. A reply from Linux leaves device id, direction and
//! endpoint 0, so a client must remember what it asked.

use core::fmt;

/// Length of every header.
pub const HDR_LEN: usize = 48;
/// Header command: submit a URB.
pub const CMD_SUBMIT: u32 = 1;
/// Header command: unlink (cancel) a URB.
pub const CMD_UNLINK: u32 = 2;
/// Header command: a URB has ended.
pub const RET_SUBMIT: u32 = 3;
/// Header command: answer to an unlink.
pub const RET_UNLINK: u32 = 4;

/// Transfer flag: a short read is an error.
pub const URB_SHORT_NOT_OK: u32 = 0x01;
/// Transfer flag: end an OUT transfer that fills its last packet with a zero-length packet.
pub const URB_ZERO_PACKET: u32 = 0x40;

/// Size of the descriptor of one isochronous packet, which follow the data of isochronous transfers.
pub const ISO_DESC_LEN: usize = 16;
/// Most isochronous packets in a transfer (Linux's `USBIP_MAX_ISO_PACKETS`).
pub const MAX_ISO_PACKETS: u32 = 1024;

/// URB status values: negated Linux errnos, as they stand on the wire.
#[allow(missing_docs)]
pub mod status {
    pub const OK: i32 = 0;
    /// Unlinked, synchronously.
    pub const ENOENT: i32 = -2;
    pub const ENOMEM: i32 = -12;
    /// The device is gone.
    pub const ENODEV: i32 = -19;
    pub const EINVAL: i32 = -22;
    /// The endpoint stalled.
    pub const EPIPE: i32 = -32;
    /// No answer in time.
    pub const ETIME: i32 = -62;
    /// Bit stuffing, CRC, no handshake: the cable was pulled, or noise.
    pub const EPROTO: i32 = -71;
    /// Babble: the device sent more than was asked for.
    pub const EOVERFLOW: i32 = -75;
    /// Unlinked.
    pub const ECONNRESET: i32 = -104;
    /// The device or its configuration went away under the transfer.
    pub const ESHUTDOWN: i32 = -108;
    /// Short read where URB_SHORT_NOT_OK was set.
    pub const EREMOTEIO: i32 = -121;
}

/// Direction of a transfer as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// Host to device.
    Out,
    /// Device to host.
    In,
}

/// Why a byte stream is not USB/IP. There is no way to find the next message: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoError {
    /// A header with this command is not expected here.
    Command(u32),
    /// Direction neither 0 nor 1.
    Direction(u32),
    /// No such endpoint number (0 to 15).
    Endpoint(u32),
    /// A transfer, a text or a list is longer than the limit; the number is the length.
    TooLong(u32),
    /// A reply has a sequence number that nobody waits for.
    Sequence(u32),
    /// A reply claims more data than was asked for.
    Actual {
        /// Bytes asked for.
        asked: u32,
        /// Bytes claimed.
        got: u32,
    },
    /// Protocol version not ours.
    Version(u16),
    /// Operation code not known or not expected here.
    Operation(u16),
    /// A text field is not what it must be (bus id, UTF-8 command).
    Text,
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ProtoError::Command(c) => write!(f, "unexpected USB/IP command {c:#x}"),
            ProtoError::Direction(d) => write!(f, "bad transfer direction {d}"),
            ProtoError::Endpoint(e) => write!(f, "bad endpoint number {e}"),
            ProtoError::TooLong(n) => write!(f, "length {n} exceeds the limit"),
            ProtoError::Sequence(s) => write!(f, "reply to unknown sequence number {s}"),
            ProtoError::Actual { asked, got } => {
                write!(f, "reply of {got} bytes where {asked} were asked for")
            }
            ProtoError::Version(v) => write!(f, "USB/IP version {v:#06x}, this is 0x0111"),
            ProtoError::Operation(o) => write!(f, "unexpected USB/IP operation {o:#06x}"),
            ProtoError::Text => f.write_str("malformed text field"),
        }
    }
}

impl core::error::Error for ProtoError {}

/// A submitted URB (header only; the data of an OUT transfer follows it on the wire).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submit {
    /// Sequence number, the client's choice, not 0.
    pub seqnum: u32,
    /// `busnum << 16 | devnum`.
    pub devid: u32,
    /// Direction.
    pub dir: Dir,
    /// Endpoint number, 0 to 15.
    pub ep: u8,
    /// [`URB_SHORT_NOT_OK`], [`URB_ZERO_PACKET`].
    pub flags: u32,
    /// Length of the buffer in bytes.
    pub length: u32,
    /// First frame, isochronous only.
    pub start_frame: u32,
    /// Isochronous packets; 0 (or 0xffffffff, read as 0) for other transfers.
    pub packets: u32,
    /// Polling interval, interrupt and isochronous only.
    pub interval: u32,
    /// Set-up packet, control only.
    pub setup: [u8; 8],
}

/// A request to cancel a URB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlink {
    /// Sequence number of this request.
    pub seqnum: u32,
    /// `busnum << 16 | devnum`.
    pub devid: u32,
    /// Sequence number of the URB.
    pub victim: u32,
}

/// The end of a URB (header only; the data of an IN transfer follows it on the wire).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetSubmit {
    /// Sequence number of the URB.
    pub seqnum: u32,
    /// [`status`].
    pub status: i32,
    /// Bytes moved.
    pub actual: u32,
    /// First frame, isochronous only.
    pub start_frame: u32,
    /// Isochronous packets.
    pub packets: u32,
    /// Isochronous packets in error.
    pub errors: u32,
}

/// The answer to an unlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetUnlink {
    /// Sequence number of the unlink request.
    pub seqnum: u32,
    /// [`status::ECONNRESET`]: cancelled, no [`RetSubmit`] will come. [`status::OK`]: too late, it had ended.
    pub status: i32,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Submit a URB.
    Submit(Submit),
    /// Cancel a URB.
    Unlink(Unlink),
}

/// What a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A URB has ended.
    Submit(RetSubmit),
    /// An unlink was done.
    Unlink(RetUnlink),
}

fn get(b: &[u8; HDR_LEN], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn put(b: &mut [u8; HDR_LEN], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_be_bytes());
}

fn base(cmd: u32, seqnum: u32, devid: u32, dir: Dir, ep: u8) -> [u8; HDR_LEN] {
    let mut b = [0; HDR_LEN];
    put(&mut b, 0, cmd);
    put(&mut b, 4, seqnum);
    put(&mut b, 8, devid);
    put(&mut b, 12, dir as u32);
    put(&mut b, 16, u32::from(ep));
    b
}

// Documentation says 0xffffffff for "not isochronous", Linux itself sends 0.
fn packets(raw: u32) -> Result<u32, ProtoError> {
    match raw {
        u32::MAX => Ok(0),
        n if n > MAX_ISO_PACKETS => Err(ProtoError::TooLong(n)),
        n => Ok(n),
    }
}

impl Submit {
    /// The header as it stands on the wire.
    pub fn to_bytes(&self) -> [u8; HDR_LEN] {
        let mut b = base(CMD_SUBMIT, self.seqnum, self.devid, self.dir, self.ep);
        put(&mut b, 20, self.flags);
        put(&mut b, 24, self.length);
        put(&mut b, 28, self.start_frame);
        put(&mut b, 32, self.packets);
        put(&mut b, 36, self.interval);
        b[40..48].copy_from_slice(&self.setup);
        b
    }

    /// Bytes that follow the header on the wire.
    pub fn payload_len(&self) -> usize {
        let data = if self.dir == Dir::Out { self.length as usize } else { 0 };
        data + self.packets as usize * ISO_DESC_LEN
    }
}

impl Unlink {
    /// The header as it stands on the wire.
    pub fn to_bytes(&self) -> [u8; HDR_LEN] {
        let mut b = base(CMD_UNLINK, self.seqnum, self.devid, Dir::Out, 0);
        put(&mut b, 20, self.victim);
        b
    }
}

impl RetSubmit {
    /// The header as it stands on the wire; like Linux's, it leaves device id, direction and endpoint 0.
    pub fn to_bytes(&self) -> [u8; HDR_LEN] {
        let mut b = base(RET_SUBMIT, self.seqnum, 0, Dir::Out, 0);
        put(&mut b, 20, self.status as u32);
        put(&mut b, 24, self.actual);
        put(&mut b, 28, self.start_frame);
        put(&mut b, 32, self.packets);
        put(&mut b, 36, self.errors);
        b
    }
}

impl RetUnlink {
    /// The header as it stands on the wire.
    pub fn to_bytes(&self) -> [u8; HDR_LEN] {
        let mut b = base(RET_UNLINK, self.seqnum, 0, Dir::Out, 0);
        put(&mut b, 20, self.status as u32);
        b
    }
}

impl Command {
    /// Reads a client's header.
    ///
    /// # Errors
    /// A command, direction or endpoint that cannot be, or more isochronous packets than the protocol allows.
    pub fn parse(b: &[u8; HDR_LEN]) -> Result<Command, ProtoError> {
        let (cmd, seqnum, devid) = (get(b, 0), get(b, 4), get(b, 8));
        match cmd {
            CMD_SUBMIT => {
                let dir = match get(b, 12) {
                    0 => Dir::Out,
                    1 => Dir::In,
                    d => return Err(ProtoError::Direction(d)),
                };
                let ep = get(b, 16);
                if ep > 15 {
                    return Err(ProtoError::Endpoint(ep));
                }
                let length = get(b, 24);
                if length > i32::MAX as u32 {
                    return Err(ProtoError::TooLong(length));
                }
                let mut setup = [0; 8];
                setup.copy_from_slice(&b[40..48]);
                Ok(Command::Submit(Submit {
                    seqnum,
                    devid,
                    dir,
                    ep: ep as u8,
                    flags: get(b, 20),
                    length,
                    start_frame: get(b, 28),
                    packets: packets(get(b, 32))?,
                    interval: get(b, 36),
                    setup,
                }))
            }
            CMD_UNLINK => Ok(Command::Unlink(Unlink { seqnum, devid, victim: get(b, 20) })),
            c => Err(ProtoError::Command(c)),
        }
    }
}

impl Reply {
    /// Reads a server's header.
    ///
    /// # Errors
    /// A command or a length that cannot be.
    pub fn parse(b: &[u8; HDR_LEN]) -> Result<Reply, ProtoError> {
        let (cmd, seqnum, status) = (get(b, 0), get(b, 4), get(b, 20) as i32);
        match cmd {
            RET_SUBMIT => {
                let actual = get(b, 24);
                if actual > i32::MAX as u32 {
                    return Err(ProtoError::TooLong(actual));
                }
                Ok(Reply::Submit(RetSubmit {
                    seqnum,
                    status,
                    actual,
                    start_frame: get(b, 28),
                    packets: packets(get(b, 32))?,
                    errors: get(b, 36),
                }))
            }
            RET_UNLINK => Ok(Reply::Unlink(RetUnlink { seqnum, status })),
            c => Err(ProtoError::Command(c)),
        }
    }
}

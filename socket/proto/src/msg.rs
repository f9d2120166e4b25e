//! Headers of requests and replies.

use crate::rw::{get, get_i32, get_u16, get_u32, get_u64, put};
use crate::{Addr, Op, VERSION};
use iopkt_base::Errno;

/// Length of the header of a request and of a reply, bytes.
pub const HDR_LEN: usize = 64;
/// Longest payload: a datagram of 65535 bytes with its header, rounded up.
pub const MAX_PAYLOAD: usize = 65_536 + 128;
/// No datagram is this long; a message may be.
pub const TOO_LONG: usize = 65_536;
/// Longest message.
pub const MAX_MSG: usize = HDR_LEN + MAX_PAYLOAD;
/// Longest socket option value (Linux's largest here, group filters, are shorter).
pub const MAX_SOCKOPT: usize = 2048;

/// "iopq" and "iopr" as they stand in memory of a little-endian machine.
const MAGIC_REQ: u32 = 0x7170_6f69;
const MAGIC_REP: u32 = 0x7270_6f69;

/// Header of a request.
///
/// Layout: magic u32, version u16, op u16, id u32, payload length u32, args 5 * i32, [`Addr`] 28 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Req {
    /// What is asked.
    pub op: Op,
    /// Chosen by the sender, repeated in the reply.
    pub id: u32,
    /// Length of the payload, bytes.
    pub len: u32,
    /// Numbers, by operation.
    pub args: [i32; 5],
    /// Address.
    pub addr: Addr,
}

impl Req {
    /// A request with nothing but its operation.
    pub fn new(op: Op, id: u32) -> Req {
        Req { op, id, len: 0, args: [0; 5], addr: Addr::NONE }
    }

    /// The wire form; the payload of `len` bytes follows it in the same message.
    pub fn encode(&self) -> [u8; HDR_LEN] {
        let mut b = [0; HDR_LEN];
        put(&mut b, 0, &MAGIC_REQ.to_ne_bytes());
        put(&mut b, 4, &VERSION.to_ne_bytes());
        put(&mut b, 6, &(self.op as u16).to_ne_bytes());
        put(&mut b, 8, &self.id.to_ne_bytes());
        put(&mut b, 12, &self.len.to_ne_bytes());
        for (i, a) in self.args.iter().enumerate() {
            put(&mut b, 16 + 4 * i, &a.to_ne_bytes());
        }
        put(&mut b, 36, &self.addr.encode());
        b
    }

    /// Takes a whole message apart: header and payload.
    ///
    /// # Errors
    /// The reason in words: the session is to be ended with it.
    pub fn decode(msg: &[u8]) -> Result<(Req, &[u8]), BadMsg> {
        check(msg, MAGIC_REQ)?;
        let op = Op::from_raw(get_u16(msg, 6)).ok_or(BadMsg::Op(get_u16(msg, 6)))?;
        let mut args = [0; 5];
        for (i, a) in args.iter_mut().enumerate() {
            *a = get_i32(msg, 16 + 4 * i);
        }
        let addr = Addr::decode(&msg[36..HDR_LEN]).map_err(|_| BadMsg::Address)?;
        let len = get_u32(msg, 12);
        Ok((Req { op, id: get_u32(msg, 8), len, args, addr }, &msg[HDR_LEN..]))
    }
}

/// Why a message is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMsg {
    /// Shorter than a header, or its length field differs from its length.
    Length(usize),
    /// Other first bytes.
    Magic,
    /// Another version of the protocol.
    Version(u16),
    /// No such operation.
    Op(u16),
    /// An address of a family that the protocol does not carry.
    Address,
}

impl core::fmt::Display for BadMsg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BadMsg::Length(n) => write!(f, "a message of {n} bytes does not fit its length field"),
            BadMsg::Magic => write!(f, "not a message of this protocol"),
            BadMsg::Version(v) => {
                write!(f, "version {v} of the protocol, this side has {VERSION}: use programs of one build")
            }
            BadMsg::Op(n) => write!(f, "unknown operation {n}"),
            BadMsg::Address => write!(f, "address of an unknown family"),
        }
    }
}

impl core::error::Error for BadMsg {}

fn check(msg: &[u8], magic: u32) -> Result<(), BadMsg> {
    if msg.len() < HDR_LEN || msg.len() > MAX_MSG {
        return Err(BadMsg::Length(msg.len()));
    }
    if get_u32(msg, 0) != magic {
        return Err(BadMsg::Magic);
    }
    if get_u16(msg, 4) != VERSION {
        return Err(BadMsg::Version(get_u16(msg, 4)));
    }
    if get_u32(msg, 12) as usize != msg.len() - HDR_LEN {
        return Err(BadMsg::Length(msg.len()));
    }
    Ok(())
}

/// Bits of [`Rep::flags`].
pub mod repf {
    /// More of this reply follows in another message with the same id.
    pub const MORE: u32 = 1;
    /// The message carries a descriptor.
    pub const FD: u32 = 2;
    /// The descriptor takes the place of the one in the request: dup2(2) it over that number.
    pub const REPLACE: u32 = 4;
    /// [`crate::Op::Info`]: the socket is connected: bare payload is sent and received.
    pub const CONNECTED: u32 = 8;
    /// [`crate::Op::Info`]: the socket listens.
    pub const LISTENING: u32 = 16;
    /// [`crate::Op::Info`]: a connect is under way.
    pub const CONNECTING: u32 = 32;
    /// [`crate::Op::Send`] of urgent data: the pair's own send(2) does it (it joins two programs).
    pub const NATIVE: u32 = 64;
}

/// Header of a reply.
///
/// Layout: magic u32, version u16, op u16 (of the request), id u32, payload length u32, status i32,
/// [`repf`] u32, val 3 * i32, [`Addr`] 28 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rep {
    /// Operation of the request.
    pub op: Op,
    /// Id of the request.
    pub id: u32,
    /// Length of the payload, bytes.
    pub len: u32,
    /// 0, or the errno.
    pub status: i32,
    /// [`repf`] bits.
    pub flags: u32,
    /// Numbers, by operation.
    pub val: [i32; 3],
    /// Address.
    pub addr: Addr,
}

impl Rep {
    /// A reply of success to this request.
    pub fn ok(req: &Req) -> Rep {
        Rep { op: req.op, id: req.id, len: 0, status: 0, flags: 0, val: [0; 3], addr: Addr::NONE }
    }

    /// A reply of failure to this request.
    pub fn err(req: &Req, e: Errno) -> Rep {
        Rep { status: e.raw(), ..Rep::ok(req) }
    }

    /// Success, or the errno.
    pub fn result(&self) -> Result<(), Errno> {
        if self.status == 0 { Ok(()) } else { Err(Errno(self.status)) }
    }

    /// The wire form; the payload of `len` bytes follows it in the same message.
    pub fn encode(&self) -> [u8; HDR_LEN] {
        let mut b = [0; HDR_LEN];
        put(&mut b, 0, &MAGIC_REP.to_ne_bytes());
        put(&mut b, 4, &VERSION.to_ne_bytes());
        put(&mut b, 6, &(self.op as u16).to_ne_bytes());
        put(&mut b, 8, &self.id.to_ne_bytes());
        put(&mut b, 12, &self.len.to_ne_bytes());
        put(&mut b, 16, &self.status.to_ne_bytes());
        put(&mut b, 20, &self.flags.to_ne_bytes());
        for (i, v) in self.val.iter().enumerate() {
            put(&mut b, 24 + 4 * i, &v.to_ne_bytes());
        }
        put(&mut b, 36, &self.addr.encode());
        b
    }

    /// Takes a whole message apart: header and payload.
    ///
    /// # Errors
    /// The reason in words.
    pub fn decode(msg: &[u8]) -> Result<(Rep, &[u8]), BadMsg> {
        check(msg, MAGIC_REP)?;
        let op = Op::from_raw(get_u16(msg, 6)).ok_or(BadMsg::Op(get_u16(msg, 6)))?;
        let mut val = [0; 3];
        for (i, v) in val.iter_mut().enumerate() {
            *v = get_i32(msg, 24 + 4 * i);
        }
        let rep = Rep {
            op,
            id: get_u32(msg, 8),
            len: get_u32(msg, 12),
            status: get_i32(msg, 16),
            flags: get_u32(msg, 20),
            val,
            addr: Addr::decode(&msg[36..HDR_LEN]).map_err(|_| BadMsg::Address)?,
        };
        Ok((rep, &msg[HDR_LEN..]))
    }
}

/// Payload of the reply to [`Op::Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which running stack this is: the number in the names of its pairs ([`crate::PairName`]).
    pub instance: u64,
    /// What marks a [`crate::DgramHdr`] as genuine. Known to programs of this stack only.
    pub key: u64,
    /// The server's clock now, in nanoseconds: what the stamps of datagrams are to be compared with.
    pub now: u64,
    /// Process id of the server.
    pub pid: u32,
}

impl Hello {
    /// Length on the wire in bytes.
    pub const LEN: usize = 32;

    /// The wire form: instance u64, key u64, now u64, pid u32, 4 bytes of 0.
    pub fn encode(&self) -> [u8; Hello::LEN] {
        let mut b = [0; Hello::LEN];
        put(&mut b, 0, &self.instance.to_ne_bytes());
        put(&mut b, 8, &self.key.to_ne_bytes());
        put(&mut b, 16, &self.now.to_ne_bytes());
        put(&mut b, 24, &self.pid.to_ne_bytes());
        b
    }

    /// Reads the wire form; `None` when it is too short.
    pub fn decode(b: &[u8]) -> Option<Hello> {
        if b.len() < Hello::LEN {
            return None;
        }
        let pid = u32::from_ne_bytes(get(b, 24));
        Some(Hello { instance: get_u64(b, 0), key: get_u64(b, 8), now: get_u64(b, 16), pid })
    }
}

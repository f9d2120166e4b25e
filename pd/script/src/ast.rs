//! A script as values.

/// A script.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// `--name=value` at the top.
    pub options: Vec<(String, String)>,
    /// What happens, in order.
    pub events: Vec<Event>,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Line of the script, from 1.
    pub line: u32,
    /// When.
    pub time: Time,
    /// What.
    pub action: Action,
}

/// A time in microseconds since the first event (absolute) or the event before (relative).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `*`
    Any,
    /// `0.1` or `+.1`; the flag says relative.
    At(i64, bool),
    /// `0.1~0.2` or `+.1~+.2`.
    Range(i64, i64, bool),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `<`: a packet for the stack.
    In(Packet),
    /// `>`: a packet that the stack must send.
    Out(Packet),
    /// A system call; `until` is the time of its return when it blocks (`+0...0.2 accept(...)`), as absolute microseconds or
    /// relative like the event's own time.
    Call {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Vec<Expr>,
        /// What it returns.
        result: Expr,
        /// Name of the errno that is expected.
        errno: Option<String>,
        /// When it returns, if it blocks.
        until: Option<i64>,
    },
    /// `` `command` ``
    Command(String),
    /// `%{ code }%`
    Code(String),
}

/// An argument or result.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `...`
    Ellipsis,
    /// A number, or the names of constants joined by `|`.
    Int(i64),
    /// A name that is no known constant.
    Name(String),
    /// `"text"`
    Text(String),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{a, name=b, name(2)=c}`: members, without name for those that have none.
    Struct(Vec<(String, Expr)>),
    /// `htons(80)`
    Call(String, Vec<Expr>),
}

/// A packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// ECN bits of the IP header; `None` is "not said".
    pub ecn: Option<u8>,
    /// The whole TOS byte.
    pub tos: Option<u8>,
    /// TTL.
    pub ttl: Option<u8>,
    /// `8080 > 32000`
    pub ports: Option<(u16, u16)>,
    /// The rest.
    pub body: Body,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A segment.
    Tcp(Segment),
    /// A datagram of so many bytes.
    Udp(u16),
    /// An ICMP message about a segment that the stack sent.
    Icmp {
        /// Type and code.
        kind: (u8, u8),
        /// MTU of "fragmentation needed".
        mtu: u16,
        /// Sequence number of the segment in question, payload length.
        about: Option<(u32, u16)>,
    },
}

/// A TCP segment; sequence numbers count from the SYN's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// The bits as TCP has them.
    pub flags: u8,
    /// First sequence number.
    pub seq: u32,
    /// Payload, bytes.
    pub len: u32,
    /// Acknowledgment.
    pub ack: Option<u32>,
    /// Window field as it stands in the header.
    pub win: Option<u16>,
    /// Urgent pointer.
    pub urg: Option<u16>,
    /// Options; `None`: `<...>`, any.
    pub options: Option<Vec<Opt>>,
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq)]
pub enum Opt {
    /// `nop`
    Nop,
    /// `eol`
    Eol,
    /// `mss 1460`
    Mss(u16),
    /// `wscale 7`
    Scale(u8),
    /// `sackOK`
    SackOk,
    /// `sack 1:2 3:4`
    Sack(Vec<(u32, u32)>),
    /// `TS val 1 ecr 2`
    Ts(u32, u32),
    /// `FO 1234abcd`, `FOEXP 1234abcd`
    FastOpen(bool, Vec<u8>),
}

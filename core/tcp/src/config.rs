//! Settings of a connection.

use crate::ecn::Ecn;
use iopkt_base::Duration;
use iopkt_wire::tcp::FastOpen;

/// Which congestion controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CcKind {
    /// RFC 9438.
    #[default]
    Cubic,
    /// RFC 5681 with RFC 6582.
    NewReno,
    /// BBR version 3 (draft-ietf-ccwg-bbr).
    Bbr,
}

impl CcKind {
    /// All of them, the default first.
    pub const ALL: [CcKind; 3] = [CcKind::Cubic, CcKind::NewReno, CcKind::Bbr];

    /// The name that TCP_CONGESTION tells.
    pub fn name(self) -> &'static str {
        match self {
            CcKind::Cubic => "cubic",
            CcKind::NewReno => "reno",
            CcKind::Bbr => "bbr",
        }
    }

    /// By a name that TCP_CONGESTION (Linux's names) or `congctl.selected` (NetBSD's) may be given.
    pub fn by_name(name: &[u8]) -> Option<CcKind> {
        match name {
            b"newreno" => Some(CcKind::NewReno),
            _ => CcKind::ALL.into_iter().find(|k| k.name().as_bytes() == name),
        }
    }
}

/// Settings of a connection, taken at its birth from the stack's defaults and the socket's options. The
/// fields that may change later have setters on [`crate::Tcb`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Send buffer limit, bytes.
    pub sndbuf: u32,
    /// Receive buffer limit, bytes.
    pub rcvbuf: u32,
    /// The largest receive buffer that this connection may ever get (auto-tuning, SO_RCVBUF after connect):
    /// decides the window scale, which is fixed in the SYN.
    pub rcvbuf_max: u32,
    /// Most bytes to which the send buffer grows by itself, with the congestion window; 0: it keeps its size.
    pub sndbuf_auto: u32,
    /// Most bytes to which the receive buffer grows by itself, with what is read in a round trip; 0: it keeps its size.
    pub rcvbuf_auto: u32,
    /// MSS to announce: interface MTU less the fixed IP and TCP headers (RFC 6691). Bytes.
    pub mss_in: u16,
    /// Largest MSS towards the peer by the path: path MTU less the fixed IP and TCP headers. Bytes.
    pub mss_path: u16,
    /// Offer window scaling (RFC 7323).
    pub window_scaling: bool,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer SACK (RFC 2018).
    pub sack: bool,
    /// Congestion controller.
    pub cc: CcKind,
    /// Most bytes per second (SO_MAX_PACING_RATE); `u64::MAX` for no limit.
    pub max_pacing: u64,
    /// Initial congestion window in segments (RFC 6928: 10, within its byte limits).
    pub init_cwnd: u8,
    /// Switch Nagle's algorithm off (TCP_NODELAY).
    pub nodelay: bool,
    /// Segments that a super-segment has at least, where data and windows give them (Linux's `tcp_min_tso_segs`).
    pub min_tso: u8,
    /// TCP_CORK.
    pub cork: bool,
    /// Longest delay of an ACK (RFC 9293: under 0.5 s; BSD 0.2 s, Linux 0.04 s).
    pub delack: Duration,
    /// ACKs that are not delayed at the start of a stream and after a pause (Linux: 16): the sender's window is small then,
    /// and each ACK opens it. 0: every ACK may be delayed.
    pub quick_acks: u8,
    /// Send keepalives (SO_KEEPALIVE).
    pub keepalive: bool,
    /// Idle time before the first keepalive (TCP_KEEPIDLE).
    pub keep_idle: Duration,
    /// Time between keepalives (TCP_KEEPINTVL).
    pub keep_interval: Duration,
    /// Unanswered keepalives that end the connection (TCP_KEEPCNT).
    pub keep_count: u8,
    /// User time-out: unacknowledged data older than this ends the connection (TCP_USER_TIMEOUT); zero: by
    /// `retries`.
    pub user_timeout: Duration,
    /// Retransmissions of the same data before giving up (R2; 15 with these time-outs is some 10 minutes).
    pub retries: u8,
    /// Retransmissions of a SYN or SYN-ACK (RFC 9293 asks for at least 3 minutes: 7).
    pub syn_retries: u8,
    /// Smallest retransmission time-out. RFC 6298 says 1 s; 0.2 s is what BSD and Linux use.
    pub rto_min: Duration,
    /// Largest retransmission time-out (RFC 6298: at least 60 s).
    pub rto_max: Duration,
    /// Maximum segment lifetime; TIME-WAIT lasts twice this (RFC 9293: 2 min; BSD 30 s).
    pub msl: Duration,
    /// How long a closed (orphaned) connection may wait in FIN-WAIT-2 for the peer's FIN.
    pub fin_wait2: Duration,
    /// Offset of the timestamp clock (RFC 7323 section 5.4), from [`crate::isn::ts_offset`].
    pub ts_offset: u32,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: Ecn,
    /// SYNs that ask for ECN without an answer before one goes without (NetBSD's `ecn.maxretries`).
    pub ecn_asks: u8,
    /// Largest payload handed out as one super-segment, bytes; 0: never more than one MSS.
    pub tso_max: u32,
    /// Segments without timestamps are taken though both sides agreed on them (against RFC 7323 section 3.2, like Linux).
    pub missing_ts: bool,
    /// What a receiver may keep an ACK for a single segment back: TLP.max_ack_delay of RFC 8985.
    pub ack_delay: Duration,
    /// Window probes carry no byte but an old sequence number, as Linux's do; RFC 9293 section 3.8.6.1 wants one octet.
    pub bare_probes: bool,
    /// A loss reduces the congestion window, as Linux has it, and not what is in flight of it (RFC 5681, RFC 9438 section 4.6).
    pub reduce_cwnd: bool,
    /// Shortest time between two ACKs that answer what is not acceptable (RFC 5961; Linux's `tcp_invalid_ratelimit`).
    pub invalid_pause: Duration,
    /// Path MTU by probing (RFC 8899): 0 never, 1 when segments vanish again and again, 2 from the start.
    pub mtu_probing: u8,
    /// MSS that every path is trusted to carry, bytes: where probing begins.
    pub base_mss: u16,
    /// Fast Open (RFC 7413): the cookie that the SYN carries beside data, or the request for one; at a server what the SYN-ACK
    /// of [`crate::Tcb::accept_fast`] brings.
    pub fast_open: Option<FastOpen>,
    /// The SYN carries data though there is no cookie.
    pub fast_open_bare: bool,
    /// The peer's MSS as an earlier connection learnt it, for data in the SYN; 0: the least that every host takes.
    pub fast_open_mss: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sndbuf: 128 * 1024,
            rcvbuf: 128 * 1024,
            rcvbuf_max: 4 << 20,
            sndbuf_auto: 0,
            rcvbuf_auto: 0,
            mss_in: 1460,
            mss_path: 1460,
            window_scaling: true,
            timestamps: true,
            sack: true,
            // [RFC9293 MAY-18]
            cc: CcKind::Cubic,
            max_pacing: u64::MAX,
            init_cwnd: 10,
            missing_ts: false,
            ack_delay: Duration::from_millis(50),
            bare_probes: false,
            reduce_cwnd: false,
            min_tso: 2,
            nodelay: false,
            cork: false,
            delack: Duration::from_millis(40),
            quick_acks: 16,
            // [RFC9293 MUST-25]
            keepalive: false,
            // [RFC9293 MUST-28]
            keep_idle: Duration::from_secs(7200),
            keep_interval: Duration::from_secs(75),
            keep_count: 8,
            user_timeout: Duration::ZERO,
            // [RFC9293 SHLD-11]
            retries: 15,
            syn_retries: 7,
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(60),
            msl: Duration::from_secs(30),
            fin_wait2: Duration::from_secs(60),
            ts_offset: 0,
            ecn: Ecn::Accept,
            ecn_asks: 1,
            tso_max: 0,
            invalid_pause: Duration::from_millis(500),
            mtu_probing: 0,
            base_mss: 1024,
            fast_open: None,
            fast_open_bare: false,
            fast_open_mss: 0,
        }
    }
}

/// MSS that a peer has when it announces none: RFC 9293 MUST-15 (IPv4; 1220 for IPv6, which `mss_path` of
/// such a path limits anyway).
pub const MSS_DEFAULT: u16 = 536;
/// The least MSS that we cut segments for: what an announcement of nonsense (or an attack, CVE-2019-11479)
/// is raised to.
pub const MSS_MIN: u16 = 48;
/// Largest shift of the window scale option (RFC 7323 section 2.3).
pub const MAX_WSCALE: u8 = 14;

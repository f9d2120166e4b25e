//! The transmission control block: its state, its parts, and what its owner may ask.

use crate::autotune::Auto;
use crate::cc::{Cc, Window};
use crate::chrono::Chrono;
use crate::config::Config;
use crate::ecn::EcnState;
use crate::fastopen::Fast;
use crate::marks::Marks;
use crate::mtu::Mtu;
use crate::outcome::Stats;
use crate::pace::Pace;
use crate::rack::Rack;
use crate::rate::Rate;
use crate::recovery::Recovery;
use crate::recvbuf::{Reassembly, RecvQueue};
use crate::rtt::Rtt;
use crate::scoreboard::Scoreboard;
use crate::sendbuf::SendBuf;
use crate::seq::Seq;
use crate::timers::{Timer, Timers};
use crate::tlp::Tlp;
use alloc::boxed::Box;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_mbuf::Mbuf;

/// Connection states of RFC 9293 section 3.3.2. LISTEN is no state of a [`Tcb`]: a listener has no sequence
/// numbers (see listen.rs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the RFC's names
pub enum State {
    Closed,
    SynSent,
    SynReceived,
    Established,
    CloseWait,
    FinWait1,
    Closing,
    LastAck,
    FinWait2,
    TimeWait,
}

/// Send sequence space (RFC 9293 section 3.3.1).
#[derive(Debug)]
pub(crate) struct Snd {
    /// Oldest unacknowledged.
    pub(crate) una: Seq,
    /// Next to send.
    pub(crate) nxt: Seq,
    /// Highest ever sent, plus one: what an ACK may acknowledge.
    pub(crate) max: Seq,
    /// Peer's window, scaled to bytes.
    pub(crate) wnd: u32,
    /// Largest window the peer ever offered.
    pub(crate) max_wnd: u32,
    pub(crate) wl1: Seq,
    pub(crate) wl2: Seq,
    pub(crate) iss: Seq,
    /// Sequence number of the first byte in the send buffer.
    pub(crate) data: Seq,
    /// Urgent pointer: end of urgent data, when some is unacknowledged.
    pub(crate) up: Option<Seq>,
    /// Shift for the windows that the peer announces.
    pub(crate) scale: u8,
    /// Largest segment less fixed headers, options not yet subtracted.
    pub(crate) mss: u16,
    /// The peer's announced MSS, and the path's.
    pub(crate) mss_peer: u16,
    pub(crate) mss_path: u16,
    /// The program's limit (TCP_MAXSEG).
    pub(crate) mss_user: u16,
    /// No more writes: a FIN follows the data.
    pub(crate) fin: bool,
    /// A SYN or SYN-ACK is to be sent.
    pub(crate) need_syn: bool,
    /// When data (or the SYN) was last sent.
    pub(crate) last: Instant,
    /// End of the last segment that was less than full: Nagle waits for its acknowledgment.
    pub(crate) small: Seq,
    /// The window keeps us from sending: the retransmission timer times probes.
    pub(crate) persist: bool,
    /// The sink had no memory for a segment.
    pub(crate) refused: bool,
    /// Segments of new data went out in this call of output.
    pub(crate) burst: bool,
    /// Where the last retransmission of this call of output ended.
    pub(crate) resent: Seq,
    /// The last write said that more follows: its end is no end of a burst.
    pub(crate) more: bool,
    /// And nothing has come since that pushes what is less than a segment.
    pub(crate) hold: bool,
    /// What is there goes, corked or not.
    pub(crate) flush: bool,
    /// A write found too little room, and there is no good portion of it since.
    pub(crate) starved: bool,
}

/// Receive sequence space.
#[derive(Debug)]
pub(crate) struct Rcv {
    pub(crate) nxt: Seq,
    /// Highest right edge ever announced.
    pub(crate) adv: Seq,
    /// Receive buffer limit, bytes.
    pub(crate) limit: u32,
    /// Bytes still held downstream of the receive queue by the owner.
    pub(crate) held: u32,
    pub(crate) irs: Seq,
    pub(crate) up: Option<Seq>,
    /// Shift for the windows that we announce.
    pub(crate) scale: u8,
    /// MSS that we announced.
    pub(crate) mss: u16,
    /// Payload bytes that came since the last ACK went.
    pub(crate) unacked: u32,
    /// ACKs that still go at once (Linux's quick acknowledgements).
    pub(crate) quick: u8,
    /// What came last ends what the peer had to say for now: PSH, or less than a full segment.
    pub(crate) pushed: bool,
    /// Requests and answers take turns: an answer will carry the ACK.
    pub(crate) talk: bool,
    /// When payload last came ([`Instant::FAR`]: never); when the connection was established.
    pub(crate) data_at: Instant,
    /// A writer waits for the handshake: it will have something to say.
    pub(crate) writer: bool,
    pub(crate) since: Instant,
    /// Largest payload that came: what "every second full segment" means for this peer.
    pub(crate) seg: u32,
    /// Where the peer's FIN is, once seen.
    pub(crate) fin_at: Option<Seq>,
    /// A duplicate to report (RFC 2883), once.
    pub(crate) dsack: Option<(Seq, Seq)>,
    /// Nobody will read: data that comes is answered with RST.
    pub(crate) shut: bool,
    /// The peer's FIN was received and everything before it.
    pub(crate) fin: bool,
    /// When the last segment came.
    pub(crate) last: Instant,
    /// ACK that the last ACK carried (Last.ACK.sent of RFC 7323).
    pub(crate) last_ack: Seq,
}

/// Timestamps option state (RFC 7323).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ts {
    pub(crate) on: bool,
    pub(crate) offset: u32,
    pub(crate) recent: u32,
    pub(crate) recent_at: Instant,
}

/// What is owed to the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owed {
    /// An ACK at once.
    pub(crate) ack: bool,
    /// Further duplicate ACKs for a peer without SACK, which counts them.
    pub(crate) dups: u8,
    /// An RST with this sequence number, the connection staying as it is.
    pub(crate) rst: Option<Seq>,
    /// An RST that ends the connection.
    pub(crate) abort: bool,
    /// A window probe or a keepalive.
    pub(crate) probe: bool,
    pub(crate) keep: bool,
    /// The first retransmission of a recovery goes whatever the window says.
    pub(crate) force_retx: bool,
}

/// Settings in the small form a connection keeps; times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knobs {
    pub(crate) delack: u32,
    pub(crate) keep_idle: u32,
    pub(crate) keep_interval: u32,
    pub(crate) user_timeout: u32,
    pub(crate) msl: u32,
    pub(crate) fin_wait2: u32,
    pub(crate) invalid_pause: u32,
    pub(crate) base_mss: u16,
    pub(crate) mtu_probing: u8,
    pub(crate) tso_max: u32,
    pub(crate) keep_count: u8,
    pub(crate) retries: u8,
    pub(crate) syn_retries: u8,
    pub(crate) init_cwnd: u8,
    pub(crate) keepalive: bool,
    pub(crate) nodelay: bool,
    pub(crate) min_tso: u8,
    pub(crate) cork: bool,
    pub(crate) missing_ts: bool,
    pub(crate) bare_probes: bool,
    pub(crate) reduce_cwnd: bool,
    pub(crate) ack_delay: u16,
    pub(crate) quick_acks: u8,
}

pub(crate) fn ms(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

pub(crate) fn dur(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// One connection. See the crate's documentation for how it is driven.
#[derive(Debug)]
pub struct Tcb {
    pub(crate) state: State,
    pub(crate) snd: Snd,
    pub(crate) rcv: Rcv,
    pub(crate) ts: Ts,
    pub(crate) sack_ok: bool,
    /// Made by an active open (a reset in SYN-RECEIVED then means "refused").
    pub(crate) active: bool,
    /// Its user has closed it: it ends by itself.
    pub(crate) orphan: bool,
    pub(crate) owed: Owed,
    pub(crate) out: SendBuf,
    pub(crate) sent: Scoreboard,
    pub(crate) inq: RecvQueue,
    pub(crate) early: Reassembly,
    pub(crate) rtt: Rtt,
    pub(crate) win: Window,
    pub(crate) cc: Cc,
    pub(crate) auto: Auto,
    pub(crate) rate: Rate,
    pub(crate) chrono: Chrono,
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) rec: Recovery,
    pub(crate) rack: Rack,
    pub(crate) tlp: Tlp,
    pub(crate) ecn: EcnState,
    pub(crate) timers: Timers,
    /// Doublings of the retransmission or probe time-out: undone by a round-trip sample (Karn).
    pub(crate) backoff: u8,
    /// Expiries of that timer in a row without progress.
    pub(crate) tries: u8,
    /// When the present row of expiries began.
    pub(crate) stalled: Instant,
    /// Keepalives unanswered.
    pub(crate) keeps: u8,
    /// Expiries of the probe timer since the peer was last heard.
    pub(crate) silent: u8,
    /// When what is not acceptable was last answered; [`Instant::FAR`]: never.
    pub(crate) challenge_at: Instant,
    pub(crate) knobs: Knobs,
    /// Last error that the network reported and that did not end the connection.
    pub(crate) soft: Option<Errno>,
    /// Window scale and timestamps as offered in our SYN.
    pub(crate) offer: Offer,
    pub(crate) stats: Stats,
    pub(crate) fast: Option<Box<Fast>>,
    pub(crate) mtu: Option<Box<Mtu>>,
    pub(crate) marks: Option<Box<Marks>>,
}

/// What our SYN offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) scaling: bool,
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    /// The peer's SYN had a window scale.
    pub(crate) peer_scaled: bool,
}

/// Smallest shift that lets 16 bits express a buffer of this size.
pub(crate) fn scale_for(rcvbuf: u32) -> u8 {
    // [RFC7323 2.3]
    let mut s = 0;
    while s < crate::config::MAX_WSCALE && (65535u32 << s) < rcvbuf {
        s += 1;
    }
    s
}

impl Tcb {
    pub(crate) fn new(state: State, now: Instant, cfg: &Config, iss: Seq) -> Tcb {
        let mss = cfg.mss_path.max(crate::config::MSS_MIN);
        Tcb {
            state,
            snd: Snd {
                una: iss,
                nxt: iss,
                max: iss,
                wnd: 0,
                max_wnd: 0,
                wl1: Seq(0),
                wl2: Seq(0),
                iss,
                data: iss + 1,
                up: None,
                scale: 0,
                mss,
                mss_peer: u16::MAX,
                mss_path: mss,
                mss_user: u16::MAX,
                fin: false,
                need_syn: true,
                last: now,
                small: iss,
                persist: false,
                refused: false,
                burst: false,
                resent: iss,
                more: false,
                hold: false,
                flush: false,
                starved: false,
            },
            rcv: Rcv {
                nxt: Seq(0),
                adv: Seq(0),
                limit: cfg.rcvbuf,
                held: 0,
                irs: Seq(0),
                up: None,
                scale: if cfg.window_scaling {
                    scale_for(cfg.rcvbuf_max.max(cfg.rcvbuf).max(cfg.rcvbuf_auto))
                } else {
                    0
                },
                mss: cfg.mss_in,
                unacked: 0,
                quick: 0,
                pushed: false,
                talk: false,
                data_at: Instant::FAR,
                writer: false,
                since: now,
                seg: 0,
                fin_at: None,
                dsack: None,
                shut: false,
                fin: false,
                last: now,
                last_ack: Seq(0),
            },
            ts: Ts { on: false, offset: cfg.ts_offset, recent: 0, recent_at: now },
            sack_ok: false,
            active: true,
            orphan: false,
            owed: Owed::default(),
            out: SendBuf::new(cfg.sndbuf as usize),
            sent: Scoreboard::default(),
            inq: RecvQueue::default(),
            early: Reassembly::default(),
            rtt: Rtt::new(cfg.rto_min, cfg.rto_max),
            win: Window::new(u32::from(mss), cfg.init_cwnd),
            cc: Cc::new(cfg.cc, u64::from(iss.0)),
            auto: Auto::new(cfg.sndbuf_auto, cfg.rcvbuf_auto),
            rate: Rate::default(),
            chrono: Chrono::default(),
            pace: (cfg.max_pacing != u64::MAX).then(|| Box::new(Pace::new(cfg.max_pacing))),
            rec: Recovery::default(),
            rack: Rack::default(),
            tlp: Tlp::default(),
            ecn: EcnState::new(cfg.ecn, cfg.ecn_asks),
            timers: Timers::new(),
            backoff: 0,
            tries: 0,
            stalled: now,
            keeps: 0,
            silent: 0,
            challenge_at: Instant::FAR,
            mtu: None,
            marks: None,
            knobs: Knobs {
                delack: ms(cfg.delack),
                keep_idle: ms(cfg.keep_idle),
                keep_interval: ms(cfg.keep_interval),
                user_timeout: ms(cfg.user_timeout),
                msl: ms(cfg.msl),
                fin_wait2: ms(cfg.fin_wait2),
                invalid_pause: ms(cfg.invalid_pause),
                base_mss: cfg.base_mss,
                mtu_probing: cfg.mtu_probing,
                tso_max: cfg.tso_max,
                keep_count: cfg.keep_count,
                retries: cfg.retries,
                syn_retries: cfg.syn_retries,
                init_cwnd: cfg.init_cwnd,
                keepalive: cfg.keepalive,
                nodelay: cfg.nodelay,
                min_tso: cfg.min_tso,
                cork: cfg.cork,
                missing_ts: cfg.missing_ts,
                bare_probes: cfg.bare_probes,
                reduce_cwnd: cfg.reduce_cwnd,
                ack_delay: ms(cfg.ack_delay).min(u32::from(u16::MAX)) as u16,
                quick_acks: cfg.quick_acks,
            },
            soft: None,
            offer: Offer {
                scaling: cfg.window_scaling,
                timestamps: cfg.timestamps,
                sack: cfg.sack,
                peer_scaled: false,
            },
            stats: Stats::default(),
            fast: None,
        }
    }

    /// Retransmissions in a row without an answer.
    pub fn backoff(&self) -> u8 {
        self.backoff
    }

    /// Connection state.
    #[inline]
    pub fn state(&self) -> State {
        self.state
    }

    /// Data can be or could once be transferred: ESTABLISHED or later, not CLOSED.
    pub fn is_synchronized(&self) -> bool {
        self.state >= State::Established
    }

    /// When [`Tcb::tick`] wants to be called next; [`Instant::FAR`] for never.
    #[inline]
    pub fn deadline(&self) -> Instant {
        self.timers.earliest()
    }

    /// Sequence number that follows everything sent so far: a new connection between the same ends must
    /// start above it (RFC 9293 section 3.4.1, RFC 6191).
    pub fn snd_max(&self) -> Seq {
        self.snd.max
    }

    /// Sequence number that is expected next: what begins elsewhere came out of order.
    pub fn rcv_nxt(&self) -> Seq {
        self.rcv.nxt
    }

    /// End of the data in the send buffer.
    #[inline]
    pub(crate) fn data_end(&self) -> Seq {
        self.snd.data + self.out.len() as u32
    }

    /// Our FIN has been sent.
    pub(crate) fn fin_sent(&self) -> bool {
        self.snd.fin && self.snd.max.gt(self.data_end())
    }

    /// Bytes sent and not acknowledged.
    #[inline]
    pub(crate) fn outstanding(&self) -> u32 {
        self.snd.nxt.since(self.snd.una)
    }

    /// Payload bytes of a full segment with the options that every segment carries.
    #[inline]
    pub(crate) fn seg_size(&self) -> u32 {
        // [RFC6691 2]
        u32::from(self.snd.mss) - if self.ts.on { 12 } else { 0 }
    }

    /// Our timestamp clock: ticks of 2^20 ns, about a millisecond.
    #[inline]
    pub(crate) fn ts_now(&self, now: Instant) -> u32 {
        // [RFC7323 5.4]
        ((now.as_nanos() >> 20) as u32).wrapping_add(self.ts.offset)
    }

    /// Room in the receive buffer.
    #[inline]
    pub(crate) fn rcv_free(&self) -> u32 {
        self.rcv.limit.saturating_sub(self.inq.len() as u32).saturating_sub(self.rcv.held)
    }

    pub(crate) fn arm_keepalive(&mut self, now: Instant) {
        if self.knobs.keepalive && self.state >= State::Established && self.state != State::TimeWait {
            self.timers.set(Timer::Keep, now + dur(self.knobs.keep_idle));
        } else {
            self.timers.stop(Timer::Keep);
        }
    }

    /// Ends the connection: queues, timers and memory go; counters stay.
    pub(crate) fn finish(&mut self) {
        self.state = State::Closed;
        self.timers.stop_all();
        self.sent.clear();
        self.early.clear(&mut drop);
        self.out.consume(usize::MAX);
        self.out.shrink();
        self.marks_acked(self.rcv.last.max(self.snd.last), self.snd.una, true);
        self.owed.ack = false;
        self.owed.dups = 0;
        self.snd.need_syn = false;
    }

    /// Drops the in-order data that nobody will read.
    pub(crate) fn discard_input(&mut self, free: &mut impl FnMut(Mbuf)) {
        while let Some(m) = self.inq.pop() {
            free(m);
        }
        self.inq.shrink();
    }
}

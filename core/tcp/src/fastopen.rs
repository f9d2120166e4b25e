//! TCP Fast Open (RFC 7413): data in the SYN, for peers that have shown by a cookie that they get what is sent to them.
//!
//! # Theory of operation
//!
//! *Client.* The SYN carries a cookie that an earlier connection was given, and as much of the send buffer as fits
//! beside the options; or it asks for a cookie. The data counts as sent (SND.MAX) but not as in flight (SND.NXT): the
//! SYN-ACK either acknowledges it, or it goes again behind the handshake like something new. Only the first SYN is
//! different; those after a time-out are plain, since a box on the way may have dropped the first one for what was in it.
//! Whoever keeps cookies asks [`Tcb::fast_open_learned`] when the connection is established.
//!
//! *Server.* [`Tcb::accept_fast`] makes a connection that delivers the SYN's data and sends answers while it is still in
//! SYN-RECEIVED. Until the handshake ends nothing but the SYN-ACK is retransmitted, and a FIN waits. Which cookies are good
//! is the listener's business.

use crate::config::{Config, MSS_DEFAULT};
use crate::outcome::{Outcome, what};
use crate::segment::Segment;
use crate::seq::Seq;
use crate::tcb::{State, Tcb};
use alloc::boxed::Box;
use iopkt_base::Instant;
use iopkt_mbuf::Mbuf;
use iopkt_wire::tcp::{FastOpen, MAX_OPTIONS};

/// Why data in the SYN did not help (Linux's `tcp_fastopen_client_fail`, in TCP_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FastOpenFail {
    /// It did, or none was tried.
    #[default]
    None,
    /// There was no cookie.
    NoCookie,
    /// The peer acknowledged the SYN alone.
    NotAcked,
    /// The SYN had to be sent again, without data.
    SynLost,
}

/// What a finished handshake tells who keeps cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The cookie to use from now on.
    pub cookie: Option<FastOpen>,
    /// MSS that the peer announced.
    pub mss: u16,
    /// The SYN with data (or its answer) was lost, the plain one was not: do without for a while.
    pub dropped: bool,
    /// A cookie was asked for in this form of the option, and none came: the other form may be known.
    pub refused: Option<FastOpen>,
}

/// State of a connection that opens fast; others have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fast {
    /// In the first SYN or SYN-ACK.
    pub(crate) option: Option<FastOpen>,
    /// The SYN may carry data, of segments of this size.
    mss: Option<u16>,
    /// The SYN waits for the first write.
    pub(crate) hold: bool,
    /// Bytes in the SYN.
    pub(crate) sent: u32,
    /// The peer took them (or, at a server, we took the peer's).
    pub(crate) taken: bool,
    pub(crate) fail: FastOpenFail,
    learned: Option<Learned>,
    /// A server's, made by a SYN with a good cookie.
    pub(crate) child: bool,
    /// When the SYN-ACK went: data that follows it must not spoil the first round-trip sample.
    pub(crate) syn_at: Option<Instant>,
}

impl Tcb {
    /// Prepares an active open as [`Config::fast_open`] asks.
    pub(crate) fn fast_open_prepare(&mut self, cfg: &Config) {
        if cfg.fast_open.is_none() && !cfg.fast_open_bare {
            return;
        }
        let data = cfg.fast_open_bare || cfg.fast_open.is_some_and(|f| !f.is_request());
        let mss = match cfg.fast_open_mss {
            // Without a cookie nothing is known of the peer but what the path takes.
            0 if cfg.fast_open_bare => self.snd.mss_path,
            0 => MSS_DEFAULT,
            n => n,
        };
        self.fast = Some(Box::new(Fast {
            option: cfg.fast_open,
            mss: data.then(|| mss.min(self.snd.mss_path)),
            fail: if data { FastOpenFail::None } else { FastOpenFail::NoCookie },
            ..Fast::default()
        }));
    }

    /// The SYN waits until [`Tcb::write`] has given it data (TCP_FASTOPEN_CONNECT); true when it can carry any.
    pub fn hold_syn(&mut self) -> bool {
        match &mut self.fast {
            Some(f) if f.mss.is_some() => {
                f.hold = true;
                true
            }
            _ => false,
        }
    }

    /// Whether the SYN waits for data.
    pub fn syn_is_held(&self) -> bool {
        self.fast.as_ref().is_some_and(|f| f.hold)
    }

    /// The SYN goes with the next output, with the data that there is.
    pub fn release_syn(&mut self) {
        if let Some(f) = &mut self.fast {
            f.hold = false;
        }
    }

    /// Most bytes that the SYN will carry; 0 for none.
    pub fn syn_room(&self) -> usize {
        // [RFC7413 4.2.1a]
        let room =
            self.fast.as_ref().and_then(|f| f.mss).map_or(0, |m| usize::from(m).saturating_sub(MAX_OPTIONS));
        if self.state == State::SynSent && self.tries == 0 { room } else { 0 }
    }

    /// Option and payload length of the SYN or SYN-ACK that goes now.
    pub(crate) fn fast_open_syn(&mut self) -> (Option<FastOpen>, u32) {
        let room = self.syn_room();
        let (len, first) = (self.out.len(), self.tries == 0);
        let opening = self.state == State::SynSent || !self.active;
        let Some(f) = self.fast.as_mut() else { return (None, 0) };
        if !first || !opening {
            // [RFC7413 4.1.3b] [RFC7413 4.2.1c]
            return (None, 0);
        }
        f.sent = len.min(room) as u32;
        (f.option, f.sent)
    }

    /// The peer's SYN-ACK came: what it says about our data and our cookie.
    pub(crate) fn fast_open_answered(&mut self, now: Instant, seg: &Segment, o: &mut Outcome) {
        let (peer, again, first) = (self.snd.mss_peer, self.tries > 0, self.snd.iss + 1);
        let Some(f) = self.fast.as_mut() else { return };
        let data = f.sent > 0;
        let acked = seg.ack.since(first).min(f.sent);
        let cookie = seg.options.fast_open.filter(|c| !c.is_request() && f.option.is_some());
        if data {
            f.taken = acked == f.sent;
            f.fail = match (f.taken, again) {
                (true, _) => FastOpenFail::None,
                (false, true) => FastOpenFail::SynLost,
                (false, false) => FastOpenFail::NotAcked,
            };
        }
        // [RFC7413 4.1.3a] [RFC7413 4.2.1d]
        f.learned = Some(Learned {
            cookie,
            mss: peer,
            dropped: again && cookie.is_none() && data && !f.taken,
            refused: f.option.filter(|c| c.is_request() && cookie.is_none() && !again),
        });
        if acked > 0 {
            // [RFC7413 4.2.1e]
            self.out.consume(acked as usize);
            self.snd.data += acked;
            self.snd.una = first + acked;
            self.marks_acked(now, self.snd.una, false);
            self.snd.nxt = self.snd.nxt.max(self.snd.una);
            self.stats.bytes_acked += u64::from(acked);
            o.what |= what::WRITABLE;
        }
    }

    /// The path does not take the SYN with its data: the next one goes without. False when it had none.
    pub(crate) fn fast_open_too_long(&mut self) -> bool {
        let Some(f) = self.fast.as_mut().filter(|f| f.sent > 0) else { return false };
        (f.mss, f.option) = (None, None);
        true
    }

    /// What the handshake taught about Fast Open, once.
    pub fn fast_open_learned(&mut self) -> Option<Learned> {
        self.fast.as_mut()?.learned.take()
    }

    /// Passive open by a SYN whose cookie is good: its data is delivered at once, and data may be sent before the handshake
    /// ends. The SYN-ACK goes with the next [`Tcb::output`]; with [`Config::fast_open`] it brings a new cookie.
    pub fn accept_fast(
        now: Instant,
        cfg: &Config,
        iss: Seq,
        syn: &Segment,
        mut payload: Mbuf,
    ) -> (Tcb, Outcome) {
        // [RFC7413 4.2.2c]
        let mut t = Tcb::accept(now, cfg, iss, syn);
        let mut o = Outcome { what: what::OUTPUT, ..Outcome::default() };
        let option = cfg.fast_open;
        let room = t.rcv.adv.since(t.rcv.nxt);
        payload.truncate((payload.len()).min(room as usize));
        let n = payload.len() as u32;
        t.fast = Some(Box::new(Fast { option, child: true, taken: n > 0, ..Fast::default() }));
        if n == 0 {
            o.spare = Some(payload);
            return (t, o);
        }
        t.rcv.seg = n.min(u32::from(t.rcv.mss));
        t.rcv.nxt += n;
        t.rcv.last_ack = t.rcv.nxt;
        t.stats.bytes_in += u64::from(n);
        o.what |= what::READABLE;
        o.spare = t.inq.push(payload);
        (t, o)
    }

    /// Puts a cookie into the SYN-ACK of a passive open that is not fast.
    pub fn offer_cookie(&mut self, cookie: FastOpen) {
        // [RFC7413 4.2.2b]
        self.fast = Some(Box::new(Fast { option: Some(cookie), ..Fast::default() }));
    }

    /// Whether it was opened by a SYN with a good cookie, and its handshake has not ended: it can be used already.
    pub fn is_fast_child(&self) -> bool {
        self.state == State::SynReceived && self.fast.as_ref().is_some_and(|f| f.child)
    }

    /// For TCP_INFO: data in the SYN was taken; why not.
    pub(crate) fn fast_open_info(&self) -> (bool, FastOpenFail) {
        self.fast.as_ref().map_or((false, FastOpenFail::None), |f| (f.taken, f.fail))
    }
}

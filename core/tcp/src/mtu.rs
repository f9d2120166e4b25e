//! Path MTU without the network's help (RFC 4821, RFC 8899; Linux's `tcp_mtu_probing`).
//!
//! # Theory of operation
//!
//! A path that drops what is too large and says nothing is a black hole: handshakes and small segments pass, full ones
//! never do. When the same data was retransmitted a few times, and its segments are larger than what every path should
//! carry, the size falls to the base, and by halves from there. Then the size is searched upwards: now and then one segment of
//! new data is larger than the others. If it is acknowledged, that is the new size; if it alone is lost, it goes again in
//! pieces, and the congestion window takes no notice. When the search has ended it begins anew after ten minutes.
//!
//! Sizes are those of an MSS: payload and TCP options.

use crate::config::MSS_MIN;
use crate::recovery::Mode;
use crate::seq::Seq;
use crate::tcb::Tcb;
use alloc::boxed::Box;
use iopkt_base::{Duration, Instant};

/// Retransmissions of the same data that make a path suspect (Linux: `tcp_retries1`).
const SUSPECT: u8 = 3;
/// A search that has come this near to its end is over (Linux: `tcp_probe_threshold`).
const CLOSE: u16 = 8;
/// Time until the next search (RFC 8899 section 5.1.1, Linux's `tcp_probe_interval`).
const AGAIN: Duration = Duration::from_secs(600);
/// Full segments that the window must have room for, so that a lost probe is noticed by what follows it.
const AROUND: u32 = 5;

/// The search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mtu {
    /// A size that is known to pass.
    pub(crate) low: u16,
    /// The largest that may pass.
    high: u16,
    /// The probe under way.
    probe: Option<(Seq, Seq)>,
    size: u16,
    /// When the search ended.
    ended: Option<Instant>,
}

impl Tcb {
    /// The largest MSS that peer, interface and program allow.
    fn mtu_limit(&self) -> u16 {
        self.snd.mss_peer.min(self.snd.mss_path).min(self.snd.mss_user).max(MSS_MIN)
    }

    /// Begins to search, from the base size.
    pub(crate) fn mtu_start(&mut self) {
        let high = self.mtu_limit();
        let low = self.knobs.base_mss.min(high).max(MSS_MIN);
        self.mtu = Some(Box::new(Mtu { low, high, probe: None, size: 0, ended: None }));
        self.apply_mss();
    }

    /// The path's or the peer's limit has changed.
    pub(crate) fn mtu_limited(&mut self) {
        let limit = self.mtu_limit();
        if let Some(m) = &mut self.mtu {
            m.high = m.high.min(limit);
            m.low = m.low.min(limit);
        }
    }

    /// The retransmission timer expired once more: the path may swallow segments of this size.
    pub(crate) fn mtu_suspect(&mut self) {
        let base = self.knobs.base_mss;
        let large = self.sent.front().is_some_and(|s| s.end.since(s.start) > u32::from(MSS_MIN));
        if let Some(m) = &mut self.mtu
            && m.probe.take().is_some()
        {
            // [RFC8899 4.1]
            m.high = (m.size - 1).max(m.low);
        }
        if self.knobs.mtu_probing == 0 || self.tries < SUSPECT || !large {
            return;
        }
        // [RFC8899 3a] [RFC8899 4.3]
        match &mut self.mtu {
            None => {
                if self.seg_size() > u32::from(base) {
                    self.mtu_start();
                    self.stats.black_holes += 1;
                }
            }
            Some(m) if self.snd.mss > m.low => self.apply_mss(),
            Some(m) => {
                // [RFC8899 5.1.2]
                m.high = m.low;
                m.low = (m.low / 2).min(base).max(MSS_MIN);
                m.ended = None;
                self.apply_mss();
            }
        }
    }

    /// Payload bytes of a probe, when one is due and `avail` bytes wait; `options` is the length of the options. 0: wait until the
    /// congestion window has room for it, which ACKs that are under way will make.
    pub(crate) fn mtu_probe(&mut self, now: Instant, avail: u32, options: u32) -> Option<u32> {
        let limit = self.mtu_limit();
        let open = self.rec.mode == Mode::Open && self.sent.sacked() == 0 && !self.tlp.due;
        let (full, flight, wnd) = (self.seg_size(), self.pipe(), self.snd.wnd);
        let window = (self.snd.una + self.snd.wnd).since(self.snd.nxt);
        let cwnd = self.win.cwnd;
        let m = self.mtu.as_mut()?;
        if m.probe.is_some() || !open || self.backoff > 0 {
            return None;
        }
        if m.high - m.low < CLOSE {
            // [RFC8899 5.3]
            let ended = *m.ended.get_or_insert(now);
            if now.since(ended) < AGAIN || limit - m.low < CLOSE {
                return None;
            }
            (m.high, m.ended) = (limit, None);
        }
        // [RFC8899 5.2]
        let size = m.low + (m.high - m.low).div_ceil(2);
        let n = u32::from(size).saturating_sub(options);
        let need = n + AROUND * full;
        if avail < need || wnd < need || cwnd < need {
            return None;
        }
        if window < need {
            // All that the peer allows is in flight; what it acknowledges would go at once.
            return Some(0);
        }
        m.size = size;
        if cwnd.saturating_sub(flight) >= n { Some(n) } else { Some(0) }
    }

    /// The probe went.
    pub(crate) fn mtu_went(&mut self, start: Seq, end: Seq) {
        if let Some(m) = &mut self.mtu {
            m.probe = Some((start, end));
            self.stats.mtu_probes += 1;
        }
    }

    /// Everything below SND.UNA has arrived, perhaps the probe.
    pub(crate) fn mtu_acked(&mut self) {
        let una = self.snd.una;
        let Some(m) = &mut self.mtu else { return };
        if m.probe.is_some_and(|p| p.1.le(una)) {
            m.probe = None;
            m.low = m.size;
            self.apply_mss();
        }
    }

    /// What begins at `start` goes again: if it is the probe, its size is no good.
    pub(crate) fn mtu_repeats(&mut self, start: Seq) {
        if let Some(m) = &mut self.mtu
            && m.probe.is_some_and(|p| p.0 == start)
        {
            m.probe = None;
            m.high = (m.size - 1).max(m.low);
        }
    }

    /// Something was found lost: whether it is the probe and nothing else, which then goes again in pieces.
    pub(crate) fn mtu_lost(&mut self) -> bool {
        let Some((start, end)) = self.mtu.as_ref().and_then(|m| m.probe) else { return false };
        let first = self.sent.next_lost();
        let Some(m) = &mut self.mtu else { return false };
        if first.is_none_or(|f| f.0 != start) {
            return false;
        }
        m.probe = None;
        m.high = (m.size - 1).max(m.low);
        // [RFC8899 4.1]
        let alone = self.sent.lost() <= end.since(start);
        self.owed.force_retx |= alone;
        alone
    }
}

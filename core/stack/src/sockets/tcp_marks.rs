//! What a program hears of its writes: MSG_ZEROCOPY and SO_TIMESTAMPING's SCHED, SND and ACK of a stream, by the error queue
//! (linux/errqueue.h); and what it says with them: MSG_MORE, MSG_EOR.
//!
//! MSG_ZEROCOPY is honoured in its protocol, not in its effect: bytes are always copied, and each note says so
//! (SO_EE_CODE_ZEROCOPY_COPIED), as Linux does where a device cannot take the program's pages.
//!
//! Only owners that hand the error queue of streams on ([`Sockets::hand_messages`]) have this; others refuse the options.

use super::Sockets;
use super::errqueue::{SockErr, origin};
use super::opt_socket::so;
use super::sock::{Body, Sock};
use super::types::{SockId, ev};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use iopkt_base::{Errno, Instant};
use iopkt_tcp::{Note, tell};

/// SO_EE_CODE_ZEROCOPY_COPIED.
const COPIED: u8 = 1;
/// Bits of SO_TIMESTAMPING.
const TX_SOFTWARE: u32 = 1 << 1;
const SOFTWARE: u32 = 1 << 4;
const OPT_ID: u32 = 1 << 7;
const TX_SCHED: u32 = 1 << 8;
const TX_ACK: u32 = 1 << 9;
const OPT_ID_TCP: u32 = 1 << 16;
/// SCM_TSTAMP_SND, SCM_TSTAMP_SCHED, SCM_TSTAMP_ACK.
const SCM: [u32; 3] = [0, 1, 2];
/// A note's key is for MSG_ZEROCOPY, not for timestamps.
const ZEROCOPY: u8 = tell::RELEASED;

/// What a write says besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// MSG_MORE.
    pub more: bool,
    /// MSG_EOR.
    pub eor: bool,
    /// MSG_ZEROCOPY; without SO_ZEROCOPY it says nothing.
    pub zerocopy: bool,
}

impl Sock {
    fn stamps(&self) -> u8 {
        let t = self.opt.stamping;
        let sent = if t & (TX_SOFTWARE | TX_SCHED) != 0 { tell::SENT } else { 0 };
        let acked = if t & TX_ACK != 0 { tell::ACKED } else { 0 };
        if t & SOFTWARE != 0 { sent | acked } else { 0 }
    }

    /// SO_TIMESTAMPING was set: with OPT_ID bytes are counted from here.
    pub(super) fn stamps_begin(&mut self, before: u32) {
        let new = self.opt.stamping & !before & OPT_ID != 0;
        if let (true, Body::Conn(c)) = (new, &self.body) {
            self.tx_base = c.tcb.stream_at(self.opt.stamping & OPT_ID_TCP != 0);
        }
    }
}

impl Sockets {
    /// This owner hands the error queue and the control messages of streams on to programs: TCP_INQ and SO_ZEROCOPY may be
    /// turned on, and writes are reported. Not so at first.
    pub fn hand_messages(&mut self) {
        self.messages = true;
    }

    /// What was said with the write that ends here: call it behind [`Sockets::write`], before the next turn.
    ///
    /// # Errors
    /// ENOBUFS: too many reports wait already; the bytes are taken all the same.
    pub fn written(&mut self, now: Instant, id: SockId, w: Written) -> Result<(), Errno> {
        let messages = self.messages;
        let s = self.table.get_mut(id)?;
        let stamps = if messages { s.stamps() } else { 0 };
        let zero = w.zerocopy && messages && s.opt.so_flags >> so::ZEROCOPY & 1 != 0;
        let ids = s.opt.stamping & OPT_ID != 0;
        let Body::Conn(c) = &mut s.body else { return Ok(()) };
        if w.eor {
            c.tcb.end_record();
        }
        if w.more && !w.eor {
            c.tcb.more_follows();
        }
        let mut fits = true;
        if stamps != 0 {
            let key = c.tcb.stream_at(true).wrapping_sub(s.tx_base).wrapping_sub(1);
            fits &= c.tcb.note(if ids { key } else { 0 }, stamps, now);
        }
        if zero {
            fits &= c.tcb.note(s.zero_next, ZEROCOPY, now);
            s.zero_next = s.zero_next.wrapping_add(1);
        }
        if fits { Ok(()) } else { Err(Errno::ENOBUFS) }
    }

    /// Whether something waits for recvmsg(2) with MSG_ERRQUEUE.
    pub fn has_queued_error(&self, id: SockId) -> bool {
        self.table.get(id).is_ok_and(|s| !s.errors.is_empty())
    }

    /// Moves what the machine tells of writes into the error queue.
    pub(super) fn tell_written(&mut self, slot: u32) {
        if !self.messages {
            return;
        }
        let Some(s) = self.table.at_mut(slot) else { return };
        let mut any = false;
        while let Body::Conn(c) = &mut s.body
            && let Some(n) = c.tcb.take_note()
        {
            s.put_note(n);
            any = true;
        }
        if any {
            self.raise(slot, ev::ERROR);
        }
    }
}

impl Sock {
    fn put_note(&mut self, n: Note) {
        if n.what & ZEROCOPY != 0 {
            return self.put_zerocopy(n.key);
        }
        let t = self.opt.stamping;
        let asked = [TX_SOFTWARE, TX_SCHED, TX_ACK];
        let which: &[usize] = if n.what == tell::ACKED { &[2] } else { &[1, 0] };
        for i in which.iter().filter(|i| t & asked[**i] != 0) {
            let mut e = note(origin::TIMESTAMPING, Errno(42), SCM[*i], n.key);
            e.at = Some(n.at);
            self.queue_error(e);
        }
    }

    /// Numbers that follow each other are one note.
    fn put_zerocopy(&mut self, key: u32) {
        if let Some(last) = self.errors.back_mut()
            && last.origin == origin::ZEROCOPY
            && last.data.wrapping_add(1) == key
        {
            last.data = key;
            return;
        }
        let mut e = note(origin::ZEROCOPY, Errno(0), key, key);
        e.icmp.1 = COPIED;
        self.queue_error(e);
    }
}

fn note(origin: u8, errno: Errno, info: u32, data: u32) -> SockErr {
    SockErr {
        errno,
        origin,
        icmp: (0, 0),
        info,
        data,
        at: None,
        offender: None,
        dst: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        payload: Default::default(),
    }
}

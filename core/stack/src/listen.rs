//! Who else hears frames: stack modules, by Ethernet type.
//!
//! A module asks for a type on one interface or on all; it gets a copy of every frame of that type that the receive
//! filter lets through, link-level header included, in [`crate::Cx::heard`], which the runtime drains
//! after each turn. The stack itself takes such a frame as ever; a type that only a module knows ends with it.

use crate::counters::Why;
use crate::shard::Shard;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result};
use iopkt_mbuf::Mbuf;

/// Most pairs of interface and type that are listened to.
const MAX_LISTENERS: usize = 256;
/// Frames that wait for modules in one turn at most; more are dropped and counted.
const MAX_HEARD: usize = 1024;

/// One wish to hear frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    who: u64,
    /// 0: any.
    ifindex: u32,
    ethertype: u16,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// `who` (a number that the caller chose) wants frames of a type from an interface, 0 for all.
    ///
    /// # Errors
    /// EEXIST when it has this wish already, ENOSPC at the limit.
    pub fn add(&mut self, who: u64, ifindex: u32, ethertype: u16) -> Result<()> {
        let l = Listener { who, ifindex, ethertype };
        if self.0.contains(&l) {
            return Err(Errno::EEXIST);
        }
        if self.0.len() >= MAX_LISTENERS {
            return Err(Errno::ENOSPC);
        }
        self.0.push(l);
        Ok(())
    }

    /// Takes a wish back.
    ///
    /// # Errors
    /// ENOENT without such a wish.
    pub fn remove(&mut self, who: u64, ifindex: u32, ethertype: u16) -> Result<()> {
        let l = Listener { who, ifindex, ethertype };
        let at = self.0.iter().position(|x| *x == l).ok_or(Errno::ENOENT)?;
        self.0.swap_remove(at);
        Ok(())
    }

    /// Takes all wishes of `who` back.
    pub fn remove_all(&mut self, who: u64) {
        self.0.retain(|l| l.who != who);
    }

    /// Nobody listens: the usual case.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who hears frames of this type from this interface, each once.
    fn of(&self, ifindex: u32, ethertype: u16) -> impl Iterator<Item = u64> {
        let hears = move |l: &Listener| l.ethertype == ethertype && (l.ifindex == 0 || l.ifindex == ifindex);
        self.0
            .iter()
            .enumerate()
            .filter(move |(i, l)| hears(l) && !self.0[..*i].iter().any(|x| x.who == l.who && hears(x)))
            .map(|(_, l)| l.who)
    }
}

impl Shard {
    /// Gives a received packet, whose link-level header of `header` bytes has just been trimmed, to those who listen.
    /// `None`: only they know its type, the packet has ended.
    pub(crate) fn overhear(&mut self, ifindex: u32, ty: u16, mut m: Mbuf, header: usize) -> Option<Mbuf> {
        let mut heard = false;
        if m.prepend(header).is_none() {
            return Some(m); // never: it was just trimmed
        }
        let Shard { cx, listeners, .. } = self;
        for who in listeners.of(ifindex, ty) {
            heard = true;
            if cx.heard.len() >= MAX_HEARD {
                cx.counters.dropped(Why::ListenerFull);
            } else if let Some(c) = cx.copy(&m) {
                cx.heard.push_back((who, c));
            } else {
                cx.counters.dropped(Why::NoMemory);
            }
        }
        m.trim_front(header);
        if heard && !self.knows(ty) {
            self.cx.mbufs.free(m); // delivered
            return None;
        }
        Some(m)
    }
}

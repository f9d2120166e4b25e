//! The neighbour cache as it is shown.

use super::{Entry, KEEP, Key, Neighbours, State};
use crate::cx::Cx;
use crate::rtnote::RtNote;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::Instant;
use iopkt_ctl::NdState;

/// One entry, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Interface.
    pub ifindex: u32,
    /// Address.
    pub ip: IpAddr,
    /// Link-level address; `None` while incomplete.
    pub mac: Option<[u8; 6]>,
    /// Never expires.
    pub permanent: bool,
    /// Answered for others.
    pub published: bool,
    /// Only answered for others, not used by this stack (`arp -s ... pub pro`).
    pub proxy: bool,
    /// When it will be forgotten if nobody uses it.
    pub expires: Instant,
    /// Where it stands, in `ndp`'s words.
    pub state: NdState,
    /// When it was heard of last.
    pub confirmed: Instant,
    /// When it was used last.
    pub used: Instant,
    /// Questions that were not answered.
    pub asked: u8,
}

impl Entry {
    fn listed(&self, k: Key) -> Listed {
        Listed {
            ifindex: k.0,
            ip: k.1,
            mac: (self.state != State::Incomplete).then_some(self.mac),
            permanent: self.permanent,
            published: self.published,
            proxy: false,
            expires: if self.permanent { Instant::FAR } else { self.used.max(self.confirmed) + KEEP },
            state: match self.state {
                State::Incomplete => NdState::Incomplete,
                State::Reachable => NdState::Reachable,
                State::Stale => NdState::Stale,
                State::Delay => NdState::Delay,
                State::Probe => NdState::Probe,
            },
            confirmed: self.confirmed,
            used: self.used,
            asked: if matches!(self.state, State::Incomplete | State::Probe) { self.tries } else { 0 },
        }
    }
}

impl Neighbours {
    /// What routing sockets are told of an entry that changed or went.
    pub(crate) fn tell(&self, cx: &mut Cx, key: Key) {
        cx.rt.push(|_| {
            let now = self.map.get(&key).map(|e| e.listed(key));
            RtNote::Neigh { ifindex: key.0, ip: key.1, now }
        });
    }

    /// All entries, in order of interface and address.
    pub fn list(&self) -> Vec<Listed> {
        let mut v: Vec<Listed> = self.map.iter().map(|(k, e)| e.listed(*k)).collect();
        v.extend(self.proxies.iter().map(|(k, mac)| Listed {
            ifindex: k.0,
            ip: k.1,
            mac: Some(*mac),
            permanent: true,
            published: true,
            proxy: true,
            expires: Instant::FAR,
            state: NdState::Stale,
            confirmed: Instant::FAR,
            used: Instant::FAR,
            asked: 0,
        }));
        v.sort_unstable_by_key(|l| (l.ip, l.ifindex, l.proxy));
        v
    }
}

//! The neighbour cache as it is shown.

use super::{KEEP, Neighbours, State};
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
    /// Questions that were not answered.
    pub asked: u8,
}

impl Neighbours {
    /// All entries, in order of interface and address.
    pub fn list(&self) -> Vec<Listed> {
        let mut v: Vec<Listed> = self
            .map
            .iter()
            .map(|(k, e)| Listed {
                ifindex: k.0,
                ip: k.1,
                mac: (e.state != State::Incomplete).then_some(e.mac),
                permanent: e.permanent,
                published: e.published,
                proxy: false,
                expires: if e.permanent { Instant::FAR } else { e.used.max(e.confirmed) + KEEP },
                state: match e.state {
                    State::Incomplete => NdState::Incomplete,
                    State::Reachable => NdState::Reachable,
                    State::Stale => NdState::Stale,
                    State::Delay => NdState::Delay,
                    State::Probe => NdState::Probe,
                },
                confirmed: e.confirmed,
                asked: if matches!(e.state, State::Incomplete | State::Probe) { e.tries } else { 0 },
            })
            .collect();
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
            asked: 0,
        }));
        v.sort_unstable_by_key(|l| (l.ip, l.ifindex, l.proxy));
        v
    }
}

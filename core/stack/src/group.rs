//! What the users of a multicast group hear of it, all together.

use crate::domain::Change;
use crate::net::Net;
use alloc::vec::Vec;
use core::net::IpAddr;

impl Net {
    /// How many users a group has on an interface.
    pub fn group_users(&self, ifindex: u32, group: IpAddr) -> u32 {
        let g = self.iface(ifindex).and_then(|i| i.groups.iter().find(|g| g.0 == group));
        g.map_or(0, |g| g.1)
    }

    /// Which sources of a group the users on an interface hear, all together.
    pub fn group_filter(&self, ifindex: u32, group: IpAddr) -> &GroupFilter {
        let f = self.iface(ifindex).and_then(|i| i.filters.iter().find(|f| f.0 == group));
        f.map_or(const { &GroupFilter::ALL }, |f| &f.1)
    }

    /// Says which sources of a group the users on an interface hear, all together; nothing happens if that is no change, or
    /// if nobody is in the group.
    pub fn filter_group(&mut self, ifindex: u32, group: IpAddr, filter: GroupFilter) {
        if self.group_users(ifindex, group) == 0 || *self.group_filter(ifindex, group) == filter {
            return;
        }
        let Some(i) = self.iface_mut(ifindex) else { return };
        i.filters.retain(|f| f.0 != group);
        if filter != GroupFilter::ALL {
            i.filters.push((group, filter));
        }
        self.changes.push_back(Change::Filtered(ifindex, group));
    }
}

/// A filter of the sources of a multicast group (RFC 3376 section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFilter {
    /// All sources but these are heard; else only these.
    pub exclude: bool,
    /// Sources, each once.
    pub sources: Vec<IpAddr>,
}

impl GroupFilter {
    /// Everybody is heard: EXCLUDE of nobody.
    pub const ALL: GroupFilter = GroupFilter { exclude: true, sources: Vec::new() };
    /// Nobody is: INCLUDE of nobody.
    pub const NONE: GroupFilter = GroupFilter { exclude: false, sources: Vec::new() };

    /// Whether a source is heard.
    pub fn hears(&self, source: IpAddr) -> bool {
        self.exclude != self.sources.contains(&source)
    }

    /// What two users of a group hear together (RFC 3376 section 3.2).
    pub fn and(&self, other: &GroupFilter) -> GroupFilter {
        let (a, b) = (self, other);
        let (exclude, sources): (bool, Vec<IpAddr>) = match (a.exclude, b.exclude) {
            (true, true) => (true, a.sources.iter().filter(|s| b.sources.contains(s)).copied().collect()),
            (true, false) => (true, a.sources.iter().filter(|s| !b.sources.contains(s)).copied().collect()),
            (false, true) => return b.and(a),
            (false, false) => {
                let more = b.sources.iter().filter(|s| !a.sources.contains(s));
                (false, a.sources.iter().chain(more).copied().collect())
            }
        };
        GroupFilter { exclude, sources }
    }
}

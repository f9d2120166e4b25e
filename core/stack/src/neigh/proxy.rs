//! Addresses of others that this host answers for.

use super::{Key, Neighbours};
use core::net::IpAddr;

/// Most entries that are only answered for.
const MAX_PROXIES: usize = 1024;

impl Neighbours {
    /// Answers for another host without using the entry. False at the limit.
    pub fn set_proxy(&mut self, key: Key, mac: [u8; 6]) -> bool {
        let room = self.proxies.len() < MAX_PROXIES || self.proxies.contains_key(&key);
        if room {
            self.proxies.insert(key, mac);
        }
        room
    }

    /// The entries that are only answered for.
    pub fn proxies(&self) -> impl Iterator<Item = &Key> {
        self.proxies.keys()
    }

    /// Removes the entries that are only answered for and for which `f` is true; whether there were any.
    pub fn remove_proxies(&mut self, f: impl Fn(&Key) -> bool) -> bool {
        let before = self.proxies.len();
        self.proxies.retain(|k, _| !f(k));
        self.proxies.len() != before
    }

    /// Link-level address of a published (proxied) entry.
    pub fn published(&self, ifindex: u32, ip: IpAddr) -> Option<[u8; 6]> {
        let both = self.map.get(&(ifindex, ip)).filter(|e| e.published).map(|e| e.mac);
        both.or_else(|| self.proxies.get(&(ifindex, ip)).copied())
    }
}

//! Routes that a router's redirects made: so many at most, each for a time.

use crate::domain::Layers;
use crate::route::Origin;
use alloc::collections::BTreeMap;
use core::net::IpAddr;
use iopkt_base::Instant;

/// Most routes made by redirects, where nothing else is said.
pub const MAX: usize = 256;

/// Routes that redirects made, by destination, with their ends.
#[derive(Default)]
pub struct Redirects {
    until: BTreeMap<IpAddr, Instant>,
}

impl Redirects {
    /// Whether one more for this destination may be kept, of `max` in all.
    pub fn has_room(&self, dst: &IpAddr, max: usize) -> bool {
        self.until.len() < max || self.until.contains_key(dst)
    }

    /// Notes a route until its end.
    pub fn note(&mut self, dst: IpAddr, until: Instant) {
        self.until.insert(dst, until);
    }

    /// When the next one ends.
    pub fn deadline(&self) -> Instant {
        self.until.values().min().copied().unwrap_or(Instant::FAR)
    }

    /// Removes the routes whose time is over.
    pub fn tick(&mut self, l: &mut Layers<'_>) {
        let now = l.cx.now;
        self.until.retain(|dst, at| {
            let keep = *at > now;
            if !keep {
                l.net.remove_routes(l.cx, |r| r.origin == Origin::Redirect && r.dst == *dst);
            }
            keep
        });
    }
}

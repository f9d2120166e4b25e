//! Asking for routers (RFC 4861 section 6.3.7), until one is found (RFC 7559): a lost answer, or a router that starts after us, must not
//! leave a host without one until the next advertisement that nobody asked for, which may be half an hour away or never come.
//!
//! When the link-local address of an interface has become good (so after its link came, too), and when it begins to believe
//! advertisements. The time between two grows from four seconds to an hour, blurred by a tenth. An advertisement of a default
//! router ends it; one with a lifetime of 0 tells prefixes and names, and does not.

use crate::{ALL_ROUTERS, Inet6, Stat6, slaac};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, Rng, zone};
use iopkt_ctl::{AddrState, IfKind};
use iopkt_stack::Layers;
use iopkt_wire::nd::{self, opt};

/// RTR_SOLICITATION_INTERVAL (RFC 4861 section 10): IRT of RFC 7559.
const FIRST: Duration = Duration::from_secs(4);
/// MRT of RFC 7559.
const MOST: Duration = Duration::from_secs(3600);

/// What one interface still asks.
struct One {
    /// RT of RFC 7559: the time after the last one; zero when none was sent.
    rt: Duration,
    next: Instant,
}

/// Interfaces that ask.
#[derive(Default)]
pub(crate) struct Asking(BTreeMap<u32, One>);

impl Asking {
    pub fn deadline(&self) -> Instant {
        self.0.values().map(|a| a.next).min().unwrap_or(Instant::FAR)
    }

    pub fn forget(&mut self, ifindex: u32) {
        self.0.remove(&ifindex);
    }
}

/// The time after a solicitation, from the one before it (RFC 8415 section 15, which RFC 7559 takes over).
fn following(rt: Duration, rng: &mut Rng) -> Duration {
    // [RFC7559 2a]
    let base = if rt == Duration::ZERO { FIRST } else { rt * 2 };
    // RT = 2*RTprev + RAND*RTprev: the blur is a tenth of what was before, except for the first and the longest.
    let (base, of) = match rt {
        Duration::ZERO => (base, base),
        _ if base > MOST => (MOST, MOST),
        _ => (base, rt),
    };
    let tenth = (of.as_millis() / 10) as u32;
    base - Duration::from_millis(tenth.into()) + Duration::from_millis(rng.below(2 * tenth + 1).into())
}

impl Inet6 {
    /// The link-local address of an interface is good: routers may be asked.
    pub(crate) fn solicit_routers(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        // [RFC4861 6.3.7a] [RFC7559 2.1]
        let ethernet = l.net.iface(ifindex).is_some_and(|i| i.kind == IfKind::Ethernet);
        if ethernet && self.accepts(l, ifindex) {
            self.routers.asking.0.insert(ifindex, One { rt: Duration::ZERO, next: l.cx.now });
            self.reckon();
        }
    }

    /// Advertisements are believed from now on where they were not: a router became a host, say (6.3.7).
    pub(crate) fn solicit_all(&mut self, l: &mut Layers<'_>) {
        // [RFC4861 6.3.7e]
        let good = |i: &&iopkt_stack::Interface| {
            i.is_usable()
                && i.addrs.iter().any(|a| slaac::is_link_local(&a.addr) && a.state == AddrState::Valid)
        };
        let all: Vec<u32> = l.net.interfaces().filter(good).map(|i| i.index).collect();
        for i in all {
            self.solicit_routers(l, i);
        }
    }

    /// The link came or went: what was told on it may not hold any more, but it is kept for its time.
    pub(crate) fn routers_link(&mut self, l: &mut Layers<'_>, ifindex: u32, usable: bool) {
        if !usable {
            self.routers.asking.forget(ifindex);
        } else if self.t.dad_count == 0 {
            self.solicit_routers(l, ifindex);
        }
    }

    pub(crate) fn solicit_tick(&mut self, l: &mut Layers<'_>) {
        let now = l.cx.now;
        let due: Vec<u32> = self.routers.asking.0.iter().filter(|a| a.1.next <= now).map(|a| *a.0).collect();
        for ifindex in due {
            if !self.accepts(l, ifindex) {
                self.routers.asking.forget(ifindex);
                continue;
            }
            if let Some(a) = self.routers.asking.0.get_mut(&ifindex) {
                a.rt = following(a.rt, &mut l.cx.rng);
                a.next = now + a.rt;
            }
            self.send_router_solicit(l, ifindex);
        }
    }

    fn send_router_solicit(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        // [RFC4861 6.3.7c] [RFC4429 3.2a]
        let to = zone::embed(ALL_ROUTERS, ifindex);
        let Some(mac) = l.net.iface(ifindex).map(|i| i.mac) else { return };
        let from = l.net.iface(ifindex).and_then(|i| i.addrs.iter().find(|a| slaac::is_link_local(&a.addr)));
        let (from, good) = match from.map(|a| (a.addr, a.state)) {
            Some((IpAddr::V6(a), AddrState::Valid)) => (a, true),
            // From nobody, or from an address that may be another's still: then nothing may be said of who we are (RFC 4429 3.2).
            Some((IpAddr::V6(a), AddrState::Tentative)) if from.is_some_and(|x| x.life.optimistic) => {
                (a, false)
            }
            _ => (Ipv6Addr::UNSPECIFIED, false),
        };
        let mut b = nd::router_solicit();
        if good {
            nd::push_link(&mut b, opt::SOURCE_LINK, mac);
        }
        self.stats.inc(Stat6::RsOut);
        self.nd_send(l, ifindex, from, to, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_grow_to_an_hour_and_are_blurred() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut rt, mut all) = (Duration::ZERO, Vec::new());
            for _ in 0..16 {
                let before = rt;
                rt = following(rt, &mut rng);
                let s = rt.as_millis() as f64 / 1000.0;
                let p = before.as_millis() as f64 / 1000.0;
                let (low, high) = match before {
                    Duration::ZERO => (3.6, 4.4),
                    _ if 2.0 * p > 3600.0 => (3240.0, 3960.0),
                    _ => (1.899 * p, 2.101 * p),
                };
                assert!((low..=high).contains(&s), "{s} after {p}");
                all.push(rt);
            }
            assert!(all[15] > Duration::from_secs(3200));
        }
        let (mut a, mut b) = (Rng::new(1), Rng::new(2));
        assert_ne!(following(FIRST, &mut a), following(FIRST, &mut b));
    }
}

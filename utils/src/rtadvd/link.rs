//! One interface on which we advertise: when the next advertisement is due, what was said, who asked.

use super::conf::{Config, Prefix};
use super::message::{Gone, own};
use iopkt_ctl::{Ifconf, iff, in6};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// RFC 4861 section 10.
const INITIAL: u32 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// MAX_FINAL_RTR_ADVERTISEMENTS: so often is taken back what went (6.2.5).
pub(super) const FINAL: u32 = 3;
/// MIN_DELAY_BETWEEN_RAS: two to everybody.
pub(super) const MIN_DELAY: Duration = Duration::from_secs(3);
/// MAX_RA_DELAY_TIME, milliseconds.
const MAX_RA_DELAY_MS: u32 = 500;
/// Most hosts that wait for an answer of their own; more get one together.
const ASKERS: usize = 16;
/// Differences that are told; more are known by then.
const MAX_TOLD: usize = 64;

/// See the module.
pub(super) struct Link {
    pub name: String,
    pub index: u32,
    pub conf: Config,
    /// When the configuration was read.
    pub since: Instant,
    /// The interface's own networks, unless `-s`.
    pub own: Vec<Prefix>,
    pub gone: Gone,
    /// Advertisements that still take back what went.
    gone_left: u32,
    /// It can be sent on.
    pub up: bool,
    pub sent: u32,
    /// Something was sent at all since the daemon knows it.
    said: bool,
    last: Option<Instant>,
    pub next: Instant,
    /// Who asked, and when the answer is due.
    askers: Vec<(Instant, Ipv6Addr)>,
    /// Differences of other routers that were told.
    told: BTreeSet<String>,
    /// Solicitations heard, advertisements of others heard.
    pub heard: (u64, u64),
}

/// The link-local address that is good to speak from.
pub(super) fn source(i: &Ifconf) -> Option<IpAddr> {
    let usable = |a: &&iopkt_ctl::AddrInfo| {
        matches!(a.addr, IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80)
            && i.life(&a.addr).is_none_or(|f| f.flags & (in6::TENTATIVE | in6::DUPLICATED) == 0)
    };
    i.addrs.iter().find(usable).map(|a| a.addr)
}

impl Link {
    pub fn new(name: &str, conf: Config, now: Instant) -> Link {
        Link {
            name: name.into(),
            index: 0,
            conf,
            since: now,
            own: Vec::new(),
            gone: Gone::default(),
            gone_left: 0,
            up: false,
            sent: 0,
            said: false,
            last: None,
            next: now,
            askers: Vec::new(),
            told: BTreeSet::new(),
            heard: (0, 0),
        }
    }

    /// As soon as may be: two to everybody are three seconds apart.
    pub fn hurry(&mut self, at: Instant) {
        let least = self.last.map_or(at, |t| at.max(t + MIN_DELAY));
        self.next = self.next.min(least);
    }

    /// How the interface is now; `None`: it is not there. Whether it can be sent on changed.
    pub fn look(&mut self, i: Option<&Ifconf>, fixed: bool, now: Instant) -> bool {
        let was = self.up;
        self.up = i.is_some_and(|i| i.flags & iff::UP != 0 && source(i).is_some());
        if let Some(i) = i.filter(|_| self.up) {
            if !was {
                // It becomes an advertising interface: the first ones come soon (6.2.4).
                (self.sent, self.last, self.next) = (0, None, now);
            }
            let list = if fixed { Vec::new() } else { own(i, &self.conf) };
            let key = |l: &[Prefix]| l.iter().map(|p| (p.addr, p.plen)).collect::<Vec<_>>();
            let changed = self.said && key(&list) != key(&self.own);
            let old = std::mem::replace(&mut self.own, list);
            if changed {
                let gone = Gone::between(&self.conf, &old, &self.conf, &self.own);
                self.take_back(gone, now);
            }
        }
        was != self.up
    }

    /// The configuration is another one.
    pub fn reconfigure(&mut self, conf: Config, i: Option<&Ifconf>, fixed: bool, now: Instant) {
        let list = if fixed { Vec::new() } else { i.map_or_else(Vec::new, |i| own(i, &conf)) };
        let gone = Gone::between(&self.conf, &self.own, &conf, &list);
        if conf != self.conf {
            self.told.clear();
        }
        (self.conf, self.own, self.since) = (conf, list, now);
        self.take_back(gone, now);
    }

    fn take_back(&mut self, gone: Gone, now: Instant) {
        self.gone.add(gone, &self.conf, &self.own);
        self.gone_left = FINAL;
        self.hurry(now);
    }

    /// An advertisement to everybody went, or could not go: when the next one does.
    pub fn went(&mut self, now: Instant, random: &mut dyn FnMut(u32) -> u32) {
        // [RFC4861 6.2.4]
        (self.sent, self.said, self.last) = (self.sent + 1, true, Some(now));
        let (least, most) = (self.conf.min * 1000, self.conf.max * 1000);
        let spread = Duration::from_millis((least + random(most - least + 1)).into());
        let most = if self.sent < INITIAL { INITIAL_INTERVAL } else { Duration::MAX };
        self.next = now + spread.min(most).max(MIN_DELAY);
        self.gone_left = self.gone_left.saturating_sub(1);
        if self.gone_left == 0 {
            self.gone = Gone::default();
        } else if !self.gone.is_empty() {
            self.next = now + MIN_DELAY;
        }
        // They heard it, too.
        self.askers.clear();
    }

    /// Somebody asks (6.2.6): who has an address gets an answer of its own, others one for all. None waits longer than for the next
    /// advertisement that is due anyway.
    pub fn asked(&mut self, from: Ipv6Addr, now: Instant, random: &mut dyn FnMut(u32) -> u32) {
        // [RFC4861 6.2.6a]
        self.heard.0 += 1;
        let soon = now + Duration::from_millis(random(MAX_RA_DELAY_MS).into());
        if self.next <= soon || self.askers.iter().any(|a| a.1 == from) {
            return;
        }
        if from.is_unspecified() || self.askers.len() >= ASKERS {
            return self.hurry(soon);
        }
        self.askers.push((soon, from));
    }

    /// Who gets an answer now.
    pub fn answers(&mut self, now: Instant) -> Vec<Ipv6Addr> {
        let due = self.askers.extract_if(.., |a| a.0 <= now);
        due.map(|a| a.1).collect()
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Instant {
        self.askers.iter().map(|a| a.0).min().map_or(self.next, |t| t.min(self.next))
    }

    /// Whether a difference is new.
    pub fn is_news(&mut self, line: &str) -> bool {
        self.told.len() < MAX_TOLD && self.told.insert(line.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conf::parse;
    use super::*;

    #[test]
    fn the_first_come_soon_and_never_two_at_once() {
        // [RFC4861 6.2.4]
        let t = Instant::now();
        let mut l = Link::new("wm0", parse("", "wm0").expect("good"), t);
        l.look(Some(&crate::ifconfig::tests::wm0()), false, t);
        for n in 0..5 {
            l.went(t, &mut |n| n - 1);
            let wait = l.next - t;
            assert_eq!(wait.as_secs(), if n < 2 { 16 } else { 600 }, "{n}");
        }
        // Whoever asks without an address makes the next one come, three seconds after the last one at the earliest.
        l.asked(Ipv6Addr::UNSPECIFIED, t, &mut |_| 0);
        assert_eq!(l.next - t, MIN_DELAY);
    }

    #[test]
    fn who_has_an_address_is_answered_alone_and_a_flood_together() {
        // [RFC4861 6.2.6a]
        let t = Instant::now();
        let mut l = Link::new("wm0", parse("", "wm0").expect("good"), t);
        l.went(t, &mut |_| 0);
        let a: Ipv6Addr = "fe80::1".parse().expect("address");
        for _ in 0..3 {
            l.asked(a, t, &mut |_| 10);
        }
        assert_eq!(l.deadline() - t, Duration::from_millis(10));
        assert_eq!((l.answers(t), l.answers(t + MIN_DELAY)), (vec![], vec![a]));
        for n in 0..100u128 {
            l.asked(Ipv6Addr::from(u128::from(a) + n), t, &mut |_| 10);
        }
        assert_eq!((l.askers.len(), l.next - t), (ASKERS, MIN_DELAY));
        l.went(t, &mut |_| 0);
        assert_eq!(l.askers.len(), 0);
    }

    #[test]
    fn what_goes_is_taken_back_three_times() {
        let t = Instant::now();
        let i = crate::ifconfig::tests::wm0();
        let of = |text: &str| parse(text, "wm0").expect("good");
        let mut l = Link::new("wm0", of("wm0:addr=\"2001:db8:1::\":"), t);
        l.went(t, &mut |n| n - 1);
        l.reconfigure(of("wm0:addr=\"2001:db8:2::\":"), Some(&i), false, t);
        assert_eq!((l.gone.prefixes.len(), l.next - t), (1, MIN_DELAY));
        for n in 0..FINAL {
            assert_eq!(l.gone.prefixes.len(), 1, "{n}");
            l.went(t, &mut |n| n - 1);
        }
        assert!(l.gone.is_empty());
        assert_eq!((l.next - t).as_secs(), 600);
    }
}

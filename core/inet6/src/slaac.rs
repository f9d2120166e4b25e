//! Addresses that the stack makes itself: link-local ones and those of advertised prefixes (RFC 4862 section 5.3 and 5.5, RFC 8981).
//!
//! Interface identifiers are made of the link-level address (RFC 4291 appendix A), as BSD does, or, where
//! `net.inet6.ip6.stable_secret` is set, of a key, the link-level address and the prefix: the same in one network, and saying nothing
//! in another (RFC 7217). Temporary ones are random; the old one is deprecated when the new one is made. One of ours that turns out
//! to be a duplicate is replaced, three times at most, unless it is made of the link-level address.

use crate::Inet6;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::AddrState;
use iopkt_stack::{IfAddr, Layers, Life, prefix};
use iopkt_wire::nd::{INFINITE, Prefix};

/// An advertisement may not shorten what is left of an address below this (RFC 4862 5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(7200);
/// An address that is a duplicate is replaced this often (RFC 7217 IDGEN_RETRIES, RFC 8981 TEMP_IDGEN_RETRIES).
const RETRIES: u8 = 3;

/// Most addresses of which is remembered that they took the place of duplicates.
const MAX_MADE: usize = 256;

/// Interface, first half, whether it is temporary: what addresses that replace duplicates are counted by.
pub(crate) type Made = (u32, u64, bool);

pub(crate) fn is_link_local(a: &IpAddr) -> bool {
    matches!(a, IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80)
}

/// The interface identifier of an Ethernet address: modified EUI-64.
pub(crate) fn eui64(mac: [u8; 6]) -> [u8; 8] {
    [mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]]
}

/// The first 64 bits of `prefix` with `id` behind them.
fn join(prefix: Ipv6Addr, id: [u8; 8]) -> Ipv6Addr {
    let high = u128::from(prefix) >> 64 << 64;
    Ipv6Addr::from(high | u128::from(u64::from_be_bytes(id)))
}

/// The end of a lifetime.
fn until(now: Instant, secs: u32) -> Instant {
    if secs == INFINITE { Instant::FAR } else { now + Duration::from_secs(secs.into()) }
}

impl Inet6 {
    /// The link-local address that every interface has.
    pub(crate) fn add_link_local(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        // [RFC4862 5.3] [RFC4429 3.1] [RFC7217 5c]
        let Some(mac) = l.net.iface(ifindex).map(|i| i.mac) else { return };
        let net = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
        let a = zone::embed(join(net, self.identifier(l, ifindex, mac, net)), ifindex);
        let life = Life { optimistic: self.t.optimistic, ..Life::default() };
        let _ = l.net.add_addr(l.cx, ifindex, auto(a, life));
    }

    /// The identifier of an interface in a network.
    fn identifier(&self, l: &Layers<'_>, ifindex: u32, mac: [u8; 6], net: Ipv6Addr) -> [u8; 8] {
        // [RFC7217 5a] [RFC7217 5b] [RFC7217 5d]
        let Some(key) = &self.stable else { return eui64(mac) };
        let high = (u128::from(net) >> 64) as u64;
        let mut n = self.tries.get(&(ifindex, high, false)).copied().unwrap_or(0);
        let name = l.net.ifname(ifindex).unwrap_or_default();
        loop {
            let h = key.hash(&[b"stable", &high.to_be_bytes(), &mac, name.as_bytes(), &[n]]);
            if !reserved(h) {
                return h.to_be_bytes();
            }
            n = n.wrapping_add(1);
        }
    }

    /// An address that was made here is somebody else's: another one takes its place, if there is another.
    pub(crate) fn another(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv6Addr) {
        // [RFC7217 6a] [RFC7217 6b] [RFC8981 3.4c]
        let Some(i) = l.net.iface(ifindex) else { return };
        let mac = i.mac;
        let Some(life) = i.addrs.iter().find(|x| x.addr == a).map(|x| x.life) else { return };
        let wire = zone::strip(a);
        let high = (u128::from(wire) >> 64) as u64;
        let stable = self.stable.is_some()
            && (life.autoconf || slaac_made(&wire))
            && wire == join(wire, self.identifier(l, ifindex, mac, wire));
        if !(stable || life.temporary) {
            return;
        }
        let made = (ifindex, high, life.temporary);
        let n = self.tries.get(&made).copied().unwrap_or(0);
        if n >= RETRIES || n == 0 && self.tries.len() >= MAX_MADE {
            return;
        }
        self.tries.insert(made, n + 1);
        let _ = l.net.del_addr(l.cx, ifindex, a.into());
        let id = if life.temporary { random(l) } else { self.identifier(l, ifindex, mac, wire) };
        let new = join(wire, id);
        let new = if slaac_made(&wire) { zone::embed(new, ifindex) } else { new };
        let _ = l.net.add_addr(l.cx, ifindex, auto(new, life));
    }

    /// Whether an address takes the place of a duplicate.
    pub(crate) fn is_another(&self, ifindex: u32, a: Ipv6Addr) -> bool {
        let high = (u128::from(zone::strip(a)) >> 64) as u64;
        [false, true].iter().any(|t| self.tries.get(&(ifindex, high, *t)).is_some_and(|n| *n > 0))
    }

    /// Whether an address is the link-local one that follows from the interface's link-level address.
    pub(crate) fn is_of_hardware(&self, l: &Layers<'_>, ifindex: u32, a: Ipv6Addr) -> bool {
        let wire = zone::strip(a);
        slaac_made(&wire) && l.net.iface(ifindex).is_some_and(|i| wire == join(wire, eui64(i.mac)))
    }

    /// A prefix that addresses may be made of (RFC 4862 5.5.3).
    pub(crate) fn autoconf(&mut self, l: &mut Layers<'_>, ifindex: u32, p: &Prefix) {
        // [RFC4862 5.5.3b] [RFC4862 5.5.3c] [RFC4862 5.5.3d] [RFC4862 5.5.3e1] [RFC4862 5.5.3e2] [RFC4862 5.5.3e3]
        // [RFC4862 5.5.3e4] [RFC8981 3.4a] [RFC8981 3.4b] [RFC8981 3.4d] [RFC8981 3.7a]
        if p.plen != 64 || p.preferred > p.valid || is_link_local(&p.prefix.into()) || p.prefix.is_multicast()
        {
            return;
        }
        let now = l.cx.now;
        let (valid, preferred) = (until(now, p.valid), until(now, p.preferred));
        let Some(i) = l.net.iface_mut(ifindex) else { return };
        let mac = i.mac;
        let (mut any, mut temporary, mut count) = (false, false, 0);
        let mut told = alloc::vec::Vec::new();
        for a in i.addrs.iter_mut().filter(|a| a.life.autoconf) {
            count += 1;
            if !prefix::contains(p.prefix.into(), 64, a.addr) {
                continue;
            }
            any = true;
            told.push(a.addr);
            let left = a.life.valid.since(now);
            // (e): longer than two hours, or longer than what is left: as said; else not below two hours.
            if valid.since(now) > TWO_HOURS || valid > a.life.valid {
                a.life.valid = valid.min(a.life.longest.1);
            } else if left > TWO_HOURS {
                a.life.valid = now + TWO_HOURS;
            }
            a.life.preferred = preferred.min(a.life.longest.0);
            // One that has a successor stays deprecated.
            let replaced = a.life.temporary && a.life.deprecated;
            a.life.deprecated = replaced || a.life.preferred <= now;
            temporary |= a.life.temporary && !a.life.deprecated;
        }
        for a in told {
            l.net.tell_life(l.cx, ifindex, a);
        }
        if p.valid == 0 || count + 2 > self.t.maxifprefixes as usize {
            return;
        }
        if !any {
            let deprecated = p.preferred == 0;
            let optimistic = self.t.optimistic;
            let life = Life { autoconf: true, preferred, valid, deprecated, optimistic, ..Life::default() };
            let id = self.identifier(l, ifindex, mac, p.prefix);
            let _ = l.net.add_addr(l.cx, ifindex, auto(join(p.prefix, id), life));
        }
        if self.t.use_tempaddr && !temporary && preferred.since(now) > self.regen(ifindex) {
            self.add_temporary(l, ifindex, p.prefix, preferred, valid);
        }
    }

    /// A new temporary address is made this long before the old one is deprecated: REGEN_ADVANCE, 2 s and what detection may take
    /// (RFC 8981 3.8).
    fn regen(&self, ifindex: u32) -> Duration {
        // A router may say hours: no detection is waited for that long.
        let retrans = self.ifs.get(&ifindex).copied().unwrap_or_default().retrans.min(10_000);
        let detection = Duration::from_millis(u64::from(retrans) * u64::from(self.t.dad_count));
        Duration::from_secs(2) + detection * u32::from(RETRIES)
    }

    fn add_temporary(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        net: Ipv6Addr,
        preferred: Instant,
        valid: Instant,
    ) -> bool {
        let now = l.cx.now;
        // Desynchronised, so that a network's hosts do not all change at once (RFC 8981 3.8: up to 0.4 of the time).
        let whole = self.t.temppltime;
        let less = Duration::from_secs(l.cx.rng.below((whole / 10 * 4).max(1)).into());
        let most = Duration::from_secs(whole.into()).saturating_sub(less);
        let longest = (now + most, now + Duration::from_secs(self.t.tempvltime.into()));
        // One that would be due at once is not made (RFC 8981 3.4, 4).
        if preferred.min(longest.0).since(now) <= self.regen(ifindex) {
            return false;
        }
        let life = Life {
            autoconf: true,
            temporary: true,
            preferred: preferred.min(longest.0),
            valid: valid.min(longest.1),
            longest,
            optimistic: self.t.optimistic,
            ..Life::default()
        };
        let id = random(l);
        l.net.add_addr(l.cx, ifindex, auto(join(net, id), life)).is_ok()
    }

    /// Ends what is over; returns when the next thing is. `now` is in `l.cx`.
    pub(crate) fn age_addresses(&mut self, l: &mut Layers<'_>) -> Instant {
        // [RFC4862 5.5.4b] [RFC4862 5.5.4c] [RFC8981 3.5]
        let now = l.cx.now;
        let (mut gone, mut renew) = (alloc::vec::Vec::new(), alloc::vec::Vec::new());
        let mut aged = alloc::vec::Vec::new();
        let mut next = Instant::FAR;
        for i in l.net.interfaces_mut() {
            let index = i.index;
            let regen = self.regen(index);
            for a in i
                .addrs
                .iter_mut()
                .filter(|a| a.life.valid != Instant::FAR || a.life.preferred != Instant::FAR)
            {
                if a.life.valid <= now {
                    gone.push((index, a.addr));
                    continue;
                }
                next = next.min(a.life.valid);
                let renewed = a.life.temporary && !a.life.deprecated && a.life.valid > now + regen + regen;
                let turn = if renewed { before(a.life.preferred, regen) } else { a.life.preferred };
                if turn <= now {
                    if renewed && a.life.preferred > now {
                        renew.push((index, a.addr));
                    }
                    if !core::mem::replace(&mut a.life.deprecated, true) {
                        aged.push((index, a.addr));
                    }
                } else {
                    next = next.min(turn);
                }
            }
        }
        for (i, a) in aged {
            l.net.tell_life(l.cx, i, a);
        }
        for (i, a) in gone {
            let _ = l.net.del_addr(l.cx, i, a);
        }
        for (i, a) in renew {
            let IpAddr::V6(a) = a else { continue };
            // As long as the prefix's own address is preferred, the prefix is.
            let same =
                |x: &&IfAddr| x.life.autoconf && !x.life.temporary && prefix::contains(a.into(), 64, x.addr);
            let of = l.net.iface(i).and_then(|f| f.addrs.iter().find(same)).map(|x| x.life);
            let regen = self.regen(i);
            let of = of.filter(|p| self.t.use_tempaddr && p.preferred > now + regen);
            if of.is_some_and(|p| self.add_temporary(l, i, a, p.preferred, p.valid)) {
                next = now;
            }
        }
        next
    }
}

/// The link-local network of an address that every interface has.
fn slaac_made(a: &Ipv6Addr) -> bool {
    is_link_local(&IpAddr::V6(*a))
}

/// Identifiers that have a meaning (RFC 5453): all zeros, the subnet anycast ones, and those of IANA's own addresses.
fn reserved(id: u64) -> bool {
    // [RFC7217 5f]
    id == 0 || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&id) || id >> 24 == 0x02_005e_fffe
}

/// An identifier that says nothing.
fn random(l: &mut Layers<'_>) -> [u8; 8] {
    // [RFC8981 3.3]
    loop {
        let id = l.cx.rng.next_u64();
        if !reserved(id) {
            return id.to_be_bytes();
        }
    }
}

fn before(t: Instant, d: Duration) -> Instant {
    if t == Instant::FAR { t } else { Instant::from_nanos(t.as_nanos().saturating_sub(d.as_nanos() as u64)) }
}

fn auto(a: Ipv6Addr, life: Life) -> IfAddr {
    IfAddr { addr: a.into(), plen: 64, broadcast: None, peer: None, state: AddrState::Valid, life }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_with_a_meaning_are_not_made() {
        // [RFC7217 5f] [RFC8981 3.3]
        let kept =
            [0, 0xfdff_ffff_ffff_ff80, 0xfdff_ffff_ffff_ffff, 0x0200_5eff_fe00_0000, 0x0200_5eff_fe00_5213];
        assert!(kept.into_iter().all(reserved));
        assert!(
            ![1, 0xfdff_ffff_ffff_ff7f, 0x0200_5eff_fdff_ffff, 0x0200_5eff_ff00_0000]
                .into_iter()
                .any(reserved)
        );
    }
}

//! What holds on one interface: the flags that `ndp -i` sets, and what routers say of the link (RFC 4861 6.3.2).
//!
//! Advertisements are believed where the interface's `accept_rtadv` is set and either `net.inet6.ip6.accept_rtadv` or the interface's
//! `override_rtadv`; a router believes them only with the latter. An interface that is `disabled` neither takes nor sends packets of IPv6.

use crate::{Inet6, slaac};
use iopkt_base::Duration;
use iopkt_ctl::{IfKind, nd6};
use iopkt_stack::Layers;
use iopkt_stack::neigh::{NdTimes, REACHABLE, RETRY};
use iopkt_wire::nd::RouterAdvert;

/// What a router may ask for, milliseconds: below, questions become a flood (Linux's least too); above, nobody is ever missed
/// (RFC 4861 6.2.1: MAX_REACHABLE_TIME).
pub(crate) const MIN_MS: u32 = 100;
pub(crate) const MAX_MS: u32 = 3_600_000;

/// Neighbour Discovery on an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NdIf {
    /// Milliseconds from which the reachable time is drawn.
    pub base: u32,
    /// Milliseconds that a neighbour counts as reachable.
    pub reachable: u32,
    /// Milliseconds between solicitations.
    pub retrans: u32,
    /// Hop limit that routers ask for, 0 for none.
    pub hop_limit: u8,
    /// Advertisements that were believed.
    pub adverts: u64,
}

impl Default for NdIf {
    fn default() -> NdIf {
        let reachable = REACHABLE.as_millis() as u32;
        NdIf { base: reachable, reachable, retrans: RETRY.as_millis() as u32, hop_limit: 0, adverts: 0 }
    }
}

impl Inet6 {
    /// The flags of an interface that arrives.
    pub(crate) fn first_flags(&self) -> u32 {
        let auto = if self.t.auto_linklocal { nd6::AUTO_LINKLOCAL } else { 0 };
        nd6::NUD | nd6::ACCEPT_RTADV | auto
    }

    /// Whether advertisements are believed there.
    pub(crate) fn accepts(&self, l: &Layers<'_>, ifindex: u32) -> bool {
        let f = l.net.iface(ifindex).map_or(0, |i| i.nd6);
        let believed = self.t.accept_rtadv && !self.t.forwarding;
        f & nd6::ACCEPT_RTADV != 0 && (believed || f & nd6::OVERRIDE_RTADV != 0)
    }

    /// What a router says of the link's times; 0 says nothing.
    pub(crate) fn link_times(&mut self, l: &mut Layers<'_>, ifindex: u32, ra: &RouterAdvert) {
        // [RFC4861 6.3.4a]
        let s = self.ifs.entry(ifindex).or_default();
        s.adverts += 1;
        let other_hops =
            ra.hop_limit != 0 && core::mem::replace(&mut s.hop_limit, ra.hop_limit) != ra.hop_limit;
        let said = |v: u32| (v != 0).then(|| v.clamp(MIN_MS, MAX_MS));
        let before = (s.base, s.retrans);
        if let Some(r) = said(ra.retrans) {
            s.retrans = r;
        }
        if let Some(b) = said(ra.reachable) {
            s.base = b;
        }
        if before != (s.base, s.retrans) {
            self.set_times(l, ifindex);
        }
        if other_hops {
            self.set_hops(l);
        }
    }

    /// Hops of what is sent without saying: what routers ask for on that link (RFC 4861 6.3.4), else `net.inet6.ip6.hlim`.
    pub(crate) fn set_hops(&self, l: &mut Layers<'_>) {
        // [RFC4861 6.3.4c]
        for i in l.net.interfaces_mut() {
            let asked = self.ifs.get(&i.index).map_or(0, |s| s.hop_limit);
            i.hops.1 = if asked == 0 { self.t.hlim } else { asked };
        }
    }

    /// Tells the neighbour cache; the reachable time of a link that a router has set is drawn anew (RFC 4861 6.3.2: from half to one and
    /// a half of the base), the usual one is not random.
    pub(crate) fn set_times(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        // [RFC4861 6.3.2]
        let nud = l.net.iface(ifindex).is_some_and(|i| i.nd6 & nd6::NUD != 0);
        let s = self.ifs.entry(ifindex).or_default();
        let usual = NdIf::default();
        s.reachable = if (s.base, s.retrans) == (usual.base, usual.retrans) {
            usual.reachable
        } else {
            s.base / 2 + l.cx.rng.below(s.base.max(1))
        };
        let ms = |v: u32| Duration::from_millis(v.into());
        let times = NdTimes {
            reachable: ms(s.reachable),
            retry: ms(s.retrans),
            nud,
            delay: Duration::from_secs(self.t.nd6_delay.into()),
            tries: (self.t.nd6_umaxtries as u8, self.t.nd6_mmaxtries as u8),
        };
        l.net.neigh.set_times(ifindex, times);
    }

    /// Flags were changed by hand.
    pub(crate) fn set_flags(&mut self, l: &mut Layers<'_>, ifindex: u32, set: u32, clear: u32) {
        let Some(i) = l.net.iface_mut(ifindex) else { return };
        let old = i.nd6;
        i.nd6 = (old & !clear) | set;
        let (now, usable, ethernet) = (i.nd6, i.is_usable(), i.kind == IfKind::Ethernet);
        let has = i.addrs.iter().any(|a| slaac::is_link_local(&a.addr));
        if now & nd6::DISABLED != 0 {
            self.disabled.insert(ifindex);
        } else {
            self.disabled.remove(&ifindex);
        }
        if (old ^ now) & nd6::NUD != 0 {
            self.set_times(l, ifindex);
        }
        if now & !old & nd6::AUTO_LINKLOCAL != 0 && usable && ethernet && !has {
            self.add_link_local(l, ifindex);
        }
        if now & !old & (nd6::ACCEPT_RTADV | nd6::OVERRIDE_RTADV) != 0 && usable {
            self.solicit_routers(l, ifindex);
        }
    }
}

//! Redirects (RFC 4861 section 8): a better first hop for one destination. Believed only from the router in use for it, with hop limit
//! 255; a route that came of one ends after `net.inet6.icmp6.redirtimeout` seconds.

use crate::input::Packet;
use crate::nd::HOPS;
use crate::{Inet6, Stat6, slaac};
use core::net::IpAddr;
use iopkt_base::{Duration, zone};
use iopkt_ctl::rtf;
use iopkt_mbuf::Mbuf;
use iopkt_stack::route::{Origin, Route};
use iopkt_stack::{HopKind, Layers, RtKind};
use iopkt_wire::icmp6::{HEADER_LEN, Header};
use iopkt_wire::nd::{self, Opt};

impl Inet6 {
    /// A redirect. False when it is none to be believed.
    pub(crate) fn redirect_input(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        h: &Header,
        hl: usize,
        m: &Mbuf,
    ) -> bool {
        // [RFC4861 8.1] [RFC4861 8.2c] [RFC4861 8.3a]
        let ifindex = m.ifindex();
        let body = &m.as_slice()[hl + HEADER_LEN..];
        let parsed = nd::target(body).and_then(|(t, rest)| Some((t, nd::target(rest)?)));
        let good = p.h.hop_limit == HOPS
            && h.code == 0
            && slaac::is_link_local(&p.src.into())
            && self.t.rediraccept
            && !self.t.forwarding;
        let Some((target, (dst, options))) = parsed.filter(|_| good) else {
            self.stats.inc(Stat6::BadRedirect);
            return false;
        };
        let Ok(options) = nd::options(options).collect::<Result<alloc::vec::Vec<_>, ()>>() else {
            self.stats.inc(Stat6::NdBadOptions);
            self.stats.inc(Stat6::BadRedirect);
            return false;
        };
        let (target, dst) = (zone::embed(target, ifindex), zone::embed(dst, ifindex));
        let on_link = target == dst;
        let from_first_hop = l.net.hop(dst.into(), 0, false).is_ok_and(|hop| {
            hop.kind == HopKind::Unicast && hop.ifindex == ifindex && hop.next == IpAddr::V6(p.src)
        });
        let fits = !dst.is_multicast() && (on_link || slaac::is_link_local(&target.into())) && from_first_hop;
        if !fits || !self.redirects.has_room(&dst.into(), self.t.maxdynroutes as usize) {
            self.stats.inc(Stat6::BadRedirect);
            return false;
        }
        for o in &options {
            if let Opt::TargetLink(mac) = o
                && mac[0] & 1 == 0
            {
                let got = l.net.neigh.heard(l.cx, ifindex, target.into(), *mac);
                self.learned(l, ifindex, target, *mac, got);
            }
        }
        l.net.routes.remove_if(|r| r.origin == Origin::Redirect && r.dst == dst);
        let mut r = Route::on_link(dst.into(), 128, ifindex, None, Origin::Redirect);
        r.flags |= rtf::DYNAMIC;
        if !on_link {
            r.gateway = Some(target.into());
            r.flags |= rtf::GATEWAY;
        }
        let until = l.cx.now + Duration::from_secs(self.t.redirtimeout.into());
        r.expires = until;
        if l.net.routes.add(r.clone()).is_ok() {
            l.net.tell_route(l.cx, RtKind::Redirect, &r, Some(p.src.into()));
            self.redirects.note(dst.into(), until);
            self.reckon();
        }
        true
    }
}

//! Configuration requests about the ARP table and the domain's variables.

use crate::Inet;
use core::net::IpAddr;
use iopkt_base::Errno;
use iopkt_ctl::{ArpEntry, IfKind, Reply, Request};
use iopkt_stack::variables::Variables;
use iopkt_stack::{HopKind, Layers, Why};

impl Inet {
    pub(crate) fn ctl_request(&mut self, l: &mut Layers<'_>, r: &Request) -> Option<Reply> {
        match r {
            Request::Arp => Some(Reply::Arp(list(l))),
            Request::AddArp(e) => Some(self.add_arp(l, e)),
            Request::DelArp { ip, ifname, proxy } => {
                Some(del_arp(l, ip.map(IpAddr::V4), ifname.as_deref(), *proxy))
            }
            Request::Sysctl { name, value } => {
                let was = self.t.ttl;
                let r = self.t.sysctl(name, value.as_deref());
                if self.t.ttl != was {
                    l.net.interfaces_mut().for_each(|i| i.hops.0 = self.t.ttl);
                }
                r
            }
            _ => None,
        }
    }

    fn add_arp(&mut self, l: &mut Layers<'_>, e: &ArpEntry) -> Reply {
        let Some(mac) = e.mac else { return Reply::err(Errno::EINVAL) };
        let ip = IpAddr::V4(e.ip);
        let ifindex = match &e.ifname {
            Some(n) => l.net.ifindex_of(n),
            None => match l.net.hop(ip, 0, true) {
                Ok(h) if h.kind == HopKind::Unicast => h.ifindex,
                _ => return Reply::why(Errno::ENETUNREACH, "the address is on no network of an interface"),
            },
        };
        let Some(i) = l.net.iface(ifindex) else { return Reply::err(Errno::ENXIO) };
        if i.kind != IfKind::Ethernet || mac[0] & 1 != 0 || l.net.is_local(ip, 0) {
            return Reply::err(Errno::EINVAL);
        }
        if e.proxy {
            return match l.net.neigh.set_proxy((ifindex, ip), mac) {
                true => Reply::Ok,
                false => Reply::why(Errno::ENOBUFS, "the table of proxies is full"),
            };
        }
        match l.net.neigh.set(l.cx, (ifindex, ip), mac, e.permanent, e.published) {
            Some(got) => {
                for m in got.held {
                    self.ether_output(l, ifindex, mac, m);
                }
                Reply::Ok
            }
            None => Reply::why(Errno::ENOBUFS, "the ARP table is full"),
        }
    }
}

fn list(l: &Layers<'_>) -> alloc::vec::Vec<ArpEntry> {
    let now = l.cx.now;
    l.net
        .neigh
        .list()
        .into_iter()
        .filter_map(|n| {
            let IpAddr::V4(ip) = n.ip else { return None };
            Some(ArpEntry {
                ip,
                mac: n.mac,
                ifname: l.net.ifname(n.ifindex).map(Into::into),
                permanent: n.permanent,
                published: n.published,
                proxy: n.proxy,
                expires: (!n.permanent).then(|| n.expires.since(now).as_secs() as u32),
            })
        })
        .collect()
}

fn del_arp(l: &mut Layers<'_>, ip: Option<IpAddr>, ifname: Option<&str>, proxy: bool) -> Reply {
    let named = ifname.map(|n| l.net.ifindex_of(n));
    if named == Some(0) {
        return Reply::err(Errno::ENXIO);
    }
    let fits =
        |k: &(u32, IpAddr)| k.1.is_ipv4() && ip.is_none_or(|x| x == k.1) && named.is_none_or(|n| n == k.0);
    let before = l.net.neigh.len();
    let mut any = l.net.neigh.remove_proxies(fits);
    if !proxy {
        l.net.neigh.remove_if(l.cx, Why::NoNeighbour, |k, _| fits(k));
        any |= l.net.neigh.len() != before;
    }
    if ip.is_some() && !any {
        return Reply::why(Errno::ESRCH, "no entry");
    }
    Reply::Ok
}

//! Configuration requests that are the shard's: the way in.

use crate::cx::Cx;
use crate::domain::Layers;
use crate::packet::Family;
use crate::shard::Shard;
use crate::sockets::Sockets;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use iopkt_base::{Errno, zone};
use iopkt_ctl::{Counter, GroupInfo, ProtoStats, Reply, Request, shared, shared_name};

/// Entries in one page of a listing: about 100 bytes each, so that a page fits a message.
pub(crate) const PAGE: usize = 256;

/// The interface that is the zone of an address, by number.
fn scope(a: &SocketAddr) -> Option<u32> {
    match a {
        SocketAddr::V6(a) if a.scope_id() != 0 => Some(a.scope_id()),
        _ => None,
    }
}

impl Shard {
    /// Answers a configuration request; `None` for one that the runtime must answer (loading, drivers, the
    /// process as a whole). Whether the caller may change anything is the server's matter.
    pub fn ctl(&mut self, r: &Request) -> Option<Reply> {
        let reply = self.answer(r);
        self.tell_changes();
        reply
    }

    fn answer(&mut self, r: &Request) -> Option<Reply> {
        match r {
            Request::Interfaces { .. }
            | Request::SetFlags { .. }
            | Request::AddAddr { .. }
            | Request::DelAddr { .. }
            | Request::SetMtu { .. }
            | Request::SetMetric { .. }
            | Request::SetCaps { .. }
            | Request::SetMedia { .. }
            | Request::ZeroCounters { .. } => Some(self.ctl_interface(r)),
            Request::Cloners => Some(Reply::Names(CLONERS.iter().map(|c| c.to_string()).collect())),
            Request::Create { name } => Some(self.create(name)),
            Request::Destroy { name } => self.destroy(name),
            Request::Routes { .. }
            | Request::AddRoute(_)
            | Request::ChangeRoute(_)
            | Request::DelRoute(_)
            | Request::GetRoute { .. }
            | Request::FlushRoutes => Some(self.ctl_route(r)),
            Request::Sockets { cursor } => {
                let (mut list, next) = self.sockets.list(*cursor, PAGE);
                for s in &mut list {
                    let zone = scope(&s.local).or_else(|| s.remote.as_ref().and_then(scope));
                    s.zone = zone.and_then(|z| self.net.ifname(z)).map(Into::into);
                }
                Some(Reply::Sockets { list, next })
            }
            Request::Stats => Some(Reply::Stats(self.stats())),
            // The runtime's: it knows whether and how they change.
            Request::Sysctl { name, value: Some(_) } if self.cx.cfg.host.iter().any(|v| v.0 == *name) => None,
            Request::Sysctl { name, value } => Some(self.sysctl(name, value.as_deref())),
            Request::Groups => Some(Reply::Groups(self.groups())),
            Request::Arp | Request::AddArp(_) | Request::DelArp { .. } | Request::Nd(_) => {
                let none =
                    || Reply::why(Errno::EAFNOSUPPORT, "this variant does not speak the address family");
                Some(self.ask_domains(r).unwrap_or_else(none))
            }
            Request::Stack
            | Request::NicInfo { .. }
            | Request::Load { .. }
            | Request::Unload { .. }
            | Request::Loaded
            | Request::Shutdown => None,
        }
    }

    /// The first domain's answer.
    pub(crate) fn ask_domains(&mut self, r: &Request) -> Option<Reply> {
        let Shard { cx, net, sockets, domains, .. } = self;
        domains.iter_mut().find_map(|d| d.ctl(&mut Layers { cx, net, sockets }, r))
    }

    fn create(&mut self, name: &str) -> Reply {
        match crate::iface::Interface::split_name(name) {
            Some(("lo", _)) => match self.net.create_lo(&mut self.cx, name) {
                Ok(_) => Reply::Names(alloc::vec![name.to_string()]),
                Err(e) => Reply::err(e),
            },
            Some((prefix, _)) if crate::tun::Node::of(prefix).is_some() => match self.create_node(name) {
                Ok(_) => Reply::Names(alloc::vec![name.to_string()]),
                Err(e) => Reply::err(e),
            },
            _ => Reply::why(
                Errno::EINVAL,
                format!("{name}: no cloner makes such an interface; this stack has: {}", CLONERS.join(" ")),
            ),
        }
    }

    /// Pseudo-interfaces are removed here; those of drivers are the runtime's, which unloads the object.
    fn destroy(&mut self, name: &str) -> Option<Reply> {
        let i = self.net.ifindex_of(name);
        let Some(ifc) = self.net.iface(i) else { return Some(Reply::err(Errno::ENXIO)) };
        if !ifc.driver.is_empty() {
            return None;
        }
        Some(match self.detach(i) {
            Ok(()) => Reply::Ok,
            Err(Errno::EPERM) => {
                Reply::why(Errno::EPERM, "lo0 is a part of the stack and cannot be destroyed")
            }
            Err(e) => Reply::err(e),
        })
    }

    fn groups(&self) -> Vec<GroupInfo> {
        self.net
            .interfaces()
            .flat_map(|i| {
                i.groups.iter().map(|(group, refs)| {
                    let filter = self.net.group_filter(i.index, *group);
                    GroupInfo {
                        ifname: i.name.clone(),
                        group: zone::strip_ip(*group),
                        refs: *refs,
                        exclude: filter.exclude,
                        sources: filter.sources.iter().map(|s| zone::strip_ip(*s)).collect(),
                    }
                })
            })
            .collect()
    }

    /// Counters in netstat's order: IP, ICMP, IGMP, then the sockets' (TCP, UDP), ARP, drop reasons, memory.
    fn stats(&mut self) -> ProtoStats {
        let mut all = self.cx.counters.report();
        // What a family counts itself stands behind what all count.
        let Shard { cx, net, sockets, domains, .. } = self;
        let six = domains.iter().any(|d| d.family() == Family::V6);
        for d in domains.iter_mut() {
            if let Some(Reply::Stats(s)) = d.ctl(&mut Layers { cx, net, sockets }, &Request::Stats) {
                all.extend(s.counters);
            }
        }
        let (tail, mut counters): (Vec<Counter>, Vec<Counter>) =
            all.into_iter().partition(|c| c.group == "arp" || c.group == "drop");
        counters.extend(self.sockets.stats().into_iter().filter(|c| six || !c.group.ends_with('6')));
        counters.extend(tail);
        let s = self.cx.mbufs.pool().stats();
        let mut mbuf = |text: &str, value: u64| {
            counters.push(Counter { group: "mbuf".into(), text: text.into(), value });
        };
        mbuf("{} mbuf clusters allocated", s.clusters as u64);
        mbuf("{} mbuf clusters in use or cached", s.out as u64);
        mbuf("{} bytes in large buffers", s.big_bytes as u64);
        mbuf("{} requests for memory denied", s.denied);
        mbuf("{} packets waiting for address resolution", self.net.neigh.held() as u64);
        ProtoStats { counters }
    }

    /// A variable of the runtime's has this value now.
    pub fn set_host_variable(&mut self, name: &str, value: String) {
        let host = &mut self.cx.cfg.host;
        match host.iter_mut().find(|v| v.0 == name) {
            Some(v) => v.1 = value,
            None => host.push((name.to_string(), value)),
        }
    }

    fn sysctl(&mut self, name: &str, value: Option<&str>) -> Reply {
        let six = self.has_family(Family::V6);
        if let Some(v) = shared(name).filter(|_| six) {
            // IPv6's name for what both versions share.
            return match self.sysctl(v.name, value) {
                Reply::Sysctl(l) => {
                    Reply::Sysctl(l.into_iter().map(|(_, v)| (name.to_string(), v)).collect())
                }
                r => r,
            };
        }
        if !name.is_empty() {
            if let Some(v) = self.cx.cfg.host.iter().find(|v| v.0 == name) {
                return Reply::Sysctl(alloc::vec![v.clone()]);
            }
            if let Some(r) = self.own_sysctl(name, value) {
                return r;
            }
            let r = Request::Sysctl { name: name.to_string(), value: value.map(String::from) };
            return self.ask_domains(&r).unwrap_or_else(|| {
                Reply::why(Errno::ENOENT, format!("{name}: this stack has no such variable"))
            });
        }
        let mut list = Vec::new();
        let ask = Request::Sysctl { name: String::new(), value: None };
        let Shard { cx, net, sockets, domains, .. } = self;
        for d in domains.iter_mut() {
            if let Some(Reply::Sysctl(l)) = d.ctl(&mut Layers { cx, net, sockets }, &ask) {
                list.extend(l);
            }
        }
        let own = OWN.iter().chain(Sockets::tunables()).chain(crate::sysctl::NAMES);
        for n in own.chain(crate::congctl::NAMES).filter(|n| six || !n.starts_with("net.inet6")) {
            if let Some(Reply::Sysctl(l)) = self.own_sysctl(n, None) {
                list.extend(l);
            }
        }
        list.extend(self.cx.cfg.host.iter().cloned());
        if six {
            let twice = |(n, v): &(String, String)| Some((shared_name(n)?, v.clone()));
            let more: Vec<_> = list.iter().filter_map(twice).collect();
            list.extend(more);
        }
        list.sort();
        Reply::Sysctl(list)
    }

    /// Variables of the shard itself.
    fn own_sysctl(&mut self, name: &str, value: Option<&str>) -> Option<Reply> {
        if let Some(r) = self.shard_sysctl(name, value).or_else(|| self.congctl(name, value)) {
            return Some(r);
        }
        let (first, last) = self.sockets.port_range();
        let now = match name {
            "net.inet.ip.anonportmin" => u64::from(first),
            "net.inet.ip.anonportmax" => u64::from(last),
            "kern.somaxconn" => u64::from(self.cx.cfg.somaxconn),
            _ => u64::from(self.sockets.tunable(name)?),
        };
        let Some(v) = value else {
            return Some(Reply::Sysctl(alloc::vec![(name.to_string(), now.to_string())]));
        };
        let bad = || Some(Reply::why(Errno::EINVAL, format!("{name}: {v} is not a value for it")));
        let Ok(v) = v.trim().parse::<u32>() else { return bad() };
        let ok = match name {
            "net.inet.ip.anonportmin" => u16::try_from(v).is_ok_and(|v| self.sockets.set_port_range(v, last)),
            "net.inet.ip.anonportmax" => {
                u16::try_from(v).is_ok_and(|v| self.sockets.set_port_range(first, v))
            }
            "kern.somaxconn" => set_somaxconn(&mut self.cx, v),
            _ => self.sockets.set_tunable(name, v),
        };
        if ok { Some(Reply::Ok) } else { bad() }
    }
}

/// Kinds of interfaces that `ifconfig NAME create` makes.
const CLONERS: &[&str] = &["lo", "tap", "tun"];

const OWN: &[&str] = &["net.inet.ip.anonportmin", "net.inet.ip.anonportmax", "kern.somaxconn"];

fn set_somaxconn(cx: &mut Cx, v: u32) -> bool {
    let ok = (128..=65_535).contains(&v);
    if ok {
        cx.cfg.somaxconn = v;
    }
    ok
}

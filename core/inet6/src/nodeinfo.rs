//! Node information (RFC 4620): answers with the host's name and addresses to who asks on the link or by name.
//!
//! `net.inet6.icmp6.nodeinfo` says what is answered: bit 1 the name, bit 2 the addresses (NetBSD's default is 1). The name is
//! `kern.hostname`. While names are answered, interfaces listen to the two groups that a name hashes to. Answers count against
//! `net.inet6.icmp6.errppslimit`, and only who asks about us is answered: by an address or the name of ours.

use crate::{Inet6, errors, slaac};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Instant, zone};
use iopkt_ctl::{AddrState, IfKind};
use iopkt_mbuf::Mbuf;
use iopkt_stack::{IfAddr, IpInfo, Layers, Why};
use iopkt_wire::icmp6::{Header, ty};
use iopkt_wire::nodeinfo::{self, Message, code, flag, qtype, subject};

/// Bits of `net.inet6.icmp6.nodeinfo`.
const NAMES: u32 = 1;
const ADDRESSES: u32 = 2;
const GLOBAL_OK: u32 = 8;

/// Most bytes of an answer: it fits the smallest MTU.
const ROOM: usize = 1232 - nodeinfo::HEADER_LEN;

/// The name whose groups are listened to.
#[derive(Default)]
pub(crate) struct NodeInfo {
    listens: Option<String>,
}

impl Inet6 {
    fn hostname<'a>(l: &'a Layers<'_>) -> Option<&'a str> {
        let v = l.cx.cfg.host.iter().find(|v| v.0 == "kern.hostname")?;
        Some(v.1.as_str()).filter(|n| !n.is_empty())
    }

    /// Joins the groups of the name that the host has now and leaves those of the old one.
    pub(crate) fn name_groups(&mut self, l: &mut Layers<'_>) {
        let now = Self::hostname(l).filter(|_| self.t.nodeinfo & NAMES != 0);
        if now == self.nodeinfo.listens.as_deref() {
            return;
        }
        let now = now.map(String::from);
        let old = core::mem::replace(&mut self.nodeinfo.listens, now.clone());
        let on: Vec<u32> =
            l.net.interfaces().filter(|i| i.kind == IfKind::Ethernet).map(|i| i.index).collect();
        for i in on {
            for (host, join) in [(&old, false), (&now, true)] {
                if let Some(host) = host {
                    name_groups_on(l, i, host, join);
                }
            }
        }
    }

    /// An interface arrives.
    pub(crate) fn name_groups_of(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        if let Some(host) = &self.nodeinfo.listens
            && l.net.iface(ifindex).is_some_and(|i| i.kind == IfKind::Ethernet)
        {
            name_groups_on(l, ifindex, host, true);
        }
    }

    /// Answers a query, or ends it.
    pub(crate) fn node_query(&mut self, l: &mut Layers<'_>, info: &IpInfo, m: Mbuf) {
        let answer = Message::parse(&m.as_slice()[usize::from(info.hdr_len)..])
            .filter(|q| self.may_know(l, info) && self.asks_for_us(l, info, q))
            .and_then(|q| self.answer(l, info.ifindex, &q));
        l.cx.drop(m, Why::Handled);
        let (Some(mut b), IpAddr::V6(to)) = (answer, info.src) else { return };
        if to.is_unspecified() || !self.limit.allow(l.cx.now, self.t.errppslimit) {
            return;
        }
        let from = if info.multicast { l.net.source_for(info.ifindex, info.src) } else { Some(info.dst) };
        let Some(IpAddr::V6(from)) = from else { return };
        let Some(h) = Header::parse_unchecked(&b) else { return };
        h.emit(&mut b, zone::strip(from), zone::strip(to));
        let Some(r) = l.cx.mbufs.copy_of(&b) else { return };
        self.stats.inc(crate::Stat6::IcmpReflected);
        errors::send(l.cx, from, to, l.net.default_hops(info.ifindex, false), 0, r);
    }

    /// Whether somebody may know anything: those of the link, unless the variable lets everybody; and never by a group that reaches
    /// further than the link (RFC 4620 sections 5 and 7).
    fn may_know(&self, l: &Layers<'_>, info: &IpInfo) -> bool {
        let wide = matches!(info.dst, IpAddr::V6(d) if d.is_multicast() && d.segments()[0] & 15 != 2);
        let near = crate::slaac::is_link_local(&info.src) || l.net.is_local(info.src, 0);
        self.t.nodeinfo & 3 != 0 && !wide && (near || self.t.nodeinfo & GLOBAL_OK != 0)
    }

    /// Whether the subject is this host (RFC 4620 section 5). One without a subject is KAME's older form.
    fn asks_for_us(&self, l: &Layers<'_>, info: &IpInfo, q: &Message<'_>) -> bool {
        match q.code {
            subject::IPV6 => match q.data.first_chunk::<16>().filter(|_| q.data.len() == 16) {
                // To a group of the link, the subject says who is meant: the group itself, or an address.
                Some(a) => {
                    let a = IpAddr::V6(zone::embed(Ipv6Addr::from(*a), info.ifindex));
                    a == info.dst || l.net.is_local(a, 0)
                }
                None => q.data.is_empty() && q.qtype == qtype::NOOP,
            },
            subject::NAME if q.data.is_empty() => true,
            subject::NAME => {
                let same = |n: &str| {
                    let whole = nodeinfo::name(n).is_some_and(|n| n.eq_ignore_ascii_case(q.data));
                    let first = n.split('.').next().and_then(nodeinfo::name);
                    whole || first.is_some_and(|n| n.eq_ignore_ascii_case(q.data))
                };
                Self::hostname(l).is_some_and(same)
            }
            _ => false,
        }
    }

    fn answer(&self, l: &Layers<'_>, ifindex: u32, q: &Message<'_>) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        let (mut how, mut flags) = (code::GOOD, 0);
        match q.qtype {
            qtype::NOOP => {}
            // A bit for each type that is answered.
            qtype::SUPPORTED => data.extend(0b1111u32.to_be_bytes()),
            qtype::NAME if self.t.nodeinfo & NAMES != 0 => {
                let host = Self::hostname(l)?;
                // The lifetime, which nobody knows.
                data.extend([0; 4]);
                if q.code == subject::NAME && q.data.is_empty() {
                    data.push(host.len().min(255) as u8);
                    data.extend(host.bytes().take(255));
                } else {
                    data.extend(nodeinfo::name(host)?);
                }
            }
            qtype::ADDRESSES if self.t.nodeinfo & ADDRESSES != 0 => {
                flags = q.flags & !flag::TRUNCATED;
                for (ttl, a) in self.node_addresses(l, ifindex, q.flags) {
                    if data.len() + 20 > ROOM {
                        flags |= flag::TRUNCATED;
                        break;
                    }
                    data.extend(ttl.to_be_bytes());
                    data.extend(zone::strip(a).octets());
                }
            }
            qtype::NAME | qtype::ADDRESSES => how = code::REFUSED,
            _ => how = code::UNKNOWN,
        }
        let r = Message { ty: ty::NODE_REPLY, code: how, qtype: q.qtype, flags, nonce: q.nonce, data: &data };
        Some(r.emit())
    }

    /// The addresses that are asked for, with the seconds that they are valid still; preferred ones first.
    fn node_addresses(&self, l: &Layers<'_>, ifindex: u32, flags: u16) -> Vec<(u32, Ipv6Addr)> {
        let now = l.cx.now;
        let wanted = |a: &IfAddr, x: Ipv6Addr| {
            let scope = if slaac::is_link_local(&a.addr) {
                flag::LINK_LOCAL
            } else if x.segments()[0] & 0xffc0 == 0xfec0 {
                flag::SITE_LOCAL
            } else {
                flag::GLOBAL
            };
            a.state == AddrState::Valid
                && !x.is_loopback()
                && flags & scope != 0
                && a.life.anycast == (flags & flag::ANYCAST != 0)
        };
        let of = |a: &IfAddr| match a.addr {
            IpAddr::V6(x) if wanted(a, x) => {
                let ttl = if a.life.valid == Instant::FAR {
                    u32::MAX
                } else {
                    a.life.valid.since(now).as_secs().min(u64::from(u32::MAX)) as u32
                };
                Some((a.life.deprecated, ttl, x))
            }
            _ => None,
        };
        let all = flags & flag::ALL != 0;
        let mut v: Vec<(bool, u32, Ipv6Addr)> = l
            .net
            .interfaces()
            .filter(|i| i.is_up() && (all || i.index == ifindex))
            .flat_map(|i| i.addrs.iter().filter_map(of).collect::<Vec<_>>())
            .collect();
        v.sort_by_key(|x| x.0);
        v.into_iter().map(|(_, ttl, a)| (ttl, a)).collect()
    }
}

fn name_groups_on(l: &mut Layers<'_>, ifindex: u32, host: &str, join: bool) {
    for g in [nodeinfo::group(host, false), nodeinfo::group(host, true)].into_iter().flatten() {
        let g = IpAddr::V6(zone::embed(g, ifindex));
        if join {
            // Without them, queries to the group are not heard; those to the address are.
            let _ = l.net.join_group(l.cx, ifindex, g);
        } else {
            l.net.leave_group(l.cx, ifindex, g);
        }
    }
}

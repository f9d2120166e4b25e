//! `route monitor`: what happens to interfaces, addresses and routes, as BSD prints it.

use crate::conn::Conn;
use crate::names::Names;
use crate::tool::{Failure, Outcome, print};
use iopkt_base::zone;
use iopkt_client::RouteSocket;
use iopkt_client::rtmsg::{LINK_STATE_DOWN, LINK_STATE_UP, RtBody, RtMsg, Sa, rta, rtm};
use iopkt_ctl::{iff, in6, rtf};
use std::fmt::Write;
use std::io::ErrorKind;
use std::net::IpAddr;

/// Names of the bits of `addrs`.
const ADDRS: &[(u32, &str)] = &[
    (rta::DST, "DST"),
    (rta::GATEWAY, "GATEWAY"),
    (rta::NETMASK, "NETMASK"),
    (rta::GENMASK, "GENMASK"),
    (rta::IFP, "IFP"),
    (rta::IFA, "IFA"),
    (rta::AUTHOR, "AUTHOR"),
    (rta::BRD, "BRD"),
];
/// Names of metrics.
const METRICS: &[(u32, &str)] = &[(1, "mtu")];

/// Prints messages until the stack ends.
///
/// # Errors
/// No stack.
pub fn run(names: &Names, json: bool) -> Outcome {
    let conn = Conn::open().map_err(Failure::new)?;
    let mut s =
        RouteSocket::open(conn.session()).map_err(|e| Failure::new(format!("routing socket: {e}")))?;
    loop {
        match s.recv() {
            Ok(m) if json => print(&format!("{}\n", as_json(&m)))?,
            Ok(m) => {
                let now = now();
                print(&format!(
                    "got message of size {} on {now}\n{}",
                    m.encode().bytes().len(),
                    text(&m, names)
                ))?
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => 0,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                return Err(Failure::new("the stack is gone"));
            }
            Err(e) => return Err(Failure::new(format!("routing socket: {e}"))),
        };
    }
}

/// The time in ctime(3)'s form.
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let c = iopkt_sys::civil::Civil::local(since);
    // Sakamoto's rule for the day of the week.
    let m = usize::from(c.month.clamp(1, 12)) - 1;
    let y = if m < 2 { c.year - 1 } else { c.year };
    let t = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4][m];
    let d = (y + y / 4 - y / 100 + y / 400 + t + i32::from(c.day)).rem_euclid(7) as usize;
    let day = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][d];
    format!("{day} {} {:2} {:02}:{:02}:{:02} {}", c.month_name(), c.day, c.hour, c.minute, c.second, c.year)
}

fn bits(v: u32, names: &[(u32, &str)]) -> String {
    let on: Vec<&str> = names.iter().filter(|n| v & n.0 != 0).map(|n| n.1).collect();
    if on.is_empty() { String::new() } else { format!("<{}>", on.join(",")) }
}

fn type_of(m: &RtMsg) -> (&'static str, &'static str) {
    rtm::NAMES.iter().find(|n| n.0 == m.ty).map_or(("RTM_?", "?"), |n| (n.1, n.2))
}

/// A message, with an empty line behind it.
pub fn text(m: &RtMsg, names: &Names) -> String {
    let (name, what) = type_of(m);
    let mut o = format!("{name}: {what}: ");
    match &m.body {
        RtBody::Route(r) => {
            let _ = writeln!(
                o,
                "pid {}, seq {}, errno {}, flags: {}",
                r.pid,
                r.seq,
                r.errno,
                bits(r.flags, rtf::NAMES)
            );
            let _ = write!(
                o,
                "locks: {} inits: {}",
                bits(r.locks as u32, METRICS),
                bits(r.inits as u32, METRICS)
            );
        }
        RtBody::IfInfo { index, flags, data } => {
            let link = match data.link_state {
                LINK_STATE_UP => "up",
                LINK_STATE_DOWN => "down",
                _ => "unknown",
            };
            let _ = write!(o, "if# {index}, link: {link}, flags: {}", bits(*flags, iff::NAMES));
        }
        RtBody::Addr { flags, metric, addr_flags, .. } => {
            let _ = write!(o, "metric {metric}, flags: {}", bits(*flags, rtf::NAMES));
            if *addr_flags != 0 {
                let _ = write!(o, ", address flags: {}", bits(*addr_flags, in6::NAMES));
            }
        }
        RtBody::Announce { index, name, arrived } => {
            let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            let what = if *arrived { "arrival" } else { "departure" };
            let name = String::from_utf8_lossy(&name[..end]);
            let _ = write!(o, "if# {index}, {name}, what: {what}\n\n");
            return o;
        }
    }
    let (set, shown) = addresses(m, names);
    let _ = write!(o, "\nsockaddrs: {}\n {}\n\n", bits(set, ADDRS), shown.join(" "));
    o
}

/// An address, with its zone by name where that is the message's interface, else by number.
fn zoned(a: IpAddr, m: &RtMsg, names: &Names) -> String {
    match zone::of_ip(&a) {
        0 => names.host(a),
        z => match &m.addrs.ifp {
            Some(l) if u32::from(l.index) == z => crate::addr::zoned(zone::strip_ip(a), Some(l.name())),
            _ => format!("{}%{z}", zone::strip_ip(a)),
        },
    }
}

/// Which addresses a message has, and their texts.
fn addresses(m: &RtMsg, names: &Names) -> (u32, Vec<String>) {
    let a = &m.addrs;
    let (mut set, mut v) = (0, Vec::new());
    let mut put = |bit: u32, t: Option<String>| {
        if let Some(t) = t {
            set |= bit;
            v.push(t);
        }
    };
    let host = |x| zoned(x, m, names);
    let default = a.netmask == Some(0) && a.dst.is_some_and(|d| d.is_unspecified());
    put(rta::DST, a.dst.map(|d| if default { "default".into() } else { host(d) }));
    let link = |l: &iopkt_client::rtmsg::LinkAddr| match (l.name(), &l.mac) {
        ("", _) => format!("link#{}", l.index),
        (n, None) => n.to_string(),
        (n, Some(m)) => format!("{n}:{}", crate::addr::mac(m).replace(':', ".")),
    };
    put(
        rta::GATEWAY,
        a.gateway.as_ref().map(|g| match g {
            Sa::Ip(g) => host(*g),
            Sa::Link(l) => match &l.mac {
                Some(m) => crate::addr::mac(m),
                None => format!("link#{}", l.index),
            },
        }),
    );
    let v4 = a.dst.or(a.ifa).is_none_or(|d| d.is_ipv4());
    put(
        rta::NETMASK,
        a.netmask.map(|n| match n {
            0 => "default".to_string(),
            n if v4 => std::net::Ipv4Addr::from(crate::addr::mask_of(n)).to_string(),
            n => format!("/{n}"),
        }),
    );
    put(rta::IFP, a.ifp.as_ref().map(link));
    put(rta::IFA, a.ifa.map(host));
    put(rta::AUTHOR, a.author.map(host));
    put(rta::BRD, a.brd.map(host));
    (set, v)
}

/// One line of JSON.
fn as_json(m: &RtMsg) -> serde_json::Value {
    let names = Names::new(true);
    let (set, shown) = addresses(m, &names);
    let which = ADDRS.iter().filter(|a| set & a.0 != 0).map(|a| a.1.to_lowercase());
    let addrs: serde_json::Map<String, serde_json::Value> =
        which.zip(shown).map(|(k, v)| (k, v.into())).collect();
    let list = |v: u32, of: &[(u32, &'static str)]| -> Vec<&'static str> {
        of.iter().filter(|n| v & n.0 != 0).map(|n| n.1).collect()
    };
    let mut j = serde_json::json!({ "type": type_of(m).0, "addresses": addrs });
    let more = match &m.body {
        RtBody::Route(r) => {
            serde_json::json!({ "pid": r.pid, "seq": r.seq, "errno": r.errno, "mtu": r.mtu, "index": r.index, "flags": list(r.flags, rtf::NAMES) })
        }
        RtBody::IfInfo { index, flags, data } => {
            serde_json::json!({ "index": index, "flags": list(*flags, iff::NAMES), "link": data.link_state, "mtu": data.numbers[0] })
        }
        RtBody::Addr { index, metric, addr_flags, .. } => {
            serde_json::json!({ "index": index, "metric": metric, "address_flags": list(*addr_flags, in6::NAMES) })
        }
        RtBody::Announce { index, name, arrived } => {
            let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            serde_json::json!({ "index": index, "name": String::from_utf8_lossy(&name[..end]), "arrived": arrived })
        }
    };
    if let (Some(j), Some(more)) = (j.as_object_mut(), more.as_object()) {
        j.extend(more.clone());
    }
    j
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_client::rtmsg::{Addrs, LinkAddr, RouteMsg, if_name};

    #[test]
    fn messages_in_bsd_words() {
        let names = Names::new(true);
        let a = Addrs {
            dst: "0.0.0.0".parse().ok(),
            gateway: "10.0.0.1".parse().ok().map(Sa::Ip),
            netmask: Some(0),
            ifp: Some(LinkAddr { index: 2, ty: 6, name: if_name("ecm0"), mac: Some([2, 0, 0, 0, 0, 1]) }),
            ..Addrs::default()
        };
        let flags = rtf::UP | rtf::GATEWAY | rtf::DONE | rtf::STATIC;
        let r = RouteMsg { pid: 77, seq: 1, flags, ..RouteMsg::default() };
        assert_eq!(
            text(&RtMsg::route(rtm::ADD, r, a), &names),
            "RTM_ADD: Add Route: pid 77, seq 1, errno 0, flags: <UP,GATEWAY,DONE,STATIC>\nlocks:  inits: \n\
             sockaddrs: <DST,GATEWAY,NETMASK,IFP>\n default 10.0.0.1 default ecm0:02.00.00.00.00.01\n\n"
        );
        let m = RtMsg {
            ty: rtm::IFANNOUNCE,
            body: RtBody::Announce { index: 3, name: if_name("lo1"), arrived: false },
            addrs: Addrs::default(),
        };
        assert_eq!(
            text(&m, &names),
            "RTM_IFANNOUNCE: iface arrival/departure: if# 3, lo1, what: departure\n\n"
        );
        assert_eq!(as_json(&m)["name"], "lo1");
        assert_eq!(now().len(), "Sat Nov 21 13:06:36 2026".len());
    }
}

//! Node information (RFC 4620): queries, and their answers in words.

use super::Options;
use super::options::Kind;
use crate::addr;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nodeinfo::{Message, code, flag, name, qtype, subject};
use std::fmt::Write;
use std::net::Ipv6Addr;

/// A query with number `seq` in its nonce, whose other part is `key`: the stack writes the checksum. The subject is the address that is
/// asked, or with -N the name.
pub fn query(o: &Options, to: Ipv6Addr, seq: u16, key: [u8; 6]) -> Vec<u8> {
    let Kind::Query(qtype, flags, old) = o.kind else { return Vec::new() };
    let mut nonce = [0; 8];
    nonce[..2].copy_from_slice(&seq.to_be_bytes());
    nonce[2..].copy_from_slice(&key);
    let (code, data) = if old {
        (subject::NAME, Vec::new())
    } else if o.group > 0 {
        (subject::NAME, name(&o.host).unwrap_or_default())
    } else {
        (subject::IPV6, to.octets().to_vec())
    };
    Message { ty: ty::NODE_QUERY, code, qtype, flags, nonce, data: &data }.emit()
}

/// The number of a query that a message answers.
pub fn answers(b: &[u8], key: [u8; 6]) -> Option<u16> {
    let m = Message::parse(b).filter(|m| m.ty == ty::NODE_REPLY && m.nonce[2..] == key)?;
    Some(u16::from_be_bytes([m.nonce[0], m.nonce[1]]))
}

/// What an answer says, as ping6 prints it behind `N bytes from HOST: `.
pub fn text(b: &[u8]) -> String {
    let Some(m) = Message::parse(b) else { return "too short".into() };
    match (m.code, m.qtype) {
        (code::REFUSED, _) => "refused".into(),
        (code::UNKNOWN, _) => "unknown".into(),
        (_, qtype::NOOP) => "NodeInfo NOOP".into(),
        (_, qtype::SUPPORTED) => supported(m.data),
        (_, qtype::NAME) => names(m.data),
        (_, qtype::ADDRESSES) => addresses(&m),
        (_, t) => format!("NodeInfo type {t}"),
    }
}

fn supported(data: &[u8]) -> String {
    const NAMES: [&str; 5] = ["NOOP", "supported types", "DNS name", "node addresses", "IPv4 addresses"];
    // Words of 32 bits, the lowest type in the lowest bit of the first.
    let on = |t: usize| {
        let w = data.get(t / 32 * 4..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*w) >> (t % 32) & 1 == 1)
    };
    let list: Vec<&str> =
        NAMES.iter().enumerate().filter(|(t, _)| on(*t) == Some(true)).map(|(_, n)| *n).collect();
    format!("answers {}", list.join(", "))
}

/// Names behind the lifetime: in labels, or (the older form) one with its length before it.
fn names(data: &[u8]) -> String {
    let Some((_, b)) = data.split_first_chunk::<4>() else { return "no name".into() };
    if let Some((n, rest)) = b.split_first()
        && usize::from(*n) == rest.len()
        && !rest.contains(&0)
    {
        return clean(rest);
    }
    let (mut all, mut one, mut b) = (Vec::new(), Vec::new(), b);
    while let Some((n, rest)) = b.split_first() {
        let Some((label, rest)) = rest.split_at_checked(usize::from(*n)) else { break };
        b = rest;
        match label {
            // One that is empty ends a name, a second one says that it has a single label.
            [] if !one.is_empty() => all.push(std::mem::take(&mut one).join(".")),
            [] => {}
            l => one.push(clean(l)),
        }
    }
    if all.is_empty() { "no name".into() } else { all.join(", ") }
}

/// What may be shown on a terminal of what a stranger sent.
fn clean(b: &[u8]) -> String {
    b.iter().map(|c| if c.is_ascii_graphic() { char::from(*c) } else { '?' }).collect()
}

fn addresses(m: &Message<'_>) -> String {
    let mut o = String::new();
    for x in m.data.as_chunks::<20>().0 {
        let (ttl, a) = x.split_at(4);
        let ttl = ttl.try_into().map(u32::from_be_bytes).unwrap_or(0);
        let a: [u8; 16] = a.try_into().unwrap_or_default();
        let _ = write!(o, "\n  {}", addr::zoned(Ipv6Addr::from(a).into(), None));
        let _ = match ttl {
            u32::MAX => write!(o, " (TTL=infty)"),
            0 => Ok(()),
            n => write!(o, " (TTL={n})"),
        };
    }
    if o.is_empty() {
        o = "no address".into();
    }
    if m.flags & flag::TRUNCATED != 0 {
        o += "\n  and more, which did not fit";
    }
    o
}

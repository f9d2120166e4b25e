//! What a server's message says of a lease (RFC 2132, RFC 3442). Nothing in it is believed further than it makes sense.

use super::{CLASSLESS_ROUTES, Lease, MOST, RENEW_PAUSE, Route};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use iopkt_base::Instant;
use iopkt_wire::dhcp::{Message, opt};

/// Whether a host can have this address.
pub(super) fn usable(a: Ipv4Addr) -> bool {
    !a.is_unspecified() && !a.is_loopback() && !a.is_multicast() && !a.is_broadcast() && a.octets()[0] < 240
}

/// The lease that an ACK gives, counted from the REQUEST.
pub(super) fn lease(m: &Message<'_>, server: Ipv4Addr, asked: Instant) -> Option<Lease> {
    let addr = Some(m.header.yiaddr).filter(|a| usable(*a))?;
    let prefix_len = match m.addr(opt::SUBNET_MASK).map(u32::from) {
        Some(mask) if mask.leading_ones() + mask.trailing_zeros() == 32 => mask.leading_ones() as u8,
        // None, or one with holes: by the address's class.
        _ => match addr.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            _ => 24,
        },
    };
    let seconds = m.number(opt::LEASE_TIME)?;
    let (renew, rebind, end) = if seconds == u32::MAX {
        (Instant::FAR, Instant::FAR, Instant::FAR)
    } else {
        let whole = Duration::from_secs(u64::from(seconds.max(10)));
        // Times that would make us ask without a pause count as not given.
        let of = |code, otherwise: Duration, most: Duration| {
            let given = m.number(code).map(|s| Duration::from_secs(s.into()));
            given.filter(|t| *t >= otherwise.min(RENEW_PAUSE)).unwrap_or(otherwise).min(most)
        };
        let t2 = of(opt::REBINDING_TIME, whole * 7 / 8, whole);
        let t1 = of(opt::RENEWAL_TIME, whole / 2, t2);
        (asked + t1, asked + t2, asked + whole)
    };
    let routes = match m.option(CLASSLESS_ROUTES).and_then(classless) {
        Some(r) => r,
        None => addresses(m.option(opt::ROUTER))
            .map(|gateway| Route { to: Ipv4Addr::UNSPECIFIED, prefix_len: 0, gateway })
            .collect(),
    };
    Some(Lease {
        addr,
        prefix_len,
        broadcast: m.addr(opt::BROADCAST),
        routes,
        dns: addresses(m.option(opt::DNS)).collect(),
        domain: m.option(opt::DOMAIN_NAME).and_then(name),
        host_name: m.option(opt::HOST_NAME).and_then(name),
        mtu: m
            .option(opt::MTU)
            .and_then(|b| Some(u16::from_be_bytes(*b.first_chunk()?)))
            .filter(|n| *n >= 68),
        server,
        renew,
        rebind,
        end,
    })
}

fn addresses(list: Option<&[u8]>) -> impl Iterator<Item = Ipv4Addr> {
    let usable = |a: &Ipv4Addr| !a.is_unspecified() && !a.is_multicast() && !a.is_broadcast();
    let (all, _) = list.unwrap_or(&[]).as_chunks::<4>();
    all.iter().map(|a| Ipv4Addr::from(*a)).filter(usable).take(MOST)
}

/// RFC 3442: width, the significant bytes of the destination, gateway. `None` if it is malformed or empty.
fn classless(mut b: &[u8]) -> Option<Vec<Route>> {
    let mut all = Vec::new();
    while let Some((&prefix_len, rest)) = b.split_first() {
        let n = usize::from(prefix_len).div_ceil(8);
        if prefix_len > 32 || rest.len() < n + 4 {
            return None;
        }
        let mut to = [0; 4];
        to[..n].copy_from_slice(&rest[..n]);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
        let gateway: [u8; 4] = *rest[n..].first_chunk()?;
        if all.len() < MOST {
            all.push(Route {
                to: Ipv4Addr::from(u32::from_be_bytes(to) & mask),
                prefix_len,
                gateway: gateway.into(),
            });
        }
        b = &rest[n + 4..];
    }
    (!all.is_empty()).then_some(all)
}

/// A name as it may be written into files and given to programs: anything else could be somebody's trick.
fn name(b: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(b).ok()?.trim_end_matches('\0');
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = !text.is_empty() && text.len() <= 253 && !text.starts_with(['-', '.']);
    (fits && text.chars().all(good)).then(|| text.into())
}

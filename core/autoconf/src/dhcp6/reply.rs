//! A server's message, read. Nothing in it is believed further than its length says.

use super::{Config6, Given, INFINITE, MAX_ITEMS, opt, status};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::{Duration, Instant};

/// What a server says of one association.
pub(super) struct Association {
    /// Of a prefix.
    pub prefix: bool,
    pub iaid: u32,
    pub status: u16,
    pub t1: u32,
    pub t2: u32,
    /// With lifetimes of 0, too: those end.
    pub given: Vec<Given>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Reply {
    pub kind: u8,
    pub xid: u32,
    pub client: Vec<u8>,
    pub server: Vec<u8>,
    pub preference: u8,
    pub rapid: bool,
    /// Of the message.
    pub status: u16,
    pub ias: Vec<Association>,
    pub dns: Vec<Ipv6Addr>,
    pub domains: Vec<String>,
    pub refresh: Option<u32>,
    pub sol_max: Option<u32>,
    pub inf_max: Option<u32>,
}

/// The options in a piece of a message, up to one that is cut off.
fn options(mut b: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (h, rest) = b.split_first_chunk::<4>()?;
        let n = usize::from(u16::from_be_bytes([h[2], h[3]]));
        let (body, rest) = rest.split_at_checked(n)?;
        b = rest;
        Some((u16::from_be_bytes([h[0], h[1]]), body))
    })
}

fn word(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*b.get(at..)?.first_chunk()?))
}

fn code(o: &[u8]) -> u16 {
    o.first_chunk().map_or(status::SUCCESS, |c| u16::from_be_bytes(*c))
}

impl Reply {
    /// `None`: it is no message, or broken. Associations that are not ours are passed over.
    pub fn parse(b: &[u8], cfg: &Config6, now: Instant) -> Option<Reply> {
        let h = word(b, 0)?;
        let mut r = Reply { kind: (h >> 24) as u8, xid: h & 0x00ff_ffff, ..Reply::default() };
        // RFC 8415 21.24, 21.25: others are passed over.
        let limit = |o: &[u8]| word(o, 0).filter(|s| (60..=86_400).contains(s));
        for (c, o) in options(&b[4..]) {
            match c {
                opt::CLIENT_ID => r.client = o.to_vec(),
                opt::SERVER_ID if o.len() <= 130 => r.server = o.to_vec(),
                opt::PREFERENCE => r.preference = *o.first()?,
                opt::RAPID_COMMIT => r.rapid = true,
                opt::STATUS => r.status = code(o),
                opt::IA_NA | opt::IA_PD if r.ias.len() < MAX_ITEMS => {
                    let a = Association::parse(c == opt::IA_PD, o, now)?;
                    let most = if a.prefix { cfg.prefixes.len() as u32 } else { cfg.addresses };
                    // T1 behind T2: then the whole association is void (21.4, 21.21).
                    if a.iaid.wrapping_sub(cfg.iaid) < most && (a.t1 <= a.t2 || a.t2 == 0) {
                        r.ias.push(a);
                    }
                }
                opt::DNS => {
                    let a = o.as_chunks::<16>().0.iter().map(|a| Ipv6Addr::from(*a));
                    let good = a.filter(|a| !a.is_multicast() && !a.is_unspecified());
                    r.dns.extend(good.take(MAX_ITEMS - r.dns.len().min(MAX_ITEMS)));
                }
                opt::DOMAINS => r.domains = iopkt_wire::domains::domains(o, MAX_ITEMS),
                opt::REFRESH => r.refresh = word(o, 0),
                opt::SOL_MAX_RT => r.sol_max = limit(o),
                opt::INF_MAX_RT => r.inf_max = limit(o),
                _ => {}
            }
        }
        Some(r)
    }

    /// What it gives of a kind, as far as it lives.
    pub fn given(&self, prefix: bool) -> impl Iterator<Item = &Given> {
        self.ias.iter().filter(move |a| a.prefix == prefix).flat_map(|a| &a.given).filter(|g| g.valid > 0)
    }

    /// So many associations have something in them.
    pub fn filled(&self) -> usize {
        self.ias.iter().filter(|a| a.given.iter().any(|g| g.valid > 0)).count()
    }

    /// T1 and T2: the least that are said, or a half and four fifths of the shortest preferred lifetime (21.4).
    pub fn times(&self) -> (u32, u32) {
        let said = |t: fn(&Association) -> u32| {
            self.ias.iter().filter(|a| a.given.iter().any(|g| g.valid > 0)).map(t).filter(|t| *t != 0).min()
        };
        let all = self.given(false).chain(self.given(true));
        let least = all.map(|a| a.preferred).filter(|p| *p > 0).min().unwrap_or(INFINITE);
        let part = |n: u64| if least == INFINITE { INFINITE } else { (u64::from(least) * n / 10) as u32 };
        let t1 = said(|a| a.t1).unwrap_or(part(5));
        let t2 = said(|a| a.t2).unwrap_or(part(8));
        // Never in a hurry: a lifetime of seconds would be a flood.
        (t1.max(5), t2.max(t1.max(5)))
    }
}

impl Association {
    fn parse(prefix: bool, o: &[u8], now: Instant) -> Option<Association> {
        let (iaid, t1, t2) = (word(o, 0)?, word(o, 4)?, word(o, 8)?);
        let mut a = Association { prefix, iaid, status: status::SUCCESS, t1, t2, given: Vec::new() };
        for (c, b) in options(&o[12..]) {
            let (addr, plen, preferred, valid, rest) = match c {
                opt::STATUS => {
                    a.status = code(b);
                    continue;
                }
                opt::IA_ADDR if !prefix && b.len() >= 24 => {
                    (*b.first_chunk::<16>()?, 128, word(b, 16)?, word(b, 20)?, &b[24..])
                }
                opt::IA_PREFIX if prefix && b.len() >= 25 => {
                    (*b.get(9..)?.first_chunk::<16>()?, b[8], word(b, 0)?, word(b, 4)?, &b[25..])
                }
                _ => continue,
            };
            let addr = Ipv6Addr::from(addr);
            // One that the server refuses has a status of its own, and lifetimes that do not count.
            let refused = options(rest).any(|(c, b)| c == opt::STATUS && code(b) != status::SUCCESS);
            let odd = addr.is_multicast()
                || addr.is_unspecified()
                || addr.is_loopback()
                || plen > 128
                || preferred > valid;
            if odd || refused || a.given.len() >= MAX_ITEMS {
                continue;
            }
            let until =
                if valid == INFINITE { Instant::FAR } else { now + Duration::from_secs(valid.into()) };
            let excluded = options(rest)
                .find(|x| prefix && x.0 == opt::PD_EXCLUDE)
                .and_then(|x| excluded(addr, plen, x.1));
            a.given.push(Given { addr, plen, preferred, valid, iaid, until, excluded });
        }
        Some(a)
    }
}

/// The excluded prefix: its length, and the bits that it has more than the delegated one, the first at the left (RFC 6603 4.2).
fn excluded(prefix: Ipv6Addr, plen: u8, o: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let (&len, bits) = o.split_first()?;
    let want = usize::from(len.checked_sub(plen).filter(|n| *n > 0 && len <= 128)?).div_ceil(8);
    let mut id = [0; 16];
    id.get_mut(..want)?.copy_from_slice(bits.get(..want)?);
    let mask = u128::MAX << (128 - u32::from(len));
    let whole = u128::from(prefix) | u128::from_be_bytes(id) >> plen;
    Some((Ipv6Addr::from(whole & mask), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_is_excluded() {
        let p = "2001:db8:5500::".parse().unwrap();
        let of = |o: &[u8]| excluded(p, 56, o).map(|(a, n)| alloc::format!("{a}/{n}"));
        assert_eq!(of(&[64, 0x0f]).as_deref(), Some("2001:db8:5500:f::/64"));
        assert_eq!(of(&[60, 0x70]).as_deref(), Some("2001:db8:5500:70::/60"));
        assert_eq!(of(&[72, 1, 2]).as_deref(), Some("2001:db8:5500:1:200::/72"));
        for bad in [&[][..], &[56, 1], &[64], &[129, 1], &[72, 1]] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}

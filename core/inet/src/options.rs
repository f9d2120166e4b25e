//! Options of received packets (RFC 791 section 3.1, RFC 1122 3.2.1.8).
//!
//! As the host that a packet is for: record route and timestamp are filled in where there is room (and an
//! echo reply carries them back, see [`crate::icmp`]); a source route that is not used up is refused with
//! "source route failed" (RFC 7126 4.3 advises it), one that is used up is passed; router alert, security and
//! unknown options are passed to the transport unseen. A malformed option is answered with "parameter
//! problem" pointing at it.

use crate::Inet;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Layers, Stat};
use iopkt_wire::icmp4::{ty, unreach};
use iopkt_wire::ipv4::{HEADER_LEN, Header, opt, options, set_checksum};

enum Verdict {
    Keep,
    Write { at: usize, bytes: [u8; 8], len: usize, pointer: Option<u8>, overflow: bool },
    Malformed(usize),
    SourceRoute,
}

impl Inet {
    /// Looks at the options; false when the packet is to be dropped (it was answered).
    pub(crate) fn input_options(&mut self, l: &mut Layers<'_>, h: &Header, m: &mut Mbuf) -> bool {
        let mut changed = false;
        let copy: Vec<u8> = m.as_slice()[HEADER_LEN..h.header_len].to_vec();
        for o in options(&copy) {
            let v = match o {
                Err(at) => Verdict::Malformed(at + 1),
                Ok(o) => self.look(l, h, o.kind, o.at, o.bytes),
            };
            match v {
                Verdict::Keep => {}
                Verdict::Write { at, bytes, len, pointer, overflow } => {
                    let opt = &mut m.as_mut_slice()[HEADER_LEN..h.header_len];
                    opt[at..at + len].copy_from_slice(&bytes[..len]);
                    let start = options(&copy).flatten().map(|o| o.at).take_while(|a| *a <= at).last();
                    if let Some(s) = start {
                        if let Some(p) = pointer {
                            opt[s + 2] = p;
                        }
                        if overflow {
                            opt[s + 3] = opt[s + 3].wrapping_add(0x10);
                        }
                    }
                    changed = true;
                }
                Verdict::Malformed(at) => {
                    l.cx.counters.inc(Stat::IpBadOptions);
                    let pointer = (HEADER_LEN + at) as u8;
                    self.icmp_error(l, m, ty::PARAM_PROBLEM, 0, [pointer, 0, 0, 0]);
                    return false;
                }
                Verdict::SourceRoute => {
                    l.cx.counters.inc(Stat::IpBadOptions);
                    self.icmp_error(l, m, ty::UNREACHABLE, unreach::SRC_ROUTE, [0; 4]);
                    return false;
                }
            }
        }
        if changed {
            set_checksum(&mut m.as_mut_slice()[..h.header_len]);
        }
        true
    }

    fn look(&self, l: &Layers<'_>, h: &Header, kind: u8, at: usize, b: &[u8]) -> Verdict {
        match kind {
            opt::LSRR | opt::SSRR => match (b.len(), b.get(2)) {
                (3.., Some(p)) if *p >= 4 && usize::from(*p) > b.len() => Verdict::Keep,
                (3.., Some(p)) if *p >= 4 => Verdict::SourceRoute,
                _ => Verdict::Malformed(at + 2.min(b.len() - 1)),
            },
            opt::RECORD_ROUTE => {
                let Some(p) = b.get(2).copied().filter(|p| *p >= 4) else {
                    return Verdict::Malformed(at + 2);
                };
                let off = usize::from(p) - 1;
                if off + 4 > b.len() {
                    // Full: passed on as it is. A pointer into the last bytes is an error (RFC 791).
                    return if off >= b.len() { Verdict::Keep } else { Verdict::Malformed(at + 2) };
                }
                let mut bytes = [0; 8];
                bytes[..4].copy_from_slice(&self.address_for_options(l, h));
                Verdict::Write { at: at + off, bytes, len: 4, pointer: Some(p + 4), overflow: false }
            }
            opt::TIMESTAMP => self.look_timestamp(l, h, at, b),
            opt::ROUTER_ALERT if b.len() != 4 => Verdict::Malformed(at + 1),
            _ => Verdict::Keep,
        }
    }

    fn look_timestamp(&self, l: &Layers<'_>, h: &Header, at: usize, b: &[u8]) -> Verdict {
        let (Some(p), Some(fl)) = (b.get(2).copied().filter(|p| *p >= 5), b.get(3).copied()) else {
            return Verdict::Malformed(at + 2.min(b.len().saturating_sub(1)));
        };
        let off = usize::from(p) - 1;
        let need = match fl & 15 {
            0 => 4,
            1 | 3 => 8,
            _ => return Verdict::Malformed(at + 3),
        };
        if off >= b.len() {
            // Full: count the hosts that found no room; the counter has 4 bits.
            return if fl >> 4 == 15 {
                Verdict::Malformed(at)
            } else {
                Verdict::Write {
                    at,
                    bytes: [b[0], 0, 0, 0, 0, 0, 0, 0],
                    len: 1,
                    pointer: None,
                    overflow: true,
                }
            };
        }
        if off + need > b.len() {
            return Verdict::Malformed(at + 2);
        }
        let stamp = crate::icmp::timestamp(l.cx.now).to_be_bytes();
        let mut bytes = [0; 8];
        match fl & 15 {
            0 => bytes[..4].copy_from_slice(&stamp),
            1 => {
                bytes[..4].copy_from_slice(&self.address_for_options(l, h));
                bytes[4..].copy_from_slice(&stamp);
            }
            _ => {
                let wanted = IpAddr::from([b[off], b[off + 1], b[off + 2], b[off + 3]]);
                if !l.net.is_local(wanted, 0) {
                    return Verdict::Keep;
                }
                bytes[..4].copy_from_slice(&b[off..off + 4]);
                bytes[4..].copy_from_slice(&stamp);
            }
        }
        Verdict::Write { at: at + off, bytes, len: need, pointer: Some(p + need as u8), overflow: false }
    }

    /// The address that this host writes into options: the destination, or for a group the address that
    /// speaks to the sender.
    fn address_for_options(&self, l: &Layers<'_>, h: &Header) -> [u8; 4] {
        if l.net.is_local(IpAddr::V4(h.dst), 0) {
            return h.dst.octets();
        }
        match l.net.hop(IpAddr::V4(h.src), 0, false).ok().and_then(|x| x.src) {
            Some(IpAddr::V4(a)) => a.octets(),
            _ => [0; 4],
        }
    }
}

/// The options that an echo reply carries back: record route and timestamp (RFC 1122 3.2.2.6), padded.
pub(crate) fn copied_back(received: &[u8]) -> Vec<u8> {
    let mut v = Vec::new();
    for o in options(received).map_while(Result::ok) {
        if matches!(o.kind, opt::RECORD_ROUTE | opt::TIMESTAMP) {
            v.extend_from_slice(o.bytes);
        }
    }
    while !v.len().is_multiple_of(4) {
        v.push(opt::END);
    }
    v
}

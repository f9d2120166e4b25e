//! Extension headers of received packets (RFC 8200 section 4): hop-by-hop and destination options, routing, fragment.
//!
//! Routing headers are not followed: with segments left, every type is refused (type 0: RFC 5095). Authentication and
//! encryption are not spoken; they end as a next header that is not known. Limits: `net.inet6.ip6.hdrnestlimit` headers, eight
//! options in one (RFC 8504 5.3).

use crate::input::Packet;
use crate::{Inet6, Stat6};
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Layers, Why};
use iopkt_wire::icmp6::{param, ty};
use iopkt_wire::ipv6::{Chain, Ext, Opt, Unknown, Upper, next, opt, options};

/// Most options of a header that are not padding.
const MAX_OPTIONS: usize = 8;

/// What became of a packet.
pub(crate) enum Walk {
    /// Its transport, and the packet.
    Upper(Upper, Mbuf),
    /// A datagram of which this was the last piece.
    Whole(Mbuf),
    /// It ended, or waits for its other pieces.
    Ended,
}

/// Why the walk stopped.
pub(crate) enum Stop {
    /// A parameter problem: code, pointer.
    Problem(u8, usize),
    /// The same, but not for a group.
    ProblemUnlessMulticast(usize),
    /// Silently.
    Discard,
    /// Too many headers or options.
    TooMany,
    /// A fragment, with its place.
    Fragment(usize, usize),
}

impl Inet6 {
    pub(crate) fn walk(&mut self, l: &mut Layers<'_>, p: &Packet, m: Mbuf) -> Walk {
        match look(m.as_slice(), p.h.next, self.t.hdrnestlimit as usize) {
            Ok(upper) => Walk::Upper(upper, m),
            Err(Stop::Fragment(at, named_at)) => {
                self.reassemble(l, p, at, named_at, m).map_or(Walk::Ended, Walk::Whole)
            }
            Err(stop) => {
                self.stopped(l, p, m, stop);
                Walk::Ended
            }
        }
    }

    /// Ends a packet that may not go on, and tells its source.
    pub(crate) fn stopped(&mut self, l: &mut Layers<'_>, p: &Packet, m: Mbuf, stop: Stop) {
        let why = match stop {
            Stop::Problem(code, at) => {
                self.icmp6_error(l, &m, ty::PARAM_PROBLEM, code, at as u32);
                self.stats.inc(Stat6::BadOptions);
                Why::BadIpHeader
            }
            Stop::ProblemUnlessMulticast(at) => {
                if !p.group {
                    self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::OPTION, at as u32);
                }
                self.stats.inc(Stat6::BadOptions);
                Why::BadIpHeader
            }
            Stop::Discard | Stop::Fragment(..) => {
                self.stats.inc(Stat6::BadOptions);
                Why::BadIpHeader
            }
            Stop::TooMany => {
                self.stats.inc(Stat6::TooManyHeaders);
                Why::BadIpHeader
            }
        };
        l.cx.drop(m, why);
    }
}

/// Judges the options that every node of the way looks at.
pub(crate) fn judge_first(packet: &[u8], first: u8) -> Result<(), Stop> {
    match Chain::new(packet, first).next() {
        Some(Ok(e)) if e.kind == next::HOP_BY_HOP => judge_options(&e),
        Some(Err(c)) => Err(Stop::Problem(param::HEADER, c.0 + 1)),
        _ => Ok(()),
    }
}

fn look(packet: &[u8], first: u8, limit: usize) -> Result<Upper, Stop> {
    let mut chain = Chain::new(packet, first);
    let mut n = 0;
    // [RFC8200 4a] [RFC8200 4.1]
    for e in chain.by_ref() {
        // The length that does not fit: pointing at it helps whoever made it (RFC 4443 3.4).
        let e = e.map_err(|c| Stop::Problem(param::HEADER, c.0 + 1))?;
        n += 1;
        if n > limit {
            return Err(Stop::TooMany);
        }
        match e.kind {
            // Only directly behind the fixed header (RFC 8200 4.1).
            // [RFC8200 4c]
            next::HOP_BY_HOP if n > 1 => return Err(Stop::Problem(param::NEXT_HEADER, e.named_at)),
            next::HOP_BY_HOP | next::DEST_OPTS => judge_options(&e)?,
            // Segments left: byte 3; the type is byte 2 (RFC 8200 4.4).
            // [RFC8200 4.4b]
            next::ROUTING if e.bytes[3] != 0 => return Err(Stop::Problem(param::HEADER, e.at + 2)),
            // [RFC8200 4.4a]
            next::ROUTING => {}
            next::FRAGMENT => return Err(Stop::Fragment(e.at, e.named_at)),
            // Of others' making: AH is not spoken here, mobility and its like are for programs (raw sockets).
            _ => return Ok(Upper { proto: e.kind, at: e.at, named_at: e.named_at }),
        }
    }
    Ok(chain.upper())
}

fn judge_options(e: &Ext<'_>) -> Result<(), Stop> {
    let mut n = 0;
    for o in options(e.bytes) {
        let o: Opt<'_> = o.map_err(|at| Stop::Problem(param::HEADER, e.at + at))?;
        n += 1;
        if n > MAX_OPTIONS {
            return Err(Stop::TooMany);
        }
        if o.ty == opt::ROUTER_ALERT && e.kind == next::HOP_BY_HOP && o.data.len() == 2 {
            continue;
        }
        // [RFC8200 4.2a] [RFC4443 3.4a]
        match o.unknown() {
            Unknown::Skip => {}
            Unknown::Discard => return Err(Stop::Discard),
            Unknown::Problem => return Err(Stop::Problem(param::OPTION, e.at + o.at)),
            Unknown::ProblemUnlessMulticast => return Err(Stop::ProblemUnlessMulticast(e.at + o.at)),
        }
    }
    Ok(())
}

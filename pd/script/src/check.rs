//! Whether a segment that the stack sent is the one that the script has.

use crate::ast::{Opt, Packet, Segment};
use crate::conn::{Conn, show};
use crate::wire::Live;

const PSH: u8 = 8;
const FIN: u8 = 1;

/// Whether `next` goes on where `so_far` ends: both are parts of one segment of the script.
pub(crate) fn joins(so_far: &Live, next: &Live) -> bool {
    let plain = |f: u8| f & !(PSH | FIN);
    so_far.sport == next.sport
        && so_far.dport == next.dport
        && so_far.seq.wrapping_add(so_far.len) == next.seq
        && so_far.flags & FIN == 0
        && plain(so_far.flags) == plain(next.flags)
        && next.len > 0
}

/// Puts two parts together: the flags are those of the last.
pub(crate) fn join(so_far: &mut Live, next: &Live) {
    so_far.len += next.len;
    so_far.flags = next.flags;
    so_far.ack = next.ack;
    so_far.win = next.win;
}

/// Differences, each in words.
pub(crate) fn differences(
    conn: &Conn,
    want: &Packet,
    seg: &Segment,
    live: &Live,
    elapsed_ms: u64,
) -> Vec<String> {
    let got = conn.outbound(live);
    let mut d = Vec::new();
    let mut number = |what: &str, want: i64, got: i64| {
        if want != got {
            d.push(format!("{what}: expected {want}, got {got}"));
        }
    };
    number("sequence number", seg.seq.into(), got.seq.into());
    number("payload length", seg.len.into(), got.len.into());
    if let (Some(w), Some(g)) = (seg.ack, got.ack) {
        number("acknowledgment", w.into(), g.into());
    }
    if let Some(w) = seg.win {
        number("window", w.into(), live.win.into());
    }
    if let Some(u) = seg.urg {
        number("urgent pointer", u.into(), live.urg.into());
    }
    if let Some(e) = want.ecn {
        number("ECN field of the IP header", e.into(), (live.tos & 3).into());
    }
    if let Some(t) = want.tos {
        number("TOS", t.into(), live.tos.into());
    }
    if let Some(t) = want.ttl {
        number("TTL", t.into(), live.ttl.into());
    }
    if let Some((a, b)) = want.ports {
        number("source port", a.into(), live.sport.into());
        number("destination port", b.into(), live.dport.into());
    }
    if seg.flags != got.flags {
        let only = |flags| {
            show(&Segment { flags, ..Segment::default() }).split(' ').next().unwrap_or("").to_string()
        };
        d.push(format!("flags: expected {}, got {}", only(seg.flags), only(got.flags)));
    }
    if let (Some(w), Some(g)) = (&seg.options, &got.options)
        && !(w.len() == g.len() && w.iter().zip(g).all(|(w, g)| same(w, g, conn.ts.is_some(), elapsed_ms)))
    {
        d.push("options differ".into());
    }
    d
}

/// Options are equal; a timestamp may differ by what the clock's tick and rounding make, but for the first, which says where they
/// begin.
fn same(want: &Opt, got: &Opt, known: bool, elapsed_ms: u64) -> bool {
    match (want, got) {
        (Opt::Ts(wv, we), Opt::Ts(gv, ge)) => {
            let slack = 4 + elapsed_ms / 16;
            let off = u64::from(wv.wrapping_sub(*gv).min(gv.wrapping_sub(*wv)));
            we == ge && (!known || off <= slack)
        }
        (w, g) => w == g,
    }
}

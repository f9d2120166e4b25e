//! Connections of a script: its small numbers and the wire's.

use crate::ast::{Opt, Segment};
use crate::packet::FLAGS;
use crate::wire::Live;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Numbers of one connection.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Ports: the stack's, the peer's.
    pub ports: (u16, u16),
    /// The stack's initial sequence number, once seen.
    pub local: Option<u32>,
    /// The peer's.
    pub remote: u32,
    /// First timestamp of the stack: script's and wire's, and all that were seen.
    pub ts: Option<(u32, u32)>,
    seen: HashMap<u32, u32>,
    /// The program has it (accept, connect).
    pub owned: bool,
    /// The peer has sent something.
    pub heard: bool,
}

impl Conn {
    pub fn new(ports: (u16, u16), n: u32) -> Conn {
        // Far from zero, so that a number that was not translated is seen.
        let remote = 0x2000_0000u32.wrapping_add(n.wrapping_mul(0x0101_0101));
        Conn { ports, local: None, remote, ts: None, seen: HashMap::new(), owned: false, heard: false }
    }

    fn local_isn(&self) -> u32 {
        self.local.unwrap_or(0)
    }

    /// A segment of the script for the stack.
    pub fn inbound(&self, s: &Segment, tos: u8, ttl: u8) -> Live {
        let options = s.options.iter().flatten().map(|o| match o {
            Opt::Sack(v) => Opt::Sack(
                v.iter()
                    .map(|(l, r)| (self.local_isn().wrapping_add(*l), self.local_isn().wrapping_add(*r)))
                    .collect(),
            ),
            Opt::Ts(v, e) => Opt::Ts(*v, self.echo(*e)),
            o => o.clone(),
        });
        Live {
            tos,
            ttl,
            sport: self.ports.1,
            dport: self.ports.0,
            seq: self.remote.wrapping_add(s.seq),
            ack: s.ack.map_or(0, |a| self.local_isn().wrapping_add(a)),
            flags: s.flags,
            win: s.win.unwrap_or(0),
            urg: s.urg.unwrap_or(0),
            options: options.collect(),
            len: s.len,
        }
    }

    /// A timestamp of the stack that the script echoes.
    fn echo(&self, e: u32) -> u32 {
        match (self.seen.get(&e), self.ts) {
            (Some(live), _) => *live,
            (None, Some((script, live))) if e != 0 => live.wrapping_add(e.wrapping_sub(script)),
            _ => e,
        }
    }

    /// Remembers a timestamp that the stack sent where the script has `script`.
    pub fn stamped(&mut self, script: u32, live: u32) {
        self.ts.get_or_insert((script, live));
        self.seen.insert(script, live);
    }

    /// A segment of the stack in the script's numbers; a timestamp is translated once the first is known.
    pub fn outbound(&self, l: &Live) -> Segment {
        let back = |n: u32| n.wrapping_sub(self.remote);
        let options = l.options.iter().map(|o| match o {
            Opt::Sack(v) => Opt::Sack(v.iter().map(|(a, b)| (back(*a), back(*b))).collect()),
            Opt::Ts(v, e) => match self.ts {
                Some((script, live)) => Opt::Ts(script.wrapping_add(v.wrapping_sub(live)), *e),
                None => Opt::Ts(*v, *e),
            },
            o => o.clone(),
        });
        Segment {
            flags: l.flags,
            seq: l.seq.wrapping_sub(self.local_isn()),
            len: l.len,
            ack: (l.flags & 16 != 0).then(|| back(l.ack)),
            win: Some(l.win),
            urg: (l.flags & 32 != 0).then_some(l.urg),
            options: Some(options.collect()),
        }
    }
}

/// A segment as scripts write it.
pub(crate) fn show(s: &Segment) -> String {
    let mut t: String = FLAGS.iter().filter(|f| s.flags & f.1 != 0 && f.0 != '.').map(|f| f.0).collect();
    if s.flags & 16 != 0 {
        t.push('.');
    }
    if t.is_empty() {
        t.push('-');
    }
    let _ = write!(t, " {}:{}({})", s.seq, s.seq.wrapping_add(s.len), s.len);
    if let Some(a) = s.ack {
        let _ = write!(t, " ack {a}");
    }
    if let Some(w) = s.win {
        let _ = write!(t, " win {w}");
    }
    if let Some(u) = s.urg {
        let _ = write!(t, " urg {u}");
    }
    match &s.options {
        None => t.push_str(" <...>"),
        Some(o) if o.is_empty() => {}
        Some(o) => {
            let list: Vec<String> = o.iter().map(show_option).collect();
            let _ = write!(t, " <{}>", list.join(","));
        }
    }
    t
}

fn show_option(o: &Opt) -> String {
    match o {
        Opt::Nop => "nop".into(),
        Opt::Eol => "eol".into(),
        Opt::Mss(m) => format!("mss {m}"),
        Opt::Scale(s) => format!("wscale {s}"),
        Opt::SackOk => "sackOK".into(),
        Opt::Sack(v) => {
            let b: Vec<String> = v.iter().map(|(l, r)| format!("{l}:{r}")).collect();
            format!("sack {}", b.join(" "))
        }
        Opt::Ts(v, e) => format!("TS val {v} ecr {e}"),
        Opt::FastOpen(exp, c) => {
            let hex: String = c.iter().map(|b| format!("{b:02x}")).collect();
            format!("{} {hex}", if *exp { "FOEXP" } else { "FO" }).trim_end().to_string()
        }
    }
}

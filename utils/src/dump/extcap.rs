//! Wireshark's extcap interface (doc/extcap.4): what a capture program answers before it captures.

use super::filter;
use crate::tool::{Failure, Outcome, print};
use iopkt_ctl::{IfKind, Ifconf};
use std::fmt::Write;

/// Interfaces are called so in Wireshark, apart from the system's own.
pub const PREFIX: &str = "io-pkt-";

/// What `--extcap-interfaces` prints.
pub fn interfaces(list: &[Ifconf], prefix: &str) -> String {
    let mut s = format!("extcap {{version={}}}{{display=io-pkt}}\n", env!("CARGO_PKG_VERSION"));
    let at = if prefix.is_empty() { String::new() } else { format!(" of {prefix}") };
    for i in list {
        let _ = writeln!(s, "interface {{value={PREFIX}{}}}{{display=io-pkt{at}: {}}}", i.name, i.name);
    }
    s
}

/// What `--extcap-dlts` prints.
pub fn dlts(i: &Ifconf) -> String {
    match i.kind {
        IfKind::PointToPoint => "dlt {number=101}{name=RAW}{display=Raw IP}\n".into(),
        _ => "dlt {number=1}{name=EN10MB}{display=Ethernet}\n".into(),
    }
}

/// What `--extcap-config` prints: the options that Wireshark's dialog shows.
pub const CONFIG: &str = "\
arg {number=0}{call=--drops}{display=Say why packets are dropped}{tooltip=A comment on each received packet that the stack drops}{type=boolflag}{default=true}
arg {number=1}{call=-p}{display=Not in promiscuous mode}{type=boolflag}{default=false}
arg {number=2}{call=-s}{display=Snap length}{tooltip=Bytes taken of each packet, 0 for all}{type=unsigned}{range=0,262144}{default=0}
arg {number=3}{call=-Q}{display=Direction}{type=selector}{default=inout}
value {arg=3}{value=inout}{display=received and sent}{default=true}
value {arg=3}{value=in}{display=received}{default=false}
value {arg=3}{value=out}{display=sent}{default=false}
";

/// Wireshark asks whether a filter is one: nothing and 0, or what is wrong with it.
///
/// # Errors
/// Never: an expression that is none is an answer.
pub fn verify(expression: &str, raw: bool) -> Outcome {
    match filter::compile(expression, raw, 262_144) {
        Ok(_) => Ok(0),
        Err(Failure { message, .. }) => print(&format!("{message}\n")),
    }
}

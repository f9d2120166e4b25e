//! `nicinfo`: what drivers know of their hardware.

use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use iopkt_ctl::{NicInfo, Reply, Request};
use serde::Serialize;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: nicinfo [--json] [interface...]
Without an interface: all that a driver made. Only what the driver knows is shown.
SOCK=/prefix selects the stack.";

/// Column at which the value begins.
const COLUMN: usize = 45;

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such interface, no driver support.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let names: Vec<Option<String>> =
        if f.rest.is_empty() { vec![None] } else { f.rest.iter().map(|n| Some(strip(n))).collect() };
    let mut all = Vec::new();
    for name in names {
        let what = name.clone().unwrap_or_else(|| "interfaces".into());
        match ask(s, &what, &Request::NicInfo { name })? {
            Reply::NicInfo(l) => all.extend(l),
            r => return Err(odd(&r)),
        }
    }
    if f.has('J') {
        print_json(&all.iter().map(json).collect::<Vec<_>>())
    } else {
        print(&all.iter().map(block).collect::<String>())
    }
}

/// What `--json` prints of a device; docs/json.md.
#[derive(Serialize)]
struct Device<'a> {
    interface: &'a str,
    description: &'a str,
    fields: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Field<'a> {
    label: &'a str,
    value: &'a str,
}

fn json(n: &NicInfo) -> Device<'_> {
    let given = n.fields.iter().filter(|f| !f.0.is_empty());
    let fields = given.map(|(label, value)| Field { label, value }).collect();
    Device { interface: &n.ifname, description: &n.description, fields }
}

/// Old scripts name `/dev/io-net/en0` or `/dev/io-pkt/en0`.
fn strip(n: &str) -> String {
    n.strip_prefix("/dev/io-net/").or_else(|| n.strip_prefix("/dev/io-pkt/")).unwrap_or(n).to_string()
}

/// Heading, then a line per field: label, dots to the column, a blank, the value.
fn block(n: &NicInfo) -> String {
    let mut o = format!("{}:\n  {}\n", n.ifname, n.description);
    for (label, value) in &n.fields {
        if label.is_empty() {
            o.push('\n');
        } else {
            let dots = ".".repeat(COLUMN.saturating_sub(label.len() + 3).max(1));
            o += &format!("  {label} {dots} {value}\n");
        }
    }
    o
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_led_by_dots_to_one_column() {
        let n = NicInfo {
            ifname: "ecm0".into(),
            description: "CDC-ECM".into(),
            fields: vec![
                ("Physical Node ID".into(), "000102 C510D4".into()),
                (String::new(), String::new()),
                ("Packets Transmitted OK".into(), "3".into()),
            ],
        };
        let t = block(&n);
        let l: Vec<&str> = t.lines().collect();
        assert_eq!((l[0], l[1], l[3]), ("ecm0:", "  CDC-ECM", ""));
        assert!(l[2].starts_with("  Physical Node ID ....") && l[2].ends_with(".. 000102 C510D4"));
        assert_eq!(l[2].find(" 0001"), l[4].find(" 3"), "values begin in one column");
        assert_eq!(strip("/dev/io-net/en0"), "en0");
        let v = serde_json::to_value(json(&n)).expect("serialises");
        assert_eq!(v["fields"].as_array().map(Vec::len), Some(2), "the blank line is none");
        assert_eq!(v["fields"][1]["value"], "3");
    }
}

//! `usb`: shows the devices of the USB stack.

mod show;
pub(crate) mod stack;

use crate::getopt;
use crate::tool::{Failure, Outcome, print, print_json};
use show::Detail;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: usb [-tv] [-b bus] [-d device] [-n path] [--json]
  -v   more; -vv and -vvv up to every descriptor      -t  tree
  -b   only this bus     -d  only this device address
  -n   the USB stack: a name like /dev/usb, or HOST:PORT of a USB/IP server";

/// Runs the tool.
///
/// # Errors
/// Usage, no USB stack.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("b:d:n:tv", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let number = |c: char| match f.value(c) {
        None => Ok(None),
        Some(v) => {
            let n = v.strip_prefix("0x").map_or_else(|| v.parse().ok(), |h| u32::from_str_radix(h, 16).ok());
            n.map(Some).ok_or_else(|| Failure::usage(format!("-{c} {v}: not a number"), USAGE))
        }
    };
    let (bus, dev) = (number('b')?, number('d')?);
    let mut all = stack::devices(f.value('n').unwrap_or("/dev/usb")).map_err(Failure::new)?;
    all.retain(|d| bus.is_none_or(|b| b == d.info.busnum) && dev.is_none_or(|n| n == d.info.devnum));
    let level = f.flags.iter().filter(|x| x.0 == 'v').count();
    if f.has('J') {
        return print_json(&all.iter().map(show::json).collect::<Vec<_>>());
    }
    if f.has('t') {
        return print(&show::tree(&all));
    }
    let detail = match level {
        0 => Detail::Short,
        1 => Detail::Device,
        _ => Detail::Interfaces,
    };
    print(&show::list(&all, detail))
}

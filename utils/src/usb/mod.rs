//! `usb`: shows the devices of the USB stack.

mod decode;
mod ids;
mod json;
mod show;
pub(crate) mod stack;
mod tree;

#[cfg(test)]
mod tests;

use crate::getopt;
use crate::tool::{Failure, Outcome, print, print_json};
use ids::Names;
use show::Detail;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: usb [-tv] [-b bus] [-d device] [-n path] [--json]
  -v   more; -vv interfaces and endpoints, -vvv every descriptor      -t  tree
  -b   only this bus     -d  only this device address
  -n   the USB stack: a name like /dev/usb, or HOST:PORT of a USB/IP server
exits with 0 when something was shown (or nothing is plugged in), else with 1";

/// Runs the tool.
///
/// # Errors
/// Usage, no USB stack, no device of the bus or address that was asked for.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("b:d:n:tv", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    if let Some(x) = f.rest.first() {
        return Err(Failure::usage(format!("{x}: what is that?"), USAGE));
    }
    let number = |c: char| match f.value(c) {
        None => Ok(None),
        Some(v) => {
            let n = v.strip_prefix("0x").map_or_else(|| v.parse().ok(), |h| u32::from_str_radix(h, 16).ok());
            n.map(Some).ok_or_else(|| Failure::usage(format!("-{c} {v}: not a number"), USAGE))
        }
    };
    let (bus, dev) = (number('b')?, number('d')?);
    let path = f.value('n').unwrap_or("/dev/usb");
    let all = stack::devices(path).map_err(Failure::new)?;
    let shown: Vec<&stack::Device> = all
        .iter()
        .filter(|d| bus.is_none_or(|b| b == d.info.busnum) && dev.is_none_or(|n| n == d.info.devnum))
        .collect();
    // A script asks for one device and wants to know whether it is there.
    let missing = shown.is_empty() && (bus.is_some() || dev.is_some());
    let names = Names::of_the_system();
    if f.has('J') {
        print_json(&shown.iter().map(|d| json::device(d, &all, &names)).collect::<Vec<_>>())?;
        return Ok(i32::from(missing));
    }
    if missing {
        let of = |what: &str, n: Option<u32>| n.map_or(String::new(), |n| format!(" {what} {n}"));
        let (d, b) = (of("at address", dev), of("on bus", bus));
        return Err(Failure::new(format!("no device{d}{b}; usb without options lists what {path} has")));
    }
    if f.has('t') {
        return print(&tree::tree(&shown, &all, &names, f.has('v')));
    }
    let detail = match f.flags.iter().filter(|x| x.0 == 'v').count() {
        0 => Detail::Short,
        1 => Detail::Device,
        2 => Detail::Interfaces,
        _ => Detail::Descriptors,
    };
    print(&show::list(&shown, &all, &names, detail))
}

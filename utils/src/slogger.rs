//! `slogger`: makes the log, sets its size, and writes lines into it.
//!
//! QNX's slogger is a daemon that everybody sends messages to. Here the log is a file that its writers share, so there is
//! nothing to keep running: the tool does its work and ends.

use crate::getopt;
use crate::tool::{Failure, Outcome, print};
use iopkt_slog::{Severity, Writer, major};
use iopkt_sys::paths::Root;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: slogger [-v] [-s size] [-p severity] [-m major] [-n minor] [text...]
  -s  size of the log: bytes, or with k or M (4k to 16M); the newest lines that fit stay
  -v  say what the size is
  with text a line is written:
  -p  its severity, 0 shutdown ... 7 debug2 (5, information)
  -m -n  its major and minor code (14, networking; 0)";

/// Bytes of `64k`, `1M`, `16384`.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.chars().last()? {
        'k' | 'K' => (&text[..text.len() - 1], 1 << 10),
        'm' | 'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Runs the tool.
///
/// # Errors
/// Usage, a size that cannot be, no permission, no space; a line that did not get in.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("m:n:p:s:v", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let number = |c: char, otherwise: u32, max: u32| match f.value(c) {
        None => Ok(otherwise),
        Some(v) => match v.parse::<u32>() {
            Ok(n) if n <= max => Ok(n),
            _ => Err(Failure::usage(format!("-{c} {v}: bad value"), USAGE)),
        },
    };
    let severity = number('p', Severity::Info as u32, 7)? as u8;
    let (code, minor) = (number('m', major::NETWORK.into(), 65535)? as u16, number('n', 0, u32::MAX)?);
    let wanted = match f.value('s') {
        None => None,
        Some(v) => Some(size(v).ok_or_else(|| Failure::usage(format!("-s {v}: bad value"), USAGE))?),
    };
    let said = |e: std::io::Error| Failure::new(e.to_string());
    let log = Writer::open(&Root::find()).map_err(said)?;
    if let Some(n) = wanted {
        log.resize(n).map_err(said)?;
    }
    if f.has('v') {
        print(&format!("slogger: the log holds {} bytes\n", log.capacity().map_err(said)?))?;
    }
    if !f.rest.is_empty() && !log.write(Severity::of(severity), code, minor, &f.rest.join(" ")) {
        return Err(Failure::new(
            "the log did not take the line: it is locked by a stopped process, or its disk fails",
        ));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        for (text, n) in [("16384", 16384), ("64k", 65536), ("1M", 1 << 20), ("0", 0)] {
            assert_eq!(size(text), Some(n));
        }
        for text in ["", "k", "-1", "1G", "99999999999999999999", "18446744073709551615k"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}

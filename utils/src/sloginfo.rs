//! `sloginfo`: shows the log.

use crate::getopt;
use crate::tool::{Failure, Outcome, print};
use iopkt_slog::{Reader, Record, Writer};
use iopkt_sys::civil::Civil;
use iopkt_sys::paths::Root;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: sloginfo [-chtw] [-m major] [-s severity]
  -c  clear the log     -w  go on and wait for new lines    -t  milliseconds
  -m  only this major code    -s  only lines at least as serious (0 shutdown ... 7 debug2)
  -h  no header";

/// The header, as QNX prints it.
const HEADER: &str = "Time             Sev Major Minor Args";

/// Runs the tool.
///
/// # Errors
/// Usage, no log yet, not readable.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("chm:s:tw", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let number = |c: char, max: u32| match f.value(c) {
        None => Ok(None),
        Some(v) => v
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= max)
            .map(Some)
            .ok_or_else(|| Failure::usage(format!("-{c} {v}: bad value"), USAGE)),
    };
    let (major, severity) = (number('m', 65535)?, number('s', 7)?.unwrap_or(7));
    let root = Root::find();
    if f.has('c') {
        let w = Writer::open(&root).map_err(|e| Failure::new(e.to_string()))?;
        w.clear().map_err(|e| Failure::new(e.to_string()))?;
        return Ok(0);
    }
    let mut reader = match Reader::open(&root) {
        Ok(r) => r,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::new(format!("nothing has been logged yet ({e})")));
        }
        Err(e) => return Err(Failure::new(e.to_string())),
    };
    let ms = f.has('t');
    if !f.has('h') {
        print(&if ms { HEADER.replacen("   Sev", "       Sev", 1) + "\n" } else { format!("{HEADER}\n") })?;
    }
    let wanted = |r: &&Record| r.severity as u32 <= severity && major.is_none_or(|m| u32::from(r.major) == m);
    loop {
        let new = reader.read().map_err(|e| Failure::new(e.to_string()))?;
        if new.missed > 0 {
            eprintln!("sloginfo: {} bytes of older lines were overwritten", new.missed);
        }
        print(&new.list.iter().filter(wanted).map(|r| line(r, ms)).collect::<String>())?;
        if !f.has('w') {
            return Ok(0);
        }
        reader.wait(None).map_err(|e| Failure::new(e.to_string()))?;
    }
}

fn line(r: &Record, ms: bool) -> String {
    let c = Civil::local(r.time);
    let frac = if ms { format!(".{:03}", r.time.subsec_millis()) } else { String::new() };
    format!(
        "{} {:02} {:02}:{:02}:{:02}{frac}  {:>3} {:>5} {:>5} {}\n",
        c.month_name(),
        c.day,
        c.hour,
        c.minute,
        c.second,
        r.severity as u32,
        r.major,
        r.minor,
        r.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_stand_under_their_header() {
        let r = Record {
            seq: 1,
            time: Duration::from_millis(1_000_000_123),
            severity: iopkt_slog::Severity::Info,
            major: 14,
            minor: 0,
            pid: 1,
            text: "tcpip starting".into(),
        };
        let l = line(&r, false);
        assert_eq!(l.find("tcpip"), HEADER.find("Args"));
        assert_eq!(&l[17..20], "  5");
        assert_eq!(&l[21..26], "   14");
        assert!(line(&r, true).contains(".123  "));
    }
}

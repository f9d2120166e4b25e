//! The option list: one comma-separated word. `name=`, `unit=` and `priority=` are the stack's; the rest must be in the
//! object's own list.

use crate::Error;
use crate::info::{Info, Kind, Takes, good_prefix};
use iopkt_base::Errno;

/// An option list, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `name=`: interface prefix instead of the driver's.
    pub name: Option<String>,
    /// `unit=`: number of the first interface; a negative one was ignored.
    pub unit: Option<u32>,
    /// `priority=`: QNX priority of the thread that runs this driver's devices.
    pub priority: Option<u8>,
    /// What the object gets to see.
    pub rest: String,
}

/// Highest priority (QNX's for user processes).
pub const PRIORITY_MAX: u8 = 63;

/// Largest interface number.
pub const UNIT_MAX: u32 = 9999;

/// Takes the generic options out of `list` (of a driver) and checks the others against what the object takes. An
/// object that judges its list itself gets it as it stands.
///
/// # Errors
/// EINVAL; the text names the object, the option, and what it takes.
pub fn split(list: &str, info: &Info) -> Result<Options, Error> {
    let file = info.file();
    let bad = |why: String| Err(Error::new(Errno::EINVAL, format!("{file}: {why}")));
    let mut out = Options::default();
    let mut rest: Vec<&str> = Vec::new();
    if list.contains('\0') {
        return bad("the option list contains a NUL".into());
    }
    if info.raw_options {
        return Ok(Options { rest: list.into(), ..out });
    }
    for word in list.split(',').filter(|w| !w.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((n, v)) => (n, Some(v)),
            None => (word, None),
        };
        // The generic options are those of interfaces, which only drivers make.
        let generic = if info.kind == Kind::Driver { name } else { "" };
        match (generic, value) {
            ("name", Some(v)) if good_prefix(v) => out.name = Some(v.into()),
            ("name", _) => {
                return bad(format!("option {word}: give name=PREFIX, letters, at most 11 characters"));
            }
            ("unit", Some(v)) => match v.parse::<i64>() {
                Ok(n) if n < 0 => {}
                Ok(n) if n <= i64::from(UNIT_MAX) => out.unit = Some(n as u32),
                _ => return bad(format!("option {word}: give unit=N, N from 0 to {UNIT_MAX}")),
            },
            // A driver that has the option itself sees it too.
            ("priority", v) => match v.and_then(|v| v.parse().ok()) {
                Some(n @ 1..=PRIORITY_MAX) => {
                    out.priority = Some(n);
                    if info.options.iter().any(|o| o.name == name) {
                        rest.push(word);
                    }
                }
                _ => return bad(format!("option {word}: give priority=N, N from 1 to {PRIORITY_MAX}")),
            },
            ("unit", None) => return bad(format!("option unit: give unit=N, N from 0 to {UNIT_MAX}")),
            _ => {
                let Some(known) = info.options.iter().find(|o| o.name == name) else {
                    return bad(format!("unknown option {name}; {}", takes(info)));
                };
                match (known.takes, value) {
                    (Takes::Nothing, Some(_)) => {
                        return bad(format!("option {name} takes no value; write {}", known.form));
                    }
                    (Takes::Value, None | Some("")) => {
                        return bad(format!("option {name} needs a value; write {}", known.form));
                    }
                    _ => rest.push(word),
                }
            }
        }
    }
    out.rest = rest.join(",");
    Ok(out)
}

fn takes(info: &Info) -> String {
    let mut forms: Vec<&str> = info.options.iter().map(|o| o.form.as_str()).collect();
    if info.kind == Kind::Driver {
        forms.extend(["name=PREFIX", "unit=N", "priority=N"]);
    }
    if forms.is_empty() { "it takes none".into() } else { format!("it takes {}", forms.join(", ")) }
}

//! `-U`: `uid[:gid[,gid]...]` or `name[,gid]...`.

use super::{Refused, refuse};

/// Who to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub who: Who,
    /// The group; the user's own when not given.
    pub gid: Option<u32>,
    /// Supplementary groups: these and no others.
    pub groups: Vec<u32>,
}

/// A user by number or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// By number.
    Uid(u32),
    /// By name, looked up when io-pkt starts.
    Name(String),
}

/// Most supplementary groups (NGROUPS_MAX of QNX).
const GROUPS: usize = 8;

impl User {
    pub(super) fn parse(text: &str) -> Result<User, Refused> {
        let bad = |why: &str| refuse(format!("-U {text}: {why}; write uid[:gid[,gid]...] or name[,gid]..."));
        // -1 means "no change" to setresuid(2).
        let id = |t: &str| {
            let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| t.parse::<u32>().ok()).flatten().filter(|n| *n != u32::MAX)
        };
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or("");
        let (who, gid) = match first.split_once(':') {
            Some((u, g)) => match (id(u), id(g)) {
                (Some(u), Some(g)) => (Who::Uid(u), Some(g)),
                _ => return bad("uid and gid must be numbers"),
            },
            None => match id(first) {
                Some(_) if text.contains(',') => return bad("groups follow a gid"),
                Some(u) => (Who::Uid(u), None),
                None if !first.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                    return bad("this is neither a number nor a name");
                }
                None => (Who::Name(first.to_owned()), None),
            },
        };
        let mut groups = Vec::new();
        for g in parts {
            match id(g) {
                Some(g) if groups.len() < GROUPS => groups.push(g),
                Some(_) => return bad("more than 8 groups"),
                None => return bad("groups must be numbers"),
            }
        }
        Ok(User { who, gid, groups })
    }
}

//! A family's variables: the tree of sysctl as a domain has it.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use iopkt_base::Errno;
use iopkt_ctl::Reply;

/// A variable that can be read only: name, value, why.
pub type Fixed = (&'static str, &'static str, &'static str);

/// Where a setting lives, and what it may be.
pub enum Place<'a> {
    /// 0 or 1.
    Flag(&'a mut bool),
    /// From the least value to 255.
    Byte(&'a mut u8, i64),
    /// From the least value to the largest.
    Word(&'a mut u32, i64, i64),
    /// A limit: -1 (none) to 1,000,000.
    Long(&'a mut i64),
}

impl Place<'_> {
    fn get(&self) -> i64 {
        match self {
            Place::Flag(b) => (**b).into(),
            Place::Byte(b, _) => (**b).into(),
            Place::Word(w, ..) => (**w).into(),
            Place::Long(l) => **l,
        }
    }

    /// False when the value is out of range.
    fn set(self, v: i64) -> bool {
        match self {
            Place::Flag(b) if v == 0 || v == 1 => *b = v == 1,
            Place::Byte(b, min) if (min..=255).contains(&v) => *b = v as u8,
            Place::Word(w, min, max) if (min..=max).contains(&v) => *w = v as u32,
            Place::Long(l) if (-1..=1_000_000).contains(&v) => *l = v,
            _ => return false,
        }
        true
    }
}

/// Settings that sysctl reads and writes.
pub trait Variables {
    /// Those that can be read only.
    const FIXED: &'static [Fixed];
    /// The names of the others.
    const NAMES: &'static [&'static str];

    /// Where the setting of this name is.
    fn place(&mut self, name: &str) -> Option<Place<'_>>;

    /// Reads or writes a variable, or lists all (name ""); `None` for a name that is not here.
    fn sysctl(&mut self, name: &str, value: Option<&str>) -> Option<Reply> {
        if name.is_empty() {
            let mut all: Vec<_> =
                Self::FIXED.iter().map(|(n, v, _)| (n.to_string(), v.to_string())).collect();
            for n in Self::NAMES {
                all.extend(self.place(n).map(|p| (n.to_string(), p.get().to_string())));
            }
            return Some(Reply::Sysctl(all));
        }
        if let Some((n, v, why)) = Self::FIXED.iter().find(|f| f.0 == name) {
            return Some(match value {
                None => Reply::Sysctl(alloc::vec![(n.to_string(), v.to_string())]),
                Some(x) if x.trim() == *v => Reply::Ok,
                Some(_) => Reply::why(Errno::EPERM, format!("{n}: read only ({why})")),
            });
        }
        let place = self.place(name)?;
        Some(match value {
            None => Reply::Sysctl(alloc::vec![(name.to_string(), place.get().to_string())]),
            Some(v) => match v.trim().parse::<i64>() {
                Ok(v) if place.set(v) => Reply::Ok,
                _ => Reply::why(Errno::EINVAL, format!("{name}: {v} is not a value for it")),
            },
        })
    }
}

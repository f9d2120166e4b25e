//! nstat(8) of a script's shell commands tells of the stack under test, not of the kernel.
//!
//! A command that names it runs with a directory of ours first in its path. There lies an `nstat` that shows what the counters of the stack
//! ([`iopkt_world::World::counters`]) have grown by since it was asked last, in nstat's form: names, values, those that are not 0. Options are
//! refused there, for they would mean something else.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const TOOL: &str = "#!/bin/sh
[ $# -eq 0 ] || { echo \"nstat of the stack under test has no options\" >&2; exit 1; }
cat \"${0%/*}/counters\"
: > \"${0%/*}/counters\"
";

/// The directory, removed with this; and what was told last.
#[derive(Default)]
pub(crate) struct Nstat {
    dir: Option<PathBuf>,
    told: HashMap<&'static str, u64>,
}

impl Nstat {
    /// The command as it is to run; `None`: it is not about nstat, or there is no place for ours.
    pub fn wrap(&mut self, command: &CStr, counters: &[(&'static str, u64)]) -> Option<CString> {
        let text = command.to_bytes();
        if !text.windows(5).any(|w| w == b"nstat") {
            return None;
        }
        let dir = self.place().ok()?;
        let mut lines = String::from("#kernel\n");
        for (name, v) in counters {
            let old = self.told.insert(name, *v).unwrap_or(0);
            if *v > old {
                let _ = writeln!(lines, "{name:<32}{:<16}{:.1}", v - old, 0.0);
            }
        }
        std::fs::write(dir.join("counters"), lines).ok()?;
        let mut c = format!("PATH='{}':\"$PATH\"\n", dir.display()).into_bytes();
        c.extend(text);
        CString::new(c).ok()
    }

    fn place(&mut self) -> std::io::Result<PathBuf> {
        if let Some(d) = &self.dir {
            return Ok(d.clone());
        }
        let dir = std::env::temp_dir().join(format!("iopkt-packetdrill-nstat-{}", std::process::id()));
        std::fs::DirBuilder::new().create(&dir)?;
        let d = self.dir.insert(dir).clone();
        std::fs::write(d.join("nstat"), TOOL)?;
        std::fs::set_permissions(d.join("nstat"), std::fs::Permissions::from_mode(0o700))?;
        Ok(d)
    }
}

impl Drop for Nstat {
    fn drop(&mut self) {
        if let Some(d) = &self.dir {
            let _ = std::fs::remove_dir_all(d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_command_sees_the_growth_once() {
        let mut n = Nstat::default();
        assert!(n.wrap(c"ls", &[]).is_none());
        let run = |c: CString| {
            let o = Command::new("sh").arg("-c").arg(c.into_string().expect("text")).output().expect("sh");
            (o.status.success(), String::from_utf8_lossy(&o.stdout).into_owned())
        };
        let c = n.wrap(c"nstat; nstat", &[("TcpInSegs", 3), ("TcpOutSegs", 0)]).expect("ours");
        let (ok, text) = run(c);
        assert!(
            ok && text.matches("TcpInSegs").count() == 1 && text.contains(" 3 ") && !text.contains("Out"),
            "{text}"
        );
        let c = n.wrap(c"nstat | grep -q InSegs", &[("TcpInSegs", 3)]).expect("ours");
        assert!(!run(c).0, "told twice");
        let c = n.wrap(c"nstat -a", &[]).expect("ours");
        assert!(!run(c).0, "an option");
        let dir = n.dir.clone().expect("a directory");
        drop(n);
        assert!(!dir.exists());
    }
}

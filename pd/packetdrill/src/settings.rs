//! The kernel's variables of this network namespace, as far as the stack knows them.

use iopkt_world::{World, sysctl};
use std::collections::HashMap;
use std::path::PathBuf;

/// Values that were last taken over.
#[derive(Default)]
pub(crate) struct Settings {
    last: HashMap<&'static str, String>,
    /// Names that the stack has no counterpart for, each told once.
    told: HashMap<&'static str, String>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

impl Settings {
    /// Takes over what has changed; returns variables that were changed to no effect.
    pub fn refresh(&mut self, w: &mut World) -> Vec<String> {
        let mut vain = Vec::new();
        let first = self.last.is_empty();
        for name in sysctl::KNOWN {
            let Ok(v) = std::fs::read_to_string(path(name)) else { continue };
            let v = v.trim().to_string();
            if self.last.get(name) == Some(&v) {
                continue;
            }
            if !w.sysctl(name, &v) && !first && self.told.insert(name, v.clone()).is_none() {
                vain.push(format!("{name}={v}"));
            }
            self.last.insert(name, v);
        }
        vain
    }
}

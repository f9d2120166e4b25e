//! Network namespaces of the test's own.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its loopback up, deleted with the value.
pub struct Netns {
    /// Its name for `ip netns exec`.
    pub name: String,
}

impl Netns {
    /// A fresh one.
    ///
    /// # Panics
    /// Without root: the tests of this crate run as root.
    pub fn new() -> Netns {
        let name = format!("iopkt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let n = Netns { name };
        n.ip(&["netns", "add", &n.name]);
        n.exec("ip link set lo up");
        n
    }

    fn ip(&self, args: &[&str]) {
        let o = Command::new("ip").args(args).output().expect("ip runs");
        assert!(o.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&o.stderr));
    }

    /// Runs a shell line inside; it must succeed. Returns its standard output.
    #[track_caller]
    pub fn exec(&self, line: &str) -> String {
        let o = Command::new("ip")
            .args(["netns", "exec", &self.name, "bash", "-c", line])
            .output()
            .expect("ip runs");
        assert!(o.status.success(), "`{line}` in {}: {}", self.name, String::from_utf8_lossy(&o.stderr));
        String::from_utf8_lossy(&o.stdout).into_owned()
    }
}

impl Default for Netns {
    fn default() -> Self {
        Netns::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

//! `net.inet.tcp.congctl.*`: the congestion controllers, by name (NetBSD's variables, Linux's names).

use crate::shard::Shard;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use iopkt_base::Errno;
use iopkt_ctl::Reply;
use iopkt_tcp::CcKind;

/// The variables answered here.
pub(crate) const NAMES: &[&str] = &["net.inet.tcp.congctl.available", "net.inet.tcp.congctl.selected"];

fn available() -> String {
    let names: Vec<&str> = CcKind::ALL.iter().map(|k| k.name()).collect();
    names.join(" ")
}

impl Shard {
    /// Reads or changes one of the variables; `None` for another name.
    pub(crate) fn congctl(&mut self, name: &str, value: Option<&str>) -> Option<Reply> {
        if !NAMES.contains(&name) {
            return None;
        }
        let selected = name.ends_with("selected");
        let Some(v) = value else {
            let now = if selected { self.sockets.default_cc().name().to_string() } else { available() };
            return Some(Reply::Sysctl(alloc::vec![(name.to_string(), now)]));
        };
        if !selected {
            if v.trim() == available() {
                // What scripts restore.
                return Some(Reply::Ok);
            }
            return Some(Reply::why(Errno::EPERM, format!("{name} is read only")));
        }
        Some(match CcKind::by_name(v.trim().as_bytes()) {
            Some(k) => {
                *self.sockets.default_cc() = k;
                Reply::Ok
            }
            None => Reply::why(
                Errno::EINVAL,
                format!("{name}: there is no congestion controller {v}, but {}", available()),
            ),
        })
    }
}

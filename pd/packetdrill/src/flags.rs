//! `--so_flags`, and what is known of the addresses.
//!
//! Words are separated by blanks or commas: `local=192.168.0.1`, `plen=16`, `mtu=1500`, `seed=1`, `sysctl=off`, `tun=off`, `name.of.variable=value` (as
//! sysctl(8) has it), `verbose`. Packetdrill does not tell the table its addresses, so `--local_ip` and `--mtu` are
//! read from its command line; a script that binds to another address, or gets packets for one, makes that one ours.

use iopkt_world::Setup;
use std::net::IpAddr;

/// Settings of a run.
pub(crate) struct Flags {
    pub setup: Setup,
    /// Take over the kernel's variables.
    pub kernel_sysctl: bool,
    /// Variables set by name.
    pub sysctl: Vec<(String, String)>,
    /// Say on stderr what was not understood.
    pub verbose: bool,
    /// Make a `tun0` of the kernel for the script's shell commands.
    pub tun: bool,
    /// The address was named, not guessed.
    pub fixed: bool,
}

impl Flags {
    /// Reads the flags, and the arguments of packetdrill. What is not understood is returned in words.
    pub fn read(flags: &str, args: &[String]) -> (Flags, Vec<String>) {
        let mut f = Flags {
            setup: Setup { epoch: crate::drive::EPOCH, ..Setup::default() },
            kernel_sysctl: true,
            sysctl: Vec::new(),
            verbose: false,
            tun: true,
            fixed: false,
        };
        let mut bad = Vec::new();
        for (i, a) in args.iter().enumerate() {
            let Some(name) = a.strip_prefix("--") else { continue };
            let (name, value) = match name.split_once('=') {
                Some((n, v)) => (n, v),
                None => (name, args.get(i + 1).map_or("", String::as_str)),
            };
            // Packetdrill's own options: it complains itself of what is wrong with them.
            match name {
                "local_ip" => {
                    f.local(value);
                }
                "mtu" => {
                    f.mtu(value);
                }
                _ => {}
            }
        }
        for w in flags.split([' ', ',']).filter(|w| !w.is_empty()) {
            let (name, value) = w.split_once('=').unwrap_or((w, ""));
            let ok = match name {
                "local" => f.local(value),
                "mtu" => f.mtu(value),
                "plen" => value.parse().ok().filter(|n| *n <= 32).map(|n| f.setup.plen = n).is_some(),
                "seed" => value.parse().map(|n| f.setup.seed = n).is_ok(),
                "sysctl" => {
                    f.kernel_sysctl = value != "off";
                    matches!(value, "on" | "off")
                }
                "tun" => {
                    f.tun = value != "off";
                    matches!(value, "on" | "off")
                }
                "verbose" => {
                    f.verbose = true;
                    true
                }
                n if n.contains('.') => {
                    f.sysctl.push((n.to_string(), value.to_string()));
                    true
                }
                _ => false,
            };
            if !ok {
                bad.push(w.to_string());
            }
        }
        (f, bad)
    }

    fn local(&mut self, v: &str) -> bool {
        match v.parse() {
            Ok(IpAddr::V4(a)) => self.setup.local = a,
            Ok(IpAddr::V6(a)) => self.setup.local6 = a,
            Err(_) => return false,
        }
        self.fixed = true;
        true
    }

    fn mtu(&mut self, v: &str) -> bool {
        let m = v.parse::<u32>().ok().filter(|m| (68..=65_535).contains(m));
        if let Some(m) = m {
            self.setup.mtu = m;
        }
        m.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_arguments_are_read_and_nonsense_is_named() {
        let args: Vec<String> = ["packetdrill", "--local_ip=10.1.2.3", "--mtu", "1400", "--ip_version=ipv6"]
            .iter()
            .map(|s| s.to_string())
            .collect();
        let (f, bad) = Flags::read("seed=7,sysctl=off net.ipv4.tcp_sack=0 mtu=9 colour=red", &args);
        assert_eq!((f.setup.local, f.setup.mtu, f.setup.seed), ([10, 1, 2, 3].into(), 1400, 7));
        assert!(!f.kernel_sysctl && f.fixed);
        assert_eq!(f.sysctl, [("net.ipv4.tcp_sack".to_string(), "0".to_string())]);
        assert_eq!(bad, ["mtu=9", "colour=red"]);
        let (f, bad) = Flags::read("local=fd00::7", &[]);
        assert_eq!((f.setup.local6.to_string().as_str(), f.fixed, bad.len()), ("fd00::7", true, 0));
    }
}

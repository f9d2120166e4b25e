//! `netstat`, `netstat -a`: sockets; those of AF_LOCAL are the kernel's, with their path below the stack's root.

use crate::addr::zoned;
use crate::names::Names;
use iopkt_ctl::SockInfo;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// `10.0.0.5.22`, `fe80::1%ecm0.22`, `*.22`, `*.*`: the port follows the address after a dot.
pub fn endpoint(a: Option<SocketAddr>, zone: Option<&str>, proto: &str, names: &Names) -> String {
    let Some(a) = a else { return "*.*".into() };
    let host = if a.ip().is_unspecified() { "*".to_string() } else { names.zoned(a.ip(), zone) };
    if a.port() == 0 { format!("{host}.*") } else { format!("{host}.{}", names.port(a.port(), proto)) }
}

/// What is shown of a family.
pub fn table(list: &[SockInfo], all: bool, ids: bool, six: bool, names: &Names) -> String {
    let mut o = format!(
        "Active Internet{} connections{}\n",
        if six { "6" } else { "" },
        if all { " (including servers)" } else { "" }
    );
    if ids {
        let _ = write!(o, "{:<16} ", "PCB");
    }
    let _ = writeln!(
        o,
        "{:<5} {:>6} {:>6}  {:<22} {:<22} State",
        "Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address"
    );
    for s in list.iter().filter(|s| (s.family == 6) == six) {
        let proto = if s.family == 6 { format!("{}6", s.proto) } else { s.proto.clone() };
        let line = format!(
            "{proto:<5} {:>6} {:>6}  {:<22} {:<22} {}",
            s.recv_q,
            s.send_q,
            endpoint(Some(s.local), s.zone.as_deref(), &s.proto, names),
            endpoint(s.remote, s.zone.as_deref(), &s.proto, names),
            s.state
        );
        if ids {
            let _ = write!(o, "{:<16x} ", s.id);
        }
        let _ = writeln!(o, "{}", line.trim_end());
    }
    o
}

/// -P: everything about one socket.
pub fn one(s: &SockInfo) -> String {
    let mut o = format!("PCB {:x}:\n", s.id);
    let shown = |a: SocketAddr| match a {
        SocketAddr::V6(x) => format!("[{}]:{}", zoned(a.ip(), s.zone.as_deref()), x.port()),
        SocketAddr::V4(x) => x.to_string(),
    };
    let remote = s.remote.map_or_else(|| "none".into(), shown);
    for (what, v) in [
        ("protocol", s.proto.clone()),
        ("family", if s.family == 6 { "inet6".into() } else { "inet".into() }),
        ("state", if s.state.is_empty() { "-".into() } else { s.state.clone() }),
        ("local address", shown(s.local)),
        ("foreign address", remote),
        ("receive queue", format!("{} bytes", s.recv_q)),
        ("send queue", format!("{} bytes", s.send_q)),
        ("process", s.pid.to_string()),
        ("user", s.uid.to_string()),
    ] {
        let _ = writeln!(o, "\t{what:<16} {v}");
    }
    o
}

/// An AF_LOCAL socket below the stack's root.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Local {
    /// Inode number, which is its name among descriptors.
    pub inode: u64,
    /// `stream`, `dgram`, `seqpacket`.
    pub kind: &'static str,
    /// It waits for connections.
    pub listening: bool,
    /// Path as the stack's programs see it.
    pub path: String,
}

/// The sockets below `root` in a listing of proc_net(5)'s unix.
pub fn local(text: &str, root: &Path) -> Vec<Local> {
    let one = |l: &str| {
        // Num RefCount Protocol Flags Type St Inode Path; a path may have blanks.
        let w: Vec<&str> = l.splitn(8, ' ').collect();
        let [_, _, _, flags, ty, _, _, _] = w[..] else { return None };
        let rest = w[7].trim_start();
        let (inode, path) = match w[6].parse::<u64>() {
            Ok(i) => (i, rest),
            // The number is padded.
            Err(_) => {
                let (i, p) = rest.split_once(' ')?;
                (i.parse().ok()?, p)
            }
        };
        let below = Path::new(path.trim()).strip_prefix(root).ok()?;
        Some(Local {
            inode,
            kind: match ty {
                "0001" => "stream",
                "0002" => "dgram",
                _ => "seqpacket",
            },
            listening: u32::from_str_radix(flags, 16).ok()? & 0x1_0000 != 0,
            path: format!("/{}", below.display()),
        })
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// `netstat -f local`.
pub fn local_table(list: &[Local], all: bool) -> String {
    let mut o = String::from("Active UNIX domain sockets\n");
    let _ = writeln!(o, "{:<10} {:<10} {:<8} Addr", "Inode", "Type", "State");
    for s in list.iter().filter(|s| all || !s.listening) {
        let state = if s.listening { "LISTEN" } else { "-" };
        let _ = writeln!(o, "{:<10} {:<10} {state:<8} {}", s.inode, s.kind, s.path);
    }
    o
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_show_ports_after_dots() {
        let n = Names::new(true);
        let l = [SockInfo {
            proto: "tcp".into(),
            family: 4,
            recv_q: 0,
            send_q: 5,
            local: "10.0.0.5:22".parse().expect("address"),
            remote: "10.0.0.1:5000".parse().ok(),
            state: "ESTABLISHED".into(),
            pid: 1,
            id: 0x10_0000_0002,
            ino: 7,
            uid: 0,
            zone: None,
        }];
        let t = table(&l, true, false, false, &n);
        assert!(t.starts_with(
            "Active Internet connections (including servers)\nProto Recv-Q Send-Q  Local Address"
        ));
        assert!(t.contains("10.0.0.5.22 ") && t.contains("10.0.0.1.5000 ") && t.ends_with("ESTABLISHED\n"));
        assert_eq!(endpoint("0.0.0.0:80".parse().ok(), None, "tcp", &n), "*.80");
        assert_eq!(endpoint("[::]:80".parse().ok(), None, "tcp", &n), "*.80");
        assert_eq!(endpoint("[fe80::1]:80".parse().ok(), Some("ecm0"), "tcp", &n), "fe80::1%ecm0.80");
        assert_eq!(endpoint("[2001:db8::1]:80".parse().ok(), Some("ecm0"), "tcp", &n), "2001:db8::1.80");
        assert_eq!(endpoint(None, None, "tcp", &n), "*.*");
        let t = table(&l, false, true, true, &n);
        assert!(t.starts_with("Active Internet6 connections\nPCB") && t.lines().count() == 2, "{t}");
        assert!(table(&l, false, true, false, &n).contains("\n1000000002 "));
        assert!(one(&l[0]).contains("\tlocal address    10.0.0.5:22\n"));
    }

    #[test]
    fn local_sockets_are_those_below_the_root() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 26531 /run/io-pkt/tmp/a b\n\
            0000000000000000: 00000003 00000000 00000000 0002 03    77 /run/io-pkt/x\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 99 /run/other\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 98\nnonsense\n";
        let l = local(text, Path::new("/run/io-pkt"));
        assert_eq!(l.len(), 2, "{l:?}");
        assert_eq!(
            (l[0].inode, l[0].kind, l[0].listening, l[0].path.as_str()),
            (26531, "stream", true, "/tmp/a b")
        );
        assert_eq!((l[1].inode, l[1].kind, l[1].listening, l[1].path.as_str()), (77, "dgram", false, "/x"));
        assert_eq!(local_table(&l, false).lines().count(), 3);
    }
}

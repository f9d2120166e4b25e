//! docs/socket-options.md has a row for every option, flag and control message of the system's headers, and no row for a test
//! that is not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Headers, and which of their names are options or flags.
const HEADERS: [(&str, &[&str]); 11] = [
    ("asm-generic/socket.h", &["SO_", "SCM_"]),
    ("linux/in.h", &["IP_", "MCAST_"]),
    ("linux/in6.h", &["IPV6_"]),
    ("linux/icmpv6.h", &["ICMPV6_FILTER"]),
    ("linux/tcp.h", &["TCP_"]),
    ("linux/udp.h", &["UDP_"]),
    ("netinet/tcp.h", &["TCP_"]),
    ("netinet/udp.h", &["UDP_"]),
    ("x86_64-linux-gnu/bits/in.h", &["IP_", "IPV6_", "MCAST_"]),
    ("x86_64-linux-gnu/bits/socket.h", &["MSG_"]),
    ("aarch64-linux-gnu/bits/socket.h", &["MSG_"]),
];

/// Values of options, limits and the like, which share their prefixes.
const OTHERS: [&str; 29] = [
    "ICMPV6_FILTER_",
    "IPV6_FL_",
    "IPV6_FLOWINFO_FLOWLABEL",
    "IPV6_FLOWINFO_PRIORITY",
    "IPV6_PMTUDISC_",
    "IPV6_PREFER_",
    "IPV6_PRIORITY_",
    "IPV6_RTHDR_",
    "IPV6_TLV_",
    "IP_DEFAULT_",
    "IP_MAX_",
    "IP_PMTUDISC_",
    "MCAST_EXCLUDE",
    "MCAST_INCLUDE",
    "TCP_CM_",
    "TCP_COOKIE_IN",
    "TCP_COOKIE_M",
    "TCP_COOKIE_OUT",
    "TCP_COOKIE_PAIR",
    "TCP_MAX",
    "TCP_MD5SIG_FLAG",
    "TCP_MD5SIG_MAX",
    "TCP_MSS",
    "TCP_RECEIVE_",
    "TCP_REPAIR_O",
    "TCP_S_",
    "UDP_ENCAP_",
    "TCP_ENCAP_",
    "IP_MSFILTER_SIZE",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names that the headers define with a number or another name: `#define` and the flags' enumeration.
fn names() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (header, prefixes) in HEADERS {
        let Ok(text) = std::fs::read_to_string(Path::new("/usr/include").join(header)) else { continue };
        for line in text.lines() {
            let mut words = line.trim_start().trim_start_matches('#').split_whitespace();
            let name = match (words.next(), words.next()) {
                (Some("define"), Some(n)) => n,
                // Flags are an enumeration, too; what other headers have of that kind are no options.
                (Some(n), Some("=")) if header.ends_with("socket.h") => n,
                _ => continue,
            };
            // TCP_REPAIR_OPTIONS is one, TCP_REPAIR_ON and TCP_REPAIR_OFF are not.
            let value = OTHERS.iter().any(|o| name.starts_with(o)) && name != "TCP_REPAIR_OPTIONS";
            let plain = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            if plain && !value && prefixes.iter().any(|p| name.starts_with(p)) {
                all.insert(name.to_string());
            }
        }
    }
    all
}

/// Name, verdict and test of each row.
fn rows() -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(root().join("docs/socket-options.md")).unwrap();
    let cells = |l: &str| l.trim_matches('|').split('|').map(|c| c.trim().to_string()).collect::<Vec<_>>();
    let rows = text.lines().filter(|l| l.starts_with("| ")).map(cells);
    rows.filter(|c| c.len() == 4 && c[0] != "name" && c[0] != "---")
        .map(|c| [c[0].clone(), c[1].clone(), c[3].clone()])
        .collect()
}

#[test]
fn every_name_of_the_headers_has_a_row() {
    let names = names();
    if names.len() < 100 {
        eprintln!("SKIPPED: the headers of Linux and libc are not installed (linux-libc-dev, libc6-dev)");
        return;
    }
    let told: BTreeSet<String> = rows().into_iter().map(|r| r[0].clone()).collect();
    let missing: Vec<_> = names.difference(&told).collect();
    assert!(missing.is_empty(), "docs/socket-options.md has no row for {missing:?}");
}

#[test]
fn every_row_says_what_and_who_holds_it() {
    let rows = rows();
    assert!(rows.len() > 150, "{} rows", rows.len());
    let mut seen = BTreeSet::new();
    for [name, here, test] in rows {
        assert!(seen.insert(name.clone()), "{name} twice");
        assert!(["works", "kept", "refused", "read"].contains(&here.as_str()), "{name}: {here}");
        let places =
            ["core/stack/tests", "core/inet/tests", "core/inet6/tests", "core/tcp/tests", "socket/run/tests"];
        let file = if test == "differ" { "differ.rs".to_string() } else { test };
        assert!(places.iter().any(|p| root().join(p).join(&file).is_file()), "{name}: no test {file}");
    }
}

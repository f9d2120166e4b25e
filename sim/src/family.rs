//! The parameter of the transport's tests: over IPv4, over IPv6, or over IPv4 by sockets of IPv6 (v4-mapped addresses).
//!
//! `IO_PKT_FAMILY` (`v4`, `v6`, `mapped`) says which one a process is of; IPv4 when it is not there. A test file whose helpers ask
//! [`Via::now`] has one test that calls [`again`]: the file runs a second and a third time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::OnceLock;

/// Its name in the environment.
const NAME: &str = "IO_PKT_FAMILY";

/// By what packets go, and of which family sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// IPv4, by sockets of IPv6.
    Mapped,
}

impl Via {
    /// That of this process.
    ///
    /// # Panics
    /// The environment says something else.
    pub fn now() -> Via {
        static VIA: OnceLock<Via> = OnceLock::new();
        *VIA.get_or_init(|| match std::env::var(NAME).as_deref() {
            Err(_) | Ok("v4") => Via::V4,
            Ok("v6") => Via::V6,
            Ok("mapped") => Via::Mapped,
            Ok(x) => panic!("{NAME}={x}: v4, v6 or mapped"),
        })
    }

    /// The family of its sockets.
    pub fn family(self) -> iopkt_stack::Family {
        if self == Via::V4 { iopkt_stack::Family::V4 } else { iopkt_stack::Family::V6 }
    }

    /// The address of host `n` in packets: 10.0.0.`n` or 2001:db8::`n`.
    pub fn wire(self, n: u8) -> IpAddr {
        match self {
            Via::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into(),
            Via::V4 | Via::Mapped => Ipv4Addr::new(10, 0, 0, n).into(),
        }
    }

    /// An address as its sockets have it.
    pub fn outside(self, a: IpAddr) -> IpAddr {
        match (self, a) {
            (Via::Mapped, IpAddr::V4(a)) => a.to_ipv6_mapped().into(),
            _ => a,
        }
    }

    /// The address that is everybody's.
    pub fn any(self) -> IpAddr {
        if self == Via::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    }

    /// The node itself.
    pub fn loopback(self) -> IpAddr {
        match self {
            Via::V6 => Ipv6Addr::LOCALHOST.into(),
            Via::V4 | Via::Mapped => self.outside(Ipv4Addr::LOCALHOST.into()),
        }
    }

    /// Bytes of its header.
    pub fn header(self) -> usize {
        if self == Via::V6 { 40 } else { 20 }
    }

    /// Whether a counter of a transport is of its packets: those of IPv6 have a group of their own.
    pub fn counts(self, group: &str) -> bool {
        group.ends_with('6') == (self == Via::V6) || !(group.starts_with("tcp") || group.starts_with("udp"))
    }

    /// Bits of the network of [`Via::wire`].
    pub fn plen(self) -> u8 {
        if self == Via::V6 { 64 } else { 24 }
    }
}

/// Runs the tests of this file again for the other families, without those whose names have one of these in them: what is of IPv4 only.
/// Nothing where it is such a run.
///
/// # Panics
/// One of them fails: what it printed is in the message.
pub fn again(not_v6: &[&str], not_mapped: &[&str]) {
    again_as("v6", not_v6);
    again_as("mapped", not_mapped);
}

/// The same for one family.
///
/// # Panics
/// As [`again`].
pub fn again_as(family: &str, skip: &[&str]) {
    if std::env::var_os(NAME).is_some() {
        return;
    }
    let me = std::env::current_exe().expect("the test's own file");
    let mut c = Command::new(&me);
    c.env(NAME, family).args(skip.iter().flat_map(|s| ["--skip", s]));
    let out = c.output().expect("the test runs again");
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(out.status.success(), "{NAME}={family} {}: {}\n{text}", me.display(), out.status);
    assert!(!text.contains("running 0 tests"), "nothing runs as {family}");
}

//! Peers that lie and strangers that forge: what they can make the stack do is bounded, who was connected goes on at his pace,
//! and every frame is accounted for.
//!
//! The victim is host 1 (10.0.0.1). Host 2 is honest and moves data both ways all the time; the adversary writes frames by hand
//! and reads what the victim answers. Nothing here measures time of the machine: what is counted is packets, buffers, sockets
//! and virtual time.

#[path = "adversary/blind.rs"]
mod blind;
#[path = "adversary/floods.rs"]
mod floods;
#[path = "adversary/rig.rs"]
mod rig;
#[path = "adversary/sack.rs"]
mod sack;
#[path = "adversary/windows.rs"]
mod windows;

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    // What the adversary says by ICMP, ARP and fragments of IPv4; of IPv6's see tests/v6 and core/inet6/tests.
    let v4 = [
        "icmp_errors",
        "a_path_mtu_of_68",
        "pings_and_datagrams",
        "fragments_that_never_end",
        "claimed_addresses",
    ];
    iopkt_sim::family::again(&v4, &[]);
}

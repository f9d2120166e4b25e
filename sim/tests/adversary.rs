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

/// The frames of the adversary are IPv4's.
#[test]
fn by_mapped_addresses() {
    iopkt_sim::family::again_as("mapped", &[]);
}

//! io-pkt-v4: the small IPv4 stack: no IPv6, IPsec, 802.11, bridging, GRE, multicast routing, multilink PPP.
//!
//! A variant is this list and nothing else; the linker leaves out what it does not name.

use iopkt_inet::Inet;
use iopkt_runtime::cmdline::Variant;
use iopkt_runtime::{Composition, Size, main as run};
use iopkt_stack::Domain;
use std::process::ExitCode;

const VARIANT: Composition = Composition {
    variant: Variant {
        name: "io-pkt-v4",
        about: "the small IPv4 stack: no IPv6, IPsec, 802.11, bridging, GRE, multicast routing, multilink PPP",
        hc: false,
        v6: false,
        note: "",
    },
    domains,
    size: Size::SMALL,
};

/// The protocol families, in the order in which they are asked.
fn domains() -> Vec<Box<dyn Domain>> {
    vec![Box::new(Inet::new())]
}

fn main() -> ExitCode {
    run(&VARIANT)
}

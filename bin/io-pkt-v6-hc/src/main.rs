//! io-pkt-v6-hc: the full stack for IPv4 and IPv6.
//!
//! A variant is this list and nothing else; the linker leaves out what it does not name.

use iopkt_inet::Inet;
use iopkt_inet6::Inet6;
use iopkt_runtime::cmdline::Variant;
use iopkt_runtime::{Composition, Size, main as run};
use iopkt_stack::Domain;
use std::process::ExitCode;

const VARIANT: Composition = Composition {
    variant: Variant {
        name: "io-pkt-v6-hc",
        about: "the full stack for IPv4 and IPv6",
        hc: true,
        v6: true,
        note: "",
    },
    domains,
    size: Size::FULL,
};

/// The protocol families, in the order in which they are asked.
fn domains() -> Vec<Box<dyn Domain>> {
    vec![Box::new(Inet::new()), Box::new(Inet6::new())]
}

fn main() -> ExitCode {
    run(&VARIANT)
}

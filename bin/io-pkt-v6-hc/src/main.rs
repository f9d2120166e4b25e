//! io-pkt-v6-hc: IPv4 and IPv6.

fn main() {}

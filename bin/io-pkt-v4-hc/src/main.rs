//! io-pkt-v4-hc: the full IPv4 stack.

fn main() {}

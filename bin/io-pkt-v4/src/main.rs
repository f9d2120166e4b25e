//! io-pkt-v4: the small IPv4 stack.

fn main() {}

//! io-pkt-run: runs unmodified programs on the stack.

fn main() {}

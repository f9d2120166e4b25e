//! What cargo alone does not do: demo, test, dist, edges.

fn main() {}

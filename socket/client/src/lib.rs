//! Rust API to a running stack.

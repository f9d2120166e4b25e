//! Safe face of the driver ABI for authors of drivers in Rust.

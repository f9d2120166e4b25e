//! devnp-tap.so: the Linux TAP driver.

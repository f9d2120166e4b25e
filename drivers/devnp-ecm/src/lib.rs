//! devnp-ecm.so: USB CDC-ECM over USB/IP.

//! What the drivers of USB network functions share. Each driver (devnp-ecm, ...) is an object of its own
//! around this library: its options, its name, and the functions that it takes.
//!
//! [`driver`] runs on the object's control thread: it waits for the USB stack, imports and configures
//! ([`probe`]) the devices that match the options, and attaches them. [`device`] runs on the packet thread: it
//! moves bytes between the descriptors and [`machine`], which is the driver proper, without I/O. [`at`] and
//! [`serial`] are the AT port.

pub mod at;
mod at_port;
pub mod bus;
pub mod device;
pub mod driver;
#[cfg(test)]
mod fault_tests;
pub mod find;
pub mod machine;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod ncm_tests;
pub mod options;
pub mod probe;
pub mod quirks;
#[cfg(test)]
mod rig;
pub mod serial;
pub mod shared;
pub mod units;

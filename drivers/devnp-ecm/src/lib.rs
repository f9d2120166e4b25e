//! devnp-ecm.so: USB CDC-ECM over USB/IP.
//!
//! [`driver`] runs on the object's control thread: it waits for the USB stack, imports and configures
//! ([`probe`]) the devices that match the options, and attaches them. [`device`] runs on the packet thread: it
//! moves bytes between the descriptors and [`machine`], which is the driver proper, without I/O. [`at`] and
//! [`serial`] are the AT port.

pub mod at;
mod bus;
mod device;
mod driver;
pub mod machine;
#[cfg(test)]
mod machine_tests;
mod options;
mod probe;
mod serial;

iopkt_sdk::iopkt_driver! {
    driver: driver::EcmDriver,
    name: "ecm",
    prefix: "ecm",
    version: env!("CARGO_PKG_VERSION"),
    description: "USB CDC-ECM Ethernet",
    options: [
        "bufsz=N" => "bytes of the AT port's buffer (2048)",
        "busnum=N" => "only devices of this USB bus",
        "devnum=N" => "only the device with this address",
        "ign_remove" => "keep the interface when its device is removed",
        "path=NAME" => "the USB stack: a name under the root (/dev/usb) or HOST:PORT",
        "pnp" => "stay loaded, take devices as they are plugged in",
        "receive=N" => "receive URBs (64)",
        "transmit=N" => "transmit URBs (64)",
        "verbose[=N]" => "say more in the log",
        "wait=N" => "seconds to wait for the USB stack (60)",
    ],
}

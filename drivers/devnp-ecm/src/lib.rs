//! devnp-ecm.so: USB CDC-ECM over USB/IP. The code is `drivers/usbnet`; this is the object.

iopkt_sdk::iopkt_driver! {
    driver: iopkt_usbnet::driver::EcmDriver,
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

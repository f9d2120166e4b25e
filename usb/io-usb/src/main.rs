//! io-usb: the USB stack manager.

fn main() {}

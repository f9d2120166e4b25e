//! devnp-ncm.so: USB CDC-NCM over USB/IP, a driver of the family of devnp-ecm. The code is `drivers/usbnet`; this
//! is the object, with the options that only NCM has.

use iopkt_sdk::{Control, Driver, Fail, Options, Ready};
use iopkt_usbnet::driver::EcmDriver;
use iopkt_usbnet::options::{self, NcmOptions};

/// The family's driver, told to take NCM functions.
pub struct NcmDriver(EcmDriver);

impl Driver for NcmDriver {
    fn load(ctl: &Control<'_>, o: &Options) -> Result<Self, Fail> {
        let ncm = Some(NcmOptions::read(o)?);
        EcmDriver::open(ctl, options::Options { ncm, ..options::Options::read(o)? }).map(NcmDriver)
    }

    fn fd(&mut self, ctl: &Control<'_>, cookie: u64, ready: Ready) {
        self.0.fd(ctl, cookie, ready);
    }

    fn timer(&mut self, ctl: &Control<'_>) {
        self.0.timer(ctl);
    }

    fn gone(&mut self, ctl: &Control<'_>, cookie: u64) {
        self.0.gone(ctl, cookie);
    }
}

iopkt_sdk::iopkt_driver! {
    driver: NcmDriver,
    name: "ncm",
    prefix: "ncm",
    version: env!("CARGO_PKG_VERSION"),
    description: "USB CDC-NCM Ethernet",
    options: [
        "bufsz=N" => "bytes of the AT port's buffer (2048)",
        "busno=N" => "busnum, as drivers from NetBSD spell it",
        "busno=N" => "busnum, as drivers from NetBSD spell it",
        "busnum=N" => "only devices of this USB bus",
        "cfg=N" => "the configuration to use (with busnum and devnum)",
        "control_timeout=MS" => "longest control request (2000)",
        "crc" => "frames carry their CRC, if the device can",
        "devno=N" => "devnum, as drivers from NetBSD spell it",
        "ctrlbufsz=N" => "longest encapsulated response, bytes (1024)",
        "ctrlrxurb=N" => "encapsulated responses that may be asked for in a row (64)",
        "devno=N" => "devnum, as drivers from NetBSD spell it",
        "devnum=N" => "only the device with this address",
        "did=ID" => "only devices of this product",
        "disable_set_packet_filter" => "no packet filter requests",
        "iface=N" => "the control interface to use (with busnum and devnum)",
        "did=ID" => "only devices of this product",
        "ign_remove" => "keep the interface when its device is removed",
        "intf=N" => "lowest interface number to look at",
        "npkt=N" => "most frames in a block to the device (0: what fits)",
        "ntb32" => "blocks of 32-bit numbers, if the device has them",
        "ntbsize=N" => "longest block, bytes (16384)",
        "path=NAME" => "the USB stack: a name under the root (/dev/usb) or HOST:PORT",
        "pnp" => "stay loaded, take devices as they are plugged in",
        "receive=N" => "receive URBs (64)",
        "transmit=N" => "transmit URBs (64)",
        "verbose[=N]" => "say more in the log",
        "vid=ID" => "only devices of this vendor",
        "vid=ID" => "only devices of this vendor",
        "wait=N" => "seconds to wait for the USB stack (60)",
    ],
}

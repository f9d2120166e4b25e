//! The driver's options, as `-d ecm` and `mount -o` give them.

use iopkt_sdk::Fail;
use std::time::Duration;

/// What devnp-ncm has beside the common options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NcmOptions {
    /// `crc`: frames carry their CRC, where the device can do that.
    pub crc: bool,
    /// `npkt=`: most frames in a block to the device, 0: what fits.
    pub npkt: usize,
    /// `ntb32`: blocks of 32-bit numbers, where the device has them.
    pub ntb32: bool,
    /// `ntbsize=`: longest block each way, bytes.
    pub ntbsize: u32,
}

impl NcmOptions {
    /// Reads them from an option list.
    ///
    /// # Errors
    /// The option and what is wrong with it.
    pub fn read(o: &iopkt_sdk::Options) -> Result<NcmOptions, Fail> {
        Ok(NcmOptions {
            crc: o.has("crc"),
            npkt: o.number("npkt", 0..=256)?.unwrap_or(0),
            ntb32: o.has("ntb32"),
            ntbsize: o.number("ntbsize", 2048..=65_535)?.unwrap_or(crate::machine::BLOCK),
        })
    }
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `bufsz=`: bytes that the AT channel may hold each way.
    pub bufsz: usize,
    /// `busnum=`: only devices of this USB bus.
    pub busnum: Option<u32>,
    /// `devnum=`: only the device with this address.
    pub devnum: Option<u32>,
    /// `ign_remove`: keep the interface when its device is removed; somebody else destroys it.
    pub ign_remove: bool,
    /// `path=`: the USB stack.
    pub path: String,
    /// `pnp`: stay loaded and take devices as they come.
    pub pnp: bool,
    /// `receive=`: receive URBs.
    pub receive: usize,
    /// `transmit=`: transmit URBs.
    pub transmit: usize,
    /// `verbose`: say more in the log.
    pub verbose: bool,
    /// `wait=`: how long to wait for the USB stack.
    pub wait: Duration,
    /// The object takes NCM functions, not ECM ones, and uses them so.
    pub ncm: Option<NcmOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bufsz: 2048,
            busnum: None,
            devnum: None,
            ign_remove: false,
            path: "/dev/usb".into(),
            pnp: false,
            receive: 64,
            transmit: 64,
            verbose: false,
            wait: Duration::from_secs(60),
            ncm: None,
        }
    }
}

impl Options {
    /// Reads an option list; names and the need of values have been checked by the host.
    ///
    /// # Errors
    /// The option and what is wrong with it.
    pub fn read(o: &iopkt_sdk::Options) -> Result<Options, Fail> {
        let d = Options::default();
        Ok(Options {
            bufsz: o.number("bufsz", 64..=1 << 20)?.unwrap_or(d.bufsz),
            busnum: o.number("busnum", 0..=65_535)?,
            devnum: o.number("devnum", 0..=65_535)?,
            ign_remove: o.has("ign_remove"),
            path: o.get("path").map_or(d.path, str::to_string),
            pnp: o.has("pnp"),
            receive: o.number("receive", 1..=1024)?.unwrap_or(d.receive),
            transmit: o.number("transmit", 1..=1024)?.unwrap_or(d.transmit),
            // A value is accepted because people try verbose=10, as the guides advise.
            verbose: o.has("verbose") && o.number("verbose", 0..=100u32)? != Some(0),
            wait: Duration::from_secs(o.number("wait", 0..=86_400)?.unwrap_or(60)),
            ncm: None,
        })
    }
}

impl Options {
    /// The kind of function that is taken, for messages.
    pub fn kind(&self) -> &'static str {
        if self.ncm.is_some() { "CDC-NCM" } else { "CDC-ECM" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<Options, Fail> {
        Options::read(&iopkt_sdk::Options::parse(list))
    }

    #[test]
    fn the_documented_options_and_defaults() {
        assert_eq!(read("").expect("empty"), Options::default());
        let o = read(
            "verbose,busnum=0x1,devnum=3,pnp,ign_remove,receive=8,transmit=16,bufsz=4096,wait=1,path=/dev/x",
        )
        .expect("good");
        assert_eq!((o.busnum, o.devnum, o.receive, o.transmit, o.bufsz), (Some(1), Some(3), 8, 16, 4096));
        assert!(o.verbose && o.pnp && o.ign_remove && o.path == "/dev/x" && o.wait == Duration::from_secs(1));
        assert!(read("verbose=10").expect("good").verbose && !read("verbose=0").expect("good").verbose);
    }

    #[test]
    fn bad_ones_are_named() {
        for (list, name) in [("receive=0", "receive"), ("transmit=9999", "transmit"), ("busnum=x", "busnum")]
        {
            let e = read(list).unwrap_err();
            assert!(e.why.contains(name), "{list}: {}", e.why);
        }
    }
}

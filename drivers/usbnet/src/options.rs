//! The driver's options, as `-d ecm` and `mount -o` give them.

use iopkt_sdk::{Fail, UsbSelect, errno};
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
    /// `busnum=`, `devnum=`, or NetBSD's `did=`, `vid=`, `busno=`, `devno=`: only these devices.
    pub select: UsbSelect,
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
    /// `classid=`, `subclassid=`: class and subclass of the control interface, instead of the driver's own.
    pub class: Option<(u8, u8)>,
    /// `ctrlbufsz=`: longest answer to a control request.
    pub ctrlbufsz: u16,
    /// `ctrlrxurb=`: answers that may be asked for in a row.
    pub ctrlrxurb: usize,
    /// `intf=`: lowest interface number to look at.
    pub intf: u8,
    /// `cfg=`: value of the configuration to use.
    pub cfg: Option<u8>,
    /// `iface=`: number of the control interface.
    pub iface: Option<u8>,
    /// `control_timeout=`: how long a control request may take.
    pub control_timeout: Duration,
    /// `disable_set_packet_filter`: no packet filter requests.
    pub no_filter: bool,
    /// The object takes NCM functions, not ECM ones, and uses them so.
    pub ncm: Option<NcmOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bufsz: 2048,
            select: UsbSelect::default(),
            ign_remove: false,
            path: "/dev/usb".into(),
            pnp: false,
            receive: 64,
            transmit: 64,
            verbose: false,
            wait: Duration::from_secs(60),
            class: None,
            ctrlbufsz: 1024,
            ctrlrxurb: 64,
            intf: 0,
            cfg: None,
            iface: None,
            control_timeout: Duration::from_secs(2),
            no_filter: false,
            ncm: None,
        }
    }
}

/// Options of devnp-usbnet that make no sense here, and why: they are refused by name.
const REFUSED: [(&str, &str); 4] = [
    ("cache", "buffers are not shared with a host controller here, there is nothing to make cacheable"),
    ("ext_name", "interface names are a prefix and a number; choose them with name= and unit="),
    ("keepalive_timeout", "keep-alive messages are RNDIS's, which this driver does not speak"),
    ("prio", "completions are handled on the packet thread; set rx_prio of the tcpip options"),
];

/// A hexadecimal byte, with or without 0x.
fn hex(o: &iopkt_sdk::Options, name: &str) -> Result<Option<u8>, Fail> {
    let Some(v) = o.get(name) else { return Ok(None) };
    let digits = v.strip_prefix("0x").or(v.strip_prefix("0X")).unwrap_or(v);
    let n = Some(digits).filter(|d| d.bytes().all(|c| c.is_ascii_hexdigit()));
    match n.and_then(|d| u8::from_str_radix(d, 16).ok()) {
        Some(n) => Ok(Some(n)),
        None => Err(Fail::new(
            errno::EINVAL,
            format!("option {name}={v}: give a hexadecimal number from 0 to ff"),
        )),
    }
}

impl Options {
    /// Reads an option list; names and the need of values have been checked by the host.
    ///
    /// # Errors
    /// The option and what is wrong with it.
    pub fn read(o: &iopkt_sdk::Options) -> Result<Options, Fail> {
        let d = Options::default();
        let bad = |why: String| Err(Fail::new(errno::EINVAL, why));
        if let Some((name, why)) = REFUSED.iter().find(|r| o.has(r.0)) {
            return bad(format!("option {name} is not supported: {why}"));
        }
        let class = match (hex(o, "classid")?, hex(o, "subclassid")?) {
            (None, None) => None,
            (Some(c), Some(s)) => Some((c, s)),
            _ => return bad("classid= and subclassid= go together: give both, or none".into()),
        };
        let out = Options {
            bufsz: o.number("bufsz", 64..=1 << 20)?.unwrap_or(d.bufsz),
            select: UsbSelect::read(o)?,
            ign_remove: o.has("ign_remove"),
            path: o.get("path").map_or(d.path, str::to_string),
            pnp: o.has("pnp"),
            receive: o.number("receive", 1..=1024)?.unwrap_or(d.receive),
            transmit: o.number("transmit", 1..=1024)?.unwrap_or(d.transmit),
            // A value is accepted because people try verbose=10, as the guides advise.
            verbose: o.has("verbose") && o.number("verbose", 0..=100u32)? != Some(0),
            wait: Duration::from_secs(o.number("wait", 0..=86_400)?.unwrap_or(60)),
            class,
            ctrlbufsz: o.number("ctrlbufsz", 64..=4096)?.unwrap_or(d.ctrlbufsz),
            ctrlrxurb: o.number("ctrlrxurb", 1..=1024)?.unwrap_or(d.ctrlrxurb),
            intf: o.number("intf", 0..=255)?.unwrap_or(0),
            cfg: o.number("cfg", 1..=255)?,
            iface: o.number("iface", 0..=255)?,
            control_timeout: Duration::from_millis(o.number("control_timeout", 10..=60_000)?.unwrap_or(2000)),
            no_filter: o.has("disable_set_packet_filter"),
            ncm: None,
        };
        let one = out.select.bus.is_some() && out.select.device.is_some();
        for (name, given) in [("cfg", out.cfg.is_some()), ("iface", out.iface.is_some())] {
            if given && !one {
                return bad(format!("option {name}= is about one device: give busnum= and devnum= too"));
            }
        }
        Ok(out)
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
        assert_eq!(
            (o.select.bus, o.select.device, o.receive, o.transmit, o.bufsz),
            (Some(1), Some(3), 8, 16, 4096)
        );
        assert!(o.verbose && o.pnp && o.ign_remove && o.path == "/dev/x" && o.wait == Duration::from_secs(1));
        assert!(read("verbose=10").expect("good").verbose && !read("verbose=0").expect("good").verbose);
    }

    #[test]
    fn those_of_ecmplus_and_usbnet() {
        let o = read("classid=ff,subclassid=0x42,ctrlbufsz=2048,ctrlrxurb=8,intf=2").expect("good");
        assert_eq!((o.class, o.ctrlbufsz, o.ctrlrxurb, o.intf), (Some((0xff, 0x42)), 2048, 8, 2));
        let o = read("busnum=1,devnum=2,cfg=2,iface=1,control_timeout=500,disable_set_packet_filter")
            .expect("good");
        assert_eq!(
            (o.cfg, o.iface, o.control_timeout.as_millis(), o.no_filter),
            (Some(2), Some(1), 500, true)
        );
    }

    #[test]
    fn those_of_ncm() {
        let read = |list| NcmOptions::read(&iopkt_sdk::Options::parse(list));
        let none = NcmOptions { crc: false, npkt: 0, ntb32: false, ntbsize: 16_384 };
        assert_eq!(read("").expect("empty"), none);
        let all = NcmOptions { crc: true, npkt: 8, ntb32: true, ntbsize: 4096 };
        assert_eq!(read("crc,npkt=8,ntb32,ntbsize=4096").expect("good"), all);
        for (list, name) in [("npkt=257", "npkt"), ("ntbsize=2047", "ntbsize"), ("ntbsize=65536", "ntbsize")]
        {
            let e = read(list).unwrap_err();
            assert!(e.why.contains(name), "{list}: {}", e.why);
        }
    }

    #[test]
    fn bad_ones_are_named() {
        for (list, name) in [
            ("receive=0", "receive"),
            ("transmit=9999", "transmit"),
            ("busnum=x", "busnum"),
            ("devnum=65536", "devnum"),
            ("busnum=1,devno=2", "two spellings"),
            ("bufsz=10", "bufsz"),
            ("wait=86401", "wait"),
            ("verbose=x", "verbose"),
            ("classid=02", "subclassid"),
            ("classid=+2,subclassid=6", "classid"),
            ("classid=100,subclassid=6", "classid"),
            ("ctrlbufsz=1", "ctrlbufsz"),
            ("ctrlrxurb=0", "ctrlrxurb"),
            ("intf=256", "intf"),
            ("cfg=1", "busnum="),
            ("iface=1,busnum=1", "devnum="),
            ("control_timeout=5", "control_timeout"),
            ("cache=3", "cache"),
            ("ext_name", "ext_name"),
            ("keepalive_timeout=5", "keepalive_timeout"),
            ("prio=10", "prio"),
        ] {
            let e = read(list).unwrap_err();
            assert!(e.why.contains(name) && e.errno == errno::EINVAL, "{list}: {}", e.why);
        }
    }
}

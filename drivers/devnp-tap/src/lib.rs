//! devnp-tap.so: the Linux TAP driver.
//!
//! The kernel end of a TAP interface is a network interface of Linux; the other end, a descriptor of
//! `/dev/net/tun`, is this driver's device. So Linux's own stack (or whatever it bridges to) is the peer of
//! ours across an Ethernet cable made of two system calls per frame.
//!
//! Our interfaces are called `tapk0`, `tapk1`, ... ("TAP of the kernel"): `tapN` is what the stack itself
//! makes with `ifconfig tapN create`. The carrier goes both ways: the kernel's interface being down is link
//! down here, ours being down is NO-CARRIER there.
//!
//! # Offloads
//!
//! With IFF_VNET_HDR (unless `nooffload`) each frame has a header in front, with which either side leaves
//! checksums and segmentation to the other: what goes between two kernels of one machine is never summed nor cut,
//! and 64 KiB go with one system call. `ifconfig tapk0 -tso4 -lro -tcp4csum ...` turns each off.
//!
//! Not done: several queues (IFF_MULTI_QUEUE): one thread owns a device, and it is not the limit.

mod device;
mod rx;
mod tun;

use device::Tap;
use iopkt_sdk::{Control, Description, Driver, Fail, Options, errno, iopkt_driver};

/// Largest MTU of a Linux TAP interface: 65535 less the Ethernet header.
const MTU_MAX: u32 = 65521;

struct TapDriver;

impl Driver for TapDriver {
    fn load(ctl: &Control<'_>, options: &Options) -> Result<Self, Fail> {
        let mtu = options.number("mtu", 68..=MTU_MAX)?;
        let mac = match options.mac("mac")? {
            Some(m) => m,
            None => random_mac(ctl),
        };
        let wanted = tun::Wanted {
            ifname: options.get("ifname").unwrap_or("tap%d"),
            netns: options.get("netns"),
            fd: options.number("fd", 3..=i32::MAX)?,
            up: options.has("up"),
            mtu,
            vnet: !options.has("nooffload"),
        };
        if wanted.fd.is_some() && (options.has("ifname") || options.has("netns")) {
            return Err(Fail::new(
                errno::EINVAL,
                "option fd=: the descriptor already belongs to an interface; leave ifname= and netns= out",
            ));
        }
        let opened = tun::open(&wanted)?;
        if options.has("verbose") {
            ctl.info(&format!("connected to the kernel's {}", opened.ifname));
        }
        let mut d = Description::ether(format!("Linux TAP {}", opened.ifname), mac);
        d.mtu = opened.mtu;
        d.mtu_max = MTU_MAX;
        d.media = true;
        d.link = device::link(opened.running);
        (d.caps_rx, d.caps_tx) = opened.vnet.map_or((0, 0), device::caps);
        d.caps_on = true;
        ctl.attach(d, Tap::new(opened, mac))?;
        Ok(TapDriver)
    }
}

/// A random locally administered unicast address.
fn random_mac(ctl: &Control<'_>) -> [u8; 6] {
    let mut m = [0; 6];
    ctl.random(&mut m);
    m[0] = m[0] & 0xfc | 0x02;
    m
}

iopkt_driver! {
    driver: TapDriver,
    name: "tap",
    prefix: "tapk",
    version: env!("CARGO_PKG_VERSION"),
    description: "Linux TAP: the kernel's stack is the peer",
    options: [
        "ifname=NAME" => "the kernel's interface, made if it is not there (default tap%d: the next free)",
        "netns=PATH" => "in this network namespace (/run/netns/x, /proc/PID/ns/net)",
        "fd=N" => "use the open TAP descriptor N instead of opening one",
        "mac=XXXXXXXXXXXX" => "our link-level address (default: random)",
        "mtu=N" => "MTU of both ends (default: the kernel's)",
        "nooffload" => "no virtio-net headers: every frame whole and with its checksum (else see ifconfig's capabilities)",
        "up" => "bring the kernel's end up",
        "verbose" => "log more",
    ],
}

//! devnp-afp.so: an Ethernet interface of Linux, a real one too, through a packet socket (packet(7)).
//!
//! The interface stays the kernel's: its driver, its queues, its offloads. What it receives comes to us beside the kernel's own
//! stack, what we send goes out of it as if the kernel had made it. So no driver has to be written again, and a machine needs no second
//! network card; the kernel should have no address of its own there that is also ours (devnp-afp(8)).
//!
//! # Theory of operation
//!
//! Up to 32 frames go with one system call each way (`rx.rs`, `tx.rs`). With PACKET_VNET_HDR a header stands in front of each that says
//! what is left to do: a checksum, or cutting into segments, by the network card where it can, by the kernel where not.
//! Super-segments that the kernel has made of received frames (GRO) come as such.
//!
//! Not done: a ring in shared memory (PACKET_RX_RING): its frames would have to be copied once more, into buffers that the
//! stack may keep; several queues (PACKET_FANOUT): one thread owns a device.

mod device;
mod rx;
mod sock;
mod tx;

use device::Afp;
use iopkt_sdk::{Control, Description, Driver, Fail, Options, errno, iopkt_driver};

/// Largest MTU of an Ethernet interface of Linux.
const MTU_MAX: u32 = 65521;

struct AfpDriver;

impl Driver for AfpDriver {
    fn load(ctl: &Control<'_>, options: &Options) -> Result<Self, Fail> {
        let Some(ifname) = options.get("ifname").filter(|n| !n.is_empty()) else {
            return Err(Fail::new(
                errno::EINVAL,
                "option ifname= is missing: which interface of Linux? (ip link shows them)",
            ));
        };
        let mac = options.mac("mac")?;
        let wanted = sock::Wanted {
            ifname,
            netns: options.get("netns"),
            mtu: options.number("mtu", 68..=MTU_MAX)?,
            up: options.has("up"),
            promisc: mac.is_some(),
        };
        let opened = sock::open(&wanted)?;
        let mac = mac.unwrap_or(opened.mac);
        if options.has("verbose") {
            ctl.info(&format!("attached to the kernel's {}", opened.ifname));
        }
        let mut d = Description::ether(format!("Linux {}", opened.ifname), mac);
        d.mtu = opened.mtu;
        d.mtu_max = MTU_MAX;
        d.media = true;
        d.link = device::link(&opened, opened.running);
        (d.caps_rx, d.caps_tx) = (device::CAPS_RX, device::CAPS_TX);
        d.caps_on = true;
        ctl.attach(d, Afp::new(opened, mac))?;
        Ok(AfpDriver)
    }
}

iopkt_driver! {
    driver: AfpDriver,
    name: "afp",
    prefix: "afp",
    version: env!("CARGO_PKG_VERSION"),
    description: "an Ethernet interface of Linux through a packet socket",
    options: [
        "ifname=NAME" => "the kernel's interface (needed)",
        "netns=PATH" => "in this network namespace (/run/netns/x, /proc/PID/ns/net)",
        "mac=XXXXXXXXXXXX" => "our link-level address (default: the interface's own; another one makes it promiscuous)",
        "mtu=N" => "MTU of both ends (default: the kernel's)",
        "up" => "bring the kernel's end up",
        "verbose" => "log more",
    ],
}

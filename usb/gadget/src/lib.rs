//! Simulated USB devices on a virtual clock: the CDC-ECM modem with its AT port.
//!
//! - [`pipe`]: endpoints. URBs wait for data, data waits for URBs, packets and their sizes decide where a
//!   transfer ends.
//! - [`device`]: what every device does: standard requests, alternate settings, halts, unlinks.
//! - [`modem`]: the modem: an Ethernet function (ECM) and a serial one (ACM) that speaks AT.
//! - [`at`]: the AT interpreter (V.250, 3GPP TS 27.007) and the radio that it talks about.
//! - [`faults`]: what can be made to go wrong, on demand.
//! - [`nethost`]: a small host behind the modem, on our own stack.
//!
//! Nothing here does I/O or reads a clock: time is an argument, what comes out goes to an [`Outside`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod at;
pub mod device;
pub mod faults;
pub mod modem;
pub mod nethost;
pub mod pipe;

pub use device::{Device, Function};
pub use modem::Modem;

/// What a device reaches: the host that has imported it, its network, and whoever runs the bus.
pub trait Outside {
    /// A URB has ended (see [`iopkt_usbip::server::Session::complete`]). Nothing happens without a host.
    fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]);

    /// An Ethernet frame goes out on the far side.
    fn frame(&mut self, frame: &[u8]);

    /// The device asks for something that only the bus can do.
    fn event(&mut self, e: Event);
}

/// What a device asks of its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Pull the plug now; `torn` leaves the last message to the host incomplete.
    Unplug {
        /// In the middle of a message.
        torn: bool,
    },
    /// Leave the bus and come back: the device restarts itself.
    Restart,
}

/// An [`Outside`] where nobody is: what comes out is lost.
#[derive(Debug, Default)]
pub struct Nobody;

impl Outside for Nobody {
    fn complete(&mut self, _: u32, _: i32, _: usize, _: &[&[u8]]) {}
    fn frame(&mut self, _: &[u8]) {}
    fn event(&mut self, _: Event) {}
}

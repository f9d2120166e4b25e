//! What the loader asks of the runtime, and what it is given.

use crate::device::{Bound, Device};
use crate::{Inlet, Search};
use iopkt_base::{Errno, Instant};
use iopkt_ctl::{Reply, Request};
use iopkt_mbuf::{Mbuf, Pool};
use iopkt_sys::Root;

/// Number of a loaded driver; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DriverId(pub u64);

/// What the loader needs from the runtime. All calls may come from any thread, and several at a time.
pub trait Host: Send + Sync + 'static {
    /// A log line: slogger severity, who says it (driver or interface), text.
    fn log(&self, severity: u8, who: &str, text: &str);

    /// Makes an interface of a device: chooses its name and index, moves it to a packet thread, calls
    /// [`Device::bind`] there, and answers when that has returned. Runs on the driver's control thread.
    ///
    /// # Errors
    /// What `bind` said, or why there can be no such interface (EEXIST: the name is taken). The device is
    /// dropped then.
    fn attach(&self, device: Device) -> Result<Bound, Errno>;

    /// The last device of a driver has gone and the driver does not want to stay: [`Driver::unload`] is
    /// due. Runs on the driver's control thread, so must only pass the message on.
    fn finished(&self, driver: DriverId);

    /// A module is about to load (true), or has ended: tell it what happens to interfaces until then, and drop
    /// all its wishes afterwards. Runs on its control thread.
    fn module(&self, inlet: &Inlet, arrives: bool) {
        let _ = (inlet, arrives);
    }

    /// A module asks the stack something; waits for the answer. Runs on its control thread.
    fn ctl(&self, r: Request) -> Reply {
        let _ = r;
        Reply::err(Errno::ENOSYS)
    }

    /// A module wants to hear frames of a type from an interface (0: any), or, with `on` false, does not any more.
    /// Waits for the stack. Runs on its control thread.
    ///
    /// # Errors
    /// As the stack says.
    fn listen(&self, inlet: &Inlet, ifindex: u32, ethertype: u16, on: bool) -> Result<(), Errno> {
        let _ = (inlet, ifindex, ethertype, on);
        Err(Errno::ENOSYS)
    }

    /// A module sends frames; the stack says [`Inlet::sent`] when it has them. Runs on its control thread.
    ///
    /// # Errors
    /// ESHUTDOWN when there is no stack any more.
    fn output(&self, inlet: &Inlet, ifindex: u32, frames: Vec<Mbuf>) -> Result<(), Errno> {
        let _ = (inlet, ifindex, frames);
        Err(Errno::ENOSYS)
    }

    /// What stands before this stack's names below the root (`/alt`), empty for nothing.
    fn prefix(&self) -> &str {
        ""
    }

    /// The clock that deadlines are measured by.
    fn now(&self) -> Instant {
        iopkt_sys::clock::monotonic()
    }

    /// Fills `out` with unpredictable bytes.
    fn random(&self, out: &mut [u8]) {
        if iopkt_sys::random::fill(out).is_err() {
            self.log(2, "io-pkt", "no randomness from the kernel");
        }
    }
}

/// What drivers are loaded with.
#[derive(Clone)]
pub struct Env {
    /// Where names live.
    pub root: Root,
    /// Packet memory.
    pub pool: Pool,
    /// Where objects are looked for.
    pub search: Search,
}

//! What the threads say to each other. Packet thread 0 has the shard; `n` below is any packet thread.

use iopkt_base::Errno;
use iopkt_ctl::{NicInfo, Reply, Request};
use iopkt_loader::{Bound, Device, Driver, DriverId, Error, Gone};
use iopkt_mbuf::Mbuf;
pub(crate) use iopkt_sockserver::Ticket;
use iopkt_stack::DevOp;
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

/// Where a driver's attach gets its answer.
pub(crate) type AttachReply = SyncSender<Result<Bound, Errno>>;

/// Frames that wait between the shard and a device of another packet thread, each way.
pub(crate) const RING: usize = 1024;

/// A packet thread's half of what joins it to the shard, for one device.
pub(crate) struct Ends {
    /// Received packets, for the shard.
    pub rx: Producer<Mbuf>,
    /// Frames to send, from the shard.
    pub tx: Consumer<Mbuf>,
    /// The shard has more frames than fit: wake it when there is room.
    pub starved: Arc<AtomicBool>,
}

/// To a packet thread.
pub(crate) enum ToPacket {
    /// To 0, from a driver's control thread: make an interface of this device, its calls run on `thread`.
    Attach { device: Box<Device>, thread: usize, reply: AttachReply },
    /// To n, from 0: bind it.
    Bind { num: u32, device: Box<Device>, ifindex: u32, name: String, ends: Ends, reply: AttachReply },
    /// To 0, from n: it could not be bound, the interface goes.
    BindFailed { num: u32 },
    /// To n, from 0: an order of the shard.
    Order { num: u32, op: DevOp },
    /// To 0, from n: what a driver said, other than packets.
    Said { num: u32, said: Said },
    /// To 0, from n: the device has left.
    Departed { num: u32 },
    /// To n, from 0: detach it.
    Detach { num: u32, why: Gone, ticket: Option<Ticket> },
    /// To 0, from control: `ifconfig X destroy`.
    Destroy { name: String, ticket: Ticket },
    /// To 0, from control: what drivers know of their hardware.
    NicInfo { name: Option<String>, ticket: Ticket },
    /// To n, from 0: the same for one device.
    NicInfoOf { num: u32, name: String, ticket: Ticket },
    /// To 0, from control: a request of [`ToControl::Ctl`] has its answer.
    Answer { ticket: Ticket, reply: Box<Reply> },
    /// End the thread.
    Quit,
}

/// What a driver said about a device during its calls.
#[derive(Clone, Copy, Default)]
pub(crate) struct Said {
    pub link: Option<iopkt_loader::Link>,
    pub ierrors: u64,
    pub iqdrops: u64,
    pub oerrors: u64,
    pub collisions: u64,
}

/// To the control thread.
pub(crate) enum ToControl {
    /// From 0: a request that the runtime answers.
    Ctl { ticket: Ticket, request: Box<Request> },
    /// From 0: a driver has an interface more.
    Attached { driver: DriverId, name: String },
    /// From n: and one less. `ticket`: somebody waits for it.
    Detached { driver: DriverId, name: String, ticket: Option<Ticket>, why: Gone },
    /// From 0: no such interface of a driver.
    NoDevice { name: String, ticket: Ticket },
    /// From 0: as many [`ToControl::NicInfo`] follow.
    NicInfoCount { ticket: Ticket, count: usize },
    /// From n: one device's.
    NicInfo { ticket: Ticket, info: Option<NicInfo> },
    /// A driver's load has ended.
    Loaded { driver: DriverId, result: Result<(), Error> },
    /// A driver has no device left and does not want to stay.
    Finished { driver: DriverId },
    /// A driver's unload has ended.
    Unloaded { driver: DriverId, result: Result<(), (Error, Arc<Driver>)> },
    /// A packet thread has ended without having been told to.
    Died { thread: usize },
}

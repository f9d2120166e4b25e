//! What the threads say to each other. Packet thread 0 has the shard; `n` below is any packet thread.

use crate::lanes::Seat;
use iopkt_base::Errno;
use iopkt_ctl::{NicInfo, Reply, Request};
use iopkt_loader::{Bound, Device, Driver, DriverId, Error, Gone, Inlet};
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
    /// To 0, from a driver's control thread: make an interface of this device, its calls run where it has its seat.
    Attach { device: Box<Device>, seat: Seat, reply: AttachReply },
    /// To n, from 0: bind it.
    Bind {
        num: u32,
        device: Box<Device>,
        seat: Seat,
        ifindex: u32,
        name: String,
        ends: Ends,
        reply: AttachReply,
    },
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
    /// To n, from 0: may the user destroy it?
    MayDestroy { num: u32, ticket: Ticket },
    /// To 0, from n: he may.
    Destroyable { num: u32, ticket: Ticket },
    /// To 0, from a module's control thread: it arrives, or has ended.
    Module { inlet: Inlet, arrives: bool },
    /// To 0, from a module's control thread: a request.
    Ask { request: Box<Request>, reply: SyncSender<Reply> },
    /// To 0, from a module's control thread: it wants to hear frames, or not any more.
    Listen { inlet: Inlet, ifindex: u32, ethertype: u16, on: bool, reply: SyncSender<Result<(), Errno>> },
    /// To 0, from a module's control thread: frames to send.
    Output { inlet: Inlet, ifindex: u32, frames: Vec<Mbuf> },
    /// To 0, from control: what drivers know of their hardware.
    NicInfo { name: Option<String>, ticket: Ticket },
    /// To n, from 0: the same for one device.
    NicInfoOf { num: u32, name: String, ticket: Ticket },
    /// To 0, from control: a request of [`ToControl::Ctl`] has its answer.
    Answer { ticket: Ticket, reply: Box<Reply> },
    /// To 0, from control: a variable of the runtime's has this value now.
    Variable { name: &'static str, value: String },
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
    /// Capabilities that are enabled after the driver has refused others.
    pub caps: Option<(u32, u32)>,
    /// The medium that is selected after the driver has refused another.
    pub media: Option<u32>,
}

/// To the control thread.
pub(crate) enum ToControl {
    /// From 0: a request that the runtime answers.
    Ctl { ticket: Ticket, request: Box<Request> },
    /// From 0: a driver has an interface more. `legacy`: of a driver for io-net.
    Attached { driver: DriverId, name: String, legacy: bool },
    /// From n: and one less. `ticket`: somebody waits for it.
    Detached { driver: DriverId, name: String, ticket: Option<Ticket>, why: Gone },
    /// From n: the driver does not let it be destroyed.
    Refused { name: String, ticket: Ticket, errno: Errno, why: String },
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

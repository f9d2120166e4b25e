//! An imported device of the host: URBs to transfers, transfers to replies.
//!
//! What changes its settings (SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE(ENDPOINT_HALT), a port reset) is not sent as
//! it is: the kernel must know, so it becomes the kernel's own call. These block; they run on a thread of their own
//! while what comes behind them waits in order.

use super::Failure;
use super::open::Claimed;
use super::pipe::{Alarm, Raw, Ringing, status_of};
use super::queue::Queue;
use crate::mail::{self, Mail, Post};
use iopkt_usbip::desc::{self, Transfer};
use iopkt_usbip::hdr::{Dir, Submit, URB_SHORT_NOT_OK, Unlink, status};
use iopkt_usbip::op::st;
use iopkt_usbip::server::Replies;
use iopkt_usbip::setup::{ENDPOINT_HALT, Setup, req, rt};
use nusb::transfer::{
    Bulk, ControlIn, ControlOut, ControlType, In, Interrupt, Out, Recipient, TransferError,
};
use nusb::{ErrorKind, Interface, MaybeFuture};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Most URBs that wait behind a change of settings.
const MAX_WAITING: usize = 4096;
/// Longest wait for cancelled transfers.
const DRAIN: Duration = Duration::from_secs(2);
/// A hub's request that resets what is on a port; clients send it for the device itself.
const PORT_RESET: (u8, u8, u16) = (0x23, req::SET_FEATURE, 4);

type Done = Result<Vec<u8>, TransferError>;

struct Control {
    submit: Submit,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
}

struct Pipeline {
    addr: u8,
    interface: u8,
    queue: Queue<Box<dyn Raw>>,
}

enum Waiting {
    Urb(Submit, Vec<u8>),
    Unlink(Unlink),
}

/// A change of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Configuration(u8),
    Interface(u8, u8),
    ClearHalt(u8),
    Reset,
}

/// What a change brings back from its thread.
pub struct Back {
    seqnum: u32,
    change: Change,
    claimed: Claimed,
    result: Result<(), Failure>,
}

/// One imported device.
pub struct Device {
    id: u64,
    /// `None` while a change has it.
    claimed: Option<Claimed>,
    alts: BTreeMap<u8, u8>,
    controls: Vec<Control>,
    pipes: Vec<Pipeline>,
    waiting: VecDeque<Waiting>,
    alarm: Arc<Alarm>,
    post: Post,
    timeout: Duration,
    priority: Option<u8>,
}

impl Device {
    /// A device that was just claimed, in the place `id`. Control transfers end after `timeout`.
    pub fn new(id: u64, claimed: Claimed, post: Post, timeout: Duration, priority: Option<u8>) -> Device {
        let alarm = Arc::new(Alarm::new(post.waker().clone()));
        Device {
            id,
            claimed: Some(claimed),
            alts: BTreeMap::new(),
            controls: Vec::new(),
            pipes: Vec::new(),
            waiting: VecDeque::new(),
            alarm,
            post,
            timeout,
            priority,
        }
    }

    /// Drivers that were asked to let go, for the log.
    pub fn drivers(&self) -> String {
        self.claimed.as_ref().map(Claimed::drivers).unwrap_or_default()
    }

    /// Configuration that is set.
    pub fn configuration(&self) -> Option<u8> {
        self.claimed.as_ref().map(|c| c.config)
    }

    /// Whether so many URBs are open that the client should not be read from.
    pub fn is_congested(&self) -> bool {
        self.waiting.len() >= MAX_WAITING || self.pipes.iter().any(|p| p.queue.len() >= MAX_WAITING)
    }

    /// A URB, with what followed its header.
    pub fn submit(&mut self, s: &Submit, data: &[u8], replies: &mut Replies) {
        if self.claimed.is_none() {
            self.waiting.push_back(Waiting::Urb(*s, data.to_vec()));
        } else if s.packets > 0 {
            replies.complete(s.seqnum, status::EINVAL, 0, &[]); // nusb has no isochronous transfers
        } else if s.ep == 0 {
            self.control(s, data, replies);
        } else {
            let addr = s.ep | if s.dir == Dir::In { 0x80 } else { 0 };
            match self.pipe(addr) {
                Ok(q) => q.submit(s, data),
                Err(e) => replies.complete(s.seqnum, e, 0, &[]),
            }
            self.alarm.ring();
        }
    }

    /// A request to cancel one.
    pub fn unlink(&mut self, u: &Unlink, replies: &mut Replies) {
        if self.claimed.is_none() {
            let at =
                self.waiting.iter().position(|w| matches!(w, Waiting::Urb(s, _) if s.seqnum == u.victim));
            match at {
                Some(i) => {
                    self.waiting.remove(i);
                    replies.unlinked(u.seqnum, true);
                }
                None => self.waiting.push_back(Waiting::Unlink(*u)),
            }
            return;
        }
        if let Some(i) = self.controls.iter().position(|c| c.submit.seqnum == u.victim) {
            // Dropping its future cancels the transfer; the kernel keeps the buffer until it has ended.
            drop(self.controls.swap_remove(i));
            return replies.unlinked(u.seqnum, true);
        }
        let found = self.pipes.iter_mut().any(|p| p.queue.unlink(u.seqnum, u.victim, replies));
        if !found {
            replies.unlinked(u.seqnum, false);
        }
        self.alarm.ring();
    }

    /// The queue of an endpoint of the current settings, made when it is first used.
    fn pipe(&mut self, addr: u8) -> Result<&mut Queue<Box<dyn Raw>>, i32> {
        let i = match self.pipes.iter().position(|p| p.addr == addr) {
            Some(i) => i,
            None => {
                let p = self.open_pipe(addr)?;
                self.pipes.push(p);
                self.pipes.len() - 1
            }
        };
        Ok(&mut self.pipes[i].queue)
    }

    fn open_pipe(&self, addr: u8) -> Result<Pipeline, i32> {
        let c = self.claimed.as_ref().ok_or(status::ENOENT)?;
        let alt_of = |n: u8| self.alts.get(&n).copied().unwrap_or(0);
        let mut settings =
            desc::settings(c.current()).filter(|s| s.interface.alt == alt_of(s.interface.number));
        let (number, e) = settings
            .find_map(|s| s.endpoints().find(|e| e.addr == addr).map(|e| (s.interface.number, e)))
            .ok_or(status::ENOENT)?;
        let i = c.ifaces.get(&number).ok_or(status::ENOENT)?;
        let pipe = raw(i, addr, e.transfer(), &self.alarm)?;
        let queue = Queue::new(pipe, e.is_in(), usize::from(e.max_packet()));
        Ok(Pipeline { addr, interface: number, queue })
    }

    fn control(&mut self, s: &Submit, data: &[u8], replies: &mut Replies) {
        let setup = Setup::from_bytes(&s.setup);
        if setup.is_in() != (s.dir == Dir::In) && s.length != 0 {
            return replies.complete(s.seqnum, status::EPIPE, 0, &[]);
        }
        if let Some(change) = change(&setup) {
            return self.begin(s.seqnum, change, replies);
        }
        if setup.kind() == rt::STANDARD && setup.request == req::SET_ADDRESS {
            return replies.complete(s.seqnum, status::OK, 0, &[]); // the kernel gives addresses
        }
        let Some(c) = self.claimed.as_ref() else { return };
        match transfer(&c.dev, &setup, data, self.timeout) {
            Some(future) => self.controls.push(Control { submit: *s, future }),
            None => return replies.complete(s.seqnum, status::EINVAL, 0, &[]),
        }
        // The first look subscribes.
        self.alarm.ring();
    }

    /// Starts a change of settings; what it concerns ends.
    fn begin(&mut self, seqnum: u32, change: Change, replies: &mut Replies) {
        let mut gone: Vec<Pipeline> = Vec::new();
        let mut clear = None;
        match change {
            Change::Configuration(_) | Change::Reset => gone.append(&mut self.pipes),
            Change::Interface(n, _) => {
                let (of_it, others) =
                    std::mem::take(&mut self.pipes).into_iter().partition(|p| p.interface == n);
                (gone, self.pipes) = (of_it, others);
            }
            Change::ClearHalt(addr) => match self.pipe(addr) {
                Ok(q) => clear = Some(q.pipe.clear_halt()),
                Err(_) => return replies.complete(seqnum, status::EPIPE, 0, &[]),
            },
        }
        log::debug!("{change:?}");
        gone.iter_mut().for_each(|p| p.queue.flush(status::ESHUTDOWN, replies));
        let Some(mut claimed) = self.claimed.take() else { return };
        let (id, post) = (self.id, self.post.clone());
        mail::spawn("usb-settings", self.priority, move || {
            gone.iter_mut().for_each(|p| p.queue.pipe.drain(DRAIN));
            drop(gone);
            let result = match (change, clear) {
                (Change::Configuration(v), _) => claimed.configure(v),
                (Change::Interface(n, alt), _) => set_interface(&claimed, n, alt),
                (Change::Reset, _) => claimed.dev.reset().wait().map_err(|e| refused(&e)),
                (Change::ClearHalt(_), Some(f)) => f().map_err(|e| refused(&e)),
                (Change::ClearHalt(_), None) => Ok(()),
            };
            post.send(Mail::Settled(id, Box::new(Back { seqnum, change, claimed, result })));
        });
    }

    /// A change has been made, or not; goes on with what waited.
    pub fn settled(&mut self, b: Back, replies: &mut Replies) {
        match (&b.result, b.change) {
            (Ok(()), Change::Configuration(_) | Change::Reset) => self.alts.clear(),
            (Ok(()), Change::Interface(n, alt)) => drop(self.alts.insert(n, alt)),
            _ => {}
        }
        let status = match &b.result {
            Ok(()) => status::OK,
            Err(f) => {
                log::info!("{:?}: {}", b.change, f.why);
                if f.status == st::NODEV { status::ESHUTDOWN } else { status::EPIPE }
            }
        };
        self.claimed = Some(b.claimed);
        replies.complete(b.seqnum, status, 0, &[]);
        while self.claimed.is_some() {
            match self.waiting.pop_front() {
                Some(Waiting::Urb(s, data)) => self.submit(&s, &data, replies),
                Some(Waiting::Unlink(u)) => self.unlink(&u, replies),
                None => break,
            }
        }
        self.alarm.ring();
    }

    /// Whether something may have ended since [`Device::poll`].
    pub fn is_ringing(&self) -> bool {
        self.alarm.take()
    }

    /// Not now: look again in the next turn.
    pub fn snooze(&self) {
        self.alarm.ring();
    }

    /// Takes what has ended.
    pub fn poll(&mut self, replies: &mut Replies) {
        let waker = self.alarm.clone().into();
        let cx = &mut Context::from_waker(&waker);
        // In order: a client may rely on it for one endpoint.
        let mut i = 0;
        while i < self.controls.len() {
            match self.controls[i].future.as_mut().poll(cx) {
                Poll::Pending => i += 1,
                Poll::Ready(r) => {
                    let c = self.controls.remove(i);
                    answer(&c.submit, r, replies);
                }
            }
        }
        for p in &mut self.pipes {
            p.queue.poll(replies);
        }
    }

    /// The device is gone: every open URB ends.
    pub fn abort(&mut self, replies: &mut Replies) {
        for c in self.controls.drain(..) {
            replies.complete(c.submit.seqnum, status::ESHUTDOWN, 0, &[]);
        }
        for p in &mut self.pipes {
            p.queue.flush(status::ESHUTDOWN, replies);
        }
        for w in self.waiting.drain(..) {
            match w {
                Waiting::Urb(s, _) => replies.complete(s.seqnum, status::ESHUTDOWN, 0, &[]),
                Waiting::Unlink(u) => replies.unlinked(u.seqnum, false),
            }
        }
    }

    /// Gives everything back, on a thread that posts when it has. While a change is under way its end must come
    /// first: `Err` is the device again.
    #[allow(clippy::result_large_err)]
    pub fn close(mut self: Box<Self>) -> Result<(), Box<Device>> {
        let Some(claimed) = self.claimed.take() else { return Err(self) };
        let (id, post, mut pipes) = (self.id, self.post.clone(), std::mem::take(&mut self.pipes));
        self.controls.clear();
        mail::spawn("usb-release", self.priority, move || {
            pipes.iter_mut().for_each(|p| p.queue.pipe.drain(DRAIN));
            drop(pipes);
            claimed.give_back();
            post.send(Mail::Closed(id));
        });
        Ok(())
    }

    /// As [`Device::settled`], for a device that nobody wants any more.
    pub fn settled_unwanted(&mut self, b: Back) {
        self.claimed = Some(b.claimed);
        self.waiting.clear();
    }
}

fn set_interface(c: &Claimed, n: u8, alt: u8) -> Result<(), Failure> {
    let Some(i) = c.ifaces.get(&n) else {
        return Err(Failure {
            status: st::DEV_ERR,
            why: format!("SET_INTERFACE: there is no interface {n}"),
        });
    };
    i.set_alt_setting(alt).wait().map_err(|e| refused(&e))
}

fn refused(e: &nusb::Error) -> Failure {
    let status = if e.kind() == ErrorKind::Disconnected { st::NODEV } else { st::DEV_ERR };
    Failure { status, why: e.to_string() }
}

/// The change of settings that a control request is, if it is one.
fn change(s: &Setup) -> Option<Change> {
    match (s.request_type, s.request) {
        (0x00, req::SET_CONFIGURATION) => Some(Change::Configuration(s.value as u8)),
        (0x01, req::SET_INTERFACE) => Some(Change::Interface(s.index as u8, s.value as u8)),
        (0x02, req::CLEAR_FEATURE) if s.value == ENDPOINT_HALT && s.index & 0x0f != 0 => {
            Some(Change::ClearHalt(s.index as u8))
        }
        (t, r) if (t, r, s.value) == PORT_RESET => Some(Change::Reset),
        _ => None,
    }
}

/// Starts a control transfer; `None` for a request type that does not exist.
fn transfer(
    dev: &nusb::Device,
    s: &Setup,
    data: &[u8],
    timeout: Duration,
) -> Option<Pin<Box<dyn Future<Output = Done> + Send>>> {
    let control_type = match s.kind() {
        rt::STANDARD => ControlType::Standard,
        rt::CLASS => ControlType::Class,
        rt::VENDOR => ControlType::Vendor,
        _ => return None,
    };
    let recipient = match s.recipient() {
        rt::DEVICE => Recipient::Device,
        rt::INTERFACE => Recipient::Interface,
        rt::ENDPOINT => Recipient::Endpoint,
        3 => Recipient::Other,
        _ => return None,
    };
    let (request, value, index) = (s.request, s.value, s.index);
    Some(if s.is_in() {
        let c = ControlIn { control_type, recipient, request, value, index, length: s.length };
        Box::pin(dev.control_in(c, timeout).into_future())
    } else {
        let data = &data[..data.len().min(usize::from(s.length))];
        let c = ControlOut { control_type, recipient, request, value, index, data };
        let n = data.len();
        // What went is told as a length, like the data of the other direction.
        Box::pin(dev.control_out(c, timeout).map(move |r| r.map(|()| vec![0; n])).into_future())
    })
}

fn answer(s: &Submit, r: Done, replies: &mut Replies) {
    match r {
        Ok(mut data) => {
            data.truncate(s.length as usize);
            let short = data.len() < s.length as usize && s.flags & URB_SHORT_NOT_OK != 0;
            let st = if short { status::EREMOTEIO } else { status::OK };
            let bytes: &[u8] = if s.dir == Dir::In { &data } else { &[] };
            replies.complete(s.seqnum, st, data.len(), &[bytes]);
        }
        // Nobody has cancelled it: the time-out has.
        Err(TransferError::Cancelled) => replies.complete(s.seqnum, status::ETIME, 0, &[]),
        Err(e) => replies.complete(s.seqnum, status_of(e), 0, &[]),
    }
}

/// Opens an endpoint by its kind.
fn raw(i: &Interface, addr: u8, t: Transfer, alarm: &Arc<Alarm>) -> Result<Box<dyn Raw>, i32> {
    let bad = |_| status::ENOENT;
    Ok(match (t, addr & 0x80 != 0) {
        (Transfer::Bulk, true) => Box::new(Ringing::new(i.endpoint::<Bulk, In>(addr).map_err(bad)?, alarm)),
        (Transfer::Bulk, false) => Box::new(Ringing::new(i.endpoint::<Bulk, Out>(addr).map_err(bad)?, alarm)),
        (Transfer::Interrupt, true) => {
            Box::new(Ringing::new(i.endpoint::<Interrupt, In>(addr).map_err(bad)?, alarm))
        }
        (Transfer::Interrupt, false) => {
            Box::new(Ringing::new(i.endpoint::<Interrupt, Out>(addr).map_err(bad)?, alarm))
        }
        _ => return Err(status::EINVAL),
    })
}

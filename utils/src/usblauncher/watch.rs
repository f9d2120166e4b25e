//! What a USB stack says of its devices: a thread for each stack.
//!
//! io-usb tells of devices that come and go; of another USB/IP server only the list can be looked at. Such a list
//! does not show a device that somebody has imported, so that one which is missing there may be in use: that is told
//! as [`News::Hidden`].

use super::device::Device;
use crate::usb::stack::{self, Conn};
use iopkt_sys::Waker;
use iopkt_usbip::op::{self, DeviceInfo, WatchEvent};
use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Pause between two looks at a list, and between two tries to reach a stack.
const PAUSE: Duration = Duration::from_millis(500);

/// What is new.
#[derive(Debug)]
pub enum News {
    /// The stack answers.
    Here,
    /// A device is there.
    Added(Device),
    /// A device is gone.
    Removed(DeviceInfo),
    /// A device is not listed any more: gone, or in use.
    Hidden(DeviceInfo),
    /// The stack is gone, with all of its devices.
    Lost(String),
}

/// Where news go: the number of the stack, and what is new.
#[derive(Clone)]
pub struct Line {
    /// Number of the stack.
    pub stack: usize,
    /// Name of the stack.
    pub name: String,
    /// The receiver's end.
    pub tx: Sender<(usize, News)>,
    /// Wakes the receiver.
    pub waker: Waker,
}

impl Line {
    /// Tells; false when nobody listens any more.
    fn say(&self, n: News) -> bool {
        let sent = self.tx.send((self.stack, n)).is_ok();
        self.waker.wake();
        sent
    }

    fn added(&self, info: DeviceInfo) -> bool {
        let d = stack::describe(&self.name, &info.busid);
        match Device::new(&self.name, info, &d) {
            Some(d) => self.say(News::Added(d)),
            None => true, // a bus id that is none
        }
    }
}

/// Watches a stack until nobody listens.
pub fn run(l: &Line) {
    let mut said = String::new();
    loop {
        let why = match watch(l) {
            Ok(()) => return,
            Err(e) => e.to_string(),
        };
        // Once, not twice a second.
        if why != said && !l.say(News::Lost(why.clone())) {
            return;
        }
        said = why;
        std::thread::sleep(PAUSE);
        if stack::list(&l.name).is_ok() {
            said.clear();
        }
    }
}

/// Follows a stack until it is gone (an error) or nobody listens.
fn watch(l: &Line) -> io::Result<()> {
    let mut s = stack::connect(&l.name)?;
    s.write_all(&op::request(op::REQ_WATCH))?;
    let mut b = Vec::new();
    let told = loop {
        match op::parse_watch(&b).map_err(stack::bad)? {
            Some((r, used)) => {
                b.drain(..used);
                break r.is_ok();
            }
            None if !fill(&mut *s, &mut b)? => break false,
            None => {}
        }
    };
    if !told {
        return look(l);
    }
    l.say(News::Here);
    s.patience(None)?;
    loop {
        while let Some((e, n)) = WatchEvent::parse(&b).map_err(stack::bad)? {
            b.drain(..n);
            let heard = match e {
                WatchEvent::Added(d) => l.added(d),
                WatchEvent::Removed(d) => l.say(News::Removed(d)),
                WatchEvent::Settled => true,
            };
            if !heard {
                return Ok(());
            }
        }
        if !fill(&mut *s, &mut b)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the USB stack is gone"));
        }
    }
}

/// Reads some; false at the end of the stream.
fn fill(s: &mut dyn Conn, b: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    let n = match s.read(&mut chunk) {
        // A stock server ends the connection when it does not know a request.
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
        r => r?,
    };
    b.extend_from_slice(&chunk[..n]);
    Ok(n > 0)
}

/// Looks at the list of a server that does not tell.
fn look(l: &Line) -> io::Result<()> {
    let mut known: Vec<DeviceInfo> = Vec::new();
    let mut first = true;
    loop {
        let list = stack::list(&l.name)?;
        if std::mem::take(&mut first) {
            l.say(News::Here);
        }
        let same = |a: &DeviceInfo, b: &DeviceInfo| {
            (&a.busid, a.devnum, a.vendor, a.product) == (&b.busid, b.devnum, b.vendor, b.product)
        };
        let gone = known.iter().filter(|k| !list.iter().any(|d| same(d, k)));
        for d in gone {
            if !l.say(News::Hidden(d.clone())) {
                return Ok(());
            }
        }
        for d in list.iter().filter(|d| !known.iter().any(|k| same(d, k))) {
            if !l.added(d.clone()) {
                return Ok(());
            }
        }
        known = list;
        std::thread::sleep(PAUSE);
    }
}

//! A host for one device, on a virtual clock: submits URBs and keeps what comes out.
#![allow(dead_code)] // each test file uses a part of it

use iopkt_base::{Duration, Instant};
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::modem::descriptors::{ACM_IN, ACM_OUT, ECM_CONTROL, ECM_DATA, ECM_IN, ECM_NOTIFY, ECM_OUT};
use iopkt_gadget::{Device, Event, Modem, Outside, faults};
use iopkt_usbip::cdc::Notification;
use iopkt_usbip::hdr::{Dir, Submit, status};
use iopkt_usbip::setup::Setup;

/// The end of a URB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub seqnum: u32,
    pub status: i32,
    pub actual: usize,
    pub data: Vec<u8>,
}

/// What came out of the device.
#[derive(Default)]
pub struct Out {
    pub done: Vec<Done>,
    pub frames: Vec<Vec<u8>>,
    pub events: Vec<Event>,
}

impl Outside for Out {
    fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]) {
        assert!(!self.done.iter().any(|d| d.seqnum == seqnum), "URB {seqnum} ended twice");
        self.done.push(Done { seqnum, status, actual, data: parts.concat() });
    }
    fn frame(&mut self, frame: &[u8]) {
        self.frames.push(frame.to_vec());
    }
    fn event(&mut self, e: Event) {
        self.events.push(e);
    }
}

pub struct Host {
    pub dev: Device<Modem>,
    pub now: Instant,
    pub out: Out,
    seq: u32,
}

/// MAC address of the modem's host side.
pub const MAC: [u8; 6] = [0x02, 0x50, 0, 0, 0, 1];

impl Host {
    pub fn new(cfg: ModemConfig) -> Host {
        Host {
            dev: Modem::device(ModemConfig { mac: MAC, ..cfg }),
            now: Instant::from_millis(1),
            out: Out::default(),
            seq: 0,
        }
    }

    /// A host whose device is configured and whose data setting is selected; notifications are taken away.
    pub fn up(cfg: ModemConfig) -> Host {
        let mut h = Host::new(cfg);
        h.ok(Setup::set_configuration(1), &[]);
        h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
        h.notes();
        h
    }

    pub fn submit(
        &mut self,
        ep: u8,
        dir: Dir,
        length: usize,
        data: &[u8],
        flags: u32,
        setup: [u8; 8],
    ) -> u32 {
        self.seq += 1;
        let length = length as u32;
        let (seqnum, devid, start_frame, packets, interval) = (self.seq, 0x10002, 0, 0, 0);
        let s = Submit { seqnum, devid, dir, ep, flags, length, start_frame, packets, interval, setup };
        self.dev.submit(self.now, &s, data, &mut self.out);
        self.seq
    }

    /// Asks for `length` bytes of an IN endpoint; the number of the URB.
    pub fn read(&mut self, addr: u8, length: usize) -> u32 {
        self.submit(addr & 15, Dir::In, length, &[], 0, [0; 8])
    }

    /// Sends a transfer; its end.
    pub fn write(&mut self, addr: u8, data: &[u8], flags: u32) -> Done {
        let n = self.submit(addr & 15, Dir::Out, data.len(), data, flags, [0; 8]);
        self.take(n).expect("OUT transfers end at once")
    }

    /// The end of a URB, if it has ended.
    pub fn take(&mut self, seqnum: u32) -> Option<Done> {
        let i = self.out.done.iter().position(|d| d.seqnum == seqnum)?;
        Some(self.out.done.remove(i))
    }

    /// A control request that ends at once.
    pub fn control(&mut self, s: Setup, data: &[u8]) -> Done {
        let dir = if s.is_in() { Dir::In } else { Dir::Out };
        let n = self.submit(0, dir, usize::from(s.length), data, 0, s.to_bytes());
        self.take(n).expect("control requests end at once")
    }

    /// A control request that must succeed; its data.
    pub fn ok(&mut self, s: Setup, data: &[u8]) -> Vec<u8> {
        let d = self.control(s, data);
        assert_eq!(d.status, status::OK, "{s:?}");
        d.data
    }

    /// A control request that must stall.
    pub fn stalls(&mut self, s: Setup, data: &[u8]) {
        assert_eq!(self.control(s, data).status, status::EPIPE, "{s:?}");
    }

    /// Everything that waits on an IN endpoint, transfer by transfer.
    pub fn drain(&mut self, addr: u8, length: usize) -> Vec<Vec<u8>> {
        let mut v = Vec::new();
        loop {
            let n = self.read(addr, length);
            match self.take(n) {
                Some(d) => {
                    assert_eq!(d.status, status::OK);
                    v.push(d.data);
                }
                None => {
                    assert!(self.dev.unlink(n));
                    return v;
                }
            }
        }
    }

    /// The notifications of the Ethernet function that wait.
    pub fn notes(&mut self) -> Vec<Notification> {
        let raw = self.drain(ECM_NOTIFY, 16);
        raw.iter()
            .map(|b| {
                let (interface, n) = Notification::parse(b).expect("a notification");
                assert_eq!(interface, u16::from(ECM_CONTROL));
                n
            })
            .collect()
    }

    pub fn frame_in(&mut self, frame: &[u8]) {
        self.dev.frame(self.now, frame, &mut self.out);
    }

    pub fn frames_up(&mut self) -> Vec<Vec<u8>> {
        self.drain(ECM_IN, 2048)
    }

    pub fn send(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let d = self.write(ECM_OUT, frame, iopkt_usbip::hdr::URB_ZERO_PACKET);
        assert_eq!((d.status, d.actual), (status::OK, frame.len()));
        std::mem::take(&mut self.out.frames)
    }

    /// Types on the serial AT port and gives what it says.
    pub fn at(&mut self, text: &str) -> String {
        self.write(ACM_OUT, text.as_bytes(), iopkt_usbip::hdr::URB_ZERO_PACKET);
        self.heard()
    }

    /// What the serial AT port has said.
    pub fn heard(&mut self) -> String {
        String::from_utf8(self.drain(ACM_IN, 512).concat()).unwrap()
    }

    pub fn fault(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let f = faults::parse(&words).unwrap();
        self.dev.fault(self.now, &f, &mut self.out).unwrap();
    }

    /// Lets time pass, doing what is due on the way.
    pub fn wait(&mut self, d: Duration) {
        let end = self.now + d;
        while self.dev.deadline() <= end {
            self.now = self.now.max(self.dev.deadline());
            self.dev.tick(self.now, &mut self.out);
        }
        self.now = end;
    }
}

/// A frame of `len` bytes for the modem's host, with content that follows from `len`.
pub fn frame(len: usize) -> Vec<u8> {
    let mut f: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
    f[..6].copy_from_slice(&MAC);
    f[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    f
}

//! Frames between the descriptor and the stack.

use crate::rx::{Got, Kind, Reader};
use crate::tun::{self, Opened, Takes, Vnet};
use iopkt_linuxif::counters::{self, Counters};
use iopkt_linuxif::netlink::{self, News};
use iopkt_linuxif::{ifreq, vnet};
use iopkt_sdk::{Count, Device, Fail, Link, NicInfo, Port, Ready, TxQueue, abi, errno};
use rustix::io::Errno;
use std::io::IoSlice;

/// Cookies of the descriptors.
const TUN: u64 = 1;
const LINKS: u64 = 2;

/// What Linux says of a TAP's speed.
const SPEED: u64 = 10_000_000_000;

/// Both families go together in the kernel.
const CSUM: u32 = abi::CAP_TCP4CSUM | abi::CAP_UDP4CSUM | abi::CAP_TCP6CSUM | abi::CAP_UDP6CSUM;
const TSO: u32 = abi::CAP_TSO4 | abi::CAP_TSO6;
const USO: u32 = abi::CAP_USO4 | abi::CAP_USO6;

pub(crate) struct Tap {
    o: Opened,
    mac: [u8; 6],
    mtu: u32,
    started: bool,
    /// The descriptor refused a frame; write interest is on.
    full: bool,
    gone: bool,
    /// What the kernel may leave to us.
    takes: Takes,
    /// Super-segments may still wait that were asked for once.
    large_queued: bool,
    reader: Reader,
    /// The last time there was one frame.
    single: bool,
    rx: Counters,
    tx: Counters,
    tx_errors: u64,
}

/// The link as our side sees it.
pub(crate) fn link(running: bool) -> Link {
    if running { Link::up(SPEED) } else { Link::down() }
}

/// Capabilities with a kernel that knows this: receive, transmit.
pub(crate) fn caps(v: Vnet) -> (u32, u32) {
    let uso = if v.uso { USO } else { 0 };
    (CSUM | abi::CAP_LRO | uso, CSUM | TSO | uso)
}

impl Tap {
    pub(crate) fn new(o: Opened, mac: [u8; 6]) -> Tap {
        let mtu = o.mtu;
        Tap {
            o,
            mac,
            mtu,
            started: false,
            full: false,
            gone: false,
            takes: Takes::default(),
            large_queued: false,
            reader: Reader::default(),
            single: true,
            rx: Counters::default(),
            tx: Counters::default(),
            tx_errors: 0,
        }
    }

    fn input(&mut self, port: &Port<'_>, budget: usize) {
        // The kernel may have queued large ones before it was told not to.
        let kind = match self.o.vnet {
            None => Kind::Plain,
            Some(_) if self.takes == Takes::default() && !self.large_queued => Kind::Marked,
            Some(_) => Kind::Large,
        };
        let mut got = port.batch();
        // Where one frame comes at a time, a read that finds nothing would double the calls: what is left the next look at the
        // descriptor tells.
        let most = if std::mem::take(&mut self.single) { budget.min(1) } else { budget };
        let mut n = 0;
        for left in (0..most).rev() {
            match self.reader.read(&self.o.tun, port, self.mtu, kind, left) {
                Got::Frame(m) => {
                    n += 1;
                    self.rx.frame(m.as_slice());
                    let _ = got.push(m);
                    if got.is_full() {
                        port.receive(&mut got);
                    }
                }
                Got::Bad => port.count(Count::InErrors, 1),
                Got::NoMemory => {
                    self.rx.no_memory += 1;
                    port.count(Count::InDrops, 1);
                }
                Got::None(e) => {
                    if e != Errno::AGAIN && e != Errno::INTR {
                        self.lost(port, e);
                    }
                    self.large_queued = false;
                    self.single = n == 1;
                    break;
                }
            }
        }
        port.receive(&mut got);
    }

    /// The interface has gone from the kernel.
    fn lost(&mut self, port: &Port<'_>, e: Errno) {
        if !self.gone {
            self.gone = true;
            port.error(&format!("the kernel's {} has gone ({e}); the interface is removed", self.o.ifname));
            port.depart();
        }
    }

    fn kernel_changed(&mut self, port: &Port<'_>) {
        let running = match netlink::read(&self.o.links, self.o.ifindex) {
            News::None => return,
            News::Running(r) => r,
            News::Deleted => return self.lost(port, Errno::NODEV),
            News::Lost => match ifreq::is_running(&self.o.ctl, &self.o.ifname) {
                Ok(r) => r,
                Err(_) => return self.lost(port, Errno::NODEV),
            },
        };
        if self.started && running != self.o.running {
            self.o.running = running;
            port.link(link(running));
        }
    }
}

impl Device for Tap {
    fn bind(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        port.watch(&self.o.links, Ready::READ, LINKS)
    }

    fn start(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        // Frames that came while we were down are stale.
        for _ in 0..4096 {
            if rustix::io::read(&self.o.tun, &mut [0u8; 1][..]).is_err() {
                break;
            }
        }
        port.watch(&self.o.tun, Ready::READ, TUN)?;
        tun::set_carrier(&self.o.tun, true);
        self.started = true;
        // Most often not yet: the message that it runs is on its way.
        self.o.running = ifreq::is_running(&self.o.ctl, &self.o.ifname).unwrap_or(false);
        port.link(link(self.o.running));
        Ok(())
    }

    fn stop(&mut self, port: &Port<'_>) {
        let _ = port.unwatch(&self.o.tun);
        tun::set_carrier(&self.o.tun, false);
        self.o.running = false;
        self.started = false;
        self.full = false;
        self.reader.clear();
        port.link(Link::down());
    }

    fn transmit(&mut self, port: &Port<'_>, q: &mut TxQueue<'_>) {
        let mut done = port.batch();
        while let Some(f) = q.peek() {
            let sent = match self.o.vnet {
                None => rustix::io::write(&self.o.tun, f),
                Some(_) => {
                    let h = vnet::emit(&q.peek_marks().unwrap_or_default(), f);
                    rustix::io::writev(&self.o.tun, &[IoSlice::new(&h), IoSlice::new(f)])
                }
            };
            match sent {
                Ok(_) => self.tx.frame(f),
                Err(Errno::AGAIN) => {
                    if !self.full && port.rewatch(&self.o.tun, Ready::BOTH).is_ok() {
                        self.full = true;
                    }
                    break;
                }
                Err(Errno::INTR) => continue,
                Err(e) => {
                    // EIO: the kernel's end is down.
                    self.tx_errors += 1;
                    port.count(Count::OutErrors, 1);
                    if e == Errno::BADFD {
                        self.lost(port, e);
                    }
                }
            }
            if let Some(m) = q.pop() {
                let _ = done.push(m);
            }
        }
        done.free();
    }

    fn fd(&mut self, port: &Port<'_>, cookie: u64, ready: Ready, budget: usize) {
        if cookie == LINKS {
            return self.kernel_changed(port);
        }
        if ready.is_write() && self.full {
            self.full = false;
            let _ = port.rewatch(&self.o.tun, Ready::READ);
            port.tx_ready();
        }
        if ready.is_read() {
            self.input(port, budget);
        }
    }

    fn set_mtu(&mut self, _port: &Port<'_>, mtu: u32) -> Result<(), Fail> {
        ifreq::set_mtu(&self.o.ctl, &self.o.ifname, mtu)?;
        self.mtu = mtu;
        self.reader.clear(); // sized for the old one
        Ok(())
    }

    fn set_caps(&mut self, _port: &Port<'_>, rx: u32, _tx: u32) -> Result<(), Fail> {
        // The kernel has one switch for all checksums, and segments need it.
        let csum = rx & CSUM == CSUM;
        let t = Takes { csum, tso: csum && rx & abi::CAP_LRO != 0, uso: csum && rx & USO == USO };
        if !tun::set_offload(&self.o.tun, t) {
            return Err(Fail::new(errno::EOPNOTSUPP, "the kernel refuses these offloads (TUNSETOFFLOAD)"));
        }
        self.large_queued |= self.takes != t;
        self.takes = t;
        Ok(())
    }

    fn nicinfo(&mut self, _port: &Port<'_>, out: &mut NicInfo<'_>) -> Result<(), Fail> {
        let m = self.mac;
        let node = format!("{:02X}{:02X}{:02X} {:02X}{:02X}{:02X}", m[0], m[1], m[2], m[3], m[4], m[5]);
        out.line("Physical Node ID", &node);
        out.line("Current Physical Node ID", &node);
        if self.started && self.o.running {
            out.line("Current Operation Rate", "10000.00 Mb/s full-duplex");
        }
        out.line("Active Interface Type", &format!("TAP {}", self.o.ifname));
        let most = (self.mtu + 14).to_string();
        out.line("Maximum Transmittable data Unit", &most);
        out.line("Maximum Receivable data Unit", &most);
        out.line("Promiscuous Mode", "On");
        out.line("Multicast Support", "Enabled");
        counters::tell(&self.tx, &self.rx, out);
        out.line("", "");
        out.line("No Carrier on Transmit", &self.tx_errors.to_string());
        Ok(())
    }

    fn detach(&mut self, port: &Port<'_>) {
        let _ = port.unwatch(&self.o.links);
        self.reader.clear();
    }
}

//! Frames between the socket and the stack.

use crate::rx::{Got, Reader};
use crate::sock::{self, Opened};
use crate::tx::{Sent, Writer};
use iopkt_linuxif::counters::{self, Counters};
use iopkt_linuxif::ifreq;
use iopkt_linuxif::netlink::{self, News};
use iopkt_sdk::{Count, Device, Fail, Filter, Link, NicInfo, Port, Ready, TxQueue, abi, errno};
use rustix::io::Errno;

/// Cookies of the descriptors.
const SOCK: u64 = 1;
const LINKS: u64 = 2;

/// More groups than that are "all".
const GROUPS: usize = 64;

const CSUM: u32 = abi::CAP_TCP4CSUM | abi::CAP_UDP4CSUM | abi::CAP_TCP6CSUM | abi::CAP_UDP6CSUM;
/// What the kernel may leave to us. Nothing tells it not to make super-segments (GRO) but its own tools.
pub(crate) const CAPS_RX: u32 = CSUM | abi::CAP_LRO;
/// What we may leave to the kernel or the network card.
pub(crate) const CAPS_TX: u32 = CSUM | abi::CAP_TSO4 | abi::CAP_TSO6;

/// What the interface has been asked for: kind of membership and group.
type Asked = Vec<(i32, [u8; 6])>;

pub(crate) struct Afp {
    o: Opened,
    mac: [u8; 6],
    mtu: u32,
    started: bool,
    /// The kernel takes no more; write interest is on.
    full: bool,
    gone: bool,
    reader: Reader,
    writer: Writer,
    asked: Asked,
    rx: Counters,
    tx: Counters,
    tx_errors: u64,
}

/// The link as our side sees it.
pub(crate) fn link(o: &Opened, running: bool) -> Link {
    if running { Link::up(sock::speed(o)) } else { Link::down() }
}

impl Afp {
    pub(crate) fn new(o: Opened, mac: [u8; 6]) -> Afp {
        let mtu = o.mtu;
        Afp {
            o,
            mac,
            mtu,
            started: false,
            full: false,
            gone: false,
            reader: Reader::default(),
            writer: Writer::default(),
            asked: Vec::new(),
            rx: Counters::default(),
            tx: Counters::default(),
            tx_errors: 0,
        }
    }

    fn input(&mut self, port: &Port<'_>, budget: usize) {
        let (mut got, mut left) = (port.batch(), budget);
        while left > 0 {
            let rx = &mut self.rx;
            let r = self.reader.read(&self.o.sock, port, self.mtu, left, |g| match g {
                Got::Frame(m) => {
                    rx.frame(m.as_slice());
                    let _ = got.push(m);
                    if got.is_full() {
                        port.receive(&mut got);
                    }
                }
                Got::Bad => port.count(Count::InErrors, 1),
                Got::NoMemory => {
                    rx.no_memory += 1;
                    port.count(Count::InDrops, 1);
                }
            });
            match r {
                Ok(n) => left = left.saturating_sub(n.max(1)),
                // A super-segment of a kind that the header has no number for (a tunnel's).
                Err(Errno::INVAL) => {
                    port.count(Count::InErrors, 1);
                    left -= 1;
                }
                // The interface went down; the news of it come by themselves.
                Err(Errno::NETDOWN) => left -= 1,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(e) => {
                    self.lost(port, e);
                    break;
                }
            }
        }
        port.receive(&mut got);
    }

    /// Sends what waits and what is in the queue.
    fn output(&mut self, port: &Port<'_>, q: Option<&mut TxQueue<'_>>) {
        let (errors, mut deleted) = (&mut self.tx_errors, None);
        let sent = self.writer.send(&self.o.sock, port, q, &mut self.tx, |e| {
            *errors += 1;
            port.count(Count::OutErrors, 1);
            if e == Errno::NXIO || e == Errno::NODEV {
                deleted = Some(e);
            }
        });
        if let Some(e) = deleted {
            self.lost(port, e);
        }
        match sent {
            Sent::Full if !self.full => self.full = port.rewatch(&self.o.sock, Ready::BOTH).is_ok(),
            Sent::All if self.full => {
                self.full = false;
                let _ = port.rewatch(&self.o.sock, Ready::READ);
                port.tx_ready();
            }
            _ => {}
        }
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
            port.link(link(&self.o, running));
        }
    }
}

impl Device for Afp {
    fn bind(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        port.watch(&self.o.links, Ready::READ, LINKS)
    }

    fn start(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        sock::feed(&self.o, true)?;
        port.watch(&self.o.sock, Ready::READ, SOCK)?;
        self.started = true;
        self.o.running = ifreq::is_running(&self.o.ctl, &self.o.ifname).unwrap_or(false);
        port.link(link(&self.o, self.o.running));
        Ok(())
    }

    fn stop(&mut self, port: &Port<'_>) {
        let _ = port.unwatch(&self.o.sock);
        let _ = sock::feed(&self.o, false);
        // Frames that came before are stale. As many as the socket may hold at most.
        for _ in 0..100_000 {
            if rustix::io::read(&self.o.sock, &mut [0u8; 1][..]) == Err(Errno::AGAIN) {
                break;
            }
        }
        self.started = false;
        self.full = false;
        self.reader.clear();
        self.writer.clear();
        port.link(Link::down());
    }

    fn transmit(&mut self, port: &Port<'_>, q: &mut TxQueue<'_>) {
        if !self.full {
            self.output(port, Some(q));
        }
    }

    fn fd(&mut self, port: &Port<'_>, cookie: u64, ready: Ready, budget: usize) {
        if cookie == LINKS {
            return self.kernel_changed(port);
        }
        if ready.is_write() && self.full {
            self.output(port, None);
        }
        if ready.is_read() || ready.is_end() {
            self.input(port, budget);
        }
    }

    fn filter(&mut self, _port: &Port<'_>, f: &Filter<'_>) -> Result<(), Fail> {
        let mut want: Asked = Vec::new();
        if f.promisc {
            want.push((libc::PACKET_MR_PROMISC, [0; 6]));
        }
        if f.allmulti || f.groups.len() > GROUPS {
            want.push((libc::PACKET_MR_ALLMULTI, [0; 6]));
        } else {
            want.extend(f.groups.iter().map(|g| (libc::PACKET_MR_MULTICAST, *g)));
        }
        // New ones first, so that what is in both has no gap.
        for (kind, group) in want.iter().filter(|w| !self.asked.contains(w)) {
            sock::membership(&self.o, true, *kind, *group)?;
        }
        for (kind, group) in self.asked.iter().filter(|a| !want.contains(a)) {
            let _ = sock::membership(&self.o, false, *kind, *group);
        }
        self.asked = want;
        Ok(())
    }

    fn set_mtu(&mut self, _port: &Port<'_>, mtu: u32) -> Result<(), Fail> {
        ifreq::set_mtu(&self.o.ctl, &self.o.ifname, mtu)?;
        self.mtu = mtu;
        self.reader.clear(); // sized for the old one
        Ok(())
    }

    fn set_caps(&mut self, _port: &Port<'_>, rx: u32, _tx: u32) -> Result<(), Fail> {
        if rx & abi::CAP_LRO == 0 {
            let why = format!(
                "large packets are made by the kernel, and only it can stop: ethtool -K {} gro off lro off",
                self.o.ifname
            );
            return Err(Fail::new(errno::EOPNOTSUPP, why));
        }
        Ok(())
    }

    fn nicinfo(&mut self, _port: &Port<'_>, out: &mut NicInfo<'_>) -> Result<(), Fail> {
        let words =
            |m: [u8; 6]| format!("{:02X}{:02X}{:02X} {:02X}{:02X}{:02X}", m[0], m[1], m[2], m[3], m[4], m[5]);
        out.line("Physical Node ID", &words(self.o.mac));
        out.line("Current Physical Node ID", &words(self.mac));
        let speed = sock::speed(&self.o);
        if self.started && self.o.running && speed != 0 {
            out.line("Current Operation Rate", &format!("{}.00 Mb/s", speed / 1_000_000));
        }
        out.line("Active Interface Type", &format!("packet socket on {}", self.o.ifname));
        let most = (self.mtu + 14).to_string();
        out.line("Maximum Transmittable data Unit", &most);
        out.line("Maximum Receivable data Unit", &most);
        let promisc = self.mac != self.o.mac || self.asked.iter().any(|a| a.0 == libc::PACKET_MR_PROMISC);
        out.line("Promiscuous Mode", if promisc { "On" } else { "Off" });
        out.line("Multicast Support", "Enabled");
        counters::tell(&self.tx, &self.rx, out);
        out.line("", "");
        out.line("Errors on Transmit", &self.tx_errors.to_string());
        Ok(())
    }

    fn detach(&mut self, port: &Port<'_>) {
        let _ = port.unwatch(&self.o.links);
        self.reader.clear();
        self.writer.clear();
    }
}

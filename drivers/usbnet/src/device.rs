//! The device on its packet thread: descriptors on one side, [`Machine`] on the other.
//!
//! Nothing here touches thread-local variables or prints: the packet thread outlives the object.

use crate::at_port::SerialPort;
use crate::bus::Stream;
use crate::machine::{Machine, NEVER, Setting, Up};
use crate::serial::Serial;
use crate::shared::Shared;
use iopkt_sdk::{Batch, Count, Device, Fail, Filter, Link, NicInfo, Port, Ready, Severity, TxQueue};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// Cookies of the two descriptors.
const USB: u64 = 0;
/// Opens of the AT port's terminal.
const OPENS: u64 = 1;
/// Terminals: this and their id.
const TTY: u64 = 16;

/// Counts that the driver keeps for nicinfo.
#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    broadcast: u64,
    multicast: u64,
    no_memory: u64,
    errors: u64,
}

impl Tally {
    fn frame(&mut self, f: &[u8]) {
        self.packets += 1;
        self.bytes += f.len() as u64;
        match f {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => self.broadcast += 1,
            [b, ..] if b & 1 != 0 => self.multicast += 1,
            _ => {}
        }
    }
}

/// One CDC-ECM device.
pub struct Ecm {
    stream: Stream,
    io: Io,
    m: Machine,
    serial: Option<SerialPort>,
    usb_interest: Ready,
    /// Kept although the device is gone (`ign_remove`).
    ign_remove: bool,
    shared: Arc<Shared>,
    /// When the timer goes off.
    armed: u64,
}

/// What [`Up`] needs beside the port.
struct Io {
    /// The option.
    verbose: bool,
    /// `ifconfig IF debug`: as verbose, while it is set.
    debug: bool,
    mac: [u8; 6],
    max_segment: u16,
    name: String,
    rx: Tally,
    tx: Tally,
    link: Link,
    failed: Option<String>,
}

/// The machine's surroundings during a call.
struct Glue<'a, 'p> {
    port: &'a Port<'p>,
    io: &'a mut Io,
    batch: Batch,
}

impl Up for Glue<'_, '_> {
    fn frame(&mut self, bytes: &[u8], dst: Option<[u8; 6]>) {
        let Some(mut m) = self.port.alloc(bytes.len()) else {
            self.io.rx.no_memory += 1;
            return self.port.count(Count::InDrops, 1);
        };
        match dst {
            Some(d) => {
                m.extend_from_slice(&d);
                m.extend_from_slice(bytes.get(6..).unwrap_or_default());
            }
            None => {
                m.extend_from_slice(bytes);
            }
        }
        self.io.rx.frame(bytes);
        if self.batch.push(m).is_ok() && self.batch.is_full() {
            self.port.receive(&mut self.batch);
        }
    }

    fn link(&mut self, up: bool, rx: u64, tx: u64) {
        self.io.link = Link { up: Some(up), full_duplex: true, speed_rx: rx, speed_tx: tx };
        self.port.link(self.io.link);
        // The host logs that the link changed; the speed only we know.
        if (self.io.verbose || self.io.debug) && up && rx + tx > 0 {
            self.port.info(&format!("{:.1} Mb/s down, {:.1} Mb/s up", rx as f64 / 1e6, tx as f64 / 1e6));
        }
    }

    fn tx_ready(&mut self) {
        self.port.tx_ready();
    }

    fn errors(&mut self, rx: u64, tx: u64) {
        self.io.rx.errors += rx;
        self.io.tx.errors += tx;
        if rx > 0 {
            self.port.count(Count::InErrors, rx);
        }
        if tx > 0 {
            self.port.count(Count::OutErrors, tx);
        }
    }

    fn say(&mut self, detail: bool, text: String) {
        if !detail || self.io.verbose || self.io.debug {
            self.port.log(if detail { Severity::Info } else { Severity::Notice }, &text);
        }
    }

    fn failed(&mut self, why: String) {
        self.io.failed.get_or_insert(why);
    }
}

impl Ecm {
    /// Makes the device from what [`crate::probe`] found.
    pub fn new(
        f: crate::probe::Found,
        o: &crate::options::Options,
        serial: Option<Serial>,
        shared: Arc<Shared>,
    ) -> Ecm {
        let set = Setting {
            mac: f.mac,
            max_segment: f.max_segment,
            receive: o.receive,
            transmit: o.transmit,
            bufsz: o.bufsz,
            control_timeout: o.control_timeout.as_nanos() as u64,
            response_len: o.ctrlbufsz,
            responses: o.ctrlrxurb,
            no_filter: o.no_filter,
            fcs: f.quirks.fcs,
            fix_dst: f.quirks.bogus_mac,
            ..Setting::new(f.ecm, f.acm)
        };
        Ecm {
            stream: f.stream,
            m: Machine::new(f.client, set),
            serial: serial.map(|s| SerialPort::new(s, o.bufsz)),
            usb_interest: Ready::READ,
            ign_remove: o.ign_remove,
            shared,
            armed: NEVER,
            io: Io {
                verbose: o.verbose,
                debug: false,
                mac: f.mac,
                max_segment: f.max_segment,
                name: f.name,
                rx: Tally::default(),
                tx: Tally::default(),
                link: Link::down(),
                failed: None,
            },
        }
    }

    /// Runs `f` on the machine, then hands up what came, writes what waits, and looks whether that was the end.
    fn turn(&mut self, port: &Port<'_>, f: impl FnOnce(&mut Machine, u64, &mut dyn Up)) {
        let now = port.now();
        let mut g = Glue { port, io: &mut self.io, batch: port.batch() };
        f(&mut self.m, now, &mut g);
        if !g.batch.is_empty() {
            port.receive(&mut g.batch);
        }
        if !self.m.alive() {
            return;
        }
        let now = port.now();
        if let Some(p) = &mut self.serial
            && p.pump(port, &self.shared, &mut self.m.at, now)
        {
            let mut g = Glue { port, io: &mut self.io, batch: port.batch() };
            self.m.at_changed(now, &mut g);
        }
        let written = self.flush(port);
        self.arm(port);
        match (written, self.io.failed.take()) {
            (Err(e), _) => self.end(port, false, &format!("the USB stack's connection failed: {e}")),
            (_, Some(why)) => self.end(port, true, &why),
            _ => {}
        }
    }

    /// Sets the timer, unless it is set early enough: one that goes off too early finds nothing to do and is set anew.
    fn arm(&mut self, port: &Port<'_>) {
        let d = self.serial.as_ref().map_or(NEVER, SerialPort::deadline).min(self.m.deadline());
        if d < self.armed {
            self.armed = d;
            port.timer(Some(d));
        }
    }

    fn flush(&mut self, port: &Port<'_>) -> io::Result<()> {
        self.m.flush(); // a block ends with what its queue held
        while !self.m.tx().is_empty() {
            match self.stream.write(self.m.tx()) {
                Ok(n) => self.m.tx_done(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let want = if self.m.tx().is_empty() { Ready::READ } else { Ready::BOTH };
        if want != self.usb_interest {
            self.usb_interest = want;
            let _ = port.rewatch(&self.stream, want);
        }
        Ok(())
    }

    /// Reads what the USB stack sent, at most what `budget` frames take.
    fn receive(&mut self, port: &Port<'_>, budget: usize) {
        let want = (budget * (usize::from(self.io.max_segment) + 48)).max(16 * 1024);
        let space = self.m.space();
        let n = space.len().min(want);
        match self.stream.read(&mut space[..n]) {
            Ok(0) => self.end(port, false, "the device was removed"),
            Ok(n) => {
                self.m.commit(n);
                self.turn(port, |m, now, up| {
                    if let Err(e) = m.process(now, up) {
                        up.failed(format!("the USB stack does not speak USB/IP: {e:?}"));
                    }
                });
            }
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => {}
            Err(e) => self.end(port, false, &format!("the USB stack's connection failed: {e}")),
        }
    }

    /// The device is no more, or (`failed`) does not work any more.
    fn end(&mut self, port: &Port<'_>, failed: bool, why: &str) {
        if !self.m.alive() {
            return;
        }
        self.shared.end(failed);
        let _ = port.unwatch(&self.stream);
        // Programs see the end of the AT port now, whoever removes the interface later.
        if let Some(p) = self.serial.take() {
            p.hang_up(port, &self.shared);
        }
        let mut g = Glue { port, io: &mut self.io, batch: port.batch() };
        self.m.gone(&mut g);
        if self.ign_remove {
            port.info(&format!("{why}; the interface stays until it is destroyed (ign_remove)"));
        } else {
            port.info(why);
            port.depart();
        }
    }
}

impl Ecm {
    /// The function is an NCM one.
    pub fn use_blocks(&mut self, n: crate::machine::NtbSetting) {
        self.m.use_blocks(n);
    }

    /// What nicinfo tells of blocks.
    fn block_lines(&self, out: &mut NicInfo<'_>) {
        let Some((c, (format, crc, size))) = self.m.block_counts().zip(self.m.block_form()) else { return };
        let crc = if crc { ", CRC" } else { "" };
        out.line("Block Format", &format!("{format:?}{crc}, up to {size} bytes"));
        let line =
            |blocks: u64, frames: u64, most: u64| format!("{blocks} ({frames} frames, up to {most} in one)");
        out.line("Blocks Transmitted", &line(c.tx_blocks, c.tx_frames, c.tx_most));
        out.line("Blocks Received", &line(c.rx_blocks, c.rx_frames, c.rx_most));
        out.line("Bad Blocks Received", &c.bad_blocks.to_string());
        out.line("Bad Frames in Blocks", &c.bad_frames.to_string());
        out.line("Block Sequence Gaps", &c.gaps.to_string());
    }
}

impl Device for Ecm {
    fn bind(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        self.stream.blocking(None)?;
        port.watch(&self.stream, Ready::READ, USB)?;
        if let Some(p) = &mut self.serial {
            p.watch(port)?;
        }
        self.turn(port, Machine::begin);
        Ok(())
    }

    fn start(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        self.turn(port, Machine::start);
        Ok(())
    }

    fn stop(&mut self, port: &Port<'_>) {
        self.turn(port, Machine::stop);
    }

    fn transmit(&mut self, port: &Port<'_>, q: &mut TxQueue<'_>) {
        let mut sent = Tally::default();
        self.turn(port, |m, now, up| {
            while let Some(f) = q.peek() {
                if !m.send(now, f, up) {
                    break;
                }
                sent.frame(f);
                q.pop();
            }
        });
        let t = &mut self.io.tx;
        t.packets += sent.packets;
        t.bytes += sent.bytes;
        t.broadcast += sent.broadcast;
        t.multicast += sent.multicast;
    }

    fn fd(&mut self, port: &Port<'_>, cookie: u64, ready: Ready, budget: usize) {
        match cookie {
            USB => {
                if ready.is_read() || ready.is_end() {
                    self.receive(port, budget);
                }
                if ready.is_write() {
                    self.turn(port, |_, _, _| {});
                }
            }
            OPENS => {
                if let Some(p) = &mut self.serial {
                    p.opened(port, &self.shared);
                }
                self.turn(port, |_, _, _| {});
            }
            id => {
                if let Some(p) = &mut self.serial {
                    p.readable(id - TTY);
                }
                self.turn(port, |_, _, _| {});
            }
        }
    }

    fn set_flags(&mut self, _: &Port<'_>, flags: u32) {
        self.io.debug = flags & iopkt_sdk::abi::FLAG_DEBUG != 0;
    }

    fn wake(&mut self, port: &Port<'_>) {
        // The port has its name: opens that came before are looked at again.
        if let Some(p) = &mut self.serial {
            p.relink(port, &self.shared);
        }
        self.turn(port, |_, _, _| {});
    }

    fn filter(&mut self, port: &Port<'_>, f: &Filter<'_>) -> Result<(), Fail> {
        self.turn(port, |m, now, up| m.filter(now, f.promisc, f.allmulti, f.groups, up));
        Ok(())
    }

    fn timer(&mut self, port: &Port<'_>, _: u64) {
        self.armed = NEVER;
        if let Some(p) = &mut self.serial {
            p.tick(port.now());
        }
        self.turn(port, Machine::tick);
    }

    fn nicinfo(&mut self, port: &Port<'_>, out: &mut NicInfo<'_>) -> Result<(), Fail> {
        let m = self.io.mac;
        let id = format!("{:02X}{:02X}{:02X} {:02X}{:02X}{:02X}", m[0], m[1], m[2], m[3], m[4], m[5]);
        out.line("Physical Node ID", &id);
        out.line("Current Physical Node ID", &id);
        let rate = self.io.link.speed_rx.max(self.io.link.speed_tx) as f64 / 1e6;
        out.line(
            "Current Operation Rate",
            &if rate > 0.0 { format!("{rate:.2} Mb/s full-duplex") } else { "Unknown".into() },
        );
        let kind = if self.m.block_form().is_some() { "NCM" } else { "ECM" };
        out.line("Active Interface Type", &format!("USB CDC-{kind}, {}", self.io.name));
        self.block_lines(out);
        let size = self.io.max_segment.to_string();
        out.line("Maximum Transmittable data Unit", &size);
        out.line("Maximum Receivable data Unit", &size);
        out.line("Promiscuous Mode", if self.m.promiscuous() { "On" } else { "Off" });
        out.line("Multicast Support", "Enabled");
        out.line("Multicast Filter", &self.m.multicast());
        if let Some(p) = &self.serial {
            out.line("AT Port", &p.describe(&self.shared));
        }
        for (t, way, done) in [(self.io.tx, "Transmit", "Transmitted"), (self.io.rx, "Receive", "Received")] {
            out.line("", "");
            out.line(&format!("Packets {done} OK"), &t.packets.to_string());
            out.line(&format!("Bytes {done} OK"), &t.bytes.to_string());
            out.line(&format!("Broadcast Packets {done} OK"), &t.broadcast.to_string());
            out.line(&format!("Multicast Packets {done} OK"), &t.multicast.to_string());
            out.line(&format!("Memory Allocation Failures on {way}"), &t.no_memory.to_string());
            out.line(&format!("Errors on {way}"), &t.errors.to_string());
        }
        let mut lines = Vec::new();
        self.turn(port, |m, now, up| {
            let s = m.statistics(now, up);
            if let Some(age) = s.age(now) {
                lines.push((String::new(), String::new()));
                lines.push(("Device Statistics Age".into(), format!("{:.1} s", age as f64 / 1e9)));
            }
            lines.extend(s.values().map(|(n, v)| (format!("Device {n}"), v.to_string())));
        });
        lines.iter().for_each(|(l, v)| out.line(l, v));
        Ok(())
    }

    fn detach(&mut self, port: &Port<'_>) {
        if self.m.alive() {
            let _ = port.unwatch(&self.stream);
        }
        if let Some(p) = self.serial.take() {
            p.hang_up(port, &self.shared);
        }
    }
}

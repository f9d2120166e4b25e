//! BPF devices (bpf(4), NetBSD's), for programs built with `<iopkt/bpf.h>`.
//!
//! # Theory of operation
//!
//! Frames that pass the program's filter are put into the *store buffer*, each with a `struct bpf_hdr` and aligned to 8 bytes. When it
//! is full, or its time-out is over, or in immediate mode at once, it becomes the *hold buffer*: one message in the pair, which one
//! read(2) of the buffer's length takes. While the program has not read that, the next buffer fills; frames beyond it wait in the
//! tap, which is as large as a buffer, and what finds no room there is counted as dropped. write(2) sends one frame.

use super::Base;
use crate::Host;
use alloc::vec::Vec;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_bpf::{Dialect, Program};
use iopkt_ctl::IfKind;
use iopkt_sockproto::bpf::*;
use iopkt_sockproto::linux::{IFNAMSIZ, IFREQ_LEN};
use iopkt_stack::Shard;
use iopkt_stack::tap::{Link, Seen, TapConfig, TapId};

/// Lengths of the buffers, bytes: at first, least, largest (one message of the pair must hold one).
const BUFFER: usize = 32_768;
const LEAST: usize = 32;
const LARGEST: usize = 131_072;
/// Alignment of frames in a buffer: `BPF_ALIGNMENT`.
const ALIGN: usize = 8;
/// `offsetof(struct bpf_hdr, bh_hdrlen) + 2`.
const HDR: usize = 26;

/// A BPF device.
pub(crate) struct Device {
    pub tap: TapId,
    blen: usize,
    store: Vec<u8>,
    /// When the first frame came into the store buffer.
    since: Instant,
    immediate: bool,
    timeout: Duration,
    complete: bool,
    dlt: u32,
}

fn int(b: &[u8]) -> Result<u32> {
    b.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
}

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

/// The data link types that a kind of interface has; the first is what it begins with.
fn link_types(kind: IfKind) -> &'static [u32] {
    match kind {
        IfKind::Ethernet => &[DLT_EN10MB],
        IfKind::PointToPoint | IfKind::Loopback => &[DLT_NULL, DLT_RAW],
    }
}

impl Device {
    /// `nonblock`: opened with O_NONBLOCK: what is there is given at once, as a read that does not wait would get it.
    pub fn new(tap: TapId, nonblock: bool) -> Device {
        Device {
            tap,
            blen: BUFFER,
            store: Vec::new(),
            since: Instant::ZERO,
            immediate: nonblock,
            timeout: Duration::ZERO,
            complete: false,
            dlt: DLT_EN10MB,
        }
    }

    fn config<'a>(&self, shard: &'a mut Shard) -> Result<&'a mut TapConfig> {
        shard.taps.get_mut(self.tap).map(|t| &mut t.cfg).ok_or(Errno::EBADF)
    }

    fn ifindex(&self, shard: &Shard) -> Result<u32> {
        let t = shard.taps.get(self.tap).ok_or(Errno::EBADF)?;
        if t.gone { Err(Errno::ENXIO) } else { Ok(t.cfg.ifindex) }
    }

    fn kind(&self, shard: &Shard) -> Result<IfKind> {
        shard.net.iface(self.ifindex(shard)?).map(|i| i.kind).ok_or(Errno::EINVAL)
    }

    /// Forgets frames and counters: what was taken under other rules.
    fn reset<H: Host>(&mut self, shard: &mut Shard, host: &mut H, fd: &H::Fd) {
        if let Some(t) = shard.taps.get_mut(self.tap) {
            t.flush();
            t.stats = Default::default();
        }
        self.store.clear();
        let mut rest = [0; 64];
        while let Ok(Some(_)) = host.client_recv(fd, &mut rest, false) {}
    }

    /// ioctl(2): the bytes that come back.
    pub fn ioctl<H: Host>(
        &mut self,
        shard: &mut Shard,
        host: &mut H,
        base: &mut Base,
        fd: &H::Fd,
        request: u32,
        arg: &[u8],
    ) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match request {
            BIOCGBLEN => out = words(&[self.blen as u32]),
            BIOCSBLEN => {
                if self.ifindex(shard)? != 0 {
                    return Err(Errno::EINVAL);
                }
                self.blen = (int(arg)? as usize).clamp(LEAST, LARGEST).next_multiple_of(ALIGN);
                out = words(&[self.blen as u32]);
            }
            BIOCSETIF => {
                let name = arg.get(..IFNAMSIZ).ok_or(Errno::EINVAL)?;
                let end = name.iter().position(|b| *b == 0).unwrap_or(IFNAMSIZ);
                let name = core::str::from_utf8(&name[..end]).map_err(|_| Errno::ENXIO)?;
                self.attach(shard, shard.net.ifindex_of(name))?;
                base.told_gone = false;
                self.reset(shard, host, fd);
            }
            BIOCGETIF => {
                let i = shard.net.iface(self.ifindex(shard)?).ok_or(Errno::EINVAL)?;
                out = alloc::vec![0; IFREQ_LEN];
                let n = i.name.len().min(IFNAMSIZ - 1);
                out[..n].copy_from_slice(&i.name.as_bytes()[..n]);
            }
            BIOCSETF => {
                let p = match arg {
                    [] => None,
                    p => Some(Program::from_bytes(p, Dialect::Bpf).map_err(|_| Errno::EINVAL)?),
                };
                self.config(shard)?.program = p;
                self.reset(shard, host, fd);
            }
            BIOCFLUSH => self.reset(shard, host, fd),
            BIOCPROMISC => {
                self.kind(shard)?;
                shard.tap_promisc(self.tap, true);
            }
            BIOCGDLT => {
                self.kind(shard)?;
                out = words(&[self.dlt]);
            }
            BIOCSDLT => {
                let kind = self.kind(shard)?;
                let dlt = int(arg)?;
                if !link_types(kind).contains(&dlt) {
                    return Err(Errno::EINVAL);
                }
                self.set_link(shard, dlt)?;
                self.reset(shard, host, fd);
            }
            // `struct bpf_dltlist` without its pointer: how many there is room for; back: how many there are, and they.
            BIOCGDLTLIST => {
                let list = link_types(self.kind(shard)?);
                out = words(&[list.len() as u32]);
                out.extend(words(list));
            }
            BIOCSRTIMEOUT => self.timeout = timeval(arg)?,
            BIOCGRTIMEOUT => {
                let ns = self.timeout.as_nanos() as u64;
                out.extend((ns / 1_000_000_000).to_ne_bytes());
                out.extend((ns % 1_000_000_000 / 1000).to_ne_bytes());
            }
            BIOCGSTATS => {
                let s = shard.taps.get(self.tap).map(|t| t.stats).unwrap_or_default();
                out = [s.seen, s.dropped, s.matched].iter().flat_map(|v| v.to_ne_bytes()).collect();
                out.resize(BPF_STAT_LEN, 0);
            }
            BIOCIMMEDIATE => self.immediate = int(arg)? != 0,
            BIOCVERSION => out = [1u16, 1].iter().flat_map(|v| v.to_ne_bytes()).collect(),
            BIOCGHDRCMPLT => out = words(&[self.complete.into()]),
            BIOCSHDRCMPLT => self.complete = int(arg)? != 0,
            BIOCGSEESENT => out = words(&[self.config(shard)?.sent.into()]),
            BIOCSSEESENT => self.config(shard)?.sent = int(arg)? != 0,
            _ => return Err(Errno::ENOTTY),
        }
        Ok(out)
    }

    fn set_link(&mut self, shard: &mut Shard, dlt: u32) -> Result<()> {
        self.dlt = dlt;
        self.config(shard)?.link = if dlt == DLT_NULL { Link::Null } else { Link::Own };
        Ok(())
    }

    fn attach(&mut self, shard: &mut Shard, ifindex: u32) -> Result<()> {
        let kind = shard.net.iface(ifindex).ok_or(Errno::ENXIO)?.kind;
        shard.tap_attach(self.tap, ifindex)?;
        let room = self.blen;
        let c = self.config(shard)?;
        (c.on, c.room) = (true, room);
        self.set_link(shard, *link_types(kind).first().unwrap_or(&DLT_NULL))
    }

    /// write(2): one frame.
    pub fn write(&mut self, shard: &mut Shard, frame: &[u8]) -> Result<usize> {
        let ifindex = self.ifindex(shard)?;
        let i = shard.net.iface(ifindex).ok_or(Errno::ENXIO)?;
        match (i.kind, self.dlt) {
            (IfKind::Ethernet, _) if !self.complete => {
                let mut whole = frame.to_vec();
                whole.get_mut(6..12).ok_or(Errno::EINVAL)?.copy_from_slice(&i.mac);
                shard.inject(ifindex, &whole)?;
            }
            (_, DLT_NULL) => shard.inject(ifindex, frame.get(4..).ok_or(Errno::EINVAL)?)?,
            _ => shard.inject(ifindex, frame)?,
        }
        Ok(frame.len())
    }

    /// Gives the program what the tap took. Also when it wants to be called again, and what is to be told if the
    /// interface is gone.
    pub fn down<H: Host>(
        &mut self,
        shard: &mut Shard,
        host: &mut H,
        base: &mut Base,
        now: Instant,
    ) -> (Instant, Option<Errno>) {
        let Some(t) = shard.taps.get_mut(self.tap) else { return (Instant::FAR, None) };
        let lost = t.gone.then_some(Errno::ENXIO);
        loop {
            let mut full = false;
            while let Some((s, bytes)) = t.first() {
                if !self.room_for(s) {
                    full = true;
                    break;
                }
                if self.store.is_empty() {
                    self.since = s.at;
                }
                store(&mut self.store, s, bytes, host.wall(s.at), self.blen);
                t.pop();
            }
            let over = self.timeout > Duration::ZERO && self.since + self.timeout <= now;
            let due = !self.store.is_empty() && (full || over || self.immediate || lost.is_some());
            // One buffer at a time: the program's hold buffer is the message that it has not read yet.
            if !due || !host.all_read(base.end) {
                break;
            }
            match host.send_msg(base.end, &[], &self.store) {
                Ok(()) => self.store.clear(),
                Err(_) => break,
            }
        }
        let waits =
            !self.store.is_empty() && self.timeout > Duration::ZERO && self.since + self.timeout > now;
        (if waits { self.since + self.timeout } else { Instant::FAR }, lost)
    }

    fn room_for(&self, s: &Seen) -> bool {
        let at = self.store.len().next_multiple_of(ALIGN);
        // The first of a buffer is cut if it must be.
        self.store.is_empty() || at + header_len(s) + s.len as usize <= self.blen
    }
}

/// The header is as long as it must be for the network header to be aligned.
fn header_len(s: &Seen) -> usize {
    let link = usize::from(s.net);
    (HDR + link).next_multiple_of(ALIGN) - link
}

/// Appends a frame with its `struct bpf_hdr`.
fn store(buf: &mut Vec<u8>, s: &Seen, bytes: &[u8], wall: u64, blen: usize) {
    let at = buf.len().next_multiple_of(ALIGN);
    let hdr = header_len(s);
    let n = bytes.len().min(blen.saturating_sub(at + hdr));
    buf.resize(at, 0);
    buf.extend((wall / 1_000_000_000).to_ne_bytes());
    buf.extend((wall % 1_000_000_000 / 1000).to_ne_bytes());
    buf.extend((n as u32).to_ne_bytes());
    buf.extend(s.wire_len.to_ne_bytes());
    buf.extend((hdr as u16).to_ne_bytes());
    buf.resize(at + hdr, 0);
    buf.extend_from_slice(&bytes[..n]);
}

fn timeval(b: &[u8]) -> Result<Duration> {
    let n = |at: usize| {
        let b = b.get(at..at + 8).and_then(|b| b.try_into().ok());
        b.map(i64::from_ne_bytes).and_then(|v| u64::try_from(v).ok()).ok_or(Errno::EINVAL)
    };
    let (sec, usec) = (n(0)?, n(8)?);
    if usec >= 1_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::from_secs(sec.min(1 << 30)) + Duration::from_micros(usec))
}

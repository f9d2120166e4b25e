//! Appending.

use crate::Severity;
use crate::ring::{self, ALIGN, CAPACITIES, CAPACITY, HEADER, Header, Record};
use iopkt_base::Duration;
use iopkt_sys::{Root, clock, paths};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Mutex, PoisonError};

/// How long a writer waits for the log's lock before it gives a message up.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// Appends to the log. Shared by the threads of a process; several processes have one each.
#[derive(Debug)]
pub struct Writer {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    lost: u64,
    bytes: Vec<u8>,
}

impl Writer {
    /// Opens the log of `root`, making it (and the root) if need be.
    ///
    /// # Errors
    /// No permission, no space; the message names the file.
    pub fn open(root: &Root) -> io::Result<Writer> {
        let path = root.prepare(paths::SLOG)?;
        let named = |e: io::Error| io::Error::new(e.kind(), format!("log {}: {e}", path.display()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc_nofollow())
            .open(&path)
            .map_err(named)?;
        // Space is taken now, so that a full disk later cannot stop the log. One that is there has its own size.
        if file.metadata().map_err(named)?.len() == 0 {
            take_space(&file, CAPACITY).map_err(named)?;
        }
        Ok(Writer { state: Mutex::new(State { file, lost: 0, bytes: Vec::new() }) })
    }

    /// Appends one record, stamped with the time and our process id. Says whether it got in; one that did
    /// not (lock held too long, write failed) is counted and reported with the next one.
    pub fn write(&self, severity: Severity, major: u16, minor: u32, text: &str) -> bool {
        let mut s = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let r = Record {
            seq: 0,
            time: clock::realtime(),
            severity,
            major,
            minor,
            pid: std::process::id(),
            text: ring::clean(text),
        };
        let ok = s.locked(|s| {
            if s.lost > 0 {
                let text = format!("log: {} messages lost", s.lost);
                s.append(Record { severity: Severity::Warning, text, ..r.clone() })?;
                s.lost = 0;
            }
            s.append(r)
        });
        if ok.is_err() {
            s.lost += 1;
        }
        ok.is_ok()
    }

    /// Makes the ring `capacity` bytes large (rounded up to whole records' alignment); the newest records that fit stay.
    /// Every writer and reader goes on with it. Returns the size it has now.
    ///
    /// # Errors
    /// InvalidInput for a size outside [`CAPACITIES`]; TimedOut when another process holds the lock; no space.
    pub fn resize(&self, capacity: u64) -> io::Result<u64> {
        if !CAPACITIES.contains(&capacity) {
            let (least, most) = (CAPACITIES.start(), CAPACITIES.end());
            let text = format!("a log of {capacity} bytes: {least} to {most} are possible");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let capacity = capacity.next_multiple_of(ALIGN as u64);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).locked(|s| s.resize(capacity))?;
        Ok(capacity)
    }

    /// Size of the ring in bytes.
    ///
    /// # Errors
    /// As [`Writer::clear`].
    pub fn capacity(&self) -> io::Result<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).locked(|s| Ok(s.header()?.capacity))
    }

    /// Empties the log (`sloginfo -c`).
    ///
    /// # Errors
    /// TimedOut when another process holds the lock; what write(2) says.
    pub fn clear(&self) -> io::Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).locked(|s| {
            let h = s.header()?;
            s.file.write_all_at(&Header { tail: h.head, ..h }.encode(), 0)
        })
    }
}

fn take_space(file: &File, capacity: u64) -> io::Result<()> {
    fallocate(file, FallocateFlags::empty(), 0, HEADER + capacity)
        .or_else(|e| if e == rustix::io::Errno::OPNOTSUPP { Ok(()) } else { Err(e.into()) })
}

fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits() as i32
}

impl State {
    fn locked<T>(&mut self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let give_up = clock::monotonic() + PATIENCE;
        while let Err(e) = flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK && e != rustix::io::Errno::INTR {
                return Err(e.into());
            }
            if clock::monotonic() >= give_up {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let r = f(self);
        let _ = flock(&self.file, FlockOperation::Unlock);
        r
    }

    /// The header, made anew when it is none.
    fn header(&self) -> io::Result<Header> {
        let mut b = [0; HEADER as usize];
        let h = match self.file.read_exact_at(&mut b, 0) {
            Ok(()) => Header::decode(&b),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(e),
        };
        match h {
            Some(h) => Ok(h),
            None => {
                self.file.write_all_at(&Header::EMPTY.encode(), 0)?;
                Ok(Header::EMPTY)
            }
        }
    }

    fn resize(&mut self, capacity: u64) -> io::Result<()> {
        let h = self.header()?;
        if h.capacity == capacity {
            return Ok(());
        }
        // Space first: a full disk leaves the log as it was.
        if capacity > h.capacity {
            take_space(&self.file, capacity)?;
        }
        let mut bytes = vec![0; (h.head - h.tail) as usize];
        read_ring(&self.file, h.capacity, h.tail, &mut bytes)?;
        let mut from = 0;
        while (bytes.len() - from) as u64 > capacity {
            from += ring::decode(&bytes[from..]).map_or(ALIGN, |(_, n)| n);
        }
        // Positions go on growing, and the records lie at the ring's begin.
        let tail = h.head.next_multiple_of(capacity);
        let head = tail + (bytes.len() - from) as u64;
        self.file.write_all_at(&bytes[from..], HEADER)?;
        self.file.write_all_at(&Header { capacity, tail, head, seq: h.seq }.encode(), 0)?;
        self.file.set_len(HEADER + capacity)
    }

    fn append(&mut self, mut r: Record) -> io::Result<()> {
        let mut h = self.header()?;
        h.seq += 1;
        r.seq = h.seq;
        let mut bytes = std::mem::take(&mut self.bytes);
        ring::encode(&r, &mut bytes);
        let done = self.place(&mut h, &bytes);
        self.bytes = bytes;
        done
    }

    fn place(&mut self, h: &mut Header, bytes: &[u8]) -> io::Result<()> {
        let need = bytes.len() as u64;
        let old_tail = h.tail;
        while h.head + need - h.tail > h.capacity {
            h.tail += self.step(h)?;
        }
        if h.tail != old_tail {
            self.file.write_all_at(&h.encode(), 0)?;
        }
        let at = h.head % h.capacity;
        let first = need.min(h.capacity - at) as usize;
        self.file.write_all_at(&bytes[..first], HEADER + at)?;
        self.file.write_all_at(&bytes[first..], HEADER)?;
        h.head += need;
        self.file.write_all_at(&h.encode(), 0)
    }

    /// Bytes from the oldest record to the next one, over damage if there is any.
    fn step(&self, h: &Header) -> io::Result<u64> {
        let have = h.head - h.tail;
        let mut b = vec![0; have.min(ring::size(ring::MAX_TEXT) as u64) as usize];
        read_ring(&self.file, h.capacity, h.tail, &mut b)?;
        Ok(ring::decode(&b).map_or(ALIGN as u64, |(_, n)| n as u64))
    }
}

/// Reads a ring of `capacity` bytes from position `pos` on. A file shorter than a log reads as zeroes.
pub(crate) fn read_ring(file: &File, capacity: u64, pos: u64, out: &mut [u8]) -> io::Result<()> {
    let at = pos % capacity;
    let first = (out.len() as u64).min(capacity - at) as usize;
    let (a, b) = out.split_at_mut(first);
    for (part, off) in [(a, HEADER + at), (b, HEADER)] {
        match file.read_exact_at(part, off) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => part.fill(0),
            r => r?,
        }
    }
    Ok(())
}

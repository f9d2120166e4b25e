//! Reading and following.

use crate::ring::{self, ALIGN, HEADER, Header, Record};
use crate::writer::read_ring;
use iopkt_sys::{Epoll, Interest, Root, paths};
use rustix::fs::inotify;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// Reads the log from the oldest record on, and follows it.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    pos: u64,
    /// The ring's size at the last look, and the newest record that was seen: after another size was set the positions
    /// are others, the numbers are not.
    capacity: u64,
    seen: u64,
    watch: Option<OwnedFd>,
}

/// What a look into the log brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// New records, oldest first.
    pub list: Vec<Record>,
    /// Bytes of records that were overwritten before this reader saw them, or were damaged.
    pub missed: u64,
}

impl Reader {
    /// Opens the log of `root` for reading; nothing is made or changed.
    ///
    /// # Errors
    /// NotFound when nothing has logged yet, no permission; the message names the file.
    pub fn open(root: &Root) -> io::Result<Reader> {
        let path = root.path(paths::SLOG);
        let file = File::open(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("log {}: {e}", path.display())))?;
        let mut r = Reader { path, file, pos: 0, capacity: 0, seen: 0, watch: None };
        let h = r.header()?;
        (r.pos, r.capacity) = (h.tail, h.capacity);
        Ok(r)
    }

    /// Goes to the end: only records written from now on are read.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        let h = self.header()?;
        (self.pos, self.capacity, self.seen) = (h.head, h.capacity, h.seq);
        Ok(())
    }

    fn header(&self) -> io::Result<Header> {
        // A header that is being written may be seen half old, half new: look again.
        for _ in 0..100 {
            let mut b = [0; HEADER as usize];
            match self.file.read_exact_at(&mut b, 0) {
                Ok(()) if b.iter().all(|x| *x == 0) => return Ok(Header::EMPTY),
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::EMPTY),
                Err(e) => return Err(e),
            }
            if let Some(h) = Header::decode(&b) {
                return Ok(h);
            }
            std::thread::yield_now();
        }
        let text =
            format!("{} is not a log of this version; the next writer begins it anew", self.path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// All records since the last call (the first call: from the oldest on). Never waits.
    ///
    /// # Errors
    /// InvalidData when the file is no log; what read(2) says.
    pub fn read(&mut self) -> io::Result<Records> {
        let mut out = Records::default();
        let mut h = self.header()?;
        // Records up to here were seen. Else positions alone say that: in a damaged file numbers may be anything.
        let mut known = 0;
        if h.capacity != self.capacity {
            (self.pos, self.capacity, known) = (h.tail, h.capacity, self.seen);
        }
        if self.pos > h.head {
            (self.pos, known) = (h.tail, 0); // begun anew behind our back
        }
        if self.pos < h.tail {
            out.missed += h.tail - self.pos;
            self.pos = h.tail;
        }
        let mut bytes = vec![0; (h.head - self.pos).min(h.capacity) as usize];
        let tail = loop {
            read_ring(&self.file, h.capacity, self.pos, &mut bytes)?;
            let now = self.header()?;
            if now.capacity == h.capacity {
                break now.tail;
            }
            // Made larger or smaller under our hands.
            h = now;
            (self.pos, self.capacity, known) = (h.tail, h.capacity, self.seen);
            bytes.resize((h.head - h.tail) as usize, 0);
        };
        // What writers passed while we copied may be torn.
        let torn = tail.saturating_sub(self.pos).min(bytes.len() as u64);
        out.missed += torn;
        let mut at = torn as usize;
        while at < bytes.len() {
            match ring::decode(&bytes[at..]) {
                Some((r, n)) => {
                    if r.seq > known {
                        self.seen = r.seq;
                        out.list.push(r);
                    }
                    at += n;
                }
                None => {
                    out.missed += ALIGN as u64;
                    at += ALIGN;
                }
            }
        }
        self.pos = h.head;
        Ok(out)
    }

    /// Waits until the log may have changed, or `timeout` has passed (`None`: for ever), without using the
    /// processor. Says whether it changed.
    ///
    /// # Errors
    /// What inotify(7) and epoll(7) say.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let fresh = self.watch.is_none();
        let fd = self.watch()?.try_clone_to_owned()?;
        if fresh && self.header()?.head != self.pos {
            return Ok(true); // it changed before we watched
        }
        let ep = Epoll::new()?;
        ep.add(&fd, 0, Interest::READ)?;
        if ep.wait(&mut Vec::new(), 1, timeout)? == 0 {
            return Ok(false);
        }
        let mut buf = [MaybeUninit::uninit(); 512];
        let mut events = inotify::Reader::new(&fd, &mut buf);
        while events.next().is_ok() {}
        Ok(true)
    }

    /// A descriptor that becomes readable when the log may have changed, for an event loop of the caller's;
    /// [`Reader::wait`] with a zero time-out makes it silent again.
    ///
    /// # Errors
    /// What inotify_init(2) and inotify_add_watch(2) say.
    pub fn watch(&mut self) -> io::Result<BorrowedFd<'_>> {
        if self.watch.is_none() {
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            inotify::add_watch(&fd, &self.path, inotify::WatchFlags::MODIFY)?;
            self.watch = Some(fd);
        }
        Ok(self.watch.as_ref().map(AsFd::as_fd).expect("just made"))
    }
}

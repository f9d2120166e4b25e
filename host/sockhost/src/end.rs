//! The server's end of a pair.

use iopkt_base::{Errno, Result};
use iopkt_sys::mmsg;
use rustix::net::{RecvAncillaryBuffer, SendAncillaryBuffer};
use rustix::net::{RecvFlags, SendFlags, recv, recvmsg, send, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Slices in one write.
const MAX_SLICES: usize = 128;
/// Bytes that are looked at before they are taken out.
const SMALL: usize = 4096;

/// One end: descriptor, who is told, and how much of what is in it is the filling of a pending connect.
pub(crate) struct End {
    pub fd: OwnedFd,
    pub owner: u32,
    pub stream: bool,
    pub generation: u32,
    /// Bytes to throw away before the program's own.
    pub filling: usize,
    /// Bytes behind the one that stays that were delivered by looking at them; [`End::settle`] takes them out.
    pub seen: usize,
    /// What the program wrote last was little.
    small: bool,
    /// The watch of the program's end, if it has one.
    pub watch: Option<i32>,
    /// Its place among the epoll instance's tokens.
    pub token: u64,
    /// Room to write is told.
    pub armed: bool,
    /// It has been wanted since it was last told.
    pub wanted: bool,
}

pub(crate) fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

fn retry<T>(mut f: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
    loop {
        match f() {
            Err(rustix::io::Errno::INTR) => {}
            r => return r.map_err(errno),
        }
    }
}

/// Bytes that can be read (of the next message).
pub(crate) fn readable(fd: impl AsFd) -> usize {
    rustix::io::ioctl_fionread(fd).map_or(0, |n| n as usize)
}

/// recv(2) that does not wait.
pub(crate) fn take(fd: BorrowedFd<'_>, out: &mut [u8], flags: RecvFlags) -> Result<usize> {
    retry(|| recv(fd, &mut *out, flags | RecvFlags::DONTWAIT).map(|r| r.0))
}

/// send(2) that does not wait.
pub(crate) fn give(fd: BorrowedFd<'_>, data: &[u8]) -> Result<usize> {
    retry(|| send(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

impl End {
    pub fn new(fd: OwnedFd, owner: u32, stream: bool, generation: u32, token: u64) -> End {
        let (filling, seen, watch) = (0, 0, None);
        End {
            fd,
            owner,
            stream,
            generation,
            filling,
            seen,
            small: true,
            watch,
            token,
            armed: false,
            wanted: false,
        }
    }

    /// Reads a stream but for its last byte, which stays in the queue although it is delivered (the next read throws
    /// it away): as long as a byte is there, the kernel reports our closing, or death, as ECONNRESET. Also whether there was
    /// more than was read; what comes after we looked is a new edge.
    ///
    /// Little data is delivered by one look, and taken out when it is on its way ([`End::settle`]): taking it out wakes the program,
    /// for which there is room then, and on the program's CPU that comes before what it waits for.
    pub fn read(&mut self, out: &mut [u8]) -> Result<(usize, bool)> {
        if self.seen > 0 {
            self.settle()?;
        }
        if self.small && self.filling == 0 && out.len() >= SMALL {
            let n = self.look(&mut out[..SMALL])?;
            self.seen = n;
            self.small = n < SMALL;
            return Ok((n, n == SMALL));
        }
        let there = readable(&self.fd).saturating_sub(1).saturating_sub(self.filling);
        let n = there.min(out.len());
        if n == 0 || !self.drop_filling(out)? {
            return Ok((0, false));
        }
        let got = self.pull(&mut out[..n])?;
        self.small = there < SMALL / 2;
        Ok((got, got < there))
    }

    /// The bytes behind the one that stays, which are not taken out.
    fn look(&self, out: &mut [u8]) -> Result<usize> {
        let mut old = [0];
        let mut iov = [IoSliceMut::new(&mut old), IoSliceMut::new(out)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let got = retry(|| recvmsg(&self.fd, &mut iov, &mut RecvAncillaryBuffer::default(), flags))?.bytes;
        Ok(got.saturating_sub(1))
    }

    /// Takes out what was delivered by looking at it, but for its last byte; whether there is more behind it.
    ///
    /// # Errors
    /// What recv(2) says; the pair is of no more use.
    pub fn settle(&mut self) -> Result<bool> {
        let mut scratch = [0; SMALL];
        while self.seen > 0 {
            let n = self.seen.min(SMALL);
            let got = take(self.fd.as_fd(), &mut scratch[..n], RecvFlags::empty())?;
            if got == 0 {
                self.seen = 0;
            }
            self.seen -= got;
        }
        // A look ends before a byte that was sent as urgent, and no event tells of that byte again.
        Ok(readable(&self.fd) > 1)
    }

    /// Throws the filling away, using `scratch`; false when it is not all there yet.
    pub fn drop_filling(&mut self, scratch: &mut [u8]) -> Result<bool> {
        while self.filling > 0 {
            let there = readable(&self.fd).saturating_sub(1);
            let n = self.filling.min(there).min(scratch.len());
            if n == 0 {
                return Ok(false);
            }
            self.filling -= self.pull(&mut scratch[..n])?;
        }
        Ok(true)
    }

    /// Delivers up to `out.len()` bytes behind the one that was delivered before; they are known to be there.
    fn pull(&mut self, out: &mut [u8]) -> Result<usize> {
        let last = out.len() - 1;
        let mut old = [0];
        let got = {
            let mut iov = [IoSliceMut::new(&mut old), IoSliceMut::new(&mut out[..last])];
            let fd = self.fd.as_fd();
            retry(|| recvmsg(fd, &mut iov, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT))?.bytes
        };
        if got == 0 {
            return Ok(0);
        }
        // The byte that now heads the queue is delivered by looking at it.
        take(self.fd.as_fd(), &mut out[got - 1..got], RecvFlags::PEEK)?;
        Ok(got)
    }

    /// Takes the byte that always stays behind out: what is in the queue then is what was not delivered.
    pub fn take_delivered(&mut self) {
        let _ = self.settle();
        let _ = take(self.fd.as_fd(), &mut [0], RecvFlags::empty());
    }

    /// Bytes of a stream, or of the next message, that were not delivered yet.
    pub fn pending(&self) -> usize {
        let n = readable(&self.fd);
        if self.stream { n.saturating_sub(1 + self.filling + self.seen) } else { n }
    }

    /// Writes the slices to a stream: what fits.
    pub fn write(&self, data: &[&[u8]]) -> Result<usize> {
        let mut iov = [IoSlice::new(&[]); MAX_SLICES];
        let n = data.len().min(MAX_SLICES);
        for (v, d) in iov.iter_mut().zip(data) {
            *v = IoSlice::new(d);
        }
        self.send(&iov[..n])
    }

    /// Writes a byte that the program finds marked: SIGURG, POLLPRI, MSG_OOB and SIOCATMARK are the kernel's own. Kernels without
    /// urgent data on Unix sockets (before 5.15, or built so) have it in line.
    pub fn write_urgent(&self, byte: u8) -> Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match retry(|| send(&self.fd, &[byte], flags | SendFlags::OOB)) {
            Err(Errno::EOPNOTSUPP) => retry(|| send(&self.fd, &[byte], flags)),
            r => r,
        }
    }

    /// One message, or bytes.
    pub fn send(&self, iov: &[IoSlice<'_>]) -> Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        retry(|| sendmsg(&self.fd, iov, &mut SendAncillaryBuffer::default(), flags))
    }

    /// The next message.
    pub fn message(&self, out: &mut [u8]) -> Result<Option<usize>> {
        next_message(self.fd.as_fd(), out, RecvFlags::empty())
    }

    /// The next messages, each into a slot. Whether there may be more.
    pub fn messages(&self, out: &mut [u8], slot: usize, lens: &mut Vec<usize>) -> Result<bool> {
        let slots = (out.len() / slot).min(mmsg::MOST);
        let mut got = [0; mmsg::MOST];
        let n = match past_reset(|| {
            mmsg::recv_many(&self.fd, out, slot, &mut got).map_err(|e| iopkt_sys::errno(&e))
        }) {
            Ok(n) => n,
            Err(Errno::EAGAIN) => return Ok(false),
            Err(e) => return Err(e),
        };
        let mut list = &got[..n];
        // Of a program that has hung up, the end of the queue looks like empty messages without end.
        let mut more = n == slots;
        if list.last() == Some(&0) && hung_up(self.fd.as_fd()) && readable(&self.fd) == 0 {
            let last = list.iter().rposition(|l| *l > 0);
            list = &list[..last.map_or(0, |i| i + 1)];
            more = false;
        }
        lens.extend_from_slice(list);
        Ok(more)
    }

    /// Empties the queue, so that closing is no reset.
    pub fn empty(&self, scratch: &mut [u8]) {
        // A pair holds less than this many buffers full; the bound is for a program that writes all the time.
        for _ in 0..256 {
            match take(self.fd.as_fd(), scratch, RecvFlags::empty()) {
                Ok(n) if n > 0 || !self.stream && readable(&self.fd) > 0 => {}
                _ => return,
            }
        }
    }
}

/// Reads past the ECONNRESET that stands once before everything else when the program ended with messages unread: what it had
/// sent itself before is still in the queue.
fn past_reset<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    match read() {
        Err(Errno::ECONNRESET) => read(),
        r => r,
    }
}

/// The next message of a SEQPACKET socket. An empty one and the end look the same to recv(2): it is the end
/// when the peer has hung up and nothing is left.
pub(crate) fn next_message(fd: BorrowedFd<'_>, out: &mut [u8], flags: RecvFlags) -> Result<Option<usize>> {
    match past_reset(|| take(fd, out, flags)) {
        Err(Errno::EAGAIN) => Ok(None),
        Ok(0) if hung_up(fd) && readable(fd) == 0 => Ok(None),
        r => r.map(Some),
    }
}

fn hung_up(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut p = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut p, Some(&now)).is_ok_and(|n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (End, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // The byte that always stays.
        theirs.write_all(&[0]).unwrap();
        (End::new(ours.into(), 0, true, 0, 0), theirs)
    }

    #[test]
    fn little_is_delivered_by_a_look_and_taken_out_later() {
        let (mut e, mut p) = pair();
        let mut out = vec![0; 1 << 16];
        assert_eq!(e.read(&mut out), Ok((0, false)));
        p.write_all(b"question").unwrap();
        assert_eq!((e.read(&mut out), &out[..8]), (Ok((8, false)), &b"question"[..]));
        assert_eq!((readable(&e.fd), e.pending()), (9, 0));
        // What comes before it is taken out is not mistaken for it.
        p.write_all(b"more").unwrap();
        assert_eq!((e.pending(), e.settle()), (4, Ok(true)));
        assert_eq!((e.read(&mut out), &out[..4]), (Ok((4, false)), &b"more"[..]));
        assert_eq!((e.settle(), readable(&e.fd)), (Ok(false), 1));
        assert_eq!(e.read(&mut out), Ok((0, false)));
    }

    #[test]
    fn what_was_sent_last_survives_messages_that_were_never_read() {
        use rustix::net::SocketType;
        for many in [true, false] {
            let (ours, theirs) = iopkt_sys::unix::pair(SocketType::SEQPACKET).unwrap();
            give(ours.as_fd(), b"never read").unwrap();
            give(theirs.as_fd(), b"last").unwrap();
            give(theirs.as_fd(), b"words").unwrap();
            drop(theirs);
            let (e, mut out) = (End::new(ours, 0, false, 0, 0), vec![0; 64]);
            if many {
                let mut lens = Vec::new();
                assert_eq!((e.messages(&mut out, 16, &mut lens), lens), (Ok(false), vec![4, 5]));
            } else {
                for want in [Some(4), Some(5), None] {
                    assert_eq!(next_message(e.fd.as_fd(), &mut out, RecvFlags::empty()), Ok(want));
                }
            }
        }
    }

    #[test]
    fn nothing_is_lost_or_doubled_whatever_the_sizes() {
        let (mut e, mut p) = pair();
        let (mut out, mut sent, mut got) = (vec![0; 1 << 16], 0u32, 0u32);
        let mut x = 7u32;
        for round in 0..2000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = if x >> 30 == 0 { x >> 16 & 0x7fff } else { x >> 16 & 0xff };
            let bytes: Vec<u8> = (sent..sent + n).map(|i| (i % 251) as u8).collect();
            p.write_all(&bytes).unwrap();
            sent += n;
            loop {
                let (n, more) = e.read(&mut out).unwrap();
                let good = out[..n].iter().zip(got..).all(|(b, i)| *b == (i % 251) as u8);
                assert!(good, "round {round}");
                got += n as u32;
                if !more {
                    break;
                }
            }
            if x & 1 == 0 {
                assert_eq!(e.settle(), Ok(false));
            }
            assert_eq!((got, e.pending()), (sent, 0), "round {round}");
        }
    }

    #[test]
    fn the_program_sees_a_reset_while_a_look_is_not_settled() {
        let (mut e, mut p) = pair();
        p.write_all(b"x").unwrap();
        assert_eq!(e.read(&mut vec![0; 1 << 16]), Ok((1, false)));
        drop(e);
        let r = std::io::Read::read(&mut p, &mut [0]);
        assert_eq!(r.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}

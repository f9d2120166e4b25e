//! Unix sockets: pairs, listeners, messages that carry descriptors, credentials, identity.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with, socketpair, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Most descriptors that one message of ours carries.
pub const MAX_FDS: usize = 16;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A connected pair, both ends non-blocking and closed on exec.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn pair(ty: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, ty, FLAGS, None)?)
}

/// A non-blocking listener at `path` with file mode `mode`. The name must be free: whoever holds the lock of the name removes a
/// stale one first.
///
/// # Errors
/// EADDRINUSE, ENAMETOOLONG (socket names have at most 107 bytes), EACCES ...; the message names the path.
pub fn listener(path: &Path, ty: SocketType, backlog: i32, mode: u32) -> io::Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let addr = SocketAddrUnix::new(path)?;
        let fd = socket_with(AddressFamily::UNIX, ty, FLAGS, None)?;
        bind(&fd, &addr)?;
        rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))?;
        listen(&fd, backlog)?;
        Ok(fd)
    };
    make().map_err(|e| named(&e, "cannot listen on", path))
}

/// The next connection of a listener, non-blocking and closed on exec; `None` when none waits.
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS, ENOMEM: out of resources, the connection stays in the queue.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    loop {
        match accept_with(&listener, FLAGS) {
            Ok(fd) => return Ok(Some(fd)),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Connects to the listener at `path`; the descriptor is blocking and closed on exec.
///
/// # Errors
/// ENOENT, ECONNREFUSED (a name whose listener is gone) ...; the message names the path.
pub fn connect_to(path: &Path, ty: SocketType) -> io::Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let addr = SocketAddrUnix::new(path)?;
        let fd = socket_with(AddressFamily::UNIX, ty, SocketFlags::CLOEXEC, None)?;
        connect(&fd, &addr)?;
        Ok(fd)
    };
    make().map_err(|e| named(&e, "cannot connect to", path))
}

fn named(e: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(e.kind(), format!("{what} {}: {e}", path.display()))
}

/// Sends one message (or, on a stream, what fits) with descriptors beside it. Never blocks on a
/// non-blocking socket, never raises SIGPIPE.
///
/// # Errors
/// EAGAIN when there is no room, EPIPE or ECONNRESET when the peer is gone, E2BIG for more than
/// [`MAX_FDS`] descriptors.
pub fn send_fds(fd: impl AsFd, data: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ctl = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX_FDS || (!fds.is_empty() && !ctl.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    loop {
        match sendmsg(&fd, data, &mut ctl, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            r => return Ok(r?),
        }
    }
}

/// What [`recv_fds`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the buffer; 0 is the end of the conversation.
    pub len: usize,
    /// The message was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// More descriptors came than there was room for; the kernel has closed the rest.
    pub fds_lost: bool,
}

/// Receives one message (or, on a stream, what is there) and appends the descriptors that came with it to
/// `fds`, closed on exec.
///
/// # Errors
/// EAGAIN when nothing is there, ECONNRESET when the peer died with data unread.
pub fn recv_fds(fd: impl AsFd, data: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ctl = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(&fd, &mut [IoSliceMut::new(data)], &mut ctl, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            r => break r?,
        }
    };
    for m in ctl.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = m {
            fds.extend(list);
        }
    }
    Ok(Received {
        len: got.bytes,
        truncated: got.flags.contains(ReturnFlags::TRUNC),
        fds_lost: got.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Who is at the other end: process and user at the time of connect(2) or socketpair(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Process id.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// SO_PEERCRED of a Unix socket.
///
/// # Errors
/// ENOTSOCK, ENOPROTOOPT for what is not a Unix socket; ESRCH when the process is not visible to us.
pub fn peer_cred(fd: impl AsFd) -> io::Result<PeerCred> {
    let c = sockopt::socket_peercred(fd)?;
    Ok(PeerCred { pid: c.pid.as_raw_nonzero().get() as u32, uid: c.uid.as_raw(), gid: c.gid.as_raw() })
}

/// Identity of a descriptor's object: device and inode. The same for every copy of the descriptor, in every
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// Identity of what `fd` names.
///
/// # Errors
/// What fstat(2) says.
pub fn file_id(fd: impl AsFd) -> io::Result<FileId> {
    let s = rustix::fs::fstat(fd)?;
    Ok(FileId { dev: s.st_dev, ino: s.st_ino })
}

/// Gives one end of a pair an abstract name, so that getpeername(2) on the other end shows it.
///
/// # Errors
/// EINVAL when it has a name already, EADDRINUSE when the name is taken.
pub fn bind_abstract(fd: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(bind(fd, &SocketAddrUnix::new_abstract_name(name)?)?)
}

/// The abstract name of the other end, without its leading NUL; `None` when it has none, or `fd` is not a
/// connected Unix socket.
pub fn peer_abstract(fd: impl AsFd) -> Option<Vec<u8>> {
    let any = rustix::net::getpeername(fd).ok()??;
    let unix = SocketAddrUnix::try_from(any).ok()?;
    unix.abstract_name().filter(|n| !n.is_empty()).map(<[u8]>::to_vec)
}

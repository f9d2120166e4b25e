//! The session: one SEQPACKET socket to the stack, one request at a time.

use core::ffi::c_int;

use iopkt_sockproto::{HDR_LEN, Hello, Op, Rep, Req};

use crate::path::Path;
use crate::sys;

/// How long a reply may take, seconds. The stack answers at once; one that does not is stopped or hangs.
const PATIENCE: i64 = 20;

/// A reply.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its header; the payload stands in the caller's buffer.
    pub rep: Rep,
    /// The descriptor that came with it: close-on-exec, the caller's to close.
    pub fd: Option<c_int>,
    /// Payload bytes in the caller's buffer.
    pub len: usize,
}

/// What a session knows from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Which running stack this is ([`Hello::instance`]).
    pub instance: u64,
    /// The key of datagram headers ([`Hello::key`]).
    pub key: u64,
    /// The real-time clock minus the stack's, nanoseconds: makes a datagram's stamp a time of day.
    pub epoch: i64,
}

/// Whoever can put a request to the stack.
pub trait Rpc {
    /// Puts one request: `pass` is the descriptor it is about, the payload is `payload`'s parts one behind the other (the
    /// length field is filled in here), the reply's payload goes to `out` (what does not fit is lost).
    ///
    /// The reply's status is the caller's to look at.
    ///
    /// # Errors
    /// ENETDOWN when no stack answers, or what the kernel says if the request cannot be sent (EBADF, ...).
    fn rpc(
        &mut self,
        req: Req,
        pass: Option<c_int>,
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> sys::Result<Answer>;

    /// What the stack said when the session was opened.
    ///
    /// # Errors
    /// ENETDOWN when no stack answers.
    fn greeting(&mut self) -> sys::Result<Greeting>;
}

/// An open session. It does not close itself: a forked child must not close its parent's.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    fd: c_int,
    identity: (u64, u64),
    next: u32,
    /// What the stack said at the start.
    pub greeting: Greeting,
}

/// Why a request got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The session is of no use any more: closed by the other side, or out of step.
    Lost(c_int),
    /// It could not be sent; the session is as it was. EMFILE and the like.
    NotSent(c_int),
}

/// Ancillary space for one descriptor, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Ancillary([u8; 32]);

impl Session {
    /// Connects and greets. `floor`: the lowest descriptor number to use, so that the program keeps its low ones.
    ///
    /// # Errors
    /// connect(2)'s, or EPROTO if what answers is no io-pkt of this build.
    pub fn open(path: &Path, floor: c_int) -> sys::Result<Session> {
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: plain integers.
        let fd = unsafe { sys::call(libc::SYS_socket, [libc::AF_UNIX as usize, kind as usize, 0, 0, 0, 0])? }
            as c_int;
        let fd = match sys::fcntl(fd, libc::F_DUPFD_CLOEXEC, floor as usize) {
            Ok(high) => {
                sys::close(fd);
                high
            }
            Err(_) => fd,
        };
        Session::greet(fd, path).inspect_err(|_| sys::close(fd))
    }

    fn greet(fd: c_int, path: &Path) -> sys::Result<Session> {
        // SAFETY: all-zero is a valid sockaddr_un.
        let mut sun: libc::sockaddr_un = unsafe { core::mem::zeroed() };
        sun.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (d, s) in sun.sun_path.iter_mut().zip(path.bytes()) {
            *d = *s as libc::c_char;
        }
        let timeout = libc::timeval { tv_sec: PATIENCE, tv_usec: 0 };
        // SAFETY: the structures live across the calls.
        unsafe {
            let size = size_of::<libc::sockaddr_un>();
            sys::marked(libc::SYS_connect, [fd as usize, &raw const sun as usize, size, 0, 0])?;
            for name in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
                sys::marked(
                    libc::SYS_setsockopt,
                    [
                        fd as usize,
                        libc::SOL_SOCKET as usize,
                        name as usize,
                        &raw const timeout as usize,
                        size_of::<libc::timeval>(),
                    ],
                )?;
            }
        }
        let mut s = Session { fd, identity: sys::identity(fd)?, next: 1, greeting: Greeting::default() };
        let mut out = [0u8; Hello::LEN];
        let a = s.call(Req::new(Op::Hello, 0), None, [&[], &[]], &mut out).map_err(|t| match t {
            Trouble::Lost(e) | Trouble::NotSent(e) => e,
        })?;
        if a.rep.status != 0 {
            return Err(a.rep.status);
        }
        let hello = Hello::decode(out.get(..a.len).unwrap_or(&[])).ok_or(libc::EPROTO)?;
        let epoch = (sys::realtime() as i64).wrapping_sub(hello.now as i64);
        s.greeting = Greeting { instance: hello.instance, key: hello.key, epoch };
        Ok(s)
    }

    /// The descriptor.
    pub fn fd(&self) -> c_int {
        self.fd
    }

    /// Whether the descriptor still is this session's: programs close descriptors that they do not know.
    pub fn is_intact(&self) -> bool {
        sys::identity(self.fd) == Ok(self.identity)
    }

    /// Ends it.
    pub fn close(self) {
        sys::close(self.fd);
    }

    /// One request and its reply.
    ///
    /// # Errors
    /// Only for trouble on the way; an errno of the stack is in the reply.
    pub fn call(
        &mut self,
        mut req: Req,
        pass: Option<c_int>,
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> Result<Answer, Trouble> {
        req.id = self.next;
        self.next = self.next.wrapping_add(1);
        req.len = (payload[0].len() + payload[1].len()) as u32;
        self.send(&req.encode(), pass, payload)?;
        loop {
            let a = self.receive(out).map_err(Trouble::Lost)?;
            if a.rep.id == req.id {
                return Ok(a);
            }
            // A reply to a request whose caller was interrupted by a time-out: not for us.
            if let Some(fd) = a.fd {
                sys::close(fd);
            }
        }
    }

    fn send(&self, head: &[u8; HDR_LEN], pass: Option<c_int>, payload: [&[u8]; 2]) -> Result<(), Trouble> {
        let part = |b: &[u8]| libc::iovec { iov_base: b.as_ptr().cast_mut().cast(), iov_len: b.len() };
        let mut iov = [part(head), part(payload[0]), part(payload[1])];
        let mut space = Ancillary([0; 32]);
        // SAFETY: all-zero is a valid msghdr; the control space holds one descriptor (CMSG_SPACE(4) is 24 bytes); everything
        // lives across the call and is only read.
        let sent = unsafe {
            let mut msg: libc::msghdr = core::mem::zeroed();
            msg.msg_iov = iov.as_mut_ptr();
            msg.msg_iovlen = 3;
            if let Some(fd) = pass {
                msg.msg_control = (&raw mut space).cast();
                msg.msg_controllen = libc::CMSG_SPACE(4) as usize;
                let c = libc::CMSG_FIRSTHDR(&raw const msg);
                (*c).cmsg_level = libc::SOL_SOCKET;
                (*c).cmsg_type = libc::SCM_RIGHTS;
                (*c).cmsg_len = libc::CMSG_LEN(4) as usize;
                libc::CMSG_DATA(c).cast::<c_int>().write_unaligned(fd);
            }
            loop {
                match sys::sendmsg(self.fd, &raw const msg, libc::MSG_NOSIGNAL) {
                    Err(libc::EINTR) => {}
                    r => break r,
                }
            }
        };
        match sent {
            Ok(_) => Ok(()),
            Err(
                e @ (libc::EBADF
                | libc::ETOOMANYREFS
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EMSGSIZE
                | libc::EFAULT),
            ) => Err(Trouble::NotSent(e)),
            Err(e) => Err(Trouble::Lost(e)),
        }
    }

    fn receive(&self, out: &mut [u8]) -> sys::Result<Answer> {
        let mut head = [0u8; HDR_LEN];
        let mut iov = [
            libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: HDR_LEN },
            libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() },
        ];
        let mut space = Ancillary([0; 32]);
        // SAFETY: as in send; the buffers are exclusively borrowed and written within their lengths.
        let (n, fd) = unsafe {
            let mut msg: libc::msghdr = core::mem::zeroed();
            msg.msg_iov = iov.as_mut_ptr();
            msg.msg_iovlen = 2;
            msg.msg_control = (&raw mut space).cast();
            msg.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let n = loop {
                match sys::recvmsg(self.fd, &raw mut msg, libc::MSG_CMSG_CLOEXEC) {
                    Err(libc::EINTR) => {}
                    r => break r?,
                }
            };
            let c = libc::CMSG_FIRSTHDR(&raw const msg);
            let has = !c.is_null()
                && (*c).cmsg_level == libc::SOL_SOCKET
                && (*c).cmsg_type == libc::SCM_RIGHTS
                && (*c).cmsg_len >= libc::CMSG_LEN(4) as usize;
            (n, has.then(|| libc::CMSG_DATA(c).cast::<c_int>().read_unaligned()))
        };
        let refuse = |e| {
            if let Some(fd) = fd {
                sys::close(fd);
            }
            Err(e)
        };
        if n == 0 {
            return refuse(libc::ECONNRESET);
        }
        // The payload stands elsewhere, so its length is set to what the header alone must say.
        let len = u32::from_ne_bytes([head[12], head[13], head[14], head[15]]);
        head[12..16].copy_from_slice(&0u32.to_ne_bytes());
        match Rep::decode(head.get(..n.min(HDR_LEN)).unwrap_or(&[])) {
            Ok((mut rep, _)) => {
                rep.len = len;
                Ok(Answer { rep, fd, len: (n - HDR_LEN).min(out.len()) })
            }
            Err(_) => refuse(libc::EPROTO),
        }
    }
}

//! The session with a stack.

use iopkt_base::Errno;
use iopkt_ctl::{Reply, Request};
use iopkt_sockproto::{Addr, HDR_LEN, Hello, MAX_MSG, Op, PairName, Rep, Req, repf};
use iopkt_sys::{Root, unix};
use rustix::net::SocketType;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Header; its status is 0.
    pub rep: Rep,
    /// Payload.
    pub payload: Vec<u8>,
    /// Descriptor.
    pub fd: Option<OwnedFd>,
}

struct Conn {
    fd: OwnedFd,
    hello: Hello,
    next: u32,
    buf: Vec<u8>,
}

/// A session with a running stack. Clones share it; calls of several threads take turns. When the stack was
/// restarted, the next call that is not about an existing socket opens a new one.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    path: PathBuf,
    conn: Mutex<Conn>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.0.path.display())
    }
}

impl Session {
    /// Opens a session with the stack that the environment names: `SOCK` is its prefix, `IO_PKT_ROOT`, the user
    /// and `XDG_RUNTIME_DIR` give the root directory.
    ///
    /// # Errors
    /// No stack runs there: the text names the path and what to do.
    pub fn open() -> io::Result<Session> {
        let root = Root::find();
        match root.check() {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Session::open_at(&root.client_socket()),
        }
    }

    /// Opens a session with the stack whose socket is at `path`; a path that ends in `socket` means the directory
    /// of that name.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_at(path: &Path) -> io::Result<Session> {
        let path = if path.ends_with("socket") { path.join("2") } else { path.to_owned() };
        let conn = Mutex::new(Conn::open(&path)?);
        Ok(Session(Arc::new(Inner { path, conn })))
    }

    /// Where the stack listens.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What the stack said of itself.
    pub fn hello(&self) -> Hello {
        self.lock().hello
    }

    /// Whether a descriptor is a socket of this very stack.
    pub fn owns(&self, fd: impl AsFd) -> bool {
        let name = unix::peer_abstract(fd).map(|n| [&[0], &n[..]].concat());
        name.and_then(|n| PairName::decode(&n)).is_some_and(|n| n.instance == self.hello().instance)
    }

    /// Asks for or changes the configuration of the stack. Failure of the request itself is a
    /// [`Reply::Err`].
    ///
    /// # Errors
    /// The session broke, or the stack answered with nonsense.
    pub fn ctl(&self, r: &Request) -> io::Result<Reply> {
        let bytes = postcard::to_allocvec(r).map_err(io::Error::other)?;
        let answer = self.call(Req::new(Op::Ctl, 0), &bytes, None)?;
        postcard::from_bytes(&answer.payload).map_err(|e| {
            let text = format!(
                "{}: reply not understood ({e}): use tools and stack of one build",
                self.path().display()
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    /// One request and its answer. `len` and `id` of the header are filled in.
    ///
    /// # Errors
    /// The errno of the answer (`raw_os_error`), or what broke the session.
    pub fn call(&self, req: Req, payload: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<Answer> {
        let mut conn = self.lock();
        let mut r = conn.call(req, payload, fd);
        if fd.is_none() && r.as_ref().is_err_and(lost) {
            *conn = Conn::open(&self.0.path)?;
            r = conn.call(req, payload, fd);
        }
        let answer = r.map_err(|e| if lost(&e) { self.gone(&e) } else { e })?;
        match answer.rep.result() {
            Ok(()) => Ok(answer),
            // EINPROGRESS with a descriptor is an answer too.
            Err(Errno::EINPROGRESS) if answer.fd.is_some() => Ok(answer),
            Err(e) => Err(io::Error::from_raw_os_error(e.raw())),
        }
    }

    fn gone(&self, e: &io::Error) -> io::Error {
        let text = format!("the stack at {} is gone: {e}", self.0.path.display());
        io::Error::new(io::ErrorKind::ConnectionReset, text)
    }

    fn lock(&self) -> MutexGuard<'_, Conn> {
        self.0.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request without payload about a socket.
    pub(crate) fn about(&self, op: Op, fd: impl AsFd, args: &[i32], addr: Addr) -> io::Result<Answer> {
        let mut req = Req::new(op, 0);
        req.args[..args.len()].copy_from_slice(args);
        req.addr = addr;
        self.call(req, &[], Some(fd.as_fd()))
    }

    /// socket(2), by Linux's numbers. The descriptor is closed on exec.
    ///
    /// # Errors
    /// EAFNOSUPPORT, EPROTONOSUPPORT, EPERM (raw sockets of other users), ENFILE ...
    pub fn socket(&self, domain: i32, ty: i32, protocol: i32, flags: i32) -> io::Result<OwnedFd> {
        let mut req = Req::new(Op::Socket, 0);
        req.args[..4].copy_from_slice(&[domain, ty, protocol, flags]);
        self.call(req, &[], None)?.fd.ok_or_else(|| nonsense("no descriptor"))
    }

    /// setsockopt(2), with Linux's levels, names and layouts.
    ///
    /// # Errors
    /// ENOPROTOOPT, EINVAL ...
    pub fn setsockopt(&self, fd: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        let mut req = Req::new(Op::Setsockopt, 0);
        req.args[..2].copy_from_slice(&[level, name]);
        self.call(req, value, Some(fd.as_fd())).map(drop)
    }

    /// getsockopt(2): the value, at most `max` bytes.
    ///
    /// # Errors
    /// ENOPROTOOPT ...
    pub fn getsockopt(&self, fd: impl AsFd, level: i32, name: i32, max: usize) -> io::Result<Vec<u8>> {
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        Ok(self.about(Op::Getsockopt, fd, &[level, name, max], Addr::NONE)?.payload)
    }
}

fn lost(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    e.raw_os_error().is_none() && e.kind() == UnexpectedEof
        || matches!(e.kind(), BrokenPipe | ConnectionReset)
}

pub(crate) fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the stack's answer makes no sense: {what}"))
}

impl Conn {
    fn open(path: &Path) -> io::Result<Conn> {
        let fd = unix::connect_to(path, SocketType::SEQPACKET).map_err(|e| explain(&e, path))?;
        let hello = Hello { instance: 0, key: 0, now: 0, pid: 0 };
        let mut c = Conn { fd, hello, next: 0, buf: vec![0; MAX_MSG] };
        let mut req = Req::new(Op::Hello, 0);
        req.args[0] = i32::from(iopkt_ctl::VERSION);
        let a = c.call(req, &[], None).map_err(|e| {
            let text = format!(
                "no session with the stack at {}: {e}; its log (sloginfo) may say more",
                path.display()
            );
            io::Error::new(e.kind(), text)
        })?;
        if a.rep.result().is_err() {
            let text = format!(
                "the stack at {} speaks another version of the configuration requests: use tools and stack of one build",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        c.hello = Hello::decode(&a.payload).ok_or_else(|| nonsense("short hello"))?;
        Ok(c)
    }

    fn call(&mut self, mut req: Req, payload: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<Answer> {
        self.next = self.next.wrapping_add(1);
        req.id = self.next;
        req.len = payload.len() as u32;
        let head = req.encode();
        unix::send_fds(&self.fd, &[IoSlice::new(&head), IoSlice::new(payload)], fd.as_slice())?;
        let mut all: Option<Answer> = None;
        loop {
            let mut fds = Vec::new();
            let got = unix::recv_fds(&self.fd, &mut self.buf, &mut fds)?;
            if got.len < HDR_LEN {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the session was closed"));
            }
            let (rep, part) = Rep::decode(&self.buf[..got.len]).map_err(|e| nonsense(&e.to_string()))?;
            if rep.id != req.id {
                continue; // the answer to a call that was given up
            }
            let fd = fds.pop();
            match &mut all {
                None => all = Some(Answer { rep, payload: part.to_vec(), fd }),
                Some(a) => {
                    a.payload.extend_from_slice(part);
                    a.rep = rep;
                }
            }
            if rep.flags & repf::MORE == 0
                && let Some(a) = all.take()
            {
                return Ok(a);
            }
        }
    }
}

/// Why there is no stack, and what to do.
fn explain(e: &io::Error, path: &Path) -> io::Error {
    let p = path.display();
    let text = match e.kind() {
        io::ErrorKind::NotFound => format!(
            "no stack runs at {p}: start one (for example: io-pkt-v4-hc -ptcpip), or name the prefix of a running one in SOCK"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!(
                "nobody answers at {p}: the stack that made it is gone; start one (for example: io-pkt-v4-hc -ptcpip)"
            )
        }
        io::ErrorKind::PermissionDenied => format!("no permission to use the stack at {p}"),
        _ => format!("no session with the stack at {p}: {e}"),
    };
    io::Error::new(e.kind(), text)
}

//! A stack for the tests that speaks the real protocol over a real Unix socket and knows one network: its own loopback.
//!
//! A test crate that says `ON_IO_PKT` runs the same tests on the loopback of a real io-pkt-v4, or on io-pkt-v6-hc.
//!
//! Streams connect to listeners of the same stack after a pause (so that callers really wait), anything else is refused after
//! the pause. Datagrams go to the bound socket with the port. Options are remembered as they were set.
// Each test crate uses a part of it. The calls of libc here are made with descriptors and buffers of the test's own.
#![allow(dead_code, clippy::undocumented_unsafe_blocks)]

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use iopkt_sockproto::linux::{SO_WANTS, wants};
use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, HDR_LEN, Hello, MAX_MSG, Op, PairName, Rep, Req, repf};

const KEY: u64 = 0x0123_4567_89ab_cdef;
const INSTANCE: u64 = 0x0fed_cba9_0000_0000;
const PAUSE: Duration = Duration::from_millis(40);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Sock {
    end: Arc<OwnedFd>,
    domain: i32,
    kind: i32,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    /// Finished connections of a listener: the client end and its address.
    queue: Option<VecDeque<(OwnedFd, SocketAddr)>>,
    /// The connect's outcome.
    status: Option<i32>,
    options: HashMap<(i32, i32), Vec<u8>>,
}

#[derive(Default)]
struct World {
    socks: HashMap<u64, Sock>,
    pairs: u64,
    ports: u16,
    /// How many requests of each operation came.
    seen: HashMap<Op, usize>,
}

pub struct FakeStack {
    pub root: PathBuf,
    world: Arc<Mutex<World>>,
    real: Option<Child>,
    variant: &'static str,
}

type Shared = Arc<Mutex<World>>;

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

fn inode(fd: RawFd) -> u64 {
    unsafe {
        let mut st: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &raw mut st);
        st.st_ino
    }
}

fn sun(path: &[u8]) -> (libc::sockaddr_un, u32) {
    let mut s: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    s.sun_family = libc::AF_UNIX as u16;
    for (d, b) in s.sun_path.iter_mut().zip(path) {
        *d = *b as i8 as libc::c_char;
    }
    (s, 2 + path.len() as u32)
}

/// A pair: the stack's end, bound to its name, and the program's.
fn pair(w: &mut World, stream: bool) -> (Arc<OwnedFd>, OwnedFd) {
    let mut fds = [0; 2];
    let kind = if stream { libc::SOCK_STREAM } else { libc::SOCK_SEQPACKET };
    w.pairs += 1;
    let (path, n) = PairName {
        instance: INSTANCE + u64::from(std::process::id()),
        stream,
        family: Default::default(),
        number: w.pairs,
    }
    .encode();
    let (s, len) = sun(&path[..n]);
    unsafe {
        check(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr())).unwrap();
        // Several of these stacks may live in one test process.
        if libc::bind(fds[0], (&raw const s).cast(), len) < 0 {
            assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EADDRINUSE));
            libc::close(fds[0]);
            libc::close(fds[1]);
            w.pairs += 100_000;
            return pair(w, stream);
        }
        (Arc::new(OwnedFd::from_raw_fd(fds[0])), OwnedFd::from_raw_fd(fds[1]))
    }
}

static NEXT_DIR: AtomicU32 = AtomicU32::new(0);

impl FakeStack {
    pub fn start() -> FakeStack {
        FakeStack::of("io-pkt-v4")
    }

    /// One of this variant, where the real one runs.
    pub fn of(variant: &'static str) -> FakeStack {
        let n = NEXT_DIR.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("io-pkt-run-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        if crate::ON_IO_PKT {
            return FakeStack::real(root, variant);
        }
        std::fs::create_dir_all(root.join("dev/socket")).unwrap();
        let (s, len) = sun(root.join("dev/socket/2").as_os_str().as_bytes());
        let listener = unsafe {
            let fd =
                check(libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0)).unwrap();
            check(libc::bind(fd, (&raw const s).cast(), len)).unwrap();
            check(libc::listen(fd, 64)).unwrap();
            std::fs::set_permissions(
                root.join("dev/socket/2"),
                std::os::unix::fs::PermissionsExt::from_mode(0o666),
            )
            .unwrap();
            OwnedFd::from_raw_fd(fd)
        };
        let world: Shared = Arc::new(Mutex::new(World { ports: 40_000, ..World::default() }));
        let w = world.clone();
        std::thread::spawn(move || {
            loop {
                let fd = unsafe {
                    libc::accept4(
                        listener.as_raw_fd(),
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        libc::SOCK_CLOEXEC,
                    )
                };
                if fd >= 0 {
                    let (fd, w) = (unsafe { OwnedFd::from_raw_fd(fd) }, w.clone());
                    std::thread::spawn(move || session(&fd, &w));
                }
            }
        });
        FakeStack { root, world, real: None, variant }
    }

    fn real(root: PathBuf, variant: &'static str) -> FakeStack {
        let mut s = FakeStack { root, world: Shared::default(), real: None, variant };
        s.restart();
        s
    }

    /// Starts the real stack, again after [`FakeStack::kill`].
    pub fn restart(&mut self) {
        let mut c = Command::new(built(self.variant, self.variant));
        c.args(["--foreground", "-ptcpip"]).env("IO_PKT_ROOT", &self.root).env_remove("SOCK");
        self.real = Some(c.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        eventually("the stack answers", || self.session().is_some());
    }

    /// The real stack's process.
    pub fn pid(&self) -> Option<u32> {
        self.real.as_ref().map(Child::id)
    }

    /// Ends the real stack with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut c) = self.real.take() {
            let _ = c.kill();
            let _ = c.wait();
        }
    }

    /// "slow" if connections take a while, else "fast".
    pub fn pace(&self) -> &'static str {
        if self.real.is_some() { "fast" } else { "slow" }
    }

    fn session(&self) -> Option<Client> {
        let path = iopkt_shim::path::Path::new(self.root.join("dev/socket/2").as_os_str().as_bytes()).ok()?;
        iopkt_shim::session::Session::open(&path, 3).ok().map(Client)
    }

    /// Whether somebody listens on this port of the loopback: connects and hangs up.
    pub fn is_served(&self, port: u16) -> bool {
        use iopkt_shim::{ops, sys};
        let Some(mut c) = self.session() else { return false };
        let Ok(fd) = ops::socket(&mut c, libc::AF_INET, libc::SOCK_STREAM, 0, 0, 0) else { return false };
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (to, n) = Addr::from(SocketAddr::new(LOOPBACK, port)).to_sockaddr();
        match ops::connect(&mut c, fd.as_raw_fd(), &to[..n], true) {
            Ok(r) if r.in_progress => {
                let _ = sys::poll1(fd.as_raw_fd(), libc::POLLOUT, 5000);
                ops::connect_status(&mut c, fd.as_raw_fd()).is_ok()
            }
            r => r.is_ok(),
        }
    }

    /// How many requests of this kind came so far.
    pub fn seen(&self, op: Op) -> usize {
        self.world.lock().unwrap().seen.get(&op).copied().unwrap_or(0)
    }

    /// Sockets whose program's end is still open somewhere, other than in the queue of a listener that is gone.
    pub fn open_sockets(&self) -> usize {
        let mut w = self.world.lock().unwrap();
        bury(&mut w);
        bury(&mut w);
        w.socks.len()
    }

    /// A command that runs under io-pkt-run on this stack.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_io-pkt-run"));
        c.args(args)
            .env("IO_PKT_ROOT", &self.root)
            .env_remove("SOCK")
            .env_remove("IO_PKT_SOCKET")
            .env_remove("LD_PRELOAD");
        c.env("IO_PKT_PRELOAD", preload()).stdin(Stdio::null());
        c
    }
}

struct Client(iopkt_shim::session::Session);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl iopkt_shim::session::Rpc for Client {
    fn rpc(
        &mut self,
        req: Req,
        pass: Option<i32>,
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> iopkt_shim::sys::Result<iopkt_shim::session::Answer> {
        self.0.call(req, pass, payload, out).map_err(|_| libc::ENETDOWN)
    }

    fn greeting(&mut self) -> iopkt_shim::sys::Result<iopkt_shim::session::Greeting> {
        Ok(self.0.greeting)
    }
}

impl Drop for FakeStack {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The preload library.
pub fn preload() -> PathBuf {
    built("iopkt-preload", "libiopkt_preload.so")
}

/// A file that another package of the workspace builds beside this one's binary; built here if it was not asked for.
fn built(package: &str, file: &str) -> PathBuf {
    static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let dir = Path::new(env!("CARGO_BIN_EXE_io-pkt-run")).parent().unwrap();
    let mut done = DONE.lock().unwrap();
    if !done.iter().any(|d| d == package) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "-q", "-p", package]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "{package} does not build");
        done.push(package.to_string());
    }
    dir.join(file)
}

/// Output of a command, bounded in time: standard output, standard error, status.
pub fn finish(mut child: Child, limit: Duration) -> (String, String, std::process::ExitStatus) {
    // Read while it runs: neither a full pipe nor a descendant that keeps one open is waited for in vain.
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let text = |b: &Arc<Mutex<Vec<u8>>>| String::from_utf8_lossy(&b.lock().unwrap()).into_owned();
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let family = family(child.id());
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "still running after {limit:?}\n{family}\n--- output\n{}\n--- errors\n{}",
                text(&out.0),
                text(&err.0)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    for reader in [out.1, err.1] {
        reader.join().unwrap();
    }
    (text(&out.0), text(&err.0), status)
}

/// Reads a pipe to its end in a thread of its own.
fn collect(
    from: Option<impl io::Read + Send + 'static>,
) -> (Arc<Mutex<Vec<u8>>>, std::thread::JoinHandle<()>) {
    let into: Arc<Mutex<Vec<u8>>> = Arc::default();
    let shared = into.clone();
    let reader = std::thread::spawn(move || {
        let Some(mut from) = from else { return };
        let mut buf = [0; 4096];
        while let Ok(n) = from.read(&mut buf) {
            if n == 0 {
                return;
            }
            shared.lock().unwrap().extend_from_slice(&buf[..n]);
        }
    });
    (into, reader)
}

/// What a process and its descendants are doing, thread by thread: for the report of one that does not end.
fn family(pid: u32) -> String {
    let mut report = String::new();
    let read = |p: String| std::fs::read_to_string(p).unwrap_or_default();
    let mut queue = vec![pid.to_string()];
    while let Some(pid) = queue.pop() {
        let command = read(format!("/proc/{pid}/cmdline")).replace('\0', " ");
        report.push_str(&format!("process {pid}: {command}\n"));
        for t in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let at = t.path().display().to_string();
            let status = read(format!("{at}/status"));
            let state = status.lines().find(|l| l.starts_with("State:")).unwrap_or_default().to_string();
            let (wchan, call) = (read(format!("{at}/wchan")), read(format!("{at}/syscall")));
            report.push_str(&format!("  {} {state} {wchan} {call}\n", t.file_name().display()));
            queue.extend(read(format!("{at}/children")).split_whitespace().map(str::to_string));
        }
    }
    report
}

/// Runs to the end, with output.
pub fn output(c: &mut Command) -> (String, String, std::process::ExitStatus) {
    finish(c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), Duration::from_secs(60))
}

/// Waits until `f` holds.
pub fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !f() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Forgets sockets that no program has any more.
fn bury(w: &mut World) {
    w.socks.retain(|_, s| {
        let mut p = libc::pollfd { fd: s.end.as_raw_fd(), events: 0, revents: 0 };
        unsafe { libc::poll(&raw mut p, 1, 0) };
        p.revents & libc::POLLHUP == 0
    });
}

fn session(fd: &OwnedFd, world: &Shared) {
    let mut buf = vec![0u8; MAX_MSG];
    loop {
        let (n, passed) = match receive(fd.as_raw_fd(), &mut buf) {
            Ok((0, _)) | Err(_) => return,
            Ok(x) => x,
        };
        let Ok((req, payload)) = Req::decode(&buf[..n]) else { return };
        *world.lock().unwrap().seen.entry(req.op).or_default() += 1;
        let mut out = Vec::new();
        let (rep, new) = answer(world, &req, payload, passed.as_ref(), &mut out);
        if send(fd.as_raw_fd(), rep, &out, new).is_err() {
            return;
        }
    }
}

#[repr(C, align(8))]
struct Space([u8; 64]);

fn receive(fd: RawFd, buf: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    unsafe {
        let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut space = Space([0; 64]);
        let mut m: libc::msghdr = std::mem::zeroed();
        m.msg_iov = &raw mut iov;
        m.msg_iovlen = 1;
        m.msg_control = (&raw mut space).cast();
        m.msg_controllen = 64;
        let n = libc::recvmsg(fd, &raw mut m, libc::MSG_CMSG_CLOEXEC);
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        let c = libc::CMSG_FIRSTHDR(&raw const m);
        let fd =
            (!c.is_null()).then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(c).cast::<i32>().read_unaligned()));
        Ok((n as usize, fd))
    }
}

fn send(fd: RawFd, mut rep: Rep, payload: &[u8], new: Option<OwnedFd>) -> io::Result<()> {
    rep.len = payload.len() as u32;
    if new.is_some() {
        rep.flags |= repf::FD;
    }
    let mut bytes = rep.encode().to_vec();
    bytes.extend(payload);
    unsafe {
        let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut space = Space([0; 64]);
        let mut m: libc::msghdr = std::mem::zeroed();
        m.msg_iov = &raw mut iov;
        m.msg_iovlen = 1;
        if let Some(new) = &new {
            m.msg_control = (&raw mut space).cast();
            m.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let c = libc::CMSG_FIRSTHDR(&raw const m);
            (*c).cmsg_level = libc::SOL_SOCKET;
            (*c).cmsg_type = libc::SCM_RIGHTS;
            (*c).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(c).cast::<i32>().write_unaligned(new.as_raw_fd());
        }
        if libc::sendmsg(fd, &raw const m, libc::MSG_NOSIGNAL) < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

fn answer(
    world: &Shared,
    req: &Req,
    payload: &[u8],
    passed: Option<&OwnedFd>,
    out: &mut Vec<u8>,
) -> (Rep, Option<OwnedFd>) {
    let ok = Rep { op: req.op, id: req.id, len: 0, status: 0, flags: 0, val: [0; 3], addr: Addr::NONE };
    let fail = |e| (Rep { status: e, ..ok }, None);
    let mut guard = world.lock().unwrap();
    let w = &mut *guard;
    if req.op == Op::Bind {
        bury(w);
    }
    match req.op {
        Op::Hello => {
            let hello = Hello {
                instance: INSTANCE + u64::from(std::process::id()),
                key: KEY,
                now: 0,
                pid: std::process::id(),
            };
            out.extend(hello.encode());
            return (ok, None);
        }
        Op::Socket => {
            if req.args[0] != libc::AF_INET {
                return fail(libc::EAFNOSUPPORT);
            }
            let kind = req.args[1] & 0xf;
            let (end, theirs) = pair(w, kind == libc::SOCK_STREAM);
            w.ports += 1;
            let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            let key = inode(theirs.as_raw_fd());
            if kind == libc::SOCK_DGRAM {
                let (end, world) = (end.clone(), world.clone());
                std::thread::spawn(move || datagrams(&end, key, &world));
            }
            let s = Sock {
                end,
                domain: req.args[0],
                kind,
                local,
                peer: None,
                queue: None,
                status: None,
                options: HashMap::new(),
            };
            w.socks.insert(key, s);
            return (ok, Some(theirs));
        }
        _ => {}
    }
    let Some(passed) = passed else { return fail(libc::EPROTO) };
    let key = inode(passed.as_raw_fd());
    let used: Vec<u16> = w.socks.values().filter(|s| s.peer.is_none()).map(|s| s.local.port()).collect();
    if !w.socks.contains_key(&key) {
        return fail(libc::ENOTSOCK);
    }
    w.ports += 1;
    let fresh = w.ports;
    match req.op {
        Op::Connect => return connect(world, w, key, req, passed, fresh),
        Op::Accept => {
            let Some(s) = w.socks.get_mut(&key) else { return fail(libc::ENOTSOCK) };
            let Some(q) = &mut s.queue else { return fail(libc::EINVAL) };
            let Some((fd, peer)) = q.pop_front() else { return fail(libc::EAGAIN) };
            let mut byte = [0u8];
            unsafe { libc::recv(passed.as_raw_fd(), byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) };
            return (Rep { addr: peer.into(), ..ok }, Some(fd));
        }
        _ => {}
    }
    let Some(s) = w.socks.get_mut(&key) else { return fail(libc::ENOTSOCK) };
    match req.op {
        Op::Bind => {
            let Some(a) = req.addr.0 else { return fail(libc::EAFNOSUPPORT) };
            let a = if a.port() == 0 { SocketAddr::new(a.ip(), fresh) } else { a };
            if used.contains(&a.port()) {
                return fail(libc::EADDRINUSE);
            }
            s.local = a;
        }
        Op::ConnectStatus => match s.status {
            None => return fail(libc::ENOTCONN),
            Some(0) => {}
            Some(e) => return fail(e),
        },
        Op::Listen => {
            if s.local.port() == 0 {
                s.local.set_port(fresh);
            }
            s.queue.get_or_insert_with(VecDeque::new);
        }
        Op::Getsockname => return (Rep { addr: s.local.into(), ..ok }, None),
        Op::Getpeername => match s.peer {
            Some(p) if s.status.unwrap_or(0) == 0 => return (Rep { addr: p.into(), ..ok }, None),
            _ => return fail(libc::ENOTCONN),
        },
        Op::Setsockopt => {
            s.options.insert((req.args[0], req.args[1]), payload.to_vec());
        }
        Op::Getsockopt => {
            let v = match (req.args[0], req.args[1]) {
                (libc::SOL_SOCKET, libc::SO_ERROR) => {
                    let e = s.status.filter(|&e| e != libc::EINPROGRESS).unwrap_or(0);
                    e.to_ne_bytes().to_vec()
                }
                (libc::SOL_SOCKET, libc::SO_TYPE) => s.kind.to_ne_bytes().to_vec(),
                (libc::SOL_SOCKET, libc::SO_DOMAIN) => s.domain.to_ne_bytes().to_vec(),
                // sshd takes anything here for source routing.
                (libc::IPPROTO_IP, libc::IP_OPTIONS) => Vec::new(),
                (libc::SOL_SOCKET, SO_WANTS) => {
                    let on = |o: i32| s.options.get(&(libc::IPPROTO_IP, o)).is_some_and(|v| v[0] != 0);
                    let bit = |o: i32, bit: u32| if on(o) { bit } else { 0 };
                    let all = bit(libc::IP_PKTINFO, wants::PKTINFO) | bit(libc::IP_RECVTTL, wants::TTL);
                    all.to_ne_bytes().to_vec()
                }
                k => s.options.get(&k).cloned().unwrap_or(vec![0; 4]),
            };
            out.extend(&v[..v.len().min(req.args[2].max(0) as usize)]);
        }
        Op::Shutdown => {
            check(unsafe { libc::shutdown(passed.as_raw_fd(), req.args[0]) }).unwrap();
        }
        Op::Ioctl => {
            // One interface, "lo0" with index 7 and the loopback address.
            let mut ifreq = payload.to_vec();
            match req.args[0] as u32 {
                iopkt_sockproto::linux::SIOCGIFINDEX if ifreq.starts_with(b"lo0\0") => {
                    ifreq[16..20].copy_from_slice(&7i32.to_ne_bytes());
                }
                iopkt_sockproto::linux::SIOCINQ => {
                    // The next datagram in the program's own queue.
                    let mut buf = vec![0u8; 70_000];
                    let (fd, flags) = (passed.as_raw_fd(), libc::MSG_PEEK | libc::MSG_DONTWAIT);
                    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), flags) };
                    let n = DgramHdr::decode(&buf[..n.max(0) as usize], KEY)
                        .map_or(n.max(0) as i32, |(_, data)| data.len() as i32);
                    return (Rep { val: [n, 0, 0], ..ok }, None);
                }
                _ => return fail(libc::ENODEV),
            }
            out.extend(ifreq);
        }
        Op::Send => {
            let (to, data) = match DgramHdr::decode(payload, KEY) {
                Some((h, data)) => (h.peer.0.or(s.peer), data.to_vec()),
                None => (s.peer, payload.to_vec()),
            };
            let Some(to) = to else { return fail(libc::EDESTADDRREQ) };
            if data.len() > usize::from(u16::MAX) {
                return fail(libc::EMSGSIZE);
            }
            if to.ip() != LOOPBACK {
                return fail(libc::ENETUNREACH);
            }
            if s.local.port() == 0 {
                s.local = SocketAddr::new(LOOPBACK, fresh);
            }
            let from = s.local;
            deliver(w, from, to, &data);
            return (Rep { val: [data.len() as i32, 0, 0], ..ok }, None);
        }
        _ => return fail(libc::EOPNOTSUPP),
    }
    (ok, None)
}

fn connect(
    world: &Shared,
    w: &mut World,
    key: u64,
    req: &Req,
    passed: &OwnedFd,
    fresh: u16,
) -> (Rep, Option<OwnedFd>) {
    let ok = Rep { op: req.op, id: req.id, len: 0, status: 0, flags: 0, val: [0; 3], addr: Addr::NONE };
    let fail = |e| (Rep { status: e, ..ok }, None);
    let Some(to) = req.addr.0 else { return fail(libc::EAFNOSUPPORT) };
    let target =
        w.socks.iter().find(|(_, s)| s.queue.is_some() && s.local.port() == to.port()).map(|(k, _)| *k);
    let Some(s) = w.socks.get_mut(&key) else { return fail(libc::ENOTSOCK) };
    match s.status {
        Some(libc::EINPROGRESS) => return fail(libc::EALREADY),
        Some(0) => return fail(libc::EISCONN),
        _ => {}
    }
    s.peer = Some(to);
    if s.local.port() == 0 {
        s.local = SocketAddr::new(LOOPBACK, fresh);
    }
    if s.kind == libc::SOCK_DGRAM {
        return (ok, None);
    }
    s.status = Some(libc::EINPROGRESS);
    fill(passed.as_raw_fd());
    let (world, end, from) = (world.clone(), s.end.clone(), s.local);
    std::thread::spawn(move || {
        std::thread::sleep(PAUSE);
        let mut guard = world.lock().unwrap();
        let w = &mut *guard;
        let Some(listener) = target.filter(|_| to.ip() == LOOPBACK) else {
            if let Some(s) = w.socks.get_mut(&key) {
                s.status = Some(libc::ECONNREFUSED);
            }
            unsafe { libc::shutdown(end.as_raw_fd(), libc::SHUT_RDWR) };
            // select(2) does not take a hang-up for "may be written": only room does.
            drain(&end);
            return;
        };
        let (far, theirs) = pair(w, true);
        let entry = Sock {
            end: far.clone(),
            domain: libc::AF_INET,
            kind: libc::SOCK_STREAM,
            local: to,
            peer: Some(from),
            queue: None,
            status: Some(0),
            options: HashMap::new(),
        };
        w.socks.insert(inode(theirs.as_raw_fd()), entry);
        if let Some(l) = w.socks.get_mut(&listener) {
            l.queue.get_or_insert_with(VecDeque::new).push_back((theirs, from));
            unsafe {
                libc::send(
                    l.end.as_raw_fd(),
                    [1u8].as_ptr().cast(),
                    1,
                    libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
                )
            };
        }
        if let Some(s) = w.socks.get_mut(&key) {
            s.status = Some(0);
        }
        // The connection is up: only now there is room to write.
        drain(&end);
        drop(guard);
        let (a, b) = (end.clone(), far.clone());
        std::thread::spawn(move || pump(&a, &b));
        std::thread::spawn(move || pump(&far, &end));
    });
    fail(libc::EINPROGRESS)
}

/// Fills a pair until the kernel calls it not writable, which is long before it is full.
fn fill(fd: RawFd) {
    let junk = [0u8; 4096];
    loop {
        let mut p = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        unsafe { libc::poll(&raw mut p, 1, 0) };
        if p.revents & libc::POLLOUT == 0 {
            return;
        }
        unsafe { libc::send(fd, junk.as_ptr().cast(), junk.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    }
}

/// Takes what is in a pair out.
fn drain(end: &OwnedFd) {
    let mut sink = [0u8; 65536];
    let (fd, room) = (end.as_raw_fd(), sink.len());
    while unsafe { libc::recv(fd, sink.as_mut_ptr().cast(), room, libc::MSG_DONTWAIT) } > 0 {}
}

/// Bytes of one pair to the other until the end, which is passed on.
fn pump(from: &OwnedFd, to: &OwnedFd) {
    let mut buf = vec![0u8; 65536];
    loop {
        let n = unsafe { libc::recv(from.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), 0) };
        if n <= 0 {
            unsafe { libc::shutdown(to.as_raw_fd(), libc::SHUT_WR) };
            return;
        }
        let mut at = 0;
        while at < n as usize {
            let m = unsafe {
                libc::send(to.as_raw_fd(), buf[at..].as_ptr().cast(), n as usize - at, libc::MSG_NOSIGNAL)
            };
            if m <= 0 {
                return;
            }
            at += m as usize;
        }
    }
}

fn datagrams(end: &OwnedFd, key: u64, world: &Shared) {
    let mut buf = vec![0u8; MAX_MSG];
    loop {
        let n = unsafe { libc::recv(end.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), 0) };
        if n <= 0 {
            return;
        }
        let msg = &buf[..n as usize];
        let mut guard = world.lock().unwrap();
        let Some(s) = guard.socks.get(&key) else { return };
        let (to, data) = match DgramHdr::decode(msg, KEY) {
            Some((h, data)) => (h.peer.0.or(s.peer), data),
            None => (s.peer, msg),
        };
        let from = s.local;
        if let Some(to) = to {
            deliver(&mut guard, from, to, data);
        }
    }
}

fn deliver(w: &mut World, from: SocketAddr, to: SocketAddr, data: &[u8]) {
    let Some(s) = w.socks.values().find(|s| s.kind == libc::SOCK_DGRAM && s.local.port() == to.port()) else {
        return;
    };
    let head = DgramHdr { peer: from.into(), local: to.into(), ttl: 64, ifindex: 7, ..DgramHdr::default() };
    let bytes = if s.peer.is_some() { data.to_vec() } else { [&head.encode(KEY)[..], data].concat() };
    unsafe {
        libc::send(
            s.end.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
}

const _: () = assert!(HDR_LEN == 64 && DGRAM_HDR_LEN == 96);

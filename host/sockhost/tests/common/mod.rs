//! A stack with lo0 and the socket service, on a thread with a real epoll, as a packet thread runs them.
#![allow(dead_code)] // each test uses its part

use iopkt_base::Instant;
use iopkt_client::Session;
use iopkt_ctl::{AddrInfo, AddrState, Reply, Request, iff};
use iopkt_inet::Inet;
use iopkt_mbuf::{Pool, PoolConfig, PoolStats};
use iopkt_sockhost::{Service, ServiceConfig};
use iopkt_sockserver::Held;
use iopkt_stack::{Config, Note, Shard};
use iopkt_sys::{Epoll, Interest, Waker, unix};
use rustix::net::SocketType;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TAG: u8 = 7;
static RIGS: AtomicU32 = AtomicU32::new(0);

/// What the thread tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub held: Held,
    pub sockets: usize,
    pub pool: Option<PoolStats>,
    pub log: Vec<String>,
    pub turns: u64,
}

pub struct Rig {
    pub path: PathBuf,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    pub seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(ServiceConfig::default(), Config::default())
    }

    /// One that joins connections to itself: with [`Rig::new`] their bytes go by the stack, whose way most tests are about.
    pub fn joining() -> Rig {
        let rig = Rig::new();
        rig.join_local(true);
        rig
    }

    /// Sets `net.inet.tcp.join_local`.
    pub fn join_local(&self, on: bool) {
        self.sysctl("net.inet.tcp.join_local", Some(if on { "1" } else { "0" }));
    }

    /// Connections that were joined.
    pub fn joined(&self) -> u64 {
        self.sysctl("net.inet.tcp.joined", None).parse().unwrap()
    }

    /// Reads or writes a variable.
    pub fn sysctl(&self, name: &str, value: Option<&str>) -> String {
        let r = Request::Sysctl { name: name.into(), value: value.map(Into::into) };
        match self.session().ctl(&r).unwrap() {
            Reply::Sysctl(l) => l[0].1.clone(),
            Reply::Ok => String::new(),
            other => panic!("{name}: {other:?}"),
        }
    }

    pub fn with(cfg: ServiceConfig, stack: Config) -> Rig {
        let n = RIGS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("iopkt-test-{}-{n}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = unix::listener(&path, SocketType::SEQPACKET, 128, 0o600).unwrap();
        let epoll = Epoll::new().unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        epoll.add(&*waker, 0, Interest::READ).unwrap();
        let service = Service::new(listener, &epoll, TAG, cfg).unwrap();
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let thread = {
            let (stop, seen, waker) = (stop.clone(), seen.clone(), waker.clone());
            std::thread::spawn(move || run(epoll, service, stack, &stop, &seen, &waker))
        };
        Rig { path, stop, waker, seen, thread: Some(thread) }
    }

    pub fn session(&self) -> Session {
        Session::open_at(&self.path).unwrap()
    }

    /// Waits until what the thread tells is so. What it told before the call does not count: a request is
    /// answered in the middle of a turn and told of at its end, so the last word may be older than the answer
    /// that the test has seen. The turn that goes on at the call may be told of; the one after it is new.
    pub fn until(&self, what: &str, f: impl Fn(&Seen) -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(60);
        let old = self.seen.lock().unwrap().turns;
        loop {
            let seen = self.seen.lock().unwrap().clone();
            if seen.turns > old && f(&seen) {
                return;
            }
            assert!(std::time::Instant::now() < end, "never so: {what}: {seen:?}");
            self.waker.wake();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Nothing of the programs is left.
    pub fn until_empty(&self) {
        self.until("nothing left", |s| s.held.sessions == 0 && s.held.sockets == 0 && s.held.asked == 0);
    }

    /// Ends the stack at once, as a kill would: nothing is closed in good order.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(t) = self.thread.take() {
            t.join().unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn now() -> Instant {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Instant::from_nanos(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// A shard with lo0 up as 127.0.0.1/8.
pub fn shard(pool: &Pool, cfg: Config) -> Shard {
    let mut s = Shard::new(now(), cfg, 1, [7; 16], pool.cache(64), vec![Box::new(Inet::new())]);
    let addr = AddrInfo {
        addr: [127, 0, 0, 1].into(),
        prefix_len: 8,
        broadcast: None,
        peer: None,
        state: AddrState::Valid,
    };
    let up = Request::SetFlags { name: "lo0".into(), set: iff::UP, clear: 0 };
    assert_eq!(s.ctl(&up), Some(Reply::Ok));
    match s.ctl(&Request::Interfaces { name: Some("lo0".into()) }) {
        Some(Reply::Interfaces(l)) if l[0].addrs.iter().any(|a| a.addr == addr.addr) => {}
        _ => {
            let add = Request::AddAddr { name: "lo0".into(), addr, replace: true };
            assert_eq!(s.ctl(&add), Some(Reply::Ok));
        }
    }
    s
}

fn run(
    epoll: Epoll,
    mut service: Service,
    cfg: Config,
    stop: &AtomicBool,
    seen: &Mutex<Seen>,
    waker: &Waker,
) {
    let pool = Pool::new(PoolConfig::default());
    let mut shard = shard(&pool, cfg);
    let by_the_stack = Request::Sysctl { name: "net.inet.tcp.join_local".into(), value: Some("0".into()) };
    assert_eq!(shard.ctl(&by_the_stack), Some(Reply::Ok));
    let mut events = Vec::new();
    let mut more = true;
    while !stop.load(Ordering::Relaxed) {
        let left = shard.deadline().since(now());
        let timeout = if more { Duration::ZERO } else { left.min(Duration::from_secs(3600)) };
        events.clear();
        epoll.wait(&mut events, 256, Some(timeout)).unwrap();
        for e in &events {
            if e.token >> 56 == u64::from(TAG) {
                service.event(e);
            } else {
                waker.drain();
            }
        }
        shard.begin(now());
        more = service.turn(&mut shard);
        while let Some((t, r)) = service.next_asked() {
            // The runtime's part: enough to see that answers find their way.
            let reply = match r {
                Request::Shutdown => Reply::Ok,
                _ => Reply::why(iopkt_base::Errno::EOPNOTSUPP, "this is a test"),
            };
            service.answer(t, &reply);
        }
        shard.turn();
        more |= !shard.cx.events.is_empty();
        let mut s = seen.lock().unwrap();
        for n in shard.cx.notes.drain(..) {
            if let Note::Log(_, text) = n {
                s.log.push(text);
            }
        }
        s.held = service.held();
        s.sockets = shard.sockets.len();
        s.pool = Some(pool.stats());
        s.turns += 1;
    }
}

pub fn sa(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

/// A connection through our own stack: client's end, server's end.
pub fn connected(s: &Session) -> (iopkt_client::TcpStream, iopkt_client::TcpStream) {
    let l = iopkt_client::TcpListener::bind(s, sa("127.0.0.1:0"), 8).unwrap();
    let a = iopkt_client::TcpStream::connect(s, l.local_addr().unwrap()).unwrap();
    let (b, from) = l.accept().unwrap();
    assert_eq!(from, a.local_addr().unwrap());
    (a, b)
}

/// 20 MiB each way at once, in writes of an odd size, each byte compared; then both have shut their writing half.
pub fn megabytes_each_way(a: &iopkt_client::TcpStream, b: &iopkt_client::TcpStream) {
    use iopkt_client::TcpStream;
    use std::io::{Read, Write};
    const N: usize = 20 << 20;
    let byte = |i: usize, salt: usize| (i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 7) as u8;
    let send = |mut s: &TcpStream, salt| {
        let data: Vec<u8> = (0..N).map(|i| byte(i, salt)).collect();
        // Odd sizes, so that borders fall everywhere.
        for part in data.chunks(33_331) {
            s.write_all(part).unwrap();
        }
        s.shutdown(std::net::Shutdown::Write).unwrap();
    };
    let recv = |mut s: &TcpStream, salt| {
        let mut got = Vec::with_capacity(N);
        s.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), N);
        assert!(got.iter().enumerate().all(|(i, b)| *b == byte(i, salt)));
    };
    std::thread::scope(|t| {
        t.spawn(|| send(a, 1));
        t.spawn(|| send(b, 2));
        t.spawn(|| recv(a, 2));
        t.spawn(|| recv(b, 1));
    });
}

/// Bounds the time of a test: ends the process with a message when it does not end.
pub struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    pub fn new(secs: u64) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let d = done.clone();
        std::thread::spawn(move || {
            let end = std::time::Instant::now() + Duration::from_secs(secs);
            while std::time::Instant::now() < end {
                if d.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            eprintln!("test did not end within {secs} s");
            std::process::abort();
        });
        Watchdog(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

//! A stack as a process, in a root of its own, ended and cleaned up whatever happens.
#![allow(dead_code)] // each test file uses its part

use iopkt_client::Session;
use iopkt_ctl::{AddrInfo, AddrState, ArpEntry, Ifconf, Reply, Request};
use iopkt_slog::Reader;
use iopkt_sys::Root;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: generous, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A root directory.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static N: AtomicU32 = AtomicU32::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        Dir(std::env::temp_dir().join(format!("iopkt-bin-{}-{n}", std::process::id())))
    }

    pub fn root(&self) -> Root {
        Root::at(&self.0)
    }

    /// The program with this root, its words separated by blanks.
    pub fn command(&self, words: &str) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_io-pkt-v4-hc"));
        c.args(words.split_whitespace())
            .env("IO_PKT_ROOT", &self.0)
            .env_remove("SOCK")
            .env("LD_LIBRARY_PATH", drivers())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        c
    }

    /// Runs it to its end (a start in the background ends when it has started).
    pub fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    pub fn socket(&self, prefix: &str) -> PathBuf {
        self.root().with_prefix(prefix, "/dev/socket")
    }

    pub fn session(&self, prefix: &str) -> Session {
        Session::open_at(&self.socket(prefix)).unwrap()
    }

    /// All lines of the log.
    pub fn log(&self) -> Vec<String> {
        let Ok(mut r) = Reader::open(&self.root()) else { return Vec::new() };
        r.read().unwrap().list.into_iter().map(|m| m.text).collect()
    }

    pub fn logged(&self, part: &str) -> bool {
        self.log().iter().any(|l| l.contains(part))
    }

    /// The process that holds the socket's lock.
    pub fn pid(&self, prefix: &str) -> u32 {
        let lock = self.root().with_prefix(prefix, "/dev/.socket.lock");
        std::fs::read_to_string(lock).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A stack in the foreground.
pub struct Stack {
    pub child: Child,
    pub dir: Dir,
    prefix: String,
}

impl Stack {
    pub fn start(words: &str) -> Stack {
        Stack::start_in(Dir::new(), words)
    }

    pub fn start_in(dir: Dir, words: &str) -> Stack {
        let prefix = words.split("prefix=").nth(1).and_then(|w| w.split([' ', ',']).next()).unwrap_or("");
        let child = dir.command(&format!("--foreground {words}")).spawn().unwrap();
        let mut s = Stack { child, prefix: prefix.to_owned(), dir };
        s.wait_ready();
        s
    }

    /// A child of [`Dir::command`] with words that blanks do not part.
    pub fn of(child: Child, dir: Dir) -> Stack {
        let mut s = Stack { child, prefix: String::new(), dir };
        s.wait_ready();
        s
    }

    /// One that was started otherwise.
    pub fn adopt(child: Child, dir: Dir) -> Stack {
        let mut s = Stack { child, prefix: String::new(), dir };
        s.wait_ready();
        s
    }

    fn wait_ready(&mut self) {
        let path = self.dir.socket(&self.prefix);
        until("the stack answers", || {
            assert!(self.child.try_wait().unwrap().is_none(), "the stack has ended: {:?}", self.dir.log());
            Session::open_at(&path).is_ok()
        });
    }

    pub fn session(&self) -> Session {
        self.dir.session(&self.prefix)
    }

    pub fn ctl(&self, r: &Request) -> Reply {
        self.session().ctl(r).unwrap()
    }

    pub fn interfaces(&self) -> Vec<Ifconf> {
        match self.ctl(&Request::Interfaces { name: None }) {
            Reply::Interfaces(l) => l,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until there are `n` interfaces.
    pub fn wait_interfaces(&self, n: usize) -> Vec<String> {
        until("the interfaces are there", || self.names().len() == n);
        self.names()
    }

    /// `ifconfig IF up`.
    pub fn up(&self, name: &str) {
        let r = self.ctl(&Request::SetFlags { name: name.into(), set: iopkt_ctl::iff::UP, clear: 0 });
        assert_eq!(r, Reply::Ok);
    }

    pub fn names(&self) -> Vec<String> {
        self.interfaces().into_iter().map(|i| i.name).collect()
    }

    pub fn load(&self, object: &str, options: &str) -> Reply {
        self.ctl(&Request::Load { object: object.into(), options: options.into() })
    }

    /// Sends a signal and waits for the end.
    pub fn end(mut self, signal: rustix::process::Signal) -> (std::process::ExitStatus, Dir) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut status = None;
        until("the stack ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let dir = std::mem::replace(&mut self.dir, Dir("/nonexistent".into()));
        (status.unwrap(), dir)
    }

    /// Threads by name, with the number of times each has run (context switches).
    pub fn switches(&self) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        for t in std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten() {
            let Ok(status) = std::fs::read_to_string(t.path().join("status")) else { continue };
            let field = |name: &str| {
                status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim().to_owned()
            };
            out.push((field("Name:"), field("voluntary_ctxt_switches:").parse().unwrap()));
        }
        out.sort();
        out
    }

    /// Whether a file of this name is mapped into the process.
    pub fn maps(&self, file: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap().contains(file)
    }

    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something, with a bound.
pub fn until(what: &str, mut f: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !f() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The directory with the sample driver, built by the C compiler.
pub fn drivers() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers/devnp-sample-c/sample.c");
        build(&source, "devnp-sample.so").parent().unwrap().to_owned()
    })
}

/// Compiles a driver in C; returns the object's path.
pub fn build(source: &Path, name: &str) -> PathBuf {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    let object = dir.join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let tmp = dir.join(format!("{name}.{}", std::process::id()));
    let out = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-pthread", "-o"])
        .arg(&tmp)
        .arg("-I")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include"))
        .arg(source)
        .output()
        .expect("a C compiler (cc) is needed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    std::fs::rename(&tmp, &object).unwrap();
    object
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Gives an interface an address with a prefix of 24 bits and a permanent neighbour, whose place in the network no device
/// has to answer for.
pub fn address_and_neighbour(s: &Stack, name: &str, addr: Ipv4Addr, neighbour: Ipv4Addr) {
    let addr =
        AddrInfo { addr: addr.into(), prefix_len: 24, broadcast: None, peer: None, state: AddrState::Valid };
    assert_eq!(s.ctl(&Request::AddAddr { name: name.into(), addr, replace: true }), Reply::Ok);
    let e = ArpEntry {
        ip: neighbour,
        mac: Some([2, 0, 0, 0, 0, 9]),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(s.ctl(&Request::AddArp(e)), Reply::Ok);
}

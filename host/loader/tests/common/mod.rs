//! A runtime small enough for tests: one packet thread, interfaces by name, everything said kept.
#![allow(dead_code)] // each test file uses a part

use iopkt_base::{Errno, Instant};
use iopkt_loader::{Bound, Device, Driver, DriverId, Effects, Env, Error, Gone, Host, Link, Place, Search};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_sys::{Epoll, Root, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant as Clock};

/// No wait of a test is longer than this.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce(&mut Turn) + Send>;

/// What the packet thread owns.
pub struct Turn {
    ep: Arc<Epoll>,
    pool: Pool,
    pub devs: BTreeMap<u32, Dev>,
    next: u32,
    said: Arc<Said>,
}

pub struct Dev {
    pub name: String,
    pub dev: Device,
    pub queue: VecDeque<Mbuf>,
    full: bool,
}

/// What came out of drivers.
#[derive(Default)]
pub struct Seen {
    pub log: Vec<(u8, String)>,
    pub frames: Vec<(String, Vec<u8>)>,
    pub links: Vec<(String, Link)>,
    pub finished: Vec<DriverId>,
    pub errors: u64,
    pub departed: Vec<String>,
}

#[derive(Default)]
pub struct Said {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Said {
    fn with(&self, f: impl FnOnce(&mut Seen)) {
        f(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

pub struct Rig {
    jobs: Mutex<Sender<Job>>,
    wake: Waker,
    said: Arc<Said>,
    refuse: Mutex<Option<Errno>>,
}

impl Rig {
    pub fn new(pool: &Pool) -> Arc<Rig> {
        let (tx, rx) = channel::<Job>();
        let wake = Waker::new().unwrap();
        let said = Arc::new(Said::default());
        let ep = Arc::new(Epoll::new().unwrap());
        ep.add(&wake, 0, iopkt_sys::Interest::READ).unwrap();
        let turn = Turn { ep, pool: pool.clone(), devs: BTreeMap::new(), next: 1, said: said.clone() };
        let w = wake.clone();
        std::thread::Builder::new()
            .name("packet".into())
            .spawn(move || packet_thread(turn, &w, &rx))
            .unwrap();
        Arc::new(Rig { jobs: Mutex::new(tx), wake, said, refuse: Mutex::new(None) })
    }

    /// Runs `f` on the packet thread and waits for its answer.
    pub fn on_packet<R: Send + 'static>(&self, f: impl FnOnce(&mut Turn) -> R + Send + 'static) -> R {
        let (tx, rx) = channel();
        let job: Job = Box::new(move |t| {
            let _ = tx.send(f(t));
        });
        self.jobs.lock().unwrap().send(job).unwrap();
        self.wake.wake();
        rx.recv_timeout(PATIENCE).expect("the packet thread answers")
    }

    /// Refuses the next interfaces after their bind.
    pub fn refuse(&self, e: Option<Errno>) {
        *self.refuse.lock().unwrap() = e;
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.said.seen.lock().unwrap()
    }

    /// Waits until `ok` of what has been seen.
    pub fn until(&self, what: &str, ok: impl Fn(&Seen) -> bool) {
        let g = self.said.seen.lock().unwrap();
        let (g, t) = self.said.changed.wait_timeout_while(g, PATIENCE, |s| !ok(s)).unwrap();
        assert!(!t.timed_out(), "waited in vain for {what}; log: {:#?}", g.log);
    }

    pub fn names(&self) -> Vec<String> {
        self.on_packet(|t| t.devs.values().map(|d| d.name.clone()).collect())
    }

    /// Runs `f` on a device by name.
    pub fn dev<R: Send + 'static>(&self, name: &str, f: impl FnOnce(&mut Dev) -> R + Send + 'static) -> R {
        let name = name.to_owned();
        self.on_packet(move |t| f(t.devs.values_mut().find(|d| d.name == name).expect("interface")))
    }

    pub fn up(&self, name: &str) {
        self.dev(name, |d| d.dev.start()).unwrap();
    }

    /// Queues a frame; the packet thread offers it in its next turn.
    pub fn send(&self, name: &str, frame: &[u8]) {
        self.send_all(name, vec![frame.to_owned()]);
    }

    /// Queues frames that are offered in one turn.
    pub fn send_all(&self, name: &str, frames: Vec<Vec<u8>>) {
        let name = name.to_owned();
        self.on_packet(move |t| {
            let d = t.devs.values_mut().find(|d| d.name == name).expect("interface");
            for f in &frames {
                d.queue.push_back(t.pool.cache(0).copy_of(f).unwrap());
            }
        });
    }

    pub fn destroy(&self, name: &str) {
        let name = name.to_owned();
        self.on_packet(move |t| {
            let i = *t.devs.iter().find(|d| d.1.name == name).expect("interface").0;
            t.devs.remove(&i).unwrap().dev.detach(Gone::Destroyed);
        });
    }

    pub fn logged(&self, part: &str) -> bool {
        self.seen().log.iter().any(|l| l.1.contains(part))
    }
}

impl Host for Rig {
    fn log(&self, severity: u8, who: &str, text: &str) {
        self.said.with(|s| s.log.push((severity, format!("{who}: {text}"))));
    }

    fn attach(&self, mut device: Device) -> Result<Bound, Errno> {
        let refuse = *self.refuse.lock().unwrap();
        self.on_packet(move |t| {
            let d = device.driver();
            let prefix = d.options().name.clone().unwrap_or_else(|| device.description().prefix.clone());
            let mut unit = d.options().unit.or(device.description().unit).unwrap_or(0);
            while t.devs.values().any(|d| d.name == format!("{prefix}{unit}")) {
                unit += 1;
            }
            let (name, index) = (format!("{prefix}{unit}"), t.next);
            t.next += 1;
            let b = device.bind(Place { epoll: &t.ep, token: index, ifindex: index, name: &name })?;
            if let Some(e) = refuse {
                return Err(e);
            }
            t.devs.insert(index, Dev { name, dev: device, queue: VecDeque::new(), full: false });
            Ok(b)
        })
    }

    fn finished(&self, driver: DriverId) {
        self.said.with(|s| s.finished.push(driver));
    }
}

fn packet_thread(mut t: Turn, wake: &Waker, jobs: &Receiver<Job>) {
    let mut events = Vec::new();
    let mut fx = Effects::default();
    loop {
        let now = iopkt_sys::clock::monotonic();
        let due = t.devs.values().map(|d| d.dev.deadline()).min().unwrap_or(Instant::FAR);
        let busy = t.devs.values().any(|d| !d.full && !d.queue.is_empty());
        let wait = if busy {
            Some(Duration::ZERO)
        } else {
            (due != Instant::FAR).then(|| due.since(now).max(Duration::from_micros(10)))
        };
        events.clear();
        t.ep.wait(&mut events, 64, wait).unwrap();
        for e in &events {
            if e.token == 0 {
                wake.drain();
            } else if let Some(d) = t.devs.get_mut(&((e.token >> 32) as u32)) {
                d.dev.ready(e);
            }
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => job(&mut t),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let now = iopkt_sys::clock::monotonic();
        let mut left = Vec::new();
        for (i, d) in &mut t.devs {
            d.dev.tick(now);
            if !d.full {
                d.full = d.dev.transmit(&mut d.queue).full;
            }
            d.dev.take_effects(&mut fx);
            d.full &= !fx.tx_ready;
            t.said.with(|s| {
                for m in fx.rx.drain(..) {
                    assert_eq!(m.ifindex(), *i);
                    s.frames.push((d.name.clone(), m.as_slice().to_vec()));
                }
                s.links.extend(fx.link.take().map(|l| (d.name.clone(), l)));
                s.errors += fx.ierrors + fx.iqdrops + fx.oerrors;
            });
            fx = Effects::default();
            if d.dev.departs() {
                left.push(*i);
            }
        }
        for i in left {
            let d = t.devs.remove(&i).unwrap();
            d.dev.detach(Gone::Removed);
            t.said.with(|s| s.departed.push(d.name.clone()));
        }
    }
}

/// A directory of a test, removed at its end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let d = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&d);
        std::fs::create_dir_all(&d).unwrap();
        Dir(d)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything for a test: directory (with devnp-sample.so in it), pool, runtime.
pub struct World {
    pub dir: Dir,
    pub env: Env,
    pub rig: Arc<Rig>,
}

impl World {
    pub fn new(name: &str) -> World {
        let dir = Dir::new(name);
        make_sample(&dir.0);
        let pool = Pool::new(PoolConfig { max_clusters: 4096, ..PoolConfig::default() });
        let rig = Rig::new(&pool);
        let env = Env { root: Root::at(dir.0.join("root")), pool, search: Search::only([dir.0.clone()]) };
        World { dir, env, rig }
    }

    pub fn load(&self, what: &str, options: &str) -> Result<Driver, Error> {
        Driver::load(self.rig.clone(), &self.env, what, options)
    }

    pub fn start(&self, what: &str, options: &str) -> Result<Driver, Error> {
        Driver::start(self.rig.clone(), &self.env, what, options)
    }
}

/// Builds the sample driver with its own Makefile.
pub fn make_sample(out: &Path) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers/devnp-sample-c");
    let o = Command::new("make")
        .arg("-s")
        .arg("-C")
        .arg(src)
        .arg(format!("OUT={}", out.display()))
        .output()
        .unwrap();
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
}

/// Compiles C into a shared object.
pub fn cc(source: &str, out: &Path) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include");
    let c = out.with_extension("c");
    std::fs::write(&c, source).unwrap();
    let o = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-fPIC", "-shared", "-I"])
        .arg(include)
        .arg("-o")
        .args([out, &c])
        .output()
        .unwrap();
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
}

/// The driver in Rust that is an example of this crate.
pub fn rusty() -> String {
    let exe = std::env::current_exe().unwrap();
    let target = exe.parent().and_then(Path::parent).unwrap();
    target.join("examples/libdevnp_rusty.so").display().to_string()
}

/// Whether a file of this name is mapped.
pub fn mapped(part: &str) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().any(|l| l.contains(part))
}

/// Open descriptors, by what they are.
pub fn fds() -> Vec<String> {
    let mut v: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| std::fs::read_link(e.ok()?.path()).ok())
        .map(|p| p.display().to_string())
        .map(|p| p.split_once(":[").map_or(p.clone(), |x| x.0.to_owned()))
        .filter(|p| !p.starts_with("/proc/"))
        .collect();
    v.sort();
    v
}

/// Waits until `ok`, at most [`PATIENCE`].
pub fn wait(what: &str, ok: impl Fn() -> bool) {
    let end = Clock::now() + PATIENCE;
    while !ok() {
        assert!(Clock::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A frame from the sample's address to somebody.
pub fn frame(tag: u8) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0x53, 0x41, 1, 0x88, 0xb5];
    f.resize(60, tag);
    f
}

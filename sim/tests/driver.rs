//! The driver table in virtual time: a driver in C, loaded by the real loader, between two shards. Loading and
//! unloading take the driver's control thread; in between everything is a call on this thread, at the world's
//! time, so that a seed is a run.

use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_ctl::LinkState;
use iopkt_loader::{Bound, Device, Driver, DriverId, Effects, Env, Gone, Place, Search, Unloaded};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_sim::{Faults, Flow, Host, Link, for_seeds, sa};
use iopkt_stack::Config;
use iopkt_sys::{Epoll, Root};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// No wait for a control thread is longer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Frames that wait for the driver.
const QUEUE: usize = 512;
/// Turns without time passing after which the world is said to spin.
const SPIN: u32 = 10_000;

type Request = (Device, Sender<Result<Bound, Errno>>);

/// What the driver runs in: the world's clock and a seed's randomness.
struct Runtime {
    now: AtomicU64,
    rng: Mutex<Rng>,
    attach: Mutex<Sender<Request>>,
    log: Mutex<Vec<String>>,
}

impl iopkt_loader::Host for Runtime {
    fn log(&self, severity: u8, who: &str, text: &str) {
        self.log.lock().unwrap().push(format!("{severity} {who}: {text}"));
    }
    fn attach(&self, device: Device) -> Result<Bound, Errno> {
        let (tx, rx) = channel();
        self.attach.lock().unwrap().send((device, tx)).map_err(|_| Errno::ENXIO)?;
        rx.recv_timeout(PATIENCE).map_err(|_| Errno::ETIMEDOUT)?
    }
    fn finished(&self, _: DriverId) {}
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Relaxed))
    }
    fn random(&self, out: &mut [u8]) {
        let mut rng = self.rng.lock().unwrap();
        out.fill_with(|| rng.next_u32() as u8);
    }
}

/// A host and its device.
struct Node {
    host: Host,
    dev: Device,
    queue: VecDeque<Mbuf>,
    full: bool,
    /// What the device received, on its way to the stack.
    link: Link,
    refused: u32,
}

struct World {
    now: Instant,
    runtime: Arc<Runtime>,
    ep: Arc<Epoll>,
    pool: Pool,
    nodes: Vec<Node>,
    frames: u64,
}

/// A directory with the driver in it, made once and removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let d = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&d).unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let o = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-fPIC", "-shared", "-I"])
            .arg(here.join("../include"))
            .arg("-o")
            .args([d.join("devnp-cable.so"), here.join("tests/cable.c")])
            .output()
            .unwrap();
        assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
        Dir(d)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Binds what the control thread attaches, until its `load` has ended.
fn attached(driver: &Driver, rx: &Receiver<Request>, ep: &Arc<Epoll>) -> Vec<Device> {
    let mut devs: Vec<Device> = Vec::new();
    let end = std::time::Instant::now() + PATIENCE;
    while driver.outcome().is_none() {
        assert!(std::time::Instant::now() < end, "the driver does not load");
        let Ok((mut d, reply)) = rx.recv_timeout(std::time::Duration::from_millis(5)) else { continue };
        let i = devs.len() as u32;
        let name = format!("cbl{i}");
        let b = d.bind(Place { epoll: ep, token: i, ifindex: i + 2, name: &name });
        devs.push(d);
        reply.send(b).unwrap();
    }
    driver.wait().expect("it loads");
    devs
}

impl World {
    fn new(seed: u64, dir: &Dir) -> (World, Driver) {
        let now = Instant::from_millis(1000);
        let (tx, rx) = channel();
        let runtime = Arc::new(Runtime {
            now: AtomicU64::new(now.as_nanos()),
            rng: Mutex::new(Rng::new(seed)),
            attach: Mutex::new(tx),
            log: Mutex::default(),
        });
        let pool = Pool::new(PoolConfig::default());
        let search = Search::only([dir.0.clone()]);
        let env = Env { root: Root::at(dir.0.join("root")), pool: pool.clone(), search };
        let driver = Driver::start(runtime.clone(), &env, "cable", "").expect("the driver");
        let ep = Arc::new(Epoll::new().unwrap());
        let node = |(i, dev): (usize, Device)| Node {
            host: Host::new(i as u8 + 1, seed, now, Config::default()),
            dev,
            queue: VecDeque::new(),
            full: false,
            link: Link::new(good(), seed ^ (i as u64 + 1) << 40),
            refused: 0,
        };
        let nodes: Vec<Node> = attached(&driver, &rx, &ep).into_iter().enumerate().map(node).collect();
        assert_eq!(nodes.len(), 2);
        let mut w = World { now, runtime, ep, pool, nodes, frames: 0 };
        (0..2).for_each(|i| w.up(i, true));
        (w, driver)
    }

    fn up(&mut self, i: usize, up: bool) {
        let d = &mut self.nodes[i].dev;
        if up { d.start().expect("it starts") } else { d.stop() }
    }

    /// Descriptors that became ready, by calls of this thread: nobody else writes to them.
    fn events(&mut self) -> bool {
        let mut events = Vec::new();
        self.ep.wait(&mut events, 64, Some(std::time::Duration::ZERO)).unwrap();
        // The kernel's order is not the seed's.
        events.sort_by_key(|e| e.token);
        for e in &events {
            self.nodes[(e.token >> 32) as usize].dev.ready(e);
        }
        !events.is_empty()
    }

    /// One turn of a node; true when something moved.
    fn turn(&mut self, i: usize) -> bool {
        let World { now, pool, nodes, frames, .. } = self;
        let Node { host, dev, queue, full, link, refused } = &mut nodes[i];
        dev.tick(*now);
        let mut fx = Effects::default();
        dev.take_effects(&mut fx);
        *full &= !fx.tx_ready;
        let mut moved = fx.tx_ready || !fx.rx.is_empty() || fx.link.is_some();
        for m in fx.rx.drain(..) {
            assert_eq!(m.ifindex(), i as u32 + 2);
            link.send(*now, m.as_slice().to_vec());
        }
        if let Some(l) = fx.link {
            let s = if l.up == Some(true) { LinkState::Up } else { LinkState::Down };
            host.shard.begin(*now);
            host.shard.link_changed(host.eth, s, (l.speed_rx, l.speed_tx), l.full_duplex);
        }
        let input: Vec<_> = std::iter::from_fn(|| link.recv(*now)).collect();
        host.turn(*now, &input, |f| {
            *frames += 1;
            if queue.len() < QUEUE {
                queue.push_back(pool.cache(0).copy_of(f).expect("memory"));
            }
        });
        if !*full && !queue.is_empty() {
            let sent = dev.transmit(queue);
            *full = sent.full;
            *refused += u32::from(sent.full);
            moved |= sent.packets > 0;
        }
        moved
    }

    fn deadline(&self) -> Instant {
        let all = self.nodes.iter().flat_map(|n| [n.host.deadline(), n.dev.deadline(), n.link.deadline()]);
        all.min().unwrap_or(Instant::FAR).max(self.now)
    }

    fn run(&mut self, span: Duration, mut each: impl FnMut(&mut World) -> bool) -> bool {
        let (end, mut at_once) = (self.now + span, 0);
        loop {
            if each(self) {
                return true;
            }
            let mut moved = self.events();
            for i in 0..self.nodes.len() {
                moved |= self.turn(i);
            }
            let next = if moved { self.now } else { self.deadline() };
            if next > end {
                self.now = end;
                self.runtime.now.store(end.as_nanos(), Ordering::Relaxed);
                return each(self);
            }
            at_once = if next > self.now { 0 } else { at_once + 1 };
            assert!(at_once < SPIN, "the world spins at {:?}", self.now);
            self.now = next;
            self.runtime.now.store(next.as_nanos(), Ordering::Relaxed);
        }
    }

    fn flow(&mut self, f: &mut Flow) {
        let (a, b) = self.nodes.split_at_mut(1);
        let hosts = [&mut a[0].host, &mut b[0].host];
        f.step_between(hosts);
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut p = || f64::from(rng.below(50)) / 1000.0;
    let (loss, reorder, duplicate, corrupt) = (p(), p(), p(), p() / 4.0);
    Faults { loss, reorder, duplicate, corrupt, ..good() }
}

/// What a link is without mishaps: so slow that a transfer meets many of them.
fn good() -> Faults {
    Faults { rate: 4_000_000, queue: 100, ..Faults::default() }
}

/// A run: TCP both ways through the driver, whose ends go down and up.
fn play(seed: u64, dir: &Dir) -> (Instant, u64, u32) {
    let (mut w, mut driver) = World::new(seed, dir);
    let mut rng = Rng::new(seed ^ 0xd71);
    w.run(Duration::from_secs(20), |_| false);
    let l = w.nodes[1].host.listen(80);
    let a = w.nodes[0].host.connect(sa(2, 80));
    let mut b = None;
    w.run(Duration::from_secs(60), |w| {
        let s = &mut w.nodes[1].host.shard;
        b = b.or_else(|| s.sockets.accept(&mut s.cx, l).ok().map(|x| x.0));
        b.is_some()
    });
    let b = b.expect("a connection through the driver");
    let total = 200_000 + u64::from(rng.below(400_000));
    let mut flows = [Flow::new((0, a), (1, b), seed, total), Flow::new((1, b), (0, a), !seed, total / 2)];
    let mut step = |w: &mut World| {
        flows.iter_mut().for_each(|f| w.flow(f));
        flows.iter().all(Flow::done)
    };
    for _ in 0..20 {
        match rng.below(4) {
            0 => {
                let f = faults(&mut rng);
                w.nodes.iter_mut().for_each(|n| n.link.faults = f);
            }
            1 => w.up(rng.below(2) as usize, false),
            _ => (0..2).for_each(|i| w.up(i, true)),
        }
        let ms = 1 + u64::from(rng.below(200));
        if w.run(Duration::from_millis(ms), &mut step) {
            break;
        }
    }
    (0..2).for_each(|i| w.up(i, true));
    w.nodes.iter_mut().for_each(|n| n.link.faults = good());
    let done = w.run(Duration::from_secs(900), &mut step);
    assert!(done, "stuck at {:?}: {flows:?}", w.now);
    for (i, s) in [(0, a), (1, b), (1, l)] {
        w.nodes[i].host.close(s);
    }
    w.run(Duration::from_secs(300), |_| false);
    let frames = w.frames;
    w.run(Duration::from_secs(300), |_| false);
    assert_eq!(w.frames, frames, "an idle network still sends");
    let r = (w.now, w.frames, w.nodes.iter().map(|n| n.refused).sum());
    end(w, &mut driver);
    r
}

/// The devices go, the driver is unmapped, and every buffer is home.
fn end(w: World, driver: &mut Driver) {
    let World { nodes, pool, runtime, .. } = w;
    for Node { mut host, dev, queue, link, .. } in nodes {
        host.check(link.delivered);
        drop(queue);
        dev.detach(Gone::Destroyed);
        let Host { shard, pool, .. } = host;
        assert!(shard.sockets.is_empty(), "sockets are left");
        drop(shard);
        assert_eq!(pool.stats().out, 0, "buffers leaked");
    }
    assert_eq!(driver.unload(PATIENCE).expect("it goes"), Unloaded::Unmapped);
    assert_eq!((driver.buffers_out(), pool.stats().out), (0, 0), "the driver keeps buffers");
    let log = runtime.log.lock().unwrap();
    assert!(!log.iter().any(|l| l.contains("fault of the driver")), "{log:?}");
}

#[test]
fn tcp_through_the_driver_table() {
    let dir = Dir::new("cable");
    let refused = std::cell::Cell::new(0);
    for_seeds(20, |seed| refused.set(refused.get() + play(seed, &dir).2));
    assert!(refused.get() > 0, "the driver was never full");
}

#[test]
fn a_seed_is_a_run() {
    let dir = Dir::new("cable-again");
    assert_eq!(play(5, &dir), play(5, &dir));
}

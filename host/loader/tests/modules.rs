//! A module in Rust against a stack of the test's own: what it asks arrives as it was meant, what it is told too, a panic
//! ends it and nothing else.

mod common;

use common::{Dir, PATIENCE, wait};
use iopkt_base::{Errno, Instant};
use iopkt_ctl::{AddrInfo, AddrState, IfCounters, IfKind, Ifconf, LinkState, Reply, Request};
use iopkt_loader::{
    Bound, Device, Driver, DriverId, Env, Error, Host, Inlet, Kind, Search, Unloaded, Wanted, changed,
    inspect,
};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_sys::Root;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Everything that a module said.
#[derive(Default)]
struct Said {
    log: Vec<String>,
    asked: Vec<Request>,
    listening: Vec<(u32, u16)>,
    sent: Vec<(u32, Vec<u8>)>,
    inlets: Vec<Inlet>,
    finished: Vec<DriverId>,
}

#[derive(Default)]
struct Fake(Mutex<Said>);

impl Fake {
    fn said<R>(&self, f: impl FnOnce(&mut Said) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
    fn logged(&self, part: &str) -> bool {
        self.said(|s| s.log.iter().any(|l| l.contains(part)))
    }
}

fn en0() -> Ifconf {
    Ifconf {
        name: "ecm0".into(),
        alias: Some("en0".into()),
        index: 7,
        kind: IfKind::Ethernet,
        flags: 0x8843,
        mtu: 1500,
        metric: 0,
        caps_rx: 0,
        caps_tx: 0,
        enabled_rx: 0,
        enabled_tx: 0,
        mac: [2, 0, 0, 0, 0, 7],
        link: LinkState::Up,
        speed_rx: 0,
        speed_tx: 0,
        media: false,
        media_words: Vec::new(),
        media_now: 0,
        full_duplex: true,
        driver: "ecm".into(),
        addrs: vec![AddrInfo {
            addr: "fe80::7".parse().unwrap(),
            prefix_len: 64,
            broadcast: None,
            peer: None,
            state: AddrState::Tentative,
        }],
        lives: Vec::new(),
        counters: IfCounters::default(),
    }
}

impl Host for Fake {
    fn log(&self, _severity: u8, who: &str, text: &str) {
        self.said(|s| s.log.push(format!("{who}: {text}")));
    }
    fn attach(&self, _device: Device) -> Result<Bound, Errno> {
        panic!("a module has no devices");
    }
    fn finished(&self, driver: DriverId) {
        self.said(|s| s.finished.push(driver));
    }
    fn module(&self, inlet: &Inlet, arrives: bool) {
        self.said(|s| {
            s.inlets.retain(|i| i.id() != inlet.id());
            s.listening.clear();
            if arrives {
                s.inlets.push(inlet.clone());
            }
        });
    }
    fn ctl(&self, r: Request) -> Reply {
        let reply = match &r {
            Request::Interfaces { name: Some(n) } if n != "en0" && n != "ecm0" => Reply::err(Errno::ENXIO),
            Request::Interfaces { .. } => Reply::Interfaces(vec![en0()]),
            _ => Reply::Ok,
        };
        self.said(|s| s.asked.push(r));
        reply
    }
    fn listen(&self, _inlet: &Inlet, ifindex: u32, ethertype: u16, on: bool) -> Result<(), Errno> {
        assert!(on);
        self.said(|s| s.listening.push((ifindex, ethertype)));
        Ok(())
    }
    fn output(&self, inlet: &Inlet, ifindex: u32, frames: Vec<Mbuf>) -> Result<(), Errno> {
        inlet.sent(frames.len());
        self.said(|s| s.sent.extend(frames.iter().map(|m| (ifindex, m.as_slice().to_vec()))));
        Ok(())
    }
    fn now(&self) -> Instant {
        iopkt_sys::clock::monotonic()
    }
}

struct Ground {
    fake: Arc<Fake>,
    env: Env,
    _dir: Dir,
}

fn ground(name: &str) -> Ground {
    let dir = Dir::new(name);
    let pool = Pool::new(PoolConfig { max_clusters: 4096, ..PoolConfig::default() });
    let env = Env { root: Root::at(dir.0.join("root")), pool, search: Search::only([dir.0.clone()]) };
    Ground { fake: Arc::default(), env, _dir: dir }
}

impl Ground {
    fn load(&self, options: &str) -> Result<Driver, Error> {
        let d = Driver::start_as(self.fake.clone(), &self.env, Wanted::Module, &rusty(), options)?;
        match d.wait() {
            Ok(()) => Ok(d),
            Err(e) => Err(e),
        }
    }
    fn frame(&self, content: &[u8]) -> Mbuf {
        let mut m = self.env.pool.cache(0).copy_of(content).unwrap();
        m.set_ifindex(7);
        m
    }
}

fn rusty() -> String {
    let exe = std::env::current_exe().unwrap();
    let target = exe.parent().and_then(Path::parent).unwrap();
    target.join("examples/liblsm_rusty.so").display().to_string()
}

fn question() -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 9, 0x88, 0xb6];
    f.resize(60, 0x55);
    f
}

#[test]
fn it_asks_hears_sends_and_goes() {
    let g = ground("m-all");
    let i = inspect(rusty().as_ref()).unwrap();
    assert_eq!((i.kind, i.abi, i.name.as_str(), i.prefix.as_str()), (Kind::Module, (1, 2), "rusty", ""));
    let mut d = g.load("").unwrap();
    assert_eq!(g.fake.said(|s| s.listening.clone()), [(7, 0x88b6)]);
    let added = g.fake.said(|s| {
        s.asked.iter().find_map(|r| match r {
            Request::AddAddr { name, addr, replace } => Some((name.clone(), *addr, *replace)),
            _ => None,
        })
    });
    let want = AddrInfo {
        addr: "10.9.8.7".parse().unwrap(),
        prefix_len: 24,
        broadcast: None,
        peer: None,
        state: AddrState::Valid,
    };
    assert_eq!(added, Some(("ecm0".into(), want, true)));
    // What it sees of the interface, through the table and back.
    wait("its timer", || g.fake.logged("interfaces: ecm0 [Addr { addr: fe80::7, prefix_len: 64"));
    assert!(g.fake.logged("state: Tentative"));
    let inlet = g.fake.said(|s| s.inlets[0].clone());
    for _ in 0..100 {
        inlet.deliver(g.frame(&question())).unwrap();
    }
    wait("the answers", || g.fake.said(|s| s.sent.len()) == 100);
    let (ifindex, answer) = g.fake.said(|s| s.sent[0].clone());
    assert_eq!(
        (ifindex, &answer[..6], &answer[6..12]),
        (7, &[2, 0, 0, 0, 0, 9][..], &[2, 0, 0, 0, 0, 7][..])
    );
    inlet.changed(7, changed::ARRIVED);
    inlet.changed(7, changed::ADDRS);
    inlet.changed(3, changed::DEPARTED | changed::STATE);
    wait("the changes", || {
        g.fake.logged("interface 3: Changed { arrived: false, departed: true, state: true")
    });
    wait("those of another", || g.fake.logged("interface 7: Changed { arrived: true"));
    assert_eq!(d.buffers_out(), 0);
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert!(g.fake.logged("address taken away: Ok(())"));
    assert!(g.fake.said(|s| s.inlets.is_empty()));
    // The stack's end stays good and leads nowhere.
    inlet.deliver(g.frame(&question())).unwrap();
    inlet.changed(7, changed::STATE);
}

#[test]
fn a_slow_one_loses_frames_and_no_more() {
    let g = ground("m-slow");
    let mut d = g.load("").unwrap();
    let inlet = g.fake.said(|s| s.inlets[0].clone());
    let lost = {
        // Its thread waits for this lock as soon as it sends.
        let _busy = g.fake.0.lock().unwrap();
        (0..2000).filter(|_| inlet.deliver(g.frame(&question())).is_err()).count()
    };
    assert!((1..=2000 - 512).contains(&lost), "{lost}");
    wait("the rest", || g.fake.said(|s| s.sent.len()) == 2000 - lost);
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert_eq!(g.env.pool.stats().out, 0);
}

#[test]
fn a_load_that_fails_says_why() {
    let g = ground("m-fail");
    let e = g.load("if=wm9").err().unwrap();
    assert_eq!(e.errno, Errno::ENXIO);
    assert!(e.text.contains("liblsm_rusty.so: if=wm9: No such device or address; name another"), "{e}");
    let e = g.load("panic=load").err().unwrap();
    assert!(e.text.contains("its load panicked") && g.fake.logged("told to panic in load"), "{e}");
    let e = g.load("unit=3").err().unwrap();
    assert!(e.text.contains("unknown option unit; it takes if=IF, panic=PLACE"), "{e}");
    assert!(g.fake.said(|s| s.inlets.is_empty()));
}

#[test]
fn a_panic_ends_the_module() {
    for place in ["timer", "input", "changed", "unload"] {
        let g = ground(&format!("m-{place}"));
        let mut d = g.load(&format!("panic={place}")).unwrap();
        let inlet = g.fake.said(|s| s.inlets[0].clone());
        inlet.deliver(g.frame(&question())).unwrap();
        inlet.changed(7, changed::STATE);
        if place != "unload" {
            wait("it asks for its end", || g.fake.said(|s| s.finished.contains(&d.id())));
            // It is not called any more.
            for _ in 0..40 {
                inlet.deliver(g.frame(&question())).unwrap();
            }
        }
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped, "{place}");
        assert!(g.fake.logged(&format!("told to panic in {place}")));
        assert_eq!((d.buffers_out(), g.env.pool.stats().out), (0, 0), "{place}");
    }
}

//! Random requests, in random order, with random descriptors, from programs that come and go: nothing panics, nothing
//! stays behind, and a well-behaved program beside them is served.

mod common;
use common::World;
use iopkt_base::Errno;
use iopkt_ctl::{Reply, Request};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Op, Rep, Req};
use iopkt_sockserver::mem::{MemFd, Program};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Request { op: usize, args: [i32; 5], port: u16, payload: Vec<u8>, fd: usize },
    Bytes(Vec<u8>),
    Write { fd: usize, len: usize },
    Read { fd: usize },
    Shutdown { fd: usize, how: u8 },
    Close { fd: usize },
    Leave,
    Wait,
}

fn small() -> impl Strategy<Value = i32> {
    prop_oneof![
        0..4i32,
        prop::sample::select(vec![AF_INET, AF_INET6, 20, -1, i32::MAX, i32::MIN, 0x5411, 0x8912, 0x8913])
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..Op::ALL.len(), [small(), small(), small(), small(), small()], prop::sample::select(vec![0u16, 7, 80, 81]),
            prop::collection::vec(any::<u8>(), 0..200), 0..8usize)
            .prop_map(|(op, args, port, payload, fd)| Act::Request { op, args, port, payload, fd }),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Act::Bytes),
        3 => (0..8usize, 0..5000usize).prop_map(|(fd, len)| Act::Write { fd, len }),
        2 => (0..8usize).prop_map(|fd| Act::Read { fd }),
        1 => (0..8usize, 0..3u8).prop_map(|(fd, how)| Act::Shutdown { fd, how }),
        2 => (0..8usize).prop_map(|fd| Act::Close { fd }),
        1 => Just(Act::Leave),
        2 => Just(Act::Wait),
    ]
}

/// Takes in what came: descriptors are kept, a few.
fn take_replies(p: &Program, fds: &mut Vec<MemFd>) {
    while let Some((m, fd)) = p.recv() {
        Rep::decode(&m).expect("replies are well-formed");
        fds.extend(fd);
        if fds.len() > 8 {
            fds.remove(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn random_requests(seed: u64, acts in prop::collection::vec(act(), 1..120)) {
        let mut w = World::new(seed);
        let good = w.program(0);
        let mut p = w.program(0);
        let mut fds: Vec<MemFd> = Vec::new();
        w.host_faults(seed, 40, 20, 10);
        for a in acts {
            match a {
                Act::Request { op, args, port, payload, fd } => {
                    let mut r = Req::new(Op::ALL[op], 5);
                    r.args = args;
                    r.len = payload.len() as u32;
                    // Among ourselves, so that connections come about.
                    r.addr = if args[4] == 0 { Addr::NONE } else { Addr(Some(([10, 0, 0, 1], port).into())) };
                    let _ = p.send(&[&r.encode()[..], &payload].concat(), fds.get(fd));
                }
                Act::Bytes(b) => { let _ = p.send(&b, fds.first()); }
                Act::Write { fd, len } => { let _ = fds.get(fd).map(|f| f.write(&vec![1; len])); }
                Act::Read { fd } => { let _ = fds.get(fd).map(|f| f.read(&mut [0; 3000])); }
                Act::Shutdown { fd, how } => { if let Some(f) = fds.get(fd) { f.shutdown(how) } }
                Act::Close { fd } => { if fd < fds.len() { fds.remove(fd); } }
                Act::Leave => p = w.server(0).host.connect(7, 7),
                Act::Wait => w.advance(),
            }
            if p.ended() {
                p = w.server(0).host.connect(8, 8);
                let _ = p.send(&Req::new(Op::Hello, 1).encode(), None);
            }
            w.settle();
            while let Some((t, _)) = w.server(0).next_asked() {
                w.server(0).answer(t, &Reply::Ok);
            }
            take_replies(&p, &mut fds);
        }
        w.no_host_faults();
        w.call(&good, Req::new(Op::Hello, 1), &[], None).unwrap();
        drop((good, p, fds));
        w.end();
    }
}

fn ctl(w: &mut World, p: &Program, r: &Request) -> Reply {
    let bytes = postcard::to_allocvec(r).unwrap();
    postcard::from_bytes(&w.call(p, Req::new(Op::Ctl, 3), &bytes, None).unwrap().1).unwrap()
}

#[test]
fn only_root_and_the_owner_change_the_configuration() {
    let mut w =
        World::with(1, Default::default(), iopkt_sockserver::ServerConfig { uid: 500, ..Default::default() });
    let down = Request::SetFlags { name: "eth0".into(), set: 0, clear: 0x4 };
    for (uid, may) in [(0, true), (500, true), (501, false)] {
        let p = w.user(0, uid);
        match ctl(&mut w, &p, &down) {
            Reply::Ok => assert!(may),
            Reply::Err { errno, why } => {
                assert!(!may && errno == Errno::EPERM && why.contains("500"), "{errno:?} {why}");
            }
            r => panic!("{r:?}"),
        }
        assert!(matches!(ctl(&mut w, &p, &Request::Interfaces { name: None }), Reply::Interfaces(_)));
        let raw = w.socket(&p, SOCK_RAW);
        assert_eq!(raw.err() == Some(Errno::EPERM), !may);
    }
    w.end();
}

#[test]
fn an_answer_for_who_is_gone_goes_nowhere() {
    let mut w = World::new(2);
    let p = w.program(0);
    let mut r = Req::new(Op::Ctl, 3);
    let bytes = postcard::to_allocvec(&Request::Shutdown).unwrap();
    r.len = bytes.len() as u32;
    for _ in 0..20 {
        p.send(&[&r.encode()[..], &bytes].concat(), None).unwrap();
    }
    w.settle();
    let s = w.server(0);
    assert_eq!(s.held().asked, 8, "the rest was refused");
    let (t, req) = s.next_asked().unwrap();
    assert_eq!(req, Request::Shutdown);
    drop(p);
    w.settle();
    let s = w.server(0);
    assert_eq!(s.next_asked().map(|x| x.1), None);
    let q = w.program(0);
    w.server(0).answer(t, &Reply::Ok);
    w.settle();
    assert!(q.recv().is_none());
    drop(q);
    w.end();
}

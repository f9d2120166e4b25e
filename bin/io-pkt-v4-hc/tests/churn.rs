//! Many hands at once: interfaces come, work and go while others do the same.

mod common;

use common::{Stack, until};
use iopkt_base::{Errno, Rng};
use iopkt_client::UdpSocket;
use iopkt_ctl::{AddrInfo, AddrState, Reply, Request, iff};
use rustix::process::Signal;
use std::net::Ipv4Addr;

/// One user: loads a driver, uses its interfaces, destroys them; each answer is one that the race permits.
fn user(s: &Stack, n: u8) {
    let session = s.session();
    let mut rng = Rng::new(n.into());
    for round in 0..25u8 {
        let option = ["", "beat=1", "slow", "named", "depart=5", "stay", "fail", "attachfail", "mode=null"];
        let options = format!(
            "name=u{},devices={},{}",
            ["a", "b", "c", "d"][n as usize % 4],
            1 + rng.below(3),
            option[rng.below(9) as usize]
        );
        let r = session
            .ctl(&Request::Load { object: "devnp-sample.so".into(), options: options.clone() })
            .unwrap();
        let names = match r {
            Reply::Names(l) => l,
            Reply::Err { why, .. } => {
                assert!(options.contains("fail"), "{options}: {why}");
                continue;
            }
            other => panic!("{other:?}"),
        };
        let gone = |r: Reply| match r {
            Reply::Ok => {}
            Reply::Err { errno: Errno::ENXIO, .. } => assert!(options.contains("depart"), "{options}"),
            other => panic!("{options}: {other:?}"),
        };
        for (i, name) in names.iter().enumerate() {
            gone(session.ctl(&Request::SetFlags { name: name.clone(), set: iff::UP, clear: 0 }).unwrap());
            let addr = AddrInfo {
                addr: Ipv4Addr::new(10, n, round, 1 + i as u8).into(),
                prefix_len: 30,
                broadcast: None,
                peer: None,
                state: AddrState::Valid,
            };
            gone(
                session
                    .ctl(&Request::AddAddr { name: name.clone(), addr, replace: rng.chance(0.5) })
                    .unwrap(),
            );
        }
        let u = UdpSocket::bind(&session, "0.0.0.0:0".parse().unwrap()).unwrap();
        for k in 0..50u8 {
            let _ = u.send_to(&[k; 100], (Ipv4Addr::new(10, n, round, 2), 9).into());
        }
        let _ = session.ctl(&Request::NicInfo { name: None }).unwrap();
        for name in &names {
            if rng.chance(0.5) {
                gone(session.ctl(&Request::SetFlags { name: name.clone(), set: 0, clear: iff::UP }).unwrap());
            }
            gone(session.ctl(&Request::Destroy { name: name.clone() }).unwrap());
        }
    }
}

#[test]
fn users_do_not_get_in_each_others_way() {
    let s = Stack::start("-t2");
    let files = s.open_files();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let s = &s;
            scope.spawn(move || user(s, n));
        }
    });
    until("all interfaces are gone", || s.names() == ["lo0"]);
    until("only those that stay are loaded", || match s.ctl(&Request::Loaded) {
        Reply::Loaded { drivers, .. } => {
            drivers.iter().all(|d| d.options.contains("stay") && d.interfaces.is_empty())
        }
        other => panic!("{other:?}"),
    });
    let Reply::Loaded { drivers, .. } = s.ctl(&Request::Loaded) else { panic!() };
    // Each that stays has a thread with an epoll and wakers of its own.
    until("the descriptors are closed", || s.open_files() <= files + 4 * drivers.len());
    let (status, dir) = s.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    let bad = dir
        .log()
        .into_iter()
        .find(|l| l.contains("fault of") || l.contains("still holds") || l.contains("in time"));
    assert_eq!(bad, None);
}

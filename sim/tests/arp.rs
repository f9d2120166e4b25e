//! ARP in a crowd: everybody finds everybody over a lossy wire, an absent one is given up, and it gets quiet.

use iopkt_base::Duration;
use iopkt_sim::{Faults, World, for_seeds, sa};
use iopkt_stack::Family;
use iopkt_stack::sockets::{SendOpts, SockType};

#[test]
fn everybody_finds_everybody() {
    for_seeds(30, |seed| {
        let n = 6;
        let f = Faults {
            loss: 0.05,
            duplicate: 0.05,
            reorder: 0.1,
            delay: Duration::from_millis(1),
            ..Faults::default()
        };
        let mut w = World::new(n, seed, f);
        let mut socks = Vec::new();
        for i in 0..n {
            let s = &mut w.hosts[usize::from(i)].shard;
            let id = s.sockets.socket(&mut s.cx, Family::V4, SockType::Dgram, 0).expect("socket");
            s.sockets.bind(&mut s.cx, &s.net, id, sa(i + 1, 7)).expect("bind");
            socks.push(id);
        }
        // Everybody calls everybody, and somebody who is not there, until all have been heard.
        let mut heard = vec![vec![false; usize::from(n)]; usize::from(n)];
        for _ in 0..60 {
            for i in 0..n {
                for j in (1..=n).filter(|j| *j != i + 1).chain([99]) {
                    let s = &mut w.hosts[usize::from(i)].shard;
                    let m = s.cx.mbufs.copy_of(&[i]).expect("memory");
                    let o = SendOpts::default();
                    let _ = s.sockets.send_to(
                        &mut s.cx,
                        &mut s.net,
                        socks[usize::from(i)],
                        Some(sa(j, 7)),
                        &o,
                        m,
                    );
                }
            }
            w.pass(Duration::from_secs(1));
            for (i, id) in socks.iter().enumerate() {
                let s = &mut w.hosts[i].shard;
                while let Some(d) = s.sockets.recv_from(&mut s.cx, *id) {
                    heard[i][usize::from(d.m.as_slice()[0])] = true;
                    s.cx.mbufs.free(d.m);
                }
            }
        }
        for (i, h) in heard.iter().enumerate() {
            assert!(h.iter().enumerate().all(|(j, x)| *x || i == j), "host {i} did not hear {h:?}");
        }
        w.assert_goes_idle(Duration::from_secs(120));
        w.end();
    });
}

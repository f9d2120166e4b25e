//! `ndp -i IF basereachable= retrans= curhlim=`: what is sent has them.

mod common;

use common::*;
use iopkt_base::Errno;
use iopkt_ctl::{NdIface, NdReply, NdRequest, Reply, Request};
use iopkt_wire::icmp6::ty;

fn iface(h: &mut Host) -> NdIface {
    match h.ctl(Request::Nd(NdRequest::Interfaces { name: Some("eth0".into()) })) {
        Reply::Nd(NdReply::Interfaces(mut l)) => l.remove(0),
        r => panic!("{r:?}"),
    }
}

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.run(3000);
    w
}

#[test]
fn times_and_hops_that_a_person_sets() {
    let mut w = one();
    let r = |base_reachable, retrans, hop_limit| {
        Request::Nd(NdRequest::Set {
            name: "eth0".into(),
            set: 0,
            clear: 0,
            base_reachable,
            retrans,
            hop_limit,
        })
    };
    assert_eq!(w.hosts[0].ctl(r(Some(20_000), Some(250), Some(9))), Reply::Ok);
    let i = iface(&mut w.hosts[0]);
    assert_eq!((i.base_reachable, i.retrans, i.hop_limit), (20_000, 250, 9));
    for bad in [r(Some(5), None, None), r(None, Some(5), None)] {
        assert!(matches!(w.hosts[0].ctl(bad), Reply::Err { errno: Errno::EINVAL, .. }));
    }
    // What is sent has them: a question for a neighbour that nobody answers, three times in less than a second, and the hops.
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(2000);
    let s = w.hosts[0].udp("[::]:5000");
    w.log.clear();
    w.hosts[0].send(s, a6("2001:db8::7"), 9, b"x").unwrap();
    w.run(700);
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len(), 3);
    w.end();
    let mut w = Wire::pair();
    assert_eq!(w.hosts[0].ctl(r(None, None, Some(9))), Reply::Ok);
    let (s, to) = (w.hosts[0].udp("[::]:5000"), w.hosts[1].link_local());
    w.hosts[0].send(s, to, 9, b"x").unwrap();
    w.run(100);
    let hops: Vec<u8> = w.log.iter().filter(|(h, f)| *h == 0 && f[20] == 17).map(|(_, f)| f[21]).collect();
    assert_eq!(hops, [9]);
    w.end();
}

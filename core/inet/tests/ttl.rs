//! net.inet.ip.ttl: of all that is sent whose sender did not say.

mod common;
use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{Reply, Request};

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn set(h: &mut Host, ttl: u8) {
    let r = Request::Sysctl { name: "net.inet.ip.ttl".into(), value: Some(ttl.to_string()) };
    assert_eq!(h.ctl(r), Reply::Ok);
}

#[test]
fn datagrams_take_a_change_over_and_options_come_first() {
    let mut h = Host::new(1);
    let e = iopkt_ctl::ArpEntry {
        ip: "10.0.0.7".parse().unwrap(),
        mac: Some(PEER),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(h.ctl(Request::AddArp(e)), Reply::Ok);
    let s = h.udp("10.0.0.1:5000");
    let mut t = Instant::from_millis(10_000);
    let mut sent = |h: &mut Host| {
        t += Duration::from_millis(10);
        h.send(s, "10.0.0.7:9", b"x").unwrap();
        let out = h.turn(t, &mut vec![]);
        out.iter().find(|f| f[12..14] == [8, 0]).expect("a packet")[22]
    };
    let option = |h: &mut Host, v: Option<i32>| {
        let x = &mut h.s;
        if let Some(v) = v {
            x.sockets.setsockopt(&mut x.cx, &mut x.net, s, 0, 2, &v.to_ne_bytes()).unwrap();
        }
        let mut b = [0; 4];
        x.sockets.getsockopt(&mut x.cx, &x.net, s, 0, 2, &mut b).unwrap();
        i32::from_ne_bytes(b)
    };
    assert_eq!((sent(&mut h), option(&mut h, None)), (64, 64));
    set(&mut h, 77);
    assert_eq!((sent(&mut h), option(&mut h, None)), (77, 77));
    assert_eq!(option(&mut h, Some(9)), 9);
    assert_eq!(sent(&mut h), 9);
    assert_eq!(option(&mut h, Some(-1)), 77);
    assert_eq!(sent(&mut h), 77);
    h.end();
}

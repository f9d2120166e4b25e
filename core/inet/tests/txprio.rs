//! SO_TXPRIO: refused without `so_txprio_enable`, and with it the order in which an interface's queue is sent.

mod common;
use common::*;
use iopkt_base::{Errno, Instant, Result};
use iopkt_ctl::{ArpEntry, Reply, Request};
use iopkt_stack::Config;
use iopkt_stack::sockets::SockId;

const SO_TXPRIO: i32 = 0x100b;

fn set(h: &mut Host, s: SockId, v: i32) -> Result<()> {
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, 1, SO_TXPRIO, &v.to_ne_bytes())
}

fn get(h: &mut Host, s: SockId) -> Result<i32> {
    let mut b = [0; 4];
    h.s.sockets.getsockopt(&mut h.s.cx, &h.s.net, s, 1, SO_TXPRIO, &mut b)?;
    Ok(i32::from_ne_bytes(b))
}

#[test]
fn it_is_refused_unless_enabled() {
    let mut h = Host::new(1);
    let s = h.udp("0.0.0.0:0");
    assert_eq!(set(&mut h, s, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(get(&mut h, s), Err(Errno::EOPNOTSUPP));
    h.end();
}

#[test]
fn higher_ones_leave_first_and_equals_in_order() {
    let mut h = Host::with(1, Config { txprio: true, ..Config::default() });
    h.addr("10.0.0.1", 24);
    let far = ArpEntry {
        ip: "10.0.0.2".parse().unwrap(),
        mac: Some([2, 0, 0, 0, 0, 2]),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(h.ctl(Request::AddArp(far)), Reply::Ok);
    // What the address brought with it is out of the way.
    h.turn(Instant::from_millis(5000), &mut Vec::new());
    let socks: Vec<SockId> = [0, 3, 7]
        .iter()
        .map(|p| {
            let s = h.udp("0.0.0.0:0");
            assert_eq!(get(&mut h, s), Ok(0));
            set(&mut h, s, *p).unwrap();
            assert_eq!(get(&mut h, s), Ok(*p));
            s
        })
        .collect();
    for bad in [-1, 8] {
        assert_eq!(set(&mut h, socks[0], bad), Err(Errno::EINVAL));
    }
    for (i, text) in [(0, "a0"), (1, "a3"), (0, "b0"), (2, "a7"), (1, "b3"), (2, "b7"), (0, "c0")] {
        h.send(socks[i], "10.0.0.2:9", text.as_bytes()).unwrap();
    }
    // One that is cut into pieces keeps its place with all of them.
    h.send(socks[1], "10.0.0.2:9", &[b'F'; 3000]).unwrap();
    let frames = h.turn(Instant::from_millis(5001), &mut Vec::new());
    let seen: Vec<String> = frames
        .iter()
        .map(|f| if f.len() > 1000 { "F".into() } else { String::from_utf8_lossy(&f[42..44]).into_owned() })
        .collect();
    // The third piece is short, and has no UDP header: look at its fragment offset.
    let pieces = frames.iter().filter(|f| f[20] & 0x3f != 0 || f[21] != 0).count();
    assert_eq!(pieces, 3);
    assert_eq!(
        (&seen[..4], seen[4].as_str(), seen[5].as_str()),
        (&["a7", "b7", "a3", "b3"].map(String::from)[..], "F", "F")
    );
    assert!(frames[6][20] & 0x1f != 0 || frames[6][21] != 0, "its last piece");
    assert_eq!(&seen[7..], ["a0", "b0", "c0"]);
    h.end();
}

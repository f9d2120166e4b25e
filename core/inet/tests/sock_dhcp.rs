//! What a DHCP client does: broadcasts from a host without an address, heard by a server and answered by broadcast.

mod common;
use common::*;
use iopkt_base::Result;
use iopkt_ctl::{Reply, Request, iff};
use iopkt_stack::sockets::SockId;

fn set(h: &mut Host, s: SockId, name: i32, v: &[u8]) -> Result<()> {
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, 1, name, v)
}

#[test]
fn a_host_without_address_broadcasts_and_hears_broadcasts() {
    let mut w = Wire::new(vec![Host::bare(1), Host::new(2)]);
    let up = Request::SetFlags { name: "eth0".into(), set: iff::UP, clear: 0 };
    assert_eq!(w.hosts[0].ctl(up), Reply::Ok);
    let client = w.hosts[0].udp("0.0.0.0:68");
    let server = w.hosts[1].udp("0.0.0.0:67");
    for (h, s) in [(0, client), (1, server)] {
        set(&mut w.hosts[h], s, 6, &1i32.to_ne_bytes()).expect("SO_BROADCAST");
        set(&mut w.hosts[h], s, 25, b"eth0").expect("SO_BINDTODEVICE");
    }
    w.hosts[0].send(client, "255.255.255.255:67", b"discover").expect("send");
    w.run(50);
    assert_eq!(w.hosts[1].recv(server), Some((sa("0.0.0.0:68"), b"discover".to_vec())));
    w.hosts[1].send(server, "255.255.255.255:68", b"offer").expect("send");
    w.run(50);
    assert_eq!(w.hosts[0].recv(client), Some((sa("10.0.0.2:67"), b"offer".to_vec())));
    w.end();
}

//! A small send buffer between two programs of one stack: no filling of it waits for the delay of an acknowledgment.

use iopkt_base::{Duration, Errno};
use iopkt_world::{Answer, Call, Setup, World, encode_name};
use std::net::SocketAddr;

const NONBLOCK: i32 = 0o4000;

fn attempt(w: &mut World, c: Call) -> Result<Answer, Errno> {
    let mut p = w.begin(c);
    w.attempt(&mut p).unwrap_or(Err(Errno::EAGAIN))
}

#[test]
fn do_not_wait_for_delayed_acknowledgments() {
    let mut w = World::new(&Setup::default()).expect("a world");
    let to: SocketAddr = "127.0.0.1:7".parse().expect("an address");
    let l = w.socket(None, 2, 1 | NONBLOCK, 6).expect("socket");
    w.bind(l, &encode_name(to)).expect("bind");
    w.listen(l, 1).expect("listen");
    let c = w.socket(None, 2, 1 | NONBLOCK, 6).expect("socket");
    w.setsockopt(c, 1, 7, &2304i32.to_ne_bytes()).expect("SO_SNDBUF");
    let _ = attempt(&mut w, Call::Connect { fd: c, name: encode_name(to) });
    w.settle();
    let s = attempt(&mut w, Call::Accept { fd: l, flags: NONBLOCK }).expect("accept").ret as i32;
    let (begin, total) = (w.now(), 200_000);
    let (mut sent, mut got) = (0, 0);
    while got < total {
        let call = Call::Send { fd: c, data: vec![1; 2304], flags: 0, name: None, control: Vec::new() };
        match attempt(&mut w, call) {
            Ok(a) => sent += a.ret as usize,
            Err(e) => assert_eq!(e, Errno::EAGAIN, "after {sent}"),
        }
        match attempt(&mut w, Call::Recv { fd: s, len: 65_536, flags: 0, room: 0 }) {
            Ok(a) => got += a.data.len(),
            Err(e) => {
                assert_eq!(e, Errno::EAGAIN, "after {got}");
                let end = w.now() + Duration::from_secs(60);
                assert!(w.step(end), "nothing moves after {got} bytes");
            }
        }
    }
    let took = w.now().since(begin);
    // A delay of 40 ms for each filling of the buffer would be 1.7 s. Virtual time: it is the same in each run.
    assert!(took.as_millis() < 100, "{took:?} for {got} bytes");
}

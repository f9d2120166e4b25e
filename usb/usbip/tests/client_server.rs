//! A client and a session joined by pipes that tear the stream anywhere.

use iopkt_usbip::client::{self, Client, Event};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::hdr::{HDR_LEN, RetSubmit, RetUnlink, status};
use iopkt_usbip::op::DeviceInfo;
use iopkt_usbip::server::{self, Request, Session};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::{Dir, ProtoError};
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

const BULK_IN: Endpoint = Endpoint { addr: 0x81, attributes: 2, max_packet_raw: 512, interval: 0 };
const BULK_OUT: Endpoint = Endpoint { addr: 0x02, attributes: 2, max_packet_raw: 512, interval: 0 };

/// Moves up to `n` bytes.
fn move_up(c: &mut Client, s: &mut Session, n: usize) -> usize {
    let n = n.min(c.tx().len());
    let space = s.space();
    let n = n.min(space.len());
    space[..n].copy_from_slice(&c.tx()[..n]);
    s.commit(n);
    c.tx_done(n);
    n
}

fn move_down(c: &mut Client, s: &mut Session, n: usize) -> usize {
    let n = n.min(s.tx().len());
    let space = c.space();
    let n = n.min(space.len());
    space[..n].copy_from_slice(&s.tx()[..n]);
    c.commit(n);
    s.tx_done(n);
    n
}

fn info() -> DeviceInfo {
    DeviceInfo { busid: "1-1".into(), busnum: 1, devnum: 2, speed: 3, ..DeviceInfo::default() }
}

fn joined() -> (Client, Session) {
    let mut c = Client::import("1-1", client::Limits { urbs: 32, ..client::Limits::default() });
    let mut s = Session::new(server::Limits::default());
    move_up(&mut c, &mut s, usize::MAX);
    match s.poll().unwrap() {
        Some((Request::Import(id), _)) => assert_eq!(id, "1-1"),
        r => panic!("{r:?}"),
    }
    s.replies().imported(Ok(&info()));
    move_down(&mut c, &mut s, usize::MAX);
    assert_eq!(c.poll().unwrap(), Some(Event::Imported(info())));
    (c, s)
}

#[test]
fn a_refusal_is_told() {
    let mut c = Client::import("9-9", client::Limits::default());
    let mut s = Session::new(server::Limits::default());
    move_up(&mut c, &mut s, usize::MAX);
    assert!(matches!(s.poll(), Ok(Some((Request::Import(_), _)))));
    s.replies().imported(Err(4));
    move_down(&mut c, &mut s, usize::MAX);
    assert_eq!(c.poll(), Ok(Some(Event::Refused(4))));
    assert_eq!(c.submit_in(&BULK_IN, 1, 10), Err(client::Full));
}

#[test]
fn limits_refuse_and_recover() {
    let (mut c, mut s) = joined();
    for t in 0..32 {
        c.submit_in(&BULK_IN, t, 2048).unwrap();
    }
    assert_eq!(c.submit_in(&BULK_IN, 32, 2048), Err(client::Full));
    move_up(&mut c, &mut s, usize::MAX);
    let Ok(Some((Request::Submit(first, _), _))) = s.poll() else { panic!() };
    s.replies().complete(first.seqnum, 0, 3, &[b"a", b"bc"]);
    move_down(&mut c, &mut s, usize::MAX);
    match c.poll().unwrap() {
        Some(Event::Done(d)) => assert_eq!((d.token, d.data), (0, &b"abc"[..])),
        e => panic!("{e:?}"),
    }
    c.submit_in(&BULK_IN, 32, 2048).unwrap();
    assert_eq!(c.control(1, Setup::get_string(1), &[]), Err(client::Full));
}

#[test]
fn an_unlinked_urb_ends_once() {
    let (mut c, mut s) = joined();
    c.submit_in(&BULK_IN, 7, 64).unwrap();
    c.submit_in(&BULK_IN, 8, 64).unwrap();
    assert_eq!(c.unlink(|t, ep, dir| t == 7 && ep == 1 && dir == Dir::In), 1);
    assert_eq!(c.unlink(|t, _, _| t == 7), 0, "not twice");
    move_up(&mut c, &mut s, usize::MAX);
    let Ok(Some((Request::Submit(a, _), _))) = s.poll() else { panic!() };
    let Ok(Some((Request::Submit(_, _), _))) = s.poll() else { panic!() };
    let Ok(Some((Request::Unlink(u), _))) = s.poll() else { panic!() };
    assert_eq!(u.victim, a.seqnum);
    s.replies().unlinked(u.seqnum, true);
    move_down(&mut c, &mut s, usize::MAX);
    match c.poll().unwrap() {
        Some(Event::Done(d)) => assert_eq!((d.token, d.status), (7, status::ECONNRESET)),
        e => panic!("{e:?}"),
    }
    assert_eq!(c.poll(), Ok(None));
    assert_eq!(c.outstanding(), 1);
}

/// A server that answers "too late" and sends the completion after it: Linux orders them the other way, but
/// nothing forbids it.
#[test]
fn a_completion_behind_its_unlink_is_swallowed() {
    let (mut c, mut s) = joined();
    c.submit_in(&BULK_IN, 7, 64).unwrap();
    c.unlink(|_, _, _| true);
    move_up(&mut c, &mut s, usize::MAX);
    let Ok(Some((Request::Submit(a, _), _))) = s.poll() else { panic!() };
    let Ok(Some((Request::Unlink(u), _))) = s.poll() else { panic!() };
    s.replies().unlinked(u.seqnum, false);
    s.replies().complete(a.seqnum, 0, 2, &[b"xy"]);
    move_down(&mut c, &mut s, usize::MAX);
    assert!(matches!(c.poll(), Ok(Some(Event::Done(d))) if d.status == status::ECONNRESET));
    assert_eq!(c.poll(), Ok(None));
    assert_eq!(c.outstanding(), 0);
}

#[test]
fn abort_ends_everything() {
    let (mut c, _s) = joined();
    for t in 0..5 {
        c.submit_in(&BULK_IN, t, 64).unwrap();
    }
    c.unlink(|t, _, _| t == 3);
    let mut ended = Vec::new();
    c.abort(|d| ended.push((d.token, d.status)));
    ended.sort();
    assert_eq!(ended, (0..5).map(|t| (t, status::ESHUTDOWN)).collect::<Vec<_>>());
    assert_eq!(c.outstanding(), 0);
    assert!(!c.has_room(0));
}

fn feed(c: &mut Client, bytes: &[u8]) {
    c.space()[..bytes.len()].copy_from_slice(bytes);
    c.commit(bytes.len());
}

#[test]
fn replies_that_cannot_be_are_refused() {
    let (mut c, _) = joined();
    let stranger = RetSubmit { seqnum: 77, status: 0, actual: 0, start_frame: 0, packets: 0, errors: 0 };
    feed(&mut c, &stranger.to_bytes());
    assert_eq!(c.poll(), Err(ProtoError::Sequence(77)));

    let (mut c, mut s) = joined();
    c.submit_in(&BULK_IN, 1, 10).unwrap();
    move_up(&mut c, &mut s, usize::MAX);
    let Ok(Some((Request::Submit(a, _), _))) = s.poll() else { panic!() };
    feed(&mut c, &RetSubmit { seqnum: a.seqnum, actual: 11, ..stranger }.to_bytes());
    assert_eq!(c.poll(), Err(ProtoError::Actual { asked: 10, got: 11 }));

    let (mut c, _) = joined();
    feed(&mut c, &RetUnlink { seqnum: 1, status: 0 }.to_bytes());
    assert_eq!(c.poll(), Err(ProtoError::Sequence(1)));
}

#[test]
fn a_session_takes_only_what_belongs_to_its_phase() {
    let mut s = Session::new(server::Limits::default());
    let mut h = [0u8; HDR_LEN];
    h[3] = 1;
    s.space()[..HDR_LEN].copy_from_slice(&h);
    s.commit(HDR_LEN);
    assert_eq!(s.poll().err(), Some(ProtoError::Version(0)));
    assert!(matches!(s.poll(), Ok(None)));

    let (mut c, _) = joined();
    c.submit_in(&BULK_IN, 1, 65_536).unwrap();
    let mut s = Session::new(server::Limits { transfer: 1000, ..server::Limits::default() });
    s.replies().imported(Ok(&info()));
    move_up(&mut c, &mut s, usize::MAX);
    assert_eq!(s.poll().err(), Some(ProtoError::TooLong(65_536)));
}

/// Content that follows from the length, so that both ends can check it.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (len + i * 7) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the server's order and however the stream is torn, each URB ends once with its own data.
    #[test]
    fn every_urb_ends_once(
        steps in proptest::collection::vec((0u8..6, any::<u16>()), 1..400),
        chunk in 13usize..300,
    ) {
        let (mut c, mut s) = joined();
        let mut next = 0u32;
        let mut open: HashMap<u32, usize> = HashMap::new();
        let mut at_server: VecDeque<(u32, Dir, usize)> = VecDeque::new();
        let drain = std::iter::repeat_n([(4, 0), (3, 0), (5, 0)], 1000).flatten();
        for (what, arg) in steps.into_iter().chain(drain) {
            let len = usize::from(arg % 1600);
            match what {
                0 if c.submit_out(&BULK_OUT, next, &content(len), 0).is_ok() => {
                    open.insert(next, len);
                    next += 1;
                }
                1 if c.submit_in(&BULK_IN, next, len).is_ok() => {
                    open.insert(next, len);
                    next += 1;
                }
                2 => {
                    c.unlink(|t, _, _| t % 5 == u32::from(arg % 5));
                }
                3 if !at_server.is_empty() => {
                    let (seq, dir, len) = at_server.remove(usize::from(arg) % at_server.len()).unwrap();
                    let data = content(len);
                    let (a, b) = data.split_at(len / 3);
                    let parts: &[&[u8]] = if dir == Dir::In { &[a, b] } else { &[] };
                    s.replies().complete(seq, 0, len, parts);
                }
                4 => { move_up(&mut c, &mut s, chunk * 8); }
                5 => { move_down(&mut c, &mut s, chunk * 8); }
                _ => {}
            }
            loop {
                let (seq, cancelled) = match s.poll().unwrap() {
                    Some((Request::Submit(u, data), _)) => {
                        if u.dir == Dir::Out {
                            prop_assert_eq!(data, content(u.length as usize));
                        }
                        at_server.push_back((u.seqnum, u.dir, u.length as usize));
                        continue;
                    }
                    Some((Request::Unlink(u), _)) => {
                        let at = at_server.iter().position(|a| a.0 == u.victim);
                        (u.seqnum, at.and_then(|i| at_server.remove(i)).is_some())
                    }
                    Some(r) => panic!("{r:?}"),
                    None => break,
                };
                s.replies().unlinked(seq, cancelled);
            }
            while let Some(Event::Done(d)) = c.poll().unwrap() {
                let want = open.remove(&d.token).expect("ended twice, or never began");
                if d.status == 0 {
                    prop_assert_eq!(d.actual, want);
                    if d.dir == Dir::In {
                        prop_assert_eq!(d.data, content(want));
                    }
                } else {
                    prop_assert_eq!(d.status, status::ECONNRESET);
                }
            }
        }
        prop_assert!(open.is_empty() && at_server.is_empty());
        prop_assert_eq!((c.outstanding(), c.tx().len(), s.tx().len()), (0, 0, 0));
    }
}

//! A relay between a client and a server, over pipes that tear the streams anywhere.

use iopkt_usbip::client::{self, Client, Event};
use iopkt_usbip::desc::{self, Endpoint};
use iopkt_usbip::hdr::{HDR_LEN, RetSubmit, RetUnlink, Submit, Unlink, status};
use iopkt_usbip::op::DeviceInfo;
use iopkt_usbip::relay::{MAX_OPEN, Relay};
use iopkt_usbip::server::{self, Request, Session};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::{Dir, ProtoError};
use proptest::prelude::*;

const BULK_IN: Endpoint = Endpoint { addr: 0x81, attributes: 2, max_packet_raw: 512, interval: 0 };
const BULK_OUT: Endpoint = Endpoint { addr: 0x02, attributes: 2, max_packet_raw: 512, interval: 0 };
const HERE: u32 = 5 << 16 | 9;
const THERE: u32 = 1 << 16 | 2;

/// Client, the session that serves it, the relay, and the session at the far server.
struct Chain {
    client: Client,
    near: Session,
    relay: Relay,
    far: Session,
}

impl Chain {
    fn new() -> Chain {
        let mut near = Session::new(server::Limits::default());
        let mut far = Session::new(server::Limits::default());
        for s in [&mut near, &mut far] {
            s.replies().imported(Ok(&DeviceInfo::default()));
            let n = s.tx().len();
            s.tx_done(n);
        }
        let client = Client::attached(HERE, client::Limits { urbs: 32, ..client::Limits::default() });
        Chain { client, near, relay: Relay::new(THERE), far }
    }

    /// Moves at most `n` bytes over each of the four pipes.
    fn turn(&mut self, n: usize) -> Result<(), ProtoError> {
        let k = n.min(self.client.tx().len());
        self.near.space()[..k].copy_from_slice(&self.client.tx()[..k]);
        self.near.commit(k);
        self.client.tx_done(k);
        while let Some((r, _)) = self.near.poll()? {
            match r {
                Request::Submit(s, d) => self.relay.submit(&s, d)?,
                Request::Unlink(u) => self.relay.unlink(&u)?,
                r => panic!("{r:?}"),
            }
        }
        let k = n.min(self.relay.tx().len());
        self.far.space()[..k].copy_from_slice(&self.relay.tx()[..k]);
        self.far.commit(k);
        self.relay.tx_done(k);
        let k = n.min(self.far.tx().len());
        self.relay.space()[..k].copy_from_slice(&self.far.tx()[..k]);
        self.relay.commit(k);
        self.far.tx_done(k);
        while self.relay.poll(self.near.replies())? {}
        let k = n.min(self.near.tx().len());
        self.client.space()[..k].copy_from_slice(&self.near.tx()[..k]);
        self.client.commit(k);
        self.near.tx_done(k);
        Ok(())
    }
}

proptest! {
    /// Whatever is submitted and unlinked, every URB ends once, with the data that the device sent, however
    /// the streams are torn.
    #[test]
    fn every_urb_ends_once(
        ops in proptest::collection::vec((0u8..4, 0usize..900, any::<bool>()), 1..60),
        chunk in 1usize..200,
    ) {
        let mut c = Chain::new();
        let mut ended = vec![0u32; ops.len()];
        let mut held: Vec<Submit> = Vec::new();
        let finish = |c: &mut Chain, ended: &mut Vec<u32>| {
            while let Some(e) = c.client.poll().unwrap() {
                if let Event::Done(d) = e {
                    ended[d.token as usize] += 1;
                    assert!(d.data.iter().all(|b| *b == 0x5a));
                }
            }
        };
        let answer = |c: &mut Chain, held: &mut Vec<Submit>, hold: bool| {
            while let Some((r, replies)) = c.far.poll().unwrap() {
                match r {
                    Request::Submit(s, data) => {
                        assert_eq!(s.devid, THERE);
                        if s.dir == Dir::Out {
                            assert!(data.iter().all(|b| *b == 0xa5) && data.len() == s.length as usize);
                        }
                        if hold { held.push(s); } else { reply(replies, &s); }
                    }
                    Request::Unlink(u) => {
                        assert_eq!(u.devid, THERE);
                        let before = held.len();
                        held.retain(|s| s.seqnum != u.victim);
                        replies.unlinked(u.seqnum, held.len() < before);
                    }
                    r => panic!("{r:?}"),
                }
            }
        };
        let mut given = vec![false; ops.len()];
        for (i, (op, len, hold)) in ops.iter().enumerate() {
            let t = i as u32;
            given[i] = match op {
                0 => c.client.submit_in(&BULK_IN, t, *len).is_ok(),
                1 => c.client.submit_out(&BULK_OUT, t, &vec![0xa5; *len], 0).is_ok(),
                2 => c.client.control(t, Setup::get_string(1), &[]).is_ok(),
                _ => { c.client.unlink(|t, _, _| t % 3 == 0); false }
            };
            c.turn(chunk).unwrap();
            answer(&mut c, &mut held, *hold);
            finish(&mut c, &mut ended);
        }
        for _ in 0..100_000 {
            answer(&mut c, &mut held, false);
            for s in std::mem::take(&mut held) { reply(c.far.replies(), &s); }
            c.turn(4096).unwrap();
            finish(&mut c, &mut ended);
            if c.client.outstanding() == 0 && c.client.tx().is_empty() { break; }
        }
        prop_assert_eq!(c.relay.open(), 0);
        for (g, e) in given.iter().zip(&ended) { prop_assert_eq!(u32::from(*g), *e); }
    }

    /// A hostile far server costs its connection only.
    #[test]
    fn garbage_from_afar_is_an_error_or_more_is_wanted(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut c = Chain::new();
        c.client.submit_in(&BULK_IN, 1, 512).unwrap();
        c.turn(4096).unwrap();
        c.relay.space()[..bytes.len()].copy_from_slice(&bytes);
        c.relay.commit(bytes.len());
        while let Ok(true) = c.relay.poll(c.near.replies()) {}
    }
}

fn reply(replies: &mut server::Replies, s: &Submit) {
    let data = vec![0x5a; if s.dir == Dir::In { s.length as usize } else { 0 }];
    replies.complete(s.seqnum, status::OK, s.length as usize, &[&data]);
}

#[test]
fn isochronous_packets_pass_as_they_are() {
    let mut c = Chain::new();
    let out = Submit {
        seqnum: 7,
        devid: HERE,
        dir: Dir::Out,
        ep: 3,
        flags: 0,
        length: 8,
        start_frame: 0,
        packets: 2,
        interval: 1,
        setup: [0; 8],
    };
    let payload: Vec<u8> = (0..40).collect();
    c.relay.submit(&out, &payload).unwrap();
    let mut want = Submit { devid: THERE, ..out }.to_bytes().to_vec();
    want.extend_from_slice(&payload);
    assert_eq!(c.relay.tx(), want);
    let r = RetSubmit { seqnum: 7, status: 0, actual: 8, start_frame: 3, packets: 2, errors: 1 };
    let mut back = r.to_bytes().to_vec();
    back.extend_from_slice(&payload[8..]);
    c.relay.space()[..back.len()].copy_from_slice(&back);
    c.relay.commit(back.len());
    assert_eq!(c.relay.poll(c.near.replies()), Ok(true));
    assert_eq!(c.near.tx(), back);
    assert_eq!(c.relay.open(), 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let feed = |relay: &mut Relay, near: &mut Session, h: [u8; HDR_LEN]| {
        relay.space()[..HDR_LEN].copy_from_slice(&h);
        relay.commit(HDR_LEN);
        relay.poll(near.replies())
    };
    let urb = |seqnum, dir| Submit {
        seqnum,
        devid: HERE,
        dir,
        ep: 1,
        flags: 0,
        length: 64,
        start_frame: 0,
        packets: 0,
        interval: 0,
        setup: [0; 8],
    };
    let ret = |seqnum, actual, packets| {
        RetSubmit { seqnum, status: 0, actual, start_frame: 0, packets, errors: 0 }.to_bytes()
    };
    let Chain { mut near, mut relay, .. } = Chain::new();
    relay.submit(&urb(4, Dir::In), &[]).unwrap();
    assert_eq!(relay.submit(&urb(4, Dir::In), &[]), Err(ProtoError::Sequence(4)));
    assert_eq!(relay.unlink(&Unlink { seqnum: 4, devid: HERE, victim: 4 }), Err(ProtoError::Sequence(4)));
    assert_eq!(feed(&mut relay, &mut near, ret(5, 0, 0)), Err(ProtoError::Sequence(5)));
    let mut relay = Relay::new(THERE);
    relay.submit(&urb(4, Dir::In), &[]).unwrap();
    assert_eq!(feed(&mut relay, &mut near, ret(4, 65, 0)), Err(ProtoError::Actual { asked: 64, got: 65 }));
    let mut relay = Relay::new(THERE);
    relay.submit(&urb(4, Dir::In), &[]).unwrap();
    assert_eq!(feed(&mut relay, &mut near, ret(4, 0, 1)), Err(ProtoError::TooLong(1)));
    let mut relay = Relay::new(THERE);
    relay.submit(&urb(4, Dir::In), &[]).unwrap();
    assert_eq!(
        feed(&mut relay, &mut near, RetUnlink { seqnum: 4, status: 0 }.to_bytes()),
        Err(ProtoError::Sequence(4))
    );
    let mut relay = Relay::new(THERE);
    for n in 0..MAX_OPEN as u32 {
        relay.submit(&urb(n + 1, Dir::In), &[]).unwrap();
    }
    assert!(relay.submit(&urb(0x10_0000, Dir::In), &[]).is_err());
}

#[test]
fn the_end_of_the_other_server_ends_every_urb() {
    let mut c = Chain::new();
    c.client.submit_in(&BULK_IN, 1, 512).unwrap();
    c.client.submit_out(&BULK_OUT, 2, &[1; 700], 0).unwrap();
    c.turn(4096).unwrap();
    c.client.unlink(|t, _, _| t == 1);
    c.turn(4096).unwrap();
    assert_eq!(c.relay.open(), 3);
    c.relay.abort(c.near.replies());
    assert_eq!((c.relay.open(), c.relay.tx().len()), (0, 0));
    c.turn(4096).unwrap();
    let mut ends = Vec::new();
    while let Some(e) = c.client.poll().unwrap() {
        if let Event::Done(d) = e {
            ends.push((d.token, d.status));
        }
    }
    ends.sort_unstable();
    assert_eq!(ends, [(1, status::ESHUTDOWN), (2, status::ESHUTDOWN)]);
}

#[test]
fn descriptors_that_pass_are_learned() {
    let mut c = Chain::new();
    let text = desc::string_bytes("USB Net");
    c.client.control(1, Setup::get_string(2), &[]).unwrap();
    c.turn(4096).unwrap();
    let Some((Request::Submit(s, _), replies)) = c.far.poll().unwrap() else { panic!("a URB") };
    replies.complete(s.seqnum, 0, text.len(), &[&text]);
    c.turn(4096).unwrap();
    assert_eq!(c.relay.learned().string(2).as_deref(), Some("USB Net"));
    // The head of a configuration is not the configuration.
    let config = desc::Builder::new(1, 0, 0x80, 100).finish();
    for len in [9u16, 300] {
        c.client.control(2, Setup::get_descriptor(desc::CONFIG, 0, 0, len), &[]).unwrap();
        c.turn(4096).unwrap();
        let Some((Request::Submit(s, _), replies)) = c.far.poll().unwrap() else { panic!("a URB") };
        let mut b = config.clone();
        if len == 9 {
            b[2] = 200; // says that there is more
        }
        replies.complete(s.seqnum, 0, b.len(), &[&b]);
        c.turn(4096).unwrap();
        assert_eq!(c.relay.learned().configs().count(), usize::from(len != 9));
    }
}

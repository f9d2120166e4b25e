//! A hostile client on a server's session, and a hostile server on a client.
#![no_main]

use iopkt_usbip::Dir;
use iopkt_usbip::client::{self, Client, Event};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::hdr::{Submit, Unlink};
use iopkt_usbip::op::{self, DeviceInfo, WatchEvent};
use iopkt_usbip::relay::Relay;
use iopkt_usbip::server::{self, Request, Session};
use iopkt_usbip::setup::Setup;
use libfuzzer_sys::fuzz_target;

const BULK_IN: Endpoint = Endpoint { addr: 0x81, attributes: 2, max_packet_raw: 512, interval: 0 };

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let chunk = usize::from(mode >> 2) + 1;
    match mode & 3 {
        0 => serve(data, chunk, false),
        1 => serve(data, chunk, true),
        2 if chunk > 48 => relay(data, chunk),
        2 => answer(data, chunk),
        _ => {
            let _ = (op::parse_devlist(data), op::parse_import(data), op::parse_describe(data));
            let _ = (op::parse_control(data), op::parse_watch(data), WatchEvent::parse(data));
        }
    }
});

fn serve(data: &[u8], chunk: usize, imported: bool) {
    let limits = server::Limits { transfer: 4096, rx: 8192, tx: 65_536 };
    let mut s = Session::new(limits);
    if imported {
        s.replies().imported(Ok(&DeviceInfo::default()));
    }
    for piece in data.chunks(chunk) {
        s.space()[..piece.len()].copy_from_slice(piece);
        s.commit(piece.len());
        loop {
            match s.poll() {
                Ok(Some((Request::Submit(u, d), r))) => {
                    assert_eq!(d.len(), u.payload_len());
                    r.complete(u.seqnum, 0, d.len(), &[]);
                }
                Ok(Some((Request::Unlink(u), r))) => r.unlinked(u.seqnum, false),
                Ok(Some((Request::Import(_), r))) => r.imported(Err(op::st::NODEV)),
                Ok(Some((Request::Watch, r))) => r.watching(),
                Ok(Some((_, r))) => r.control(Err("no")),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let n = s.tx().len();
        s.tx_done(n);
    }
}

/// A hostile server behind a relay.
fn relay(data: &[u8], chunk: usize) {
    let limits = server::Limits { transfer: 4096, rx: 8192, tx: 65_536 };
    let mut near = Session::new(limits);
    near.replies().imported(Ok(&DeviceInfo::default()));
    let mut r = Relay::new(1 << 16 | 2);
    for (i, piece) in data.chunks(chunk).enumerate() {
        let seqnum = i as u32 + 1;
        let ep = (i % 3) as u8;
        let (dir, packets) = (if i % 2 == 0 { Dir::In } else { Dir::Out }, u32::from(i % 7 == 6) * 2);
        let setup = Setup::get_string(1).to_bytes();
        let (length, interval, flags, start_frame) = (64, 0, 0, 0);
        let s = Submit { seqnum, devid: 9, dir, ep, flags, length, start_frame, packets, interval, setup };
        if r.submit(&s, &vec![0; s.payload_len()]).is_err() {
            return;
        }
        if i % 5 == 4 {
            let _ = r.unlink(&Unlink { seqnum: 0x1000 + seqnum, devid: 9, victim: seqnum - 1 });
        }
        r.space()[..piece.len()].copy_from_slice(piece);
        r.commit(piece.len());
        while let Ok(true) = r.poll(near.replies()) {}
        let n = near.tx().len();
        near.tx_done(n);
    }
    r.abort(near.replies());
    assert_eq!(r.open(), 0);
}

fn answer(data: &[u8], chunk: usize) {
    let limits = client::Limits { urbs: 8, transfer: 4096, tx: 65_536, rx: 8192 };
    let mut c = Client::attached(1, limits);
    let mut open = 0u32;
    for (i, piece) in data.chunks(chunk).enumerate() {
        let token = i as u32;
        let ok = match i % 3 {
            0 => c.submit_in(&BULK_IN, token, 512),
            1 => c.submit_out(&BULK_IN, token, &[0; 64], 0),
            _ => c.control(token, Setup::get_string(1), &[]),
        };
        open += u32::from(ok.is_ok());
        if i % 5 == 4 {
            c.unlink(|t, _, _| t % 2 == 0);
        }
        c.space()[..piece.len()].copy_from_slice(piece);
        c.commit(piece.len());
        loop {
            match c.poll() {
                Ok(Some(Event::Done(d))) => {
                    assert!(d.data.len() <= 512);
                    open = open.checked_sub(1).expect("a URB ended twice");
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    c.abort(|_| open -= 1);
                    assert_eq!(open, 0);
                    return;
                }
            }
        }
        let n = c.tx().len();
        c.tx_done(n);
    }
    c.abort(|_| open -= 1);
    assert_eq!(open, 0);
}

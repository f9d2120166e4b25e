//! Where transfers end: packets, zero-length packets, pending URBs, unlink, stall.

mod common;

use common::*;
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::modem::descriptors::*;
use iopkt_usbip::hdr::{URB_ZERO_PACKET, status};
use iopkt_usbip::setup::Setup;
use proptest::prelude::*;

fn up() -> Host {
    Host::up(ModemConfig::default())
}

#[test]
fn a_frame_completes_the_urb_that_waits() {
    let mut h = up();
    let (a, b) = (h.read(ECM_IN, 2048), h.read(ECM_IN, 2048));
    h.frame_in(&frame(100));
    assert_eq!(h.take(a).unwrap().data, frame(100));
    assert_eq!(h.take(b), None);
    h.frame_in(&frame(1514));
    assert_eq!(h.take(b).unwrap().data, frame(1514));
}

#[test]
fn frames_wait_for_urbs_in_order() {
    let mut h = up();
    for n in 60..80 {
        h.frame_in(&frame(n));
    }
    assert_eq!(h.frames_up(), (60..80).map(frame).collect::<Vec<_>>());
}

#[test]
fn a_frame_of_whole_packets_ends_with_a_zero_length_packet() {
    let mut h = up();
    for len in [512, 1024] {
        // In a larger URB the empty packet just ends it ...
        h.frame_in(&frame(len));
        assert_eq!(h.frames_up(), [frame(len)]);
        // ... in one that is exactly full it is a transfer of its own.
        h.frame_in(&frame(len));
        assert_eq!(h.drain(ECM_IN, len), [frame(len), vec![]]);
        // Without URB at first, and in URBs of one packet.
        h.frame_in(&frame(len));
        let pieces = h.drain(ECM_IN, 512);
        assert_eq!(pieces.concat(), frame(len));
        assert_eq!((pieces.len(), pieces.last().unwrap().len()), (len / 512 + 1, 0));
    }
    h.frame_in(&frame(1514));
    assert_eq!(h.drain(ECM_IN, 512).iter().map(Vec::len).collect::<Vec<_>>(), [512, 512, 490]);
}

#[test]
fn a_urb_that_is_no_multiple_of_the_packet_gets_babble() {
    let mut h = up();
    let n = h.read(ECM_IN, 100);
    h.frame_in(&frame(200));
    let d = h.take(n).unwrap();
    assert_eq!((d.status, d.data), (status::EOVERFLOW, frame(200)[..100].to_vec()));
    // The packet is gone, the next frame is whole.
    h.frame_in(&frame(60));
    assert_eq!(h.frames_up(), [frame(60)]);
}

#[test]
fn frames_from_the_host_end_by_short_packet_zero_packet_or_flag() {
    let mut h = up();
    h.write(ECM_OUT, &frame(100), 0);
    assert_eq!(std::mem::take(&mut h.out.frames), [frame(100)]);
    // 1024 bytes are not the end of a frame by themselves.
    h.write(ECM_OUT, &frame(1024), 0);
    assert!(h.out.frames.is_empty());
    h.write(ECM_OUT, &[], 0);
    assert_eq!(std::mem::take(&mut h.out.frames), [frame(1024)]);
    h.write(ECM_OUT, &frame(1024), URB_ZERO_PACKET);
    assert_eq!(std::mem::take(&mut h.out.frames), [frame(1024)]);
    // In pieces of one packet.
    for p in frame(1514).chunks(512) {
        h.write(ECM_OUT, p, 0);
    }
    assert_eq!(std::mem::take(&mut h.out.frames), [frame(1514)]);
}

#[test]
fn a_forgotten_zero_packet_costs_both_frames() {
    let mut h = up();
    h.write(ECM_OUT, &frame(1024), 0);
    h.write(ECM_OUT, &frame(600), 0);
    assert!(h.out.frames.is_empty(), "1624 bytes are no frame");
    assert_eq!(h.dev.function().counters().from_host_errors, 1);
    assert_eq!(h.send(&frame(60)), [frame(60)]);
}

#[test]
fn an_endless_transfer_is_bounded() {
    let mut h = up();
    for _ in 0..200 {
        h.write(ECM_OUT, &[0; 4096], 0);
    }
    h.write(ECM_OUT, &[1], 0);
    assert!(h.out.frames.is_empty());
    assert_eq!(h.dev.function().counters().from_host_errors, 1);
    assert_eq!(h.send(&frame(60)), [frame(60)]);
}

#[test]
fn unlink_takes_exactly_one_urb() {
    let mut h = up();
    let (a, b, c) = (h.read(ECM_IN, 2048), h.read(ECM_IN, 2048), h.read(ECM_IN, 2048));
    assert!(h.dev.unlink(b));
    assert!(!h.dev.unlink(b), "not twice");
    h.frame_in(&frame(60));
    h.frame_in(&frame(61));
    assert_eq!(h.take(a).unwrap().data, frame(60));
    assert_eq!(h.take(b), None);
    assert_eq!(h.take(c).unwrap().data, frame(61));
    assert!(!h.dev.unlink(a), "it has ended");
}

#[test]
fn a_halt_answers_stall_until_it_is_cleared() {
    let mut h = up();
    let (a, b) = (h.read(ECM_IN, 2048), h.read(ECM_IN, 2048));
    h.fault("stall ep=0x81");
    assert_eq!(h.take(a).unwrap().status, status::EPIPE);
    assert_eq!(h.take(b).unwrap().status, status::EPIPE);
    let c = h.read(ECM_IN, 2048);
    assert_eq!(h.take(c).unwrap().status, status::EPIPE);
    assert_eq!(h.ok(Setup::endpoint_status(ECM_IN), &[]), [1, 0]);
    h.frame_in(&frame(60)); // waits behind the halt
    h.ok(Setup::clear_halt(ECM_IN), &[]);
    assert_eq!(h.frames_up(), [frame(60)]);

    h.fault("stall ep=1");
    assert_eq!(h.write(ECM_OUT, &frame(60), 0).status, status::EPIPE);
    h.ok(Setup::clear_halt(ECM_OUT), &[]);
    assert_eq!(h.send(&frame(60)), [frame(60)]);
    h.stalls(Setup::clear_halt(0x8f), &[]);
}

#[test]
fn a_host_that_does_not_fetch_loses_frames_not_memory() {
    let mut h = up();
    let queue = iopkt_gadget::device::IN_QUEUE;
    for _ in 0..queue + 10 {
        h.frame_in(&frame(60));
    }
    assert_eq!(h.dev.frame_room(h.now), 0);
    assert_eq!(h.dev.function().counters().no_buffer, 10);
    assert_eq!(h.frames_up().len(), queue);
}

#[test]
fn too_many_urbs_are_refused() {
    let mut h = up();
    for _ in 0..iopkt_gadget::pipe::MAX_URBS {
        h.read(ECM_IN, 512);
    }
    let n = h.read(ECM_IN, 512);
    assert_eq!(h.take(n).unwrap().status, status::ENOMEM);
}

proptest! {
    /// Whatever the sizes of frames and URBs, frames arrive whole and in order.
    #[test]
    fn frames_survive_any_urb_size(
        lens in proptest::collection::vec(14usize..1515, 1..40),
        packets in 1usize..5,
        early in 0usize..20,
    ) {
        let mut h = up();
        let mut urbs: Vec<u32> = (0..early).map(|_| h.read(ECM_IN, packets * 512)).collect();
        for len in &lens {
            h.frame_in(&frame(*len));
        }
        let mut got: Vec<Vec<u8>> = urbs.drain(..).filter_map(|u| h.take(u)).map(|d| d.data).collect();
        got.extend(h.drain(ECM_IN, packets * 512));
        let mut whole = Vec::new();
        let mut part = Vec::new();
        for piece in got {
            let full = piece.len() == packets * 512;
            part.extend(piece);
            if !full {
                whole.push(std::mem::take(&mut part));
            }
        }
        prop_assert_eq!(whole, lens.iter().map(|l| frame(*l)).collect::<Vec<_>>());
    }
}

//! The Ethernet function: filters, link, counters.

mod common;

use common::*;
use iopkt_base::Duration;
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::modem::descriptors::*;
use iopkt_usbip::cdc::{self, Notification, filter, stat};
use iopkt_usbip::setup::Setup;

fn to(dst: [u8; 6]) -> Vec<u8> {
    let mut f = frame(60);
    f[..6].copy_from_slice(&dst);
    f
}

const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 5];
const OTHER_GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 6];
const STRANGER: [u8; 6] = [2, 9, 9, 9, 9, 9];

/// Which of these destinations pass: ourselves, broadcast, GROUP, OTHER_GROUP, STRANGER.
fn passing(h: &mut Host) -> [bool; 5] {
    [MAC, [0xff; 6], GROUP, OTHER_GROUP, STRANGER].map(|d| {
        h.frame_in(&to(d));
        h.frames_up() == [to(d)]
    })
}

#[test]
fn the_packet_filter_is_honoured() {
    let mut h = Host::up(ModemConfig::default());
    assert_eq!(passing(&mut h), [true, true, true, true, false], "before any filter");
    let mut with = |bits| {
        h.ok(cdc::set_packet_filter(ECM_CONTROL, bits), &[]);
        passing(&mut h)
    };
    assert_eq!(with(0), [false; 5]);
    assert_eq!(with(filter::DIRECTED), [true, false, false, false, false]);
    assert_eq!(with(filter::BROADCAST), [false, true, false, false, false]);
    assert_eq!(with(filter::ALL_MULTICAST), [false, false, true, true, false]);
    assert_eq!(with(filter::PROMISCUOUS), [true; 5]);
    assert_eq!(with(filter::MULTICAST), [false; 5]);
    h.ok(cdc::set_multicast_filters(ECM_CONTROL, 1), &GROUP);
    assert_eq!(passing(&mut h), [false, false, true, false, false]);
    // Setting 0 restores what was there in the beginning.
    h.ok(Setup::set_interface(ECM_DATA, 0), &[]);
    h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
    assert_eq!(passing(&mut h), [true, true, true, true, false]);
}

#[test]
fn bad_multicast_lists_stall() {
    let mut h = Host::up(ModemConfig::default());
    h.stalls(cdc::set_multicast_filters(ECM_CONTROL, 2), &GROUP);
    h.stalls(cdc::set_multicast_filters(ECM_CONTROL, 65), &[1; 390]);
    h.ok(cdc::set_multicast_filters(ECM_CONTROL, 0), &[]);
}

#[test]
fn statistics() {
    let mut h = Host::up(ModemConfig::default());
    h.send(&frame(60));
    h.send(&frame(60));
    h.write(ECM_OUT, &[1, 2, 3], 0);
    h.frame_in(&frame(60));
    h.frame_in(&frame(60)[..10]);
    let mut get = |s| u32::from_le_bytes(h.ok(cdc::get_statistic(ECM_CONTROL, s), &[]).try_into().unwrap());
    assert_eq!([get(stat::XMIT_OK), get(stat::XMIT_ERROR)], [2, 1]);
    assert_eq!([get(stat::RCV_OK), get(stat::RCV_ERROR), get(stat::RCV_NO_BUFFER)], [1, 1, 0]);
    h.stalls(cdc::get_statistic(ECM_CONTROL, 0x1d), &[]);
}

#[test]
fn unknown_requests_stall() {
    let mut h = Host::up(ModemConfig::default());
    h.stalls(Setup { request_type: 0x21, request: 0x41, value: 0, index: 0, length: 0 }, &[]);
    h.stalls(Setup { request_type: 0x40, request: 1, value: 0, index: 0, length: 0 }, &[]);
    h.stalls(Setup { request_type: 0x21, request: 0x43, value: 0, index: 9, length: 0 }, &[]);
}

#[test]
fn the_call_is_the_link() {
    let mut h = Host::up(ModemConfig { auto_call: false, ..ModemConfig::default() });
    h.frame_in(&frame(60));
    assert!(h.frames_up().is_empty());
    assert!(h.send(&frame(60)).is_empty(), "without a call nothing leaves");
    assert_eq!(h.dev.function().counters().no_carrier, 1);
    assert!(h.at("ATE0D*99#\r").contains("CONNECT"));
    let up = [
        Notification::NetworkConnection(true),
        Notification::SpeedChange { down: 100_000_000, up: 50_000_000 },
    ];
    assert_eq!(h.notes(), up);
    h.frame_in(&frame(60));
    assert_eq!(h.frames_up(), [frame(60)]);
    assert_eq!(h.send(&frame(60)), [frame(60)]);
    h.at("ATH\r");
    assert_eq!(h.notes(), [Notification::NetworkConnection(false)]);
    h.frame_in(&frame(60));
    assert!(h.frames_up().is_empty());
}

#[test]
fn losing_the_network_and_finding_it() {
    let mut h = Host::up(ModemConfig::default());
    assert_eq!(h.at("ATE0D*99#\r"), "ATE0D*99#\r\r\nCONNECT\r\n");
    h.dev.with(h.now, &mut h.out, |m, io| m.with_radio(io, |r| r.leave()));
    assert_eq!(h.notes(), [Notification::NetworkConnection(false)]);
    assert_eq!(h.heard(), "\r\nNO CARRIER\r\n", "who dialled is told");
    let now = h.now;
    h.dev.with(h.now, &mut h.out, |m, io| m.with_radio(io, |r| r.search(now)));
    assert!(h.notes().is_empty(), "still searching");
    h.wait(Duration::from_secs(1));
    assert_eq!(h.notes()[0], Notification::NetworkConnection(true));
}

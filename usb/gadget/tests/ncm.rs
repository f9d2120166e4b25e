//! The NCM function: its requests, when they are allowed, what resets them; blocks both ways.

mod common;

use common::*;
use iopkt_gadget::modem::descriptors::{ECM_CONTROL, ECM_DATA, ECM_IN, ECM_OUT};
use iopkt_gadget::modem::{ModemConfig, NcmConfig};
use iopkt_usbip::ncm::{self, Block, Builder, Format, Parameters, Shape, req};
use iopkt_usbip::setup::Setup;

fn ncm_host() -> Host {
    let mut h = Host::new(ModemConfig { ncm: Some(NcmConfig::default()), ..ModemConfig::default() });
    h.ok(Setup::set_configuration(1), &[]);
    h
}

fn get(h: &mut Host, request: u8, length: u16) -> Vec<u8> {
    h.ok(Setup { request_type: 0xa1, request, value: 0, index: u16::from(ECM_CONTROL), length }, &[])
}

fn on(h: &mut Host, alt: u8) {
    h.ok(Setup::set_interface(ECM_DATA, alt), &[]);
}

/// Lets a block that has collected leave.
fn settle(h: &mut Host) {
    h.wait(iopkt_base::Duration::ZERO);
}

#[test]
fn requests_have_their_ranges_and_leaving_the_setting_resets_them() {
    let mut h = ncm_host();
    let p = Parameters::parse(&h.ok(ncm::get_parameters(ECM_CONTROL), &[])).expect("28 bytes");
    assert_eq!(p, Parameters::default());
    h.ok(ncm::set_format(ECM_CONTROL, Format::Ntb32), &[]);
    h.ok(ncm::set_crc_mode(ECM_CONTROL, true), &[]);
    for (size, good) in [(2047, false), (2048, true), (16_385, false), (4096, true)] {
        let (s, d) = ncm::set_input_size(ECM_CONTROL, 0, size);
        if good { drop(h.ok(s, &d)) } else { h.stalls(s, &d) }
    }
    let (s, d) = ncm::set_max_datagram(ECM_CONTROL, 1400);
    h.ok(s, &d);
    let (s, d) = ncm::set_max_datagram(ECM_CONTROL, 9000);
    h.stalls(s, &d);
    let all = |h: &mut Host| {
        [
            get(h, req::GET_NTB_FORMAT, 2),
            get(h, req::GET_CRC_MODE, 2),
            get(h, req::GET_NTB_INPUT_SIZE, 4),
            get(h, req::GET_MAX_DATAGRAM_SIZE, 2),
        ]
    };
    let set = [vec![1, 0], vec![1, 0], 4096u32.to_le_bytes().to_vec(), 1400u16.to_le_bytes().to_vec()];
    assert_eq!(all(&mut h), set);
    on(&mut h, 1);
    assert_eq!(all(&mut h), set, "kept by the setting with the endpoints");
    h.stalls(ncm::set_format(ECM_CONTROL, Format::Ntb16), &[]);
    h.stalls(ncm::set_crc_mode(ECM_CONTROL, false), &[]);
    on(&mut h, 0);
    let def = [vec![0, 0], vec![0, 0], 16_384u32.to_le_bytes().to_vec(), 1514u16.to_le_bytes().to_vec()];
    assert_eq!(all(&mut h), def);
    h.stalls(ncm::set_crc_mode(ECM_CONTROL, false).with_value(2), &[]);
    h.stalls(
        Setup { request_type: 0x21, request: req::SET_NET_ADDRESS, value: 0, index: 0, length: 6 },
        &[0; 6],
    );
}

trait WithValue {
    fn with_value(self, v: u16) -> Setup;
}

impl WithValue for Setup {
    fn with_value(self, v: u16) -> Setup {
        Setup { value: v, ..self }
    }
}

#[test]
fn frames_that_come_together_leave_together() {
    let mut h = ncm_host();
    on(&mut h, 1);
    let list = [frame(60), frame(1514), frame(100)];
    list.iter().for_each(|f| h.frame_in(f));
    settle(&mut h);
    let blocks = h.drain(ECM_IN, 16_384);
    assert_eq!(blocks.len(), 1);
    let got: Vec<Vec<u8>> = Block::parse(&blocks[0])
        .expect("a block")
        .datagrams(1514)
        .map(|d| d.expect("good").to_vec())
        .collect();
    assert_eq!(got, list);
    assert!(h.drain(ECM_IN, 16_384).is_empty(), "once");
}

#[test]
fn blocks_of_the_host_are_held_to_what_was_agreed_on() {
    let mut h = ncm_host();
    on(&mut h, 1);
    let p = Parameters::default();
    let mut block = |shape: Shape| {
        let mut b = Builder::new(shape);
        let mut out = Vec::new();
        b.add(&mut out, &frame(60));
        b.add(&mut out, &frame(99));
        b.finish(&mut out);
        h.write(ECM_OUT, &out, 0);
        std::mem::take(&mut h.out.frames).len()
    };
    let good = Shape::out(&p, Format::Ntb16, false, 16_384, 512);
    assert_eq!(block(good), 2);
    assert_eq!(block(Shape { remainder: 1, ..good }), 0, "misaligned");
    assert_eq!(block(Shape { format: Format::Ntb32, ..good }), 0, "of another width");
    let b = h.dev.function().block_counters().expect("blocks");
    assert_eq!((b.from_host, b.from_host_most), (3, 2));
    h.write(ECM_OUT, b"no block at all", 0);
    assert_eq!(h.dev.function().block_counters().expect("blocks").bad, 1);
    assert_eq!(h.dev.function().counters().from_host_errors, 5);
}

#[test]
fn an_ecm_modem_has_none_of_this() {
    let mut h = Host::up(ModemConfig::default());
    h.stalls(ncm::get_parameters(ECM_CONTROL), &[]);
    assert!(iopkt_gadget::faults::parse(&["ntb", "bad=nothing"]).is_err());
    let f = iopkt_gadget::faults::parse(&["ntb", "bad=crc"]).expect("known");
    assert!(h.dev.fault(h.now, &f, &mut h.out).is_err());
}

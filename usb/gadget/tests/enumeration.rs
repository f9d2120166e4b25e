//! What a host does with a device before it uses it.

mod common;

use common::*;
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::modem::descriptors::*;
use iopkt_usbip::cdc::{self, Notification};
use iopkt_usbip::desc::{self, Config, Device};
use iopkt_usbip::hdr::status;
use iopkt_usbip::op::speed;
use iopkt_usbip::setup::{Setup, rt};

#[test]
fn descriptors_are_whole_and_agree() {
    let mut h = Host::new(ModemConfig::default());
    let d = Device::parse(&h.ok(Setup::get_descriptor(desc::DEVICE, 0, 0, 18), &[])).unwrap();
    assert_eq!((d.vendor, d.product, d.configs, d.max_packet0), (0x1d6b, 0x0104, 1, 64));
    let head = h.ok(Setup::get_descriptor(desc::CONFIG, 0, 0, 9), &[]);
    assert_eq!(head.len(), 9, "cut to what was asked for");
    let total = Config::parse(&head).unwrap().total_len;
    let config = h.ok(Setup::get_descriptor(desc::CONFIG, 0, 0, 4096), &[]);
    assert_eq!(config.len(), usize::from(total));
    assert_eq!(desc::iter(&config).map(<[u8]>::len).sum::<usize>(), config.len());
    for s in desc::settings(&config) {
        assert_eq!(s.endpoints().count(), usize::from(s.interface.endpoints));
    }
    let ecm = cdc::functions(&config, cdc::SUBCLASS_ECM).next().unwrap();
    assert_eq!((ecm.control, ecm.data, ecm.data_alt, ecm.has_alts), (ECM_CONTROL, ECM_DATA, 1, true));
    let eth = ecm.ethernet.unwrap();
    assert_eq!(eth.max_segment, 1514);
    let mac = desc::string(&h.ok(Setup::get_string(eth.mac_str), &[])).unwrap();
    assert_eq!(cdc::parse_mac(&mac), Some(MAC));
    assert!(mac.bytes().all(|c| !c.is_ascii_lowercase()));
    let acm = cdc::functions(&config, cdc::SUBCLASS_ACM).next().unwrap();
    assert_eq!((acm.control, acm.data, acm.has_alts), (ACM_CONTROL, ACM_DATA, false));
    // What lists and watchers are told is the same.
    let all = h.dev.describe();
    assert_eq!(all.device(), Some(d));
    assert_eq!(all.configs().next(), Some(&config[..]));
    assert_eq!(all.string(eth.mac_str), Some(mac));
    let info = h.dev.info("/x", "1-1", 1, 2);
    assert_eq!((info.interfaces.len(), info.speed, info.devid()), (4, speed::HIGH, 0x10002));
}

#[test]
fn strings_that_are_not_there_stall() {
    let mut h = Host::new(ModemConfig::default());
    assert_eq!(h.ok(Setup::get_string(0), &[]), [4, 3, 9, 4]);
    h.stalls(Setup::get_string(99), &[]);
    h.stalls(Setup::get_descriptor(desc::CONFIG, 1, 0, 9), &[]);
    h.stalls(Setup::get_descriptor(77, 0, 0, 9), &[]);
}

#[test]
fn configuration_and_interfaces() {
    let mut h = Host::new(ModemConfig::default());
    let get = Setup { request_type: rt::IN, request: 8, value: 0, index: 0, length: 1 };
    let get_alt =
        |i| Setup { request_type: rt::IN | rt::INTERFACE, request: 10, value: 0, index: i, length: 1 };
    assert_eq!(h.ok(get, &[]), [0]);
    h.stalls(Setup::set_interface(ECM_DATA, 1), &[]);
    h.stalls(get_alt(1), &[]);
    h.stalls(Setup::set_configuration(2), &[]);
    h.ok(Setup::set_configuration(1), &[]);
    assert_eq!(h.ok(get, &[]), [1]);
    assert_eq!(h.ok(get_alt(1), &[]), [0]);
    h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
    assert_eq!(h.ok(get_alt(1), &[]), [1]);
    h.stalls(Setup::set_interface(ECM_DATA, 2), &[]);
    h.stalls(Setup::set_interface(9, 0), &[]);
    h.ok(Setup::set_configuration(0), &[]);
    assert_eq!(h.ok(get, &[]), [0]);
}

#[test]
fn endpoints_work_only_in_their_setting() {
    let mut h = Host::new(ModemConfig::default());
    let n = h.read(ECM_IN, 2048);
    assert_eq!(h.take(n).unwrap().status, status::ENOENT);
    h.ok(Setup::set_configuration(1), &[]);
    let n = h.read(ECM_IN, 2048);
    assert_eq!(h.take(n).unwrap().status, status::ENOENT, "setting 0 has no endpoints");
    assert_eq!(h.write(ECM_OUT, &frame(60), 0).status, status::ENOENT);
    h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
    let n = h.read(ECM_IN, 2048);
    assert_eq!(h.take(n), None);
    // Leaving the setting ends what waits there; an endpoint that is nowhere is refused.
    h.ok(Setup::set_interface(ECM_DATA, 0), &[]);
    assert_eq!(h.take(n).unwrap().status, status::ESHUTDOWN);
    let n = h.read(0x8f, 64);
    assert_eq!(h.take(n).unwrap().status, status::ENOENT);
}

#[test]
fn selecting_the_data_setting_tells_link_and_speed() {
    let mut h = Host::new(ModemConfig::default());
    h.ok(Setup::set_configuration(1), &[]);
    assert_eq!(h.notes(), [Notification::NetworkConnection(false)]);
    h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
    let up = [
        Notification::NetworkConnection(true),
        Notification::SpeedChange { down: 100_000_000, up: 50_000_000 },
    ];
    assert_eq!(h.notes(), up);
    let mut h = Host::new(ModemConfig { auto_call: false, ..ModemConfig::default() });
    h.ok(Setup::set_configuration(1), &[]);
    h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
    assert_eq!(h.notes(), [Notification::NetworkConnection(false); 2]);
}

#[test]
fn a_lost_host_leaves_a_reset_device() {
    let mut h = Host::up(ModemConfig::default());
    let n = h.read(ECM_IN, 2048);
    h.dev.detach();
    assert_eq!(h.dev.configuration(), 0);
    assert_eq!(h.take(n), None, "nobody is there to be told");
    h.frame_in(&frame(100));
    h.ok(Setup::set_configuration(1), &[]);
    h.ok(Setup::set_interface(ECM_DATA, 1), &[]);
    assert_eq!(h.frames_up(), Vec::<Vec<u8>>::new(), "nothing from before");
}

#[test]
fn the_qualifier_and_status_requests() {
    let mut h = Host::up(ModemConfig::default());
    assert_eq!(h.ok(Setup::get_descriptor(desc::DEVICE_QUALIFIER, 0, 0, 10), &[]).len(), 10);
    let status = |t, i| Setup { request_type: rt::IN | t, request: 0, value: 0, index: i, length: 2 };
    assert_eq!(h.ok(status(rt::DEVICE, 0), &[]), [1, 0]);
    assert_eq!(h.ok(status(rt::INTERFACE, 1), &[]), [0, 0]);
    assert_eq!(h.ok(Setup::endpoint_status(ECM_IN), &[]), [0, 0]);
    h.stalls(Setup::endpoint_status(0x8f), &[]);
}

#[test]
fn isochronous_transfers_are_refused() {
    let mut h = Host::up(ModemConfig::default());
    let s = iopkt_usbip::hdr::Submit {
        seqnum: 99,
        devid: 0,
        dir: iopkt_usbip::Dir::In,
        ep: 1,
        flags: 0,
        length: 64,
        start_frame: 0,
        packets: 1,
        interval: 1,
        setup: [0; 8],
    };
    h.dev.submit(h.now, &s, &[], &mut h.out);
    assert_eq!(h.take(99).unwrap().status, status::EINVAL);
}

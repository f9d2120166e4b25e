//! Descriptors of a hostile device: the walk ends, and what it finds is usable.
#![no_main]

use iopkt_usbip::cdc::{self, Ethernet, Notification};
use iopkt_usbip::desc::{self, Config, Device};
use iopkt_usbip::op::Description;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let total: usize = desc::iter(data).map(<[u8]>::len).sum();
    assert!(total <= data.len());
    for s in desc::settings(data) {
        assert!(s.body.len() <= data.len());
        s.endpoints().for_each(|e| assert!(e.max_packet() <= 0x7ff));
    }
    for subclass in [cdc::SUBCLASS_ECM, cdc::SUBCLASS_ACM] {
        for f in cdc::functions(data, subclass) {
            assert!(f.bulk_in.is_in() && !f.bulk_out.is_in());
            assert!(f.bulk_in.max_packet() > 0 && f.bulk_out.max_packet() > 0);
            assert_eq!(f.ethernet.is_some() || subclass == cdc::SUBCLASS_ACM, true);
        }
    }
    if let Some((interface, n)) = Notification::parse(data) {
        if let (Ok(i), false) = (u8::try_from(interface), matches!(n, Notification::Other(_))) {
            let (bytes, len) = n.to_bytes(i);
            assert_eq!(Notification::parse(&bytes[..len]), Some((interface, n)));
        }
    }
    if let Some(d) = Device::parse(data) {
        assert_eq!(Device::parse(&d.to_bytes()), Some(d));
    }
    let _ = (Config::parse(data), Ethernet::parse(data), desc::string(data), cdc::union(data));
    let d = Description::parse(data);
    assert_eq!(Description::parse(&d.to_bytes()), d);
});

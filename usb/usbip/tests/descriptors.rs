//! Descriptors: real ones are understood, garbage is survived.

use iopkt_usbip::cdc::{self, Ethernet, Notification};
use iopkt_usbip::desc::{self, Builder, Config, Device, Endpoint, Interface, Transfer};
use proptest::prelude::*;

fn iface(number: u8, alt: u8, endpoints: u8, class: [u8; 3]) -> Interface {
    let [class, subclass, protocol] = class;
    Interface { number, alt, endpoints, class, subclass, protocol, name_str: 0 }
}

const ETH: Ethernet =
    Ethernet { mac_str: 5, statistics: 0, max_segment: 1514, mc_filters: 0, power_filters: 0 };

/// ECM on interfaces 0 and 1 and ACM on 2 and 3, as Linux's gadget lays them out.
fn ecm_acm(with_union: bool) -> Vec<u8> {
    let mut b = Builder::new(1, 4, 0x80, 500)
        .association(0, 2, [2, 6, 0], 0)
        .interface(iface(0, 0, 1, [2, 6, 0]))
        .class_specific(&[0, 0x10, 1]);
    if with_union {
        b = b.class_specific(&[6, 0, 1]);
    }
    b.class_specific(&ETH.body())
        .endpoint(0x82, Transfer::Interrupt, 16, 9)
        .interface(iface(1, 0, 0, [10, 0, 0]))
        .interface(iface(1, 1, 2, [10, 0, 0]))
        .endpoint(0x81, Transfer::Bulk, 512, 0)
        .endpoint(0x01, Transfer::Bulk, 512, 0)
        .association(2, 2, [2, 2, 1], 0)
        .interface(iface(2, 0, 1, [2, 2, 1]))
        .class_specific(&[6, 2, 3])
        .endpoint(0x84, Transfer::Interrupt, 10, 9)
        .interface(iface(3, 0, 2, [10, 0, 0]))
        .endpoint(0x83, Transfer::Bulk, 512, 0)
        .endpoint(0x02, Transfer::Bulk, 512, 0)
        .finish()
}

#[test]
fn functions_are_found_with_and_without_a_union() {
    for with_union in [true, false] {
        let c = ecm_acm(with_union);
        let f: Vec<_> = cdc::functions(&c, cdc::SUBCLASS_ECM).collect();
        assert_eq!(f.len(), 1);
        let f = f[0];
        assert_eq!((f.config, f.control, f.data, f.data_alt, f.has_alts), (1, 0, 1, 1, true));
        assert_eq!((f.bulk_in.addr, f.bulk_out.addr, f.notify.unwrap().addr), (0x81, 0x01, 0x82));
        assert_eq!(f.ethernet, Some(ETH));
        let a = cdc::functions(&c, cdc::SUBCLASS_ACM).next().unwrap();
        assert_eq!((a.control, a.data, a.data_alt, a.has_alts), (2, 3, 0, false));
        assert_eq!((a.bulk_in.addr, a.bulk_out.number()), (0x83, 2));
    }
    let c = Config::parse(&ecm_acm(true)).unwrap();
    assert_eq!(
        (c.interfaces, c.value, c.max_power, usize::from(c.total_len)),
        (4, 1, 250, ecm_acm(true).len())
    );
}

#[test]
fn an_ethernet_function_without_its_descriptor_or_endpoints_is_none() {
    let no_eth = Builder::new(1, 0, 0, 100)
        .interface(iface(0, 0, 0, [2, 6, 0]))
        .interface(iface(1, 0, 2, [10, 0, 0]))
        .endpoint(0x81, Transfer::Bulk, 512, 0)
        .endpoint(0x01, Transfer::Bulk, 512, 0)
        .finish();
    assert_eq!(cdc::functions(&no_eth, cdc::SUBCLASS_ECM).count(), 0);
    let no_pair = Builder::new(1, 0, 0, 100)
        .interface(iface(0, 0, 0, [2, 6, 0]))
        .class_specific(&ETH.body())
        .interface(iface(1, 0, 1, [10, 0, 0]))
        .endpoint(0x81, Transfer::Bulk, 512, 0)
        .finish();
    assert_eq!(cdc::functions(&no_pair, cdc::SUBCLASS_ECM).count(), 0);
    let empty_packets = Builder::new(1, 0, 0, 100)
        .interface(iface(0, 0, 0, [2, 6, 0]))
        .class_specific(&ETH.body())
        .interface(iface(1, 0, 2, [10, 0, 0]))
        .endpoint(0x81, Transfer::Bulk, 0, 0)
        .endpoint(0x01, Transfer::Bulk, 0, 0)
        .finish();
    assert_eq!(cdc::functions(&empty_packets, cdc::SUBCLASS_ECM).count(), 0);
}

#[test]
fn device_descriptor_round_trips() {
    let d = Device {
        usb: 0x200,
        class: 0xef,
        subclass: 2,
        protocol: 1,
        max_packet0: 64,
        vendor: 0x1d6b,
        product: 0x104,
        release: 0x100,
        manufacturer_str: 1,
        product_str: 2,
        serial_str: 3,
        configs: 1,
    };
    assert_eq!(Device::parse(&d.to_bytes()), Some(d));
    assert_eq!(Device::parse(&d.to_bytes()[..17]), None);
    let mut short = d.to_bytes();
    short[0] = 17;
    assert_eq!(Device::parse(&short), None);
}

#[test]
fn strings() {
    assert_eq!(desc::string(&desc::string_bytes("ECM ünï 𝄞")).as_deref(), Some("ECM ünï 𝄞"));
    assert_eq!(desc::string_bytes(&"x".repeat(300)).len(), 254);
    assert_eq!(desc::string(&[]), None);
    assert_eq!(desc::string(&[1, 3]), None);
    assert_eq!(desc::string(&[200, 3, b'a', 0]).as_deref(), Some("a"));
    assert_eq!(desc::string(&[4, 3, 0, 0xd8]).as_deref(), Some("\u{fffd}"));
}

#[test]
fn mac_addresses() {
    assert_eq!(cdc::parse_mac("0250F4A00001"), Some([2, 0x50, 0xf4, 0xa0, 0, 1]));
    for bad in
        ["", "0250F4A0000", "0250F4A000011", "0250F4A0000G", "+250F4A00001", "0150F4A00001", "000000000000"]
    {
        assert_eq!(cdc::parse_mac(bad), None, "{bad}");
    }
}

/// Bytes that Linux's f_ecm was seen to send.
#[test]
fn notifications_of_a_real_gadget() {
    let off = [0xa1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Notification::parse(&off), Some((0, Notification::NetworkConnection(false))));
    let speed = [0xa1, 0x2a, 0, 0, 0, 0, 8, 0, 0, 0x64, 0x19, 0, 0, 0x64, 0x19, 0];
    let change = Notification::SpeedChange { down: 0x196400, up: 0x196400 };
    assert_eq!(Notification::parse(&speed), Some((0, change)));
    assert_eq!(Notification::parse(&speed[..15]), None);
}

proptest! {
    #[test]
    fn notifications_round_trip(which in 0u8..4, a in any::<u32>(), b in any::<u32>(), i in any::<u8>()) {
        let n = match which {
            0 => Notification::NetworkConnection(a & 1 == 1),
            1 => Notification::ResponseAvailable,
            2 => Notification::SpeedChange { down: a, up: b },
            _ => Notification::SerialState(a as u16),
        };
        let (bytes, len) = n.to_bytes(i);
        prop_assert_eq!(Notification::parse(&bytes[..len]), Some((u16::from(i), n)));
    }

    #[test]
    fn garbage_is_harmless(b in proptest::collection::vec(any::<u8>(), 0..300)) {
        walk(&b);
    }

    /// Garbage that begins like a configuration gets deeper.
    #[test]
    fn damaged_configurations_are_harmless(hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), cut in any::<prop::sample::Index>()) {
        let mut c = ecm_acm(true);
        for (at, v) in hits {
            let n = c.len();
            c[at.index(n)] = v;
        }
        walk(&c);
        walk(&c[..cut.index(c.len())]);
    }
}

fn walk(b: &[u8]) {
    for s in desc::settings(b) {
        assert!(s.body.len() <= b.len());
        s.endpoints().for_each(|e: Endpoint| {
            let _ = (e.transfer(), e.max_packet());
        });
    }
    for sub in [cdc::SUBCLASS_ECM, cdc::SUBCLASS_ACM] {
        for f in cdc::functions(b, sub) {
            assert!(f.bulk_in.is_in() && !f.bulk_out.is_in() && f.bulk_in.max_packet() > 0);
        }
    }
    let _ = (Device::parse(b), desc::string(b), Notification::parse(b), Ethernet::parse(b), cdc::union(b));
}

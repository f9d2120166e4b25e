//! The listings, letter for letter.

use super::ids::Names;
use super::show::{self, Detail};
use super::stack::Device;
use super::{json, tree};
use iopkt_usbip::desc::{self, Builder, Interface, Transfer};
use iopkt_usbip::op::{Description, DeviceInfo, speed};
use proptest::prelude::*;

/// The device of the manual's example.
fn stlink() -> Device {
    let dev = desc::Device {
        usb: 0x0200,
        class: 0xef,
        subclass: 2,
        protocol: 1,
        max_packet0: 64,
        vendor: 0x483,
        product: 0x374b,
        release: 0x100,
        manufacturer_str: 1,
        product_str: 2,
        serial_str: 0,
        configs: 1,
    };
    let i =
        Interface { number: 0, alt: 0, endpoints: 2, class: 0xff, subclass: 0xff, protocol: 0, name_str: 0 };
    let config = Builder::new(1, 0, 0x80, 300)
        .interface(i)
        .class_specific(&[0x06, 0, 1])
        .endpoint(0x81, Transfer::Bulk, 64, 0)
        .endpoint(0x01, Transfer::Bulk, 64, 0)
        .finish();
    Device {
        info: DeviceInfo {
            busid: "0-1".into(),
            path: "/io-usb/sim/usb0/0-1".into(),
            busnum: 0,
            devnum: 1,
            speed: speed::FULL,
            vendor: 0x483,
            product: 0x374b,
            release: 0x100,
            class: [0xef, 2, 1],
            config: 1,
            configs: 1,
            ..DeviceInfo::default()
        },
        description: Description {
            records: vec![
                (desc::DEVICE, 0, dev.to_bytes().to_vec()),
                (desc::CONFIG, 0, config),
                (desc::STRING, 1, desc::string_bytes("STMicroelectronics")),
                (desc::STRING, 2, desc::string_bytes("STM32 STLink")),
            ],
        },
    }
}

fn listed(detail: Detail) -> String {
    let all = [stlink()];
    show::list(&[&all[0]], &all, &Names::default(), detail)
}

#[test]
fn one_v_is_the_manuals_example() {
    assert_eq!(
        listed(Detail::Device),
        "\
USB 0 (SIM) v1.11, DLL: Active
    Control, Interrupt, Bulk, Full Speed

Device Address             : 1
Upstream Host Controller   : 0
Upstream Device Address    : 0
Upstream Port              : 1
Upstream Port Speed        : Full
Vendor                     : 0x0483 (STMicroelectronics)
Product                    : 0x374b (STM32 STLink)
Device Release             : r1.00
Class                      : 0xef (Miscellaneous)
Subclass                   : 0x02
Protocol                   : 0x01
Max PacketSize0            : 64
Configurations             : 1
  Configuration            : 1
    Attributes             : 0x80 (Bus-powered)
    Max Power              : 300 mA
"
    );
}

#[test]
fn without_v_there_are_six_lines() {
    assert_eq!(
        listed(Detail::Short),
        "\
USB 0 (SIM) v1.11, DLL: Active

Device Address             : 1
Vendor                     : 0x0483 (STMicroelectronics)
Product                    : 0x374b (STM32 STLink)
Class                      : 0xef (Miscellaneous)
Subclass                   : 0x02
Protocol                   : 0x01
"
    );
    assert_eq!(show::list(&[], &[], &Names::default(), Detail::Short), "no devices\n");
}

#[test]
fn more_v_go_down_to_every_descriptor() {
    let two = listed(Detail::Interfaces);
    assert!(two.ends_with(
        "\
    Max Power              : 300 mA
    Interfaces             : 1
      Interface            : 0 / 0
        Class              : 0xff (Vendor specific)
        Subclass           : 0xff
        Protocol           : 0x00
        Endpoints          : 2
          Endpoint         : 1
            Attributes     : Bulk/IN
            Max Packet Size: 64
            Interval       : 0
          Endpoint         : 1
            Attributes     : Bulk/OUT
            Max Packet Size: 64
            Interval       : 0
"
    ));
    let three = listed(Detail::Descriptors);
    for l in [
        "        Class Specific Interface: 05 24 06 00 01\n",
        "String 1                   : STMicroelectronics\n",
        "USB Version                : 2.00\n",
        "    Configuration          : 09 02 25 00 01 01 00 80 96\n",
        "Device Descriptor          : 12 01 00 02 ef 02 01 40 83 04 4b 37 00 01 01 02 00 01\n",
    ] {
        assert!(three.contains(l), "{l:?}: {three}");
    }
    let lines = |t: &str| t.lines().count();
    assert!(lines(&three) > lines(&two) && lines(&two) > lines(&listed(Detail::Device)));
}

fn at(busid: &str, devnum: u32, class: u8) -> Device {
    let mut d = stlink();
    (d.info.busid, d.info.devnum, d.info.class[0]) = (busid.into(), devnum, class);
    d.info.busnum = 3;
    d
}

#[test]
fn a_tree_of_hubs() {
    let all = [at("3-1", 2, 9), at("3-10", 7, 0), at("3-2", 3, 0), at("3-1.4", 4, 9), at("3-1.4.1", 5, 0)];
    let shown: Vec<&Device> = all.iter().collect();
    let t = tree::tree(&shown, &all, &Names::default(), false);
    assert_eq!(
        t,
        "\
USB 3 (SIM)
  +- 2 0483:374b port 1, Full speed, Hub, STM32 STLink
    +- 4 0483:374b port 4, Full speed, Hub, STM32 STLink
      +- 5 0483:374b port 1, Full speed, Independent per interface, STM32 STLink
  +- 3 0483:374b port 2, Full speed, Independent per interface, STM32 STLink
  +- 7 0483:374b port 10, Full speed, Independent per interface, STM32 STLink
"
    );
    let list = show::list(&[&all[4]], &all, &Names::default(), Detail::Device);
    assert!(
        list.contains("Upstream Device Address    : 4\n")
            && list.contains("Upstream Port              : 1\n")
    );
}

#[test]
fn names_of_the_system_stand_in_for_missing_strings() {
    let mut d = stlink();
    d.description = Description::default();
    let names = Names::parse("0483  STMicroelectronics\n\t374b  ST-LINK/V2.1\n");
    let t = show::list(&[&d], &[], &names, Detail::Short);
    assert!(t.contains("0x0483 (STMicroelectronics)\n") && t.contains("0x374b (ST-LINK/V2.1)\n"), "{t}");
    let t = show::list(&[&d], &[], &Names::default(), Detail::Short);
    assert!(t.contains("Vendor                     : 0x0483\n"), "{t}");
}

#[test]
fn json_has_all_of_it() {
    let all = [stlink()];
    let j = json::device(&all[0], &all, &Names::default());
    assert_eq!(j["product_name"], "STM32 STLink");
    assert_eq!(j["speed"], "Full");
    assert_eq!(j["descriptors"][0]["max_power_ma"], 300);
    let e = &j["descriptors"][0]["settings"][0]["endpoints"][0];
    assert_eq!((&e["address"], &e["type"], &e["direction"]), (&0x81.into(), &"bulk".into(), &"in".into()));
}

proptest! {
    /// Descriptors are a device's word: whatever they are, the listings end.
    #[test]
    fn hostile_descriptors_are_shown(
        records in proptest::collection::vec((0u8..5, 0u8..4, proptest::collection::vec(any::<u8>(), 0..80)), 0..8),
        busid in "[0-9.-]{0,12}",
    ) {
        let mut d = stlink();
        d.info.busid = busid;
        d.description = Description { records };
        let all = [d];
        show::list(&[&all[0]], &all, &Names::default(), Detail::Descriptors);
        tree::tree(&[&all[0]], &all, &Names::default(), true);
        json::device(&all[0], &all, &Names::default());
    }
}

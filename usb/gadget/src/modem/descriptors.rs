//! What the modem is, in descriptors: the layout of Linux's gadget with an ECM and an ACM function.

use super::NcmConfig;
use alloc::vec::Vec;
use iopkt_usbip::cdc::{self, Ethernet, func, stat};
use iopkt_usbip::desc::{Builder, Device, Interface, Transfer};
use iopkt_usbip::ncm;

/// Control interface of the Ethernet function.
pub const ECM_CONTROL: u8 = 0;
/// Data interface of the Ethernet function: setting 0 without endpoints, setting 1 with them.
pub const ECM_DATA: u8 = 1;
/// Control interface of the serial function.
pub const ACM_CONTROL: u8 = 2;
/// Data interface of the serial function.
pub const ACM_DATA: u8 = 3;

/// Frames to the host.
pub const ECM_IN: u8 = 0x81;
/// Frames from the host.
pub const ECM_OUT: u8 = 0x01;
/// Notifications of the Ethernet function.
pub const ECM_NOTIFY: u8 = 0x82;
/// Answers of the AT port.
pub const ACM_IN: u8 = 0x83;
/// Commands to the AT port.
pub const ACM_OUT: u8 = 0x02;
/// Notifications of the serial function.
pub const ACM_NOTIFY: u8 = 0x84;

/// Packet size of the bulk endpoints, bytes (high speed).
pub const PACKET: u16 = 512;
/// Largest frame, Ethernet header included, without FCS.
pub const MAX_SEGMENT: u16 = 1514;
/// Multicast filters, perfect ones.
pub const MC_FILTERS: u16 = 64;

/// String indices.
#[allow(missing_docs)]
pub mod strings {
    pub const MANUFACTURER: u8 = 1;
    pub const PRODUCT: u8 = 2;
    pub const SERIAL: u8 = 3;
    pub const CONFIG: u8 = 4;
    pub const MAC: u8 = 5;
    pub const ECM: u8 = 6;
    pub const ECM_DATA: u8 = 7;
    pub const ACM: u8 = 8;
}

/// The device descriptor. Interface associations need class 0xef, 2, 1.
pub fn device(vendor: u16, product: u16) -> Device {
    Device {
        usb: 0x0200,
        class: 0xef,
        subclass: 2,
        protocol: 1,
        max_packet0: 64,
        vendor,
        product,
        release: 0x0100,
        manufacturer_str: strings::MANUFACTURER,
        product_str: strings::PRODUCT,
        serial_str: strings::SERIAL,
        configs: 1,
    }
}

fn interface(number: u8, alt: u8, endpoints: u8, class: [u8; 3], name_str: u8) -> Interface {
    let [class, subclass, protocol] = class;
    Interface { number, alt, endpoints, class, subclass, protocol, name_str }
}

/// The configuration; with `ncm` its Ethernet function is one of the network control model.
pub fn config(ncm: Option<&NcmConfig>) -> Vec<u8> {
    let subclass = if ncm.is_some() { ncm::SUBCLASS_NCM } else { cdc::SUBCLASS_ECM };
    let ecm = [cdc::CLASS_COMM, subclass, 0];
    let frames = [cdc::CLASS_DATA, 0, if ncm.is_some() { ncm::PROTOCOL_NTB } else { 0 }];
    let acm = [cdc::CLASS_COMM, cdc::SUBCLASS_ACM, 1]; // protocol 1: AT commands of V.250
    let data = [cdc::CLASS_DATA, 0, 0];
    let statistic = |n: u16| 1u32 << (n - 1);
    let ethernet = Ethernet {
        mac_str: strings::MAC,
        statistics: statistic(stat::XMIT_OK)
            | statistic(stat::RCV_OK)
            | statistic(stat::XMIT_ERROR)
            | statistic(stat::RCV_ERROR)
            | statistic(stat::RCV_NO_BUFFER),
        max_segment: MAX_SEGMENT,
        mc_filters: MC_FILTERS,
        power_filters: 0,
    };
    let header = [func::HEADER, 0x10, 0x01]; // CDC 1.10
    let b = Builder::new(1, strings::CONFIG, 0x40, 100)
        .association(ECM_CONTROL, 2, ecm, strings::ECM)
        .interface(interface(ECM_CONTROL, 0, 1, ecm, strings::ECM))
        .class_specific(&header)
        .class_specific(&[func::UNION, ECM_CONTROL, ECM_DATA])
        .class_specific(&ethernet.body());
    let b = match ncm {
        Some(n) => b.class_specific(&ncm::functional(n.caps)),
        None => b,
    };
    b.endpoint(ECM_NOTIFY, Transfer::Interrupt, 16, 9)
        .interface(interface(ECM_DATA, 0, 0, frames, 0))
        .interface(interface(ECM_DATA, 1, 2, frames, strings::ECM_DATA))
        .endpoint(ECM_IN, Transfer::Bulk, PACKET, 0)
        .endpoint(ECM_OUT, Transfer::Bulk, PACKET, 0)
        .association(ACM_CONTROL, 2, acm, strings::ACM)
        .interface(interface(ACM_CONTROL, 0, 1, acm, strings::ACM))
        .class_specific(&header)
        .class_specific(&[func::CALL_MANAGEMENT, 0, ACM_DATA])
        .class_specific(&[func::ACM, 0x02]) // line coding, line state, serial state
        .class_specific(&[func::UNION, ACM_CONTROL, ACM_DATA])
        .endpoint(ACM_NOTIFY, Transfer::Interrupt, 10, 9)
        .interface(interface(ACM_DATA, 0, 2, data, 0))
        .endpoint(ACM_IN, Transfer::Bulk, PACKET, 0)
        .endpoint(ACM_OUT, Transfer::Bulk, PACKET, 0)
        .finish()
}

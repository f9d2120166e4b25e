//! Headers and operations: what is written is read back; what is not USB/IP is refused, never a panic.

use iopkt_usbip::hdr::{Command, HDR_LEN, Reply, RetSubmit, RetUnlink, Submit, Unlink};
use iopkt_usbip::op::{self, Description, DeviceInfo, WatchEvent};
use iopkt_usbip::{Dir, ProtoError};
use proptest::prelude::*;

fn submit() -> impl Strategy<Value = Submit> {
    (any::<(u32, u32, bool, u32, u32, [u8; 8])>(), 0u8..16, 0u32..0x8000_0000, 0u32..1025).prop_map(
        |((seqnum, devid, is_in, flags, interval, setup), ep, length, packets)| Submit {
            seqnum,
            devid,
            dir: if is_in { Dir::In } else { Dir::Out },
            ep,
            flags,
            length,
            start_frame: 0,
            packets,
            interval,
            setup,
        },
    )
}

fn device() -> impl Strategy<Value = DeviceInfo> {
    (
        any::<(u32, u32, u32, u16, u16, u16, [u8; 3], u8, u8)>(),
        "[a-z0-9/.-]{0,255}",
        "[a-z0-9.-]{0,31}",
        proptest::collection::vec(any::<[u8; 3]>(), 0..8),
    )
        .prop_map(
            |(
                (busnum, devnum, speed, vendor, product, release, class, config, configs),
                path,
                busid,
                ifs,
            )| {
                DeviceInfo {
                    path,
                    busid,
                    busnum,
                    devnum,
                    speed,
                    vendor,
                    product,
                    release,
                    class,
                    config,
                    configs,
                    num_interfaces: ifs.len() as u8,
                    interfaces: ifs,
                }
            },
        )
}

proptest! {
    #[test]
    fn commands_round_trip(s in submit(), u in any::<(u32, u32, u32)>()) {
        prop_assert_eq!(Command::parse(&s.to_bytes()), Ok(Command::Submit(s)));
        let u = Unlink { seqnum: u.0, devid: u.1, victim: u.2 };
        prop_assert_eq!(Command::parse(&u.to_bytes()), Ok(Command::Unlink(u)));
    }

    #[test]
    fn replies_round_trip(seqnum in any::<u32>(), status in any::<i32>(), actual in 0u32..0x8000_0000) {
        let r = RetSubmit { seqnum, status, actual, start_frame: 1, packets: 2, errors: 3 };
        prop_assert_eq!(Reply::parse(&r.to_bytes()), Ok(Reply::Submit(r)));
        let r = RetUnlink { seqnum, status };
        prop_assert_eq!(Reply::parse(&r.to_bytes()), Ok(Reply::Unlink(r)));
    }

    #[test]
    fn garbage_headers_are_harmless(b in proptest::array::uniform32(any::<u8>()), c in any::<[u8; 16]>(), cmd in 0u8..6) {
        let mut h = [0; HDR_LEN];
        h[..32].copy_from_slice(&b);
        h[32..].copy_from_slice(&c);
        h[..4].copy_from_slice(&[0, 0, 0, cmd]);
        let _ = (Command::parse(&h), Reply::parse(&h));
    }

    #[test]
    fn lists_round_trip_and_wait_for_their_end(list in proptest::collection::vec(device(), 0..4), cut in any::<prop::sample::Index>()) {
        let mut b = op::header(op::REQ_DEVLIST & !op::REQUEST, 0).to_vec();
        b.extend_from_slice(&(list.len() as u32).to_be_bytes());
        list.iter().for_each(|d| d.write_with_interfaces(&mut b));
        prop_assert_eq!(op::parse_devlist(&b[..cut.index(b.len())]), Ok(None));
        prop_assert_eq!(op::parse_devlist(&b), Ok(Some((Ok(list), b.len()))));
    }

    #[test]
    fn events_round_trip(d in device(), kind in 0u8..3, cut in any::<prop::sample::Index>()) {
        let e = match kind {
            0 => WatchEvent::Added(d),
            1 => WatchEvent::Removed(d),
            _ => WatchEvent::Settled,
        };
        let mut b = Vec::new();
        e.write(&mut b);
        prop_assert_eq!(WatchEvent::parse(&b[..cut.index(b.len())]), Ok(None));
        prop_assert_eq!(WatchEvent::parse(&b), Ok(Some((e, b.len()))));
    }

    #[test]
    fn descriptions_round_trip(records in proptest::collection::vec(any::<(u8, u8, Vec<u8>)>(), 0..6)) {
        let d = Description { records };
        prop_assert_eq!(Description::parse(&d.to_bytes()), d);
    }

    #[test]
    fn garbage_operations_are_harmless(mut b in proptest::collection::vec(any::<u8>(), 0..700), code in 0u8..0x44) {
        let n = b.len().min(8);
        b[..n].copy_from_slice(&[1, 0x11, 0, code, 0, 0, 0, 0][..n]);
        let _ = (op::parse_devlist(&b), op::parse_import(&b), op::parse_describe(&b), op::parse_control(&b));
        let _ = (WatchEvent::parse(&b), Description::parse(&b));
    }
}

#[test]
fn limits_are_kept() {
    let mut b = op::header(op::REQ_DEVLIST & !op::REQUEST, 0).to_vec();
    b.extend_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(op::parse_devlist(&b), Err(ProtoError::TooLong(u32::MAX)));
    let mut b = op::header(op::REQ_CONTROL & !op::REQUEST, 0).to_vec();
    b.extend_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(op::parse_control(&b), Err(ProtoError::TooLong(u32::MAX)));
    let mut h = [0u8; HDR_LEN];
    (h[3], h[19]) = (1, 16);
    assert_eq!(Command::parse(&h), Err(ProtoError::Endpoint(16)));
    (h[15], h[19]) = (2, 1);
    assert_eq!(Command::parse(&h), Err(ProtoError::Direction(2)));
    (h[15], h[24]) = (1, 0x80);
    assert_eq!(Command::parse(&h), Err(ProtoError::TooLong(0x8000_0000)));
}

/// A header as the Linux kernel's own documentation shows it (usbip_protocol.rst, its example of a CMD_SUBMIT
/// with GET_DESCRIPTOR): the layout is theirs, not only ours both ways.
#[test]
fn the_kernels_example_is_read() {
    let mut h = [0u8; HDR_LEN];
    h[..20].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0x0d, 0x05, 0, 1, 0, 0x0f, 0, 0, 0, 1, 0, 0, 0, 0]);
    h[20..28].copy_from_slice(&[0, 0, 2, 0, 0, 0, 0, 0x40]);
    h[32..36].copy_from_slice(&[0xff; 4]);
    h[36..40].copy_from_slice(&[0, 0, 0, 4]);
    h[40..].copy_from_slice(&[0x80, 6, 0, 1, 0, 0, 0x40, 0]);
    let Ok(Command::Submit(s)) = Command::parse(&h) else { panic!("not a submit") };
    assert_eq!((s.seqnum, s.devid, s.dir, s.ep), (0xd05, 0x1000f, Dir::In, 0));
    assert_eq!((s.flags, s.length, s.packets, s.interval), (0x200, 0x40, 0, 4));
    assert_eq!(s.setup, [0x80, 6, 0, 1, 0, 0, 0x40, 0]);
}

#[test]
fn a_refused_import_and_a_wrong_version() {
    assert_eq!(op::parse_import(&op::header(3, op::st::DEV_BUSY)), Ok(Some((Err(op::st::DEV_BUSY), 8))));
    assert_eq!(op::parse_import(&[1, 6, 0, 3, 0, 0, 0, 0]), Err(ProtoError::Version(0x106)));
    assert_eq!(op::parse_import(&op::header(5, 0)), Err(ProtoError::Operation(5)));
}

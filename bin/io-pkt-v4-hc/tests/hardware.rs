//! What ifconfig sets reaches the driver: capabilities, media; and what a driver refuses is refused.

mod common;

use common::{Stack, address_and_neighbour, until};
use iopkt_base::Errno;
use iopkt_client::UdpSocket;
use iopkt_ctl::{IFCAP_IP4CSUM, IFCAP_TCP4CSUM, IFCAP_UDP4CSUM, IFM_ETHER, IFM_FDX, Ifconf, Reply, Request};
use std::net::Ipv4Addr;

const NAME: &str = "smp0";

fn iface(s: &Stack) -> Ifconf {
    s.interfaces().into_iter().find(|i| i.name == NAME).unwrap()
}

/// What the driver itself says.
fn field(s: &Stack, label: &str) -> String {
    match s.ctl(&Request::NicInfo { name: Some(NAME.into()) }) {
        Reply::NicInfo(l) => l[0].fields.iter().find(|f| f.0 == label).unwrap().1.clone(),
        other => panic!("{other:?}"),
    }
}

fn set_caps(s: &Stack, rx: u32, tx: u32) -> Reply {
    s.ctl(&Request::SetCaps { name: NAME.into(), rx, tx })
}

fn send(s: &Stack, n: u64) {
    let session = s.session();
    let u = UdpSocket::bind(&session, "0.0.0.0:0".parse().unwrap()).unwrap();
    let before = iface(s).counters.opackets;
    for k in 0..n {
        u.send_to(&vec![k as u8; 100 + k as usize], (Ipv4Addr::new(10, 3, 0, 9), 9).into()).unwrap();
    }
    until("the frames have left", || iface(s).counters.opackets >= before + n);
}

fn network(s: &Stack) {
    address_and_neighbour(s, NAME, Ipv4Addr::new(10, 3, 0, 1), Ipv4Addr::new(10, 3, 0, 9));
    // Before, the stack would throw frames away: the device says that its link is down until it is started.
    until("the link is up", || iface(s).link == iopkt_ctl::LinkState::Up);
}

#[test]
fn capabilities_reach_the_driver() {
    for threads in [1, 2] {
        // With two threads, the second device is not on the stack's.
        let first = if threads == 2 { "-d sample name=st " } else { "" };
        let s = Stack::start(&format!("-t{threads} {first}-d sample caps"));
        s.wait_interfaces(1 + threads);
        network(&s);
        s.up(NAME);
        let all = IFCAP_IP4CSUM | IFCAP_TCP4CSUM | IFCAP_UDP4CSUM;
        assert_eq!((iface(&s).caps_rx, iface(&s).caps_tx, iface(&s).enabled_tx), (all, all, 0));
        // Off at the start: the stack completes each checksum itself.
        send(&s, 20);
        assert_eq!((field(&s, "Capabilities").as_str(), field(&s, "Checksums").as_str()), ("0 0", "0 0"));
        // What the hardware does not have is refused, and nothing changes.
        let e = set_caps(&s, 0, iopkt_ctl::IFCAP_TSO4);
        assert!(matches!(e, Reply::Err { errno: Errno::EINVAL, .. }), "{e:?}");
        assert_eq!(set_caps(&s, IFCAP_IP4CSUM, IFCAP_UDP4CSUM), Reply::Ok);
        until("the driver knows", || field(&s, "Capabilities") == "0x1 0x4");
        assert_eq!((iface(&s).enabled_rx, iface(&s).enabled_tx), (IFCAP_IP4CSUM, IFCAP_UDP4CSUM));
        send(&s, 20);
        until("the driver has completed 20 checksums", || field(&s, "Checksums") == "20 0");
        // Off again.
        assert_eq!(set_caps(&s, 0, 0), Reply::Ok);
        until("the driver knows", || field(&s, "Capabilities") == "0 0");
        send(&s, 20);
        assert_eq!(field(&s, "Checksums"), "20 0");
    }
}

/// Frames that were on their way when the capability was disabled get their checksums from the stack.
#[test]
fn disabling_a_capability_under_traffic_leaves_no_frame_unfinished() {
    for threads in [1, 2] {
        let first = if threads == 2 { "-d sample name=st " } else { "" };
        let s = Stack::start(&format!("-t{threads} {first}-d sample caps,slow"));
        s.wait_interfaces(1 + threads);
        network(&s);
        s.up(NAME);
        let session = s.session();
        let u = UdpSocket::bind(&session, "0.0.0.0:0".parse().unwrap()).unwrap();
        for k in 0..200u32 {
            let _ = u.send_to(&[k as u8; 300], (Ipv4Addr::new(10, 3, 0, 9), 9).into());
            if k % 10 == 0 {
                let on = if k % 20 == 0 { IFCAP_UDP4CSUM } else { 0 };
                assert_eq!(set_caps(&s, 0, on), Reply::Ok);
            }
        }
        until("the frames have come back", || iface(&s).counters.ipackets >= 190);
        let done = field(&s, "Checksums");
        assert!(done.ends_with(" 0"), "{done}");
    }
}

#[test]
fn a_refused_change_is_taken_back() {
    for threads in [1, 2] {
        let first = if threads == 2 { "-d sample name=st " } else { "" };
        let s = Stack::start(&format!("-t{threads} {first}-d sample caps,media,refuse=caps"));
        s.wait_interfaces(1 + threads);
        assert_eq!(set_caps(&s, 0, IFCAP_UDP4CSUM), Reply::Ok);
        until("it is disabled again", || iface(&s).enabled_tx == 0);
        until("the log says so", || s.dir.logged("smp0: capabilities: the driver says"));
    }
    let s = Stack::start("-d sample media,refuse=media");
    s.wait_interfaces(2);
    assert_eq!(s.ctl(&Request::SetMedia { name: NAME.into(), media: IFM_ETHER | 6 | IFM_FDX }), Reply::Ok);
    until("the medium is as it was", || iface(&s).media_now == IFM_ETHER);
    until("the log says so", || s.dir.logged("smp0: media: the driver says"));
}

#[test]
fn media_reach_the_driver() {
    let s = Stack::start("-d sample media -d sample name=none");
    s.wait_interfaces(3);
    let (fast, slow) = (IFM_ETHER | 6 | IFM_FDX, IFM_ETHER | 3 | iopkt_ctl::IFM_HDX);
    assert_eq!(iface(&s).media_words, [IFM_ETHER, fast, slow]);
    assert!(iface(&s).media && iface(&s).media_now == IFM_ETHER && field(&s, "Medium") == "0x20");
    for m in [fast, slow, IFM_ETHER] {
        assert_eq!(s.ctl(&Request::SetMedia { name: NAME.into(), media: m }), Reply::Ok);
        until("the driver knows", || field(&s, "Medium") == format!("{m:#x}"));
        assert_eq!(iface(&s).media_now, m);
    }
    // Not offered; and a driver without media.
    for (name, media) in [(NAME, IFM_ETHER | 16), ("none0", IFM_ETHER)] {
        let r = s.ctl(&Request::SetMedia { name: name.into(), media });
        assert!(matches!(r, Reply::Err { errno: Errno::EINVAL, .. }), "{r:?}");
    }
}

#[test]
fn a_driver_may_refuse_to_be_destroyed() {
    for threads in [1, 2] {
        let first = if threads == 2 { "-d sample name=st " } else { "" };
        let s = Stack::start(&format!("-t{threads} {first}-d sample keep"));
        s.wait_interfaces(1 + threads);
        match s.ctl(&Request::Destroy { name: NAME.into() }) {
            Reply::Err { errno, why } => {
                assert_eq!(errno, Errno::EBUSY);
                assert_eq!(why, "smp0: not destroyed: the cable is connected; unplug it first");
                assert!(s.dir.logged(&why));
            }
            other => panic!("{other:?}"),
        }
        assert!(s.names().contains(&NAME.to_owned()));
        s.up(NAME);
        // The end of the stack is not asked about.
        let (status, dir) = s.end(rustix::process::Signal::TERM);
        assert_eq!(status.code(), Some(0));
        assert!(!dir.logged("did not end in time"), "{:?}", dir.log());
    }
}

//! Configuration requests and interface ioctls.

mod common;
use common::{Rig, Watchdog};
use iopkt_base::Errno;
use iopkt_client::Session;
use iopkt_ctl::{Reply, Request};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Op, Req};
use std::os::fd::AsFd;

#[test]
fn shard_and_runtime_answer() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    match s.ctl(&Request::Interfaces { name: Some("lo0".into()) }).unwrap() {
        Reply::Interfaces(l) => assert_eq!(l[0].name, "lo0"),
        r => panic!("{r:?}"),
    }
    assert_eq!(s.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    match s.ctl(&Request::Loaded).unwrap() {
        Reply::Err { errno, why } => assert_eq!((errno, why.as_str()), (Errno::EOPNOTSUPP, "this is a test")),
        r => panic!("{r:?}"),
    }
}

#[test]
fn long_replies_come_in_pieces() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    // One long reply: statistics are some kilobytes, a listing of many sockets is more than one message.
    let _many: Vec<_> = (0..250).map(|_| s.socket(AF_INET, SOCK_STREAM, 0, 0).unwrap()).collect();
    let (mut cursor, mut n) = (0, 0);
    loop {
        match s.ctl(&Request::Sockets { cursor }).unwrap() {
            Reply::Sockets { list, next } => {
                n += list.len();
                cursor = next;
            }
            r => panic!("{r:?}"),
        }
        if cursor == 0 {
            break;
        }
    }
    assert!(n >= 250, "{n}");
    assert!(matches!(s.ctl(&Request::Stats).unwrap(), Reply::Stats(p) if p.counters.len() > 20));
}

#[test]
fn nonsense_is_answered_not_fatal() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = s.call(Req::new(Op::Ctl, 0), &[0xff; 40], None).unwrap();
    // Reply::Err, whose first field is the errno.
    assert!(!a.payload.is_empty());
    assert!(matches!(s.ctl(&Request::Cloners).unwrap(), Reply::Names(_)));
}

#[test]
fn no_stack_is_explained() {
    let e = Session::open_at(std::path::Path::new("/nonexistent/dev/socket")).unwrap_err();
    let text = e.to_string();
    assert!(
        text.contains("/nonexistent/dev/socket") && text.contains("io-pkt-v4-hc") && text.contains("SOCK"),
        "{text}"
    );
    let mut rig = Rig::new();
    rig.stop();
    let text = Session::open_at(&rig.path).unwrap_err().to_string();
    assert!(text.contains("gone"), "{text}");
}

#[test]
fn a_restarted_stack_is_found_again() {
    let _w = Watchdog::new(60);
    let mut rig = Rig::new();
    let s = rig.session();
    rig.stop();
    let path = rig.path.clone();
    drop(rig);
    let next = Rig::new();
    std::fs::rename(&next.path, &path).unwrap();
    s.socket(AF_INET, SOCK_STREAM, 0, 0).unwrap();
    std::fs::rename(&path, &next.path).unwrap();
}

fn ifreq(s: &Session, fd: impl AsFd, what: u32, name: &str, index: i32) -> Result<Vec<u8>, i32> {
    let mut r = Req::new(Op::Ioctl, 0);
    r.args[0] = what as i32;
    let mut ifr = [0; IFREQ_LEN];
    ifr[..name.len()].copy_from_slice(name.as_bytes());
    if what == SIOCGIFNAME {
        ifr[IFNAMSIZ..IFNAMSIZ + 4].copy_from_slice(&index.to_ne_bytes());
    }
    s.call(r, &ifr, Some(fd.as_fd())).map(|a| a.payload).map_err(|e| e.raw_os_error().unwrap())
}

#[test]
fn interface_ioctls_have_linuxs_layouts() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let fd = s.socket(AF_INET, SOCK_DGRAM, 0, 0).unwrap();
    let get = |what| ifreq(&s, &fd, what, "lo0", 0);
    let int = |v: Vec<u8>| i32::from_ne_bytes(v[IFNAMSIZ..IFNAMSIZ + 4].try_into().unwrap());
    let addr = |v: Vec<u8>| Addr::from_sockaddr(&v[IFNAMSIZ..]).unwrap().0.unwrap().ip().to_string();
    assert_eq!(addr(get(SIOCGIFADDR).unwrap()), "127.0.0.1");
    assert_eq!(addr(get(SIOCGIFNETMASK).unwrap()), "255.0.0.0");
    let index = int(get(SIOCGIFINDEX).unwrap());
    assert!(index > 0);
    let name = ifreq(&s, &fd, SIOCGIFNAME, "", index).unwrap();
    assert_eq!(&name[..4], b"lo0\0");
    let flags = int(get(SIOCGIFFLAGS).unwrap()) & 0xffff;
    assert_eq!(flags & (libc::IFF_UP | libc::IFF_LOOPBACK), libc::IFF_UP | libc::IFF_LOOPBACK);
    assert!(int(get(SIOCGIFMTU).unwrap()) >= 1500);
    assert_eq!(get(SIOCGIFHWADDR).unwrap()[IFNAMSIZ..IFNAMSIZ + 2], libc::ARPHRD_LOOPBACK.to_ne_bytes());
    assert_eq!(ifreq(&s, &fd, SIOCGIFADDR, "eth9", 0), Err(libc::ENODEV));
    // SIOCSIFHWADDR: no.
    assert_eq!(ifreq(&s, &fd, 0x8924, "lo0", 0), Err(libc::EOPNOTSUPP));
    // SIOCGIFCONF: how long, then the list, then what fits.
    let conf = |room| {
        let mut r = Req::new(Op::Ioctl, 0);
        r.args[..2].copy_from_slice(&[SIOCGIFCONF as i32, room]);
        let a = s.call(r, &[], Some(fd.as_fd())).unwrap();
        (a.rep.val[0], a.payload)
    };
    assert_eq!(conf(-1), (IFREQ_LEN as i32, vec![]));
    let (n, list) = conf(4096);
    assert_eq!((n as usize, list.len()), (IFREQ_LEN, IFREQ_LEN));
    assert_eq!(&list[..4], b"lo0\0");
    assert_eq!(conf(39), (0, vec![]));
}

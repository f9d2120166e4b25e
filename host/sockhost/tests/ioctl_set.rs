//! ioctl(2) requests that change interfaces, in Linux's spelling and in ours for those of BSD.

mod common;
use common::{Rig, Watchdog};
use iopkt_base::Errno;
use iopkt_client::Session;
use iopkt_ctl::{Ifconf, Reply, Request, iff};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Op, Req};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

struct Ioctl {
    s: Session,
    fd: OwnedFd,
}

impl Ioctl {
    fn new(rig: &Rig) -> Ioctl {
        let s = rig.session();
        let fd = s.socket(AF_INET, SOCK_DGRAM, 0, 0).unwrap();
        Ioctl { s, fd }
    }

    fn ask(&self, what: u32, name: &str, union: &[u8]) -> Result<Vec<u8>, i32> {
        let mut ifr = [0; IFREQ_LEN];
        ifr[..name.len()].copy_from_slice(name.as_bytes());
        ifr[IFNAMSIZ..IFNAMSIZ + union.len()].copy_from_slice(union);
        let req = Req { args: [what as i32, 0, 0, 0, 0], ..Req::new(Op::Ioctl, 0) };
        let r = self.s.call(req, &ifr, Some(self.fd.as_fd()));
        r.map(|a| a.payload[IFNAMSIZ..].to_vec()).map_err(|e| e.raw_os_error().unwrap_or(0))
    }

    fn ip(&self, what: u32, name: &str, a: &str) -> Result<Vec<u8>, i32> {
        let (b, n) = Addr(Some(SocketAddr::new(a.parse().unwrap(), 0))).to_sockaddr();
        self.ask(what, name, &b[..n.min(24)])
    }

    fn interface(&self, name: &str) -> Option<Ifconf> {
        match self.s.ctl(&Request::Interfaces { name: Some(name.into()) }).unwrap() {
            Reply::Interfaces(l) => l.into_iter().next(),
            _ => None,
        }
    }

    fn addrs(&self, name: &str) -> Vec<(String, u8)> {
        let i = self.interface(name).unwrap();
        i.addrs.iter().map(|a| (a.addr.to_string(), a.prefix_len)).collect()
    }
}

#[test]
fn addresses_flags_and_mtu() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let i = Ioctl::new(&rig);
    i.ask(SIOCIFCREATE, "lo1", &[]).unwrap();
    assert_eq!(i.ask(SIOCIFCREATE, "lo1", &[]), Err(Errno::EEXIST.raw()));
    i.ip(SIOCSIFADDR, "lo1", "10.9.0.1").unwrap();
    assert_eq!(i.addrs("lo1"), [("10.9.0.1".into(), 8)], "the mask of its class");
    i.ip(SIOCSIFNETMASK, "lo1", "255.255.255.0").unwrap();
    assert_eq!(i.addrs("lo1"), [("10.9.0.1".into(), 24)]);
    assert_eq!(i.ip(SIOCSIFNETMASK, "lo1", "255.0.255.0"), Err(Errno::EINVAL.raw()));
    let mut alias = [0; 24];
    let (b, _) = Addr(Some("10.9.1.1:0".parse().unwrap())).to_sockaddr();
    alias[..16].copy_from_slice(&b[..16]);
    alias[8] = 28;
    i.ask(SIOCAIFADDR, "lo1", &alias).unwrap();
    assert_eq!(i.addrs("lo1"), [("10.9.0.1".into(), 24), ("10.9.1.1".into(), 28)]);
    assert_eq!(i.ask(SIOCGIFALIAS, "lo1", &[0; 4]).unwrap()[4..8], [10, 9, 1, 1]);
    assert_eq!(i.ask(SIOCGIFALIAS, "lo1", &[1, 0, 0, 0]), Err(Errno::EADDRNOTAVAIL.raw()));
    i.ip(SIOCDIFADDR, "lo1", "10.9.1.1").unwrap();
    i.ip(SIOCSIFADDR, "lo1", "0.0.0.0").unwrap();
    assert!(i.addrs("lo1").is_empty(), "0.0.0.0 takes it away");
    // Up, and down again; what a user may not change stays.
    for (f, up) in [(1u16, iff::UP), (0, 0)] {
        i.ask(SIOCSIFFLAGS, "lo1", &f.to_ne_bytes()).unwrap();
        let now = i.interface("lo1").unwrap().flags;
        assert_eq!(now & (iff::UP | iff::LOOPBACK), up | iff::LOOPBACK);
    }
    i.ask(SIOCSIFMTU, "lo1", &9000i32.to_ne_bytes()).unwrap();
    i.ask(SIOCSIFMETRIC, "lo1", &3i32.to_ne_bytes()).unwrap();
    let now = i.interface("lo1").unwrap();
    assert_eq!((now.mtu, now.metric), (9000, 3));
    assert_eq!(i.ask(SIOCSIFMTU, "lo1", &1i32.to_ne_bytes()), Err(Errno::EINVAL.raw()));
    assert_eq!(i.ask(SIOCGIFCAP, "lo1", &[]).unwrap()[..16], [0; 16]);
    assert_eq!(i.ask(SIOCSIFCAP, "lo1", &[1; 16]), Err(Errno::EINVAL.raw()), "the hardware cannot do that");
    i.ip(SIOCADDMULTI, "lo1", "239.1.2.3").unwrap();
    let Reply::Groups(g) = i.s.ctl(&Request::Groups).unwrap() else { panic!() };
    assert!(g.iter().any(|g| g.ifname == "lo1" && g.group.to_string() == "239.1.2.3"), "{g:?}");
    i.ip(SIOCDELMULTI, "lo1", "239.1.2.3").unwrap();
    assert_eq!(i.ip(SIOCDELMULTI, "lo1", "239.1.2.3"), Err(Errno::EADDRNOTAVAIL.raw()));
    assert_eq!(i.ip(SIOCADDMULTI, "lo1", "10.1.1.1"), Err(Errno::EINVAL.raw()));
    i.ask(SIOCZIFDATA, "lo1", &[]).unwrap();
    i.ask(SIOCIFDESTROY, "lo1", &[]).unwrap();
    assert!(i.interface("lo1").is_none());
    assert_eq!(i.ask(SIOCIFDESTROY, "lo0", &[]), Err(Errno::EPERM.raw()));
    assert_eq!(i.ask(SIOCSIFMTU, "lo9", &[0; 4]), Err(Errno::ENODEV.raw()));
}

#[test]
fn what_is_not_done_is_refused_by_number() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let i = Ioctl::new(&rig);
    // SIOCSIFHWADDR, SIOCADDMULTI, SIOCGIFVLAN, SIOCBRADDBR, SIOCGIFMEDIA of an interface without media.
    for (what, errno) in [
        (0x8924, Errno::EOPNOTSUPP),
        (SIOCADDMULTI, Errno::EAFNOSUPPORT),
        (SIOCDELMULTI, Errno::EAFNOSUPPORT),
        (0x8982, Errno::EOPNOTSUPP),
        (0x89a0, Errno::EOPNOTSUPP),
        (SIOCGIFDATA, Errno::EOPNOTSUPP),
        (SIOCIFGCLONERS, Errno::EOPNOTSUPP),
        (SIOCGIFMEDIA, Errno::EINVAL),
    ] {
        assert_eq!(i.ask(what, "lo0", &[]), Err(errno.raw()), "{what:#x}");
    }
}

//! From exec to the first frame.

use crate::options::Options;
use crate::path::{FAR, NEAR};
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};
use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ETH_P_ARP: u16 = 0x0806;

pub fn measure(o: &Options) -> Result<Table, Skip> {
    programs::need(&["ip", "taskset"])?;
    let (mut tap, mut ecm, mut veth) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..o.runs {
        tap.push(over_tap());
        ecm.push(over_ecm());
        veth.push(over_veth());
    }
    let veth = Stat::new(veth);
    Ok(Table {
        title: "start to first packet".into(),
        unit: "ms",
        better: Better::Lower,
        conditions: vec![
            "from before the first exec to the first ARP frame at the kernel's end".into(),
            "io-pkt: exec io-pkt-v4-hc, load the driver, if_up -p, ifconfig, its announcement; over ecm the modem is plugged in, io-usb runs"
                .into(),
            "kernel: ip link add veth, address, up, ping's first ARP; both by a shell line, one program after the other".into(),
            format!("{} runs in turns, median (min..max), not pinned", o.runs),
        ],
        rows: vec![
            Row::beside("io-pkt, TAP", Stat::new(tap), "kernel, veth", veth.clone()),
            Row::beside("io-pkt, ecm", Stat::new(ecm), "kernel, veth", veth),
        ],
    })
}

fn quiet() -> Netns {
    let ns = Netns::new();
    ns.exec("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    ns
}

fn over_tap() -> f64 {
    let ns = quiet();
    let lab = Lab::new("bench");
    first_arp(&ns, || {
        let driver = format!("tap up,ifname=far0,netns=/run/netns/{}", ns.name);
        lab.sh(&stack(&driver, "tapk0"));
    })
}

fn over_ecm() -> f64 {
    let ns = quiet();
    let mut lab = Lab::new("bench");
    lab.spawn(&format!("ip netns exec {} io-usb --foreground -d sim far=tap:far0", ns.name));
    let limit = Duration::from_secs(20);
    lab.wait(limit, "test -S $IO_PKT_ROOT/dev/usb");
    lab.wait(limit, &format!("ip netns exec {} ip link set far0 up", ns.name));
    first_arp(&ns, || {
        lab.sh(&stack("ecm", "ecm0"));
    })
}

/// What a start script does: the stack (which comes back when it has started), wait for the interface, address. The
/// stack goes to the background and ends with the lab.
fn stack(driver: &str, ifname: &str) -> String {
    format!(
        "io-pkt-v4-hc -d {driver} >/dev/null 2>&1 && if_up -p -r 1000 -m 10 {ifname} && \
         ifconfig {ifname} {NEAR} netmask 255.255.255.0"
    )
}

fn over_veth() -> f64 {
    let (far, near) = (quiet(), quiet());
    let lab = Lab::new("bench");
    first_arp(&far, || {
        lab.sh(&format!(
            "ip -n {0} link add far0 type veth peer name near0 netns {1} && ip -n {0} link set far0 up && \
             ip -n {1} addr add {NEAR}/24 dev near0 && ip -n {1} link set near0 up && \
             {{ ip netns exec {1} {2} -c 1 -W 1 {FAR} || true; }}",
            far.name,
            near.name,
            programs::kernel_ping()
        ));
    })
}

/// Milliseconds from the begin of `start` to the first ARP frame that the kernel of `ns` sees (packet(7)).
fn first_arp(ns: &Netns, start: impl FnOnce()) -> f64 {
    let path = format!("/run/netns/{}", ns.name);
    let (ready, wait) = mpsc::channel();
    // A thread of its own, which ends with the namespace that it changed to.
    let ear = std::thread::spawn(move || {
        let fd = arp_socket(&path);
        ready.send(()).expect("the measuring thread waits");
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&limit)).expect("poll"), 1, "no ARP frame came");
        let at = Instant::now();
        let mut buf = [0u8; 128];
        let (len, _) = recv(&fd, &mut buf[..], RecvFlags::empty()).expect("a frame");
        assert!(len >= 42 && buf[12..14] == ETH_P_ARP.to_be_bytes(), "not an ARP frame");
        at
    });
    wait.recv().expect("the listening thread is there");
    let from = Instant::now();
    start();
    let at = ear.join().expect("an ARP frame came");
    at.duration_since(from).as_secs_f64() * 1e3
}

fn arp_socket(ns: &str) -> OwnedFd {
    let ns = std::fs::File::open(ns).expect("the namespace is there");
    let net = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(ns.as_fd(), net).expect("root may enter it");
    // SOCK_RAW of one protocol hears it on every interface, also on those still to come.
    let proto = NonZeroU32::new(u32::from(ETH_P_ARP.to_be())).map(Protocol::from_raw);
    socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, proto).expect("root may listen")
}

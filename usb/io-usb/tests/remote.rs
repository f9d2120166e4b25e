//! `-d usbip`: the devices of another server, given on.

mod common;

use common::{BULK_IN, BULK_OUT, Dir, Host, arp_request, text, wait_for};
use iopkt_usbip::desc;
use iopkt_usbip::op::{self, DeviceInfo, WatchEvent};
use iopkt_usbip::server::{Limits, Request, Session};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::status;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn free_port() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("127.0.0.1:{port}")
}

fn devices(path: &Path) -> Vec<DeviceInfo> {
    let mut s = UnixStream::connect(path).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    s.write_all(&op::request(op::REQ_DEVLIST)).unwrap();
    let (mut got, mut b) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((l, _)) = op::parse_devlist(&got).unwrap() {
            return l.unwrap();
        }
        let n = s.read(&mut b).unwrap();
        assert!(n > 0);
        got.extend_from_slice(&b[..n]);
    }
}

/// A watching client.
struct Watch(UnixStream, Vec<u8>);

impl Watch {
    fn new(path: &Path) -> Watch {
        let mut s = UnixStream::connect(path).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        s.write_all(&op::request(op::REQ_WATCH)).unwrap();
        s.read_exact(&mut [0; op::OP_LEN]).unwrap();
        Watch(s, Vec::new())
    }

    fn next(&mut self) -> String {
        let mut b = [0; 4096];
        loop {
            if let Some((e, n)) = WatchEvent::parse(&self.1).unwrap() {
                self.1.drain(..n);
                return match e {
                    WatchEvent::Added(d) => format!("+{}", d.busid),
                    WatchEvent::Removed(d) => format!("-{}", d.busid),
                    WatchEvent::Settled => "=".into(),
                };
            }
            // A read with a time-out ends with EINTR when the machine was frozen in it.
            let n = match self.0.read(&mut b) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                r => r.unwrap(),
            };
            assert!(n > 0, "the watch ended");
            self.1.extend_from_slice(&b[..n]);
        }
    }
}

/// Pings (by ARP) the host behind a modem.
fn arp(h: &mut Host, ip: [u8; 4]) {
    h.c.submit_in(&BULK_IN, 1, 2048).unwrap();
    h.c.submit_out(&BULK_OUT, 2, &arp_request(ip), 0).unwrap();
    let mut answers = [h.next().unwrap(), h.next().unwrap()];
    answers.sort();
    assert_eq!((answers[0].0, answers[0].1, answers[0].2.len()), (1, status::OK, 60));
    assert_eq!(answers[0].2[28..32], ip);
}

fn up(path: &Path, busid: &str) -> Host {
    let mut h = Host::import(path, busid).unwrap();
    h.control(Setup::set_configuration(1), &[]);
    h.control(Setup::set_interface(1, 1), &[]);
    h.control(iopkt_usbip::cdc::set_packet_filter(0, 1), &[]);
    h
}

#[test]
fn two_buses_at_once_and_hot_plug_from_afar() {
    let (far, near) = (Dir::new("far"), Dir::new("near"));
    let at = free_port();
    let _f = far.start(&["-d", "sim", "addr=10.0.0.1/8", "-d", "sim", "unplugged", "-l", &at]);
    // The remote bus 1 is bus 2 beside a simulated one.
    let n = near.start(&["-d", "sim", "addr=20.0.0.1/8", "-d", "usbip", &format!("host={at}")]);
    let mut w = Watch::new(&n.socket());
    let mut seen = vec![w.next(), w.next(), w.next()];
    seen.sort();
    assert_eq!(seen, ["+1-1", "+2-1", "="]);
    let list = near.ask(&["list"]);
    assert!(list.contains(&format!("2-1: 1d6b:0104 address 2, free, usbip {at} 1-1")), "{list}");

    // Both carry frames at the same time, each to its own network.
    let mut here = up(&n.socket(), "1-1");
    let mut there = up(&n.socket(), "2-1");
    arp(&mut here, [20, 0, 0, 1]);
    arp(&mut there, [10, 0, 0, 1]);
    let list = near.ask(&["list"]);
    assert!(
        list.contains(&format!("2-1: 1d6b:0104 address 2, used by process {}", std::process::id())),
        "{list}"
    );
    assert_eq!(Host::import(&n.socket(), "2-1").err(), Some(op::st::DEV_BUSY));
    assert_eq!(Host::import(&n.socket(), "9-9").err(), Some(op::st::NODEV));

    // A device plugged in there is there; one unplugged with URBs in flight ends them all, then the connection.
    far.ask(&["plug", "1-2"]);
    assert_eq!(w.next(), "+2-2");
    for t in 10..20 {
        there.c.submit_in(&BULK_IN, t, 2048).unwrap();
    }
    there.write();
    far.ask(&["unplug", "1-1"]);
    let mut ended = Vec::new();
    while let Some((t, st, _)) = there.next() {
        ended.push((t, st));
    }
    ended.sort_unstable();
    assert_eq!(ended, (10..20).map(|t| (t, status::ESHUTDOWN)).collect::<Vec<_>>());
    assert_eq!(w.next(), "-2-1");
    arp(&mut here, [20, 0, 0, 1]);
    far.ask(&["plug", "1-1"]);
    assert_eq!(w.next(), "+2-1");
    let mut there = up(&n.socket(), "2-1");
    arp(&mut there, [10, 0, 0, 1]);
    assert!(n.terminate());
}

#[test]
fn urbs_are_unlinked_afar() {
    let (far, near) = (Dir::new("far-unlink"), Dir::new("near-unlink"));
    let at = free_port();
    let _f = far.start(&["-d", "sim", "-l", &at]);
    let n = near.start(&["-d", "usbip", &at]);
    wait_for("the device", || devices(&n.socket()).len() == 1);
    // Alone, the remote bus keeps its number.
    let mut h = up(&n.socket(), "1-1");
    for t in 1..=8 {
        h.c.submit_in(&BULK_IN, t, 2048).unwrap();
    }
    assert_eq!(h.c.unlink(|t, _, _| t % 2 == 0), 4);
    let mut ends: Vec<_> = (0..4).map(|_| h.next().unwrap()).map(|e| (e.0, e.1)).collect();
    ends.sort_unstable();
    assert_eq!(ends, [2, 4, 6, 8].map(|t| (t, status::ECONNRESET)));
    // The others still wait, and get their frame.
    h.c.submit_out(&BULK_OUT, 20, &arp_request([10, 0, 0, 1]), 0).unwrap();
    let mut got = [h.next().unwrap(), h.next().unwrap()];
    got.sort();
    assert_eq!((got[0].0, got[0].1, got[1].0), (1, status::OK, 20));
    // Errors of the device come through: a stall, and a request that it does not know.
    far.ask(&["fault", "stall", "ep=0x81"]);
    let stalled = h.next().unwrap();
    assert_eq!((stalled.0, stalled.1), (3, status::EPIPE));
    h.c.control(77, Setup::get_descriptor(0x7f, 0, 0, 10), &[]).unwrap();
    loop {
        let (t, st, _) = h.next().unwrap();
        assert_eq!(st, status::EPIPE);
        if t == 77 {
            break;
        }
    }
}

#[test]
fn a_server_that_goes_and_comes_back() {
    let (far, near) = (Dir::new("far-dies"), Dir::new("near-dies"));
    let at = free_port();
    let n = near.start(&["-d", "usbip", &at, "-T", "5000", "-r", "0"]);
    let mut w = Watch::new(&n.socket());
    assert_eq!(w.next(), "=");
    let mut f = far.start(&["-d", "sim", "-l", &at]);
    assert_eq!(w.next(), "+1-1");
    let mut h = up(&n.socket(), "1-1");
    h.c.submit_in(&BULK_IN, 5, 2048).unwrap();
    h.write();
    f.child.kill().unwrap();
    f.child.wait().unwrap();
    let end = h.next();
    assert_eq!(end.map(|e| (e.0, e.1)), Some((5, status::ESHUTDOWN)));
    assert_eq!(h.next(), None);
    assert_eq!(w.next(), "-1-1");
    assert_eq!(Host::import(&n.socket(), "1-1").err(), Some(op::st::NODEV));
    drop(f);
    let _f = far.start(&["-d", "sim", "-l", &at]);
    assert_eq!(w.next(), "+1-1");
    arp(&mut up(&n.socket(), "1-1"), [10, 0, 0, 1]);
}

/// A server like Linux's: it closes the connection on what it does not know, and shows descriptors to nobody.
fn stock(listener: TcpListener, info: DeviceInfo) {
    let used = Arc::new(AtomicBool::new(false));
    for s in listener.incoming() {
        let Ok(s) = s else { return };
        let (info, used) = (info.clone(), used.clone());
        std::thread::spawn(move || {
            if stock_connection(s, &info, &used) {
                used.store(false, Ordering::SeqCst);
            }
        });
    }
}

/// Serves one connection; whether it has had the device.
fn stock_connection(mut s: TcpStream, info: &DeviceInfo, used: &AtomicBool) -> bool {
    let mut mine = false;
    let mut session = Session::new(Limits::default());
    let text = desc::string_bytes("Far away");
    loop {
        let n = match s.read(session.space()) {
            Ok(0) | Err(_) => return mine,
            Ok(n) => n,
        };
        session.commit(n);
        while let Ok(Some((r, replies))) = session.poll() {
            match r {
                // What is in use is not listed.
                Request::DevList if used.load(Ordering::SeqCst) => replies.devlist([].into_iter()),
                Request::DevList => replies.devlist([info].into_iter()),
                Request::Import(id) if id == info.busid => {
                    mine = true;
                    used.store(true, Ordering::SeqCst);
                    replies.imported(Ok(info));
                }
                Request::Import(_) => replies.imported(Err(op::st::NA)),
                Request::Submit(u, _) if u.devid != info.devid() => return mine,
                // The device is unplugged.
                Request::Submit(u, _) if u.ep == 1 => return mine,
                Request::Submit(u, _) => replies.complete(u.seqnum, 0, text.len(), &[&text]),
                Request::Unlink(u) => replies.unlinked(u.seqnum, false),
                _ => return mine,
            }
        }
        let tx = session.tx().to_vec();
        session.tx_done(tx.len());
        if s.write_all(&tx).is_err() {
            return mine;
        }
    }
}

#[test]
fn a_stock_server_is_polled_and_its_descriptors_learned() {
    let near = Dir::new("near-stock");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let info = DeviceInfo {
        busid: "usbip-vudc.0".into(),
        vendor: 0x1d6b,
        product: 0x0104,
        configs: 1,
        speed: op::speed::HIGH,
        ..DeviceInfo::default()
    };
    std::thread::spawn(move || stock(listener, info));
    let n = near.start(&["-d", "sim", "-d", "usbip", &at]);
    wait_for("the device", || devices(&n.socket()).iter().any(|d| d.busid == "usbip-vudc.0"));
    let describe = || {
        let mut s = UnixStream::connect(n.socket()).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        s.write_all(&op::request_busid(op::REQ_DESCRIBE, "usbip-vudc.0")).unwrap();
        let (mut got, mut b) = (Vec::new(), [0; 4096]);
        loop {
            if let Some((r, _)) = op::parse_describe(&got).unwrap() {
                return r;
            }
            let n = s.read(&mut b).unwrap();
            assert!(n > 0);
            got.extend_from_slice(&b[..n]);
        }
    };
    assert_eq!(describe().err(), Some(op::st::NA), "nobody has read any");
    let mut h = Host::import(&n.socket(), "usbip-vudc.0").unwrap();
    assert_eq!(desc::string(&h.control(Setup::get_string(3), &[])).as_deref(), Some("Far away"));
    assert_eq!(describe().unwrap().string(3).as_deref(), Some("Far away"));
    // In use it is not listed there, and here it stays while we use it: three lists come and go.
    let mut w = Watch::new(&n.socket());
    let mut all = [w.next(), w.next(), w.next()];
    all.sort();
    assert_eq!(all, ["+1-1", "+usbip-vudc.0", "="]);
    std::thread::sleep(Duration::from_secs(5));
    assert!(near.ask(&["list"]).contains("usbip-vudc.0: 1d6b:0104 address 0, used by process"));
    drop(h);
    wait_for("the release", || near.ask(&["list"]).contains("usbip-vudc.0: 1d6b:0104 address 0, free"));
    assert_eq!(describe().unwrap().string(3).as_deref(), Some("Far away"));
    // Unplugged there with a URB in flight: the connection ends, the URB first; then it is away, until it is listed again.
    let mut h = Host::import(&n.socket(), "usbip-vudc.0").unwrap();
    h.c.submit_in(&BULK_IN, 4, 512).unwrap();
    assert_eq!(h.next().map(|e| (e.0, e.1)), Some((4, status::ESHUTDOWN)));
    assert_eq!(h.next(), None);
    assert_eq!([w.next(), w.next()], ["-usbip-vudc.0", "+usbip-vudc.0"]);
}

#[test]
fn descriptors_of_a_remote_io_usb_are_asked_for() {
    let (far, near) = (Dir::new("far-desc"), Dir::new("near-desc"));
    let at = free_port();
    let _f = far.start(&["-d", "sim", "serial=far-away", "-l", &at]);
    let n = near.start(&["-d", "usbip", &at]);
    wait_for("the device", || devices(&n.socket()).len() == 1);
    let mut s = UnixStream::connect(n.socket()).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Two requests at once: the second waits for the first one's answer.
    let two =
        [op::request_busid(op::REQ_DESCRIBE, "1-1"), op::request_busid(op::REQ_DESCRIBE, "9-9")].concat();
    s.write_all(&two).unwrap();
    let (mut got, mut b) = (Vec::new(), [0; 4096]);
    let mut next = || loop {
        if let Some((r, n)) = op::parse_describe(&got).unwrap() {
            got.drain(..n);
            return r;
        }
        let n = s.read(&mut b).unwrap();
        assert!(n > 0);
        got.extend_from_slice(&b[..n]);
    };
    let d = next().unwrap();
    assert_eq!(d.string(d.device().unwrap().serial_str).as_deref(), Some("far-away"));
    assert_eq!(next().err(), Some(op::st::NODEV));
}

#[test]
fn a_machine_without_usb_says_so() {
    let d = Dir::new("usbfs");
    if std::path::Path::new("/sys/bus/usb/devices").exists() {
        // What is there is listed and left alone.
        let r = d.start(&["-d", "usbfs", "vid=fffe,did=fffe"]);
        assert_eq!(devices(&r.socket()), []);
        return;
    }
    let o = d.io_usb(&["-d", "usbfs"]);
    let why = text(&o.stderr);
    assert!(!o.status.success() && why.contains("-d usbfs") && why.contains("modprobe"), "{why}");
}

#[test]
fn a_group_may_be_let_in() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let d = Dir::new("group");
    let gid = rustix::process::getegid().as_raw().to_string();
    let r = d.start(&["-d", "sim", "-g", &gid]);
    // The group is let in right after the owner.
    let seen = || {
        let m = std::fs::metadata(r.socket()).unwrap();
        (m.permissions().mode() & 0o777, m.gid().to_string())
    };
    wait_for("the group's right", || seen() == (0o660, gid.clone()));
    drop(r);
    let r = d.start(&["-d", "sim"]);
    assert_eq!(std::fs::metadata(r.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    drop(r);
    let o = d.io_usb(&["-d", "sim", "-g", "no-such-group"]);
    assert!(!o.status.success() && text(&o.stderr).contains("no such group"), "{}", text(&o.stderr));
}

#[test]
fn options_of_the_manager() {
    let d = Dir::new("options");
    for (args, why) in [
        (&["-d", "usbfs", "vid=zz"][..], "hexadecimal"),
        (&["-d", "usbfs", "colour=blue"], "there are vid="),
        (&["-d", "usbfs", "busno=300"], "0 to 255"),
        (&["-d", "usbip"], "host=HOST:PORT"),
        (&["-d", "usbip", "host=a:b"], "port"),
        (&["-d", "sim", "-r", "many"], "-r many"),
        (&["-d", "sim", "-T", "0"], "-T 0"),
        (&["-d", "sim", "-P", "64"], "1 to 63"),
        (&["-d", "sim", "-e", "0"], "1 to 63"),
    ] {
        let o = d.io_usb(args);
        assert!(!o.status.success() && text(&o.stderr).contains(why), "{args:?}: {}", text(&o.stderr));
    }
    let r = d.start(&["-d", "sim", "-r", "1", "-T", "500", "-P", "21", "-E", "10", "-e", "9"]);
    assert!(d.ask(&["list"]).contains("1-1"));
    // -P is had where it is permitted: as root it is.
    if rustix::process::geteuid().is_root() {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", r.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let (nice, policy) = (fields[16], fields[38]);
        assert!(policy == "2" || nice.starts_with('-'), "policy {policy}, nice {nice}");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let near = Dir::new("near-mute");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let info = DeviceInfo { busid: "1-1".into(), busnum: 1, devnum: 2, ..DeviceInfo::default() };
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for s in listener.incoming() {
            let mut s = s.unwrap();
            let mut b = [0; op::OP_LEN];
            s.read_exact(&mut b).unwrap();
            match op::parse_header(&b).unwrap().unwrap().0 {
                op::REQ_DEVLIST => {
                    let mut out = op::header(op::REQ_DEVLIST & !op::REQUEST, 0).to_vec();
                    out.extend_from_slice(&1u32.to_be_bytes());
                    info.write_with_interfaces(&mut out);
                    s.write_all(&out).unwrap();
                }
                // An import is never answered.
                op::REQ_IMPORT => kept.push(s),
                _ => {}
            }
        }
    });
    let n = near.start(&["-d", "usbip", &at, "-T", "300"]);
    wait_for("the device", || devices(&n.socket()).len() == 1);
    assert_eq!(Host::import(&n.socket(), "1-1").err(), Some(op::st::NA));
    // A client that does not wait so long does no harm either, nor does one that goes on asking.
    drop(UnixStream::connect(n.socket()).unwrap().write_all(&op::request_busid(op::REQ_IMPORT, "1-1")));
    wait_for("the end of that", || Host::import(&n.socket(), "1-1").err() == Some(op::st::NA));
    assert!(n.terminate());
}

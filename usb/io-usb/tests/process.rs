//! The program as a user and as its clients see it.

mod common;

use common::{BULK_IN, BULK_OUT, Dir, Host, arp_request, text, wait_for};
use iopkt_usbip::desc::{self, Device};
use iopkt_usbip::op::{self, WatchEvent};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::status;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

#[test]
fn help_names_every_option_and_mistakes_are_explained() {
    let d = Dir::new("help");
    let help = text(&d.io_usb(&["--help"]).stdout);
    for word in ["-d sim", "-l addr:port", "far=tap:IF", "call=auto|manual", "unplug", "nozlp", "IO_PKT_ROOT"]
    {
        assert!(help.contains(word), "{word}");
    }
    for (args, why) in [
        (&[][..], "-d sim"),
        (&["-d", "ehci"], "there are sim, usbfs and usbip"),
        (&["-d", "sim", "colour=blue"], "colour"),
        (&["-d", "sim", "mac=xyz"], "12 hexadecimal"),
        (&["-d", "sim", "loss=200"], "0 to 100"),
        (&["-d", "sim", "far=moon"], "far=moon"),
        (&["-d", "sim", "call=maybe"], "auto or manual"),
        (&["-d", "sim", "-l", "nowhere"], "127.0.0.1:3240"),
        (&["-x"], "--help"),
        (&["sim"], "--help"),
        (&["-d", "sim", "far=socket:"], "far=socket:"),
    ] {
        let o = d.io_usb(args);
        assert!(!o.status.success() && text(&o.stderr).contains(why), "{args:?}: {}", text(&o.stderr));
    }
    let o = d.io_usb(&["-c", "list"]);
    assert!(!o.status.success() && text(&o.stderr).contains("is io-usb running"), "{}", text(&o.stderr));
}

#[test]
fn it_goes_to_the_background_and_cleans_up() {
    let d = Dir::new("background");
    let o = d.io_usb(&["-d", "sim"]);
    assert!(o.status.success(), "{}", text(&o.stderr));
    // It serves when the command has returned.
    assert!(d.ask(&["list"]).contains("1-1: 1d6b:0104"));
    let second = d.io_usb(&["-d", "sim"]);
    let why = text(&second.stderr);
    assert!(
        !second.status.success() && why.contains("another io-usb (process ") && why.contains("-n NAME"),
        "{why}"
    );
    // Beside it, under another name, one more.
    assert!(d.io_usb(&["-d", "sim", "-n", "/dev/usb2"]).status.success());
    assert!(d.io_usb(&["-n", "/dev/usb2", "-c", "stop"]).status.success());
    d.ask(&["stop"]);
    wait_for("the end", || !d.0.join("dev/usb").exists() && !d.0.join("dev/usb2").exists());
}

#[test]
fn sigterm_ends_it_and_a_killed_one_is_replaced() {
    let d = Dir::new("signals");
    let r = d.start(&["-d", "sim"]);
    let socket = r.socket();
    assert!(r.terminate());
    assert!(!socket.exists());
    let mut r = d.start(&["-d", "sim"]);
    r.child.kill().unwrap();
    r.child.wait().unwrap();
    assert!(socket.exists(), "nobody cleaned up");
    drop(r);
    let r = d.start(&["-d", "sim"]);
    assert!(d.ask(&["list"]).contains("1-1"));
    assert!(r.terminate());
}

#[test]
fn a_device_has_one_host_at_a_time() {
    let d = Dir::new("import");
    let r = d.start(&["-d", "sim"]);
    let mut h = Host::import(&r.socket(), "1-1").unwrap();
    assert_eq!(Host::import(&r.socket(), "1-1").err(), Some(op::st::DEV_BUSY));
    assert_eq!(Host::import(&r.socket(), "9-9").err(), Some(op::st::NODEV));
    let dev = h.control(Setup::get_descriptor(desc::DEVICE, 0, 0, 18), &[]);
    assert_eq!(Device::parse(&dev).unwrap().vendor, 0x1d6b);
    assert!(d.ask(&["list"]).contains(&format!("used by process {}", std::process::id())));
    drop(h);
    wait_for("the release", || Host::import(&r.socket(), "1-1").is_ok());
}

#[test]
fn the_built_in_host_answers_and_half_a_message_is_waited_for() {
    let d = Dir::new("arp");
    let r = d.start(&["-d", "sim"]);
    let mut h = Host::up(&r.socket());
    h.c.submit_in(&BULK_IN, 1, 2048).unwrap();
    h.c.submit_out(&BULK_OUT, 2, &arp_request([10, 0, 0, 1]), 0).unwrap();
    // The stream may be torn anywhere.
    let bytes = h.c.tx().to_vec();
    h.c.tx_done(bytes.len());
    for b in bytes.chunks(7) {
        h.s.write_all(b).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answers = [h.next().unwrap(), h.next().unwrap()];
    answers.sort();
    let (token, st, frame) = &answers[0];
    assert_eq!((*token, *st, frame.len()), (1, status::OK, 60));
    assert_eq!(frame[12..14], [8, 6]);
    assert_eq!(frame[20..22], [0, 2]);
    assert_eq!(frame[28..32], [10, 0, 0, 1]);
}

#[test]
fn plugging_is_watched() {
    let d = Dir::new("watch");
    let r = d.start(&["-d", "sim", "unplugged", "-d", "sim", "mac=02:00:00:00:00:07"]);
    let mut s = UnixStream::connect(r.socket()).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    s.write_all(&op::request(op::REQ_WATCH)).unwrap();
    let mut got = Vec::new();
    let mut event = move || {
        let mut buf = [0; 4096];
        loop {
            if got.len() >= 8 && got[..4] == [1, 0x11, 0, 0x40] {
                got.drain(..8);
            }
            if let Some((e, n)) = WatchEvent::parse(&got).unwrap() {
                got.drain(..n);
                return e;
            }
            let n = s.read(&mut buf).unwrap();
            assert!(n > 0);
            got.extend_from_slice(&buf[..n]);
        }
    };
    let id = |e: WatchEvent| match e {
        WatchEvent::Added(d) => format!("+{}", d.busid),
        WatchEvent::Removed(d) => format!("-{}", d.busid),
        WatchEvent::Settled => "=".into(),
    };
    assert_eq!([id(event()), id(event())], ["+1-2", "="]);
    assert!(!d.io_usb(&["-c", "plug"]).status.success(), "which one?");
    d.ask(&["plug", "1-1"]);
    assert_eq!(id(event()), "+1-1");
    assert!(text(&d.io_usb(&["-c", "plug", "1-1"]).stderr).contains("already"));
    d.ask(&["unplug", "1-2"]);
    assert_eq!(id(event()), "-1-2");
    assert!(text(&d.io_usb(&["-c", "unplug", "1-2"]).stderr).contains("not plugged in"));
    d.ask(&["replug", "1-1"]);
    assert_eq!([id(event()), id(event())], ["-1-1", "+1-1"]);
    assert!(d.ask(&["list"]).contains("1-2: not plugged in"));
}

#[test]
fn descriptors_are_had_while_somebody_uses_the_device() {
    let d = Dir::new("describe");
    let r = d.start(&["-d", "sim", "serial=abc"]);
    let _user = Host::import(&r.socket(), "1-1").unwrap();
    let mut s = UnixStream::connect(r.socket()).unwrap();
    s.write_all(&op::request_busid(op::REQ_DESCRIBE, "1-1")).unwrap();
    let mut got = Vec::new();
    let mut buf = [0; 4096];
    let all = loop {
        if let Some((r, _)) = op::parse_describe(&got).unwrap() {
            break r.unwrap();
        }
        let n = s.read(&mut buf).unwrap();
        got.extend_from_slice(&buf[..n]);
    };
    let dev = all.device().unwrap();
    assert_eq!(all.string(dev.serial_str).as_deref(), Some("abc"));
    assert_eq!(all.configs().count(), 1);
}

#[test]
fn unplugging_ends_the_connection_cleanly_or_torn() {
    let d = Dir::new("unplug");
    let r = d.start(&["-d", "sim"]);
    for torn in [false, true] {
        let mut h = Host::up(&r.socket());
        h.c.submit_in(&BULK_IN, 1, 2048).unwrap();
        h.write();
        if torn {
            d.ask(&["fault", "unplug", "after=0", "torn"]);
            h.c.submit_in(&BULK_IN, 2, 2048).unwrap();
        } else {
            d.ask(&["unplug"]);
        }
        assert_eq!(h.next(), None);
        let mut ended = 0;
        h.c.abort(|_| ended += 1);
        assert_eq!(ended, 1 + u32::from(torn) as usize);
        d.ask(&["plug"]);
    }
    assert!(d.ask(&["list"]).contains("1-1: 1d6b:0104 address 4, free"));
}

#[test]
fn commands_reach_the_modem() {
    let d = Dir::new("commands");
    let _r = d.start(&["-d", "sim", "call=manual"]);
    assert_eq!(d.ask(&["at", "AT+CSQ;+CGACT?"]), "+CSQ: 24,99\n+CGACT: 1,0\nOK\n");
    d.ask(&["signal", "1-1", "7"]);
    assert_eq!(d.ask(&["at", "AT+CSQ"]), "+CSQ: 7,99\nOK\n");
    assert_eq!(d.ask(&["at", "ATD*99#"]), "CONNECT\n");
    assert!(d.ask(&["list"]).contains("call up"));
    d.ask(&["network", "lost"]);
    assert!(d.ask(&["list"]).contains("call down"));
    for (args, why) in [
        (&["signal", "77"][..], "0 to 31"),
        (&["fault"], "which fault"),
        (&["fault", "smoke"], "unknown fault"),
        (&["explode"], "unknown command"),
        (&["unplug", "7-7"], "no such device"),
        (&["at", "hello"], "starts with AT"),
        (&["list", "x"], "no arguments"),
    ] {
        let o = d.io_usb(&[&["-c"], args].concat());
        assert!(!o.status.success() && text(&o.stderr).contains(why), "{args:?}: {}", text(&o.stderr));
    }
}

#[test]
fn garbage_and_strangers_cost_only_themselves() {
    let d = Dir::new("garbage");
    let r = d.start(&["-d", "sim"]);
    let mut h = Host::up(&r.socket());
    let mut noise = 1u32;
    for round in 0..60 {
        let mut s = UnixStream::connect(r.socket()).unwrap();
        let mut bytes: Vec<u8> = (0..500)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        if round % 2 == 0 {
            bytes[..4].copy_from_slice(&[1, 0x11, 0x80, 3 + (round % 70) as u8]);
        }
        let _ = s.write_all(&bytes);
        if round % 3 == 0 {
            drop(s);
        } else {
            // Closed by the server, or waiting for the rest of something: both end here.
            s.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let _ = s.read(&mut [0; 64]);
        }
    }
    // Who has the device notices nothing.
    assert_eq!(h.control(Setup::get_descriptor(desc::DEVICE, 0, 0, 18), &[]).len(), 18);
    // A transfer longer than any limit ends the connection, not the program.
    let mut huge = [0u8; 48];
    (huge[3], huge[7], huge[19], huge[24]) = (1, 9, 1, 0x70);
    h.s.write_all(&huge).unwrap();
    assert_eq!(h.next(), None);
    assert!(d.ask(&["list"]).contains("free"));
}

#[test]
fn tcp_clients_are_served_but_do_not_command() {
    let d = Dir::new("tcp");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    let r = d.start(&["-d", "sim", "-l", &at]);
    let mut s = std::net::TcpStream::connect(&at).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut ask = |request: &[u8], len: usize| {
        s.write_all(request).unwrap();
        let mut b = vec![0; len];
        s.read_exact(&mut b).unwrap();
        b
    };
    let list = ask(&op::request(op::REQ_DEVLIST), 12 + op::DEVICE_LEN + 16);
    let (list, _) = op::parse_devlist(&list).unwrap().unwrap();
    assert_eq!(list.unwrap()[0].busid, "1-1");
    let head = ask(&op::request_control("unplug"), 12);
    assert_eq!(op::parse_header(&head).unwrap(), Some((0x42, op::st::ERROR)));
    assert!(d.ask(&["list"]).contains("free"), "still plugged in");
    drop(r);
    // A port that is taken is named.
    let _taken = std::net::TcpListener::bind(&at).unwrap();
    let o = d.io_usb(&["-d", "sim", "-l", &at]);
    assert!(!o.status.success() && text(&o.stderr).contains(&at), "{}", text(&o.stderr));
}

#[test]
fn frames_over_a_socket_are_the_far_side() {
    let d = Dir::new("frames");
    let path = d.0.join("net.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let far = format!("far=socket:{}", path.display());
    let r = d.start(&["-d", "sim", &far]);
    let (mut net, _) = listener.accept().unwrap();
    net.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut h = Host::up(&r.socket());
    let f = arp_request([10, 0, 0, 1]);
    h.c.submit_out(&BULK_OUT, 2, &f, 0).unwrap();
    assert_eq!(h.next().unwrap().0, 2);
    let mut b = vec![0; 64];
    net.read_exact(&mut b).unwrap();
    assert_eq!((&b[..4], &b[4..]), (&[0, 0, 0, 60][..], &f[..]));
    // The other way, two in one write.
    h.c.submit_in(&BULK_IN, 3, 2048).unwrap();
    h.c.submit_in(&BULK_IN, 4, 2048).unwrap();
    h.write();
    net.write_all(&[b.clone(), b.clone()].concat()).unwrap();
    assert_eq!([h.next().unwrap(), h.next().unwrap()], [(3, 0, f.clone()), (4, 0, f.clone())]);
    // The peer goes and comes back.
    drop(net);
    let (mut net, _) = listener.accept().unwrap();
    h.c.submit_in(&BULK_IN, 5, 2048).unwrap();
    h.write();
    net.write_all(&b).unwrap();
    assert_eq!(h.next().unwrap(), (5, 0, f));
}

#[test]
fn an_idle_io_usb_does_not_run() {
    let d = Dir::new("idle");
    let r = d.start(&["-d", "sim"]);
    let mut h = Host::up(&r.socket());
    h.c.submit_in(&BULK_IN, 1, 2048).unwrap();
    h.write();
    let switches = || {
        let s = std::fs::read_to_string(format!("/proc/{}/status", r.child.id())).unwrap();
        let line = s.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    std::thread::sleep(Duration::from_millis(300));
    let before = switches();
    std::thread::sleep(Duration::from_secs(1));
    // ARP and TCP timers of the host behind the modem may be due once or twice; a busy loop makes thousands.
    assert!(switches() - before < 20);
}

//! The AT port with several programs at once.

use iopkt_tests::{Lab, modem, until};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A program that has the port open.
struct Opener {
    f: File,
    got: String,
}

impl Opener {
    /// Opens the port and waits until the driver has given it a terminal of its own, which shows by the name leading on.
    fn open(lab: &Lab) -> Opener {
        let link = lab.root().join("dev/serecm0");
        let before = std::fs::read_link(&link).expect("the port's name");
        let f = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&before);
        let f = f.expect("open the port");
        let moved = until(LONG, || std::fs::read_link(&link).ok().filter(|l| *l != before));
        assert!(moved.is_some(), "the name leads to the same terminal\n{}", lab.log());
        Opener { f, got: String::new() }
    }

    fn type_(&mut self, text: &str) {
        self.f.write_all(text.as_bytes()).expect("write");
    }

    fn read(&mut self) {
        let mut b = [0; 4096];
        while let Ok(n) = self.f.read(&mut b) {
            if n == 0 {
                break;
            }
            self.got.push_str(&String::from_utf8_lossy(&b[..n]));
        }
    }

    /// Waits until it has read `text`; gives all that it has read.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let ok = until(LONG, || {
            self.read();
            self.got.contains(text).then_some(())
        });
        assert!(ok.is_some(), "no {text:?} in {:?}", self.got);
        std::mem::take(&mut self.got)
    }
}

#[test]
fn answers_go_to_who_asks_and_news_to_everybody() {
    let mut lab = Lab::new("atmany");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let mode = std::fs::metadata(lab.root().join("dev/serecm0")).expect("the port").mode();
    assert_eq!(mode & 0o777, 0o600, "it commands the modem: its owner's alone");
    let (mut a, mut b, mut c) = (Opener::open(&lab), Opener::open(&lab), Opener::open(&lab));
    a.type_("ATE0\r");
    a.until("OK");
    // Everybody asks something at the same time, again and again.
    for _ in 0..20 {
        a.type_("AT+CGMI\r");
        b.type_("AT+CGSN\r");
        c.type_("AT+NOSUCH\r");
        let (ra, rb, rc) = (a.until("OK\r\n"), b.until("OK\r\n"), c.until("ERROR\r\n"));
        assert!(ra.contains("io-pkt") && !ra.contains("ERROR"), "{ra:?}");
        assert!(rb.contains("001010123456784") && !rb.contains("io-pkt"), "{rb:?}");
        assert!(!rc.contains("OK"), "{rc:?}");
    }
    // Unsolicited lines: as many to everybody as happen.
    a.type_("AT+CREG=1\r");
    a.until("OK");
    for i in 0..5 {
        lab.sh("io-usb -c network lost");
        for (o, name) in [(&mut a, "a"), (&mut b, "b"), (&mut c, "c")] {
            let t = o.until("+CREG: 0");
            assert_eq!(t.matches("+CREG: 0").count(), 1, "{name}, round {i}: {t:?}");
        }
        lab.sh("io-usb -c network back");
        [&mut a, &mut b, &mut c].into_iter().for_each(|o| drop(o.until("+CREG: 1")));
    }
    // One leaves in the middle of its question; the answer is the others'.
    drop(c);
    let n = lab.sh("nicinfo ecm0 | grep 'AT Port'");
    assert!(n.contains("0 lines lost"), "{n}");
    a.type_("ATI\r");
    drop(a);
    b.until("OK");
    // The device goes: the port ends.
    lab.sh("io-usb -c unplug");
    let ended = until(LONG, || {
        let mut x = [0; 64];
        match b.f.read(&mut x) {
            Ok(0) => Some(()),
            Err(e) if e.raw_os_error() == Some(libc::EIO) => Some(()),
            _ => None,
        }
    });
    assert!(ended.is_some(), "the end of the port is seen");
    assert!(b.f.write_all(b"AT\r").is_err());
    let gone = until(LONG, || lab.root().join("dev/serecm0").symlink_metadata().is_err().then_some(()));
    assert!(gone.is_some(), "the name is gone");
}

#[test]
fn what_nobody_reads_waits_for_the_next() {
    let mut lab = Lab::new("atkept");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    // One program asks, another one reads, as scripts do.
    // (On a loaded machine the answer may come before the asker has closed the port: then it is his, and lost with him.)
    let asked = (0..20).find_map(|_| {
        lab.sh("printf 'ATE0+CGMI\\r' > $IO_PKT_ROOT/dev/serecm0");
        let mut o = Opener::open(&lab);
        let came = until(Duration::from_secs(60), || {
            o.read();
            o.got.contains("io-pkt\r\n\r\nOK\r\n").then_some(())
        });
        came.map(|()| o)
    });
    let mut o = asked.expect("the answer waited for the next");
    // News while nobody is there.
    o.type_("AT+CREG=1\r");
    o.until("OK");
    drop(o);
    lab.sh("io-usb -c network lost; io-usb -c network back");
    std::thread::sleep(Duration::from_millis(700)); // the search takes half a second
    let mut o = Opener::open(&lab);
    let t = o.until("+CREG: 1\r\n");
    assert!(t.contains("+CREG: 0\r\n"), "{t:?}");
}

#[test]
fn a_modem_without_serial_function_has_the_same_port() {
    let mut lab = Lab::new("atencap");
    modem::start(&mut lab, "io-pkt-v4-hc", "odd=no-acm");
    let (mut a, mut b) = (Opener::open(&lab), Opener::open(&lab));
    for _ in 0..5 {
        a.type_("AT+CGMI\r");
        b.type_("AT+NOSUCH\r");
        assert!(a.until("OK\r\n").contains("io-pkt"));
        assert!(!b.until("ERROR\r\n").contains("io-pkt"));
    }
}

#[test]
fn the_at_tool_takes_a_locked_modem_online() {
    let mut lab = Lab::new("attool");
    lab.spawn("io-usb --foreground -d sim pin=4321,call=manual,serial=T1");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm pnp");
    lab.wait(LONG, "test -e $IO_PKT_ROOT/dev/serecm0");
    let v = lab.sh("at --json identity");
    assert!(v.contains("\"manufacturer\":\"io-pkt\"") && v.contains("\"imei\":\"001010123456784\""), "{v}");
    assert!(lab.sh("at pin").contains("SIM            : SIM PIN"));
    let (code, err) = lab.sh_fails("at -d /dev/serecm0 pin 1111");
    assert!(code == 1 && err.contains("incorrect password"), "{err}");
    let (_, err) = lab.sh_fails("at -t 1 register");
    assert!(err.contains("not registered within 1 s (SIM: SIM PIN)"), "{err}");
    assert!(lab.sh("at pin 4321").contains("READY"));
    assert!(lab.sh("at register").contains("Registration   : home"));
    assert!(lab.sh("at context 2 ipv4v6 example.net").contains("2    IPV4V6  example.net"));
    assert!(lab.sh("at --json context").contains("\"apn\":\"example.net\""));
    assert!(lab.sh("at call").contains("Data call      : off"));
    lab.sh("ifconfig ecm0 10.184");
    assert!(lab.sh("at call on").contains("Data call      : on"));
    lab.sh("if_up -l -r 100 -m 100 ecm0 && ping -c 1 10.1");
    assert!(lab.sh("at call off").contains("Data call      : off"));
    lab.sh("printf '# a script\\nATE0\\n-AT+NOSUCH\\nAT+CREG=1\\nAT+COPS=2\\nAT+COPS=0\\nwait +CREG: 1\\n' > s; at script s");
    let (_, err) = lab.sh_fails("printf 'AT\\nAT+NOSUCH\\n' > s; at script s");
    assert!(err.contains("s:2: AT+NOSUCH:"), "{err}");
    assert!(lab.sh("at 'AT+CGMI' 'AT'").contains("io-pkt\nOK\nOK\n"));
    assert_eq!(lab.sh_fails("at AT+NOSUCH").0, 1);
    let (_, err) = lab.sh_fails("io-usb -c unplug; if_up -p -r 1 -m 1 ecm0; while test -e $IO_PKT_ROOT/dev/serecm0; do :; done; at identity");
    assert!(err.contains("no AT port"), "{err}");
}

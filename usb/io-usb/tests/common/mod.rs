//! What the tests of the program share: directories, processes, a client.
#![allow(dead_code)]

use iopkt_usbip::client::{Client, Event, Limits};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::setup::Setup;
use iopkt_usbip::status;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const BULK_IN: Endpoint = Endpoint { addr: 0x81, attributes: 2, max_packet_raw: 512, interval: 0 };
pub const BULK_OUT: Endpoint = Endpoint { addr: 0x01, attributes: 2, max_packet_raw: 512, interval: 0 };

/// A directory of its own, gone afterwards.
pub struct Dir(pub PathBuf);

impl Dir {
    /// A fresh one.
    pub fn new(name: &str) -> Dir {
        let d = std::env::temp_dir().join(format!("io-usb-test-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&d);
        std::fs::create_dir_all(&d).unwrap();
        Dir(d)
    }
    pub fn io_usb(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_io-usb"));
        c.args(args).env("IO_PKT_ROOT", &self.0).stdin(Stdio::null());
        c
    }
    /// Runs a `-c` command that must succeed; what it prints.
    pub fn ask(&self, args: &[&str]) -> String {
        let o = self.io_usb(&[&["-c"], args].concat());
        assert!(o.status.success(), "{args:?}: {}", text(&o.stderr));
        text(&o.stdout)
    }
    /// Starts it in the foreground and waits until it serves.
    pub fn start(&self, args: &[&str]) -> Running<'_> {
        let child = self.command(&[&["-f"], args].concat()).stderr(Stdio::inherit()).spawn().unwrap();
        let r = Running { dir: self, child };
        wait_for("the socket", || UnixStream::connect(r.socket()).is_ok());
        r
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // One that went to the background must not outlive a test that failed.
        for name in ["/dev/usb", "/dev/usb2"] {
            if self.0.join(&name[1..]).exists() {
                let _ = self.io_usb(&["-n", name, "-c", "stop"]);
            }
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct Running<'a> {
    pub dir: &'a Dir,
    pub child: Child,
}

impl Running<'_> {
    pub fn socket(&self) -> PathBuf {
        self.dir.0.join("dev/usb")
    }

    pub fn terminate(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn text(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into()
}

/// Waits for something that happens soon; the bound is only there to end a test that hangs.
pub fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < end, "{what} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client with its connection.
pub struct Host {
    pub s: UnixStream,
    pub c: Client,
}

impl Host {
    pub fn import(path: &Path, busid: &str) -> Result<Host, u32> {
        let s = UnixStream::connect(path).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut h = Host { s, c: Client::import(busid, Limits::default()) };
        loop {
            h.write();
            match h.c.poll().unwrap() {
                Some(Event::Imported(_)) => return Ok(h),
                Some(Event::Refused(st)) => return Err(st),
                _ => assert!(h.read()),
            }
        }
    }

    /// Imports, configures, selects the data setting and wants every frame.
    pub fn up(path: &Path) -> Host {
        let mut h = Host::import(path, "1-1").unwrap();
        h.control(Setup::set_configuration(1), &[]);
        h.control(Setup::set_interface(1, 1), &[]);
        h.control(iopkt_usbip::cdc::set_packet_filter(0, 1), &[]);
        h
    }

    pub fn write(&mut self) {
        let n = self.c.tx().len();
        if n > 0 {
            self.s.write_all(self.c.tx()).unwrap();
            self.c.tx_done(n);
        }
    }

    /// Reads once; false at the end.
    pub fn read(&mut self) -> bool {
        let n = self.s.read(self.c.space()).unwrap();
        self.c.commit(n);
        n > 0
    }

    /// The next completion: token, status, data; `None` when the connection is over.
    pub fn next(&mut self) -> Option<(u32, i32, Vec<u8>)> {
        self.write();
        loop {
            if let Some(Event::Done(d)) = self.c.poll().unwrap() {
                return Some((d.token, d.status, d.data.to_vec()));
            }
            if !self.read() {
                return None;
            }
        }
    }

    pub fn control(&mut self, s: Setup, data: &[u8]) -> Vec<u8> {
        self.c.control(77, s, data).unwrap();
        loop {
            let (token, st, data) = self.next().expect("connected");
            if token == 77 {
                assert_eq!(st, status::OK);
                return data;
            }
        }
    }
}

/// An ARP request for `ip` from 10.0.0.184.
pub fn arp_request(ip: [u8; 4]) -> Vec<u8> {
    let me = [0x02, 0x50, 0, 0, 0, 1];
    let mut f = vec![0xff; 6];
    f.extend_from_slice(&me);
    f.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    f.extend_from_slice(&me);
    f.extend_from_slice(&[10, 0, 0, 184]);
    f.extend_from_slice(&[0; 6]);
    f.extend_from_slice(&ip);
    f.resize(60, 0);
    f
}

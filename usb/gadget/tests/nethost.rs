//! The host behind the modem, seen from another host of our own stack, on a virtual clock.

use iopkt_base::{Duration, Errno, Instant};
use iopkt_ctl::{AddrInfo, AddrState, LinkState, Reply, Request, iff};
use iopkt_gadget::nethost::http::crc32;
use iopkt_gadget::nethost::{Host, HostConfig, dns};
use iopkt_inet::Inet;
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Family, IfAttach, Shard};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 184);

struct Net {
    now: Instant,
    host: Host,
    me: Shard,
    _pool: Pool,
    ifindex: u32,
    rx: Vec<Mbuf>,
    tx: Vec<Mbuf>,
}

impl Net {
    fn new() -> Net {
        let now = Instant::from_millis(1);
        let mac = [2, 0, 0, 0, 0, 1];
        let cfg = HostConfig { addr: HOST, prefix: 8, lease: ME, mac, seed: 1, key: [1; 16] };
        let host = Host::new(now, &cfg).unwrap();
        let pool = Pool::new(PoolConfig::default());
        let mut me =
            Shard::new(now, Config::default(), 2, [2; 16], pool.cache(64), vec![Box::new(Inet::new())]);
        let mut a = IfAttach::ethernet("en", [2, 0, 0, 0, 0, 2]);
        a.link = LinkState::Up;
        let ifindex = me.attach(a).unwrap();
        let name = me.net.ifname(ifindex).unwrap().to_owned();
        let addr =
            AddrInfo { addr: ME.into(), prefix_len: 8, broadcast: None, peer: None, state: AddrState::Valid };
        for r in [
            Request::SetFlags { name: name.clone(), set: iff::UP, clear: 0 },
            Request::AddAddr { name, addr, replace: true },
        ] {
            assert_eq!(me.ctl(&r), Some(Reply::Ok));
        }
        Net { now, host, me, _pool: pool, ifindex, rx: Vec::new(), tx: Vec::new() }
    }

    /// Exchanges frames, and lets time pass when there are none, until `done` says so or a minute is over.
    fn run<R>(&mut self, mut done: impl FnMut(&mut Shard) -> Option<R>) -> Option<R> {
        let end = self.now + Duration::from_secs(60);
        loop {
            self.me.begin(self.now);
            self.me.input(self.ifindex, &mut self.rx);
            if let Some(r) = done(&mut self.me) {
                self.me.turn();
                return Some(r);
            }
            self.me.turn();
            self.me.take_frames(self.ifindex, &mut self.tx);
            self.tx.drain(..).for_each(|m| self.host.input(m.as_slice()));
            self.host.turn(self.now);
            let me = &mut self.me;
            let rx = &mut self.rx;
            self.host.take(usize::MAX, |f| rx.extend(me.cx.mbufs.copy_of(f)));
            if self.rx.is_empty() && !self.me.tx_ready().any(|_| true) {
                let next = self.me.deadline().min(self.host.deadline());
                if next > end {
                    return None;
                }
                self.now = next.max(self.now + Duration::from_micros(1));
            }
        }
    }

    fn connect(&mut self) -> SockId {
        let s = self.me.sockets.socket(&mut self.me.cx, Family::V4, SockType::Stream, 0).unwrap();
        let to = SocketAddr::new(HOST.into(), 80);
        let r = self.me.sockets.connect(&mut self.me.cx, &mut self.me.net, s, Some(to));
        assert_eq!(r, Err(Errno::EINPROGRESS));
        s
    }

    /// Sends `request` and gives what comes back until the server closes (or `enough` says so).
    fn talk(&mut self, s: SockId, request: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut left = request;
        let mut got = Vec::new();
        self.run(|me| {
            match me.sockets.write(&mut me.cx, s, left) {
                Ok(n) => left = &left[n..],
                Err(Errno::EAGAIN | Errno::EPIPE) => {}
                Err(e) => panic!("{e:?}"),
            }
            let mut slices: [&[u8]; 16] = [&[]; 16];
            let n = me.sockets.peek(s, &mut slices).unwrap_or(0);
            let before = got.len();
            slices[..n].iter().for_each(|s| got.extend_from_slice(s));
            me.sockets.consume(&mut me.cx, s, got.len() - before);
            (me.sockets.at_eof(s) || enough(&got)).then_some(())
        });
        got
    }

    fn http(&mut self, request: &str) -> String {
        let s = self.connect();
        let got = self.talk(s, request.as_bytes(), |_| false);
        self.me.sockets.close(&mut self.me.cx, &mut self.me.net, s, false);
        String::from_utf8_lossy(&got).into()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: modem\r\nConnection: close\r\n\r\n")
}

#[test]
fn pages_and_refusals() {
    let mut n = Net::new();
    let page = n.http(&get("/"));
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("It works"), "{page}");
    assert!(n.http(&get("http://modem/?x=1")).contains("It works"));
    for (request, status) in [
        (get("/nowhere"), "404"),
        (get("/bytes/x"), "404"),
        (get("/bytes/99999999999999999999999"), "404"),
        (get("/sink"), "405"),
        ("DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "405"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "400"),
        ("GET / HTTP/2.5\r\nHost: a\r\n\r\n".into(), "505"),
        ("GARBAGE\r\n\r\n".into(), "400"),
        ("POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n".into(), "400"),
        (
            "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            "400",
        ),
        ("POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(), "501"),
        ("POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20_000)), "431"),
    ] {
        let answer = n.http(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {answer:.60}");
    }
    assert!(n.http("GET / HTTP/1.0\r\n\r\n").contains("Connection: close"));
    let head = n.http("HEAD /bytes/1000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(head.contains("Content-Length: 1000\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn bytes_are_what_is_promised() {
    let mut n = Net::new();
    for len in [0usize, 1, 251, 100_000, 1_000_000] {
        let s = n.connect();
        let got = n.talk(s, get(&format!("/bytes/{len}")).as_bytes(), |_| false);
        let body = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(got.len() - body, len);
        assert!(got[body..].iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
        n.me.sockets.close(&mut n.me.cx, &mut n.me.net, s, false);
    }
}

#[test]
fn the_sink_counts_and_sums() {
    let mut n = Net::new();
    let body: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
    let mut request =
        b"PUT /sink HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n".to_vec();
    request.extend_from_slice(&body);
    let s = n.connect();
    let got = n.talk(s, &request, |_| false);
    let want = format!("\r\n\r\nbytes 300000 crc32 {:08x}\n", crc32(0, &body));
    assert!(got.ends_with(want.as_bytes()), "{}", String::from_utf8_lossy(&got));

    let chunked = "POST /sink HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5;x=y\r\n12345\r\n4\r\n6789\r\n0\r\nTrailer: t\r\n\r\n";
    assert!(n.http(chunked).ends_with("\r\n\r\nbytes 9 crc32 cbf43926\n"), "the check value of CRC-32");
    let empty = "POST /sink HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(n.http(empty).ends_with("bytes 0 crc32 00000000\n"));
}

#[test]
fn connections_persist_and_requests_may_be_pipelined() {
    let mut n = Net::new();
    let s = n.connect();
    let keep = "GET /bytes/10 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3) + &get("/bytes/5");
    let got = n.talk(s, keep.as_bytes(), |_| false);
    let text = String::from_utf8_lossy(&got);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 4);
    assert_eq!(text.matches("keep-alive").count(), 3);
    let s = n.connect();
    let expect = b"POST /sink HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let got = n.talk(s, expect, |g| g.ends_with(b"\r\n\r\n"));
    assert_eq!(got, b"HTTP/1.1 100 Continue\r\n\r\n");
    let got = n.talk(s, b"abc", |g| g.ends_with(b"\n") && g.len() > 50);
    assert!(got.ends_with(b"bytes 3 crc32 352441c2\n"));
}

#[test]
fn silence_ends_a_connection() {
    let mut n = Net::new();
    let s = n.connect();
    let got = n.talk(s, b"GET / HT", |_| false);
    assert_eq!(got, b"", "closed without an answer after a minute");
    assert!(n.run(|me| me.sockets.at_eof(s).then_some(())).is_some());
}

fn ask_dns(n: &mut Net, s: SockId, name: &[u8], kind: u8) -> Vec<u8> {
    let mut q = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    q.extend_from_slice(name);
    q.extend_from_slice(&[0, kind, 0, 1]);
    let m = n.me.cx.mbufs.copy_of(&q).unwrap();
    let to = Some(SocketAddr::new(HOST.into(), dns::PORT));
    let opts = SendOpts::default();
    n.me.sockets.send_to(&mut n.me.cx, &mut n.me.net, s, to, &opts, m).unwrap();
    n.run(|me| me.sockets.recv_from(&mut me.cx, s).map(|d| d.m.as_slice().to_vec())).expect("an answer")
}

#[test]
fn every_name_is_the_host() {
    let mut n = Net::new();
    let s = n.me.sockets.socket(&mut n.me.cx, Family::V4, SockType::Dgram, 0).unwrap();
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    n.me.sockets.bind(&mut n.me.cx, &n.me.net, s, any).unwrap();
    let a = ask_dns(&mut n, s, b"\x07example\x03com\x00", 1);
    assert_eq!(a[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert!(a.ends_with(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]));
    assert!(ask_dns(&mut n, s, b"\x09LocalHost\x00", 1).ends_with(&[127, 0, 0, 1]));
    assert!(ask_dns(&mut n, s, b"\x03you\x05modem\x00", 1).ends_with(&ME.octets()));
    let none = ask_dns(&mut n, s, b"\x01a\x07invalid\x00", 1);
    assert_eq!((none[3] & 15, none[7]), (3, 0));
    let six = ask_dns(&mut n, s, b"\x07example\x03com\x00", 28);
    assert_eq!((six[3] & 15, six[7]), (0, 0), "no IPv6 address, but the name exists");
    assert!(ask_dns(&mut n, s, b"\x011\x07in-addr\x04arpa\x00", 12).ends_with(b"\x04host\x05modem\x00"));
    let bad = ask_dns(&mut n, s, b"\xc0\x0c", 1);
    assert_eq!(bad[3] & 15, 1);
    assert_eq!(dns::Server::new(HOST).input(ME.into(), &[0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]), None);
}

#[test]
fn buffers_balance_when_all_is_quiet() {
    let mut n = Net::new();
    n.http(&get("/bytes/100000"));
    let gone = n.run(|_| None::<()>);
    assert!(gone.is_none());
    assert!(!n.host.has_input() && !n.host.has_output());
    assert_eq!(n.host.shard().cx.mbufs.pool().stats().big_bytes, 0);
}

//! Random calls, random packets, random errors on two hosts. Nothing may panic, and when everything is closed and
//! time has passed, no socket, connection, port, orphan or buffer may be left.

mod world;

use core::net::SocketAddr;
use iopkt_base::{Duration, Errno};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, IcmpErr, IpOut};
use world::*;

struct Chaos {
    w: World,
    socks: Vec<(usize, SockId)>,
}

impl Chaos {
    fn below(&mut self, n: u32) -> u32 {
        self.w.rng.below(n)
    }

    fn any(&mut self) -> Option<(usize, SockId)> {
        let n = self.socks.len() as u32;
        (n > 0).then(|| self.below(n) as usize).map(|i| self.socks[i])
    }

    fn place(&mut self) -> SocketAddr {
        let ip = match self.below(8) {
            0 => "0.0.0.0",
            1 => "127.0.0.1",
            2 => "10.0.0.255",
            3 => "239.1.1.1",
            4 => "192.0.2.1",
            5 | 6 => "10.0.0.1",
            _ => "10.0.0.2",
        };
        let port = self.below(6) as u16;
        SocketAddr::new(ip.parse().unwrap(), port)
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        let n = self.below(most) as usize;
        (0..n).map(|_| self.w.rng.next_u32() as u8).collect()
    }

    fn step(&mut self) {
        let op = self.below(24);
        if op < 4 && self.socks.len() < 60 {
            let (ty, p) = [
                (SockType::Stream, 0),
                (SockType::Dgram, 0),
                (SockType::Raw, 6),
                (SockType::Raw, 255),
                (SockType::Dgram, 1),
                (SockType::Stream, 6),
            ][self.below(6) as usize];
            let h = self.below(2) as usize;
            let host = &mut self.w.hosts[h];
            if let Ok(s) = host.sockets.socket(&mut host.cx, iopkt_stack::Family::V4, ty, p) {
                self.socks.push((h, s));
            }
            return;
        }
        let Some((h, s)) = self.any() else { return };
        match op {
            4..=6 => drop(self.place_op(h, s, op)),
            7 | 8 => {
                let n = self.below(4);
                let _ = self.w.listen(h, s, n);
            }
            9 | 10 => {
                if let Ok((c, _)) = self.w.accept(h, s) {
                    self.socks.push((h, c));
                }
            }
            11 | 12 => {
                let b = self.bytes(9000);
                let _ = self.w.write(h, s, &b);
            }
            13 => {
                let _ = self.w.recv(h, s);
                let host = &mut self.w.hosts[h];
                let mut v: [&[u8]; 4] = [&[]; 4];
                if host.sockets.peek(s, &mut v).is_ok() {
                    let n = v[0].len();
                    host.sockets.consume(&mut host.cx, s, n);
                }
            }
            14 => {
                let how = self.below(4) as u8;
                let _ = self.w.shutdown(h, s, how);
            }
            15 => self.close(h, s),
            16 => {
                let (b, to) = (self.bytes(3000), self.place());
                let o = SendOpts { ttl: Some(1 + self.below(255) as u8), ..SendOpts::default() };
                let _ = self.w.send_opts(h, s, Some(to), &b, &o);
                let _ = self.w.send_to(h, s, None, &b);
            }
            17 => self.options(h, s),
            18 => self.garbage(),
            19 => self.icmp(h, s),
            20 => {
                let _ = self.w.err(h, s);
                let _ = self.w.hosts[h].sockets.queued(s);
                let _ = self.w.hosts[h].sockets.list(0, 1000);
                let n = self.below(300_000);
                self.w.hosts[h].sockets.set_held(s, if n > 150_000 { 0 } else { n });
            }
            21 => {
                let p = if self.below(4) == 0 { 0.3 } else { 0.0 };
                self.w.set_loss(p);
            }
            _ => {
                let ms = [0, 1, 5, 300, 3000][self.below(5) as usize];
                self.w.run(Duration::from_millis(ms));
            }
        }
    }

    fn place_op(&mut self, h: usize, s: SockId, op: u32) -> Result<(), Errno> {
        let to = self.place();
        match op {
            4 => self.w.bind(h, s, to),
            5 => self.w.connect(h, s, to),
            _ if self.below(4) == 0 => self.w.disconnect(h, s),
            _ => self.w.connect(h, s, to),
        }
    }

    fn close(&mut self, h: usize, s: SockId) {
        let unread = self.below(5) == 0;
        let host = &mut self.w.hosts[h];
        host.sockets.close(&mut host.cx, &mut host.net, s, unread);
        self.socks.retain(|x| *x != (h, s));
    }

    fn options(&mut self, h: usize, s: SockId) {
        let level = [0, 1, 6, 41, 255, 77][self.below(6) as usize];
        let name = self.below(70) as i32;
        let v = match self.below(3) {
            0 => self.bytes(20),
            1 => 1i32.to_ne_bytes().to_vec(),
            _ => (self.below(70_000) as i32).to_ne_bytes().to_vec(),
        };
        let _ = self.w.set_bytes(h, s, level, name, &v);
        let mut out = vec![0; self.below(300) as usize];
        if let Ok(n) = self.w.get_bytes(h, s, level, name, &mut out) {
            assert!(n <= out.len());
        }
    }

    /// A packet of noise with ports that may exist.
    fn garbage(&mut self) {
        let mut b = self.bytes(80);
        if b.len() >= 14 {
            let (sp, dp) = (self.below(6) as u8, self.below(6) as u8);
            b[..4].copy_from_slice(&[0, sp, 0, dp]);
            b[12] = 0x50 | b[12] & 0x30;
        }
        let to = self.below(2) as usize;
        let m = self.w.mbuf(to, &b);
        let proto = [6, 6, 6, 17, 1, 89][self.below(6) as usize];
        let mut o = IpOut {
            src: addr(1 - to),
            dst: addr(to),
            proto,
            ttl: 64,
            tos: 0,
            df: false,
            oif: 0,
            dontroute: false,
            hdrincl: false,
            options: Vec::new(),
            mcast_loop: false,
            m,
            rest: Default::default(),
        };
        // The checksum is right, or nothing would get in.
        o.m.set_flags(iopkt_mbuf::flags::CSUM_PARTIAL);
        self.w.deliver(to, o);
    }

    fn icmp(&mut self, h: usize, s: SockId) {
        let host = &self.w.hosts[h];
        let Ok(me) = host.sockets.local_addr(s) else { return };
        let peer = host.sockets.peer_addr(s).unwrap_or(sa(1 - h, 3));
        let mut head = [0u8; 8];
        head[..2].copy_from_slice(&me.port().to_be_bytes());
        head[2..4].copy_from_slice(&peer.port().to_be_bytes());
        head[4..].copy_from_slice(&self.w.rng.next_u32().to_be_bytes());
        let mtu = [0, 0, 68, 1, 1400, 100_000][self.below(6) as usize];
        let e = IcmpErr {
            dst: peer.ip(),
            src: me.ip(),
            proto: [1, 6, 17][self.below(3) as usize],
            head,
            errno: Errno::EHOSTUNREACH,
            mtu,
            hard: self.below(2) == 0,
            from: peer.ip(),
            icmp: (3, 1),
        };
        let host = &mut self.w.hosts[h];
        host.sockets.icmp_error(&mut host.cx, &mut host.net, &e);
    }
}

fn counter(w: &World, h: usize, text: &str) -> u64 {
    w.hosts[h].sockets.stats().iter().find(|c| c.text == text).expect("a counter of this text").value
}

#[test]
fn nothing_is_left_of_chaos() {
    let mut did = [0u64; 4];
    for seed in 0..60 {
        let cfg = Config { max_sockets: 100, reuseport_unicast: seed % 2 == 0, ..Config::default() };
        let mut c = Chaos { w: World::with(seed, cfg), socks: Vec::new() };
        for h in [A, B] {
            c.w.hosts[h].sockets.set_port_range(1, 5);
        }
        for _ in 0..1500 {
            c.step();
            c.w.events.clear();
        }
        while let Some((h, s)) = c.socks.last().copied() {
            c.close(h, s);
        }
        c.w.set_loss(0.0);
        c.w.run(Duration::from_secs(7200));
        for h in [A, B] {
            let s = &c.w.hosts[h].sockets;
            assert_eq!(s.list(0, 10).0, [], "seed {seed}");
            assert_eq!(s.deadline(), iopkt_base::Instant::FAR, "seed {seed}");
            for what in ["{} connections", "{} connections without a process", "{} ports in use"] {
                assert_eq!(counter(&c.w, h, what), 0, "seed {seed}: {what}");
            }
            assert!(!c.w.hosts[h].net.is_member(2, "239.1.1.1".parse().unwrap()));
        }
        let what = [
            "{} connection accepts",
            "{} delivered",
            "{} connection requests",
            "{} connections reset on close",
        ];
        for (d, text) in did.iter_mut().zip(what) {
            *d += counter(&c.w, A, text) + counter(&c.w, B, text);
        }
        assert_eq!(c.w.out(), 0, "seed {seed}");
    }
    // It was chaos indeed: connections accepted, datagrams delivered, connects tried, resets.
    assert!(did.iter().all(|n| *n > 50), "{did:?}");
}

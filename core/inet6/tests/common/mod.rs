//! Hosts on one Ethernet, on a virtual clock: real shards with both families, and frames made by hand.
#![allow(dead_code)] // each test uses its part

pub mod garbage;

use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::{AddrState, LinkState, Reply, Request};
use iopkt_inet::Inet;
use iopkt_inet6::{Inet6, Tunables};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Domain, Family, IfAddr, IfAttach, Life, Shard, Why};
use iopkt_wire::{icmp6, ipv6};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The Ethernet interface of every host.
pub const ETH: u32 = 2;

pub fn a6(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

pub struct Host {
    pub s: Shard,
    pub pool: Pool,
    pub mac: [u8; 6],
    out: Vec<Mbuf>,
}

impl Host {
    pub fn new(n: u8) -> Host {
        Host::with(n, Tunables::default())
    }

    pub fn with(n: u8, t: Tunables) -> Host {
        let pool = Pool::new(PoolConfig { max_clusters: 4096, ..PoolConfig::default() });
        let domains: Vec<Box<dyn Domain>> = vec![Box::new(Inet::new()), Box::new(Inet6::with(t))];
        let start = Instant::from_millis(1000);
        let mut s = Shard::new(start, Config::default(), u64::from(n) + 1, [n; 16], pool.cache(64), domains);
        let mac = [2, 0, 0, 0, 0, n];
        let eth = s.attach(IfAttach { link: LinkState::Up, ..IfAttach::ethernet("eth", mac) }).unwrap();
        assert_eq!(eth, ETH);
        Host { s, pool, mac, out: Vec::new() }
    }

    pub fn ctl(&mut self, r: Request) -> Reply {
        self.s.ctl(&r).expect("the shard answers this")
    }

    pub fn sysctl(&mut self, name: &str, v: &str) {
        let r = self.ctl(Request::Sysctl { name: name.into(), value: Some(v.into()) });
        assert_eq!(r, Reply::Ok, "{name}");
    }

    pub fn up(&mut self) {
        self.s.net.set_flags(&mut self.s.cx, ETH, iopkt_ctl::iff::UP, 0).unwrap();
        self.s.tell_changes();
    }

    pub fn link(&mut self, up: bool) {
        let state = if up { LinkState::Up } else { LinkState::Down };
        self.s.link_changed(ETH, state, (0, 0), true);
    }

    pub fn addr(&mut self, a: &str, plen: u8) {
        let addr = IpAddr::V6(zone::embed(a6(a), ETH));
        let a = IfAddr {
            addr,
            plen,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
            life: Life::default(),
        };
        self.s.net.add_addr(&mut self.s.cx, ETH, a).unwrap();
        self.s.tell_changes();
    }

    /// The addresses of the Ethernet interface as people write them, with what is special about them.
    pub fn addrs(&self) -> Vec<String> {
        let of = |a: &IfAddr| {
            let IpAddr::V6(x) = a.addr else { return None };
            let mut s = format!("{}/{}", zone::strip(x), a.plen);
            match a.state {
                AddrState::Valid => {}
                AddrState::Tentative => s += " tentative",
                AddrState::Duplicated => s += " duplicated",
            }
            for (on, text) in [
                (a.life.deprecated, " deprecated"),
                (a.life.autoconf, " autoconf"),
                (a.life.temporary, " temporary"),
            ] {
                if on {
                    s += text;
                }
            }
            Some(s)
        };
        self.s.net.iface(ETH).unwrap().addrs.iter().filter_map(of).collect()
    }

    pub fn link_local(&self) -> Ipv6Addr {
        let i = self.s.net.iface(ETH).unwrap();
        let find = |a: &IfAddr| match a.addr {
            IpAddr::V6(x) if x.segments()[0] == 0xfe80 => Some(x),
            _ => None,
        };
        i.addrs.iter().find_map(find).expect("a link-local address")
    }

    pub fn drops(&self, w: Why) -> u64 {
        self.s.cx.counters.drops(w)
    }

    /// Routes of IPv6 that were learnt: destination and gateway.
    pub fn learnt(&self) -> Vec<String> {
        use iopkt_stack::route::Origin;
        let r = self.s.net.routes.sorted();
        r.iter()
            .filter(|r| matches!(r.origin, Origin::Advertised | Origin::Redirect))
            .map(|r| {
                let via = r.gateway.map_or("link".into(), |g| zone::strip_ip(g).to_string());
                format!("{}/{} via {via}", r.dst, r.plen)
            })
            .collect()
    }

    pub fn socket(&mut self, ty: SockType, proto: u8) -> SockId {
        self.s.sockets.socket(&mut self.s.cx, Family::V6, ty, proto).unwrap()
    }

    pub fn udp(&mut self, bind: &str) -> SockId {
        let s = self.socket(SockType::Dgram, 17);
        self.s.sockets.bind(&mut self.s.cx, &self.s.net, s, bind.parse().unwrap()).unwrap();
        s
    }

    pub fn send(&mut self, s: SockId, to: Ipv6Addr, port: u16, data: &[u8]) -> iopkt_base::Result<()> {
        let m = self.s.cx.mbufs.copy_of(data).unwrap();
        let to = outside(to, port);
        let o = SendOpts::default();
        self.s.sockets.send_to(&mut self.s.cx, &mut self.s.net, s, Some(to), &o, m)
    }

    pub fn recv(&mut self, s: SockId) -> Option<(SocketAddr, Vec<u8>)> {
        let d = self.s.sockets.recv_from(&mut self.s.cx, s)?;
        let r = (d.from, d.m.as_slice().to_vec());
        self.s.cx.mbufs.free(d.m);
        Some(r)
    }

    /// Runs a turn at `now`; returns the frames for the Ethernet.
    pub fn turn(&mut self, now: Instant, input: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.s.begin(now);
        let mut batch: Vec<Mbuf> = input.iter().filter_map(|f| self.s.cx.mbufs.copy_of(f)).collect();
        self.s.input(ETH, &mut batch);
        self.s.turn();
        self.s.take_frames(ETH, &mut self.out);
        let out = self.out.drain(..).collect::<Vec<_>>();
        out.into_iter()
            .map(|m| {
                let b = m.as_slice().to_vec();
                self.s.cx.mbufs.free(m);
                b
            })
            .collect()
    }

    /// Ends the host: everything it held is back in the pool.
    pub fn end(self) {
        let Host { s, pool, .. } = self;
        drop(s);
        let st = pool.stats();
        assert_eq!((st.out, st.big_bytes), (0, 0), "buffers leaked");
    }
}

/// Hosts on one wire that loses nothing and takes a millisecond.
pub struct Wire {
    pub now: Instant,
    pub hosts: Vec<Host>,
    /// On their way: when, to whom, what.
    way: Vec<(Instant, usize, Vec<u8>)>,
    /// Every frame that was sent: host, bytes.
    pub log: Vec<(usize, Vec<u8>)>,
}

impl Wire {
    pub fn new(hosts: Vec<Host>) -> Wire {
        Wire { now: Instant::from_millis(1000), hosts, way: Vec::new(), log: Vec::new() }
    }

    /// Two hosts, up, their link-local addresses good.
    pub fn pair() -> Wire {
        let mut w = Wire::new(vec![Host::new(1), Host::new(2)]);
        w.hosts.iter_mut().for_each(Host::up);
        w.run(3000);
        w
    }

    /// Puts a frame on the wire to a host, as if somebody else had sent it.
    pub fn inject(&mut self, to: usize, frame: Vec<u8>) {
        self.way.push((self.now, to, frame));
    }

    pub fn settle(&mut self) {
        for i in 0..self.hosts.len() {
            let now = self.now;
            let due = |w: &(Instant, usize, Vec<u8>)| w.0 <= now && w.1 == i;
            let mut input = Vec::new();
            self.way.retain(|w| {
                let d = due(w);
                if d {
                    input.push(w.2.clone());
                }
                !d
            });
            for f in self.hosts[i].turn(now, &input) {
                assert!(f.len() >= 60, "short frame on the wire");
                for to in (0..self.hosts.len()).filter(|t| *t != i) {
                    self.way.push((now + Duration::from_millis(1), to, f.clone()));
                }
                self.log.push((i, f));
            }
        }
    }

    /// Lets `ms` milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        for _ in 0..1_000_000 {
            self.settle();
            let next = self.hosts.iter().map(|h| h.s.deadline()).chain(self.way.iter().map(|w| w.0)).min();
            let next = next.unwrap_or(Instant::FAR).max(self.now + Duration::from_micros(10));
            if next > end {
                self.now = end;
                // What a test does next happens now, not at the last turn.
                self.hosts.iter_mut().for_each(|h| h.s.begin(end));
                return;
            }
            self.now = next;
        }
        panic!("never idle");
    }

    /// The ICMPv6 messages of a type that a host has sent, with their packets.
    pub fn sent(&self, host: usize, ty: u8) -> Vec<Vec<u8>> {
        let of = |f: &[u8]| f[12..14] == [0x86, 0xdd] && icmp_of(&f[14..]).is_some_and(|m| m[0] == ty);
        self.log.iter().filter(|(h, f)| *h == host && of(f)).map(|(_, f)| f[14..].to_vec()).collect()
    }

    pub fn end(self) {
        self.hosts.into_iter().for_each(Host::end);
    }
}

/// An address of the stack as a program writes it: its zone is the scope.
pub fn outside(a: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(zone::strip(a), port, 0, zone::of(&a)).into()
}

/// The ICMPv6 message in a packet, behind its extension headers.
pub fn icmp_of(packet: &[u8]) -> Option<&[u8]> {
    let h = ipv6::Header::parse(packet).ok()?;
    let packet = &packet[..ipv6::HEADER_LEN + h.payload_len];
    let mut c = ipv6::Chain::new(packet, h.next);
    c.by_ref().all(|e| e.is_ok()).then_some(())?;
    let u = c.upper();
    (u.proto == ipv6::next::ICMP6).then(|| &packet[u.at..])
}

/// A frame with an IPv6 packet.
pub fn frame(to: [u8; 6], src: Ipv6Addr, dst: Ipv6Addr, hops: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut f = Vec::new();
    f.extend(to);
    f.extend([2, 0, 0, 0, 0, 0xee]);
    f.extend([0x86, 0xdd]);
    let h = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len(),
        next,
        hop_limit: hops,
        src,
        dst,
    };
    let mut b = [0; ipv6::HEADER_LEN];
    h.emit(&mut b);
    f.extend(b);
    f.extend(payload);
    f
}

/// An ICMPv6 message (checksum zero) with its checksum for these addresses.
pub fn summed(mut b: Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    icmp6::Header::parse_unchecked(&b).unwrap().emit(&mut b, src, dst);
    b
}

/// A frame with an ICMPv6 message of hop limit 255.
pub fn nd(to: [u8; 6], src: &str, dst: &str, message: Vec<u8>) -> Vec<u8> {
    let (src, dst) = (a6(src), a6(dst));
    frame(to, src, dst, 255, ipv6::next::ICMP6, &summed(message, src, dst))
}

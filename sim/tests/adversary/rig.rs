//! The victim, the honest peer, and the adversary's hands.

use iopkt_base::{Duration, Instant};
use iopkt_sim::family::Via;
use iopkt_sim::v6::{Packet, frame, header, nd_frame};
use iopkt_sim::{Faults, Flow, World, pattern};
use iopkt_stack::sockets::SockId;
use iopkt_stack::{Config, Why};
use iopkt_wire::checksum::{checksum, pseudo};
use iopkt_wire::tcp::{Flags, Header, Options, SackBlocks};
use iopkt_wire::{arp, ethernet, icmp4, ipv4, ipv6, nd};
use std::net::IpAddr;

pub const VICTIM: [u8; 4] = [10, 0, 0, 1];
pub const HONEST: [u8; 4] = [10, 0, 0, 2];
/// The adversary answers for all addresses from here on.
pub const LIAR: [u8; 4] = [10, 0, 0, 66];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 66];
/// Where the victim serves.
pub const PORT: u16 = 80;
/// What the honest connection moves each way in most tests.
pub const BYTES: u64 = 2 << 20;

/// What the victim's program does with connections of the adversary.
#[derive(Clone, Copy, PartialEq)]
pub enum Serve {
    /// Reads everything.
    Read,
    /// Writes the pattern of seed 7 without end, and reads.
    Write,
    /// Neither.
    Nothing,
}

pub struct Rig {
    pub w: World,
    /// From the honest peer, and to it.
    pub up: Flow,
    pub down: Flow,
    pub listener: SockId,
    pub serve: Serve,
    /// Connections that the victim accepted, and the bytes written to and read from each.
    pub served: Vec<(SockId, u64, Vec<u8>)>,
    /// Frames of the victim for the adversary.
    pub inbox: Vec<Vec<u8>>,
    /// Frames that the victim sent.
    pub sent: u64,
    /// Frames that the adversary sent.
    pub forged: u64,
    /// Most packet buffers that were ever in use.
    pub most_out: usize,
    /// What the honest peer's last segment said, and how long it was.
    pub honest: Option<(Header, u32)>,
    began: Instant,
    /// How long the honest transfer took.
    took: Option<Duration>,
}

/// A segment that came back.
#[derive(Debug)]
pub struct Got {
    pub h: Header,
    pub data: Vec<u8>,
}

/// The adversary's end of a connection, or what he forges of another's.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    pub ip: [u8; 4],
    pub port: u16,
    pub to: u16,
    pub seq: u32,
    pub ack: u32,
    pub win: u16,
}

impl Raw {
    pub fn new(port: u16) -> Raw {
        Raw { ip: LIAR, port, to: PORT, seq: 1000, ack: 0, win: 65_535 }
    }

    /// A frame with this segment; `options` is padded to words.
    pub fn seg(&self, flags: Flags, options: &[u8], data: &[u8]) -> Vec<u8> {
        let olen = options.len().next_multiple_of(4);
        let mut t = Vec::with_capacity(20 + olen + data.len());
        t.extend_from_slice(&self.port.to_be_bytes());
        t.extend_from_slice(&self.to.to_be_bytes());
        t.extend_from_slice(&self.seq.to_be_bytes());
        t.extend_from_slice(&self.ack.to_be_bytes());
        t.extend_from_slice(&[(((20 + olen) / 4) << 4) as u8, flags.0]);
        t.extend_from_slice(&self.win.to_be_bytes());
        t.extend_from_slice(&[0; 4]);
        t.extend_from_slice(options);
        t.resize(20 + olen, 0);
        t.extend_from_slice(data);
        let mut sum = pseudo(on_wire(self.ip), on_wire(VICTIM), 6, t.len() as u32);
        sum.add(&t);
        let c = sum.finish();
        t[16..18].copy_from_slice(&c.to_be_bytes());
        packet(self.ip, 6, &t)
    }

    pub fn ack_at(&self, ack: u32) -> Vec<u8> {
        Raw { ack, ..*self }.seg(Flags::ACK, &[], &[])
    }
}

/// An address in packets of this run: the last byte is its host.
fn on_wire(ip: [u8; 4]) -> IpAddr {
    Via::now().wire(ip[3])
}

/// The ends of a TCP segment and its bytes, of either family.
fn segment(f: &[u8]) -> Option<(IpAddr, &[u8])> {
    if f[12..14] == [0x86, 0xdd] {
        let h = ipv6::Header::parse(&f[14..]).expect("they send good packets");
        let end = 14 + ipv6::HEADER_LEN + h.payload_len;
        return (h.next == 6).then(|| (h.dst.into(), &f[14 + ipv6::HEADER_LEN..end]));
    }
    if f[12..14] != [8, 0] || f[23] != 6 {
        return None;
    }
    let h = ipv4::Header::parse(&f[14..]).expect("they send good packets");
    Some((h.dst.into(), &f[34..14 + h.total_len]))
}

/// The answer to a question of the victim for one of the adversary's addresses.
fn answer(f: &[u8]) -> Option<Vec<u8>> {
    if f[12..14] == [8, 6] {
        let p = arp::Packet::parse(&f[14..]).filter(|p| p.op == 1 && p.tpa.octets()[3] >= LIAR[3])?;
        let r = arp::Packet { op: 2, sha: MAC, spa: p.tpa, tha: p.sha, tpa: p.spa };
        let mut b = vec![0; 14];
        ethernet::Header { dst: p.sha, src: MAC, ethertype: 0x806 }.emit(&mut b);
        b.extend_from_slice(&r.emit());
        b.resize(60, 0);
        return Some(b);
    }
    let p = Packet::of(f).filter(|p| p.ty() == Some(135) && !p.h.src.is_unspecified())?;
    let target = p.target().filter(|t| t.octets()[15] >= LIAR[3])?;
    let flags = nd::AdvertFlags { router: false, solicited: true, over: true };
    let mut b = nd::neighbor_advert(target, flags);
    nd::push_link(&mut b, nd::opt::TARGET_LINK, MAC);
    Some(nd_frame([2, 0, 0, 0, 0, 1], MAC, target, p.h.src, b))
}

/// A frame with an IP packet for the victim.
pub fn packet(from: [u8; 4], proto: u8, payload: &[u8]) -> Vec<u8> {
    if let (IpAddr::V6(src), IpAddr::V6(dst)) = (on_wire(from), on_wire(VICTIM)) {
        let h = ipv6::Header { next: proto, ..header(src, dst, 64) };
        return frame([2, 0, 0, 0, 0, 1], MAC, &h, payload);
    }
    let mut f = vec![0; 34];
    f[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    f[6..12].copy_from_slice(&MAC);
    f[12..14].copy_from_slice(&[8, 0]);
    f[14] = 0x45;
    f[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    f[22..24].copy_from_slice(&[64, proto]);
    f[26..30].copy_from_slice(&from);
    f[30..34].copy_from_slice(&VICTIM);
    ipv4::set_checksum(&mut f[14..34]);
    f.extend_from_slice(payload);
    f.resize(f.len().max(60), 0);
    f
}

/// An ICMP error of this type and code about a segment of the victim's to `peer`.
pub fn icmp_error(ty: u8, code: u8, mtu: u16, peer: [u8; 4], ports: (u16, u16), seq: u32) -> Vec<u8> {
    let mut b = vec![ty, code, 0, 0, 0, 0];
    b.extend_from_slice(&mtu.to_be_bytes());
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&1500u16.to_be_bytes());
    ip[8..10].copy_from_slice(&[64, 6]);
    ip[12..16].copy_from_slice(&VICTIM);
    ip[16..20].copy_from_slice(&peer);
    ipv4::set_checksum(&mut ip);
    b.extend_from_slice(&ip);
    b.extend_from_slice(&ports.0.to_be_bytes());
    b.extend_from_slice(&ports.1.to_be_bytes());
    b.extend_from_slice(&seq.to_be_bytes());
    let c = checksum(&b);
    b[2..4].copy_from_slice(&c.to_be_bytes());
    packet(LIAR, 1, &b)
}

pub fn echo_request(from: [u8; 4], n: u16) -> Vec<u8> {
    let mut b = vec![icmp4::ty::ECHO, 0, 0, 0, 0, 1];
    b.extend_from_slice(&n.to_be_bytes());
    b.extend_from_slice(&[7; 32]);
    let c = checksum(&b);
    b[2..4].copy_from_slice(&c.to_be_bytes());
    packet(from, 1, &b)
}

/// A SACK option of these blocks, two NOPs before it.
pub fn sack_option(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut b = SackBlocks::default();
    for x in blocks {
        b.push(x.0, x.1);
    }
    let mut out = [0; 40];
    let n = Options { sack: b, ..Options::NONE }.emit(&mut out);
    out[..n].to_vec()
}

impl Rig {
    pub fn new(seed: u64) -> Rig {
        Rig::with(seed, &Config { max_sockets: 2000, ..Config::default() }, 4096)
    }

    pub fn with(seed: u64, cfg: &Config, clusters: usize) -> Rig {
        // A deep queue would let each direction's data hold the other's acknowledgments up, and small causes change that a lot.
        let way =
            Faults { delay: Duration::from_millis(5), rate: 20_000_000, queue: 60, ..Faults::default() };
        let mut w = World::with_memory(2, seed, way, cfg, clusters);
        w.pcap.stop();
        w.switched = true;
        // The adversary's own cable: the one from the victim to itself, which nobody uses.
        w.links[0][0].faults = Faults { delay: Duration::from_millis(1), ..Faults::default() };
        let (a, b) = w.connect(1, 0, 22);
        let listener = w.hosts[0].listen(PORT);
        w.seen = Some(Vec::new());
        let began = w.now;
        Rig {
            w,
            up: Flow::new((1, a), (0, b), seed, BYTES),
            down: Flow::new((0, b), (1, a), !seed, BYTES),
            listener,
            serve: Serve::Read,
            served: Vec::new(),
            inbox: Vec::new(),
            sent: 0,
            forged: 0,
            most_out: 0,
            honest: None,
            began,
            took: None,
        }
    }

    pub fn forge(&mut self, frame: Vec<u8>) {
        self.forged += 1;
        self.w.links[0][0].send(self.w.now, frame);
    }

    /// The honest connection as a stranger may know it: all but the numbers.
    pub fn honest_ends(&self) -> Raw {
        let s = &self.w.hosts[0].shard.sockets;
        let peer = s.peer_addr(self.up.to.1).expect("connected").port();
        Raw { ip: HONEST, port: peer, to: 22, seq: 0, ack: 0, win: 1000 }
    }

    fn programs(&mut self) {
        self.up.step(&mut self.w.hosts);
        self.down.step(&mut self.w.hosts);
        if self.up.done() && self.down.done() && self.took.is_none() {
            self.took = Some(self.w.now.since(self.began));
        }
        let s = &mut self.w.hosts[0].shard;
        if self.serve != Serve::Nothing {
            while let Ok((id, _)) = s.sockets.accept(&mut s.cx, self.listener) {
                self.served.push((id, 0, Vec::new()));
            }
        }
        for (id, wrote, read) in &mut self.served {
            if self.serve == Serve::Write {
                loop {
                    let n = s.sockets.write_space(*id).min(4096) as u64;
                    let b: Vec<u8> = (*wrote..*wrote + n).map(|i| pattern(7, i)).collect();
                    match s.sockets.write(&mut s.cx, *id, &b) {
                        Ok(k) if k > 0 => *wrote += k as u64,
                        _ => break,
                    }
                }
            }
            loop {
                let mut slots: [&[u8]; 16] = [&[]; 16];
                let Ok(k) = s.sockets.peek(*id, &mut slots) else { break };
                let before = read.len();
                slots[..k].iter().for_each(|x| read.extend_from_slice(x));
                if read.len() == before {
                    break;
                }
                s.sockets.consume(&mut s.cx, *id, read.len() - before);
            }
        }
    }

    /// Sorts what was sent: answers ARP for the adversary, keeps what is his.
    fn listen(&mut self) {
        let seen = std::mem::take(self.w.seen.as_mut().expect("frames are seen"));
        for (i, f) in seen {
            if i != 0 {
                self.overhear(&f);
                continue;
            }
            self.sent += 1;
            if let Some(b) = answer(&f) {
                self.forge(b);
                self.forged -= 1;
            } else if f[..6] == MAC {
                self.inbox.push(f);
            }
        }
        self.most_out = self.most_out.max(self.w.hosts[0].pool.stats().out);
    }

    fn overhear(&mut self, f: &[u8]) {
        if let Some((_, t)) = segment(f) {
            let (h, n) = Header::parse(t).expect("the peer sends good segments");
            self.honest = Some((h, (t.len() - n) as u32));
        }
    }

    /// Lets time pass, everybody doing his work.
    pub fn pass(&mut self, span: Duration) {
        let end = self.w.now + span;
        loop {
            self.programs();
            let more = self.w.step(end);
            self.listen();
            if !more {
                return;
            }
        }
    }

    /// Sends what `f` makes `n` times, `gap` apart.
    pub fn every(&mut self, gap: Duration, n: u32, mut f: impl FnMut(&mut Rig, u32)) {
        for i in 0..n {
            f(self, i);
            self.pass(gap);
        }
    }

    /// Segments that came for this end since they were last asked for.
    pub fn heard(&mut self, r: &Raw) -> Vec<Got> {
        let mut got = Vec::new();
        self.inbox.retain(|f| {
            let Some((_, t)) = segment(f).filter(|(to, _)| *to == on_wire(r.ip)) else { return true };
            let (h, n) = Header::parse(t).expect("the victim sends good segments");
            if (h.src_port, h.dst_port) != (r.to, r.port) {
                return true;
            }
            got.push(Got { h, data: t[n..].to_vec() });
            false
        });
        got
    }

    /// Opens a connection from this end.
    pub fn open(&mut self, r: &mut Raw, options: &[u8]) {
        let f = r.seg(Flags::SYN, options, &[]);
        self.forge(f);
        self.pass(Duration::from_millis(20));
        let got = self.heard(r);
        let a = got.iter().find(|g| g.h.flags.has(Flags::SYN | Flags::ACK)).expect("a SYN-ACK");
        r.seq = r.seq.wrapping_add(1);
        r.ack = a.h.seq.wrapping_add(1);
        let f = r.seg(Flags::ACK, &[], &[]);
        self.forge(f);
        self.pass(Duration::from_millis(20));
    }

    pub fn drops(&self, w: Why) -> u64 {
        self.w.hosts[0].shard.cx.counters.drops(w)
    }

    pub fn counter(&self, text: &str) -> u64 {
        let all = self.w.hosts[0].shard.sockets.stats();
        all.iter()
            .find(|c| c.text == text && Via::now().counts(&c.group))
            .map(|c| c.value)
            .expect("a counter of this text")
    }

    /// How long the honest transfer took in all.
    fn finish(&mut self) -> Duration {
        while self.took.is_none() {
            assert!(self.up.error.is_none() && self.down.error.is_none(), "{:?} {:?}", self.up, self.down);
            let so_far = self.w.now.since(self.began);
            assert!(so_far < Duration::from_secs(3600), "stuck: {:?} {:?}", self.up, self.down);
            self.pass(Duration::from_millis(10));
        }
        self.took.expect("it is done")
    }

    /// The honest transfer ends within 1.25 of the time that it takes undisturbed, and everything is accounted for.
    pub fn honest_goes_on(mut self) {
        let quiet = Rig::new(1).finish();
        let took = self.finish();
        assert!(took < quiet.mul_f64(1.25), "the honest transfer took {took:?}, undisturbed {quiet:?}");
        self.end();
    }

    /// Everybody goes; nothing is left.
    pub fn end(mut self) {
        self.w.seen = None;
        let all = self.served.iter().map(|s| s.0).chain([self.up.to.1, self.listener]);
        for id in all.collect::<Vec<_>>() {
            self.w.hosts[0].close(id);
        }
        self.w.hosts[1].close(self.up.from.1);
        self.w.pass(Duration::from_secs(7200));
        self.w.check();
        assert!(self.w.hosts[0].shard.sockets.is_empty(), "{:?}", self.w.hosts[0].shard.sockets.list(0, 10));
        self.w.end();
    }
}

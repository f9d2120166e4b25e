//! The files of `/proc/net` that programs read to learn of interfaces, routes and sockets (proc(5)), as text of this stack.
//!
//! Java's interfaces, net-tools and lsof have no other source. The formats are Linux's to the column; a number that this stack
//! has not stands as Linux writes it for "none". At most [`LINES`] lines: a listing is made in one go, while packets wait.

mod groups;
mod stat;

use crate::Host;
use crate::netlink::route::metric;
use crate::netlink::{addr, diag};
use crate::server::Server;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use iopkt_base::zone;
use iopkt_ctl::{ArpEntry, Ifconf, Reply, Request, RouteInfo, SockInfo, rtf};
use iopkt_stack::Shard;

/// Most lines of a listing.
const LINES: usize = 8192;

const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";
const TCP: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const SOCKS6: &str = "  sl  local_address                         remote_address                        st tx_queue \
    rx_queue tr tm->when retrnsmt   uid  timeout inode";

impl<H: Host> Server<H> {
    /// The text of `/proc/net/NAME`; `None` for a name that is not here.
    pub(crate) fn proc_net(&self, shard: &mut Shard, name: &str) -> Option<String> {
        Some(match name {
            "dev" => interfaces(shard).iter().fold(DEV.into(), dev),
            "if_inet6" => if_inet6(shard),
            "route" => routes(shard, true).iter().fold(format!("{ROUTE:<127}\n"), route),
            "ipv6_route" => routes(shard, false).iter().fold(String::new(), ipv6_route),
            "arp" => arp(shard),
            "tcp" => self.sockets(shard, "tcp", 4).fold(format!("{TCP:<149}\n"), tcp),
            "tcp6" => self.sockets(shard, "tcp", 6).fold(format!("{SOCKS6}\n"), tcp),
            "udp" => self.sockets(shard, "udp", 4).fold(format!("{UDP:<127}\n"), udp),
            "udp6" => self.sockets(shard, "udp", 6).fold(format!("{SOCKS6} ref pointer drops\n"), udp),
            "raw" => self.raw_sockets(shard, 4).fold(format!("{RAW}\n"), raw),
            "raw6" => self.raw_sockets(shard, 6).fold(format!("{SOCKS6} ref pointer drops\n"), udp),
            "dev_mcast" => groups::dev_mcast(shard),
            "igmp" => groups::igmp(shard),
            "igmp6" => groups::igmp6(shard),
            "snmp6" => stat::snmp6(shard),
            "sockstat" => stat::sockstat(&self.all_sockets(shard), true),
            "sockstat6" => stat::sockstat(&self.all_sockets(shard), false),
            _ => return None,
        })
    }

    /// Sockets of a protocol and family, numbered.
    fn sockets(
        &self,
        shard: &mut Shard,
        proto: &'static str,
        family: u8,
    ) -> impl Iterator<Item = (usize, SockInfo)> {
        // A stream that is neither bound nor connected is in no table of Linux's.
        let shown = move |i: &SockInfo| {
            i.proto == proto && i.family == family && !(proto == "tcp" && i.state == "CLOSED")
        };
        self.all_sockets(shard).into_iter().filter(shown).enumerate()
    }

    /// Raw sockets: their protocol stands where others have a port.
    fn raw_sockets(&self, shard: &mut Shard, family: u8) -> impl Iterator<Item = (usize, SockInfo)> {
        let mut list: Vec<(usize, SockInfo)> = self.sockets(shard, "raw", family).collect();
        for (_, i) in &mut list {
            i.local.set_port(diag::protocol(shard, i));
        }
        list.into_iter()
    }

    fn all_sockets(&self, shard: &mut Shard) -> Vec<SockInfo> {
        let (mut all, mut cursor) = (Vec::new(), 0);
        while let Some(r) = shard.ctl(&Request::Sockets { cursor }) {
            let Reply::Sockets { list, next } = self.with_descriptors(r) else { break };
            all.extend(list);
            cursor = next;
            if cursor == 0 || all.len() >= LINES {
                break;
            }
        }
        all.truncate(LINES);
        all
    }
}

fn interfaces(shard: &mut Shard) -> Vec<Ifconf> {
    match shard.ctl(&Request::Interfaces { name: None }) {
        Some(Reply::Interfaces(l)) => l,
        _ => Vec::new(),
    }
}

fn dev(mut s: String, i: &Ifconf) -> String {
    let c = &i.counters;
    let _ = writeln!(
        s,
        "{:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
        i.name,
        c.ibytes,
        c.ipackets,
        c.ierrors,
        c.iqdrops,
        0,
        0,
        0,
        c.imcasts,
        c.obytes,
        c.opackets,
        c.oerrors,
        c.oqdrops,
        0,
        c.collisions,
        0,
        0
    );
    s
}

fn hex6(a: &Ipv6Addr) -> String {
    zone::strip(*a).octets().iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

fn if_inet6(shard: &mut Shard) -> String {
    let (mut s, stable) = (String::new(), addr::stable(shard));
    for i in interfaces(shard) {
        for a in &i.addrs {
            let IpAddr::V6(x) = a.addr else { continue };
            let scope = match x {
                x if x.is_loopback() => 0x10,
                x if x.segments()[0] & 0xffc0 == 0xfe80 => 0x20,
                _ => 0,
            };
            // The flags of one byte, as Linux prints them.
            let (hex, flags) = (hex6(&x), addr::flags(&i, a, stable) & 0xff);
            let len = a.prefix_len;
            let _ = writeln!(s, "{hex} {:02x} {len:02x} {scope:02x} {flags:02x} {:>8}", i.index, i.name);
        }
    }
    s
}

fn routes(shard: &mut Shard, v4: bool) -> Vec<RouteInfo> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    while let Some(Reply::Routes { list, next }) = shard.ctl(&Request::Routes { cursor }) {
        // Entries cloned for neighbours are in another table of Linux's.
        all.extend(list.into_iter().filter(|r| r.dst.is_ipv4() == v4 && r.flags & rtf::LLINFO == 0));
        cursor = next;
        if cursor == 0 || all.len() >= LINES {
            break;
        }
    }
    all.truncate(LINES);
    all
}

/// `RTF_*` of linux/route.h.
fn route_flags(r: &RouteInfo) -> u32 {
    let host = r.prefix_len == if r.dst.is_ipv4() { 32 } else { 128 };
    let bit = |on: bool, bit| if on { bit } else { 0 };
    bit(r.flags & rtf::UP != 0, 1)
        | bit(r.gateway.is_some(), 2)
        | bit(host, 4)
        | bit(r.flags & rtf::REJECT != 0, 0x200)
}

/// An IPv4 address as Linux prints it: the bytes as they lie in memory, as one number of this machine.
fn word(a: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(a.octets())
}

fn v4(a: Option<IpAddr>) -> Ipv4Addr {
    match a {
        Some(IpAddr::V4(a)) => a,
        _ => Ipv4Addr::UNSPECIFIED,
    }
}

fn v6(a: Option<IpAddr>) -> Ipv6Addr {
    match a {
        Some(IpAddr::V6(a)) => a,
        _ => Ipv6Addr::UNSPECIFIED,
    }
}

fn route(mut s: String, r: &RouteInfo) -> String {
    let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(r.prefix_len)).unwrap_or(0));
    let line = format!(
        "{}\t{:08X}\t{:08X}\t{:04X}\t{}\t{}\t{}\t{:08X}\t{}\t0\t0",
        r.ifname.as_deref().unwrap_or("*"),
        word(v4(Some(r.dst))),
        word(v4(r.gateway)),
        route_flags(r),
        r.refs,
        r.used,
        0,
        word(mask),
        r.mtu
    );
    let _ = writeln!(s, "{line:<127}");
    s
}

fn ipv6_route(mut s: String, r: &RouteInfo) -> String {
    let (dst, gw, none) = (hex6(&v6(Some(r.dst))), hex6(&v6(r.gateway)), hex6(&Ipv6Addr::UNSPECIFIED));
    let _ = writeln!(
        s,
        "{dst} {:02x} {none} 00 {gw} {:08x} {:08x} {:08x} {:08x} {:>8}",
        r.prefix_len,
        metric(r),
        r.refs,
        r.used as u32,
        route_flags(r),
        r.ifname.as_deref().unwrap_or("*")
    );
    s
}

fn arp(shard: &mut Shard) -> String {
    let list = match shard.ctl(&Request::Arp) {
        Some(Reply::Arp(l)) => l,
        _ => Vec::new(),
    };
    let line = |mut s: String, e: &ArpEntry| {
        // ATF_COM, ATF_PERM, ATF_PUBL.
        let bit = |on: bool, bit| if on { bit } else { 0 };
        let flags = bit(e.mac.is_some(), 2) | bit(e.permanent, 4) | bit(e.published, 8);
        let m = e.mac.unwrap_or_default();
        let mac = format!("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5]);
        let dev = e.ifname.as_deref().unwrap_or("*");
        let _ = writeln!(s, "{:<16} 0x{:<10x}0x{flags:<10x}{mac:<17}     *        {dev}", e.ip, 1);
        s
    };
    list.iter().take(LINES).fold(ARP.into(), line)
}

/// Address and port as the tables of sockets have them.
fn end(a: Option<SocketAddr>, family: u8) -> String {
    let port = a.map_or(0, |a| a.port());
    match (a.map(|a| a.ip()), family) {
        (ip, 4) => format!("{:08X}:{port:04X}", word(v4(ip))),
        (ip, _) => {
            let a = match ip {
                Some(IpAddr::V4(a)) => a.to_ipv6_mapped(),
                ip => zone::strip(v6(ip)),
            };
            let mut s = String::new();
            for w in a.octets().chunks_exact(4) {
                let w = w.try_into().map_or(0, u32::from_ne_bytes);
                let _ = write!(s, "{w:08X}");
            }
            let _ = write!(s, ":{port:04X}");
            s
        }
    }
}

fn common(n: usize, width: usize, i: &SockInfo, state: u8) -> String {
    let remote = i.remote.filter(|_| i.state != "LISTEN");
    format!(
        "{n:width$}: {} {} {state:02X} {:08X}:{:08X} 00:00000000 00000000 {:5} {:8} {}",
        end(Some(i.local), i.family),
        end(remote, i.family),
        i.send_q,
        i.recv_q,
        i.uid,
        0,
        i.ino
    )
}

fn tcp(mut s: String, (n, i): (usize, SockInfo)) -> String {
    let states = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RCVD",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "TIME_WAIT",
        "CLOSED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    let state = states.iter().position(|t| *t == i.state).map_or(7, |p| p as u8 + 1);
    // References, no address of the kernel's, and the timers' part, which nobody knows here.
    let line = common(n, 4, &i, state) + &format!(" 1 {:016x} 20 4 0 10 -1", 0);
    if i.family == 4 {
        let _ = writeln!(s, "{line:<149}");
    } else {
        let _ = writeln!(s, "{line}");
    }
    s
}

fn udp(mut s: String, (n, i): (usize, SockInfo)) -> String {
    let line = common(n, 5, &i, if i.remote.is_some() { 1 } else { 7 }) + &format!(" 2 {:016x} 0", 0);
    if i.family == 4 {
        let _ = writeln!(s, "{line:<127}");
    } else {
        let _ = writeln!(s, "{line}");
    }
    s
}

/// Those of IPv4; those of IPv6 stand like UDP's.
fn raw(s: String, (n, i): (usize, SockInfo)) -> String {
    s + &common(n, 4, &i, if i.remote.is_some() { 1 } else { 7 }) + &format!(" 2 {:016x} 0\n", 0)
}

//! ioctl(2) with SIOC* requests, in Linux's layouts (netdevice(7)).

use crate::Host;
use crate::server::Server;
use crate::sock::{Join, State};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Result};
use iopkt_ctl::{IfKind, Ifconf, Reply, Request, iff};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, DgramHdr, MAX_PAYLOAD, Rep, Req, df};
use iopkt_stack::Shard;
use iopkt_stack::prefix::mask4;

impl<H: Host> Server<H> {
    pub(crate) fn ioctl(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        let mut rep = Rep::ok(req);
        let what = req.args[0] as u32;
        match what {
            SIOCINQ => rep.val[0] = self.readable_bytes(fd, s)?,
            SIOCOUTQ => rep.val[0] = self.unsent_bytes(shard, s)?,
            SIOCATMARK if self.socks[s as usize].kind.stream() => {
                rep.val[0] = self.host.client_at_mark(fd).into();
            }
            SIOCGIFCONF => {
                let (list, full) = ifconf(shard, req.args[1])?;
                rep.val[0] = full;
                self.reply(k, rep, &list, None);
                return Ok(());
            }
            _ => {
                let mut ifr = [0; IFREQ_LEN];
                ifr.copy_from_slice(payload.get(..IFREQ_LEN).ok_or(Errno::EINVAL)?);
                if changes_interface(what) {
                    let uid = self.sessions.get(k as usize).map(|s| s.cred.uid);
                    if uid.is_none_or(|u| u != 0 && u != self.cfg.uid) {
                        return Err(Errno::EPERM);
                    }
                    if matches!(what, SIOCADDMULTI | SIOCDELMULTI) {
                        crate::ioctl_set::group(shard, what, &ifr)?;
                        self.reply(k, rep, &ifr, None);
                        return Ok(());
                    }
                    let request = crate::ioctl_set::request(shard, what, &ifr)?;
                    return self.ioctl_request(shard, k, req, &request, &ifr);
                }
                one_interface(shard, what, &mut ifr)?;
                self.reply(k, rep, &ifr, None);
                return Ok(());
            }
        }
        self.reply(k, rep, &[], None);
        Ok(())
    }

    /// Carries out the configuration request that an ioctl stands for. What the runtime must do is begun: the answer is that of
    /// the ioctl's form, as BSD's drivers detach after the call, too.
    fn ioctl_request(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        r: &Request,
        ifr: &[u8; IFREQ_LEN],
    ) -> Result<()> {
        let cred = self.sessions.get(k as usize).map(|s| s.cred).ok_or(Errno::EBADF)?;
        shard.cx.rt.by = iopkt_stack::By { pid: cred.pid as i32, ..Default::default() };
        let reply = shard.ctl(r);
        shard.cx.rt.by = Default::default();
        match reply {
            Some(Reply::Err { errno, .. }) => Err(errno),
            // A driver's interface: its object is unloaded by the runtime, which answers configuration requests only.
            None => Err(Errno::EOPNOTSUPP),
            Some(_) => {
                self.reply(k, Rep::ok(req), ifr, None);
                Ok(())
            }
        }
    }

    fn readable_bytes(&mut self, fd: &H::Fd, s: u32) -> Result<i32> {
        let sk = &self.socks[s as usize];
        match &sk.state {
            State::Listening(_) => Err(Errno::EINVAL),
            State::Dgram(_) => {
                let Some(n) = self.host.client_recv(fd, &mut self.buf, true)? else { return Ok(0) };
                match DgramHdr::decode(&self.buf[..n], self.cfg.key) {
                    Some((h, _)) if h.flags & df::ERROR != 0 => Ok(0),
                    Some((_, payload)) => Ok(payload.len() as i32),
                    None => Ok(n as i32),
                }
            }
            _ => Ok(self.host.client_pending(fd) as i32),
        }
    }

    /// Bytes that were written and not yet acknowledged: in the pair and in the stack.
    fn unsent_bytes(&mut self, shard: &mut Shard, s: u32) -> Result<i32> {
        let sk = &self.socks[s as usize];
        if sk.join == Join::Joined {
            return Ok(0); // what was written is with the other program
        }
        if matches!(sk.state, State::Listening(_)) {
            return Err(Errno::EINVAL);
        }
        let pair = self.host.pending(sk.end) + sk.stash.len();
        let stack = shard.sockets.queued(sk.id).1;
        Ok(i32::try_from(pair + stack).unwrap_or(i32::MAX))
    }
}

fn interfaces(shard: &mut Shard, name: Option<String>) -> Result<Vec<Ifconf>> {
    match shard.ctl(&Request::Interfaces { name }) {
        Some(Reply::Interfaces(list)) => Ok(list),
        Some(Reply::Err { .. }) => Err(Errno::ENODEV),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// SIOCGIFCONF: one entry for each IPv4 address. `room` below 0 (no buffer) only asks for the length.
fn ifconf(shard: &mut Shard, room: i32) -> Result<(Vec<u8>, i32)> {
    let mut out = Vec::new();
    for i in interfaces(shard, None)? {
        for a in i.addrs.iter().filter(|a| a.addr.is_ipv4()) {
            let mut e = [0; IFREQ_LEN];
            put_name(&mut e, &i.name);
            put_addr(&mut e, a.addr);
            out.extend_from_slice(&e);
        }
    }
    let full = out.len() as i32;
    if room >= 0 {
        // Whole entries only, as many as fit.
        let fit = (room as usize).min(MAX_PAYLOAD) / IFREQ_LEN * IFREQ_LEN;
        out.truncate(fit);
        let n = out.len() as i32;
        return Ok((out, n));
    }
    Ok((Vec::new(), full))
}

fn put_name(ifr: &mut [u8; IFREQ_LEN], name: &str) {
    let n = name.len().min(IFNAMSIZ - 1);
    ifr[..IFNAMSIZ].fill(0);
    ifr[..n].copy_from_slice(&name.as_bytes()[..n]);
}

fn put_addr(ifr: &mut [u8; IFREQ_LEN], a: IpAddr) {
    let (sa, n) = Addr(Some((a, 0).into())).to_sockaddr();
    ifr[IFNAMSIZ..].fill(0);
    // The union has 24 bytes: sockaddr_in fits, sockaddr_in6 does not (Linux answers for IPv4 only).
    let n = n.min(IFREQ_LEN - IFNAMSIZ);
    ifr[IFNAMSIZ..IFNAMSIZ + n].copy_from_slice(&sa[..n]);
}

fn put_int(ifr: &mut [u8; IFREQ_LEN], v: i32) {
    ifr[IFNAMSIZ..IFNAMSIZ + 4].copy_from_slice(&v.to_ne_bytes());
}

/// A request about an interface, on a descriptor that is no IP socket: its `struct ifreq` as it comes back.
pub(crate) fn interface(shard: &mut Shard, what: u32, arg: &[u8]) -> Result<Vec<u8>> {
    let mut ifr = [0; IFREQ_LEN];
    ifr.copy_from_slice(arg.get(..IFREQ_LEN).ok_or(Errno::EINVAL)?);
    one_interface(shard, what, &mut ifr)?;
    Ok(ifr.to_vec())
}

fn one_interface(shard: &mut Shard, what: u32, ifr: &mut [u8; IFREQ_LEN]) -> Result<()> {
    let wanted: Option<Ifconf> = if what == SIOCGIFNAME {
        let mut n = [0; 4];
        n.copy_from_slice(&ifr[IFNAMSIZ..IFNAMSIZ + 4]);
        let index = u32::from_ne_bytes(n);
        interfaces(shard, None)?.into_iter().find(|i| i.index == index)
    } else {
        let end = ifr[..IFNAMSIZ].iter().position(|b| *b == 0).unwrap_or(IFNAMSIZ);
        let name = core::str::from_utf8(&ifr[..end]).map_err(|_| Errno::ENODEV)?;
        interfaces(shard, Some(name.into()))?.into_iter().next()
    };
    let i = wanted.ok_or(Errno::ENODEV)?;
    let v4 = i.addrs.iter().find(|a| a.addr.is_ipv4());
    match what {
        SIOCGIFNAME => put_name(ifr, &i.name),
        SIOCGIFINDEX => put_int(ifr, i.index as i32),
        SIOCGIFFLAGS => {
            ifr[IFNAMSIZ..].fill(0);
            ifr[IFNAMSIZ..IFNAMSIZ + 2].copy_from_slice(&linux_flags(i.flags).to_ne_bytes());
        }
        SIOCGIFMTU => put_int(ifr, i.mtu as i32),
        // Linux has no metric and says 0; so it prints 1 or 0 alike.
        SIOCGIFMETRIC => put_int(ifr, i.metric as i32),
        SIOCGIFTXQLEN => put_int(ifr, 0),
        SIOCGIFCAP => {
            for (at, v) in [i.caps_rx, i.caps_tx, i.enabled_rx, i.enabled_tx].iter().enumerate() {
                ifr[IFNAMSIZ + 4 * at..][..4].copy_from_slice(&v.to_ne_bytes());
            }
        }
        SIOCGIFMEDIA => {
            // Current word, link state (BSD's IFM_AVALID and IFM_ACTIVE), number of words.
            let status = match i.link {
                iopkt_ctl::LinkState::Unknown => 0,
                iopkt_ctl::LinkState::Down => 1,
                iopkt_ctl::LinkState::Up => 3,
            };
            if !i.media {
                return Err(Errno::EINVAL);
            }
            for (at, v) in [i.media_now, status, i.media_words.len() as u32].iter().enumerate() {
                ifr[IFNAMSIZ + 4 * at..][..4].copy_from_slice(&v.to_ne_bytes());
            }
        }
        // The n-th address beyond the primary one, n in the first four bytes of the union.
        SIOCGIFALIAS => {
            let mut n = [0; 4];
            n.copy_from_slice(&ifr[IFNAMSIZ..IFNAMSIZ + 4]);
            let n = u32::from_ne_bytes(n) as usize;
            let a = i.addrs.iter().filter(|a| a.addr.is_ipv4()).nth(n.saturating_add(1));
            put_addr(ifr, a.ok_or(Errno::EADDRNOTAVAIL)?.addr);
        }
        SIOCGIFHWADDR => {
            ifr[IFNAMSIZ..].fill(0);
            // ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE: bare IP packets.
            let kind: u16 = match i.kind {
                IfKind::Ethernet => 1,
                IfKind::Loopback => 772,
                IfKind::PointToPoint => 65534,
            };
            ifr[IFNAMSIZ..IFNAMSIZ + 2].copy_from_slice(&kind.to_ne_bytes());
            ifr[IFNAMSIZ + 2..IFNAMSIZ + 8].copy_from_slice(&i.mac);
        }
        SIOCGIFADDR => put_addr(ifr, v4.ok_or(Errno::EADDRNOTAVAIL)?.addr),
        SIOCGIFBRDADDR => {
            let a = v4.ok_or(Errno::EADDRNOTAVAIL)?;
            put_addr(ifr, a.broadcast.unwrap_or(IpAddr::from([0, 0, 0, 0])));
        }
        SIOCGIFDSTADDR => {
            let a = v4.ok_or(Errno::EADDRNOTAVAIL)?;
            put_addr(ifr, a.peer.unwrap_or(a.addr));
        }
        SIOCGIFNETMASK => {
            let a = v4.ok_or(Errno::EADDRNOTAVAIL)?;
            put_addr(ifr, IpAddr::from(mask4(a.prefix_len).to_be_bytes()));
        }
        // Setting is the business of ifconfig and its like, by configuration requests.
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

/// BSD's interface flags in Linux's numbers (netdevice(7)).
pub(crate) fn linux_flags(f: u32) -> u16 {
    let map: [(u32, u16); 10] = [
        (iff::UP, 0x1),
        (iff::BROADCAST, 0x2),
        (iff::DEBUG, 0x4),
        (iff::LOOPBACK, 0x8),
        (iff::POINTOPOINT, 0x10),
        (iff::RUNNING, 0x40),
        (iff::NOARP, 0x80),
        (iff::PROMISC, 0x100),
        (iff::ALLMULTI, 0x200),
        (iff::MULTICAST, 0x1000),
    ];
    map.iter().filter(|(bsd, _)| f & bsd != 0).map(|(_, linux)| linux).fold(0, |a, b| a | b)
}

//! TCP Fast Open (RFC 7413) around the machine: which cookies are good, which ones peers gave us, how many half-open
//! connections may be in use, and Linux's options and variable for all that.
//!
//! A server's cookie is SipHash-2-4 of the packet's addresses under its key, as Linux computes it, so several servers with
//! one key (TCP_FASTOPEN_KEY) may stand behind one address. A second key is accepted, not given out: keys can be
//! changed while clients hold cookies of the old one.
//!
//! A client's cookies are kept for each pair of addresses with the MSS that the peer announced; where SYNs with data
//! vanish twice in a row, ordinary ones are sent for a while.

use super::Sockets;
use super::options::{flag, int, put, put_int};
use super::sock::{Body, Sock};
use super::tcp_in::Arrived;
use super::tcp_listen::Listener;
use super::types::SockId;
use crate::cx::Cx;
use crate::hash::{KeyedMap, KeyedState};
use alloc::collections::VecDeque;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Duration, Errno, Instant, Keyed, Result};
use iopkt_tcp::{Config, FastOpen, Learned, Outcome};

/// Names at IPPROTO_TCP (linux/tcp.h).
#[allow(missing_docs)]
pub(crate) mod tcp {
    pub const FASTOPEN: i32 = 23;
    pub const FASTOPEN_CONNECT: i32 = 30;
    pub const FASTOPEN_KEY: i32 = 33;
    pub const FASTOPEN_NO_COOKIE: i32 = 34;
}

/// Bits of `net.inet.tcp.fastopen` (Linux's `net.ipv4.tcp_fastopen`).
#[allow(missing_docs)]
mod bits {
    pub const CLIENT: u32 = 1;
    pub const SERVER: u32 = 2;
    /// Data goes in SYNs without a cookie.
    pub const CLIENT_NO_COOKIE: u32 = 4;
    /// Data in SYNs is taken without a cookie.
    pub const SERVER_NO_COOKIE: u32 = 0x200;
    /// All listeners, also without TCP_FASTOPEN.
    pub const EVERY_LISTENER: u32 = 0x400;
    pub const ALL: u32 = CLIENT | SERVER | CLIENT_NO_COOKIE | SERVER_NO_COOKIE | EVERY_LISTENER;
}

/// Peers whose cookies are kept.
pub(crate) const CACHE_MAX: usize = 1024;
/// A connection that a reset ended before its handshake did goes on counting against the listener's limit for so long: its
/// SYN's source may have been forged (RFC 7413 section 5.1).
const RESET_COUNTS: Duration = Duration::from_secs(60);
/// First pause after SYNs with data vanished; doubles.
const PAUSE: Duration = Duration::from_secs(60);
/// Length of a key, bytes.
const KEY: usize = 16;

/// Settings of a socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct FastOpts {
    /// Most connections of a listener that may be in use before their handshake ends; 0: none.
    pub qlen: u32,
    /// TCP_FASTOPEN_CONNECT.
    pub connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub no_cookie: bool,
    /// The listener's own keys.
    pub keys: Option<Keys>,
}

/// The key of cookies, and one that is still accepted.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    primary: [u8; KEY],
    backup: Option<[u8; KEY]>,
}

impl Keys {
    fn read(b: &[u8]) -> Option<Keys> {
        let (primary, rest) = b.split_first_chunk::<KEY>()?;
        match rest.len() {
            0 => Some(Keys { primary: *primary, backup: None }),
            KEY => Some(Keys { primary: *primary, backup: rest.first_chunk::<KEY>().copied() }),
            _ => None,
        }
    }
}

/// The cookie of a peer.
fn cookie(key: &[u8; KEY], peer: IpAddr, here: IpAddr, exp: bool) -> Option<FastOpen> {
    let key = Keyed::new(*key);
    // [RFC7413 4.1.2]
    let h = match (peer, here) {
        (IpAddr::V4(p), IpAddr::V4(h)) => key.hash(&[&p.octets(), &h.octets()]),
        (IpAddr::V6(p), IpAddr::V6(h)) => key.hash(&[&p.octets(), &h.octets()]),
        _ => return None,
    };
    FastOpen::cookie(&h.to_le_bytes(), exp)
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug)]
struct Known {
    cookie: Option<FastOpen>,
    mss: u16,
    /// How often the standard and the experimental option were refused: which form is asked for next.
    refused: u8,
    losses: u8,
    lost_at: Instant,
}

/// The stack's part of it.
pub(crate) struct Fast {
    pub(crate) bits: u32,
    keys: Keys,
    cache: KeyedMap<(IpAddr, IpAddr), Known>,
    /// Oldest first.
    order: VecDeque<(IpAddr, IpAddr)>,
}

impl Fast {
    pub fn new(secret: &Keyed) -> Fast {
        let mut primary = [0; KEY];
        primary[..8].copy_from_slice(&secret.hash(&[b"fast open", b"0"]).to_le_bytes());
        primary[8..].copy_from_slice(&secret.hash(&[b"fast open", b"1"]).to_le_bytes());
        Fast {
            bits: bits::CLIENT,
            keys: Keys { primary, backup: None },
            cache: KeyedMap::with_hasher(KeyedState::new(secret, "fast open")),
            order: VecDeque::new(),
        }
    }

    /// Changes `net.inet.tcp.fastopen`; false for bits that mean nothing.
    pub fn set_bits(&mut self, v: u32) -> bool {
        let ok = v & !bits::ALL == 0;
        if ok {
            self.bits = v;
        }
        ok
    }

    /// Settings of an active open that is to be fast: data, the request for a cookie, or nothing of it.
    fn client(&self, now: Instant, cfg: &mut Config, ends: (IpAddr, IpAddr), no_cookie: bool) {
        let known = self.cache.get(&ends);
        if let Some(k) = known {
            cfg.fast_open_mss = k.mss;
            let pause = PAUSE * (1 << k.losses.min(10));
            if k.losses > 1 && now.since(k.lost_at) < pause {
                // [RFC7413 4.1.3b]
                return;
            }
        }
        if no_cookie || self.bits & bits::CLIENT_NO_COOKIE != 0 {
            cfg.fast_open_bare = true;
            return;
        }
        let exp = known.is_some_and(|k| k.refused == 1);
        cfg.fast_open = Some(known.and_then(|k| k.cookie).unwrap_or(FastOpen::request(exp)));
    }

    /// Keeps what a handshake taught.
    fn learn(&mut self, now: Instant, ends: (IpAddr, IpAddr), l: &Learned) {
        if !self.cache.contains_key(&ends) {
            // [RFC7413 4.1.3d]
            if self.cache.len() >= CACHE_MAX
                && let Some(old) = self.order.pop_front()
            {
                self.cache.remove(&old);
            }
            self.order.push_back(ends);
        }
        let none = Known { cookie: None, mss: l.mss, refused: 0, losses: 0, lost_at: now };
        let k = self.cache.entry(ends).or_insert(none);
        k.mss = l.mss;
        // [RFC7413 4.1.3a]
        k.cookie = l.cookie.or(k.cookie);
        if let Some(asked) = l.refused {
            // Once both forms were, it is the standard one for ever.
            k.refused = if asked.exp { 2 } else { k.refused.max(1) };
        }
        if l.dropped {
            (k.losses, k.lost_at) = (k.losses.saturating_add(1), now);
        } else {
            k.losses = 0;
        }
    }
}

/// What a listener does with a SYN.
pub(super) enum Answer {
    /// The usual.
    Plain,
    /// The usual, and a cookie.
    Offer(FastOpen),
    /// The connection can be used now; perhaps the peer gets another cookie.
    Accept(Option<FastOpen>),
}

impl Sockets {
    /// The keys of listeners without their own (Linux's `tcp_fastopen_key`), each 16 bytes: the first makes cookies, the
    /// second is still accepted.
    pub fn set_fast_open_keys(&mut self, primary: [u8; 16], backup: Option<[u8; 16]>) {
        self.fast.keys = Keys { primary, backup };
    }

    /// Forgets the cookies of peers.
    pub fn forget_cookies(&mut self) {
        self.fast.cache.clear();
        self.fast.order.clear();
    }

    /// Whether Fast Open is switched on for clients.
    pub(super) fn fast_client(&self) -> bool {
        self.fast.bits & bits::CLIENT != 0
    }

    /// Completes the settings of an active open that is to be fast.
    pub(super) fn fast_config(
        &self,
        now: Instant,
        cfg: &mut Config,
        no_cookie: bool,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        self.fast.client(now, cfg, (local.ip(), remote.ip()), no_cookie);
    }

    /// A handshake ended, well or not: keeps what it taught about the peer, and a listener's place is free again.
    pub(super) fn fast_over(&mut self, now: Instant, slot: u32, out: &Outcome) {
        let Some(s) = self.table.at_mut(slot) else { return };
        let (local, remote) = (s.local, s.remote);
        let Body::Conn(c) = &mut s.body else { return };
        let (listener, learned) = (c.fast_of.take(), c.tcb.fast_open_learned());
        if let (Some(l), Some(r)) = (learned, remote) {
            self.fast.learn(now, (local, r.ip()), &l);
            let (taken, fail) = c.tcb.info(now).fast_open;
            let t = &mut self.stats.of(&local).tcp;
            t.fast_active += u64::from(taken);
            t.fast_active_fail += u64::from(
                !taken && !matches!(fail, iopkt_tcp::FastOpenFail::None | iopkt_tcp::FastOpenFail::NoCookie),
            );
        }
        if let Some(l) = listener {
            self.fast_leaves(now, l, out.error == Some(Errno::ECONNRESET));
        }
    }

    /// A connection no longer counts against its listener's limit, or after a reset only later.
    pub(super) fn fast_leaves(&mut self, now: Instant, listener: SockId, reset: bool) {
        let Ok(Sock { body: Body::Listen(l), .. }) = self.table.get_mut(listener) else { return };
        l.fast = l.fast.saturating_sub(1);
        if reset {
            // [RFC7413 5.1a]
            l.fast_resets.push_back(now + RESET_COUNTS);
        }
    }

    /// What to do with a SYN's Fast Open option and data.
    pub(super) fn fast_answer(&mut self, now: Instant, slot: u32, a: &Arrived) -> Answer {
        let on = self.fast.bits;
        let option = a.seg.options.fast_open;
        if option.is_none() && a.len == 0 || on & bits::SERVER == 0 {
            return Answer::Plain;
        }
        let Some(Sock { body: Body::Listen(l), opt, .. }) = self.table.at_mut(slot) else {
            return Answer::Plain;
        };
        let every = if on & bits::EVERY_LISTENER != 0 { l.backlog as u32 } else { 0 };
        let max = if opt.tcp.fast.qlen != 0 { opt.tcp.fast.qlen } else { every };
        if max == 0 {
            return Answer::Plain;
        }
        if !room(l, now, max as usize) {
            // [RFC7413 5.1b]
            self.stats.of(&a.remote.ip()).tcp.fast_overflow += 1;
            return Answer::Plain;
        }
        if on & bits::SERVER_NO_COOKIE != 0 || opt.tcp.fast.no_cookie {
            return Answer::Accept(None);
        }
        let Some(f) = option else { return Answer::Plain };
        let keys = opt.tcp.fast.keys.as_ref().unwrap_or(&self.fast.keys);
        let make = |key| cookie(key, a.remote.ip(), a.local.ip(), f.exp);
        let Some(good) = make(&keys.primary) else { return Answer::Plain };
        if f.is_request() {
            self.stats.of(&a.remote.ip()).tcp.fast_requests += 1;
            return Answer::Offer(good);
        }
        // [RFC7413 4.2.2a]
        if f.bytes() == good.bytes() {
            return Answer::Accept(None);
        }
        let old = keys.backup.as_ref().and_then(make);
        if old.is_some_and(|o| o.bytes() == f.bytes()) {
            return Answer::Accept(Some(good));
        }
        self.stats.of(&a.remote.ip()).tcp.fast_passive_fail += 1;
        Answer::Offer(good)
    }

    pub(super) fn set_fast(&mut self, cx: &Cx, id: SockId, name: i32, v: &[u8]) -> Result<()> {
        let client = self.fast_client();
        let s = self.table.get_mut(id)?;
        let fresh = matches!(s.body, Body::Idle);
        let quiet = fresh || matches!(s.body, Body::Listen(_));
        let f = &mut s.opt.tcp.fast;
        let truth = |v| match int(v)? {
            0 | 1 => flag(v),
            _ => Err(Errno::EINVAL),
        };
        match name {
            tcp::FASTOPEN => {
                let n = u32::try_from(int(v)?).ok().filter(|_| quiet).ok_or(Errno::EINVAL)?;
                f.qlen = n.min(cx.cfg.somaxconn);
            }
            tcp::FASTOPEN_CONNECT => {
                let on = truth(v)?;
                if !client {
                    return Err(Errno::EOPNOTSUPP);
                }
                if !fresh {
                    return Err(Errno::EINVAL);
                }
                f.connect = on;
            }
            tcp::FASTOPEN_NO_COOKIE => {
                let on = truth(v)?;
                if !quiet {
                    return Err(Errno::EINVAL);
                }
                f.no_cookie = on;
            }
            tcp::FASTOPEN_KEY => f.keys = Some(Keys::read(v).ok_or(Errno::EINVAL)?),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    pub(super) fn get_fast(&self, id: SockId, name: i32, out: &mut [u8]) -> Result<usize> {
        let f = &self.table.get(id)?.opt.tcp.fast;
        Ok(match name {
            tcp::FASTOPEN => put_int(out, f.qlen as i32),
            tcp::FASTOPEN_CONNECT => put_int(out, f.connect.into()),
            tcp::FASTOPEN_NO_COOKIE => put_int(out, f.no_cookie.into()),
            tcp::FASTOPEN_KEY => {
                let keys = f.keys.as_ref().unwrap_or(&self.fast.keys);
                let mut b = [0; 2 * KEY];
                b[..KEY].copy_from_slice(&keys.primary);
                b[KEY..].copy_from_slice(&keys.backup.unwrap_or_default());
                put(out, &b[..if keys.backup.is_some() { 2 * KEY } else { KEY }])
            }
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }
}

/// Whether a listener may have one more connection that is in use before its handshake ends.
fn room(l: &mut Listener, now: Instant, max: usize) -> bool {
    if l.fast + l.fast_resets.len() >= max {
        // One that was reset long ago makes room.
        if l.fast_resets.front().is_none_or(|t| *t > now) {
            return false;
        }
        l.fast_resets.pop_front();
    }
    true
}

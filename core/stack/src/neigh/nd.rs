//! What Neighbour Discovery tells the neighbour cache (RFC 4861 7.2.3 and 7.2.5): unlike ARP, hearing of a neighbour does not mean
//! that it hears us.

use crate::cx::Cx;
use crate::neigh::{KEEP, Learned, Neighbours, State};
use core::net::IpAddr;
use iopkt_mbuf::Mbuf;

impl Neighbours {
    /// A neighbour said its link-level address in passing: in a solicitation, a router's message, a redirect. Makes an entry
    /// (at the limit for strangers in the place of another one); a new or changed one is stale.
    pub fn heard(&mut self, cx: &mut Cx, ifindex: u32, ip: IpAddr, mac: [u8; 6]) -> Learned {
        // [RFC4861 6.2.6b] [RFC4861 7.2.3b]
        self.recent = None;
        let key = (ifindex, ip);
        let mut out = Learned::default();
        let Some(e) = self.map.get_mut(&key) else {
            if self.room_to_hear(cx) {
                self.insert(key, cx.now, State::Stale);
                if let Some(e) = self.map.get_mut(&key) {
                    e.mac = mac;
                }
                self.arm(key, cx.now + KEEP);
                self.tell(cx, key);
            }
            return out;
        };
        if e.permanent {
            out.refused = e.mac != mac;
            return out;
        }
        if e.state != State::Incomplete && e.mac == mac {
            return out;
        }
        out.moved_from = Some(e.mac).filter(|_| e.state != State::Incomplete);
        self.settle(cx, key, mac, State::Stale, &mut out);
        self.tell(cx, key);
        out
    }

    /// A neighbour advertisement. `mac`: its option, if it has one; `solicited`: it answers us; `over`: it may replace
    /// what is known.
    pub fn advert(
        &mut self,
        cx: &mut Cx,
        ifindex: u32,
        ip: IpAddr,
        mac: Option<[u8; 6]>,
        solicited: bool,
        over: bool,
    ) -> Learned {
        // [RFC4861 7.2.5a] [RFC4861 7.2.5b]
        self.recent = None;
        let key = (ifindex, ip);
        let mut out = Learned::default();
        let Some(e) = self.map.get_mut(&key) else { return out };
        if e.permanent {
            out.refused = mac.is_some_and(|m| m != e.mac);
            return out;
        }
        let state = if solicited { State::Reachable } else { State::Stale };
        if e.state == State::Incomplete {
            if let Some(mac) = mac {
                self.settle(cx, key, mac, state, &mut out);
                self.tell(cx, key);
            }
            return out;
        }
        let new = mac.filter(|m| *m != e.mac);
        match new {
            Some(_) if !over && e.state == State::Reachable => e.state = State::Stale,
            Some(_) if !over => {}
            Some(mac) => {
                out.moved_from = Some(e.mac);
                self.settle(cx, key, mac, state, &mut out);
            }
            None if solicited => {
                let mac = e.mac;
                self.settle(cx, key, mac, state, &mut out);
            }
            None => {}
        }
        self.tell(cx, key);
        out
    }

    fn settle(&mut self, cx: &Cx, key: crate::neigh::Key, mac: [u8; 6], state: State, out: &mut Learned) {
        let delay = self.times_of(&key).delay;
        let Some(e) = self.map.get_mut(&key) else { return };
        // Who has another address now is another until it answers.
        e.proven = state == State::Reachable || (e.proven && e.mac == mac);
        e.mac = mac;
        e.state = state;
        if state == State::Reachable {
            e.confirmed = cx.now;
        }
        out.held.extend(core::mem::take::<alloc::collections::VecDeque<Mbuf>>(&mut e.held));
        self.held -= out.held.len();
        // What waited is sent now: a stale entry that is used is on its way to be polled.
        let delayed = state == State::Stale && !out.held.is_empty();
        let at = if delayed { cx.now + delay } else { e.used.max(cx.now) + KEEP };
        if delayed {
            e.state = State::Delay;
        }
        self.arm(key, at);
    }
}

//! Messages of a client (RFC 8415 sections 8 and 21).

use super::{Config6, Given, Lease6, msg, opt};
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::Duration;

/// What a message is made of.
pub(super) struct Making<'a> {
    pub cfg: &'a Config6,
    pub kind: u8,
    pub xid: u32,
    /// Since the exchange began.
    pub elapsed: Duration,
    /// To whom, where one is meant.
    pub server: &'a [u8],
    /// What is ours or was offered; of Release and Decline: what goes.
    pub lease: &'a Lease6,
}

fn put(v: &mut Vec<u8>, code: u16, b: &[u8]) {
    v.extend(code.to_be_bytes());
    v.extend((b.len().min(0xffff) as u16).to_be_bytes());
    v.extend(&b[..b.len().min(0xffff)]);
}

/// An association: its number, T1, T2 and lifetimes as the server likes, what is in it.
fn association(code: u16, iaid: u32, list: &[Given], hint: u8) -> Vec<u8> {
    let mut ia = iaid.to_be_bytes().to_vec();
    ia.extend([0; 8]);
    for g in list.iter().filter(|g| g.iaid == iaid) {
        item(&mut ia, code, g.addr, g.plen);
    }
    if hint != 0 && !list.iter().any(|g| g.iaid == iaid) {
        item(&mut ia, code, Ipv6Addr::UNSPECIFIED, hint);
    }
    ia
}

fn item(ia: &mut Vec<u8>, code: u16, a: Ipv6Addr, plen: u8) {
    let mut b = Vec::new();
    if code == opt::IA_NA {
        b.extend(a.octets());
        b.extend([0; 8]);
        return put(ia, opt::IA_ADDR, &b);
    }
    b.extend([0; 8]);
    b.push(plen);
    b.extend(a.octets());
    put(ia, opt::IA_PREFIX, &b);
}

impl Making<'_> {
    pub fn emit(&self) -> Vec<u8> {
        let kind = self.kind;
        let mut v = (u32::from(kind) << 24 | self.xid).to_be_bytes().to_vec();
        put(&mut v, opt::CLIENT_ID, &self.cfg.duid);
        if matches!(kind, msg::REQUEST | msg::RENEW | msg::RELEASE | msg::DECLINE) {
            put(&mut v, opt::SERVER_ID, self.server);
        }
        let hundredths = (self.elapsed.as_millis() / 10).min(0xffff) as u16;
        put(&mut v, opt::ELAPSED, &hundredths.to_be_bytes());
        let ends = matches!(kind, msg::RELEASE | msg::DECLINE);
        if !ends && kind != msg::CONFIRM {
            self.wishes(&mut v);
        }
        if kind == msg::SOLICIT && self.cfg.rapid {
            put(&mut v, opt::RAPID_COMMIT, &[]);
        }
        if kind == msg::INFORM {
            return v;
        }
        let mentioned = |list: &[Given], iaid| list.iter().any(|g| g.iaid == iaid);
        // Of what goes, and of a Confirm, only what there is; else what is wanted, too (18.2.4).
        let only = ends || kind == msg::CONFIRM;
        for n in 0..self.cfg.addresses {
            let iaid = self.cfg.iaid.wrapping_add(n);
            if !only || mentioned(&self.lease.addrs, iaid) {
                put(&mut v, opt::IA_NA, &association(opt::IA_NA, iaid, &self.lease.addrs, 0));
            }
        }
        for (n, hint) in self.cfg.prefixes.iter().enumerate().filter(|_| kind != msg::CONFIRM) {
            let iaid = self.cfg.iaid.wrapping_add(n as u32);
            if !only || mentioned(&self.lease.prefixes, iaid) {
                let hint = if only { 0 } else { *hint };
                put(&mut v, opt::IA_PD, &association(opt::IA_PD, iaid, &self.lease.prefixes, hint));
            }
        }
        v
    }

    /// The options that we would like to hear.
    fn wishes(&self, v: &mut Vec<u8>) {
        let mut list = alloc::vec![opt::DNS, opt::DOMAINS];
        if self.kind == msg::INFORM {
            list.extend([opt::REFRESH, opt::INF_MAX_RT]);
        } else {
            list.push(opt::SOL_MAX_RT);
            if !self.cfg.prefixes.is_empty() {
                list.push(opt::PD_EXCLUDE);
            }
        }
        let bytes: Vec<u8> = list.iter().flat_map(|o| o.to_be_bytes()).collect();
        put(v, opt::ORO, &bytes);
    }
}

//! DHCP messages (RFC 2131, RFC 2132): a reader over bytes and a builder into the caller's memory.
//!
//! Not done: option overload (RFC 2131 4.1: options in `sname` and `file`), which no server that we met needs
//! for what a host asks; long options that are split (RFC 3396) give their parts one by one.

use core::net::Ipv4Addr;

/// Server's UDP port.
pub const SERVER_PORT: u16 = 67;
/// Client's UDP port.
pub const CLIENT_PORT: u16 = 68;
/// Length of the fixed part, before the magic cookie.
pub const FIXED_LEN: usize = 236;
/// Shortest message that every peer accepts (RFC 1542 2.1): builders pad to it.
pub const MIN_LEN: usize = 300;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Operation.
#[allow(missing_docs)]
pub mod op {
    pub const REQUEST: u8 = 1;
    pub const REPLY: u8 = 2;
}

/// Message types (option 53).
#[allow(missing_docs)]
pub mod msg {
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const INFORM: u8 = 8;
}

/// Option codes.
#[allow(missing_docs)]
pub mod opt {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const REQUESTED_IP: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAM_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const END: u8 = 255;
}

/// The fixed part of a message, for Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`op::REQUEST`] or [`op::REPLY`].
    pub op: u8,
    /// Relay hops.
    pub hops: u8,
    /// Transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client cannot take unicast before it has an address.
    pub broadcast: bool,
    /// Client's address, if it has one.
    pub ciaddr: Ipv4Addr,
    /// Address given to the client.
    pub yiaddr: Ipv4Addr,
    /// Next server.
    pub siaddr: Ipv4Addr,
    /// Relay.
    pub giaddr: Ipv4Addr,
    /// Client's link-level address.
    pub chaddr: [u8; 6],
}

/// A message as received: the fixed part and its options.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Fixed part.
    pub header: Header,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message. `None` when it is short, is not for Ethernet, lacks the cookie (BOOTP) or has an
    /// option that reaches beyond its end.
    pub fn parse(b: &'a [u8]) -> Option<Message<'a>> {
        let h: &[u8; FIXED_LEN] = b.first_chunk()?;
        if h[1] != 1 || h[2] != 6 || b.get(FIXED_LEN..FIXED_LEN + 4)? != COOKIE {
            return None;
        }
        let ip = |i: usize| Ipv4Addr::new(h[i], h[i + 1], h[i + 2], h[i + 3]);
        let header = Header {
            op: h[0],
            hops: h[3],
            xid: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            secs: u16::from_be_bytes([h[8], h[9]]),
            broadcast: h[10] & 0x80 != 0,
            ciaddr: ip(12),
            yiaddr: ip(16),
            siaddr: ip(20),
            giaddr: ip(24),
            chaddr: [h[28], h[29], h[30], h[31], h[32], h[33]],
        };
        let m = Message { header, options: &b[FIXED_LEN + 4..] };
        let mut at = 0;
        loop {
            match m.options.get(at) {
                None | Some(&opt::END) => return Some(m),
                Some(&opt::PAD) => at += 1,
                Some(_) => {
                    let n = usize::from(*m.options.get(at + 1)?);
                    at += 2 + n;
                    if at > m.options.len() {
                        return None;
                    }
                }
            }
        }
    }

    /// The options in order: code and value.
    pub fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.options;
        core::iter::from_fn(move || {
            loop {
                match rest.split_first()? {
                    (&opt::END, _) => return None,
                    (&opt::PAD, more) => rest = more,
                    (&code, more) => {
                        let (n, more) = more.split_first()?;
                        let value = more.get(..usize::from(*n))?;
                        rest = &more[usize::from(*n)..];
                        return Some((code, value));
                    }
                }
            }
        })
    }

    /// The first option with this code.
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        self.options().find(|o| o.0 == code).map(|o| o.1)
    }

    /// Message type (option 53).
    pub fn kind(&self) -> Option<u8> {
        match self.option(opt::MESSAGE_TYPE)? {
            [k] => Some(*k),
            _ => None,
        }
    }

    /// An option that is one address (the first one of a list).
    pub fn addr(&self, code: u8) -> Option<Ipv4Addr> {
        let a: &[u8; 4] = self.option(code)?.first_chunk()?;
        Some(Ipv4Addr::from(*a))
    }

    /// An option that is a number of 32 bits.
    pub fn number(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(*<&[u8; 4]>::try_from(self.option(code)?).ok()?))
    }
}

/// Writes a message into a buffer.
pub struct Builder<'a> {
    buf: &'a mut [u8],
    at: usize,
    overflow: bool,
}

impl<'a> Builder<'a> {
    /// Begins a message of this type. `None` when not even the fixed part and the type fit.
    pub fn new(buf: &'a mut [u8], h: &Header, kind: u8) -> Option<Builder<'a>> {
        let f: &mut [u8; FIXED_LEN + 4] = buf.first_chunk_mut()?;
        f.fill(0);
        f[..4].copy_from_slice(&[h.op, 1, 6, h.hops]);
        f[4..8].copy_from_slice(&h.xid.to_be_bytes());
        f[8..10].copy_from_slice(&h.secs.to_be_bytes());
        f[10] = if h.broadcast { 0x80 } else { 0 };
        for (i, a) in [h.ciaddr, h.yiaddr, h.siaddr, h.giaddr].into_iter().enumerate() {
            f[12 + i * 4..16 + i * 4].copy_from_slice(&a.octets());
        }
        f[28..34].copy_from_slice(&h.chaddr);
        f[FIXED_LEN..].copy_from_slice(&COOKIE);
        let b = Builder { buf, at: FIXED_LEN + 4, overflow: false }.option(opt::MESSAGE_TYPE, &[kind]);
        (!b.overflow).then_some(b)
    }

    /// Adds an option of at most 255 bytes; one that does not fit makes [`Builder::finish`] fail.
    #[must_use]
    pub fn option(mut self, code: u8, value: &[u8]) -> Self {
        let n = value.len();
        // One byte stays free for END.
        match self.buf.get_mut(self.at..self.at + 2 + n + 1) {
            Some(to) if n <= 255 => {
                to[0] = code;
                to[1] = n as u8;
                to[2..2 + n].copy_from_slice(value);
                self.at += 2 + n;
            }
            _ => self.overflow = true,
        }
        self
    }

    /// Adds an option that is an address.
    #[must_use]
    pub fn addr(self, code: u8, a: Ipv4Addr) -> Self {
        self.option(code, &a.octets())
    }

    /// Adds an option that is a number of 32 bits.
    #[must_use]
    pub fn number(self, code: u8, n: u32) -> Self {
        self.option(code, &n.to_be_bytes())
    }

    /// Ends the message; returns its length, padded to [`MIN_LEN`] where the buffer allows. `None` when an
    /// option did not fit.
    pub fn finish(self) -> Option<usize> {
        if self.overflow {
            return None;
        }
        *self.buf.get_mut(self.at)? = opt::END;
        let end = self.at + 1;
        let n = end.max(MIN_LEN.min(self.buf.len()));
        self.buf[end..n].fill(0);
        Some(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            op: op::REPLY,
            hops: 0,
            xid: 0xdead_beef,
            secs: 3,
            broadcast: true,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::new(10, 0, 0, 184),
            siaddr: Ipv4Addr::new(10, 0, 0, 1),
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: [2, 0, 0, 0, 0, 1],
        }
    }

    #[test]
    fn an_offer_reads_as_it_was_written() {
        let mut b = [0xaa; 400];
        let n = Builder::new(&mut b, &header(), msg::OFFER)
            .unwrap()
            .addr(opt::SUBNET_MASK, Ipv4Addr::new(255, 0, 0, 0))
            .number(opt::LEASE_TIME, 3600)
            .finish()
            .unwrap();
        assert_eq!(n, MIN_LEN);
        let m = Message::parse(&b[..n]).unwrap();
        assert_eq!((m.header, m.kind()), (header(), Some(msg::OFFER)));
        assert_eq!(m.addr(opt::SUBNET_MASK), Some(Ipv4Addr::new(255, 0, 0, 0)));
        assert_eq!(m.number(opt::LEASE_TIME), Some(3600));
        assert_eq!(m.option(opt::DNS), None);
        assert!(b[200..FIXED_LEN].iter().all(|x| *x == 0));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let mut b = [0; 250];
        assert!(Builder::new(&mut b, &header(), 1).unwrap().option(60, &[0; 10]).finish().is_none());
        assert!(Builder::new(&mut b[..240], &header(), 1).is_none());
        let mut b = [0; 400];
        assert!(Builder::new(&mut b, &header(), 1).unwrap().option(60, &[0; 256]).finish().is_none());
    }

    proptest! {
        #[test]
        fn any_options_round_trip(opts in proptest::collection::vec((1u8..=254, proptest::collection::vec(any::<u8>(), 0..40)), 0..10)) {
            let mut b = [0; 1000];
            let mut w = Builder::new(&mut b, &header(), 5).unwrap();
            for (c, v) in &opts {
                w = w.option(*c, v);
            }
            let n = w.finish().unwrap();
            let m = Message::parse(&b[..n]).unwrap();
            let got: Vec<_> = m.options().skip(1).map(|(c, v)| (c, v.to_vec())).collect();
            prop_assert_eq!(got, opts);
        }

        #[test]
        fn any_bytes_are_safe(mut b in proptest::collection::vec(any::<u8>(), 0..400), good in any::<bool>()) {
            if good && b.len() >= 240 {
                b[1] = 1;
                b[2] = 6;
                b[236..240].copy_from_slice(&COOKIE);
            }
            if let Some(m) = Message::parse(&b) {
                let _ = (m.kind(), m.addr(3), m.number(51), m.options().count());
            }
        }
    }
}

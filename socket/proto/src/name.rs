//! How a program's side knows, without asking anybody, that a descriptor is a socket of a stack.
//!
//! The server binds its end of each pair to an abstract Unix name before it hands out the other end:
//! `\0io-pkt/<instance, 16 hex digits>/<kind letter><number, hex>`. getpeername(2) on the program's end, the real one,
//! shows it.

/// First bytes of the name (after the NUL that makes it abstract).
pub const NAME_PREFIX: &[u8] = b"\0io-pkt/";
/// Room that any name fits into, bytes.
pub const NAME_LEN: usize = 48;

/// What a pair's messages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PairFamily {
    /// Bytes of a stream (letter `s`), or datagrams of an IP socket (`d`).
    #[default]
    Inet,
    /// Messages of a BSD routing socket (`r`), see [`crate::rtmsg`].
    Route,
    /// Messages of a netlink socket (`n`), netlink(7).
    Netlink,
}

/// What the name of a pair says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairName {
    /// [`crate::Hello::instance`] of the server.
    pub instance: u64,
    /// Byte stream (else messages).
    pub stream: bool,
    /// Whose messages.
    pub family: PairFamily,
    /// Number of the pair.
    pub number: u64,
}

impl PairName {
    /// Writes the `sun_path` (first byte NUL, no NUL at the end); returns it with its length.
    pub fn encode(&self) -> ([u8; NAME_LEN], usize) {
        let mut b = [0; NAME_LEN];
        b[..NAME_PREFIX.len()].copy_from_slice(NAME_PREFIX);
        let mut at = NAME_PREFIX.len();
        at += hex(&mut b[at..], self.instance, 16);
        b[at] = b'/';
        b[at + 1] = match (self.stream, self.family) {
            (true, _) => b's',
            (false, PairFamily::Inet) => b'd',
            (false, PairFamily::Route) => b'r',
            (false, PairFamily::Netlink) => b'n',
        };
        at += 2;
        let digits = (16 - self.number.leading_zeros() as usize / 4).max(1);
        at += hex(&mut b[at..], self.number, digits);
        (b, at)
    }

    /// Reads a `sun_path`: the bytes after `sun_family` that getpeername(2) returned.
    pub fn decode(path: &[u8]) -> Option<PairName> {
        let rest = path.strip_prefix(NAME_PREFIX)?;
        let (inst, rest) = rest.split_at_checked(16)?;
        let (kind, num) = rest.strip_prefix(b"/")?.split_first()?;
        let (stream, family) = match kind {
            b's' => (true, PairFamily::Inet),
            b'd' => (false, PairFamily::Inet),
            b'r' => (false, PairFamily::Route),
            b'n' => (false, PairFamily::Netlink),
            _ => return None,
        };
        Some(PairName { instance: unhex(inst)?, stream, family, number: unhex(num)? })
    }
}

fn hex(b: &mut [u8], v: u64, digits: usize) -> usize {
    for (i, d) in b.iter_mut().take(digits).enumerate() {
        *d = b"0123456789abcdef"[(v >> (4 * (digits - 1 - i)) & 15) as usize];
    }
    digits
}

fn unhex(s: &[u8]) -> Option<u64> {
    if s.is_empty() || s.len() > 16 {
        return None;
    }
    s.iter().try_fold(0, |v: u64, d| Some(v << 4 | u64::from((*d as char).to_digit(16)?)))
}

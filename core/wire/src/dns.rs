//! DNS messages (RFC 1035, RFC 3596): a reader over bytes and a builder into the caller's memory.
//!
//! Names are read with compression pointers, each of which must point before itself, so that reading ends;
//! they are written without compression but for a pointer to the question. Not done: EDNS (unknown records
//! are passed over), truncation and retry over TCP (callers see [`Header::truncated`]).

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Server's port.
pub const PORT: u16 = 53;
/// Length of the header.
pub const HEADER_LEN: usize = 12;
/// Longest message over UDP without EDNS.
pub const MAX_UDP: usize = 512;
/// Longest name in bytes, length bytes included.
pub const MAX_NAME: usize = 255;
/// Class IN.
pub const CLASS_IN: u16 = 1;

/// Record types.
#[allow(missing_docs)]
pub mod ty {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const PTR: u16 = 12;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const ANY: u16 = 255;
}

/// Response codes.
#[allow(missing_docs)]
pub mod rcode {
    pub const OK: u8 = 0;
    pub const FORMAT_ERROR: u8 = 1;
    pub const SERVER_FAILURE: u8 = 2;
    pub const NO_NAME: u8 = 3;
    pub const NOT_IMPLEMENTED: u8 = 4;
    pub const REFUSED: u8 = 5;
}

/// Header of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Transaction.
    pub id: u16,
    /// This is a response.
    pub response: bool,
    /// Operation: 0 for a standard query.
    pub opcode: u8,
    /// The answer comes from who is responsible for the name.
    pub authoritative: bool,
    /// Cut to fit; ask again over TCP.
    pub truncated: bool,
    /// Recursion is wanted.
    pub recursion_desired: bool,
    /// Recursion can be had.
    pub recursion_available: bool,
    /// [`rcode`].
    pub rcode: u8,
    /// Questions.
    pub questions: u16,
    /// Answers.
    pub answers: u16,
}

/// A name in a message: where it starts. Reading follows compression pointers.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Name<'a> {
    /// Its labels, from the left. A name was checked when it was parsed, so the walk ends.
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> {
        let (m, mut at) = (self.message, self.at);
        core::iter::from_fn(move || {
            loop {
                let n = usize::from(*m.get(at)?);
                if n & 0xc0 == 0xc0 {
                    let to = (n & 0x3f) << 8 | usize::from(*m.get(at + 1)?);
                    if to >= at {
                        return None;
                    }
                    at = to;
                    continue;
                }
                if n == 0 || n > 63 {
                    return None;
                }
                let label = m.get(at + 1..at + 1 + n)?;
                at += 1 + n;
                return Some(label);
            }
        })
    }

    /// Whether it is this dotted name (a final dot is ignored, ASCII case too: RFC 4343).
    pub fn is(&self, dotted: &str) -> bool {
        let want = dotted.strip_suffix('.').unwrap_or(dotted);
        let mut want = want.split('.').filter(|_| !want.is_empty());
        for l in self.labels() {
            match want.next() {
                Some(w) if w.as_bytes().eq_ignore_ascii_case(l) => {}
                _ => return false,
            }
        }
        want.next().is_none()
    }

    /// Checks the name at `at` and finds its end; `None` for one that is cut, too long, or points forward.
    fn parse(message: &'a [u8], at: usize) -> Option<(Name<'a>, usize)> {
        let (mut i, mut end, mut len) = (at, None, 0);
        loop {
            let n = usize::from(*message.get(i)?);
            match n {
                0 => return Some((Name { message, at }, end.unwrap_or(i + 1))),
                1..=63 => {
                    len += n + 1;
                    message.get(i + 1..i + 1 + n)?;
                    i += n + 1;
                    if len >= MAX_NAME {
                        return None;
                    }
                }
                _ if n & 0xc0 == 0xc0 => {
                    let to = (n & 0x3f) << 8 | usize::from(*message.get(i + 1)?);
                    end = end.or(Some(i + 2));
                    if to >= i {
                        return None;
                    }
                    // A pointer costs too: no chain is longer than a name can be.
                    len += 1;
                    i = to;
                }
                _ => return None,
            }
        }
    }
}

impl fmt::Display for Name<'_> {
    /// Dotted, bytes that are not printable as `\ddd`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for l in self.labels() {
            if !first {
                f.write_str(".")?;
            }
            first = false;
            for b in l {
                if b.is_ascii_graphic() && *b != b'.' && *b != b'\\' {
                    write!(f, "{}", *b as char)?;
                } else {
                    write!(f, "\\{b:03}")?;
                }
            }
        }
        if first { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Name.
    pub name: Name<'a>,
    /// Type ([`ty`]).
    pub ty: u16,
    /// Class.
    pub class: u16,
}

/// A resource record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Name.
    pub name: Name<'a>,
    /// Type ([`ty`]).
    pub ty: u16,
    /// Class.
    pub class: u16,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Data.
    pub data: &'a [u8],
    data_at: usize,
}

impl<'a> Record<'a> {
    /// Address of an A record.
    pub fn a(&self) -> Option<Ipv4Addr> {
        let d: &[u8; 4] = self.data.try_into().ok()?;
        (self.ty == ty::A && self.class == CLASS_IN).then(|| Ipv4Addr::from(*d))
    }

    /// Address of an AAAA record.
    pub fn aaaa(&self) -> Option<Ipv6Addr> {
        let d: &[u8; 16] = self.data.try_into().ok()?;
        (self.ty == ty::AAAA && self.class == CLASS_IN).then(|| Ipv6Addr::from(*d))
    }

    /// Name in a CNAME, NS or PTR record.
    pub fn target(&self) -> Option<Name<'a>> {
        if !matches!(self.ty, ty::CNAME | ty::NS | ty::PTR) {
            return None;
        }
        Name::parse(self.name.message, self.data_at).map(|n| n.0)
    }
}

/// A message as received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Header.
    pub header: Header,
    bytes: &'a [u8],
    answers_at: usize,
}

impl<'a> Message<'a> {
    /// Reads a message: header and questions are checked here, answers as they are asked for. `None` when
    /// something of the former is cut or malformed.
    pub fn parse(b: &'a [u8]) -> Option<Message<'a>> {
        let h: &[u8; HEADER_LEN] = b.first_chunk()?;
        let n = |i: usize| u16::from_be_bytes([h[i], h[i + 1]]);
        let header = Header {
            id: n(0),
            response: h[2] & 0x80 != 0,
            opcode: h[2] >> 3 & 15,
            authoritative: h[2] & 4 != 0,
            truncated: h[2] & 2 != 0,
            recursion_desired: h[2] & 1 != 0,
            recursion_available: h[3] & 0x80 != 0,
            rcode: h[3] & 15,
            questions: n(4),
            answers: n(6),
        };
        let mut at = HEADER_LEN;
        for _ in 0..header.questions {
            at = Name::parse(b, at)?.1 + 4;
            b.get(..at)?;
        }
        Some(Message { header, bytes: b, answers_at: at })
    }

    /// The questions.
    pub fn questions(&self) -> impl Iterator<Item = Question<'a>> {
        let (b, mut at, mut left) = (self.bytes, HEADER_LEN, self.header.questions);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (name, end) = Name::parse(b, at)?;
            let f: &[u8; 4] = b.get(end..)?.first_chunk()?;
            at = end + 4;
            Some(Question {
                name,
                ty: u16::from_be_bytes([f[0], f[1]]),
                class: u16::from_be_bytes([f[2], f[3]]),
            })
        })
    }

    /// The answers, up to the first that is malformed.
    pub fn answers(&self) -> impl Iterator<Item = Record<'a>> {
        let (b, mut at, mut left) = (self.bytes, self.answers_at, self.header.answers);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (name, end) = Name::parse(b, at)?;
            let f: &[u8; 10] = b.get(end..)?.first_chunk()?;
            let n = |i: usize| u16::from_be_bytes([f[i], f[i + 1]]);
            let data_at = end + 10;
            let data = b.get(data_at..data_at + usize::from(n(8)))?;
            at = data_at + data.len();
            let ttl = u32::from_be_bytes([f[4], f[5], f[6], f[7]]);
            Some(Record { name, ty: n(0), class: n(2), ttl, data, data_at })
        })
    }
}

/// Writes a message: questions first, then answers.
pub struct Builder<'a> {
    buf: &'a mut [u8],
    at: usize,
    header: Header,
    failed: bool,
}

impl<'a> Builder<'a> {
    /// Begins a message; the counts of `header` are ignored. `None` when the header does not fit.
    pub fn new(buf: &'a mut [u8], header: Header) -> Option<Builder<'a>> {
        if buf.len() < HEADER_LEN {
            return None;
        }
        Some(Builder {
            buf,
            at: HEADER_LEN,
            header: Header { questions: 0, answers: 0, ..header },
            failed: false,
        })
    }

    fn put(&mut self, b: &[u8]) {
        match self.buf.get_mut(self.at..self.at + b.len()) {
            Some(to) if !self.failed => {
                to.copy_from_slice(b);
                self.at += b.len();
            }
            _ => self.failed = true,
        }
    }

    fn name<'l>(&mut self, labels: impl Iterator<Item = &'l [u8]>) {
        let mut len = 0;
        for l in labels {
            len += l.len() + 1;
            if l.is_empty() || l.len() > 63 || len >= MAX_NAME {
                self.failed = true;
                return;
            }
            self.put(&[l.len() as u8]);
            self.put(l);
        }
        self.put(&[0]);
    }

    /// Adds a question for a dotted name. An empty or over-long label makes [`Builder::finish`] fail.
    #[must_use]
    pub fn question(mut self, dotted: &str, ty: u16) -> Self {
        let d = dotted.strip_suffix('.').unwrap_or(dotted);
        self.name(d.split('.').filter(|_| !d.is_empty()).map(str::as_bytes));
        self.put(&ty.to_be_bytes());
        self.put(&CLASS_IN.to_be_bytes());
        self.header.questions += 1;
        self
    }

    /// Repeats a received question, as a response must.
    #[must_use]
    pub fn repeat(mut self, q: &Question<'_>) -> Self {
        self.name(q.name.labels());
        self.put(&q.ty.to_be_bytes());
        self.put(&q.class.to_be_bytes());
        self.header.questions += 1;
        self
    }

    /// Adds an answer for the name of the first question.
    #[must_use]
    pub fn answer(mut self, ty: u16, ttl: u32, data: &[u8]) -> Self {
        let Ok(n) = u16::try_from(data.len()) else {
            self.failed = true;
            return self;
        };
        self.put(&[0xc0, HEADER_LEN as u8]);
        self.put(&ty.to_be_bytes());
        self.put(&CLASS_IN.to_be_bytes());
        self.put(&ttl.to_be_bytes());
        self.put(&n.to_be_bytes());
        self.put(data);
        self.header.answers += 1;
        self
    }

    /// Ends the message; returns its length, `None` when something did not fit.
    pub fn finish(self) -> Option<usize> {
        if self.failed || (self.header.answers > 0 && self.header.questions == 0) {
            return None;
        }
        let h = &self.header;
        let b = self.buf.first_chunk_mut::<HEADER_LEN>()?;
        b[..2].copy_from_slice(&h.id.to_be_bytes());
        b[2] = u8::from(h.response) << 7
            | (h.opcode & 15) << 3
            | u8::from(h.authoritative) << 2
            | u8::from(h.truncated) << 1
            | u8::from(h.recursion_desired);
        b[3] = u8::from(h.recursion_available) << 7 | h.rcode & 15;
        b[4..6].copy_from_slice(&h.questions.to_be_bytes());
        b[6..8].copy_from_slice(&h.answers.to_be_bytes());
        b[8..].fill(0);
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn a_query_and_its_response() {
        let mut q = [0; 512];
        let h = Header { id: 7, recursion_desired: true, ..Header::default() };
        let n = Builder::new(&mut q, h).unwrap().question("www.Example.com", ty::A).finish().unwrap();
        let m = Message::parse(&q[..n]).unwrap();
        let question = m.questions().next().unwrap();
        assert!(question.name.is("WWW.example.COM.") && !question.name.is("example.com"));
        assert_eq!((question.ty, question.name.to_string().as_str()), (ty::A, "www.Example.com"));
        let mut r = [0; 512];
        let h = Header { response: true, recursion_available: true, ..m.header };
        let n = Builder::new(&mut r, h)
            .unwrap()
            .repeat(&question)
            .answer(ty::A, 60, &[10, 0, 0, 1])
            .answer(ty::AAAA, 60, &[0; 16])
            .finish()
            .unwrap();
        let m = Message::parse(&r[..n]).unwrap();
        assert!(m.header.response && m.header.id == 7);
        let a: Vec<_> = m.answers().collect();
        assert_eq!((a[0].a(), a[1].aaaa()), (Some(Ipv4Addr::new(10, 0, 0, 1)), Some(Ipv6Addr::UNSPECIFIED)));
        assert!(a.iter().all(|a| a.name.is("www.example.com")));
    }

    #[test]
    fn compression_cannot_loop() {
        let mut b = [0u8; 40];
        b[5] = 1;
        for (at, to) in [(12, 12), (12, 13), (12, 0xff)] {
            b[at] = 0xc0;
            b[at + 1] = to;
            assert!(Message::parse(&b).is_none());
        }
        let mut b = [0u8; 20];
        assert!(Builder::new(&mut b, Header::default()).unwrap().question("a..b", 1).finish().is_none());
        assert!(
            Builder::new(&mut b, Header::default())
                .unwrap()
                .question("much.too.long.for.it", 1)
                .finish()
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..4, 0xc0u8..=0xc1], 0..200)) {
            if let Some(m) = Message::parse(&b) {
                for q in m.questions() {
                    prop_assert!(q.name.labels().map(|l| l.len() + 1).sum::<usize>() < MAX_NAME);
                }
                for r in m.answers() {
                    let _ = (r.a(), r.aaaa(), r.target().map(|t| t.to_string()), r.name.to_string());
                }
            }
        }

        #[test]
        fn names_round_trip(labels in proptest::collection::vec("[a-z0-9-]{1,20}", 0..8)) {
            let name = labels.join(".");
            let mut b = [0; 512];
            let n = Builder::new(&mut b, Header::default()).unwrap().question(&name, ty::PTR).finish().unwrap();
            let m = Message::parse(&b[..n]).unwrap();
            let q = m.questions().next().unwrap();
            prop_assert!(q.name.is(&name));
            let text = q.name.to_string();
            prop_assert_eq!(text.as_str(), if name.is_empty() { "." } else { name.as_str() });
        }
    }
}

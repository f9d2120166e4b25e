//! Reading requests: the head, and where a body ends.

use alloc::string::String;

/// What a request asks for, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path, without query.
    pub path: String,
    /// How the body ends.
    pub body: Body,
    /// The connection ends after the answer.
    pub close: bool,
    /// The client waits for 100 (Continue).
    pub expects: bool,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
}

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In the line with the size: the size so far, whether a digit was seen, whether its digits are over.
    Size(u64, bool, bool),
    /// This many bytes of the chunk are left.
    Data(u64),
    /// In the line end behind a chunk.
    End,
    /// In the trailer: whether its current line is empty so far.
    Trailer(bool),
}

/// Why a request is refused: a status and its phrase.
pub type Refusal = (u16, &'static str);

const BAD: Refusal = (400, "Bad Request");

impl Request {
    /// Reads a head (without the empty line at its end).
    ///
    /// # Errors
    /// What to answer instead.
    pub fn parse(head: &[u8]) -> Result<Request, Refusal> {
        let text = core::str::from_utf8(head).map_err(|_| BAD)?;
        let mut lines = text.split("\r\n").flat_map(|l| l.split('\n'));
        let mut words = lines.next().unwrap_or("").split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BAD);
        };
        let minor = match version {
            "HTTP/1.1" => 1,
            "HTTP/1.0" => 0,
            v if v.starts_with("HTTP/") => return Err((505, "HTTP Version Not Supported")),
            _ => return Err(BAD),
        };
        let mut r = Request {
            method: method.into(),
            path: path_of(target).ok_or(BAD)?,
            body: Body::Length(0),
            close: minor == 0,
            expects: false,
        };
        let (mut host, mut length, mut chunked) = (minor == 0, None, false);
        for line in lines.filter(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(BAD)?;
            let value = value.trim_matches([' ', '\t']);
            let is = |n: &str| name.eq_ignore_ascii_case(n);
            if is("host") {
                host = true;
            } else if is("connection") {
                let has = |t: &str| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(t));
                r.close = has("close") || (r.close && !has("keep-alive"));
            } else if is("expect") {
                r.expects = value.eq_ignore_ascii_case("100-continue");
            } else if is("content-length") {
                // Two that differ, or one beside chunks, is how requests are smuggled (RFC 9112, 6.3).
                let n = value.parse::<u64>().ok().filter(|_| value.bytes().all(|c| c.is_ascii_digit()));
                if n.is_none() || length.is_some_and(|l| Some(l) != n) {
                    return Err(BAD);
                }
                length = n;
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") || chunked {
                    return Err((501, "Not Implemented"));
                }
                chunked = true;
            }
        }
        match (host, chunked, length) {
            (false, ..) | (_, true, Some(_)) => return Err(BAD),
            (_, true, None) => r.body = Body::Chunked(Chunk::Size(0, false, false)),
            (_, false, l) => r.body = Body::Length(l.unwrap_or(0)),
        }
        Ok(r)
    }
}

/// The path of a request target: `/p?q`, `http://host/p`, or `*`.
fn path_of(target: &str) -> Option<String> {
    let p = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |i| &rest[i..]),
        None => target,
    };
    let p = p.split('?').next().unwrap_or("");
    (p.starts_with('/') || p == "*").then(|| p.into())
}

impl Body {
    /// Goes over `b`: how many of its bytes belong to the body's frame, which of those (a range) are content, and
    /// whether the body ends there.
    ///
    /// # Errors
    /// Chunks that are none.
    pub fn advance(&mut self, b: &[u8]) -> Result<(usize, core::ops::Range<usize>, bool), Refusal> {
        match self {
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(b.len());
                *left -= n as u64;
                Ok((n, 0..n, *left == 0))
            }
            Body::Chunked(c) => c.advance(b),
        }
    }

    /// Whether nothing is to come.
    pub fn is_over(&self) -> bool {
        *self == Body::Length(0)
    }
}

impl Chunk {
    fn advance(&mut self, b: &[u8]) -> Result<(usize, core::ops::Range<usize>, bool), Refusal> {
        for (i, &c) in b.iter().enumerate() {
            match *self {
                Chunk::Size(n, seen, over) => match (c, char::from(c).to_digit(16)) {
                    (b'\n', _) if seen => *self = if n == 0 { Chunk::Trailer(true) } else { Chunk::Data(n) },
                    (b'\r' | b';' | b' ' | b'\t', _) if seen => *self = Chunk::Size(n, true, true),
                    (_, Some(d)) if !over && n < 1 << 56 => {
                        *self = Chunk::Size(n * 16 + u64::from(d), true, false)
                    }
                    _ if over && c != b'\n' => {} // an extension of the chunk
                    _ => return Err(BAD),
                },
                Chunk::Data(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(b.len() - i);
                    *self = if n as u64 == left { Chunk::End } else { Chunk::Data(left - n as u64) };
                    return Ok((i + n, i..i + n, false));
                }
                Chunk::End => match c {
                    b'\r' => {}
                    b'\n' => *self = Chunk::Size(0, false, false),
                    _ => return Err(BAD),
                },
                Chunk::Trailer(empty) => match c {
                    b'\r' => {}
                    b'\n' if empty => return Ok((i + 1, 0..0, true)),
                    b'\n' => *self = Chunk::Trailer(true),
                    _ => *self = Chunk::Trailer(false),
                },
            }
        }
        Ok((b.len(), 0..0, false))
    }
}

//! Grammar of command lines (V.250 clauses 5.2 to 5.4, TS 27.007 clause 4).
//!
//! A body holds basic commands (a letter, or `&` and a letter, with a number), S-parameters, one dial string, and
//! extended commands (`+NAME`, then nothing, `?`, `=?` or `=` with parameters). An extended command ends at `;`
//! or with the line; basic commands follow each other directly.

use alloc::string::String;

/// What is asked of an extended command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// `+NAME`
    Exec,
    /// `+NAME?`
    Read,
    /// `+NAME=?`
    Test,
    /// `+NAME=...`
    Set(Params<'a>),
}

/// One command of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A letter and its number (0 when left away).
    Basic(char, u32),
    /// `&`, a letter and its number.
    Amp(char, u32),
    /// `Sn?`
    SRead(u32),
    /// `Sn=value`
    SSet(u32, u32),
    /// `D` and the rest of the line.
    Dial(&'a str),
    /// An extended command; the name includes its prefix character.
    Extended(&'a str, Op<'a>),
}

/// The line does not follow the grammar from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Removes what has no meaning: blanks and control characters outside strings; makes letters there upper case.
/// `None` when a string is not closed.
pub fn normalize(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut quoted = false;
    for &c in line {
        match c {
            b'"' => {
                quoted = !quoted;
                out.push('"');
            }
            // The alphabet of V.250 is seven bits.
            _ if quoted => out.push(char::from(c & 0x7f)),
            0..=b' ' | 0x7f.. => {}
            _ => out.push(char::from(c.to_ascii_uppercase())),
        }
    }
    (!quoted).then_some(out)
}

/// The commands in a normalized body, in order; after [`Malformed`] there are no more.
pub fn commands(body: &str) -> Commands<'_> {
    Commands { rest: body }
}

/// Iterator of [`commands`].
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let r = self.step();
        if r.is_err() {
            self.rest = "";
        }
        Some(r)
    }
}

impl<'a> Commands<'a> {
    fn step(&mut self) -> Result<Command<'a>, Malformed> {
        let c = self.rest.chars().next().ok_or(Malformed)?;
        match c {
            '+' | '^' | '*' | '$' | '%' => self.extended(),
            'D' => {
                let d = &self.rest[1..];
                self.rest = "";
                Ok(Command::Dial(d))
            }
            'S' => {
                self.rest = &self.rest[1..];
                let n = self.number()?.unwrap_or(0);
                if let Some(r) = self.rest.strip_prefix('?') {
                    self.rest = r;
                    return Ok(Command::SRead(n));
                }
                self.rest = self.rest.strip_prefix('=').ok_or(Malformed)?;
                Ok(Command::SSet(n, self.number()?.unwrap_or(0)))
            }
            '&' => {
                self.rest = &self.rest[1..];
                let l = self.letter()?;
                Ok(Command::Amp(l, self.number()?.unwrap_or(0)))
            }
            _ => {
                let l = self.letter()?;
                Ok(Command::Basic(l, self.number()?.unwrap_or(0)))
            }
        }
    }

    fn letter(&mut self) -> Result<char, Malformed> {
        let c = self.rest.chars().next().filter(char::is_ascii_uppercase).ok_or(Malformed)?;
        self.rest = &self.rest[1..];
        Ok(c)
    }

    fn number(&mut self) -> Result<Option<u32>, Malformed> {
        let end = self.rest.bytes().position(|c| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        match digits {
            "" => Ok(None),
            d => d.parse().map(Some).map_err(|_| Malformed),
        }
    }

    fn extended(&mut self) -> Result<Command<'a>, Malformed> {
        let end = split_outside_strings(self.rest, ';');
        let (this, rest) = self.rest.split_at(end);
        let name_end = this[1..].find(['=', '?']).map_or(this.len(), |i| i + 1);
        let (name, tail) = this.split_at(name_end);
        let good = |c: u8| c.is_ascii_alphanumeric() || b"!%-./:_".contains(&c);
        if name.len() < 2 || !name.as_bytes()[1].is_ascii_uppercase() || !name[1..].bytes().all(good) {
            return Err(Malformed);
        }
        let op = match tail {
            "" => Op::Exec,
            "?" => Op::Read,
            "=?" => Op::Test,
            t => Op::Set(Params { rest: Some(t.strip_prefix('=').ok_or(Malformed)?) }),
        };
        self.rest = rest.strip_prefix(';').unwrap_or(rest);
        Ok(Command::Extended(name, op))
    }
}

/// Index of the first `sep` outside strings, or the length.
fn split_outside_strings(s: &str, sep: char) -> usize {
    let mut quoted = false;
    for (i, c) in s.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c == sep && !quoted => return i,
            _ => {}
        }
    }
    s.len()
}

/// A parameter of an extended command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// Left away: the default.
    Empty,
    /// A decimal number.
    Number(u32),
    /// A string, escapes (`\` and two hexadecimal digits) resolved.
    Text(String),
}

/// The parameters of an extended command, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    rest: Option<&'a str>,
}

impl Params<'_> {
    /// The next parameter; [`Param::Empty`] when there are no more.
    ///
    /// # Errors
    /// Neither a number nor a string.
    pub fn take(&mut self) -> Result<Param, Malformed> {
        let Some(r) = self.rest else { return Ok(Param::Empty) };
        let end = split_outside_strings(r, ',');
        let this = &r[..end];
        self.rest = r.get(end + 1..);
        if this.is_empty() {
            return Ok(Param::Empty);
        }
        if let Some(t) = this.strip_prefix('"') {
            return unescape(t.strip_suffix('"').ok_or(Malformed)?).map(Param::Text);
        }
        if !this.bytes().all(|c| c.is_ascii_digit()) {
            return Err(Malformed);
        }
        this.parse().map(Param::Number).map_err(|_| Malformed)
    }

    /// The next parameter as a number, `default` when it was left away.
    ///
    /// # Errors
    /// Not a number.
    pub fn number(&mut self, default: u32) -> Result<u32, Malformed> {
        match self.take()? {
            Param::Empty => Ok(default),
            Param::Number(n) => Ok(n),
            Param::Text(_) => Err(Malformed),
        }
    }

    /// The next parameter as a string, `None` when it was left away.
    ///
    /// # Errors
    /// Not a string.
    pub fn text(&mut self) -> Result<Option<String>, Malformed> {
        match self.take()? {
            Param::Empty => Ok(None),
            Param::Text(t) => Ok(Some(t)),
            Param::Number(_) => Err(Malformed),
        }
    }

    /// Whether all were taken.
    pub fn is_done(&self) -> bool {
        self.rest.is_none()
    }
}

fn unescape(s: &str) -> Result<String, Malformed> {
    let mut out = String::with_capacity(s.len());
    let mut rest = s;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Err(Malformed),
            '\\' => {
                let hex = rest.get(..2).ok_or(Malformed)?;
                out.push(char::from(u8::from_str_radix(hex, 16).map_err(|_| Malformed)?));
                rest = &rest[2..];
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

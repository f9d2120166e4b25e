//! The parser: events, times, system calls. Packets are `packet`'s, expressions `expr`'s.

use crate::ast::{Action, Event, Expr, Script, Time};
use crate::lex::{Kind, Token, words};

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line, from 1.
    pub line: u32,
    /// In words.
    pub what: String,
}

pub(crate) type Result<T> = core::result::Result<T, Error>;

/// Longest time of a script, seconds.
const LONGEST: i64 = 1_000_000;
/// Deepest nesting of lists and structures.
const DEPTH: u32 = 16;

/// Words not read yet.
pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

/// Reads a script.
///
/// # Errors
/// The first thing that is not understood.
pub fn script(src: &str) -> Result<Script> {
    let tokens = words(src).map_err(|(line, what)| Error { line, what })?;
    let mut p = Parser { tokens, at: 0, depth: 0 };
    let mut s = Script::default();
    while let Some(Kind::Option(n, v)) = p.peek().cloned() {
        p.at += 1;
        s.options.push((n, v));
    }
    // A command before the first event, and one after the last, have no time.
    while p.peek().is_some() {
        let line = p.line();
        if let Some(Kind::Command(c)) = p.peek().cloned() {
            p.at += 1;
            let time = if s.events.is_empty() { Time::At(0, false) } else { Time::At(0, true) };
            s.events.push(Event { line, time, action: Action::Command(c) });
            continue;
        }
        let e = p.event(line)?;
        s.events.push(e);
    }
    Ok(s)
}

impl Parser {
    pub fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    pub fn peek_at(&self, n: usize) -> Option<&Kind> {
        self.tokens.get(self.at + n).map(|t| &t.kind)
    }

    /// Whether the next word follows the last one without a blank.
    pub fn glued(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|t| t.glued)
    }

    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    pub fn first(&self) -> bool {
        self.tokens.get(self.at).is_none_or(|t| t.first)
    }

    pub fn advance(&mut self) -> Option<Kind> {
        let t = self.tokens.get(self.at).map(|t| t.kind.clone());
        self.at += usize::from(t.is_some());
        t
    }

    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Error { line: self.line(), what: what.into() })
    }

    pub fn is(&self, c: char) -> bool {
        self.peek() == Some(&Kind::Sign(c))
    }

    pub fn take(&mut self, c: char) -> bool {
        let yes = self.is(c);
        self.at += usize::from(yes);
        yes
    }

    pub fn need(&mut self, c: char) -> Result<()> {
        if self.take(c) { Ok(()) } else { self.fail(format!("{c:?} is missing before {}", self.next_word())) }
    }

    pub fn next_word(&self) -> String {
        match self.peek() {
            None => "the end".into(),
            Some(Kind::Word(w)) => format!("\"{w}\""),
            Some(Kind::Sign(c)) => format!("\"{c}\""),
            Some(k) => format!("{k:?}"),
        }
    }

    pub fn is_word(&self, w: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(x)) if x == w)
    }

    pub fn take_word(&mut self, w: &str) -> bool {
        let yes = self.is_word(w);
        self.at += usize::from(yes);
        yes
    }

    pub fn word(&mut self, what: &str) -> Result<String> {
        match self.peek().cloned() {
            Some(Kind::Word(w)) => {
                self.at += 1;
                Ok(w)
            }
            _ => self.fail(format!("{what} is missing before {}", self.next_word())),
        }
    }

    /// A number that fits.
    pub fn number<T: TryFrom<i64>>(&mut self, what: &str) -> Result<T> {
        let w = self.word(what)?;
        match int(&w).and_then(|n| T::try_from(n).ok()) {
            Some(n) => Ok(n),
            None => {
                self.at -= 1;
                self.fail(format!("{w}: {what} is not that"))
            }
        }
    }

    /// Goes one level deeper.
    pub fn nested<T>(&mut self, f: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH {
            return self.fail("nested too deep");
        }
        self.depth += 1;
        let r = f(self);
        self.depth -= 1;
        r
    }

    /// Seconds with a fraction, as microseconds.
    fn seconds(&mut self) -> Result<i64> {
        let whole = match self.peek() {
            Some(Kind::Word(_)) => self.word("a time")?,
            _ => String::new(),
        };
        let mut fraction = String::new();
        if self.is('.') && self.peek_at(1).is_some_and(|k| matches!(k, Kind::Word(w) if int(w).is_some())) {
            self.at += 1;
            fraction = self.word("a time")?;
        } else if whole.is_empty() {
            return self.fail(format!("a time is missing before {}", self.next_word()));
        }
        let digits = |s: &str| s.is_empty() || (s.len() <= 12 && s.bytes().all(|b| b.is_ascii_digit()));
        if !digits(&whole) || !digits(&fraction) {
            self.at -= 1;
            return self.fail("a time is seconds with a fraction");
        }
        let mut us = 0i64;
        for i in 0..6 {
            us = us * 10 + i64::from(fraction.as_bytes().get(i).map_or(0, |b| b - b'0'));
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().unwrap_or(i64::MAX) };
        if whole > LONGEST {
            self.at -= 1;
            return self.fail(format!("no script takes longer than {LONGEST} s"));
        }
        Ok(whole * 1_000_000 + us)
    }

    fn time(&mut self) -> Result<Time> {
        if self.take('*') {
            return Ok(Time::Any);
        }
        let relative = self.take('+');
        let a = self.seconds()?;
        if !self.take('~') {
            return Ok(Time::At(a, relative));
        }
        if self.take('+') != relative {
            return self.fail("both ends of a range of times are relative (+), or none is");
        }
        let b = self.seconds()?;
        Ok(Time::Range(a, b, relative))
    }

    fn event(&mut self, line: u32) -> Result<Event> {
        let time = self.time()?;
        let until = match self.peek() {
            Some(Kind::Ellipsis) => {
                self.at += 1;
                Some(self.seconds()?)
            }
            _ => None,
        };
        let action = match self.peek().cloned() {
            Some(Kind::Sign('<')) => {
                self.at += 1;
                Action::In(self.packet(true)?)
            }
            Some(Kind::Sign('>')) => {
                self.at += 1;
                Action::Out(self.packet(false)?)
            }
            Some(Kind::Command(c)) => {
                self.at += 1;
                Action::Command(c)
            }
            Some(Kind::Code(c)) => {
                self.at += 1;
                Action::Code(c)
            }
            Some(Kind::Word(_)) => self.call(until)?,
            _ => return self.fail(format!("an event is missing before {}", self.next_word())),
        };
        Ok(Event { line, time, action })
    }

    fn call(&mut self, until: Option<i64>) -> Result<Action> {
        let name = self.word("a system call")?;
        self.need('(')?;
        let mut args = Vec::new();
        while !self.take(')') {
            args.push(self.expr()?);
            if !self.is(')') {
                self.need(',')?;
            }
        }
        self.need('=')?;
        let result = self.expr()?;
        let mut errno = None;
        if !self.first()
            && let Some(Kind::Word(w)) = self.peek().cloned()
            && w.starts_with('E')
        {
            self.at += 1;
            errno = Some(w);
        }
        // What stands in brackets behind it is for people: (Operation now in progress), (flags O_RDWR).
        if !self.first() && self.take('(') {
            while !self.take(')') {
                if self.advance().is_none() {
                    return self.fail("a note has no end: ) is missing");
                }
            }
        }
        if result == Expr::Ellipsis && errno.is_some() {
            return self.fail("an errno goes with a result of -1");
        }
        Ok(Action::Call { name, args, result, errno, until })
    }
}

/// A decimal or hexadecimal number.
pub(crate) fn int(w: &str) -> Option<i64> {
    match w.strip_prefix("0x").or(w.strip_prefix("0X")) {
        Some(h) => i64::from_str_radix(h, 16).ok(),
        None => w.parse().ok(),
    }
}

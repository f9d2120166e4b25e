//! The AT interpreter: V.250 command lines, echo, result codes; 3GPP TS 27.007 commands.
//!
//! A [`Terminal`] is one place where somebody types: the serial function and the encapsulated channel have one
//! each, with settings of their own; the [`Radio`] behind them is one. Bytes go in as they come, answers are
//! appended to a buffer.
//!
//! A data call does not turn the line into a data channel: packets go through the Ethernet function, so after
//! `CONNECT` the terminal stays in command state and `ATH` ends the call.

pub mod commands;
pub mod parse;
pub mod radio;

pub use radio::{Identity, Radio, Registration, Unsolicited};

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::Instant;
use parse::Command;

/// Longest command line; a longer one is answered with ERROR.
pub const MAX_LINE: usize = 1024;

/// Result of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `OK`, 0
    Ok,
    /// `CONNECT`, 1
    Connect,
    /// `NO CARRIER`, 3
    NoCarrier,
    /// `ERROR`, 4
    Error,
    /// `+CME ERROR`, with the code of TS 27.007, 9.2
    Cme(u16),
}

/// Settings of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// E: echo.
    pub echo: bool,
    /// V: words, not numbers.
    pub verbose: bool,
    /// Q: no result codes.
    pub quiet: bool,
    /// X: how much CONNECT says.
    pub x: u32,
    /// +CMEE: 0 ERROR, 1 numbers, 2 words.
    pub cmee: u32,
    /// +CREG, +CGREG, +CEREG: 0 silent, 1 state, 2 state and cell.
    pub reg: [u32; 3],
    /// S-parameters 0 to 10.
    pub s: [u8; 11],
}

impl Settings {
    fn new(echo: bool) -> Settings {
        // V.250: S3 carriage return, S4 line feed, S5 backspace, S6 2 s, S7 50 s, S8 2 s, S10 1.4 s.
        let s = [0, 0, 0, 13, 10, 8, 2, 50, 2, 0, 14];
        Settings { echo, verbose: true, quiet: false, x: 0, cmee: 0, reg: [0; 3], s }
    }
}

/// A place where commands come in.
#[derive(Debug)]
pub struct Terminal {
    settings: Settings,
    default_echo: bool,
    line: Vec<u8>,
    overlong: bool,
    last: Vec<u8>,
    /// The line that just ended was ended by a carriage return: a line feed after it means nothing.
    after_cr: bool,
    /// It made the data call: it is told when that ends.
    dialled: bool,
}

impl Terminal {
    /// A terminal that echoes or not until it is told otherwise.
    pub fn new(echo: bool) -> Terminal {
        Terminal {
            settings: Settings::new(echo),
            default_echo: echo,
            line: Vec::new(),
            overlong: false,
            last: Vec::new(),
            after_cr: false,
            dialled: false,
        }
    }

    /// Settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes what was typed; answers are appended to `out`.
    pub fn input(&mut self, now: Instant, bytes: &[u8], radio: &mut Radio, out: &mut Vec<u8>) {
        for &c in bytes {
            self.byte(now, c, radio, out);
        }
    }

    fn byte(&mut self, now: Instant, c: u8, radio: &mut Radio, out: &mut Vec<u8>) {
        let [s3, s4, s5] = [self.settings.s[3], self.settings.s[4], self.settings.s[5]];
        if core::mem::take(&mut self.after_cr) && c == s4 {
            return;
        }
        if self.settings.echo {
            out.push(c);
        }
        if c == s3 {
            self.after_cr = true;
            let line = core::mem::take(&mut self.line);
            self.end_of_line(now, &line, radio, out);
            self.line = line;
            self.line.clear();
        } else if c == s5 {
            self.line.pop();
        } else if c != s4 {
            if self.line.len() < MAX_LINE {
                self.line.push(c);
            } else {
                self.overlong = true;
            }
            if self.line.len() >= 2 && self.line[self.line.len() - 2..].eq_ignore_ascii_case(b"A/") {
                self.line.clear();
                self.after_cr = true;
                let last = core::mem::take(&mut self.last);
                self.run(now, &last, radio, out);
                self.last = last;
            }
        }
    }

    fn end_of_line(&mut self, now: Instant, line: &[u8], radio: &mut Radio, out: &mut Vec<u8>) {
        // Whatever stands before the prefix is noise (V.250, 5.2.1).
        let Some(at) = line.windows(2).position(|w| w.eq_ignore_ascii_case(b"AT")) else {
            self.overlong = false;
            return;
        };
        if core::mem::take(&mut self.overlong) {
            return self.result(Outcome::Error, out);
        }
        let body = line[at + 2..].to_vec();
        self.run(now, &body, radio, out);
        self.last = body;
    }

    fn run(&mut self, now: Instant, body: &[u8], radio: &mut Radio, out: &mut Vec<u8>) {
        let outcome = match parse::normalize(body) {
            None => Outcome::Error,
            Some(text) => self.body(now, &text, radio, out),
        };
        self.result(outcome, out);
    }

    /// The commands of a line, up to the first that fails: one result code for all (V.250, 5.2.2).
    fn body(&mut self, now: Instant, text: &str, radio: &mut Radio, out: &mut Vec<u8>) -> Outcome {
        for c in parse::commands(text) {
            let Ok(c) = c else { return Outcome::Error };
            let mut cx = commands::Cx { now, terminal: self, radio, out };
            match commands::run(&mut cx, &c) {
                Outcome::Ok => {}
                Outcome::Error => {
                    // Syntax is plain ERROR; an extended command that is not had is a mobile's error.
                    return match c {
                        Command::Extended(..) if self.settings.cmee > 0 => {
                            Outcome::Cme(commands::cme::INCORRECT)
                        }
                        _ => Outcome::Error,
                    };
                }
                other => return other,
            }
        }
        Outcome::Ok
    }

    fn result(&mut self, o: Outcome, out: &mut Vec<u8>) {
        self.dialled |= o == Outcome::Connect;
        if self.settings.quiet {
            return;
        }
        let (number, text) = match o {
            Outcome::Ok => (0, String::from("OK")),
            Outcome::Connect if self.settings.x > 0 => (1, String::from("CONNECT 100000000")),
            Outcome::Connect => (1, String::from("CONNECT")),
            Outcome::NoCarrier => (3, String::from("NO CARRIER")),
            Outcome::Error => (4, String::from("ERROR")),
            Outcome::Cme(_) if self.settings.cmee == 0 => (4, String::from("ERROR")),
            Outcome::Cme(n) if self.settings.cmee == 1 => {
                return self.line_out(&format!("+CME ERROR: {n}"), out);
            }
            Outcome::Cme(n) => return self.line_out(&format!("+CME ERROR: {}", commands::cme::text(n)), out),
        };
        if self.settings.verbose {
            self.line_out(&text, out);
        } else {
            out.extend_from_slice(format!("{number}").as_bytes());
            out.push(self.settings.s[3]);
        }
    }

    /// A line of information, framed as V says (V.250, 5.7.1).
    pub(crate) fn line_out(&self, text: &str, out: &mut Vec<u8>) {
        let [cr, lf] = [self.settings.s[3], self.settings.s[4]];
        if self.settings.verbose {
            out.extend_from_slice(&[cr, lf]);
        }
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&[cr, lf]);
    }

    /// Tells the terminal something that it did not ask for, if it wants to know.
    pub fn unsolicited(&mut self, e: Unsolicited, out: &mut Vec<u8>) {
        match e {
            Unsolicited::Registration(r) => {
                for (i, name) in
                    commands::REG_NAMES.iter().enumerate().filter(|(i, _)| self.settings.reg[*i] > 0)
                {
                    let cell = commands::cell(self.settings.reg[i], r);
                    self.line_out(&format!("{name}: {}{cell}", r as u8), out);
                }
            }
            Unsolicited::CallLost => {
                if core::mem::take(&mut self.dialled) {
                    self.result(Outcome::NoCarrier, out);
                }
            }
        }
    }
}

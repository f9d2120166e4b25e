//! The command line: a pure function from words to [`Config`] or a message.
//!
//! ```text
//! io-pkt-variant [-DISv] [-d driver [opts]]... [-i instance] [-P priority] [-p protocol [opts]]... [-t threads]
//!                [-U user] [--foreground] [--no-confine] [--help] [--version]
//! ```
//! A flag's argument may be glued to it or be the next word (`-decm`, `-d ecm`); flags without arguments may
//! share a word (`-vS`). The option list of `-d` and `-p` is one word, comma separated, and follows the name as
//! the next word, unless that word begins with `-`. QNX's own rules; the long options are ours.
//!
//! Everything that is known but does nothing in this build is refused, never taken in silence. An option of tcpip that
//! nobody knows is said in the log, and the stack goes on, as QNX's does.

mod help;
pub(crate) mod tcpip;
mod user;

pub use tcpip::Tcpip;
pub use user::{User, Who};

use iopkt_loader::Wanted;
use std::ffi::OsString;
use std::fmt;

/// What a variant of io-pkt is made of, as far as the command line is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Name of the program: `io-pkt-v4-hc`.
    pub name: &'static str,
    /// One line: what it is.
    pub about: &'static str,
    /// The full ("high capacity") feature set: IPsec and what goes with it.
    pub hc: bool,
    /// Has (or is to have) IPv6.
    pub v6: bool,
    /// Something to say at every start and in `--help`, empty for nothing.
    pub note: &'static str,
}

/// A driver or module to load, with its option list as it stands on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Name or path.
    pub name: String,
    /// Options, comma separated; empty for none.
    pub options: String,
}

/// A start of io-pkt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `-d`, in order.
    pub drivers: Vec<Load>,
    /// `-p` other than tcpip, in order. They are loaded after the drivers, whose interfaces they may want.
    pub modules: Vec<Load>,
    /// `-i`.
    pub instance: Option<u32>,
    /// `-P`: QNX priority of the main thread.
    pub priority: Option<u8>,
    /// `-D`: the stack has a thread of its own, which runs no devices.
    pub stack_thread: bool,
    /// `-I`: without the right to raw input and output.
    pub no_io: bool,
    /// `-U`: who to become later.
    pub user: Option<User>,
    /// `--no-confine`: keep every right that the process was started with.
    pub no_confine: bool,
    /// `-S`: no handler for SIGSEGV.
    pub no_crash_handler: bool,
    /// `-t`: packet threads; one per processor when not given.
    pub threads: Option<usize>,
    /// `-v`: load errors go to the console too.
    pub verbose: bool,
    /// `--foreground`: stay in the foreground.
    pub foreground: bool,
    /// `-p tcpip` options.
    pub tcpip: Tcpip,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run with this.
    Run(Box<Config>),
    /// Print this on standard output and end with 0 (`--help`, `--version`).
    Print(String),
}

/// Why the command line was refused: one line that names what, why and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl Config {
    /// What is to be loaded, in order.
    pub(crate) fn loads(&self) -> Vec<(Wanted, Load)> {
        let drivers = self.drivers.iter().map(|l| (Wanted::Driver, l.clone()));
        drivers.chain(self.modules.iter().map(|l| (Wanted::Module, l.clone()))).collect()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refused> {
    // Words of the user are quoted in it: what would not print, or break the line, is escaped.
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    Err(Refused(why.into().chars().map(escape).collect()))
}

/// Exit status for a command line that was refused.
pub const EXIT_USAGE: u8 = 2;

/// Most packet threads.
pub const MAX_THREADS: usize = 64;
/// Highest priority that QNX gives to user processes.
pub const MAX_PRIORITY: u8 = 63;

/// Reads the words after the program's name.
///
/// # Errors
/// The first thing that is wrong, as one line.
pub fn parse<I>(variant: &Variant, words: I) -> Result<Command, Refused>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut all = Vec::new();
    for w in words {
        match w.into().into_string() {
            Ok(s) => all.push(s),
            Err(w) => return refuse(format!("argument {w:?} is not UTF-8 text")),
        }
    }
    let mut p = Parser { variant, words: &all, at: 0, cfg: Config::default() };
    while let Some(word) = p.next() {
        if let Some(long) = word.strip_prefix("--") {
            match long {
                "foreground" => p.cfg.foreground = true,
                "no-confine" => p.cfg.no_confine = true,
                "help" => return Ok(Command::Print(help::text(variant))),
                "version" => return Ok(Command::Print(help::version(variant))),
                "" => return refuse("-- has no meaning here; see --help"),
                _ => return refuse(format!("unknown option --{long}; see --help")),
            }
        } else if let Some(flags) = word.strip_prefix('-').filter(|f| !f.is_empty()) {
            p.flags(flags)?;
        } else {
            return p.stray(word);
        }
    }
    p.cfg.tcpip.whole()?;
    Ok(Command::Run(Box::new(p.cfg)))
}

struct Parser<'a> {
    variant: &'a Variant,
    words: &'a [String],
    at: usize,
    cfg: Config,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let w = self.words.get(self.at)?;
        self.at += 1;
        Some(w)
    }

    /// A word of flags, its dash removed.
    fn flags(&mut self, flags: &'a str) -> Result<(), Refused> {
        for (i, c) in flags.char_indices() {
            let glued = &flags[i + c.len_utf8()..];
            match c {
                'v' => self.cfg.verbose = true,
                'S' => self.cfg.no_crash_handler = true,
                'D' => self.cfg.stack_thread = true,
                'I' => self.cfg.no_io = true,
                'U' => {
                    let text = self.argument('U', glued, "a user")?;
                    self.cfg.user = Some(User::parse(text)?);
                    return Ok(());
                }
                'd' => {
                    let load = self.load('d', glued)?;
                    self.cfg.drivers.push(load);
                    return Ok(());
                }
                'p' => {
                    let load = self.load('p', glued)?;
                    return self.protocol(&load);
                }
                'i' => {
                    self.cfg.instance = Some(self.number('i', glued, 0, u32::MAX.into())? as u32);
                    return Ok(());
                }
                'P' => {
                    self.cfg.priority = Some(self.number('P', glued, 1, MAX_PRIORITY.into())? as u8);
                    return Ok(());
                }
                't' => {
                    self.cfg.threads = Some(self.number('t', glued, 1, MAX_THREADS as u64)? as usize);
                    return Ok(());
                }
                'q' | 'r' | 'u' | 'w' => {
                    return refuse(format!(
                        "flag -{c} stands in the synopsis of QNX 7.1 without a word on what it does; it is not in this build, leave it out"
                    ));
                }
                _ => return refuse(format!("unknown flag -{c} in -{flags}; see --help")),
            }
        }
        Ok(())
    }

    /// The argument of a flag: glued to it, or the next word.
    fn argument(&mut self, flag: char, glued: &'a str, what: &str) -> Result<&'a str, Refused> {
        if !glued.is_empty() {
            return Ok(glued);
        }
        match self.next() {
            Some(w) if !w.is_empty() => Ok(w),
            _ => refuse(format!("-{flag} needs {what}")),
        }
    }

    fn number(&mut self, flag: char, glued: &'a str, min: u64, max: u64) -> Result<u64, Refused> {
        let text = self.argument(flag, glued, "a number")?;
        match number(text) {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            _ => refuse(format!("-{flag} {text}: must be a number from {min} to {max}")),
        }
    }

    /// Name and option list of `-d` or `-p`.
    fn load(&mut self, flag: char, glued: &'a str) -> Result<Load, Refused> {
        let what = if flag == 'd' { "the name of a driver" } else { "the name of a protocol" };
        let name = self.argument(flag, glued, what)?;
        if name.starts_with('-') {
            return refuse(format!("-{flag} needs {what}, not the flag {name}"));
        }
        let options = match self.words.get(self.at) {
            Some(w) if !w.starts_with('-') => {
                self.at += 1;
                w.as_str()
            }
            _ => "",
        };
        Ok(Load { name: name.into(), options: options.into() })
    }

    fn protocol(&mut self, p: &Load) -> Result<(), Refused> {
        if p.name == "tcpip" {
            return self.cfg.tcpip.apply(self.variant, &p.options);
        }
        // The two that belong to one family of variants.
        let bare = p.name.rsplit('/').next().unwrap_or(&p.name);
        let bare = bare.strip_prefix("lsm-").and_then(|b| b.strip_suffix(".so")).unwrap_or(bare);
        let other = match (bare, self.variant.v6) {
            ("pf-v4" | "slip", true) => Some("io-pkt-v4 and io-pkt-v4-hc"),
            ("pf-v6", false) => Some("io-pkt-v6-hc"),
            _ => None,
        };
        if let Some(other) = other {
            return refuse(format!("-p {}: goes with {other}, not with {}", p.name, self.variant.name));
        }
        self.cfg.modules.push(p.clone());
        Ok(())
    }

    fn stray(&self, word: &str) -> Result<Command, Refused> {
        // The word before the last one took: was it an option list that goes on here?
        let after_list = self.at >= 3 && {
            let (name, list) = (&self.words[self.at - 3], &self.words[self.at - 2]);
            !list.starts_with('-') && (!name.starts_with('-') || name.len() > 2)
        };
        if after_list {
            let list = &self.words[self.at - 2];
            return refuse(format!(
                "unexpected word '{word}': an option list is one word; write {list},{word} if it belongs to it"
            ));
        }
        refuse(format!("unexpected word '{word}'; drivers are named with -d, protocols with -p; see --help"))
    }
}

/// A decimal or, after `0x`, hexadecimal number.
pub(crate) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // from_str_radix takes a sign; we don't.
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

//! What every tool shares: its name, its way to the stack, its exits.

use iopkt_ctl::{Reply, Request};

/// A failure that ends a tool: message for standard error (without the tool's name) and exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What, why, what to do.
    pub message: String,
    /// Exit code.
    pub code: i32,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 1 }
    }

    /// Wrong usage: the message and the usage lines, exit code 1 as BSD's `usage()` has it.
    pub fn usage(why: impl std::fmt::Display, usage: &str) -> Self {
        Failure { message: format!("{why}\n{usage}"), code: 1 }
    }
}

/// Result of a tool: its exit code.
pub type Outcome = Result<i32, Failure>;

/// The stack as tools see it.
pub trait Stack {
    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The stack is not there or went away; the text names the path and how to start one.
    fn ask(&mut self, r: &Request) -> Result<Reply, String>;
}

/// Asks, and turns [`Reply::Err`] into a failure that begins with `what`.
///
/// # Errors
/// As described.
pub fn ask(s: &mut dyn Stack, what: &str, r: &Request) -> Result<Reply, Failure> {
    match s.ask(r).map_err(Failure::new)? {
        Reply::Err { errno, why } if why.is_empty() => Err(Failure::new(format!("{what}: {errno}"))),
        Reply::Err { errno, why } => {
            // The stack's log lines name the object too; here it stands in front already.
            let why = why.strip_prefix(what).and_then(|w| w.strip_prefix(": ")).unwrap_or(&why);
            Err(Failure::new(format!("{what}: {errno} ({why})")))
        }
        ok => Ok(ok),
    }
}

/// A whole listing, page by page: `request` makes the request for a cursor, `page` takes a reply apart into its
/// entries and the next cursor (0 at the end), or gives it back when it is of another kind.
///
/// # Errors
/// As [`ask`].
pub fn pages<T>(
    s: &mut dyn Stack,
    what: &str,
    request: impl Fn(u32) -> Request,
    page: impl Fn(Reply) -> Result<(Vec<T>, u32), Reply>,
) -> Result<Vec<T>, Failure> {
    let (mut out, mut cursor) = (Vec::new(), 0);
    loop {
        let (list, next) = page(ask(s, what, &request(cursor))?).map_err(|r| odd(&r))?;
        out.extend(list);
        if next == 0 {
            return Ok(out);
        }
        cursor = next;
    }
}

/// The answer was of another kind than asked for: two versions met.
pub fn odd(r: &Reply) -> Failure {
    Failure::new(format!(
        "the stack answered something else than was asked ({r:?}); do its version and this tool's differ?"
    ))
}

/// Prints a serialisable value as one JSON document.
///
/// # Errors
/// Standard output is closed or full.
pub fn print_json<T: serde::Serialize>(v: &T) -> Outcome {
    let s = serde_json::to_string_pretty(v).map_err(|e| Failure::new(e.to_string()))?;
    print(&format!("{s}\n"))
}

/// Writes to standard output; a reader that went away (`| head`) ends the tool quietly.
///
/// # Errors
/// Standard output is full or broken.
pub fn print(s: &str) -> Outcome {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(s.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(0),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        Err(e) => Err(Failure::new(format!("cannot write to standard output: {e}"))),
    }
}

/// The lines of a file, each as words (what is behind a # is none), given to `each`. All are tried; the failures are told together, with
/// their lines, by `tool`'s name.
///
/// # Errors
/// The file cannot be read, or a line failed.
pub fn each_line(tool: &str, file: &str, mut each: impl FnMut(&[String]) -> Outcome) -> Outcome {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{file}: {e}")))?;
    let mut bad = Vec::new();
    for (n, l) in text.lines().enumerate() {
        let words: Vec<String> =
            l.split('#').next().unwrap_or("").split_whitespace().map(str::to_string).collect();
        if !words.is_empty()
            && let Err(e) = each(&words)
        {
            bad.push(format!("{file}:{}: {}", n + 1, e.message.lines().next().unwrap_or("")));
        }
    }
    if bad.is_empty() { Ok(0) } else { Err(Failure::new(bad.join(&format!("\n{tool}: ")))) }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A stack that answers from a script.
    use super::*;

    /// Answers in order; remembers what was asked.
    #[derive(Default)]
    pub struct Fake {
        pub replies: std::collections::VecDeque<Reply>,
        pub asked: Vec<Request>,
    }

    impl Fake {
        pub fn with(replies: impl IntoIterator<Item = Reply>) -> Self {
            Fake { replies: replies.into_iter().collect(), asked: Vec::new() }
        }
    }

    impl Stack for Fake {
        fn ask(&mut self, r: &Request) -> Result<Reply, String> {
            self.asked.push(r.clone());
            Ok(self.replies.pop_front().unwrap_or(Reply::Ok))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_until_the_cursor_ends() {
        let take = |r| match r {
            Reply::Sockets { list, next } => Ok((list, next)),
            other => Err(other),
        };
        let page = |next| Reply::Sockets { list: Vec::new(), next };
        let mut f = fake::Fake::with([page(7), page(0)]);
        assert_eq!(pages(&mut f, "sockets", |cursor| Request::Sockets { cursor }, take), Ok(Vec::new()));
        assert_eq!(f.asked, [Request::Sockets { cursor: 0 }, Request::Sockets { cursor: 7 }]);
        let mut f = fake::Fake::with([Reply::Ok]);
        assert!(pages(&mut f, "sockets", |cursor| Request::Sockets { cursor }, take).is_err());
    }
}

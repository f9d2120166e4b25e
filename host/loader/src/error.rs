//! Why something could not be loaded, in one line.

use iopkt_base::Errno;
use std::fmt;

/// A failure: one line that names the file, the cause and the remedy, and the errno for who asked by request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// For the reply to `mount`.
    pub errno: Errno,
    /// For people.
    pub text: String,
}

impl Error {
    /// An error with this text; control characters in it become `?`, so that a file's name or content can
    /// not forge log lines.
    pub fn new(errno: Errno, text: impl Into<String>) -> Error {
        let text: String = text.into();
        Error { errno, text: text.chars().map(|c| if c.is_control() { '?' } else { c }).collect() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

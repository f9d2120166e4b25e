//! The `log` crate's records into the ring, and errors onto the console when asked.

use crate::{Severity, Writer};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where the log goes: the ring, and for what is serious enough the console.
#[derive(Debug)]
pub struct Sink {
    name: String,
    major: u16,
    writer: Option<Writer>,
    /// Severities below this number go to standard error too; 0 for none.
    console: AtomicU8,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Makes the `log` macros of this process write to `writer` with major code `major`; `name` begins the
/// lines on the console. Without a writer (no root, no space) all goes to the console that would have gone
/// to the log. Only the first call of a process has an effect.
pub fn init(name: &str, major: u16, writer: Option<Writer>) -> &'static Sink {
    let console = AtomicU8::new(if writer.is_some() { 0 } else { Severity::Info as u8 + 1 });
    let sink = SINK.get_or_init(|| Sink { name: name.into(), major, writer, console });
    if log::set_logger(sink).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    sink
}

impl Sink {
    /// Copies records up to this severity to standard error; `None` for none.
    pub fn console(&self, up_to: Option<Severity>) {
        if self.writer.is_some() {
            self.console.store(up_to.map_or(0, |s| s as u8 + 1), Ordering::Relaxed);
        }
    }

    /// One line: for severities that the `log` macros lack, or another major or minor code.
    pub fn write(&self, severity: Severity, major: u16, minor: u32, text: &str) {
        if let Some(w) = &self.writer {
            w.write(severity, major, minor, text);
        }
        if (severity as u8) < self.console.load(Ordering::Relaxed) {
            // A closed standard error is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{}: {text}", self.name);
        }
    }

    /// One line with this process's major code.
    pub fn line(&self, severity: Severity, text: &str) {
        self.write(severity, self.major, 0, text);
    }
}

/// The severity of a level of the `log` crate.
fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Info => Severity::Info,
        Level::Debug => Severity::Debug1,
        Level::Trace => Severity::Debug2,
    }
}

impl Log for Sink {
    fn enabled(&self, m: &Metadata<'_>) -> bool {
        // A library that tells of every transfer would fill the ring; what it warns of counts.
        m.level() <= log::max_level() && (m.level() <= Level::Warn || !m.target().starts_with("nusb"))
    }
    fn log(&self, r: &Record<'_>) {
        if self.enabled(r.metadata()) {
            self.line(severity(r.level()), &r.args().to_string());
        }
    }
    fn flush(&self) {}
}

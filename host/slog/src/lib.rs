//! slogger: the log ring and its readers.
//!
//! # Theory of operation
//! The log is one file of a size that slogger(1) sets, under the root (`/dev/slog`), shared by every process of the product:
//! io-pkt, io-usb, their drivers. It holds a header and a ring of records. Positions are byte counts since
//! the log was made and never wrap; position `p` lies at `p % capacity` in the ring. The header names
//! `tail` (the oldest record) and `head` (where the next one goes).
//!
//! A writer takes the file's lock (flock(2): the kernel drops it with the process), and then, in this order,
//! moves `tail` past what it will overwrite, writes its record, moves `head` past it. A writer killed
//! between any two of these leaves a log that is whole; at worst its own record is missing. Records carry
//! a checksum, so that a damaged file costs the damaged records only: readers and writers find the next
//! good one. A file whose header is no log's is begun anew by the next writer.
//!
//! Readers take no lock: they copy, then look whether `tail` passed them meanwhile. A reader that is too
//! slow is told how many bytes it missed. To follow the log a reader sleeps on inotify(7).
//!
//! A writer never waits long for the lock (a stopped process may hold it): after [`PATIENCE`] it
//! counts the message as lost and says so in the next record.
//!
//! Severities and major codes are QNX slogger's.

mod facade;
mod reader;
mod ring;
mod writer;

pub use facade::{Sink, init};
pub use reader::{Reader, Records};
pub use ring::{CAPACITIES, CAPACITY, MAX_TEXT, Record};
pub use writer::{PATIENCE, Writer};

/// How serious a record is (QNX's `_SLOG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Severity {
    /// The system goes down.
    Shutdown = 0,
    /// Unexpected, cannot be recovered from.
    Critical = 1,
    /// Needs attention.
    Error = 2,
    /// Be aware.
    Warning = 3,
    /// Unusual.
    Notice = 4,
    /// Information.
    Info = 5,
    /// Normal detail.
    Debug1 = 6,
    /// Fine detail.
    Debug2 = 7,
}

impl Severity {
    /// All, most serious first.
    pub const ALL: [Severity; 8] = [
        Severity::Shutdown,
        Severity::Critical,
        Severity::Error,
        Severity::Warning,
        Severity::Notice,
        Severity::Info,
        Severity::Debug1,
        Severity::Debug2,
    ];

    /// The severity of a number; what is above 7 is Debug2.
    pub fn of(n: u8) -> Severity {
        *Severity::ALL.get(usize::from(n)).unwrap_or(&Severity::Debug2)
    }
}

/// Who logs: QNX's major codes, as far as we have such a source.
pub mod major {
    /// USB: io-usb, and the USB side of drivers.
    pub const USB: u16 = 12;
    /// Networking: io-pkt, its drivers and modules.
    pub const NETWORK: u16 = 14;
}

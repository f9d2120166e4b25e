//! Finds, checks, loads and unloads drivers and modules.
//!
//! The mechanism; the runtime owns interfaces and packet threads. The border between the two is:
//!
//! - the runtime implements [`Host`] (log, attach, "this driver has finished");
//! - it makes a [`Driver`] of a name and an option list, and unloads it;
//! - it gets a [`Device`] in [`Host::attach`], moves it to a packet thread, and calls it there: bind, start,
//!   transmit, ready, tick, detach. What the driver says during a call lies in [`Effects`] afterwards:
//!   nothing calls back into the runtime from inside a device call.
//!
//! - a module (`lsm-`) has no devices; what the stack has for it goes through its [`Inlet`], what it asks comes
//!   as calls of [`Host`] on its own thread.
//!
//! A file is judged before it is mapped ([`inspect`]); each loaded object has a control thread made here, on
//! which its load, its own events and its unload run; that thread has been joined when the object is
//! unmapped, and whether it has really gone is looked up in `/proc/self/maps`.

mod control;
mod device;
mod driver;
mod elf;
mod error;
mod host;
mod image;
mod info;
mod inlet;
mod options;
mod port;
mod search;
mod shared;
mod table;
mod table_module;

/// What [`Inlet::changed`] is told.
pub mod changed {
    pub use iopkt_abi::{
        CHANGED_ADDRS as ADDRS, CHANGED_ARRIVED as ARRIVED, CHANGED_DEPARTED as DEPARTED,
        CHANGED_STATE as STATE,
    };
}

pub use device::{BUDGET, Bound, Description, Device, DriverRef, Gone, Place, Sent};
pub use driver::{Driver, Unloaded, Wanted};
pub use error::Error;
pub use host::{DriverId, Env, Host};
pub use info::{Info, Kind, OptionHelp, Takes, good_prefix, inspect};
pub use inlet::Inlet;
pub use options::{Options, UNIT_MAX, split as split_options};
pub use port::{Effects, Link};
pub use search::{Found, Search};

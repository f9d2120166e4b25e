//! repr(C) mirror of `include/iopkt/*.h`.
//!
//! The header is the truth; what a field means stands there. A test compiles the header with the C compiler
//! and compares size and offset of every field with these.
#![no_std]
#![allow(missing_docs)] // the header documents each; repeating it here would make two truths

mod consts;
mod driver;
mod module;
mod object;
mod table;

pub use consts::*;
pub use driver::{Attached, Device, DeviceOps, DriverOps, Filter, Host, Link, Nicinfo, Port};
pub use module::{Addr, If, ModuleHost, ModuleOps, PutIf};
pub use object::{Head, Mbuf, Object, text};
pub use table::copy_table;

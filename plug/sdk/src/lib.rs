//! Safe face of the ABI for authors of drivers and stack modules in Rust.
//!
//! A driver is a `cdylib` crate with a type that implements [`Driver`] (finds devices, attaches them, hears of
//! hot plug; runs on the object's control thread), a type that implements [`Device`] (moves packets; runs on
//! the packet thread that owns it) and one [`iopkt_driver!`] that exports both:
//!
//! ```
//! use iopkt_sdk::{Control, Description, Device, Driver, Fail, Options, Port, TxQueue, iopkt_driver};
//!
//! struct Null;
//! impl Device for Null {
//!     fn transmit(&mut self, _port: &Port<'_>, q: &mut TxQueue<'_>) {
//!         while q.pop().is_some() {} // dropping a packet gives its buffer back
//!     }
//! }
//!
//! struct NullDriver;
//! impl Driver for NullDriver {
//!     fn load(ctl: &Control<'_>, _options: &Options) -> Result<Self, Fail> {
//!         ctl.attach(Description::ether("goes nowhere", [2, 0, 0, 0, 0, 1]), Null)?;
//!         Ok(NullDriver)
//!     }
//! }
//!
//! iopkt_driver! {
//!     driver: NullDriver,
//!     name: "null",
//!     prefix: "null",
//!     version: "1.0",
//!     description: "throws packets away",
//!     options: ["verbose" => "log more"],
//! }
//! # fn main() {}
//! ```
//!
//! A stack module (`lsm-NAME.so`) is the same with a type that implements [`Module`] and [`iopkt_module!`]: a protocol
//! that hears frames, sends frames and sets addresses, all on its own thread.
//!
//! A panic in any call is caught, logged with the driver's name, and ends the device (or fails the load); it
//! does not reach the host.
//!
//! **To be unloadable**, code that runs on packet threads ([`Device`]'s calls) must not touch thread-local
//! variables that have destructors, `std::thread::current()` and `println!` among them: the packet thread
//! lives on, and the C library keeps the object mapped for its sake. Calls of [`Driver`] may: the control
//! thread ends before the object is unmapped.

mod control;
mod device;
mod fail;
mod glue;
mod handle;
mod here;
mod mbuf;
mod module;
mod module_glue;
mod options;
mod usb;

pub use control::{Attached, Control, Description, Driver, Stay};
pub use device::{Count, Device, Filter, Link, NicInfo, Port, Quiesce, TxQueue};
pub use fail::{Fail, errno};
pub use glue::driver_ops;
pub use handle::{Handle, Ready, Severity};
pub use here::Here;
pub use iopkt_abi as abi;
pub use iopkt_abi::IF_UP;
pub use mbuf::{Batch, Marks, Mbuf};
pub use module::{Addr, AddrState, Changed, Interface, Module, Stack};
pub use module_glue::module_ops;
pub use options::Options;
pub use usb::UsbSelect;

/// The example in the guide is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/drivers.md")]
struct Guide;

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/modules.md")]
struct ModuleGuide;

/// Exports a driver: the one data symbol that io-pkt looks for.
///
/// The form `*`, alone, takes the whole list as it stands ([`Options::list`]), `name=` and `unit=` included; it needs
/// `needs_minor: 1` behind the description. `options` otherwise lists what the driver takes, as `"form" => "one line of help"`; the forms are `verbose` (no
/// value), `wait=N` (value required), `verbose[=N]` (value possible). io-pkt refuses every other option
/// before the driver is loaded.
#[macro_export]
macro_rules! iopkt_driver {
    (
        driver: $driver:ty,
        name: $name:expr,
        prefix: $prefix:expr,
        version: $version:expr,
        description: $description:expr,
        $(needs_minor: $minor:expr,)?
        options: [$($form:literal => $help:literal),* $(,)?] $(,)?
    ) => {
        /// What io-pkt reads from the file before it loads it.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        pub static iopkt_object: $crate::abi::Object = $crate::abi::Object {
            magic: $crate::abi::MAGIC,
            head: $crate::abi::Head::of::<$crate::abi::Object>(),
            kind: $crate::abi::KIND_DRIVER,
            needs_minor: 0 $(+ $minor)?,
            needs: 0,
            name: $crate::abi::text($name),
            prefix: $crate::abi::text($prefix),
            version: $crate::abi::text($version),
            description: $crate::abi::text($description),
            options: $crate::abi::text(concat!($($form, "\t", $help, "\n"),*)),
            reserved: [0; 4],
            driver: $crate::driver_ops::<$driver>(),
            module: std::ptr::null(),
        };
    };
}

/// Exports a stack module, as [`iopkt_driver!`] does a driver.
#[macro_export]
macro_rules! iopkt_module {
    (
        module: $module:ty,
        name: $name:expr,
        version: $version:expr,
        description: $description:expr,
        options: [$($form:literal => $help:literal),* $(,)?] $(,)?
    ) => {
        /// What io-pkt reads from the file before it loads it.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        pub static iopkt_object: $crate::abi::Object = $crate::abi::Object {
            magic: $crate::abi::MAGIC,
            head: $crate::abi::Head::of::<$crate::abi::Object>(),
            kind: $crate::abi::KIND_MODULE,
            needs_minor: 1,
            needs: 0,
            name: $crate::abi::text($name),
            prefix: [0; 16],
            version: $crate::abi::text($version),
            description: $crate::abi::text($description),
            options: $crate::abi::text(concat!($($form, "\t", $help, "\n"),*)),
            reserved: [0; 4],
            driver: std::ptr::null(),
            module: $crate::module_ops::<$module>(),
        };
    };
}

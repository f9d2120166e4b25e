//! End-to-end tests against programs and kernels nobody here wrote.
//!
//! A [`Lab`] is a private root with processes that it ends and names that it removes, whatever happens to the
//! test. [`netns::Netns`] is a network namespace of the test's own, [`guest`] a Debian kernel under QEMU.

pub mod guest;
pub mod lab;
pub mod modem;
pub mod netns;
pub mod nginx;

pub use lab::{Lab, Proc, until};

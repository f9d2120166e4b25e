//! What the drivers of Linux interfaces (devnp-tap, devnp-afp) share: the header in front of a frame that leaves checksums and
//! segmentation to the other side, news of a link, the calls of netdevice(7), another network namespace, counters for nicinfo.
//!
//! Nothing here keeps state of its own; descriptors belong to whoever opened them.

pub mod counters;
pub mod ifreq;
pub mod netlink;
pub mod netns;
pub mod vnet;

/// The system's words, without Rust's "(os error N)".
pub fn words(e: &std::io::Error) -> String {
    let s = e.to_string();
    s.split(" (os error").next().unwrap_or(&s).to_owned()
}

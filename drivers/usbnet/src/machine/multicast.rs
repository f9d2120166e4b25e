//! Multicast: which groups are wanted, what the device was told, and what it lets through by mistake.
//!
//! A device has a list of so many addresses (`wNumberMCFilters`), perfect or hashed, or none. More groups than it
//! holds, or a list that it refuses, make it receive all multicast. A hashed list, and "all", let other groups
//! pass: those frames are dropped here, so that the interface receives what it has joined and nothing else.

use super::Setting;
use iopkt_usbip::cdc::filter;

/// Groups of the interface.
#[derive(Debug, Default)]
pub(super) struct Multicast {
    /// Every group is wanted.
    all: bool,
    groups: Vec<[u8; 6]>,
    /// The list that the device has or is about to get.
    programmed: Vec<[u8; 6]>,
    /// Frames of other groups that the device let through.
    pub(super) strangers: u64,
}

impl Multicast {
    /// New groups.
    pub(super) fn want(&mut self, all: bool, groups: &[[u8; 6]]) {
        self.all = all;
        self.groups.clear();
        self.groups.extend_from_slice(groups);
    }

    /// Whether the device needs the list, which it counts as having then.
    pub(super) fn program(&mut self) -> bool {
        let new = self.programmed != self.groups;
        self.programmed.clone_from(&self.groups);
        new
    }

    /// The device forgot its list (its setting was selected anew); whether there is one to give it.
    pub(super) fn forgotten(&mut self) -> bool {
        self.programmed.clear();
        self.program()
    }

    /// The list as the request carries it.
    pub(super) fn list(&self) -> Vec<u8> {
        self.programmed.concat()
    }

    /// Whether a frame with this destination is for the interface.
    pub(super) fn accepts(&mut self, frame: &[u8]) -> bool {
        let Some(dst) = frame.first_chunk::<6>() else { return true };
        if self.all || dst[0] & 1 == 0 || *dst == [0xff; 6] || self.groups.contains(dst) {
            return true;
        }
        self.strangers += 1;
        false
    }

    /// For people.
    pub(super) fn describe(&self, bits: u16, set: &Setting) -> String {
        let n = self.groups.len();
        let how = if bits & filter::PROMISCUOUS != 0 {
            "everything".to_string()
        } else if bits & filter::ALL_MULTICAST != 0 {
            "all multicast".to_string()
        } else if bits & filter::MULTICAST != 0 {
            let kind = if set.mc_imperfect { "hashed" } else { "perfect" };
            format!("{kind} filter of {}", set.mc_filters)
        } else {
            "none".to_string()
        };
        format!("{n} groups, device passes {how}, {} frames of others dropped", self.strangers)
    }
}

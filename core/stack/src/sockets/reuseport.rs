//! SO_REUSEPORT groups: which of the sockets that share an address and port gets a packet.
//!
//! By a keyed hash of the four-tuple, so that a flow stays with one of them; by a BPF program of the group's, whose result is
//! an index in order of binding (SO_ATTACH_REUSEPORT_CBPF; one out of range means the hash). The program is the group's: who
//! joins it later has it, too.

use super::Sockets;
use super::demux::{Demux, Packet};
use super::sock::Sock;
use super::table::Table;
use super::types::SockId;
use alloc::vec::Vec;

/// Whether two sockets of a port are of one group.
fn same_group(a: &Sock, b: &Sock) -> bool {
    a.opt.reuseport && b.opt.reuseport && a.local == b.local && a.opt.bound_dev == b.opt.bound_dev
}

impl Sockets {
    /// The sockets that share their address and port with this one, itself included.
    pub(super) fn reuseport_group(&self, id: SockId) -> Vec<u32> {
        let Ok(me) = self.table.get(id) else { return Vec::new() };
        let Some(e) = self.demux.port(me.proto, me.lport).filter(|_| me.lport != 0) else {
            return Vec::new();
        };
        let in_group = |i: &u32| self.table.at(*i).is_some_and(|s| same_group(s, me));
        e.bound.iter().copied().filter(in_group).collect()
    }

    /// A socket that was just bound takes over the program of the group that it is in now.
    pub(super) fn inherit_chooser(&mut self, id: SockId) {
        if !self.table.get(id).is_ok_and(|s| s.opt.reuseport && s.opt.chooser.is_none()) {
            return;
        }
        let group = self.reuseport_group(id);
        let chooser = group.iter().find_map(|i| self.table.at(*i)?.opt.chooser.clone());
        if let Ok(s) = self.table.get_mut(id) {
            s.opt.chooser = chooser;
        }
    }
}

impl Demux {
    /// The one socket that gets a unicast packet whose payload this is: as [`Demux::find`], and in a group with a program that
    /// one which the program chooses.
    pub fn find_in_group(&self, table: &Table, p: &Packet, payload: &[u8]) -> Option<u32> {
        let found = self.find(table, p)?;
        let me = table.at(found)?;
        let Some(chooser) = me.opt.chooser.as_ref().filter(|_| me.remote.is_none() && me.opt.reuseport)
        else {
            return Some(found);
        };
        let aux = iopkt_bpf::Aux { ifindex: p.ifindex, ..iopkt_bpf::Aux::default() };
        let n = chooser.run(payload, payload.len() as u32, &aux) as usize;
        let e = self.port(p.proto, p.dst.port())?;
        let in_group = |i: &&u32| table.at(**i).is_some_and(|s| same_group(s, me) && s.remote.is_none());
        Some(e.bound.iter().filter(in_group).nth(n).copied().unwrap_or(found))
    }
}

//! The socket table: slots with generations, and a limit.

use super::sock::Sock;
use super::types::SockId;
use alloc::boxed::Box;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result};

struct Slot {
    generation: u32,
    sock: Option<Box<Sock>>,
}

/// All sockets of a shard. Free slots are used again last in, first out, each time with a new generation.
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    max: usize,
}

impl Table {
    pub fn new(max: usize) -> Table {
        Table { slots: Vec::new(), free: Vec::new(), live: 0, max: max.min(u32::MAX as usize) }
    }

    /// Sockets that exist.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Slots that were ever used.
    pub fn span(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Every socket, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Sock> {
        (0..self.span()).filter_map(|i| self.at(i))
    }

    /// Puts in the socket that `make` gives for its new name.
    ///
    /// # Errors
    /// ENFILE at the limit.
    pub fn insert(&mut self, make: impl FnOnce(SockId) -> Sock) -> Result<SockId> {
        if self.live >= self.max {
            return Err(Errno::ENFILE);
        }
        let index = match self.free.pop() {
            Some(i) => i,
            None => {
                self.slots.push(Slot { generation: 0, sock: None });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let id = SockId { index, generation: slot.generation };
        slot.sock = Some(Box::new(make(id)));
        self.live += 1;
        Ok(id)
    }

    /// Takes a socket out; its name is stale from now on.
    pub fn remove(&mut self, index: u32) -> Option<Box<Sock>> {
        let sock = self.slots.get_mut(index as usize)?.sock.take()?;
        self.free.push(index);
        self.live -= 1;
        Some(sock)
    }

    /// The socket of this name; EBADF for a stale one.
    pub fn get(&self, id: SockId) -> Result<&Sock> {
        let s = self.slots.get(id.index as usize).filter(|s| s.generation == id.generation);
        s.and_then(|s| s.sock.as_deref()).ok_or(Errno::EBADF)
    }

    /// The socket of this name, to change; EBADF for a stale one. What was concluded from its settings is void
    /// ([`Sock::changed`]): for its queues there is [`Table::io`].
    pub fn get_mut(&mut self, id: SockId) -> Result<&mut Sock> {
        let s = self.io(id)?;
        s.changed = s.changed.wrapping_add(1);
        Ok(s)
    }

    /// As [`Table::get_mut`], to change queues, counters, events and a pending error only: nothing that decides where its packets go.
    #[inline]
    pub fn io(&mut self, id: SockId) -> Result<&mut Sock> {
        let s = self.slots.get_mut(id.index as usize).filter(|s| s.generation == id.generation);
        s.and_then(|s| s.sock.as_deref_mut()).ok_or(Errno::EBADF)
    }

    /// The socket in this slot.
    pub fn at(&self, index: u32) -> Option<&Sock> {
        self.slots.get(index as usize)?.sock.as_deref()
    }

    /// The socket in this slot, to change; as [`Table::get_mut`].
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Sock> {
        let s = self.io_at(index)?;
        s.changed = s.changed.wrapping_add(1);
        Some(s)
    }

    /// As [`Table::io`].
    #[inline]
    pub fn io_at(&mut self, index: u32) -> Option<&mut Sock> {
        self.slots.get_mut(index as usize)?.sock.as_deref_mut()
    }
}

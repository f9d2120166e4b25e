//! A queue of buffers that takes no memory of its own: linked through their headers.

use crate::buf::{Mbuf, MbufHdr};
use core::ptr::{self, NonNull};

/// Packets in order, owned: the followers of a packet that share its way (a train). First in, first out.
pub struct Chain {
    /// First and last header; both null when there is none.
    head: *mut MbufHdr,
    tail: *mut MbufHdr,
    len: usize,
}

// SAFETY: a chain is the only handle to its buffers, each of which may be sent.
unsafe impl Send for Chain {}

impl Chain {
    /// An empty chain.
    pub const fn new() -> Chain {
        Chain { head: ptr::null_mut(), tail: ptr::null_mut(), len: 0 }
    }

    /// Whether it has no buffers.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many buffers it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends a buffer.
    #[inline]
    pub fn push(&mut self, m: Mbuf) {
        let h = m.into_raw();
        // SAFETY: `h` was owned by the Mbuf and is the chain's now; `tail`, when there is one, is the chain's too, and no
        // other reference to either exists.
        unsafe {
            (*h.as_ptr()).next = ptr::null_mut();
            match NonNull::new(self.tail) {
                Some(t) => (*t.as_ptr()).next = h.as_ptr(),
                None => self.head = h.as_ptr(),
            }
        }
        self.tail = h.as_ptr();
        self.len += 1;
    }

    /// The first buffer.
    #[inline]
    pub fn front(&self) -> Option<&Mbuf> {
        if self.head.is_null() {
            return None;
        }
        // SAFETY: an Mbuf is a header's address and nothing else (`repr(transparent)`), never null here; what is lent out lives
        // as long as the borrow of the chain, which owns the buffer.
        Some(unsafe { &*(&raw const self.head).cast::<Mbuf>() })
    }

    /// Takes the first buffer.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        let h = NonNull::new(self.head)?;
        // SAFETY: the chain owns the buffer; its link was set by `push` and leads to another one of the chain or nowhere.
        self.head = unsafe { h.as_ref().next };
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        // SAFETY: came from `into_raw` in `push`, lengths unchanged since, and the chain gives it up.
        Some(unsafe { Mbuf::from_raw(h) })
    }
}

impl Default for Chain {
    fn default() -> Chain {
        Chain::new()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl core::fmt::Debug for Chain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Chain({} buffers)", self.len)
    }
}

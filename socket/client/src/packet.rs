//! Packet sockets: the frames of an interface, for captures.

use crate::Session;
use iopkt_base::Errno;
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{DGRAM_HDR_LEN, DgramHdr, Op, Req, df, sockf};
use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is known of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When, in nanoseconds of the stack's clock (see `Hello::now`).
    pub stamp: u64,
    /// Interface.
    pub ifindex: u32,
    /// `PACKET_HOST` (0), `_BROADCAST`, `_MULTICAST`, `_OTHERHOST`, `_OUTGOING` (4).
    pub pkttype: u8,
    /// Ethernet type.
    pub protocol: u16,
    /// Length of the whole frame, bytes; what was taken may be less.
    pub wire_len: usize,
    /// Why the stack dropped it: a place in `iopkt_stack::Why::ALL`.
    pub why: Option<usize>,
    /// Its checksum was left for the device to complete.
    pub csum_pending: bool,
}

/// A packet socket (packet(7), SOCK_RAW).
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    session: Session,
    key: u64,
    buf: Vec<u8>,
}

impl PacketSocket {
    /// A socket that hears nothing yet.
    ///
    /// # Errors
    /// EPERM for who is neither root nor the user of the stack.
    pub fn open(session: &Session) -> io::Result<PacketSocket> {
        let fd = session.socket(AF_PACKET, SOCK_RAW, 0, sockf::STRIPS)?;
        let buf = vec![0; DGRAM_HDR_LEN + (1 << 17)];
        Ok(PacketSocket { fd, session: session.clone(), key: session.hello().key, buf })
    }

    fn set(&self, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        let req = Req { args: [level, name, 0, 0, 0], ..Req::new(Op::Setsockopt, 0) };
        self.session.call(req, value, Some(self.fd.as_fd())).map(drop)
    }

    /// Attaches a filter: instructions of 8 bytes as they lie in memory.
    ///
    /// # Errors
    /// EINVAL for one that is not sound.
    pub fn filter(&self, insns: &[u8]) -> io::Result<()> {
        self.set(SOL_SOCKET, SO_ATTACH_FILTER, insns)
    }

    /// Room for frames that wait, bytes.
    ///
    /// # Errors
    /// The session broke.
    pub fn room(&self, bytes: usize) -> io::Result<()> {
        self.set(SOL_SOCKET, SO_RCVBUFFORCE, &(bytes as i32).to_ne_bytes())
    }

    /// Asks for the reasons of drops.
    ///
    /// # Errors
    /// The session broke.
    pub fn fates(&self) -> io::Result<()> {
        self.set(SOL_PACKET, PACKET_FATE, &1i32.to_ne_bytes())
    }

    /// Puts an interface into promiscuous mode for as long as the socket lives.
    ///
    /// # Errors
    /// ENODEV.
    pub fn promiscuous(&self, ifindex: u32) -> io::Result<()> {
        let mut m = [0; 16];
        m[..4].copy_from_slice(&ifindex.to_ne_bytes());
        m[4..6].copy_from_slice(&PACKET_MR_PROMISC.to_ne_bytes());
        self.set(SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m)
    }

    /// Begins to hear the frames of an interface.
    ///
    /// # Errors
    /// ENODEV, ENETDOWN.
    pub fn bind(&self, ifindex: u32) -> io::Result<()> {
        let all = i32::from(ETH_P_ALL.to_be());
        let req = Req { args: [ifindex as i32, all, 0, 0, 0], ..Req::new(Op::Bind, 0) };
        self.session.call(req, &[], Some(self.fd.as_fd())).map(drop)
    }

    /// The next frame; `None` when none waits.
    ///
    /// # Errors
    /// ENETDOWN when the interface is gone, ECONNRESET when the stack is.
    pub fn receive(&mut self) -> io::Result<Option<(Frame, &[u8])>> {
        let n = match recv(&self.fd, &mut self.buf[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(io::Error::from_raw_os_error(Errno::ECONNRESET.raw())),
            Ok((n, _)) => n,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a frame without its header");
        let (h, bytes) = DgramHdr::decode(&self.buf[..n], self.key).ok_or_else(bad)?;
        if h.flags & df::ERROR != 0 {
            return Err(io::Error::from_raw_os_error(h.err));
        }
        let frame = Frame {
            stamp: h.stamp,
            ifindex: h.ifindex,
            pkttype: h.link[10],
            protocol: u16::from_be_bytes([h.link[2], h.link[3]]),
            wire_len: h.len as usize,
            why: usize::try_from(h.err).ok().and_then(|e| e.checked_sub(1)),
            csum_pending: h.icmp.0 != 0,
        };
        Ok(Some((frame, bytes)))
    }

    /// Sends a whole frame, its Ethernet header included, by the interface that the socket is bound to.
    ///
    /// # Errors
    /// ENXIO without an interface; ECONNRESET when the stack is gone. What becomes of the frame is not told.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, rustix::net::SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Frames that passed the filter and those of them that were lost, since it was last asked.
    ///
    /// # Errors
    /// The session broke.
    pub fn statistics(&self) -> io::Result<(u32, u32)> {
        let req = Req { args: [SOL_PACKET, PACKET_STATISTICS, 8, 0, 0], ..Req::new(Op::Getsockopt, 0) };
        let a = self.session.call(req, &[], Some(self.fd.as_fd()))?;
        let n = |at: usize| {
            a.payload.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        Ok((n(0), n(4)))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

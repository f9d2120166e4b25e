//! Frames from the kernel, up to 32 with a system call (recvmmsg(2)).
//!
//! A frame is read into three places: its header, a buffer of the usual size, and a part of a scratch area behind it that most
//! frames do not reach. Of a super-segment, what lies there is copied behind the buffer's bytes into a large buffer. While
//! super-segments come, frames are read one by one instead, and the third place is a large buffer itself, of which only the
//! front is filled by copying: never more than a small frame.

use iopkt_linuxif::vnet;
use iopkt_sdk::{Batch, Mbuf, Port};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// Ethernet header and a VLAN tag.
const HEADER: usize = 18;
/// The largest packet, and what a system call takes at most.
const LARGE: usize = 65_536 + HEADER;
const MOST: usize = 32;
/// So many small ones in a row end the reading one by one.
const PATIENCE: u32 = 64;

/// `struct tpacket_auxdata`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Aux {
    status: u32,
    _len: u32,
    _snaplen: u32,
    _mac: u16,
    _net: u16,
    tci: u16,
    tpid: u16,
}

const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;

/// One control message with an [`Aux`], aligned as the kernel writes it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Buffers for the next reads.
#[derive(Default)]
pub(crate) struct Reader {
    spare: Option<Batch>,
    large: Option<Mbuf>,
    scratch: Vec<u8>,
    /// Reads one by one that are still to come.
    single: u32,
}

/// What a read brought.
pub(crate) enum Got {
    /// A frame.
    Frame(Mbuf),
    /// One that is shorter or longer than any good one, or whose header makes no sense.
    Bad,
    /// One that had to be thrown away for want of memory.
    NoMemory,
}

impl Reader {
    /// Gives the buffers back.
    pub(crate) fn clear(&mut self) {
        *self = Reader::default();
    }

    /// Reads at most `most` frames (at least one); each goes to `each`. How many there were.
    ///
    /// # Errors
    /// EAGAIN: none; else the kernel's.
    pub(crate) fn read(
        &mut self,
        sock: impl AsFd,
        port: &Port<'_>,
        mtu: u32,
        most: usize,
        mut each: impl FnMut(Got),
    ) -> Result<usize, Errno> {
        let single = self.single > 0;
        let n = if single { 1 } else { most.clamp(1, MOST) };
        // One byte more than any good frame of the usual size: a longer one fills it and is seen.
        let room = mtu.max(1500) as usize + HEADER + 1;
        let spare = self.spare.get_or_insert_with(|| port.batch());
        if spare.fill(n, room) == 0 {
            // Take a frame from the kernel all the same, or it would wake us at once.
            rustix::io::read(sock, &mut [0u8; 1][..])?;
            each(Got::NoMemory);
            return Ok(1);
        }
        if single {
            self.large = self.large.take().or_else(|| large(port, room));
        } else if self.scratch.is_empty() {
            // Pages of it exist once a frame has reached them.
            self.scratch = vec![0; MOST * LARGE];
        }
        let mut bufs: [Option<Mbuf>; MOST] = [const { None }; MOST];
        let n = n.min(spare.len());
        for b in &mut bufs[..n] {
            *b = spare.pop();
        }
        let behind = match self.large.as_mut().filter(|_| single) {
            Some(l) => l.spare(),
            None if single => &mut [],
            None => &mut self.scratch[..],
        };
        let mut heads = [[0u8; vnet::LEN]; MOST];
        let mut got = [(0usize, false, None); MOST];
        let r = receive(sock, &mut heads[..n], &mut bufs[..n], room, behind, &mut got);
        let taken = *r.as_ref().unwrap_or(&0);
        let mut any_large = false;
        for (i, b) in bufs.iter_mut().enumerate() {
            let Some(m) = b.take() else { continue };
            if i >= taken {
                let _ = spare.push(m);
                continue;
            }
            let (len, cut, tag) = got[i];
            let is_large = len > room;
            any_large |= is_large;
            let whole = match (cut, len) {
                (true, _) => Err(Got::Bad),
                (_, 0..14) => Err(Got::Bad),
                _ if !is_large => {
                    let mut m = m;
                    m.grow(len);
                    Ok(m)
                }
                _ if single => {
                    let front = m;
                    self.large.take().and_then(|l| join(l, front, room, len - room)).ok_or(Got::NoMemory)
                }
                _ => gather(port, m, room, &self.scratch[i * LARGE..][..len - room]).ok_or(Got::NoMemory),
            };
            each(match (whole, vnet::parse(&heads[i])) {
                (Ok(mut m), Some(marks)) => {
                    m.set_marks(marks);
                    match tag.is_none_or(|t| insert(&mut m, t)) {
                        true => Got::Frame(m),
                        false => Got::NoMemory,
                    }
                }
                (Ok(_), None) => Got::Bad,
                (Err(e), _) => e,
            });
        }
        self.single = if any_large { PATIENCE } else { self.single.saturating_sub(taken as u32) };
        r
    }
}

/// A frame without its header: how long, whether it was cut, and its VLAN tag (type, value) when the kernel has taken it off.
type Length = (usize, bool, Option<(u16, u16)>);

/// recvmmsg(2) into these places; how many frames there were.
fn receive(
    sock: impl AsFd,
    heads: &mut [[u8; vnet::LEN]],
    bufs: &mut [Option<Mbuf>],
    room: usize,
    behind: &mut [u8],
    got: &mut [Length; MOST],
) -> Result<usize, Errno> {
    let n = bufs.len();
    let mut rest = behind.chunks_mut(LARGE);
    let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut iov = [[none; 3]; MOST];
    // SAFETY: mmsghdr is plain data; zero is a valid value for all of it.
    let mut msgs: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    let mut control = [Control([0; 64]); MOST];
    for i in 0..n {
        let Some(m) = &mut bufs[i] else { continue };
        let (h, b) = (&mut heads[i][..], &mut m.spare()[..room]);
        iov[i][0] = libc::iovec { iov_base: h.as_mut_ptr().cast(), iov_len: h.len() };
        iov[i][1] = libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() };
        if let Some(r) = rest.next() {
            iov[i][2] = libc::iovec { iov_base: r.as_mut_ptr().cast(), iov_len: r.len() };
        }
        let h = &mut msgs[i].msg_hdr;
        (h.msg_iov, h.msg_iovlen) = (iov[i].as_mut_ptr(), 3);
        h.msg_control = control[i].0.as_mut_ptr().cast();
        h.msg_controllen = control[i].0.len();
    }
    let fd = sock.as_fd().as_raw_fd();
    // SAFETY: `n` messages, whose parts are disjoint writable bytes and live through the call.
    let r =
        unsafe { libc::recvmmsg(fd, msgs.as_mut_ptr(), n as u32, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
    if r < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    let r = r as usize;
    for i in 0..r.min(n) {
        let h = &msgs[i].msg_hdr;
        let cut = h.msg_flags & libc::MSG_TRUNC != 0;
        let len = (msgs[i].msg_len as usize).saturating_sub(vnet::LEN);
        got[i] = (len, cut, tag(&control[i].0[..h.msg_controllen.min(64)]));
    }
    Ok(r.min(n))
}

/// The VLAN tag that a control message tells of.
fn tag(c: &[u8]) -> Option<(u16, u16)> {
    const HEAD: usize = size_of::<libc::cmsghdr>();
    let word = |at: usize| Some(i32::from_ne_bytes(*c.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u16::from_ne_bytes(*c.get(HEAD + at..)?.first_chunk()?));
    if (word(HEAD - 8)?, word(HEAD - 4)?) != (libc::SOL_PACKET, 8) {
        return None;
    }
    let status = word(HEAD + std::mem::offset_of!(Aux, status))? as u32;
    if status & VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & VLAN_TPID_VALID != 0 { half(std::mem::offset_of!(Aux, tpid))? } else { 0x8100 };
    Some((tpid, half(std::mem::offset_of!(Aux, tci))?))
}

/// Puts a VLAN tag back where it was; false: no room.
fn insert(m: &mut Mbuf, (tpid, tci): (u16, u16)) -> bool {
    if m.prepend(4).is_none() {
        return false;
    }
    let b = m.as_mut_slice();
    b.copy_within(4..16, 0);
    b[12..14].copy_from_slice(&tpid.to_be_bytes());
    b[14..16].copy_from_slice(&tci.to_be_bytes());
    let mut marks = m.marks();
    marks.partial = marks.partial.map(|(start, offset)| (start.saturating_add(4), offset));
    m.set_marks(marks);
    true
}

/// A buffer for the rest of a super-segment, with as much headroom as the front of it needs.
fn large(port: &Port<'_>, front: usize) -> Option<Mbuf> {
    let mut l = port.alloc(front + LARGE)?;
    l.grow(front);
    l.trim_front(front);
    Some(l)
}

/// The packet whose first `room` bytes are in `front`, and whose next `n` have been read into `l`.
fn join(mut l: Mbuf, mut front: Mbuf, room: usize, n: usize) -> Option<Mbuf> {
    front.grow(room);
    l.grow(n);
    l.prepend(room)?.copy_from_slice(front.as_slice());
    Some(l)
}

/// The same where the next bytes are in the scratch area.
fn gather(port: &Port<'_>, mut front: Mbuf, room: usize, rest: &[u8]) -> Option<Mbuf> {
    front.grow(room);
    let mut l = port.alloc(room + rest.len())?;
    (l.extend_from_slice(front.as_slice()) && l.extend_from_slice(rest)).then_some(l)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, status: u32, tci: u16, tpid: u16) -> Vec<u8> {
        let mut c = 36usize.to_ne_bytes().to_vec();
        c.extend(level.to_ne_bytes());
        c.extend(kind.to_ne_bytes());
        c.extend(status.to_ne_bytes());
        c.extend([0; 12]);
        c.extend(tci.to_ne_bytes());
        c.extend(tpid.to_ne_bytes());
        c
    }

    #[test]
    fn tags_are_found_and_nothing_else_is() {
        let ok = control(263, 8, VLAN_VALID | VLAN_TPID_VALID, 7, 0x88a8);
        assert_eq!(tag(&ok), Some((0x88a8, 7)));
        assert_eq!(tag(&control(263, 8, VLAN_VALID, 7, 0)), Some((0x8100, 7)));
        assert_eq!(tag(&control(263, 8, 1, 7, 0x8100)), None);
        assert_eq!(tag(&control(263, 9, VLAN_VALID, 7, 0x8100)), None);
        assert_eq!(tag(&control(1, 8, VLAN_VALID, 7, 0x8100)), None);
        for n in 0..ok.len() {
            assert_eq!(tag(&ok[..n]), None, "cut at {n}");
        }
    }
}

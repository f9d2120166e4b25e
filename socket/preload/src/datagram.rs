//! Datagram sockets: putting the header on, taking it off.
//!
//! Two small tables remember, by the number of the pair (which the stack never gives twice), what would otherwise be asked for
//! every datagram. An entry that is overwritten is asked for again.

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use iopkt_shim::dgram::{self, Wants};
use iopkt_shim::sys::{self, Result};
use iopkt_shim::{ident, ops};
use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, MAX_PAYLOAD, PairName, TOO_LONG, df, ext};
use libc::{iovec, msghdr};

use crate::session::{self, Stack};

/// IOV_MAX, one more for the header, and one for extension headers.
const MAX_IOV: usize = 1026;

/// What the stack keeps of a datagram that an error is about, and more.
const QUOTE: usize = 1024;

/// Whether this process may hold a datagram socket of a stack. While it does not, nothing here costs anything.
static SEEN: AtomicBool = AtomicBool::new(false);

/// Destinations that datagrams were lately sent to without an error: hashes of pair and address.
static DESTINATIONS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Control messages asked for: the lower half of the pair's number, and the [`Wants`].
static WANTS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Takes note of a descriptor that this process has come to.
pub fn notice(fd: c_int) {
    if !SEEN.load(Ordering::Relaxed) && ident::pair(fd).is_some_and(|p| !p.stream) {
        SEEN.store(true, Ordering::Relaxed);
    }
}

/// The pair of `fd`, if it is a stack's datagram socket.
#[inline]
pub fn pair(fd: c_int) -> Option<PairName> {
    if SEEN.load(Ordering::Relaxed) { ident::pair(fd).filter(|p| !p.stream) } else { None }
}

fn slot(table: &[AtomicU64; 64], n: u64) -> &AtomicU64 {
    &table[(n % 64) as usize]
}

fn wants(name: &PairName, fd: c_int) -> Wants {
    let cell = slot(&WANTS, name.number);
    let v = cell.load(Ordering::Relaxed);
    let half = name.number << 32;
    if v & !u64::from(u32::MAX) == half && v as u32 & Wants::KNOWN != 0 {
        return Wants(v as u32);
    }
    let w = Wants::ask(&mut Stack, fd);
    cell.store(half | u64::from(w.0), Ordering::Relaxed);
    w
}

/// An option was set: what was known of the socket may be wrong now.
pub fn option_set(name: &PairName, level: c_int, option: c_int) {
    if Wants::concerns(level, option) {
        slot(&WANTS, name.number).store(0, Ordering::Relaxed);
    }
}

/// FNV-1a over the pair and the destination; never 0.
fn destination_key(name: &PairName, to: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for b in name.number.to_ne_bytes().iter().chain(&name.instance.to_ne_bytes()).chain(to) {
        h = (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    }
    h | 1
}

/// The parts of a message, with a place for the header in front of them.
struct Parts {
    iov: [MaybeUninit<iovec>; MAX_IOV],
    len: usize,
}

impl Parts {
    /// # Safety
    /// `iov` must be valid for `n` elements.
    unsafe fn new(head: *mut u8, head_len: usize, iov: *const iovec, n: usize) -> Result<Parts> {
        // One place is for `overflow`.
        if n >= MAX_IOV - 1 {
            return Err(libc::EMSGSIZE);
        }
        let mut p = Parts { iov: [const { MaybeUninit::uninit() }; MAX_IOV], len: n + 1 };
        p.iov[0].write(iovec { iov_base: head.cast(), iov_len: head_len });
        for i in 0..n {
            // SAFETY: the caller's promise.
            p.iov[i + 1].write(unsafe { iov.add(i).read() });
        }
        Ok(p)
    }

    /// A place behind the program's parts, for what extension headers take of their room. Not one of [`Parts::own`].
    fn overflow(&mut self, m: &mut msghdr, place: &mut [MaybeUninit<u8>; ext::MAX]) {
        self.iov[self.len].write(iovec { iov_base: place.as_mut_ptr().cast(), iov_len: ext::MAX });
        m.msg_iovlen += 1;
    }

    fn header(&mut self) -> msghdr {
        // SAFETY: all-zero is a valid msghdr.
        let mut m: msghdr = unsafe { core::mem::zeroed() };
        m.msg_iov = self.iov.as_mut_ptr().cast();
        m.msg_iovlen = self.len as _;
        m
    }

    /// The program's parts.
    fn own(&self) -> &[iovec] {
        // SAFETY: `len` elements are written by `new`.
        unsafe { core::slice::from_raw_parts(self.iov.as_ptr().cast::<iovec>().add(1), self.len - 1) }
    }

    /// The same, and the place behind them.
    fn with_overflow(&self) -> &[iovec] {
        // SAFETY: `overflow` has written one more.
        unsafe { core::slice::from_raw_parts(self.iov.as_ptr().cast::<iovec>().add(1), self.len) }
    }

    fn room(&self) -> usize {
        self.own().iter().fold(0usize, |n, v| n.saturating_add(v.iov_len))
    }
}

/// Sends one datagram. `to` and `control` may be empty.
///
/// # Safety
/// `iov` must be valid for `n` elements, and these for reading, as the program says.
pub unsafe fn send(
    fd: c_int,
    name: &PairName,
    iov: *const iovec,
    n: usize,
    to: &[u8],
    control: &[u8],
    flags: c_int,
) -> Result<usize> {
    if flags & libc::MSG_OOB != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    if !control.is_empty() {
        // SAFETY: the caller's promise.
        return unsafe { send_controlled(fd, name, iov, n, to, control, flags) };
    }
    let mut head = [0u8; DGRAM_HDR_LEN];
    // SAFETY: the caller's promise.
    let mut parts = unsafe { Parts::new(head.as_mut_ptr(), DGRAM_HDR_LEN, iov, n)? };
    let payload = parts.room();
    if payload > MAX_PAYLOAD - DGRAM_HDR_LEN {
        let (h, _) = dgram::addressed(to, &[], flags, false, &mut [])?;
        return Err(too_long(fd, flags, &h.encode(session::greeting_of(name)?.key)));
    }
    let key = destination_key(name, to);
    let known = slot(&DESTINATIONS, key >> 1).load(Ordering::Relaxed) == key;
    // An empty message without a header could not be told from the end when the program closes behind it.
    let bare = payload > 0 && to.is_empty() && flags & (libc::MSG_MORE | libc::MSG_DONTROUTE) == 0;
    if !bare || !known {
        head = dgram::addressed(to, &[], flags, false, &mut [])?.0.encode(session::greeting_of(name)?.key);
    }
    if !known && payload > 0 {
        // The first one to a destination goes by request: no route, too long, not allowed are known at once.
        // SAFETY: the caller's promise.
        if let Some(r) = unsafe { requested(fd, flags, &head, &parts) } {
            if r.is_ok() {
                slot(&DESTINATIONS, key >> 1).store(key, Ordering::Relaxed);
            }
            return r;
        }
    }
    let mut m = parts.header();
    if bare && known {
        // SAFETY: past the header's place; at least the empty rest is there.
        m.msg_iov = unsafe { m.msg_iov.add(1) };
        m.msg_iovlen -= 1;
        // SAFETY: the parts live across the call.
        return unsafe { sys::sendmsg(fd, &raw const m, flags) };
    }
    // SAFETY: the parts and the header live across the call.
    unsafe { sys::sendmsg(fd, &raw const m, flags) }.map(|n| n.saturating_sub(DGRAM_HDR_LEN))
}

/// No datagram is that long. The stack hears of it all the same, as the error queue tells the path's MTU then (tracepath(8) begins so).
#[cold]
fn too_long(fd: c_int, flags: c_int, head: &[u8]) -> c_int {
    static LONGER: [u8; TOO_LONG] = [0; TOO_LONG];
    ops::send(&mut Stack, fd, flags, head, &LONGER).err().unwrap_or(libc::EMSGSIZE)
}

/// Sends by request, which tells errors at once. `None`: the message must go through the pair.
///
/// # Safety
/// The parts must be readable.
unsafe fn requested(fd: c_int, flags: c_int, head: &[u8], parts: &Parts) -> Option<Result<usize>> {
    let [one] = parts.own() else { return None };
    // SAFETY: the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(one.iov_base.cast::<u8>(), one.iov_len) };
    match ops::send(&mut Stack, fd, flags, head, bytes) {
        Err(libc::EAGAIN) => None,
        r => Some(r),
    }
}

/// Sends one datagram with control messages.
///
/// # Safety
/// As [`send`].
#[cold]
unsafe fn send_controlled(
    fd: c_int,
    name: &PairName,
    iov: *const iovec,
    n: usize,
    to: &[u8],
    control: &[u8],
    flags: c_int,
) -> Result<usize> {
    let mut head = [0u8; DGRAM_HDR_LEN + ext::MAX];
    let v6 = wants(name, fd).v6();
    let (mut h, ext) = dgram::addressed(to, control, flags, v6, &mut head[DGRAM_HDR_LEN..])?;
    // SAFETY: the caller's promise.
    let mut parts = unsafe { Parts::new(head.as_mut_ptr(), DGRAM_HDR_LEN + ext, iov, n)? };
    let payload = parts.room();
    if payload > MAX_PAYLOAD - DGRAM_HDR_LEN - ext {
        return Err(libc::EMSGSIZE);
    }
    h.len = payload as u32;
    head[..DGRAM_HDR_LEN].copy_from_slice(&h.encode(session::greeting_of(name)?.key));
    // What a program says of its datagram may be wrong: by request, where it is heard at once.
    // SAFETY: the caller's promise.
    if let Some(r) = unsafe { requested(fd, flags, &head[..DGRAM_HDR_LEN + ext], &parts) } {
        return r;
    }
    let m = parts.header();
    // SAFETY: the parts and the header live across the call.
    unsafe { sys::sendmsg(fd, &raw const m, flags) }.map(|n| n.saturating_sub(DGRAM_HDR_LEN + ext))
}

/// What was received.
pub struct Received {
    /// Bytes in the program's buffers.
    pub len: usize,
    /// Length of the datagram.
    pub full: usize,
    /// Its header, if it had one.
    pub head: Option<DgramHdr>,
    /// Its extension headers, and how long they are.
    ext: [MaybeUninit<u8>; ext::MAX],
    ext_len: usize,
}

impl Received {
    fn new(len: usize, full: usize, head: Option<DgramHdr>) -> Received {
        Received { len, full, head, ext: [const { MaybeUninit::uninit() }; ext::MAX], ext_len: 0 }
    }

    fn headers(&self) -> &[u8] {
        // SAFETY: as many bytes of it are written.
        unsafe { core::slice::from_raw_parts(self.ext.as_ptr().cast(), self.ext_len) }
    }

    /// What recv(2) returns.
    pub fn returned(&self, flags: c_int) -> usize {
        if flags & libc::MSG_TRUNC != 0 { self.full } else { self.len }
    }

    /// The sender: in the header, or the peer of a connected socket.
    pub fn sender(&self, fd: c_int) -> ops::SockAddr {
        match &self.head {
            Some(h) => ops::SockAddr::of(h),
            None => ops::getpeername(&mut Stack, fd).unwrap_or(ops::SockAddr::new(&Addr::NONE)),
        }
    }

    /// The control messages, in `out`: their length, and whether some had no room.
    pub fn control(&self, fd: c_int, name: &PairName, out: &mut [u8]) -> (usize, bool) {
        match (&self.head, session::greeting_of(name)) {
            (Some(h), _) if h.flags & df::ERROR != 0 => dgram::extended_error(h, out),
            (Some(h), Ok(g)) => dgram::incoming(h, self.headers(), wants(name, fd), &g, out),
            _ => (0, false),
        }
    }
}

/// Receives one datagram into the program's buffers, without its header.
///
/// # Safety
/// `iov` must be valid for `n` elements, and these for writing, as the program says.
pub unsafe fn receive(
    fd: c_int,
    name: &PairName,
    iov: *const iovec,
    n: usize,
    flags: c_int,
) -> Result<Received> {
    if flags & libc::MSG_ERRQUEUE != 0 {
        // SAFETY: the caller's promise.
        return unsafe { queued_error(fd, iov, n) };
    }
    // There is no urgent data of a datagram, and Linux's UDP does not look at the flag.
    let flags = flags & !libc::MSG_OOB;
    let key = session::greeting_of(name)?.key;
    let mut head = [0u8; DGRAM_HDR_LEN];
    // SAFETY: the caller's promise.
    let mut parts = unsafe { Parts::new(head.as_mut_ptr(), DGRAM_HDR_LEN, iov, n)? };
    let mut m = parts.header();
    let mut overflow = [const { MaybeUninit::uninit() }; ext::MAX];
    parts.overflow(&mut m, &mut overflow);
    // SAFETY: the parts and the header live across the call. MSG_TRUNC makes it return the message's whole length.
    let whole = unsafe { sys::recvmsg(fd, &raw mut m, flags | libc::MSG_TRUNC)? };
    let room = parts.room();
    if whole == 0 && sys::poll1(fd, 0, 0).is_ok_and(|e| e & libc::POLLHUP != 0) {
        // No datagram: the program has shut its reading half, or the stack is gone.
        let gone =
            ops::getsockopt_int(&mut Stack, fd, libc::SOL_SOCKET, libc::SO_TYPE) == Err(libc::ENETDOWN);
        return if gone { Err(libc::ECONNRESET) } else { Ok(Received::new(0, 0, None)) };
    }
    let genuine = if whole >= DGRAM_HDR_LEN { DgramHdr::decode(&head, key) } else { None };
    if let Some((h, _)) = genuine {
        if h.flags & df::ERROR != 0 {
            if flags & libc::MSG_PEEK != 0 {
                // SAFETY: an error is reported once, looked at or not.
                let _ =
                    unsafe { sys::recvmsg(fd, &raw mut m, (flags & !libc::MSG_PEEK) | libc::MSG_DONTWAIT) };
            }
            return Err(h.err);
        }
        let n = h.ext_len(whole - DGRAM_HDR_LEN).min(ext::MAX);
        let full = whole - DGRAM_HDR_LEN - n;
        let mut r = Received::new(full.min(room), full, Some(h));
        if n > 0 {
            // SAFETY: the program's buffers and the place behind them, which the call has filled.
            unsafe { take_out(parts.with_overflow(), &mut r, n) };
        }
        return Ok(r);
    }
    // Bare payload: its first bytes stand in the header's place, the others too far forward.
    // SAFETY: the program's buffers, as above.
    unsafe { shift(parts.own(), &head, whole) };
    Ok(Received::new(whole.min(room), whole, None))
}

/// connect(2) has changed where datagrams without an address go: the next one's errors are to be known at once again.
pub fn connected(fd: c_int) {
    if let Some(name) = pair(fd) {
        slot(&DESTINATIONS, destination_key(&name, &[]) >> 1).store(0, Ordering::Relaxed);
    }
}

/// The error of a datagram socket that was put in front of what is to be received, for SO_ERROR; it is told once.
pub fn error_before_data(fd: c_int) -> Option<c_int> {
    let name = pair(fd)?;
    let head = {
        let mut m = [0u8; DGRAM_HDR_LEN];
        let part = iovec { iov_base: m.as_mut_ptr().cast(), iov_len: DGRAM_HDR_LEN };
        // SAFETY: all-zero is a valid msghdr; the buffer is ours.
        unsafe {
            let mut h: msghdr = core::mem::zeroed();
            h.msg_iov = (&raw const part).cast_mut();
            h.msg_iovlen = 1;
            sys::recvmsg(fd, &raw mut h, libc::MSG_PEEK | libc::MSG_DONTWAIT).ok()?;
        }
        m
    };
    DgramHdr::decode(&head, session::greeting_of(&name).ok()?.key)
        .filter(|(h, _)| h.flags & df::ERROR != 0)?;
    // SAFETY: no buffers but the header's place. Another thread may have taken it meanwhile.
    unsafe { receive(fd, &name, core::ptr::null(), 0, libc::MSG_PEEK | libc::MSG_DONTWAIT) }
        .err()
        .filter(|e| *e != libc::EAGAIN)
}

/// The oldest error of the socket's queue, with what was quoted of its datagram.
///
/// # Safety
/// As [`receive`].
unsafe fn queued_error(fd: c_int, iov: *const iovec, n: usize) -> Result<Received> {
    let mut out = [0u8; QUOTE + DGRAM_HDR_LEN];
    let (h, quote, full) = ops::queued_error(&mut Stack, fd, &mut out)?;
    // SAFETY: the program's buffers.
    let parts = unsafe { core::slice::from_raw_parts(iov, if iov.is_null() { 0 } else { n }) };
    let mut rest = quote;
    for v in parts {
        let (now, later) = rest.split_at(v.iov_len.min(rest.len()));
        // SAFETY: as many bytes as the program has room for.
        unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), v.iov_base.cast::<u8>(), now.len()) };
        rest = later;
    }
    Ok(Received::new(quote.len() - rest.len(), full, Some(h)))
}

/// Length of the datagram that is to be read next, 0 if there is none (FIONREAD).
pub fn next_length(fd: c_int, name: &PairName) -> Result<usize> {
    // SAFETY: no buffers but the header's place.
    match unsafe { receive(fd, name, core::ptr::null(), 0, libc::MSG_PEEK | libc::MSG_DONTWAIT) } {
        Ok(r) => Ok(r.full),
        Err(libc::EAGAIN) => Ok(0),
        Err(e) => Err(e),
    }
}

/// Takes the `n` bytes of extension headers out of the front of `iov`; the payload moves up.
///
/// # Safety
/// The buffers must be valid for reading and writing, and filled as far as `n` and the payload go.
#[cold]
unsafe fn take_out(iov: &[iovec], r: &mut Received, n: usize) {
    // SAFETY: all accesses are to places within the buffers.
    unsafe {
        for (i, to) in r.ext.iter_mut().enumerate().take(n) {
            to.write(place(iov, i).map_or(0, |p| p.read()));
        }
        r.ext_len = n;
        for i in 0..r.len {
            if let (Some(to), Some(from)) = (place(iov, i), place(iov, i + n)) {
                to.write(from.read());
            }
        }
    }
}

/// Moves what stands in `iov` (the message's bytes from the 96th on) back by the length of `head` and puts `head` in front.
///
/// # Safety
/// The buffers must be valid for reading and writing.
unsafe fn shift(iov: &[iovec], head: &[u8; DGRAM_HDR_LEN], whole: usize) {
    // SAFETY: all accesses lie within the buffers by the lengths checked here.
    unsafe {
        if let [one] = iov {
            let (at, room) = (one.iov_base.cast::<u8>(), one.iov_len);
            let first = whole.min(DGRAM_HDR_LEN).min(room);
            let rest = (whole - whole.min(DGRAM_HDR_LEN)).min(room - first);
            if rest > 0 {
                core::ptr::copy(at, at.add(first), rest);
            }
            core::ptr::copy_nonoverlapping(head.as_ptr(), at, first);
            return;
        }
        // Several buffers: from the end, byte by byte.
        let room = iov.iter().fold(0usize, |n, v| n.saturating_add(v.iov_len));
        for to in (0..whole.min(room)).rev() {
            let byte = match to.checked_sub(DGRAM_HDR_LEN) {
                Some(from) => place(iov, from).map_or(0, |p| p.read()),
                None => head.get(to).copied().unwrap_or(0),
            };
            if let Some(p) = place(iov, to) {
                p.write(byte);
            }
        }
    }
}

/// Where byte `n` of scattered buffers is.
fn place(iov: &[iovec], mut n: usize) -> Option<*mut u8> {
    for v in iov {
        if n < v.iov_len {
            return Some(v.iov_base.cast::<u8>().wrapping_add(n));
        }
        n -= v.iov_len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(sizes: &[usize], message: &[u8]) -> Vec<u8> {
        let mut head = [0u8; DGRAM_HDR_LEN];
        let first = message.len().min(DGRAM_HDR_LEN);
        head[..first].copy_from_slice(&message[..first]);
        let mut bufs: Vec<Vec<u8>> = sizes.iter().map(|n| vec![0; *n]).collect();
        let mut rest = message[first..].iter();
        for b in &mut bufs {
            b.iter_mut().zip(&mut rest).for_each(|(d, s)| *d = *s);
        }
        let iov: Vec<iovec> =
            bufs.iter_mut().map(|b| iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() }).collect();
        // SAFETY: the buffers are ours.
        unsafe { shift(&iov, &head, message.len()) };
        bufs.concat()
    }

    #[test]
    fn bare_payload_ends_where_it_belongs() {
        let message: Vec<u8> = (0..400).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, 50, 95, 96, 97, 200, 300, 400] {
            for sizes in
                [&[500][..], &[400], &[100], &[10], &[0], &[1, 2, 500], &[50, 50, 50], &[96, 96, 300]]
            {
                let room: usize = sizes.iter().sum();
                let n = len.min(room);
                assert_eq!(shifted(sizes, &message[..len])[..n], message[..n], "{len} bytes in {sizes:?}");
            }
        }
    }
}

//! `struct msghdr` of sendmsg(2) and recvmsg(2).

use crate::drive::Instance;
use crate::io::{bytes, iovecs, put_name, scatter};
use iopkt_base::Result;
use iopkt_world::Call;

/// recvmsg(2).
///
/// # Safety
/// `m` is a msghdr as recvmsg(2) wants it.
pub(crate) unsafe fn recv(i: &Instance, fd: i32, m: &mut libc::msghdr, flags: i32) -> Result<i64> {
    // SAFETY: as promised by the caller.
    let mut bufs = unsafe { iovecs(m.msg_iov, m.msg_iovlen) }?;
    let len = bufs.iter().map(|b| b.len()).sum();
    let room = if m.msg_control.is_null() { 0 } else { m.msg_controllen };
    let a = i.call(Call::Recv { fd, len, flags, room })?;
    scatter(&a.data, &mut bufs);
    if !m.msg_name.is_null() {
        let mut n = m.msg_namelen;
        // SAFETY: msg_name has room for msg_namelen bytes.
        unsafe { put_name(&a.name, m.msg_name.cast(), &mut n) };
        m.msg_namelen = n.min(m.msg_namelen);
    }
    m.msg_flags = a.msg_flags;
    let n = room.min(a.control.len());
    if n > 0 {
        // SAFETY: msg_control has room for msg_controllen bytes.
        unsafe { std::ptr::copy_nonoverlapping(a.control.as_ptr(), m.msg_control.cast::<u8>(), n) };
    }
    m.msg_controllen = n;
    Ok(a.ret)
}

/// sendmsg(2).
///
/// # Safety
/// `m` is a msghdr as sendmsg(2) wants it.
pub(crate) unsafe fn send(i: &Instance, fd: i32, m: &libc::msghdr, flags: i32) -> Result<i64> {
    // SAFETY: as promised by the caller; the buffers are only read.
    let data = unsafe { iovecs(m.msg_iov, m.msg_iovlen) }?.concat();
    // SAFETY: as promised by the caller.
    let name = unsafe { bytes(m.msg_name, m.msg_namelen as usize) }?;
    let name = (!name.is_empty()).then(|| name.to_vec());
    let room = if m.msg_control.is_null() { 0 } else { m.msg_controllen };
    // SAFETY: as promised by the caller.
    let control = unsafe { bytes(m.msg_control, room) }?.to_vec();
    i.call(Call::Send { fd, data, flags, name, control }).map(|a| a.ret)
}

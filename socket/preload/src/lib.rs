//! The preload library: control calls of dynamic programs.
//!
//! Theory of operation. `LD_PRELOAD` puts these functions in front of libc's. A socket of the stack is one end of a Unix
//! socket pair, so data needs no help; the functions here turn the other calls into requests to the stack
//! (`iopkt_shim::ops`) and add or strip the header of addressed datagrams. There is no table of descriptors: the
//! kernel's own getpeername(2) tells whether a descriptor is the stack's, so dup, fork, exec, close and passing
//! need no care. Descriptors that are not the stack's get the real call at once.
//!
//! Blocking calls wait in the kernel's own blocking calls on the pair (`wait`), so that O_NONBLOCK, SO_RCVTIMEO, SO_SNDTIMEO,
//! EINTR and SA_RESTART are exactly the kernel's.
//!
//! What it must be: callable in signal handlers, in threads, between fork and exec, and before anything is initialised. So:
//! raw system calls, no allocation (but in `interfaces`), no thread-local storage, no panic; one process-wide session under a lock that blocks
//! signals while it is held and that a forked child may take from its parent's dead copy (`session`).
//!
//! Limits: programs that make their calls without libc (static, Go), and libc's own internal calls, are not seen here;
//! io-pkt-run's supervisor gets those. stdio on an unconnected datagram socket would see the headers.

mod control;
mod datagram;
mod ends;
mod fresh;
mod interfaces;
mod nodes;
mod passing;
mod real;
mod rings;
mod session;
mod wait;

use core::ffi::c_int;

/// Sets errno and returns what a failed call returns.
fn fail(errno: c_int) -> c_int {
    // SAFETY: glibc's own errno of this thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// A result as a C function returns it.
fn status(r: iopkt_shim::sys::Result<usize>) -> c_int {
    match r {
        Ok(v) => v as c_int,
        Err(e) => fail(e),
    }
}

/// A length as a C function returns it.
fn length(r: iopkt_shim::sys::Result<usize>) -> libc::ssize_t {
    match r {
        Ok(v) => v as libc::ssize_t,
        Err(e) => fail(e) as libc::ssize_t,
    }
}

/// Runs when the library is loaded: after this the environment is the program's to change.
extern "C" fn start() {
    session::start();
    real::start();
    // A program may begin with the stack's sockets (inetd, exec).
    for fd in 0..16 {
        datagram::notice(fd);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

//! What happens when the process crashes: drivers quiet their hardware, the log gets a line, and the
//! signal's own action (a core file) follows.
//!
//! The handler may only do what signal-safety(7) allows, so all it needs lies ready in static memory:
//! a table of quiesce calls, and the name of the driver that each thread is in.

use crate::culprit;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Most devices whose hardware is quieted.
const SLOTS: usize = 128;

struct Slot {
    call: AtomicUsize,
    dev: AtomicPtr<c_void>,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { call: AtomicUsize::new(0), dev: AtomicPtr::new(std::ptr::null_mut()) } }; SLOTS];
static DONE: AtomicBool = AtomicBool::new(false);
static LOG: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static INSIDE: Cell<(*const u8, usize)> = const { Cell::new((std::ptr::null(), 0)) };
}

type Quiesce = unsafe extern "C" fn(*mut c_void);

/// A registered quiesce call; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Registered(usize);

impl Drop for Registered {
    fn drop(&mut self) {
        TABLE[self.0].call.store(0, Ordering::Release);
    }
}

/// Registers what quiets a device. `None` when the table is full (the device then is not quieted).
pub(crate) fn register(call: Quiesce, dev: *mut c_void) -> Option<Registered> {
    static TAKE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = TAKE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let i = TABLE.iter().position(|s| s.call.load(Ordering::Relaxed) == 0)?;
    TABLE[i].dev.store(dev, Ordering::Relaxed);
    TABLE[i].call.store(call as usize, Ordering::Release);
    Some(Registered(i))
}

/// Calls every registered quiesce once in the life of the process (orderly exits do it too).
pub(crate) fn quiesce_all() {
    if DONE.swap(true, Ordering::AcqRel) {
        return;
    }
    for s in &TABLE {
        let call = s.call.swap(0, Ordering::AcqRel);
        if call != 0 {
            // SAFETY: only `register` stores here, and it stores a `Quiesce`.
            let f = unsafe { std::mem::transmute::<usize, Quiesce>(call) };
            // SAFETY: the ABI promises that `quiesce` may be called with its device from any thread and
            // signal handler until `detach`, which takes the entry out first.
            unsafe { f(s.dev.load(Ordering::Relaxed)) };
        }
    }
}

/// Runs `f`, a call into the driver of device `num`, during which a crash of this thread is blamed on `who`.
pub(crate) fn blame<R>(num: u32, who: &str, f: impl FnOnce() -> R) -> R {
    let before = INSIDE.replace((who.as_ptr(), who.len()));
    let r = crate::watch::inside(num, f);
    INSIDE.set(before);
    r
}

/// Installs the handler; its line goes to `log`, a descriptor that stays open (standard error gets it too).
pub(crate) fn install(log: Option<&'static iopkt_slog::Sink>) -> std::io::Result<()> {
    if let Some(s) = log {
        LOG.store(std::ptr::from_ref(s) as usize, Ordering::Release);
    }
    // SAFETY: `handler` does writes of fixed memory and the calls that the ABI allows in handlers; the log
    // line is written last, when the hardware is quiet already and nothing worse can happen than a second
    // crash, which ends the process as the first would have.
    unsafe { iopkt_sys::signal::on_crash(handler) }
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, ctx: *mut c_void) {
    let mut line = Line { bytes: [0; 320], len: 0 };
    line.push(b"io-pkt: crash: signal ");
    line.number(signal);
    let mut file = [0u8; 64];
    // SAFETY: the handler is installed with SA_SIGINFO; the two are the kernel's.
    let at = unsafe { info.as_ref().filter(|i| i.si_code > 0).map(|_| culprit::instruction(ctx)) };
    if let Some((n, offset)) = at.and_then(|at| culprit::file_at(at, &mut file)) {
        line.push(b" at ");
        line.push(&file[..n]);
        line.push(b"+0x");
        line.hex(offset);
    }
    let (at, len) = INSIDE.get();
    if !at.is_null() {
        line.push(b" in a driver's call for ");
        // SAFETY: `blame` set pointer and length of a text that lives while its call runs, and it runs.
        line.push(unsafe { std::slice::from_raw_parts(at, len) });
    }
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    line.push(b" in thread ");
    line.push(name.split(|b| *b == 0).next().unwrap_or(b"?"));
    line.push(b"; hardware is being quieted, start with -S for a clean core file\n");
    let out = &line.bytes[..line.len];
    // SAFETY: writes `out` to standard error; a failure changes nothing.
    unsafe { libc::write(2, out.as_ptr().cast(), out.len()) };
    quiesce_all();
    let sink = LOG.swap(0, Ordering::AcqRel) as *const iopkt_slog::Sink;
    if !sink.is_null()
        && let Ok(text) = std::str::from_utf8(&out[8..out.len() - 1])
    {
        // SAFETY: only `install` stores here, and it stores a reference that lives for ever.
        unsafe { &*sink }.line(iopkt_slog::Severity::Critical, text);
    }
    // SAFETY: raises the signal again, for which SA_RESETHAND has restored the default action.
    unsafe { libc::raise(signal) };
}

struct Line {
    bytes: [u8; 320],
    len: usize,
}

impl Line {
    fn push(&mut self, b: &[u8]) {
        let n = b.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&b[..n]);
        self.len += n;
    }
    fn hex(&mut self, n: usize) {
        if n >= 16 {
            self.hex(n / 16);
        }
        self.push(&b"0123456789abcdef"[n % 16..=n % 16]);
    }
    fn number(&mut self, n: i32) {
        let n = n.unsigned_abs();
        if n >= 10 {
            self.number((n / 10) as i32);
        }
        self.push(&[b'0' + (n % 10) as u8]);
    }
}

//! The process's one session, and the lock around it.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use iopkt_shim::path::{self, Path};
use iopkt_shim::session::{Answer, Greeting, Rpc, Session, Trouble};
use iopkt_shim::sys::{self, Result};
use iopkt_sockproto::{PairName, Req};

/// What the lock protects.
struct State {
    path: Path,
    /// The session and the process that opened it.
    session: Option<(c_int, Session)>,
}

struct Shared(UnsafeCell<State>);

// SAFETY: only touched with OWNER held (or in `start`, when there is one thread).
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State { path: Path::EMPTY, session: None }));

/// 0, or the process whose thread holds the lock, and whether others wait for it. A value of another process is the dead copy
/// that fork made.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// The bit that says that somebody waits: numbers of processes are below 2^22.
const WAITED_FOR: u32 = 1 << 31;

/// Copy of the last greeting, for those who need only the key: instance, key, epoch.
static GREETING: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Whether io-pkt-run's supervisor looks after this process ([`path::ENV_SUPERVISED`]).
static SUPERVISED: AtomicU32 = AtomicU32::new(0);

/// Whether a call that cannot be made from here (the stack's path is out of reach after chroot or setuid) can be left to the
/// supervisor.
pub fn supervised() -> bool {
    SUPERVISED.load(Ordering::Relaxed) != 0
}

/// Finds the stack's path while the environment is as the program was started with.
pub fn start() {
    if let Ok(p) = path::from_env(true) {
        // SAFETY: library initialisation: no other thread uses the library yet.
        unsafe { (*STATE.0.get()).path = p };
    }
    // SAFETY: a NUL-terminated name, before the program can change the environment.
    let v = unsafe { libc::getenv(path::ENV_SUPERVISED.as_ptr()) };
    SUPERVISED.store(u32::from(!v.is_null()), Ordering::Relaxed);
}

/// Holds the lock, with all signals blocked so that no handler can want it in this thread.
struct Guard {
    mask: u64,
    me: u32,
}

fn futex(op: c_int, value: u32) {
    // SAFETY: OWNER lives for ever; no time-out.
    let _ = unsafe {
        sys::call(libc::SYS_futex, [OWNER.as_ptr() as usize, op as usize, value as usize, 0, 0, 0])
    };
}

impl Guard {
    fn take() -> Guard {
        let mask = sys::set_signal_mask(u64::MAX);
        let me = sys::getpid() as u32;
        // Who has waited does not know whether others do.
        let mut mine = me;
        loop {
            match OWNER.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) if other & !WAITED_FOR != me => {
                    if OWNER.compare_exchange(other, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                        break;
                    }
                }
                Err(held) => {
                    mine = me | WAITED_FOR;
                    let told = held == mine
                        || OWNER.compare_exchange(held, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok();
                    if told {
                        futex(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, mine);
                    }
                }
            }
        }
        Guard { mask, me }
    }

    fn state(&mut self) -> &mut State {
        // SAFETY: the lock is held, by this guard alone.
        unsafe { &mut *STATE.0.get() }
    }

    /// The session of this very process, opened if need be.
    fn session(&mut self) -> Result<&mut Session> {
        let me = self.me as c_int;
        let st = self.state();
        let usable = match &st.session {
            Some((pid, s)) if *pid == me => s.is_intact(),
            // The parent's: its copy here would keep it open when the parent is gone.
            Some((_, s)) => {
                if s.is_intact() {
                    s.close();
                }
                false
            }
            None => false,
        };
        if !usable {
            st.session = None;
            if st.path.bytes().is_empty() {
                return Err(libc::ENETDOWN);
            }
            let s = Session::open(&st.path, floor()).map_err(|_| libc::ENETDOWN)?;
            let g = s.greeting;
            for (cell, v) in GREETING.iter().zip([g.instance, g.key, g.epoch as u64]) {
                cell.store(v, Ordering::Relaxed);
            }
            st.session = Some((me, s));
        }
        st.session.as_mut().map(|(_, s)| s).ok_or(libc::ENETDOWN)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // While it is held, only the bit changes.
        if OWNER.load(Ordering::Relaxed) & !WAITED_FOR == self.me
            && OWNER.swap(0, Ordering::Release) & WAITED_FOR != 0
        {
            futex(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
        }
        sys::set_signal_mask(self.mask);
    }
}

/// Lowest number for the session's descriptor: near the limit, and below what select(2) can carry.
fn floor() -> c_int {
    let mut r = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: r lives across the call.
    let got = unsafe {
        sys::call(libc::SYS_getrlimit, [libc::RLIMIT_NOFILE as usize, &raw mut r as usize, 0, 0, 0, 0])
    };
    let limit = if got.is_ok() { r.rlim_cur.min(1024) as c_int } else { 64 };
    (limit - 32).max(limit / 2).max(3)
}

/// The way to the stack for `iopkt_shim::ops`.
pub struct Stack;

impl Rpc for Stack {
    fn rpc(&mut self, req: Req, pass: Option<c_int>, payload: [&[u8]; 2], out: &mut [u8]) -> Result<Answer> {
        let mut lock = Guard::take();
        // A session that has become useless while nobody looked (the stack was restarted) gets one successor.
        for _ in 0..2 {
            match lock.session()?.call(req, pass, payload, out) {
                Ok(a) => return Ok(a),
                Err(Trouble::NotSent(e)) => return Err(e),
                Err(Trouble::Lost(_)) => {
                    if let Some((_, s)) = lock.state().session.take() {
                        s.close();
                    }
                }
            }
        }
        Err(libc::ENETDOWN)
    }

    fn greeting(&mut self) -> Result<Greeting> {
        Guard::take().session().map(|s| s.greeting)
    }
}

/// The greeting of the stack that made `name`'s pair; ENETDOWN if that one is gone.
pub fn greeting_of(name: &PairName) -> Result<Greeting> {
    let [instance, key, epoch] =
        [0, 1, 2].map(|i: usize| GREETING.get(i).map_or(0, |c| c.load(Ordering::Relaxed)));
    if instance == name.instance && key != 0 {
        return Ok(Greeting { instance, key, epoch: epoch as i64 });
    }
    let g = Stack.greeting()?;
    if g.instance == name.instance { Ok(g) } else { Err(libc::ENETDOWN) }
}

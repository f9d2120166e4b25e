//! The seccomp program that the runner puts on a program: which calls the supervisor hears of.
//!
//! Theory of operation. A filter sees the call's number and its six argument registers, never memory, so it can tell
//! `socket(AF_INET, ...)` from `socket(AF_UNIX, ...)`, and `send` from `sendto` with an address, but not one descriptor from
//! another. It therefore hands *every* `connect`, `bind`, ... to the supervisor, which lets the call go on when the descriptor
//! is not the stack's. Calls that move data without an address (`read`, `write`, `send`, `recv`, `poll`, ...) are never handed
//! over: a stack's descriptor is a real kernel socket.
//!
//! The preload library does the same work inside the program and cheaper. Its own calls carry [`MAGIC`] in the sixth
//! argument register, which none of the calls in question use, and pass at once. This is a shortcut, not a border of
//! trust: a program that knows the number only gets the kernel's own socket calls.
//!
//! 32-bit programs and the x32 ABI have other call numbers; the first are ended with SIGSYS (the runner refuses them with a
//! message before that), the second get ENOSYS as on most kernels.
//!
//! Reference: seccomp(2), seccomp_unotify(2), the kernel's `seccomp_filter.rst`.

use iopkt_shim::MAGIC;
use iopkt_sockproto::linux::AF_ROUTE;
use libc::sock_filter;

const LD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// Offset of the low (or, little-endian as both machines are, the high) half of argument `n`.
const fn arg(n: u32, high: bool) -> u32 {
    16 + 8 * n + if high { 4 } else { 0 }
}

/// `AUDIT_ARCH_*` of this build (`linux/audit.h`).
#[cfg(target_arch = "x86_64")]
pub const NATIVE_ARCH: u32 = 0xC000_003E;
/// `AUDIT_ARCH_*` of this build (`linux/audit.h`).
#[cfg(target_arch = "aarch64")]
pub const NATIVE_ARCH: u32 = 0xC000_00B7;

/// The x32 ABI's mark in a call number.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// What the filter says of a call.
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// `SIOC*` requests are 0x8900 to 0x89ff (`linux/sockios.h`).
const SIOC_RANGE: u32 = 0x8900;
const SIOCINQ: u32 = iopkt_sockproto::linux::SIOCINQ;
const SIOCOUTQ: u32 = iopkt_sockproto::linux::SIOCOUTQ;

/// Calls that name a socket and always go to the supervisor; their sixth argument register is unused.
const ALWAYS: [libc::c_long; 14] = [
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
];

/// Where a conditional jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// `return ALLOW`.
    Allow,
    /// `return USER_NOTIF`.
    Notify,
    /// Notify unless the sixth argument is [`MAGIC`].
    Magic,
    /// `return ERRNO(ENOSYS)`.
    NoSys,
    /// `return KILL_PROCESS`.
    Kill,
    /// Past the next `n` instructions.
    Skip(u8),
}

/// A forward-only assembler: the tails (returns) stand behind the body, so each jump is a short forward one.
#[derive(Default)]
struct Asm {
    code: Vec<(u16, u32, To, To)>,
}

impl Asm {
    fn op(&mut self, code: u16, k: u32) {
        self.code.push((code, k, To::Next, To::Next));
    }

    fn jump(&mut self, code: u16, k: u32, yes: To, no: To) {
        self.code.push((code, k, yes, no));
    }

    /// Lays the tails behind the body and resolves the jumps.
    fn finish(mut self) -> Vec<sock_filter> {
        self.op(RET, ALLOW);
        let allow = self.code.len() - 1;
        let magic = self.code.len();
        self.op(LD, arg(5, false));
        self.jump(JEQ, MAGIC as u32, To::Next, To::Notify);
        self.op(LD, arg(5, true));
        self.jump(JEQ, (MAGIC >> 32) as u32, To::Skip(1), To::Next);
        let notify = self.code.len();
        self.op(RET, NOTIFY);
        self.op(RET, ALLOW);
        let nosys = self.code.len();
        self.op(RET, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        let kill = self.code.len();
        self.op(RET, KILL);

        let offset = |at: usize, to: To| -> u8 {
            let target = match to {
                To::Next => return 0,
                To::Skip(n) => return n,
                To::Allow => allow,
                To::Notify => notify,
                To::Magic => magic,
                To::NoSys => nosys,
                To::Kill => kill,
            };
            u8::try_from(target - at - 1).expect("the filter is short enough for 8-bit jumps")
        };
        self.code
            .iter()
            .enumerate()
            .map(|(at, &(code, k, yes, no))| sock_filter { code, k, jt: offset(at, yes), jf: offset(at, no) })
            .collect()
    }
}

/// The program for this machine.
pub fn program() -> Vec<sock_filter> {
    let mut a = Asm::default();
    a.op(LD, ARCH);
    a.jump(JEQ, NATIVE_ARCH, To::Next, To::Kill);
    a.op(LD, NR);
    #[cfg(target_arch = "x86_64")]
    a.jump(JGE, X32_BIT, To::NoSys, To::Next);
    for nr in ALWAYS {
        a.jump(JEQ, nr as u32, To::Magic, To::Next);
    }

    // socket(domain, type, protocol): IPv4, IPv6, packet and routing sockets are the stack's. The kernel's netlink would show its own
    // interfaces, which this program cannot use.
    a.jump(JEQ, libc::SYS_socket as u32, To::Next, To::Skip(10));
    a.op(LD, arg(0, false));
    a.jump(JEQ, libc::AF_INET as u32, To::Magic, To::Next);
    a.jump(JEQ, libc::AF_INET6 as u32, To::Magic, To::Next);
    a.jump(JEQ, libc::AF_PACKET as u32, To::Magic, To::Next);
    a.jump(JEQ, AF_ROUTE as u32, To::Magic, To::Next);
    a.jump(JEQ, libc::AF_NETLINK as u32, To::Next, To::Allow);
    a.op(LD, arg(2, false));
    a.jump(JEQ, libc::NETLINK_ROUTE as u32, To::Magic, To::Next);
    a.jump(JEQ, libc::NETLINK_SOCK_DIAG as u32, To::Magic, To::Next);
    a.op(RET, ALLOW);

    // sendto and recvfrom are also what send and recv are made of. With an address all six registers are used, so no
    // magic is possible (the preload library uses sendmsg and recvmsg then); without one the sixth is free.
    for (nr, flags) in [
        (libc::SYS_sendto, libc::MSG_OOB | libc::MSG_FASTOPEN | libc::MSG_MORE),
        (libc::SYS_recvfrom, libc::MSG_OOB | libc::MSG_ERRQUEUE),
    ] {
        a.jump(JEQ, nr as u32, To::Next, To::Skip(7));
        a.op(LD, arg(4, false));
        a.jump(JEQ, 0, To::Next, To::Notify);
        a.op(LD, arg(4, true));
        a.jump(JEQ, 0, To::Next, To::Notify);
        a.op(LD, arg(3, false));
        a.jump(JSET, flags as u32, To::Magic, To::Next);
        a.op(RET, ALLOW);
    }

    a.jump(JEQ, libc::SYS_ioctl as u32, To::Next, To::Allow);
    a.op(LD, arg(1, false));
    a.op(AND, 0xFFFF_FF00);
    a.jump(JEQ, SIOC_RANGE, To::Magic, To::Next);
    // What waits in a pair is not what waits in a socket: headers, several datagrams, the send buffer behind it.
    a.op(LD, arg(1, false));
    a.jump(JEQ, SIOCINQ, To::Magic, To::Next);
    a.jump(JEQ, SIOCOUTQ, To::Magic, To::Allow);
    a.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A classic BPF machine, as much of it as the filter uses.
    fn run(prog: &[sock_filter], arch: u32, nr: i64, args: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[0..4].copy_from_slice(&(nr as u32).to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (i, a) in args.iter().enumerate() {
            data[16 + 8 * i..24 + 8 * i].copy_from_slice(&a.to_ne_bytes());
        }
        let (mut pc, mut acc) = (0usize, 0u32);
        loop {
            let i = prog[pc];
            pc += 1;
            match i.code {
                LD => acc = u32::from_ne_bytes(data[i.k as usize..i.k as usize + 4].try_into().unwrap()),
                AND => acc &= i.k,
                JEQ => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
                JGE => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
                JSET => pc += usize::from(if acc & i.k != 0 { i.jt } else { i.jf }),
                RET => return i.k,
                other => panic!("instruction {other:#x} at {}", pc - 1),
            }
        }
    }

    fn ask(nr: i64, args: [u64; 6]) -> u32 {
        run(&program(), NATIVE_ARCH, nr, args)
    }

    const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

    #[test]
    fn a_foreign_architecture_is_ended() {
        assert_eq!(run(&program(), 0x4000_0003, 1, [0; 6]), KILL);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn x32_gets_enosys() {
        assert_eq!(ask(0x4000_0000 | libc::SYS_connect, [0; 6]), ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn ip_sockets_are_the_stacks_and_others_the_kernels() {
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET] {
            assert_eq!(ask(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0]), NOTIFY);
            assert_eq!(ask(libc::SYS_socket, [family as u64, 1, 0, 0, 0, MAGIC]), ALLOW);
        }
        for family in [libc::AF_UNIX, libc::AF_VSOCK] {
            assert_eq!(ask(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0]), ALLOW);
        }
        // The high half of an int argument is garbage by right.
        assert_eq!(ask(libc::SYS_socket, [0xdead_0000_0002, 1, 0, 0, 0, 0]), NOTIFY);
    }

    #[test]
    fn routing_sockets_are_the_stacks_and_other_netlink_the_kernels() {
        let nl = libc::AF_NETLINK as u64;
        assert_eq!(ask(libc::SYS_socket, [nl, 3, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(ask(libc::SYS_socket, [nl, 3, 0, 0, 0, MAGIC]), ALLOW);
        assert_eq!(ask(libc::SYS_socket, [nl, 3, libc::NETLINK_SOCK_DIAG as u64, 0, 0, 0]), NOTIFY);
        assert_eq!(ask(libc::SYS_socket, [AF_ROUTE as u64, 3, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(ask(libc::SYS_socket, [nl, 3, libc::NETLINK_AUDIT as u64, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn control_calls_notify_unless_magic() {
        for nr in ALWAYS {
            assert_eq!(ask(nr, [3, 0, 0, 0, 0, 0]), NOTIFY, "call {nr}");
            assert_eq!(ask(nr, [3, 0, 0, 0, 0, MAGIC]), ALLOW, "call {nr}");
            assert_eq!(ask(nr, [3, 0, 0, 0, 0, MAGIC ^ 1]), NOTIFY);
            assert_eq!(ask(nr, [3, 0, 0, 0, 0, MAGIC ^ (1 << 40)]), NOTIFY);
        }
    }

    #[test]
    fn data_without_an_address_passes() {
        for nr in [libc::SYS_sendto, libc::SYS_recvfrom] {
            assert_eq!(ask(nr, [3, 0x1000, 10, libc::MSG_NOSIGNAL as u64, 0, 0]), ALLOW);
            assert_eq!(ask(nr, [3, 0x1000, 10, 0, 0x1000, 16]), NOTIFY);
            // An address in the first 4 GiB, and one whose low half is zero.
            assert_eq!(ask(nr, [3, 0x1000, 10, 0, 0x7f00_0000_0000, 16]), NOTIFY);
            assert_eq!(ask(nr, [3, 0x1000, 10, libc::MSG_OOB as u64, 0, 0]), NOTIFY);
            assert_eq!(ask(nr, [3, 0x1000, 10, libc::MSG_OOB as u64, 0, MAGIC]), ALLOW);
        }
        assert_eq!(ask(libc::SYS_recvfrom, [3, 0, 0, libc::MSG_ERRQUEUE as u64, 0, 0]), NOTIFY);
    }

    #[test]
    fn only_socket_ioctls_notify() {
        for queue in [libc::FIONREAD, libc::TIOCOUTQ] {
            assert_eq!(ask(libc::SYS_ioctl, [3, queue, 0, 0, 0, 0]), NOTIFY);
            assert_eq!(ask(libc::SYS_ioctl, [3, queue, 0, 0, 0, MAGIC]), ALLOW);
        }
        assert_eq!(ask(libc::SYS_ioctl, [3, 0x8915, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(ask(libc::SYS_ioctl, [3, 0x8915, 0, 0, 0, MAGIC]), ALLOW);
        assert_eq!(ask(libc::SYS_ioctl, [3, libc::TCGETS, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn everything_else_passes() {
        for nr in
            [libc::SYS_read, libc::SYS_write, libc::SYS_socketpair, libc::SYS_execve, libc::SYS_ppoll, 9999]
        {
            assert_eq!(ask(nr, [libc::AF_INET as u64; 6]), ALLOW, "call {nr}");
        }
    }
}

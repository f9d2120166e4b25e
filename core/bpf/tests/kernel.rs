//! The machine beside the kernel's own: the same programs, attached to a socket with SO_ATTACH_FILTER, on the same packets.

use iopkt_bpf::{Aux, Dialect, Insn, Program, op};
use proptest::prelude::*;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A datagram pair with a filter on one end.
struct Kernel {
    send: OwnedFd,
    recv: OwnedFd,
}

impl Kernel {
    /// `None`: the kernel refuses the program.
    fn new(p: &[Insn]) -> Option<Kernel> {
        let mut fds = [0; 2];
        // SAFETY: a fresh pair of our own.
        let k = unsafe {
            assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, fds.as_mut_ptr()), 0);
            Kernel { send: OwnedFd::from_raw_fd(fds[0]), recv: OwnedFd::from_raw_fd(fds[1]) }
        };
        let mut bytes: Vec<libc::sock_filter> =
            p.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let prog = libc::sock_fprog { len: p.len() as u16, filter: bytes.as_mut_ptr() };
        // SAFETY: the kernel reads the program.
        let r = unsafe {
            libc::setsockopt(
                k.recv.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const prog).cast(),
                size_of::<libc::sock_fprog>() as u32,
            )
        };
        (r == 0).then_some(k)
    }

    /// How many bytes of the packet get through.
    fn run(&self, packet: &[u8]) -> u32 {
        let mut buf = vec![0u8; 4096];
        // SAFETY: buffers of our own.
        unsafe {
            let n =
                libc::send(self.send.as_raw_fd(), packet.as_ptr().cast(), packet.len(), libc::MSG_DONTWAIT);
            assert!(n == packet.len() as isize || n < 0, "{n}");
            let n = libc::recv(self.recv.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT);
            u32::try_from(n).unwrap_or(0)
        }
    }
}

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

/// Codes that mean something, with a few that do not.
fn any_code() -> impl Strategy<Value = u16> {
    let alu = [
        op::ADD_K,
        op::SUB_K,
        op::MUL_K,
        op::DIV_K,
        op::OR_K,
        op::AND_K,
        op::LSH_K,
        op::RSH_K,
        op::MOD_K,
        op::XOR_K,
        op::JEQ_K,
        op::JGT_K,
        op::JGE_K,
        op::JSET_K,
    ];
    let mut all = vec![
        op::LD_W_ABS,
        op::LD_H_ABS,
        op::LD_B_ABS,
        op::LD_W_IND,
        op::LD_H_IND,
        op::LD_B_IND,
        op::LD_IMM,
        op::LD_LEN,
        op::LDX_IMM,
        op::LDX_LEN,
        op::LDX_MSH,
        op::ST,
        op::STX,
        op::LD_MEM,
        op::LDX_MEM,
        op::NEG,
        op::JA,
        op::RET_K,
        op::RET_A,
        op::TAX,
        op::TXA,
    ];
    all.extend(alu);
    all.extend(alu.map(|c| c | op::X));
    prop_oneof![30 => prop::sample::select(all), 1 => any::<u16>()]
}

fn any_k() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..24, 2 => 0u32..64, 1 => any::<u32>(), 1 => 0xffe0_0000u32..=0xffff_efff]
}

fn any_insn() -> impl Strategy<Value = Insn> {
    (any_code(), 0u8..6, 0u8..6, any_k()).prop_map(|(code, jt, jf, k)| insn(code, jt, jf, k))
}

/// Mostly programs that pass: memory is written first, and the end is a return.
fn any_program() -> impl Strategy<Value = Vec<Insn>> {
    prop::collection::vec(any_insn(), 1..24).prop_map(|mut v| {
        let mut p: Vec<Insn> = (0..16).map(|m| insn(op::ST, 0, 0, m)).collect();
        p.append(&mut v);
        for _ in 0..8 {
            p.push(insn(op::RET_A, 0, 0, 0));
        }
        p
    })
}

fn compare(p: &[Insn], packets: &[Vec<u8>]) -> bool {
    let ours = Program::new(p.to_vec(), Dialect::Linux);
    let theirs = Kernel::new(p);
    let (Ok(ours), Some(theirs)) = (&ours, &theirs) else {
        // What the kernel refuses beyond ours: reading scratch memory that nobody wrote on some path. What ours refuses and the
        // kernel takes: questions about the packet that a stack outside the kernel has no answer to.
        return false;
    };
    for packet in packets {
        let n = packet.len() as u32;
        let got = ours.run(packet, n, &Aux::default()).min(n);
        assert_eq!(got, theirs.run(packet).min(n), "{p:#?}\non {packet:02x?}");
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_do_what_the_kernel_does(
        p in any_program(),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..4),
    ) {
        compare(&p, &packets);
    }

    #[test]
    fn nothing_panics_and_everything_ends(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        packet in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for d in [Dialect::Bpf, Dialect::Linux] {
            if let Ok(p) = Program::from_bytes(&bytes, d) {
                p.run(&packet, packet.len() as u32, &Aux::default());
            }
        }
    }

    #[test]
    fn verdicts_agree_with_the_kernels(p in prop::collection::vec(any_insn(), 1..12)) {
        let ours = Program::new(p.clone(), Dialect::Linux).is_ok();
        let memory = p.iter().any(|i| matches!(i.code, op::LD_MEM | op::LDX_MEM));
        let questions = p.iter().any(|i| i.k >= iopkt_bpf::ad::OFF);
        if !memory && !questions {
            prop_assert_eq!(ours, Kernel::new(&p).is_some(), "{:?}", p);
        }
    }
}

/// What `tcpdump -ddd` prints for an expression.
fn compiled(expr: &str) -> Option<Vec<Insn>> {
    let out = std::process::Command::new("tcpdump").args(["-ddd", "-y", "EN10MB", expr]).output().ok()?;
    if !out.status.success() {
        eprintln!("{expr}: {}", String::from_utf8_lossy(&out.stderr));
        return None;
    }
    let text = String::from_utf8(out.stdout).ok()?;
    let line = |l: &str| {
        let v: Vec<u32> = l.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        insn(v[0] as u16, v[1] as u8, v[2] as u8, v[3])
    };
    Some(text.lines().skip(1).map(line).collect())
}

#[test]
fn tcpdumps_programs_choose_what_the_kernel_chooses() {
    let expressions = [
        "ip",
        "arp",
        "tcp port 80",
        "udp and not port 53",
        "host 10.0.0.1",
        "net 192.168.0.0/16",
        "ip6",
        "icmp[icmptype] == icmp-echo",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "ip[2:2] > 576",
        "broadcast",
        "ether host 02:00:00:00:00:01",
        "vlan 5 and ip",
        "greater 100",
        "less 64",
        "portrange 1000-2000",
        "ip proto 47 or (tcp and src port 22)",
        "ether multicast",
    ];
    if compiled("ip").is_none() {
        eprintln!("SKIPPED: no tcpdump to compile filters");
        return;
    }
    let mut packets = Vec::new();
    for (ty, proto, len) in [
        (0x0800u16, 6u8, 60usize),
        (0x0800, 17, 120),
        (0x0800, 1, 98),
        (0x0806, 0, 42),
        (0x86dd, 6, 90),
        (0x8100, 5, 64),
    ] {
        for port in [22u16, 53, 80, 1500] {
            let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            f.extend(ty.to_be_bytes());
            f.extend([0x45, 0, 0, len as u8, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 192, 168, 3, 4]);
            f.extend(port.to_be_bytes());
            f.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2]);
            f.resize(len.max(f.len()), 7);
            packets.push(f);
        }
        let mut b = packets[packets.len() - 1].clone();
        b[..6].fill(0xff);
        packets.push(b);
    }
    let mut chosen = 0;
    for e in expressions {
        let p = compiled(e).unwrap_or_else(|| panic!("{e}: tcpdump does not compile it"));
        assert!(compare(&p, &packets), "{e}: refused");
        let ours = Program::new(p, Dialect::Bpf).unwrap();
        chosen += packets.iter().filter(|f| ours.run(f, f.len() as u32, &Aux::default()) > 0).count();
    }
    // Neither nothing nor everything.
    assert!(chosen > 50 && chosen < expressions.len() * packets.len(), "{chosen}");
}

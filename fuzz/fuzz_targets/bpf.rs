//! Classic BPF programs, as bytes: what is accepted ends, never looks outside the packet, and gives the same answer twice.
//! The first two bytes say how the rest is divided into program and packet.
#![no_main]

use iopkt_bpf::{Aux, Dialect, INSN_LEN, Insn, MAX_INSNS, Program, op};
use libfuzzer_sys::fuzz_target;

/// Known codes, so that random bytes make programs that pass.
const CODES: &[u16] = &[
    op::LD_W_ABS, op::LD_H_ABS, op::LD_B_ABS, op::LD_W_IND, op::LD_H_IND, op::LD_B_IND, op::LD_IMM, op::LD_MEM,
    op::LD_LEN, op::LDX_IMM, op::LDX_MEM, op::LDX_LEN, op::LDX_MSH, op::ST, op::STX, op::ADD_K, op::SUB_K, op::MUL_K,
    op::DIV_K, op::OR_K, op::AND_K, op::LSH_K, op::RSH_K, op::NEG, op::MOD_K, op::XOR_K, op::JA, op::JEQ_K, op::JGT_K,
    op::JGE_K, op::JSET_K, op::RET_K, op::RET_A, op::TAX, op::TXA,
];

fuzz_target!(|data: &[u8]| {
    let [how, len, rest @ ..] = data else { return };
    let (bytes, packet) = rest.split_at((usize::from(*len) * INSN_LEN).min(rest.len()));
    let mut insns: Vec<Insn> = bytes.as_chunks::<INSN_LEN>().0.iter().map(|b| Insn::from_bytes(*b)).collect();
    if how & 1 != 0 {
        for i in &mut insns {
            let x = if i.code & 0x4000 != 0 { op::X } else { 0 };
            i.code = CODES[usize::from(i.code & 0xff) % CODES.len()] | x;
        }
        insns.push(Insn { code: op::RET_A, ..Insn::default() });
    }
    assert!(insns.len() <= MAX_INSNS);
    let aux = Aux { protocol: 0x800, pkttype: how >> 4, ifindex: 3, hatype: 1, net: u32::from(how >> 2) & 15 };
    for d in [Dialect::Bpf, Dialect::Linux] {
        let Ok(p) = Program::new(insns.clone(), d) else { continue };
        assert_eq!(Program::from_bytes(&p.insns().iter().flat_map(|i| i.to_bytes()).collect::<Vec<_>>(), d), Ok(p.clone()));
        let wire = packet.len() as u32 + u32::from(how & 2);
        assert_eq!(p.run(packet, wire, &aux), p.run(packet, wire, &aux));
    }
});

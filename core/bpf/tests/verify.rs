//! What is refused, and what loads beyond the packet come to.

use iopkt_bpf::{Aux, Dialect, Insn, Invalid, MAX_INSNS, Program, ad, op};

fn insn(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

fn check(p: &[Insn]) -> Result<Program, Invalid> {
    Program::new(p.to_vec(), Dialect::Bpf)
}

#[test]
fn what_could_do_harm_is_refused() {
    let ret = insn(op::RET_K, 1);
    assert_eq!(check(&[]), Err(Invalid::Length(0)));
    assert_eq!(check(&vec![ret; MAX_INSNS + 1]), Err(Invalid::Length(MAX_INSNS + 1)));
    assert!(check(&vec![ret; MAX_INSNS]).is_ok());
    assert_eq!(check(&[insn(op::LD_IMM, 0)]), Err(Invalid::End));
    assert_eq!(check(&[insn(0xffff, 0), ret]), Err(Invalid::Code(0)));
    assert_eq!(check(&[insn(op::NEG | op::X, 0), ret]), Err(Invalid::Code(0)));
    assert_eq!(check(&[insn(op::ST, 16), ret]), Err(Invalid::Memory(0)));
    assert_eq!(check(&[ret, insn(op::LDX_MEM, u32::MAX), ret]), Err(Invalid::Memory(1)));
    assert_eq!(check(&[insn(op::DIV_K, 0), ret]), Err(Invalid::Division(0)));
    assert_eq!(check(&[insn(op::MOD_K, 0), ret]), Err(Invalid::Division(0)));
    assert_eq!(check(&[insn(op::LSH_K, 32), ret]), Err(Invalid::Shift(0)));
    assert_eq!(check(&[insn(op::JA, 1), ret]), Err(Invalid::Jump(0)));
    assert_eq!(check(&[insn(op::JA, u32::MAX), ret]), Err(Invalid::Jump(0)));
    let jump = Insn { code: op::JEQ_K, jt: 0, jf: 1, k: 0 };
    assert_eq!(check(&[jump, ret]), Err(Invalid::Jump(0)));
    assert!(check(&[jump, ret, ret]).is_ok());
    let odd = Program::new(vec![insn(op::LD_W_ABS, ad::OFF + 56), ret], Dialect::Linux);
    assert_eq!(odd, Err(Invalid::Question(0)));
    assert_eq!(Program::from_bytes(&[0; 9], Dialect::Bpf), Err(Invalid::Length(2)));
}

#[test]
fn a_load_from_where_nothing_is_ends_with_nothing() {
    let packet = [1, 2, 3, 4, 5];
    let run = |p: &[Insn], d| Program::new(p.to_vec(), d).unwrap().run(&packet, 5, &Aux::default());
    let ret = insn(op::RET_K, 9);
    for (code, last) in [(op::LD_W_ABS, 1), (op::LD_H_ABS, 3), (op::LD_B_ABS, 4), (op::LDX_MSH, 4)] {
        assert_eq!(run(&[insn(code, last), ret], Dialect::Bpf), 9, "{code:#x}");
        for k in [last + 1, u32::MAX - 3, u32::MAX] {
            assert_eq!(run(&[insn(code, k), ret], Dialect::Bpf), 0, "{code:#x} {k}");
        }
    }
    // X would wrap round to an address that is there.
    let wrap = [insn(op::LDX_IMM, 2), insn(op::LD_B_IND, u32::MAX), ret];
    assert_eq!(run(&wrap, Dialect::Bpf), 0);
    assert_eq!(run(&[insn(op::LDX_IMM, 0), insn(op::DIV_K | op::X, 0), ret], Dialect::Bpf), 0);
}

#[test]
fn linux_programs_ask_about_the_packet() {
    let aux = Aux { protocol: 0x806, pkttype: 4, ifindex: 7, hatype: 1, net: 14 };
    let ask = |k| {
        let p = vec![insn(op::LD_W_ABS, k), insn(op::RET_A, 0)];
        let packet: Vec<u8> = (0..40).collect();
        Program::new(p, Dialect::Linux).unwrap().run(&packet, 40, &aux)
    };
    assert_eq!(ask(ad::PROTOCOL), 0x806);
    assert_eq!((ask(ad::PKTTYPE), ask(ad::IFINDEX), ask(ad::HATYPE)), (4, 7, 1));
    assert_eq!(ask(ad::VLAN_TAG_PRESENT), 0);
    assert_eq!(ask(ad::NET_OFF), 0x0e0f1011);
    assert_eq!(ask(ad::LL_OFF + 2), 0x02030405);
    assert_eq!(ask(ad::LL_OFF - 1), 0);
}

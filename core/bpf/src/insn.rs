//! Instructions and their numbers.

/// Length of an instruction in memory: `struct bpf_insn` and `struct sock_filter` alike.
pub const INSN_LEN: usize = 8;

/// Words of scratch memory.
pub(crate) const MEMWORDS: usize = 16;

/// One instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// What to do: [`op`] bits.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Insn {
    /// From memory, in the machine's byte order.
    pub fn from_bytes(b: [u8; INSN_LEN]) -> Insn {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = b;
        Insn { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes([k0, k1, k2, k3]) }
    }

    /// To memory, in the machine's byte order.
    pub fn to_bytes(self) -> [u8; INSN_LEN] {
        let [c0, c1] = self.code.to_ne_bytes();
        let [k0, k1, k2, k3] = self.k.to_ne_bytes();
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

/// Codes: `<net/bpf.h>`'s names without `BPF_`, put together.
#[allow(missing_docs)]
pub mod op {
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_H_ABS: u16 = 0x28;
    pub const LD_B_ABS: u16 = 0x30;
    pub const LD_W_IND: u16 = 0x40;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_IMM: u16 = 0x00;
    pub const LD_MEM: u16 = 0x60;
    pub const LD_LEN: u16 = 0x80;
    pub const LDX_IMM: u16 = 0x01;
    pub const LDX_MEM: u16 = 0x61;
    pub const LDX_LEN: u16 = 0x81;
    /// X = 4 * (packet[k] & 15): the length of an IPv4 header.
    pub const LDX_MSH: u16 = 0xb1;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const ADD_K: u16 = 0x04;
    pub const SUB_K: u16 = 0x14;
    pub const MUL_K: u16 = 0x24;
    pub const DIV_K: u16 = 0x34;
    pub const OR_K: u16 = 0x44;
    pub const AND_K: u16 = 0x54;
    pub const LSH_K: u16 = 0x64;
    pub const RSH_K: u16 = 0x74;
    pub const NEG: u16 = 0x84;
    pub const MOD_K: u16 = 0x94;
    pub const XOR_K: u16 = 0xa4;
    /// The operand is X, for the arithmetic codes above and the conditions below.
    pub const X: u16 = 0x08;
    pub const JA: u16 = 0x05;
    pub const JEQ_K: u16 = 0x15;
    pub const JGT_K: u16 = 0x25;
    pub const JGE_K: u16 = 0x35;
    pub const JSET_K: u16 = 0x45;
    pub const RET_K: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
}

/// Linux's addresses that are none (`linux/filter.h`, `SKF_AD_*`).
#[allow(missing_docs)]
pub mod ad {
    /// From here on: questions about the packet.
    pub const OFF: u32 = -0x1000_i32 as u32;
    /// From here on: bytes from the network header on.
    pub const NET_OFF: u32 = -0x10_0000_i32 as u32;
    /// From here on: bytes from the link-level header on.
    pub const LL_OFF: u32 = -0x20_0000_i32 as u32;
    pub const PROTOCOL: u32 = OFF;
    pub const PKTTYPE: u32 = OFF + 4;
    pub const IFINDEX: u32 = OFF + 8;
    pub const MARK: u32 = OFF + 20;
    pub const QUEUE: u32 = OFF + 24;
    pub const HATYPE: u32 = OFF + 28;
    pub const RXHASH: u32 = OFF + 32;
    pub const CPU: u32 = OFF + 36;
    pub const VLAN_TAG: u32 = OFF + 44;
    pub const VLAN_TAG_PRESENT: u32 = OFF + 48;
    pub const VLAN_TPID: u32 = OFF + 60;
}

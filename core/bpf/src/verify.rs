//! What makes a program harmless.

use crate::insn::{INSN_LEN, Insn, MEMWORDS, ad, op};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Most instructions of a program: Linux's and FreeBSD's limit may be passed by generated filters of hundreds of hosts
/// (NetBSD stops at 512).
pub const MAX_INSNS: usize = 4096;

/// Whose extensions a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// bpf(4): every address is one in the packet.
    Bpf,
    /// Linux's socket(7) filters: the top of the address space asks about the packet ([`ad`]).
    Linux,
}

/// A program that was found to be harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(crate) insns: Box<[Insn]>,
    pub(crate) dialect: Dialect,
}

/// Why a program was refused, and at which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// No instruction, or more than [`MAX_INSNS`].
    Length(usize),
    /// No such instruction.
    Code(usize),
    /// A jump beyond the end.
    Jump(usize),
    /// Scratch memory has 16 words.
    Memory(usize),
    /// A division by the constant 0.
    Division(usize),
    /// A shift by 32 bits or more.
    Shift(usize),
    /// A question that this machine does not answer (Linux dialect).
    Question(usize),
    /// The last instruction is no return.
    End,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Length(n) => write!(f, "{n} instructions: 1 to {MAX_INSNS} are possible"),
            Invalid::Code(n) => write!(f, "instruction {n}: unknown code"),
            Invalid::Jump(n) => write!(f, "instruction {n}: jump beyond the end"),
            Invalid::Memory(n) => write!(f, "instruction {n}: scratch memory has {MEMWORDS} words"),
            Invalid::Division(n) => write!(f, "instruction {n}: division by 0"),
            Invalid::Shift(n) => write!(f, "instruction {n}: shift by more than 31 bits"),
            Invalid::Question(n) => write!(f, "instruction {n}: this address is not served"),
            Invalid::End => f.write_str("the last instruction is no return"),
        }
    }
}

impl core::error::Error for Invalid {}

impl Program {
    /// Checks a program.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(insns: Vec<Insn>, dialect: Dialect) -> Result<Program, Invalid> {
        if insns.is_empty() || insns.len() > MAX_INSNS {
            return Err(Invalid::Length(insns.len()));
        }
        for (n, i) in insns.iter().enumerate() {
            check(n, i, insns.len() - n - 1, dialect)?;
        }
        match insns.last().map(|i| i.code) {
            Some(op::RET_K | op::RET_A) => Ok(Program { insns: insns.into(), dialect }),
            _ => Err(Invalid::End),
        }
    }

    /// Checks a program as it lies in memory: `struct bpf_insn` or `struct sock_filter`, one behind the other.
    ///
    /// # Errors
    /// As [`Program::new`]; [`Invalid::Length`] when the bytes are no whole instructions.
    pub fn from_bytes(bytes: &[u8], dialect: Dialect) -> Result<Program, Invalid> {
        let (insns, rest) = bytes.as_chunks::<INSN_LEN>();
        if !rest.is_empty() || insns.len() > MAX_INSNS {
            return Err(Invalid::Length(bytes.len().div_ceil(INSN_LEN)));
        }
        Program::new(insns.iter().map(|b| Insn::from_bytes(*b)).collect(), dialect)
    }

    /// The instructions.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }
}

/// `left`: instructions behind this one.
fn check(n: usize, i: &Insn, left: usize, dialect: Dialect) -> Result<(), Invalid> {
    match i.code {
        op::LD_W_ABS | op::LD_H_ABS | op::LD_B_ABS => {
            if dialect == Dialect::Linux && i.k >= ad::OFF && !answered(i.k) {
                return Err(Invalid::Question(n));
            }
        }
        op::LD_W_IND | op::LD_H_IND | op::LD_B_IND | op::LDX_MSH => {}
        op::LD_IMM | op::LD_LEN | op::LDX_IMM | op::LDX_LEN => {}
        op::LD_MEM | op::LDX_MEM | op::ST | op::STX => {
            if i.k as usize >= MEMWORDS {
                return Err(Invalid::Memory(n));
            }
        }
        op::DIV_K | op::MOD_K if i.k == 0 => return Err(Invalid::Division(n)),
        op::LSH_K | op::RSH_K if i.k >= 32 => return Err(Invalid::Shift(n)),
        op::ADD_K | op::SUB_K | op::MUL_K | op::DIV_K | op::OR_K | op::AND_K => {}
        op::LSH_K | op::RSH_K | op::NEG | op::MOD_K | op::XOR_K => {}
        op::JA => {
            if i.k as usize >= left {
                return Err(Invalid::Jump(n));
            }
        }
        op::RET_K | op::RET_A | op::TAX | op::TXA => {}
        c if c & op::X != 0 => match c & !op::X {
            op::ADD_K | op::SUB_K | op::MUL_K | op::DIV_K | op::OR_K | op::AND_K => {}
            op::LSH_K | op::RSH_K | op::MOD_K | op::XOR_K => {}
            c => return condition(n, c, i, left),
        },
        c => return condition(n, c, i, left),
    }
    Ok(())
}

fn condition(n: usize, code: u16, i: &Insn, left: usize) -> Result<(), Invalid> {
    if !matches!(code, op::JEQ_K | op::JGT_K | op::JGE_K | op::JSET_K) {
        return Err(Invalid::Code(n));
    }
    if usize::from(i.jt.max(i.jf)) >= left { Err(Invalid::Jump(n)) } else { Ok(()) }
}

/// Whether a question about the packet has an answer here.
fn answered(k: u32) -> bool {
    matches!(
        k,
        ad::PROTOCOL
            | ad::PKTTYPE
            | ad::IFINDEX
            | ad::MARK
            | ad::QUEUE
            | ad::HATYPE
            | ad::RXHASH
            | ad::CPU
            | ad::VLAN_TAG
            | ad::VLAN_TAG_PRESENT
            | ad::VLAN_TPID
    )
}

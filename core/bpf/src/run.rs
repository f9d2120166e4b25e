//! The machine.

use crate::insn::{MEMWORDS, ad, op};
use crate::verify::{Dialect, Program};

/// What Linux's dialect may ask about a packet. VLAN tags are never taken out of packets here, and there are no
/// marks, queues and hashes: those answers are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aux {
    /// Ethernet type.
    pub protocol: u16,
    /// `PACKET_HOST` and its like (packet(7)).
    pub pkttype: u8,
    /// Interface.
    pub ifindex: u32,
    /// `ARPHRD_*`.
    pub hatype: u16,
    /// Where the network header begins in the bytes that the program is given; 0 when the link-level header is not among
    /// them.
    pub net: u32,
}

impl Aux {
    fn answer(&self, k: u32) -> u32 {
        match k {
            ad::PROTOCOL => self.protocol.into(),
            ad::PKTTYPE => self.pkttype.into(),
            ad::IFINDEX => self.ifindex,
            ad::HATYPE => self.hatype.into(),
            _ => 0,
        }
    }
}

fn word(p: &[u8], at: usize) -> Option<u32> {
    p.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

fn half(p: &[u8], at: usize) -> Option<u32> {
    p.get(at..at.checked_add(2)?)?.try_into().ok().map(|b| u16::from_be_bytes(b).into())
}

fn byte(p: &[u8], at: usize) -> Option<u32> {
    p.get(at).map(|b| u32::from(*b))
}

impl Program {
    /// Runs the program on `packet`, the bytes that are there of one that was `wire_len` bytes long: how many bytes of it
    /// are wanted, 0 for none.
    pub fn run(&self, packet: &[u8], wire_len: u32, aux: &Aux) -> u32 {
        self.go(packet, wire_len, aux).unwrap_or(0)
    }

    /// An address of the program as a place in the packet. `Err`: the answer to a question.
    #[inline]
    fn place(&self, k: u32, aux: &Aux) -> Option<Result<usize, u32>> {
        if self.dialect == Dialect::Bpf || (k as i32) >= 0 {
            return Some(Ok(k as usize));
        }
        if k >= ad::OFF {
            Some(Err(aux.answer(k)))
        } else if k >= ad::NET_OFF {
            Some(Ok((aux.net + (k - ad::NET_OFF)) as usize))
        } else if k >= ad::LL_OFF {
            Some(Ok((k - ad::LL_OFF) as usize))
        } else {
            None
        }
    }

    /// `None`: a load from where nothing is, or a division by 0.
    fn go(&self, p: &[u8], wire_len: u32, aux: &Aux) -> Option<u32> {
        let mut mem = [0u32; MEMWORDS];
        let (mut a, mut x) = (0u32, 0u32);
        let mut pc = 0usize;
        loop {
            let i = self.insns.get(pc)?;
            pc += 1;
            let k = i.k;
            match i.code {
                op::LD_H_ABS | op::LD_B_ABS | op::LD_W_ABS => match self.place(k, aux)? {
                    Ok(at) => a = load(i.code, p, at)?,
                    Err(v) => a = v,
                },
                op::LD_H_IND | op::LD_B_IND | op::LD_W_IND => {
                    a = load(i.code, p, self.indirect(k, x, aux)?)?;
                }
                op::LDX_MSH => match self.place(k, aux)? {
                    Ok(at) => x = 4 * (byte(p, at)? & 15),
                    Err(_) => return None,
                },
                op::LD_IMM => a = k,
                op::LD_LEN => a = wire_len,
                op::LDX_IMM => x = k,
                op::LDX_LEN => x = wire_len,
                op::LD_MEM => a = *mem.get(k as usize)?,
                op::LDX_MEM => x = *mem.get(k as usize)?,
                op::ST => *mem.get_mut(k as usize)? = a,
                op::STX => *mem.get_mut(k as usize)? = x,
                op::JA => pc += k as usize,
                op::RET_K => return Some(k),
                op::RET_A => return Some(a),
                op::TAX => x = a,
                op::TXA => a = x,
                op::NEG => a = a.wrapping_neg(),
                code => {
                    let v = if code & op::X != 0 { x } else { k };
                    match calculate(code & !op::X, a, v)? {
                        Ok(r) => a = r,
                        Err(holds) => pc += usize::from(if holds { i.jt } else { i.jf }),
                    }
                }
            }
        }
    }

    fn indirect(&self, k: u32, x: u32, aux: &Aux) -> Option<usize> {
        if self.dialect == Dialect::Bpf {
            return Some(k.checked_add(x)? as usize);
        }
        // Linux adds first, as signed numbers, and then looks what kind of address it is.
        self.place(k.wrapping_add(x), aux)?.ok()
    }
}

#[inline]
fn load(code: u16, p: &[u8], at: usize) -> Option<u32> {
    match code & 0x18 {
        0x00 => word(p, at),
        0x08 => half(p, at),
        _ => byte(p, at),
    }
}

/// Arithmetic: `Ok`; a condition: `Err` with whether it holds.
#[inline]
fn calculate(code: u16, a: u32, v: u32) -> Option<Result<u32, bool>> {
    Some(match code {
        op::JEQ_K => Err(a == v),
        op::JGT_K => Err(a > v),
        op::JGE_K => Err(a >= v),
        op::JSET_K => Err(a & v != 0),
        op::AND_K => Ok(a & v),
        op::OR_K => Ok(a | v),
        op::XOR_K => Ok(a ^ v),
        op::ADD_K => Ok(a.wrapping_add(v)),
        op::SUB_K => Ok(a.wrapping_sub(v)),
        op::MUL_K => Ok(a.wrapping_mul(v)),
        op::DIV_K => Ok(a.checked_div(v)?),
        op::MOD_K => Ok(a.checked_rem(v)?),
        // A shift by X uses its low five bits, as the machine's own instruction does.
        op::LSH_K => Ok(a << (v & 31)),
        op::RSH_K => Ok(a >> (v & 31)),
        _ => return None,
    })
}

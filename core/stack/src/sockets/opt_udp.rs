//! Options at IPPROTO_UDP (udp(7), linux/udp.h) and IPPROTO_UDPLITE (RFC 3828).
//!
//! UDP_GRO only says that the program can take several datagrams as one; here each comes by itself, which it must
//! understand too. There is no encapsulation (UDP_ENCAP), so but for 0 its kinds are unknown.

use super::Sockets;
use super::options::{int, put_int};
use super::sock::Sock;
use super::types::{SockId, proto};
use crate::cx::Cx;
use crate::net::Net;
use iopkt_base::{Errno, Result};

/// Names (linux/udp.h, linux/udplite.h).
#[allow(missing_docs)]
pub(crate) mod udp {
    pub const CORK: i32 = 1;
    pub const UDPLITE_SEND_CSCOV: i32 = 10;
    pub const UDPLITE_RECV_CSCOV: i32 = 11;
    pub const ENCAP: i32 = 100;
    pub const NO_CHECK6_TX: i32 = 101;
    pub const NO_CHECK6_RX: i32 = 102;
    pub const SEGMENT: i32 = 103;
    pub const GRO: i32 = 104;
}

/// Settings of a UDP socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UdpOpts {
    pub cork: bool,
    pub no_check6: (bool, bool),
    pub gro: bool,
    /// Payload bytes of each datagram that a longer one is cut into, 0 for off.
    pub segment: u16,
    /// UDP-Lite: bytes of header and payload that the checksum covers when sending, and at least must when receiving; 0
    /// for all.
    pub coverage: (u16, u16),
}

/// A coverage: 0, or at least the header.
fn coverage(v: i32) -> u16 {
    match v {
        ..=0 => 0,
        v => v.clamp(8, 65_535) as u16,
    }
}

impl Sockets {
    pub(super) fn set_udp(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let n = int(v)?;
        let s = self.table.get_mut(id)?;
        let lite = s.proto == proto::UDPLITE;
        let o = &mut s.opt.udp;
        match name {
            udp::CORK => {
                o.cork = n != 0;
                if n == 0 {
                    return self.uncork(cx, net, id);
                }
            }
            udp::ENCAP if n == 0 => {}
            udp::NO_CHECK6_TX => o.no_check6.0 = n != 0,
            udp::NO_CHECK6_RX => o.no_check6.1 = n != 0,
            udp::SEGMENT => o.segment = u16::try_from(n).map_err(|_| Errno::EINVAL)?,
            udp::GRO => o.gro = n != 0,
            udp::UDPLITE_SEND_CSCOV if lite => o.coverage.0 = coverage(n),
            udp::UDPLITE_RECV_CSCOV if lite => o.coverage.1 = coverage(n),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}

pub(super) fn get_udp(s: &Sock, name: i32, out: &mut [u8]) -> Result<usize> {
    let o = &s.opt.udp;
    let lite = s.proto == proto::UDPLITE;
    let v = match name {
        udp::CORK => i32::from(o.cork),
        udp::ENCAP => 0,
        udp::NO_CHECK6_TX => i32::from(o.no_check6.0),
        udp::NO_CHECK6_RX => i32::from(o.no_check6.1),
        udp::SEGMENT => i32::from(o.segment),
        udp::GRO => i32::from(o.gro),
        udp::UDPLITE_SEND_CSCOV if lite => i32::from(o.coverage.0),
        udp::UDPLITE_RECV_CSCOV if lite => i32::from(o.coverage.1),
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(put_int(out, v))
}

//! Segments as the machine sees them: a parsed header in, a described segment out.

use crate::seq::Seq;
use iopkt_mbuf::Mbuf;
use iopkt_wire::checksum::Sum;
use iopkt_wire::tcp::{self, Flags, Header, Malformed, Options};

/// A received segment's header. Its payload travels beside it as an [`Mbuf`] trimmed to the payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// SEG.SEQ.
    pub seq: Seq,
    /// SEG.ACK; counts with [`Flags::ACK`].
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as it stands in the header.
    pub window: u16,
    /// SEG.UP as it stands in the header; counts with [`Flags::URG`].
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// The ECN field of the IP header (RFC 3168): 0 not ECT, 1 and 2 ECT, 3 CE. Whoever read that header sets it.
    pub ecn: u8,
}

impl Segment {
    /// What the machine needs of a header.
    #[inline]
    pub fn from_header(h: &Header) -> Segment {
        Segment {
            seq: Seq(h.seq),
            ack: Seq(h.ack),
            flags: h.flags,
            window: h.window,
            urgent: h.urgent,
            options: h.options,
            ecn: 0,
        }
    }

    /// A router met congestion.
    #[inline]
    pub fn ce(&self) -> bool {
        self.ecn == 3
    }

    /// Parses the header at the front of `m` and trims `m` to the payload. The caller has checked the
    /// checksum. Returns the ports too: source, destination.
    ///
    /// # Errors
    /// The header is malformed; `m` is unchanged.
    pub fn from_mbuf(m: &mut Mbuf) -> Result<(Segment, u16, u16), Malformed> {
        let (h, len) = Header::parse(m.as_slice())?;
        m.trim_front(len);
        Ok((Segment::from_header(&h), h.src_port, h.dst_port))
    }
}

/// A segment to send, described: the receiver of it makes the packet. `payload` lies in the send buffer in
/// up to two pieces.
#[derive(Clone, Copy, Debug)]
pub struct SegOut<'a> {
    /// SEG.SEQ.
    pub seq: Seq,
    /// SEG.ACK, 0 without [`Flags::ACK`].
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window field, scaled already.
    pub window: u16,
    /// Urgent pointer field.
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// The payload, to be copied.
    pub payload: (&'a [u8], &'a [u8]),
    /// Not 0: the payload is a super-segment, to be cut into pieces of this many bytes on its way out.
    pub gso_size: u16,
    /// The IP header is to say ECT(0): its two ECN bits are 2, else 0 (RFC 3168).
    pub ect: bool,
}

/// How [`SegOut::write`] treats the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Csum {
    /// Compute it, in the same pass that copies the payload.
    Full,
    /// Leave the pseudo-header's sum in the field: the device (or nobody, on loopback) completes it. The
    /// buffer is marked [`iopkt_mbuf::flags::CSUM_PARTIAL`].
    Partial,
}

impl SegOut<'_> {
    /// Payload bytes.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.payload.0.len() + self.payload.1.len()
    }

    /// Bytes of header, options and payload: the length in the pseudo-header.
    #[inline]
    pub fn len(&self) -> usize {
        tcp::HEADER_LEN + self.options.len() + self.payload_len()
    }

    /// A segment is never empty; here for the usual pair with [`SegOut::len`].
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends the whole segment to `m` (empty, with headroom for lower headers and [`SegOut::len`] bytes of
    /// tailroom). `pseudo` is the pseudo-header's sum for that length. False (and `m` unchanged) without room.
    pub fn write(&self, src_port: u16, dst_port: u16, m: &mut Mbuf, pseudo: Sum, csum: Csum) -> bool {
        let header = Header {
            src_port,
            dst_port,
            seq: self.seq.0,
            ack: self.ack.0,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: self.options,
        };
        let total = self.len();
        let Some(out) = m.append(total) else { return false };
        let Some(hlen) = header.emit(out) else { return false };
        let (head, body) = out.split_at_mut(hlen);
        let (a, b) = self.payload;
        match csum {
            Csum::Full => {
                let mut sum = pseudo;
                sum.add(head);
                let (x, y) = body.split_at_mut(a.len());
                sum.copy(x, a);
                sum.copy(y, b);
                // [RFC9293 MUST-2]
                tcp::set_checksum(head, sum.finish());
            }
            Csum::Partial => {
                body[..a.len()].copy_from_slice(a);
                body[a.len()..].copy_from_slice(b);
                tcp::set_checksum(head, pseudo.partial());
                m.set_csum_partial(0, tcp::CHECKSUM_OFFSET as u16);
            }
        }
        true
    }
}

//! The followers of a segment (see [`crate::rows`]): a connection takes them without asking again what the first one
//! answered.

use super::Sockets;
use super::sock::{Body, Sock};
use crate::cx::Cx;
use crate::net::Net;
use iopkt_tcp::{Outcome, Seq};

impl Sockets {
    /// Takes the frames of `cx.train` that begin at `next` behind the segment that the machine of `slot` has just taken, and
    /// counts them as if each had come the whole way (the network layer sees how many are gone). What it does not take stays there.
    pub(super) fn take_train(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        slot: u32,
        ifindex: u32,
        next: Seq,
        out: &mut Outcome,
    ) {
        // Raw sockets want to see each.
        if !self.demux.raws.is_empty() {
            return;
        }
        let most = self.pressure.stream_max();
        let Some(Sock { local, body: Body::Conn(c), .. }) = self.table.at_mut(slot) else { return };
        let local = *local;
        let Cx { now, train, train_skip, mbufs, .. } = cx;
        let (skip, mut n, mut bytes) = (*train_skip, 0, 0);
        while let Some(f) = train.front() {
            let len = f.len();
            if !c.tcb.takes_next(next + bytes, len - skip, out) || c.tcb.readable() > most {
                break;
            }
            let Some(mut m) = train.pop() else { break };
            m.trim_front(skip);
            if let Some(m) = c.tcb.input_next(*now, m, out) {
                mbufs.free(m);
            }
            n += 1;
            bytes += (len - skip) as u32;
        }
        if n == 0 {
            return;
        }
        self.stats.of(&local).tcp.received += n;
        if let Some(i) = net.iface_io(ifindex) {
            i.counters.ipackets += n;
            i.counters.ibytes += u64::from(bytes) + n * skip as u64;
        }
    }
}

//! The peer: two smoltcp interfaces joined in memory, one thread, Ethernet frames at an MTU of 1500,
//! checksums computed and verified, as in smoltcp's own loopback benchmark.

use crate::ours::{CHUNK, PERIOD, pattern, same};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

pub type Wire = Rc<RefCell<VecDeque<Vec<u8>>>>;

pub struct End {
    rx: Wire,
    tx: Wire,
    /// Buffers go round, as a real driver's ring does: no allocation per frame.
    spare: Rc<RefCell<Vec<Vec<u8>>>>,
}

pub struct Rx(Vec<u8>, Rc<RefCell<Vec<Vec<u8>>>>);
pub struct Tx<'a>(&'a End);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let r = f(&self.0);
        self.1.borrow_mut().push(self.0);
        r
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut b = self.0.spare.borrow_mut().pop().unwrap_or_default();
        b.resize(len, 0);
        let r = f(&mut b);
        self.0.tx.borrow_mut().push_back(b);
        r
    }
}

impl Device for End {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let b = self.rx.borrow_mut().pop_front()?;
        Some((Rx(b, self.spare.clone()), Tx(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        (self.tx.borrow().len() < 256).then_some(Tx(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = 1514;
        c
    }
}

/// Two ends of a wire.
pub fn cable() -> (End, End) {
    let (ab, ba, spare) = (Wire::default(), Wire::default(), Rc::default());
    (End { rx: ba.clone(), tx: ab.clone(), spare: Rc::clone(&spare) }, End { rx: ab, tx: ba, spare })
}

/// A host 10.0.0.`n` without sockets.
pub fn bare(n: u8, end: &mut End) -> (Interface, SocketSet<'static>) {
    let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, n]));
    let mut i = Interface::new(Config::new(mac), end, Instant::ZERO);
    i.update_ip_addrs(|a| {
        a.push(IpCidr::new(IpAddress::v4(10, 0, 0, n), 24)).expect("room for one address");
    });
    (i, SocketSet::new(Vec::new()))
}

fn host(n: u8, end: &mut End, buffer: usize) -> (Interface, SocketSet<'static>) {
    let (i, mut s) = bare(n, end);
    let buf = || tcp::SocketBuffer::new(vec![0; buffer]);
    s.add(tcp::Socket::new(buf(), buf()));
    (i, s)
}

/// Transfers `total` bytes with socket buffers of `buffer` bytes; returns the seconds it took. With `check` every byte
/// that arrives is compared, which costs time.
pub fn transfer(total: usize, buffer: usize, check: bool) -> f64 {
    let (mut ea, mut eb) = cable();
    let (mut ia, mut sa) = host(1, &mut ea, buffer);
    let (mut ib, mut sb) = host(2, &mut eb, buffer);
    let (ha, hb) = (sa.iter().next().expect("one").0, sb.iter().next().expect("one").0);
    sb.get_mut::<tcp::Socket<'_>>(hb).listen(80).expect("listen");
    sa.get_mut::<tcp::Socket<'_>>(ha)
        .connect(ia.context(), (IpAddress::v4(10, 0, 0, 2), 80), 49152)
        .expect("connect");
    let pattern = pattern();
    let (mut sent, mut got) = (0, 0);
    let start = std::time::Instant::now();
    while got < total {
        // The clock is read once a turn, as our own side does.
        let now = Instant::from_micros(start.elapsed().as_micros() as i64);
        ia.poll(now, &mut ea, &mut sa);
        let s = sa.get_mut::<tcp::Socket<'_>>(ha);
        while s.can_send() && sent < total {
            let from = sent % PERIOD;
            let want = CHUNK.min(total - sent);
            sent += s.send_slice(&pattern[from..from + want]).expect("send");
        }
        ib.poll(now, &mut eb, &mut sb);
        let s = sb.get_mut::<tcp::Socket<'_>>(hb);
        while s.can_recv() {
            got += s
                .recv(|b| {
                    assert!(!check || same(&pattern, got, b), "byte {got} or later is wrong");
                    (b.len(), b.len())
                })
                .expect("receive");
        }
    }
    start.elapsed().as_secs_f64()
}

//! A run described by bytes: what a fuzzer (or a random generator) says happens to two ends.
//!
//! The first byte chooses settings, each further operation takes a few bytes. Without forged segments both
//! streams must be prefixes of what was written at any time; with them, nothing may panic, grow without bound
//! or leak.

use super::{Faults, Net, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::{CcKind, Config, SegOut, Seq, State};
use iopkt_wire::tcp::{Flags, Options, SackBlocks, Timestamps};

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (b, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*b)
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }
}

fn config(b: u8, c: u8) -> Config {
    let buf = [600, 4_000, 20_000, 128 * 1024][usize::from(c & 3)];
    Config {
        sack: b & 1 != 0,
        timestamps: b & 2 != 0,
        window_scaling: b & 4 != 0,
        cc: [CcKind::Cubic, CcKind::NewReno, CcKind::Bbr, CcKind::Cubic]
            [usize::from(b >> 3 & 1 | c >> 1 & 2)],
        sndbuf_auto: if b & 16 != 0 { 300_000 } else { 0 },
        rcvbuf_auto: if c & 8 != 0 { 400_000 } else { 0 },
        nodelay: b & 16 != 0,
        tso_max: if b & 32 != 0 { 16_000 } else { 0 },
        keepalive: b & 64 != 0,
        keep_idle: Duration::from_secs(5),
        keep_interval: Duration::from_secs(1),
        rcvbuf: buf,
        rcvbuf_max: buf,
        sndbuf: [700, 5_000, 64 * 1024, 256 * 1024][usize::from(c >> 2 & 3)],
        mss_in: [64, 536, 1460, 9000][usize::from(c >> 4 & 3)],
        mss_path: [100, 536, 1460, 9000][usize::from(c >> 6 & 3)],
        ..Config::default()
    }
}

fn forged(n: &Net, i: usize, b: &mut Bytes<'_>) -> Option<()> {
    let (near, off, aoff, flags, win) = (b.u8()?, b.u16()?, b.u16()?, b.u8()?, b.u16()?);
    let last = n.seen.iter().rev().find(|s| s.from == i)?.h;
    let spread = |base: u32, o: u16| match near & 3 {
        0 => base,
        1 => base.wrapping_add(u32::from(o)).wrapping_sub(0x8000),
        2 => base.wrapping_add(u32::from(o) << 10),
        _ => u32::from(o) << 16,
    };
    let mut sack = SackBlocks::NONE;
    if near & 4 != 0 {
        let l = spread(last.ack, aoff);
        sack.push(l, l.wrapping_add(u32::from(win)));
        sack.push(l.wrapping_sub(u32::from(off)), l);
    }
    let ts = last.options.timestamps.filter(|_| near & 8 == 0);
    let options = Options {
        timestamps: ts.map(|t| Timestamps { val: t.val.wrapping_add(u32::from(near >> 4)), ecr: t.ecr }),
        sack,
        mss: (near & 16 != 0).then_some(off),
        window_scale: (near & 32 != 0).then_some(win as u8),
        ..Options::NONE
    };
    let body = [near; 64];
    let s = SegOut {
        seq: Seq(spread(last.seq, off)),
        ack: Seq(spread(last.ack, aoff)),
        flags: Flags(flags),
        window: win,
        urgent: off,
        options,
        payload: (&body[..usize::from(near) % 64], &[]),
        gso_size: 0,
        ect: false,
    };
    FORGED.with(|f| f.borrow_mut().push((i, s.seq, s.ack, s.flags, s.window, s.urgent, s.options, near)));
    Some(())
}

type Forged = (usize, Seq, Seq, Flags, u16, u16, Options, u8);
std::thread_local! {
    static FORGED: std::cell::RefCell<Vec<Forged>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn inject_forged(n: &mut Net) {
    for (i, seq, ack, flags, window, urgent, options, near) in FORGED.with(|f| f.take()) {
        let body = [near; 64];
        let payload = (&body[..usize::from(near) % 64], &[][..]);
        n.inject(i, &SegOut { seq, ack, flags, window, urgent, options, payload, gso_size: 0, ect: false });
    }
}

fn operation(n: &mut Net, b: &mut Bytes<'_>, attack: bool) -> Option<()> {
    let op = b.u8()?;
    let i = usize::from(op & 1);
    let alive = n.ends[i].tcb.is_some();
    match op >> 1 & 15 {
        0..=2 => {
            let (k, seed) = (usize::from(b.u16()?) % 5000, u64::from(op));
            if alive && !n.ends[i].close_after && !n.ends[i].closed {
                n.send(i, &pattern(k, seed));
            }
        }
        3 => {
            let k = usize::from(b.u16()?);
            n.read(i, k);
        }
        4 => n.ends[i].reads ^= true,
        5 => n.run(Duration::from_millis(u64::from(b.u8()?))),
        6 => n.run(Duration::from_millis(u64::from(b.u16()?))),
        7 => {
            let (l, d, j) = (b.u8()?, b.u8()?, b.u8()?);
            n.links[i].faults = Faults {
                loss: f64::from(l) / 400.0,
                duplicate: f64::from(d) / 500.0,
                jitter: Duration::from_millis(u64::from(j)),
                corrupt: f64::from(l & 15) / 300.0,
                ..clean()
            };
        }
        8 if alive => {
            n.ends[i].close_after = true;
            n.send(i, &[]);
        }
        9 if alive && attack => n.close(i),
        10 if alive && attack => {
            n.tcb(i).abort(drop);
            n.output(i);
        }
        11 if alive => {
            let m = b.u8()?;
            let una = n.seen.iter().rfind(|s| s.from == i && s.len > 0).map(|s| Seq(s.h.seq));
            n.tcb(i).set_path_mss(u16::from(m) * 8, una);
            n.output(i);
        }
        12 if alive => {
            let k = usize::from(b.u16()?);
            n.tcb(i).set_held(k);
            n.output(i);
        }
        13 if alive => {
            let k = b.u16()?;
            n.tcb(i).set_rcvbuf(u32::from(k));
            n.tcb(i).set_sndbuf(u32::from(k) + 1);
            n.tcb(i).set_nodelay(k & 1 != 0);
        }
        14 if attack => {
            forged(n, i, b)?;
            inject_forged(n);
        }
        _ => {
            n.step();
        }
    }
    Some(())
}

/// Runs a script. `attack` allows forged segments, closes and aborts.
pub fn run(data: &[u8], attack: bool) {
    let mut b = Bytes(data);
    let (Some(s), Some(x), Some(y), Some(z)) = (b.u8(), b.u8(), b.u8(), b.u8()) else { return };
    let mut n = Net::new(u64::from(s) << 8 | u64::from(x), config(x, y), config(z, y.rotate_left(3)));
    n.connect(0);
    if s & 1 == 0 {
        n.ends[1].listening = true;
    } else {
        n.connect(1);
    }
    let mut ops = 0;
    while operation(&mut n, &mut b, attack).is_some() && ops < 400 {
        ops += 1;
        if !attack {
            n.check_prefixes();
        }
        if n.seen.len() > 20_000 {
            break;
        }
        if n.seen.len() > 2_000 {
            n.seen.drain(..1_000);
        }
    }
    if !attack {
        heal(&mut n);
    }
    let pool = n.pool.clone();
    drop(n);
    assert_eq!(pool.stats().out, 0, "buffers leaked");
}

/// With good links and willing readers everything that was written arrives, and both ends end.
fn heal(n: &mut Net) {
    n.set_links(clean());
    for i in 0..2 {
        n.ends[i].reads = true;
        if let Some(t) = &mut n.ends[i].tcb {
            t.set_held(0);
            t.set_rcvbuf(65_535);
            t.set_sndbuf(65_535);
        }
        n.read(i, usize::MAX);
        n.ends[i].close_after = true;
        n.send(i, &[]);
    }
    // A handshake that never ended in all the time of the script, or an end given up, is no failure.
    let broken = |n: &Net| n.ends.iter().any(|e| e.error.is_some());
    let over = |n: &Net| (0..2).all(|i| matches!(n.state(i), State::Closed | State::TimeWait)) || broken(n);
    let done = n.run_until(Duration::from_secs(4 * 3600), over);
    n.check_prefixes();
    assert!(done, "stuck: {:?} {:?}\n{:?}\n{:?}", n.state(0), n.state(1), n.ends[0].tcb, n.ends[1].tcb);
    let counts: Vec<_> =
        n.ends.iter().map(|e| (e.got.len(), e.to_write.len(), e.written, e.strays, e.gone)).collect();
    assert!(broken(n) || n.all_read() || !n.established(), "not all arrived: {counts:?} {:?}", n.ends[0].cfg);
}

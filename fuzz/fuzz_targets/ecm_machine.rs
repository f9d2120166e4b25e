//! devnp-ecm's machine, fed by a USB stack and a device that do what they like: completions in any order, with
//! any status and data, notifications, garbage; and a user who starts, stops, sends and types meanwhile.
//! The input: a byte of settings, then steps of what, how long, bytes.
#![no_main]

use iopkt_usbip::Dir;
use iopkt_usbip::cdc::Function;
use iopkt_usbip::client::{Client, Limits};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::hdr::{Command, HDR_LEN, RetSubmit, RetUnlink};
use libfuzzer_sys::fuzz_target;
use iopkt_usbnet::machine::{Machine, NEVER, Setting, Up};

const SEGMENT: u16 = 1514;
const BUFSZ: usize = 256;

#[derive(Default)]
struct Heard {
    failed: bool,
    up: bool,
    now: u64,
}

impl Up for Heard {
    fn frame(&mut self, b: &[u8], _: Option<[u8; 6]>) {
        assert!((14..=usize::from(SEGMENT)).contains(&b.len()));
    }
    fn link(&mut self, up: bool, _: u64, _: u64) {
        self.up = up;
    }
    fn tx_ready(&mut self) {}
    fn errors(&mut self, _: u64, _: u64) {}
    fn say(&mut self, _: bool, text: String) {
        assert!(!text.is_empty());
    }
    fn failed(&mut self, _: String) {
        self.failed = true;
    }
}

fn function(how: u8, at: u8) -> Function {
    let bulk = |addr| Endpoint {
        addr,
        attributes: 2,
        max_packet_raw: if how & 8 != 0 { 512 } else { 8 },
        interval: 0,
    };
    Function {
        config: 1,
        control: at,
        data: at + 1,
        data_alt: (how >> 4) & 1,
        has_alts: how & 1 != 0,
        notify: (how & 2 != 0).then_some(Endpoint {
            addr: 0x83 + at,
            attributes: 3,
            max_packet_raw: 16,
            interval: 5,
        }),
        bulk_in: bulk(0x81 + at),
        bulk_out: bulk(0x02 + at),
        ethernet: None,
    }
}

/// What the machine has asked of the device and not been answered: number, direction, length.
#[derive(Default)]
struct Far {
    urbs: Vec<(u32, Dir, u32)>,
    unlinks: Vec<u32>,
}

impl Far {
    /// Takes what the machine wrote; it must be well-formed.
    fn take(&mut self, m: &mut Machine) {
        let (mut b, n) = (m.tx(), m.tx().len());
        while let Some((h, rest)) = b.split_first_chunk::<HDR_LEN>() {
            b = rest;
            match Command::parse(h).expect("good commands") {
                Command::Submit(s) => {
                    if s.dir == Dir::Out {
                        b = &b[s.length as usize..];
                    }
                    self.urbs.push((s.seqnum, s.dir, s.length));
                }
                Command::Unlink(u) => self.unlinks.push(u.seqnum),
            }
        }
        assert!(b.is_empty());
        m.tx_done(n);
        assert!(self.urbs.len() <= 2048);
    }
}

/// Bytes from the USB stack; false when the machine ended the connection over them.
fn feed(m: &mut Machine, mut b: &[u8], up: &mut Heard) -> bool {
    while !b.is_empty() {
        let space = m.space();
        let n = b.len().min(space.len());
        space[..n].copy_from_slice(&b[..n]);
        m.commit(n);
        b = &b[n..];
        if m.process(up.now, up).is_err() {
            m.gone(up);
            return false;
        }
    }
    true
}

const STATUS: [i32; 8] = [0, 0, 0, -32, -104, -71, -121, -75];

fn step(m: &mut Machine, far: &mut Far, what: u8, b: &[u8], up: &mut Heard) -> bool {
    let first = usize::from(b.first().copied().unwrap_or(0));
    match what & 15 {
        0..=6 if !far.urbs.is_empty() => {
            let (seqnum, dir, length) = far.urbs.swap_remove(first % far.urbs.len());
            let data = b.get(1..).unwrap_or(&[]);
            let data = &data[..data.len().min(if dir == Dir::In { length as usize } else { 0 })];
            let actual = if dir == Dir::In { data.len() as u32 } else { length };
            let status = STATUS[usize::from(what >> 4) & 7];
            let head = RetSubmit { seqnum, status, actual, start_frame: 0, packets: 0, errors: 0 }.to_bytes();
            feed(m, &[&head[..], data].concat(), up)
        }
        7 if !far.unlinks.is_empty() => {
            let seqnum = far.unlinks.swap_remove(first % far.unlinks.len());
            feed(m, &RetUnlink { seqnum, status: STATUS[usize::from(what >> 4) & 7] }.to_bytes(), up)
        }
        8 => feed(m, b, up),
        9 => {
            m.start(up.now, up);
            true
        }
        10 => {
            m.stop(up.now, up);
            true
        }
        11 => {
            let groups: Vec<[u8; 6]> = b.chunks_exact(6).map(|c| c.try_into().expect("6 bytes")).collect();
            m.filter(up.now, what & 16 != 0, what & 32 != 0, &groups, up);
            true
        }
        12 => {
            m.send(up.now, &b.repeat(1 + usize::from(what >> 5)), up);
            true
        }
        13 => {
            let n = b.len().min(m.at.room());
            m.at.typed(&b[..n]);
            m.at_changed(up.now, up);
            true
        }
        14 => {
            m.at.written(first.min(m.at.waiting().len()));
            m.at_changed(up.now, up);
            true
        }
        _ => {
            // Time passes: to the next deadline, or a little.
            let d = m.deadline();
            up.now = if what & 16 != 0 && d != NEVER { d.max(up.now) } else { up.now + 100_000_000 };
            m.tick(up.now, up);
            let _ = m.statistics(up.now, up).values().count();
            true
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((how, mut rest)) = data.split_first() else { return };
    let client = Client::attached(1, Limits { urbs: 48, transfer: 4096, tx: 16_384, rx: 8192 });
    let set = Setting {
        max_segment: SEGMENT,
        mc_filters: u16::from(how >> 5),
        mc_imperfect: how & 32 != 0,
        statistics: u32::from(*how),
        power_filters: how & 1,
        receive: 8,
        transmit: 8,
        bufsz: BUFSZ,
        pad: how & 64 != 0,
        fcs: how & 128 != 0,
        fix_dst: how & 2 != 0,
        ..Setting::new(function(*how, 0), (how & 4 != 0).then(|| function(*how, 4)))
    };
    let (mut m, mut far, mut up) = (Machine::new(client, set), Far::default(), Heard::default());
    m.begin(0, &mut up);
    while let [what, len, tail @ ..] = rest {
        let (piece, next) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = next;
        far.take(&mut m);
        if !step(&mut m, &mut far, *what, piece, &mut up) || up.failed {
            break;
        }
        assert!(m.at.waiting().len() <= BUFSZ + 4096, "the terminal's buffer is bounded");
    }
    m.gone(&mut up);
    assert!(!up.up && !m.alive() && m.deadline() == NEVER);
});

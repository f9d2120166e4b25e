//! NTBs of a hostile device, and what is built of any frames in any shape: it is read back as it was.
//! The input: eight bytes of a shape, then a block, which is also cut into frames.
#![no_main]

use iopkt_usbip::ncm::{Block, Builder, Format, Parameters, Shape};
use libfuzzer_sys::fuzz_target;

fn read(b: &[u8], max: usize) {
    let Ok(block) = Block::parse(b) else { return };
    let (mut sum, mut n) = (0, 0);
    for d in block.datagrams(max) {
        n += 1;
        if let Ok(f) = d {
            assert!((14..=max).contains(&f.len()));
            sum += f.len();
        }
    }
    // What comes out is never more than what came in.
    assert!(sum <= b.len() && n <= b.len() / 4 + 1);
}

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first_chunk::<8>() else { return };
    read(rest, 1514);
    let w = |at: usize| u16::from_le_bytes([how[at], how[at + 1]]);
    let p = Parameters {
        out_max: 2048 + u32::from(w(0)),
        out_divisor: w(2),
        out_remainder: u16::from(how[4]),
        out_alignment: 1 << (how[5] & 15),
        out_datagrams: u16::from(how[6]),
        ..Parameters::default()
    };
    let format = if how[7] & 1 != 0 { Format::Ntb32 } else { Format::Ntb16 };
    let packet = if how[7] & 2 != 0 { 512 } else { 64 };
    let shape = Shape::out(&p, format, how[7] & 4 != 0, 16_384, packet);
    let (mut b, mut out, mut sent) = (Builder::new(shape), Vec::new(), Vec::new());
    let check = |b: &mut Builder, out: &mut Vec<u8>, sent: &mut Vec<Vec<u8>>| {
        assert_eq!(b.finish(out), sent.len());
        assert!(out.len() <= shape.size && (out.len() % shape.packet != 0 || out.len() == shape.size));
        let block = Block::parse(out).expect("our own block");
        let got: Vec<Vec<u8>> = block.datagrams(1514).map(|d| d.expect("our own frame").to_vec()).collect();
        assert_eq!(got, *sent);
        out.clear();
        sent.clear();
    };
    let mut rest = rest;
    while let [len, tail @ ..] = rest {
        let (f, next) = tail.split_at((usize::from(*len) * 6).min(tail.len()));
        rest = next;
        if !(14..=1514).contains(&f.len()) || f.len() > shape.longest() {
            continue;
        }
        if !out.is_empty() && !b.fits(out.len(), f.len()) {
            check(&mut b, &mut out, &mut sent);
        }
        assert!(b.fits(out.len(), f.len()), "{} bytes in an empty block of {}", f.len(), shape.size);
        b.add(&mut out, f);
        sent.push(f.to_vec());
    }
    if !out.is_empty() {
        check(&mut b, &mut out, &mut sent);
    }
});

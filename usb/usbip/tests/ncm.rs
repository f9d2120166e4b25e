//! NTBs: round trips in every shape, the rules of alignment and length, hostile blocks.

use iopkt_usbip::client::{self, Client, Event};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::ncm::{self, Bad, Block, Builder, Format, Parameters, Shape, Sink, crc32};
use iopkt_usbip::op::DeviceInfo;
use iopkt_usbip::server::{self, Request, Session};
use proptest::prelude::*;

fn frames(b: &[u8]) -> Vec<Vec<u8>> {
    Block::parse(b).expect("a header").datagrams(9000).map(|f| f.expect("a frame").to_vec()).collect()
}

/// Blocks that carry `list`, in order.
fn build(shape: Shape, list: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut b = Builder::new(shape);
    let (mut blocks, mut out) = (Vec::new(), Vec::new());
    for f in list {
        if !out.is_empty() && !b.fits(out.len(), f.len()) {
            b.finish(&mut out);
            blocks.push(std::mem::take(&mut out));
        }
        assert!(b.fits(out.len(), f.len()), "{} bytes in an empty block of {}", f.len(), shape.size);
        b.add(&mut out, f);
    }
    if !out.is_empty() {
        b.finish(&mut out);
        blocks.push(out);
    }
    blocks
}

fn shapes() -> impl Strategy<Value = Shape> {
    let p = (any::<u16>(), any::<u16>(), any::<u16>(), 0..40u16, 2048..70_000u32);
    (p, any::<(bool, bool)>(), prop_oneof![Just(64u16), Just(512), Just(1024)]).prop_map(
        |((divisor, remainder, alignment, datagrams, size), (wide, crc), packet)| {
            let p = Parameters {
                out_divisor: if divisor % 3 == 0 { divisor } else { divisor % 64 },
                out_remainder: remainder,
                out_alignment: if alignment % 5 == 0 { alignment } else { 1 << (alignment % 9) },
                out_datagrams: datagrams,
                out_max: size,
                ..Parameters::default()
            };
            let f = if wide { Format::Ntb32 } else { Format::Ntb16 };
            Shape::out(&p, f, crc, 32_768, packet)
        },
    )
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 14..1515), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_read(shape in shapes(), list in payloads()) {
        prop_assume!(shape.longest() >= 1514);
        let blocks = build(shape, &list);
        let mut got = Vec::new();
        for (i, b) in blocks.iter().enumerate() {
            prop_assert!(b.len() <= shape.size);
            let short = b.len() % shape.packet != 0 || b.len() == shape.size;
            prop_assert!(short, "{} bytes, {} is the most: the transfer does not end", b.len(), shape.size);
            let block = Block::parse(b).expect("good header");
            prop_assert_eq!((block.sequence, block.format()), (i as u16, shape.format));
            let list: Vec<&[u8]> = block.datagrams(1514).map(|f| f.expect("good frame")).collect();
            prop_assert!(list.len() <= shape.datagrams);
            for f in &list {
                let at = f.as_ptr() as usize - b.as_ptr() as usize;
                prop_assert_eq!((at + 14) % shape.divisor, shape.remainder);
            }
            let w = |at: usize| match shape.format {
                Format::Ntb16 => u16::from_le_bytes([b[at], b[at + 1]]) as usize,
                Format::Ntb32 => u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]) as usize,
            };
            let (len, table) = if shape.format == Format::Ntb16 { (w(8), w(10)) } else { (w(8), w(12)) };
            prop_assert_eq!(len, b.len());
            prop_assert_eq!(table % shape.alignment, 0);
            got.extend(list.iter().map(|f| f.to_vec()));
        }
        prop_assert_eq!(got, list);
    }

    #[test]
    fn bytes_of_any_kind_end(mut b in prop::collection::vec(any::<u8>(), 0..600), wide: bool, max in 0usize..2000) {
        for sign in [true, false] {
            if sign && b.len() >= 12 {
                b[..4].copy_from_slice(if wide { b"ncmh" } else { b"NCMH" });
                b[4] = if wide { 16 } else { 12 };
                b[5] = 0;
            }
            if let Ok(block) = Block::parse(&b) {
                let (mut sum, mut n) = (0, 0);
                for d in block.datagrams(max) {
                    n += 1;
                    sum += d.map_or(0, <[u8]>::len);
                }
                prop_assert!(sum <= b.len() && n <= b.len() / 4 + 1);
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_harmless(shape in shapes(), list in payloads(), hits in prop::collection::vec(any::<(u16, u8)>(), 1..6)) {
        prop_assume!(shape.longest() >= 1514);
        let mut b = build(shape, &list).remove(0);
        // Headers and tables are what matters: the first bytes and the last.
        for (at, v) in hits {
            let n = b.len();
            let at = usize::from(at) % 64;
            let at = if at < 16 { at } else { n - (at - 15).min(n) };
            b[at] = v;
        }
        if let Ok(block) = Block::parse(&b) {
            let sum: usize = block.datagrams(1514).map(|d| d.map_or(0, <[u8]>::len)).sum();
            prop_assert!(sum <= b.len());
        }
    }

    #[test]
    fn parameters_go_round(b in prop::collection::vec(any::<u8>(), 28..40)) {
        let p = Parameters::parse(&b).expect("enough bytes");
        prop_assert_eq!(Parameters::parse(&p.to_bytes()), Some(p));
    }
}

/// A block as Linux's gadget sends it: the table between header and datagrams.
fn by_hand(frames: &[&[u8]]) -> Vec<u8> {
    let table = 8 + 4 * (frames.len() + 1);
    let mut b = b"NCMH\x0c\0\x07\0\0\0\x0c\0NCM0".to_vec();
    b.extend((table as u16).to_le_bytes());
    b.extend([0, 0]);
    let mut at = 12 + table;
    for f in frames {
        b.extend((at as u16).to_le_bytes());
        b.extend((f.len() as u16).to_le_bytes());
        at += f.len();
    }
    b.extend([0; 4]);
    frames.iter().for_each(|f| b.extend(*f));
    let n = (b.len() as u16).to_le_bytes();
    b[8..10].copy_from_slice(&n);
    b
}

#[test]
fn a_table_in_front_and_padding_behind() {
    let (a, c) = ([1u8; 60], [2u8; 99]);
    let mut b = by_hand(&[&a, &c]);
    assert_eq!(Block::parse(&b).expect("good").sequence, 7);
    assert_eq!(frames(&b), [a.to_vec(), c.to_vec()]);
    b.extend([0; 512]); // devices that fill transfers up
    assert_eq!(frames(&b).len(), 2);
    b[8..10].fill(0); // the length is that of the transfer
    assert_eq!(frames(&b).len(), 2);
}

#[test]
fn each_thing_wrong_has_its_name() {
    let a = [1u8; 60];
    let first = |b: &[u8]| {
        Block::parse(b).and_then(|k| k.datagrams(1514).next().expect("something").map(<[u8]>::len))
    };
    let good = by_hand(&[&a]);
    assert_eq!(first(&good), Ok(60));
    let with = |at: usize, v: &[u8]| {
        let mut b = good.clone();
        b[at..at + v.len()].copy_from_slice(v);
        b
    };
    assert_eq!(first(&with(0, b"NCMX")), Err(Bad::Header));
    assert_eq!(first(&with(4, &[13])), Err(Bad::Header));
    assert_eq!(first(&good[..11]), Err(Bad::Header));
    assert_eq!(first(&with(8, &200u16.to_le_bytes())), Err(Bad::BlockLength));
    assert_eq!(first(&good[..80]), Err(Bad::BlockLength));
    assert_eq!(first(&with(8, &[11, 0])), Err(Bad::BlockLength));
    assert_eq!(first(&with(10, &[4, 0])), Err(Bad::Table), "in the header");
    assert_eq!(first(&with(10, &[14, 0])), Err(Bad::Table), "misaligned");
    assert_eq!(first(&with(10, &[88, 0])), Err(Bad::Table), "behind the end");
    assert_eq!(first(&with(16, &[8, 0])), Err(Bad::Table), "no entry");
    assert_eq!(first(&with(16, &[200, 0])), Err(Bad::Table), "longer than the block");
    assert_eq!(first(&with(20, &[80, 0])), Err(Bad::Place));
    assert_eq!(first(&with(20, &[4, 0])), Err(Bad::Place), "in the header");
    assert_eq!(first(&with(22, &[13, 0])), Err(Bad::Length));
    assert_eq!(Block::parse(&good).expect("good").datagrams(59).next(), Some(Err(Bad::Length)));
    assert_eq!(first(&with(15, b"1")), Err(Bad::Crc));
    // A table that is its own successor, and one of another kind, which is passed over.
    let chain = with(18, &[12, 0]);
    let all: Vec<_> = Block::parse(&chain).expect("good").datagrams(1514).collect();
    assert!(all.len() <= 64 && all.contains(&Err(Bad::Overlap)), "{all:?}");
    assert_eq!(Block::parse(&with(12, b"XYZ0")).expect("good").datagrams(1514).count(), 0);
    // Found by fuzzing: a circle of entries that name nothing is no work without end.
    let mut nothing = with(18, &[12, 0]);
    nothing[20..22].copy_from_slice(&[0, 0xff]);
    assert!(Block::parse(&nothing).expect("good").datagrams(1514).count() <= nothing.len() / 4);
    let mut circle = with(12, b"XYZ0");
    circle[18] = 12;
    assert_eq!(first(&circle), Err(Bad::Chain));
}

#[test]
fn one_bad_frame_does_not_cost_the_others() {
    let (a, b, c) = ([1u8; 60], [2u8; 10], [3u8; 61]);
    let block = by_hand(&[&a, &b, &c]);
    let all: Vec<_> = Block::parse(&block).expect("good").datagrams(1514).collect();
    assert_eq!(all, [Ok(&a[..]), Err(Bad::Length), Ok(&c[..])]);
}

#[test]
fn crc_mode_appends_and_checks() {
    let p = Parameters::default();
    for f in [Format::Ntb16, Format::Ntb32] {
        let s = Shape::out(&p, f, true, 16_384, 512);
        let list = vec![vec![7; 60], vec![8; 1514]];
        let mut b = build(s, &list).remove(0);
        assert_eq!(frames(&b), list);
        let sum = crc32(&list[0]).to_le_bytes();
        let at = b.windows(4).position(|w| w == sum).expect("the CRC is in it");
        b[at] ^= 1;
        let all: Vec<_> =
            Block::parse(&b).expect("good").datagrams(1514).map(|d| d.map(<[u8]>::len)).collect();
        assert_eq!(all, [Err(Bad::Crc), Ok(1514)]);
    }
}

#[test]
fn nonsense_parameters_are_replaced() {
    let p = Parameters { out_divisor: 0, out_alignment: 3, out_max: 1 << 30, ..Parameters::default() };
    let s = Shape::out(&p, Format::Ntb16, false, u32::MAX, 512);
    assert_eq!((s.divisor, s.alignment, s.size), (4, 4, 65_535));
    let tiny = Shape::out(&Parameters { out_max: 20, ..p }, Format::Ntb32, false, u32::MAX, 512);
    assert_eq!(tiny.longest(), 0);
    assert!(!Builder::new(tiny).fits(0, 14));
}

#[test]
fn functional_descriptor_and_requests() {
    let body = ncm::functional(0x3f);
    let d = [&[6, 0x24][..], &body].concat();
    assert_eq!(ncm::capabilities(&d), Some(0x3f));
    assert_eq!(ncm::capabilities(&d[..5]), None);
    assert_eq!(ncm::set_input_size(3, 0, 0x1234).0.length, 4);
    assert_eq!(ncm::set_input_size(3, ncm::cap::NTB_INPUT_SIZE_8, 0x1234).0.length, 8);
}

/// Data written in place reaches the other side as one transfer, and nothing of it leaves before its end.
#[test]
fn a_transfer_is_written_in_place() {
    let mut c = Client::import("1-1", client::Limits::default());
    let mut s = Session::new(server::Limits::default());
    let up = |c: &mut Client, s: &mut Session| {
        let n = c.tx().len();
        s.space()[..n].copy_from_slice(c.tx());
        s.commit(n);
        c.tx_done(n);
        n
    };
    up(&mut c, &mut s);
    assert!(matches!(s.poll(), Ok(Some((Request::Import(_), _)))));
    s.replies().imported(Ok(&DeviceInfo { busid: "1-1".into(), ..DeviceInfo::default() }));
    let n = s.tx().len();
    c.space()[..n].copy_from_slice(s.tx());
    c.commit(n);
    s.tx_done(n);
    assert!(matches!(c.poll(), Ok(Some(Event::Imported(_)))));

    let ep = Endpoint { addr: 0x02, attributes: 2, max_packet_raw: 512, interval: 0 };
    c.submit_out(&ep, 1, b"before", 0).expect("room");
    c.open_out(&ep, 2, 1000).expect("room");
    assert_eq!(c.open_out(&ep, 3, 10), Err(client::Full), "one at a time");
    assert_eq!(c.submit_out(&ep, 3, b"x", 0), Err(client::Full));
    let mut w = c.writer().expect("open");
    w.push(b"....lo");
    assert_eq!(up(&mut c, &mut s), 48 + 6, "only what is complete leaves");
    let mut w = c.writer().expect("open");
    w.push(&[b'!'; 500]);
    w.patch(0, b"hell");
    assert_eq!(w.len(), 506);
    assert!(c.close_out() && !c.close_out());
    c.submit_out(&ep, 4, b"after", 0).expect("room");
    up(&mut c, &mut s);
    let mut got = Vec::new();
    while let Some((r, _)) = s.poll().expect("USB/IP") {
        let Request::Submit(u, data) = r else { panic!("{r:?}") };
        assert_eq!(u.length as usize, data.len());
        got.push(data.to_vec());
    }
    let want = [b"hell".to_vec(), b"lo".to_vec(), vec![b'!'; 500]].concat();
    assert_eq!(got, [b"before".to_vec(), want, b"after".to_vec()]);
}

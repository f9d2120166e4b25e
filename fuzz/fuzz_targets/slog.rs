//! Any bytes as the log's file: readers end, a writer repairs what it must, and its record comes back. With an
//! odd first byte the header (and with bit 1 each record) is mended, so that what is behind the checksums is
//! reached.
#![no_main]

use iopkt_slog::{CAPACITY, Reader, Severity, Writer};
use iopkt_sys::{Root, paths};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

thread_local! {
    static PLACE: OnceCell<(Root, File)> = const { OnceCell::new() };
}

fn place() -> (Root, File) {
    // libFuzzer ends without destructors: whoever starts us clears TMPDIR (cargo xtask fuzz does).
    let root = Root::at(std::env::temp_dir().join(format!("iopkt-fuzz-slog-{}", std::process::id())));
    let path = root.prepare(paths::SLOG).expect("a directory");
    let f = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    (root, f)
}

/// The log's checksum (FNV-1a).
fn sum(b: &[u8]) -> [u8; 4] {
    b.iter().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)).to_ne_bytes()
}

/// A header that makes sense, from any bytes.
fn mend_header(b: &mut [u8]) {
    b[..8].copy_from_slice(b"IOPKTSLG");
    b[8..12].copy_from_slice(&1u32.to_ne_bytes());
    b[12..16].copy_from_slice(&(CAPACITY as u32).to_ne_bytes());
    let u64_at = |b: &[u8], at: usize| u64::from_ne_bytes(b[at..at + 8].try_into().expect("8 bytes"));
    let tail = u64_at(b, 16) & !7;
    let head = tail.saturating_add(u64_at(b, 24) % (CAPACITY + 1)) & !7;
    b[16..24].copy_from_slice(&tail.to_ne_bytes());
    b[24..32].copy_from_slice(&head.to_ne_bytes());
    let s = sum(&b[..40]);
    b[40..44].copy_from_slice(&s);
}

/// Good marks, lengths and sums for the records, one after the other.
fn mend_records(mut b: &mut [u8]) {
    while b.len() >= 40 {
        let len = usize::from(u16::from_ne_bytes([b[12], b[13]])) % 200;
        let total = (40 + len).next_multiple_of(8);
        if total > b.len() {
            return;
        }
        let (r, rest) = b.split_at_mut(total);
        r[..4].copy_from_slice(&0x534c_4f47u32.to_ne_bytes());
        r[8..12].copy_from_slice(&(total as u32).to_ne_bytes());
        r[12..14].copy_from_slice(&(len as u16).to_ne_bytes());
        let s = sum(&r[8..]);
        r[4..8].copy_from_slice(&s);
        b = rest;
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let mut bytes = data.to_vec();
    if how & 1 != 0 {
        bytes.resize(bytes.len().max(64), 0);
        mend_header(&mut bytes);
    }
    if how & 2 != 0 && bytes.len() > 64 {
        mend_records(&mut bytes[64..]);
    }
    PLACE.with(|p| {
        let (root, f) = p.get_or_init(place);
        f.set_len(0).expect("an empty file");
        f.write_all_at(&bytes, 0).expect("room");
        if let Ok(mut r) = Reader::open(root)
            && let Ok(got) = r.read()
        {
            assert!(got.missed <= CAPACITY && got.list.len() as u64 <= CAPACITY / 40);
            assert_eq!(r.read().map(|r| r.list.len()).unwrap_or(0), 0, "nothing new");
        }
        let w = Writer::open(root).expect("a log");
        assert!(w.write(Severity::Info, 1, 2, "still here"), "the log takes records again");
        let got = Reader::open(root).and_then(|mut r| r.read()).expect("a log now");
        assert_eq!(got.list.last().map(|r| r.text.as_str()), Some("still here"));
    });
});

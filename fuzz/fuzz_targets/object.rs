//! Any bytes as a driver's file, judged before anything is mapped; and option lists against what it says it takes.
//! The input is an option list, a NUL, and either a whole file (first byte even) or the content of an
//! `iopkt_object` that gets a good ELF file around it.
#![no_main]

use iopkt_loader::{Info, good_prefix, inspect, split_options};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

thread_local! {
    static OBJECT: RefCell<File> = RefCell::new(memfd());
}

/// Bytes that the symbol has: more than an `iopkt_object`; zeros follow the input.
const CONTENT: usize = 8192;

fn memfd() -> File {
    rustix::fs::memfd_create("object", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd").into()
}

/// The smallest shared object with one symbol: header, a segment, two sections, name, symbol, content.
fn elf(content: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"\0iopkt_object\0";
    let (phdr, shdr) = (64usize, 64 + 56);
    let (strs, syms) = (shdr + 2 * 64, shdr + 2 * 64 + 16);
    let at = syms + 24;
    let mut b = vec![0; at];
    let mut put = |at: usize, v: u64, n: usize| b[at..at + n].copy_from_slice(&v.to_le_bytes()[..n]);
    put(0, u64::from(u32::from_le_bytes(*b"\x7fELF")), 4);
    put(4, 0x0001_0102, 4);
    put(16, 3, 2);
    put(
        18,
        if cfg!(target_arch = "x86_64") {
            62
        } else if cfg!(target_arch = "aarch64") {
            183
        } else {
            243
        },
        2,
    );
    put(32, phdr as u64, 8);
    put(40, shdr as u64, 8);
    put(54, 56, 2);
    put(56, 1, 2);
    put(58, 64, 2);
    put(60, 2, 2);
    put(phdr, 1, 4);
    put(phdr + 32, (at + CONTENT) as u64, 8);
    put(shdr + 4, 11, 4);
    put(shdr + 24, syms as u64, 8);
    put(shdr + 32, 24, 8);
    put(shdr + 40, 1, 4);
    put(shdr + 64 + 24, strs as u64, 8);
    put(shdr + 64 + 32, 16, 8);
    put(syms, 1, 4);
    put(syms + 4, 1, 1);
    put(syms + 6, 1, 2);
    put(syms + 8, at as u64, 8);
    put(syms + 16, CONTENT as u64, 8);
    b[strs..strs + NAME.len()].copy_from_slice(NAME);
    b.extend_from_slice(&content[..content.len().min(CONTENT)]);
    b.resize(at + CONTENT, 0);
    b
}

fn judged(bytes: &[u8]) -> Option<Info> {
    OBJECT.with_borrow_mut(|f| {
        f.set_len(0).expect("an empty file");
        f.write_all_at(bytes, 0).expect("room");
        match inspect(format!("/proc/self/fd/{}", f.as_raw_fd()).as_ref()) {
            Ok(i) => Some(i),
            Err(e) => {
                assert!(!e.to_string().is_empty());
                None
            }
        }
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let Some(nul) = data.iter().position(|b| *b == 0) else { return };
    let (list, body) = (String::from_utf8_lossy(&data[..nul]), &data[nul + 1..]);
    let info = if kind & 1 == 0 { judged(body) } else { judged(&elf(body)) };
    let Some(info) = info else { return };
    assert!(!info.name.is_empty() && !info.name.contains(char::is_control));
    let Ok(o) = split_options(&list, &info) else { return };
    assert!(o.name.as_deref().is_none_or(good_prefix));
    // What is left is good as it is, and has nothing generic in it.
    let again = split_options(&o.rest, &info).expect("what passed once passes again");
    assert!(again.rest == o.rest && again.name.is_none() && again.unit.is_none());
});

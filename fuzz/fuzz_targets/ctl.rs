//! Bytes as configuration requests: decoding, and a shard that obeys all of them, after which it still answers
//! and nothing has leaked. The input is a list: a length byte, then that many bytes of postcard.
#![no_main]

use iopkt_ctl::{Reply, Request};
use libfuzzer_sys::fuzz_target;

#[path = "../../core/inet/tests/common/mod.rs"]
mod common;
use common::*;
use iopkt_base::{Duration, Instant};

/// What decodes is the same after a way there and back.
fn round<T>(b: &[u8]) -> Option<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let v: T = postcard::from_bytes(b).ok()?;
    let bytes = postcard::to_allocvec(&v).expect("a value encodes");
    assert_eq!(postcard::from_bytes::<T>(&bytes).as_ref(), Ok(&v));
    Some(v)
}

fuzz_target!(|data: &[u8]| {
    let _ = round::<Reply>(data);
    let mut h = Host::new(1);
    let (mut rest, mut t) = (data, Instant::from_millis(20_000));
    while let [len, more @ ..] = rest {
        let (piece, next) = more.split_at(usize::from(*len).min(more.len()));
        rest = next;
        if let Some(r) = round::<Request>(piece)
            && let Some(reply) = h.s.ctl(&r)
        {
            let bytes = postcard::to_allocvec(&reply).expect("a reply encodes");
            assert_eq!(postcard::from_bytes::<Reply>(&bytes), Ok(reply));
        }
        t += Duration::from_millis(300);
        h.turn(t, &mut Vec::new());
    }
    assert!(matches!(h.ctl(Request::Interfaces { name: None }), Reply::Interfaces(_)));
    h.end();
});

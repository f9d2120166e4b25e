//! Any bytes as a DNS message: reading ends, names are within their limit, questions can be repeated.
#![no_main]

use iopkt_wire::dns::{Builder, MAX_NAME, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(m) = Message::parse(data) else { return };
    for r in m.answers() {
        let _ = (r.a(), r.aaaa(), r.target().map(|t| t.to_string()), r.name.to_string());
    }
    for q in m.questions() {
        assert!(q.name.labels().map(|l| l.len() + 1).sum::<usize>() < MAX_NAME);
        let mut out = [0; 600];
        let n = Builder::new(&mut out, m.header).expect("room").repeat(&q).finish().expect("a name that was read");
        let again = Message::parse(&out[..n]).expect("own message");
        let p = again.questions().next().expect("the question");
        assert_eq!((p.ty, p.class, p.name.to_string()), (q.ty, q.class, q.name.to_string()));
    }
});

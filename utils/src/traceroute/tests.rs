//! traceroute through routers in memory.

use super::*;
use std::collections::VecDeque;

const TO: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// A way of `hops` routers; the target behind them answers as `end` says.
struct Way<'a> {
    o: &'a Options,
    hops: u8,
    /// Routers that say nothing.
    silent: Vec<u8>,
    /// Type and code of the target's answer.
    end: (u8, u8),
    queue: VecDeque<Message>,
    sent: Vec<(u8, u16)>,
}

const IDENT: u16 = 40_000;

fn quoting(o: &Options, ty: u8, code: u8, seq: u16) -> Vec<u8> {
    let mut p = vec![ty, code, 0, 0, 0, 0, 0, 0];
    let proto = if o.icmp { 1 } else { 17 };
    p.extend_from_slice(&[0x45, 0, 0, 40, 0, 1, 0, 0, 1, proto, 0, 0, 10, 0, 0, 184]);
    p.extend_from_slice(&TO.octets());
    if o.icmp {
        p.extend_from_slice(&[8, 0, 0, 0]);
        p.extend_from_slice(&IDENT.to_be_bytes());
        p.extend_from_slice(&seq.to_be_bytes());
    } else {
        p.extend_from_slice(&IDENT.to_be_bytes());
        p.extend_from_slice(&(o.port + seq).to_be_bytes());
        p.extend_from_slice(&[0, 20, 0, 0]);
    }
    p
}

impl Prober for Way<'_> {
    fn send(&mut self, ttl: u8, seq: u16) -> io::Result<()> {
        self.sent.push((ttl, seq));
        if self.silent.contains(&ttl) {
            return Ok(());
        }
        let (from, icmp) = match (ttl > self.hops, self.end) {
            (false, _) => (Ipv4Addr::new(10, ttl, 0, 1), quoting(self.o, 11, 0, seq)),
            (true, (0, _)) => {
                let mut p = vec![0, 0, 0, 0];
                p.extend_from_slice(&IDENT.to_be_bytes());
                p.extend_from_slice(&seq.to_be_bytes());
                (TO, p)
            }
            (true, (ty, code)) => (TO, quoting(self.o, ty, code, seq)),
        };
        // Somebody else's message comes first.
        let other = quoting(self.o, 11, 0, seq.wrapping_add(9));
        self.queue.push_back(Message { from, ttl: Some(60), icmp: other, options: vec![] });
        self.queue.push_back(Message { from, ttl: Some(60), icmp, options: vec![] });
        Ok(())
    }
    fn recv(&mut self, _: Duration) -> io::Result<Option<Message>> {
        Ok(self.queue.pop_front())
    }
    fn ident(&self) -> u16 {
        IDENT
    }
}

fn trace(line: &str, hops: u8, silent: &[u8], end: (u8, u8)) -> (Vec<Hop>, Vec<(u8, u16)>) {
    let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    let o = Options::parse(&words).expect("good").expect("no help");
    let mut w = Way { o: &o, hops, silent: silent.into(), end, queue: VecDeque::new(), sent: vec![] };
    let mut name = |a: Ipv4Addr| (a.octets()[1] == 1).then(|| "first.test".to_string());
    let mut r = Run { p: &mut w, o: &o, to: TO, name: &mut name };
    let (mut list, mut seq) = (Vec::new(), 0);
    for ttl in o.ttl.0..=o.ttl.1 {
        let (h, end) = r.hop(ttl, &mut seq).expect("no error");
        list.push(h);
        if end {
            break;
        }
    }
    (list, w.sent)
}

fn flags(h: &Hop) -> Vec<Option<&str>> {
    h.probes.iter().map(|p| p.as_ref().map(|p| p.flag.as_str())).collect()
}

#[test]
fn it_goes_to_the_target_and_no_further() {
    for (line, end) in [("x", (3, 3)), ("-I x", (0, 0))] {
        let (hops, sent) = trace(line, 2, &[], end);
        assert_eq!(hops.len(), 3, "{line}");
        assert_eq!(sent.iter().map(|s| s.0).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 2, 3, 3, 3]);
        assert_eq!(sent.iter().map(|s| s.1).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
        let first = hops[0].probes[0].as_ref().expect("answered");
        assert_eq!(
            (first.address.as_str(), first.name.as_deref(), first.ttl),
            ("10.1.0.1", Some("first.test"), Some(60))
        );
        assert_eq!(flags(&hops[2]), [Some(""); 3]);
    }
}

#[test]
fn silence_and_dead_ends() {
    let (hops, _) = trace("-q 1 -w 0.01 x", 2, &[1], (3, 3));
    assert_eq!((flags(&hops[0]), hops.len()), (vec![None], 3));
    for (code, want) in [(0, "!N"), (1, "!H"), (2, "!P"), (13, "!X"), (99, "!<99>")] {
        let (hops, _) = trace("-q 2 x", 1, &[], (3, code));
        assert_eq!((flags(&hops[1]), hops.len()), (vec![Some(want); 2], 2));
    }
    assert_eq!(mark(4, 1400), "!F-1400");
    // Nobody at all: the last time to live ends it.
    assert_eq!(trace("-q 1 -m 4 -f 2 -w 0.01 x", 9, &[2, 3, 4], (3, 3)).0.len(), 3);
}

#[test]
fn probes_of_others_are_not_ours() {
    let o = Options::parse(&["x".to_string()]).expect("good").expect("no help");
    let m = |icmp: Vec<u8>| Message { from: TO, ttl: None, icmp, options: vec![] };
    assert_eq!(said(&m(quoting(&o, 11, 0, 5)), &o, TO, IDENT, 5), Some(Said::Exceeded));
    assert_eq!(said(&m(quoting(&o, 11, 0, 5)), &o, TO, IDENT, 6), None, "another probe");
    assert_eq!(said(&m(quoting(&o, 11, 0, 5)), &o, TO, IDENT + 1, 5), None, "another program");
    assert_eq!(said(&m(quoting(&o, 11, 0, 5)), &o, Ipv4Addr::LOCALHOST, IDENT, 5), None, "another target");
    assert_eq!(said(&m(quoting(&o, 11, 1, 5)), &o, TO, IDENT, 5), None, "reassembly");
    assert_eq!(said(&m(vec![0, 0, 0, 0, 1, 2, 3, 4]), &o, TO, IDENT, 5), None, "an echo reply");
    let whole = quoting(&o, 3, 3, 5);
    for n in 0..whole.len() {
        let _ = said(&m(whole[..n].to_vec()), &o, TO, IDENT, 5);
    }
}

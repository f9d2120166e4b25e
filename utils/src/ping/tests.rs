//! ping against a far side in memory.

use super::*;
use std::collections::VecDeque;

const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Makes a message of a request.
type Answer = fn(&[u8]) -> std::io::Result<Message>;

/// Answers every request but those whose number is in `lose`; says some things twice.
#[derive(Default)]
struct Far {
    lose: Vec<u16>,
    twice: Vec<u16>,
    queue: VecDeque<std::io::Result<Message>>,
    asked: u32,
    /// Makes the answer to a request, instead of an echo.
    answer: Option<Answer>,
}

fn echo(icmp: &[u8]) -> Message {
    let mut a = icmp.to_vec();
    a[0] = 0;
    Message { from: FAR, ttl: Some(64), icmp: a, options: Vec::new() }
}

impl EchoSocket for Far {
    fn hears_all(&self) -> bool {
        true
    }

    fn send(&mut self, _: Ipv4Addr, icmp: &[u8]) -> std::io::Result<()> {
        assert_eq!(checksum(icmp), 0);
        self.asked += 1;
        let seq = u16::from_be_bytes([icmp[6], icmp[7]]);
        for _ in 0..1 + usize::from(self.twice.contains(&seq)) {
            if !self.lose.contains(&seq) {
                self.queue.push_back(self.answer.map_or_else(|| Ok(echo(icmp)), |f| f(icmp)));
            }
        }
        Ok(())
    }

    fn recv(&mut self, _: Duration) -> std::io::Result<Option<Message>> {
        self.queue.pop_front().transpose()
    }
}

fn options(line: &str) -> Options {
    let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    Options::parse(&words).expect("good").expect("no help")
}

fn go(f: &mut Far, line: &str) -> Outcome {
    let o = options(line);
    let mut w =
        World { signal: &mut || None, name: &mut |a| format!("gw ({a})"), random: &mut |b| b.fill(7) };
    run(f, &o, "10.1", FAR, &mut w)
}

fn quoting(ty: u8, code: u8, request: &[u8]) -> Message {
    let mut p = vec![ty, code, 0, 0, 0, 0, 0, 0];
    let mut ip = vec![0x45, 0, 0, 84, 0, 1, 0, 0, 1, 1, 0, 0, 10, 0, 0, 184];
    ip.extend_from_slice(&FAR.octets());
    p.extend_from_slice(&ip);
    p.extend_from_slice(&request[..8]);
    Message { from: Ipv4Addr::new(10, 0, 0, 254), ttl: Some(64), icmp: p, options: Vec::new() }
}

/// What a run prints for one message.
fn printed(line: &str, m: impl Fn(&[u8]) -> Message) -> (String, Tally) {
    let (o, mut s) = (options(line), Far::default());
    let data: Vec<u8> = (0..o.size).map(|i| i as u8).collect();
    let start = Instant::now();
    let seen = vec![false; 65_536];
    let t = Tally { sent: 3, ..Tally::default() };
    let mut r = Run {
        s: &mut s,
        o: &o,
        to: FAR,
        id: 1,
        start,
        t,
        seen,
        data,
        last_route: vec![],
        out: String::new(),
    };
    let m = m(&request(1, 2, start, &r.data));
    let mut w = World { signal: &mut || None, name: &mut |a| format!("gw ({a})"), random: &mut |_| {} };
    r.message(&m, &mut w);
    r.message(&m, &mut w);
    (r.out.clone(), r.t)
}

#[test]
fn exit_codes_tell_whether_anybody_answered() {
    let fast = "-c 3 -i 0 -W 0 10.1";
    let mut f = Far { twice: vec![1], ..Far::default() };
    assert_eq!((go(&mut f, fast), f.asked), (Ok(0), 3));
    assert_eq!(go(&mut Far { lose: vec![0], ..Far::default() }, "-c 3 -i 0 -W 0 -s 0 x"), Ok(0));
    assert_eq!(go(&mut Far { lose: vec![0, 1, 2], ..Far::default() }, fast), Ok(1));
    // The stack will not send it: 2, and the next is tried all the same.
    let mut f =
        Far { answer: Some(|_| Err(std::io::Error::from_raw_os_error(libc::ENETUNREACH))), ..Far::default() };
    assert_eq!((go(&mut f, fast), f.asked), (Ok(2), 3));
    // The stack is gone.
    let mut f =
        Far { answer: Some(|_| Err(std::io::Error::from_raw_os_error(libc::ECONNRESET))), ..Far::default() };
    assert_eq!(go(&mut f, fast).map_err(|e| e.code), Err(2));
    // A router says no: nobody answered.
    let mut f = Far { answer: Some(|r| Ok(quoting(3, 1, r))), ..Far::default() };
    assert_eq!(go(&mut f, fast), Ok(1));
}

#[test]
fn counts_and_ends() {
    let mut f = Far::default();
    assert_eq!((go(&mut f, "-o -i 0 x"), f.asked), (Ok(0), 1));
    let mut f = Far::default();
    assert_eq!((go(&mut f, "-c 5 -l 3 -f x"), f.asked), (Ok(0), 5));
    let mut f = Far { lose: (0..1000).collect(), ..Far::default() };
    assert_eq!(go(&mut f, "-w 0.05 -i 0.01 x"), Ok(1));
    let mut said = [Some(Signal::Status), Some(Signal::Stop)].into_iter();
    let o = options("-i 0 x");
    let mut w =
        World { signal: &mut || said.next().flatten(), name: &mut |a| a.to_string(), random: &mut |_| {} };
    assert_eq!(run(&mut Far::default(), &o, "x", FAR, &mut w), Ok(0));
}

#[test]
fn lines_in_bsd_words() {
    let (out, t) = printed("10.1", echo);
    let l: Vec<&str> = out.lines().collect();
    assert!(
        l[0].starts_with("64 bytes from 10.0.0.1: icmp_seq=2 ttl=64 time=") && l[0].ends_with(" ms"),
        "{out}"
    );
    assert!(l[1].ends_with(" ms DUP!"), "{out}");
    let s = t.summary("10.1", true);
    assert!(
        s.contains("3 packets transmitted, 1 packets received, +1 duplicates, 66.7% packet loss\n"),
        "{s}"
    );
    assert!(s.contains("round-trip min/avg/max/stddev = "));
    assert!(t.line(true).starts_with("1/3 packets, 66.7% loss, min/avg/max = "));
    let t = Tally { sent: 3, received: 3, ..Tally::default() };
    assert!(t.summary("x", false).contains("3 packets transmitted, 3 packets received, 0% packet loss\n"));
    assert_eq!(printed("-q x", echo).0, "");
    assert!(printed("-a x", echo).0.contains("\n\x07"));
}

#[test]
fn errors_are_ours_when_they_quote_us() {
    let (out, t) = printed("10.1", |r| quoting(11, 0, r));
    assert!(
        out.starts_with("36 bytes from gw (10.0.0.254): Time to live exceeded for icmp_seq=2\n"),
        "{out}"
    );
    assert!(t.summary("x", true).contains(", +2 errors, 100% packet loss"));
    assert!(
        printed("-n x", |r| quoting(3, 1, r))
            .0
            .starts_with("36 bytes from 10.0.0.254: Destination Host Unreachable")
    );
    let (out, _) = printed("-v x", |r| quoting(3, 1, r));
    assert!(
        out.contains("Vr HL TOS  Len   ID Flg  off TTL Pro  cks      Src      Dst Data\n 4  5  00 0054 0001"),
        "{out}"
    );
    assert_eq!(printed("-Q x", |r| quoting(11, 0, r)).0, "");
    // Somebody else's.
    let other = |r: &[u8]| {
        let mut m = quoting(11, 0, r);
        m.icmp[8 + 20 + 5] = 9;
        m
    };
    assert_eq!(printed("x", other).0, "");
    assert!(printed("-v x", other).0.starts_with("36 bytes from gw (10.0.0.254): Time to live exceeded\n"));
}

#[test]
fn damaged_and_foreign_answers() {
    let hurt = |r: &[u8]| {
        let mut m = echo(r);
        m.icmp[20] = 0xee;
        m
    };
    assert!(printed("x", hurt).0.contains("\nwrong data byte #12 should be 0x0c but was 0xee\n"));
    let cut = |r: &[u8]| Message { icmp: echo(r).icmp[..40].to_vec(), ..echo(r) };
    assert!(printed("x", cut).0.contains(" (wrong data length)"));
    for junk in [&[][..], &[0; 7], &[8; 20], &[0, 0, 0, 0, 0, 9, 0, 0], &[3, 1, 0], &[0, 0, 0, 0, 0, 1, 0, 3]]
    {
        let m = |_: &[u8]| Message { from: FAR, ttl: None, icmp: junk.to_vec(), options: vec![] };
        assert_eq!(printed("x", m).0, "", "{junk:?}");
    }
}

#[test]
fn routes_are_shown_once() {
    let m = |r: &[u8]| {
        let mut options = text::record_route();
        options[2] = 12;
        options[3..11].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        Message { options, ..echo(r) }
    };
    let (out, _) = printed("-R x", m);
    assert!(
        out.contains(" ms\nRR: \t10.0.0.1\n\t10.0.0.2\n") && out.ends_with(" DUP!\t(same route)\n"),
        "{out}"
    );
    assert!(!printed("x", m).0.contains("RR"));
}

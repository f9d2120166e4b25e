//! The language: what is understood, what is refused and how, and that nothing makes the parser or the runner panic.

use iopkt_script::ast::{Action, Body, Expr, Opt, Time};
use iopkt_script::{Options, parse, run};
use proptest::prelude::*;

fn fails(text: &str, line: u32, what: &str) {
    let f = run(text, &Options::default()).expect_err(text);
    assert_eq!(f.line, line, "{f}");
    assert!(f.what.contains(what), "{f}");
}

#[test]
fn packets_and_times_are_read() {
    let s = parse::script(
        "--tolerance_usecs=10\n+.1~+.25 > [ect0] P. 1:11(10) ack 5 win 3 <nop,nop,TS val 1 ecr 2,sack 1:2 3:4>",
    )
    .unwrap();
    assert_eq!(s.options, [("tolerance_usecs".to_string(), "10".to_string())]);
    assert_eq!(s.events[0].time, Time::Range(100_000, 250_000, true));
    let Action::Out(p) = &s.events[0].action else { panic!() };
    let Body::Tcp(t) = &p.body else { panic!() };
    assert_eq!((p.ecn, t.flags, t.seq, t.len, t.ack, t.win), (Some(2), 0x18, 1, 10, Some(5), Some(3)));
    let opts = [Opt::Nop, Opt::Nop, Opt::Ts(1, 2), Opt::Sack(vec![(1, 2), (3, 4)])];
    assert_eq!(t.options.as_deref(), Some(&opts[..]));
}

#[test]
fn calls_are_read() {
    let s = parse::script("0...0.5 sendmsg(3, {msg_name(...)=..., msg_iov(1)=[{..., 40}]}, MSG_DONTWAIT|0x80) = -1 EAGAIN (note)\n").unwrap();
    let Action::Call { name, args, result, errno, until } = &s.events[0].action else { panic!() };
    assert_eq!((name.as_str(), result, errno.as_deref()), ("sendmsg", &Expr::Int(-1), Some("EAGAIN")));
    assert_eq!((*until, &args[2]), (Some(500_000), &Expr::Int(0xc0)));
}

#[test]
fn what_the_stack_does_otherwise_is_told_with_its_line() {
    let open = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n+0 < S 0:0(0) win 1000 <mss 1000>\n";
    fails(&format!("{open}+0 > S. 0:0(0) ack 2 <mss 1460>\n"), 5, "acknowledgment: expected 2, got 1");
    fails(&format!("{open}+0 > S. 0:0(0) ack 1 <mss 1459>\n"), 5, "options differ");
    fails(&format!("{open}+.5 > S. 0:0(0) ack 1 <mss 1460>\n"), 5, "time: expected 0.500000, got 0.000000");
    fails(&format!("{open}+0 > S. 0:0(0) ack 1 <...>\n+0 > . 1:1(0) ack 1\n"), 6, "nothing was sent");
    fails(open, 4, "the script is over, and the stack had sent");
    fails("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = -1 ENFILE\n", 1, "expected -1 ENFILE, got 3");
    fails("0 listen(7, 1) = 0\n", 1, "EBADF");
    fails("0 listen(7, 1) = -1 EINVAL\n", 1, "expected errno EINVAL, got -1 EBADF");
    let conn = format!(
        "{open}+0 > S. 0:0(0) ack 1 <...>\n+0 < . 1:1(0) ack 1 win 1000\n+0 accept(3, ..., ...) = 4\n"
    );
    fails(&format!("{conn}+0 read(4, ..., 10) = 0\n"), 8, "blocks");
    fails(
        &format!("{conn}+0...0.1 read(4, ..., 10) = 5\n+.1 < P. 1:11(10) ack 1 win 1000\n"),
        9,
        "line 8 read: expected 5, got 10",
    );
    fails(&format!("{conn}+0 %{{ assert tcpi_snd_mss == 1 }}%\n"), 8, "tcpi_snd_mss is 1000");
    fails(&format!("{conn}+0 `rm -rf x`\n"), 8, "only sysctl is understood");
}

#[test]
fn nonsense_is_refused_by_line() {
    for (text, line, what) in [
        ("0 > S 0:5(4)", 1, "is not 4 bytes"),
        ("0 < S 0:0(0)", 1, "has a window"),
        ("\n\n+0 frob(3) = 0", 3, "not known here"),
        ("0 socket(NOPE|1, 2, 3) = 3", 1, "NOPE is no known constant"),
        ("0 > Q 0:0(0)", 1, "no flag of TCP"),
        ("0 `sysctl", 1, "has no end"),
        ("0 /* never", 1, "has no end"),
        ("0 > . 0:0(0) ack 1 <frob 3>", 1, "no option"),
        ("--ip_version=ipv6\n0 socket(2, 1, 6) = 3", 1, "ip_version"),
        ("--mtu=x\n0 socket(2, 1, 6) = 3", 1, "not a number"),
        ("0~+1 > . 0:0(0) ack 1", 1, "both ends"),
    ] {
        fails(text, line, what);
    }
    let deep = format!("0 socket({}) = 3", "[".repeat(5000));
    fails(&deep, 1, "nested too deep");
}

/// Words that scripts are made of.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "0",
            "+0",
            "+.1",
            "0.5",
            "*",
            "~",
            "...",
            "<",
            ">",
            "S",
            "S.",
            "P.",
            "F.",
            "R",
            ".",
            "-",
            "0:0(0)",
            "1:11(10)",
            "ack",
            "win",
            "urg",
            "1",
            "65535",
            "4294967295",
            "<mss 1000>",
            "<...>",
            "<nop,nop,TS val 1 ecr 2>",
            "<sack 1:2>",
            "[ect0]",
            "icmp",
            "unreachable",
            "frag_needed",
            "mtu",
            "udp",
            "(100)",
            "socket",
            "(",
            ")",
            ",",
            "=",
            "3",
            "-1",
            "EAGAIN",
            "accept(3, ..., ...)",
            "write(4, ..., 10)",
            "{",
            "}",
            "[",
            "]",
            "`",
            "\"",
            "%{",
            "}%",
            "assert 1",
            "//",
            "/*",
            "*/",
            "\n",
            "|",
            "AF_INET",
            "read(4, ..., 1)",
            "= 3\n",
            "+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n",
            "+0 bind(3, ..., ...) = 0\n",
            "+0 listen(3, 1) = 0\n",
            "+0 < S 0:0(0) win 1000 <mss 1000>\n",
        ])
        .prop_map(str::to_string),
        "[a-zA-Z0-9é]{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = parse::script(&text);
    }

    #[test]
    fn any_words_run_or_are_refused(words in prop::collection::vec(word(), 0..40)) {
        let text = words.join(" ");
        let _ = run(&text, &Options::default());
    }
}

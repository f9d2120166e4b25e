//! The command line, case by case.

use iopkt_runtime::cmdline::{Command, Config, Load, Tcpip, User, Variant, Who, parse};

const V4: Variant = Variant { name: "io-pkt-v4", about: "small", hc: false, v6: false, note: "" };
const V4HC: Variant = Variant { name: "io-pkt-v4-hc", about: "full", hc: true, v6: false, note: "" };
const V6HC: Variant = Variant { name: "io-pkt-v6-hc", about: "both", hc: true, v6: true, note: "IPv6 later" };

fn run(words: &str) -> Config {
    match parse(&V4HC, words.split_whitespace()) {
        Ok(Command::Run(c)) => *c,
        other => panic!("{words}: {other:?}"),
    }
}

fn refused(v: &Variant, words: &str) -> String {
    match parse(v, words.split_whitespace()) {
        Err(e) => e.to_string(),
        other => panic!("{words}: {other:?}"),
    }
}

fn load(name: &str, options: &str) -> Load {
    Load { name: name.into(), options: options.into() }
}

#[test]
fn nothing_is_a_valid_command_line() {
    assert_eq!(run(""), Config::default());
}

#[test]
fn documented_command_lines() {
    assert_eq!(run("-d ecm verbose -ptcpip").drivers, [load("ecm", "verbose")]);
    let c = run("-i1 -ptcpip prefix=/alt");
    assert_eq!((c.instance, c.tcpip.prefix.as_str()), (Some(1), "/alt"));
    let c = run("-d i82544 -d/lib/dll/devnp-e1000.so name=eth,pci=0 -p tcpip random");
    assert_eq!(c.drivers, [load("i82544", ""), load("/lib/dll/devnp-e1000.so", "name=eth,pci=0")]);
    assert!(c.tcpip.random);
    let c = run("-t2 -d my_board priority=20,pci=0 -d my_board priority=50,pci=1");
    assert_eq!((c.threads, c.drivers.len()), (Some(2), 2));
    assert_eq!(c.drivers[1], load("my_board", "priority=50,pci=1"));
    let c = run("-drum did=0x0020,vid=0x13b1,devno=1,busno=1");
    assert_eq!(c.drivers, [load("rum", "did=0x0020,vid=0x13b1,devno=1,busno=1")]);
}

#[test]
fn protocols_by_name_and_by_path() {
    let c = run("-p autoip if=en0,debug -p/lib/dll/lsm-slip.so -d ecm -pqnet -p tcpip random -p lsm-x.so");
    let want = [
        load("autoip", "if=en0,debug"),
        load("/lib/dll/lsm-slip.so", ""),
        load("qnet", ""),
        load("lsm-x.so", ""),
    ];
    assert_eq!(c.modules, want);
    assert!(c.tcpip.random && c.drivers == [load("ecm", "")]);
}

#[test]
fn glued_spaced_and_shared_words_mean_the_same() {
    for words in ["-v -S -i 3 -t 2 -P 21", "-vS -i3 -t2 -P21", "-Svi3 -t2 -vP 21", "-P0x15 -t 2 -S -v -i 0x3"]
    {
        let c = run(words);
        assert!(c.verbose && c.no_crash_handler, "{words}");
        assert_eq!((c.instance, c.threads, c.priority), (Some(3), Some(2), Some(21)), "{words}");
    }
    assert_eq!(run("-vdecm -S").drivers, [load("ecm", "")]);
    assert!(run("--foreground").foreground);
}

#[test]
fn an_option_list_never_begins_with_a_dash() {
    assert_eq!(
        run("-d ecm -v"),
        Config { drivers: vec![load("ecm", "")], verbose: true, ..Config::default() }
    );
    assert_eq!(run("-d ecm --foreground").drivers, [load("ecm", "")]);
    let e = refused(&V4HC, "-d -v");
    assert!(e.contains("-d needs the name of a driver, not the flag -v"), "{e}");
}

#[test]
fn later_tcpip_options_win_and_lists_add_up() {
    let c = run("-ptcpip prefix=/a,enmap -p tcpip prefix=/b,mclbytes=4096 -ptcpip mclbytes=8192");
    let want = Tcpip { prefix: "/b".into(), no_enmap: true, mclbytes: Some(8192), ..Tcpip::default() };
    assert_eq!(c.tcpip, want);
}

#[test]
fn every_option_with_an_effect() {
    let c = run(
        "-ptcpip somaxconn=5000,reuseport_unicast,enmap,mclbytes=0x1000,mbuf_cache=10,pkt_cache=1024,random,rx_prio=30",
    );
    let want = Tcpip {
        prefix: String::new(),
        somaxconn: Some(5000),
        reuseport_unicast: true,
        no_enmap: true,
        mclbytes: Some(4096),
        pkt_cache: Some(1024),
        random: true,
        rx_prio: Some(30),
        ..Tcpip::default()
    };
    assert_eq!(c.tcpip, want);
    let c = run(
        "-ptcpip bigpage_strict,cache=0,confstr_monitor,pagesize=65536,pkt_typed_mem=/ram/dma,recv_ctxt=2048,\
         so_txprio_enable,stacksize=8192,threads_incr=1,threads_max=1000,threads_min=4,timer_pulse_prio=22",
    );
    let want = Tcpip {
        bigpage_strict: true,
        no_cache: true,
        confstr_monitor: true,
        pagesize: Some(65_536),
        typed_mem: Some("/ram/dma".into()),
        recv_ctxt: Some(2048),
        so_txprio: true,
        stacksize: Some(8192),
        threads_incr: Some(1),
        threads_max: Some(1000),
        threads_min: Some(4),
        timer_prio: Some(22),
        ..Tcpip::default()
    };
    assert_eq!(c.tcpip, want);
    assert_eq!(run("-ptcpip rx_pulse_prio=50").tcpip.rx_prio, Some(50));
    assert_eq!(run("-ptcpip rx_prio_pulse=50").tcpip.rx_prio, Some(50));
}

#[test]
fn prefixes_are_tidied_and_checked() {
    for (given, want) in
        [("/alt", "/alt"), ("/alt/", "/alt"), ("//a//b/", "/a/b"), ("/", ""), ("", ""), ("/./a", "/a")]
    {
        assert_eq!(run(&format!("-ptcpip prefix={given}")).tcpip.prefix, want);
    }
    for bad in ["alt", "/a/../b", "..", &format!("/{}", "x".repeat(64))] {
        assert!(refused(&V4HC, &format!("-ptcpip prefix={bad}")).contains("absolute path"), "{bad}");
    }
    assert!(refused(&V4HC, "-ptcpip prefix").contains("absolute path"));
}

#[test]
fn known_options_without_effect_are_refused_by_name() {
    for o in ["fastforward=0", "fastforward=1", "forward", "ipsec", "pfil_ipsec"] {
        let e = refused(&V4HC, &format!("-p tcpip {o}"));
        let name = o.split('=').next().unwrap();
        assert!(e.contains(&format!("'{name}'")) && e.contains("not in this build"), "{o}: {e}");
    }
    for (v, p) in [(&V4HC, "pf-v6"), (&V6HC, "pf-v4"), (&V6HC, "slip"), (&V6HC, "/lib/dll/lsm-slip.so")] {
        assert!(refused(v, &format!("-p {p}")).contains(&format!("not with {}", v.name)), "{p}");
    }
    for f in ["-q 5", "-r9", "-u x", "-w1", "-vq"] {
        assert!(refused(&V4HC, f).contains("not in this build"), "{f}");
    }
}

#[test]
fn options_of_other_variants_name_the_variant() {
    for o in ["ipsec", "pfil_ipsec"] {
        assert!(
            refused(&V4, &format!("-p tcpip {o}"))
                .contains("not in io-pkt-v4; use io-pkt-v4-hc or io-pkt-v6-hc")
        );
    }
    for v in [&V4, &V4HC] {
        assert!(refused(v, "-p tcpip forward6").contains("use io-pkt-v6-hc"));
    }
}

#[test]
fn values_are_checked_for_kind_and_range() {
    for (o, why) in [
        ("somaxconn", "4096 to 1048576"),
        ("somaxconn=", "4096 to 1048576"),
        ("somaxconn=128", "4096 to 1048576"),
        ("somaxconn=5000000", "4096 to 1048576"),
        ("somaxconn=-1", "4096 to 1048576"),
        ("somaxconn=+5000", "4096 to 1048576"),
        ("somaxconn=5000x", "4096 to 1048576"),
        ("somaxconn=99999999999999999999999", "4096 to 1048576"),
        ("somaxconn=0x", "4096 to 1048576"),
        ("mclbytes=1024", "2048 to 65536 that is a power of two"),
        ("mclbytes=3000", "power of two"),
        ("mclbytes=131072", "2048 to 65536"),
        ("mbuf_cache=65537", "0 to 65536"),
        ("pkt_cache=a", "0 to 65536"),
        ("rx_prio=0", "1 to 63"),
        ("rx_prio=64", "1 to 63"),
        ("random=1", "takes no value"),
        ("enmap=0", "takes no value"),
        ("reuseport_unicast=", "takes no value"),
        ("cache=2", "the value 0"),
        ("cache", "the value 0"),
        ("fastforward=2", "0 to 1"),
        ("recv_ctxt=1024", "2048 to"),
        ("threads_min=3", "4 to"),
        ("stacksize=big", "4096 to"),
        ("pkt_typed_mem", "needs a value"),
        ("pkt_typed_mem=", "needs a value"),
        ("pagesize=5000", "4096 to 16777216 that is a power of two"),
        ("recv_ctxt=2000000", "2048 to 1048576"),
        ("threads_max=3", "4 to 65536"),
        ("threads_incr=0", "1 to 65536"),
        ("timer_pulse_prio=64", "1 to 63"),
        ("so_txprio_enable=1", "takes no value"),
        ("bigpage_strict=1", "takes no value"),
        ("confstr_monitor=1", "takes no value"),
    ] {
        let e = refused(&V4HC, &format!("-p tcpip {o}"));
        assert!(e.contains(why) && e.contains(&format!("'{o}'")), "{o}: {e}");
    }
}

#[test]
fn unknown_words_are_named() {
    assert!(refused(&V4HC, "-p tcpip a,,b").contains("empty option"));
    assert!(refused(&V4HC, "-p tcpip enmap,").contains("empty option"));
    assert!(refused(&V4HC, "-p tcpip =3").contains("empty option"));
    assert!(refused(&V4HC, "-x").contains("unknown flag -x"));
    assert!(refused(&V4HC, "-vx").contains("unknown flag -x in -vx"));
    assert!(refused(&V4HC, "--frobnicate").contains("--frobnicate"));
    assert!(refused(&V4HC, "--").contains("no meaning"));
    assert!(refused(&V4HC, "-").contains("unexpected word '-'"));
    assert!(refused(&V4HC, "ecm").contains("unexpected word 'ecm'; drivers are named with -d"));
    assert!(refused(&V4HC, "-v ecm").contains("drivers are named with -d"));
    assert!(refused(&V4HC, "-d e1000 name=eth pci=0").contains("write name=eth,pci=0"));
    assert!(refused(&V4HC, "-de1000 name=eth pci=0").contains("write name=eth,pci=0"));
}

#[test]
fn unknown_tcpip_options_are_kept_for_the_log() {
    let c = run("-p tcpip prefx=/a,random,zzzzzzzz");
    assert!(c.tcpip.random);
    assert_eq!(
        c.tcpip.unknown,
        [
            "-p tcpip: unknown option 'prefx'; did you mean 'prefix'?",
            "-p tcpip: unknown option 'zzzzzzzz'; --help lists them"
        ]
    );
}

#[test]
fn options_that_contradict_each_other() {
    let e = refused(&V4HC, "-ptcpip threads_max=10 -ptcpip threads_min=20");
    assert!(e.contains("'threads_max=10' is less than 'threads_min=20'"), "{e}");
    // The default floor gives way to a ceiling below it.
    assert_eq!(run("-ptcpip threads_max=5").tcpip.threads_max, Some(5));
}

#[test]
fn flags_of_qnx_7() {
    let c = run("-DI -U33:33 -p tcpip");
    assert!(c.stack_thread && c.no_io);
    for (text, who, gid, groups) in [
        ("33", Who::Uid(33), None, &[][..]),
        ("33:34", Who::Uid(33), Some(34), &[]),
        ("33:34,5,6", Who::Uid(33), Some(34), &[5, 6]),
        ("net-user", Who::Name("net-user".into()), None, &[]),
        ("net,5", Who::Name("net".into()), None, &[5]),
    ] {
        let want = User { who, gid, groups: groups.to_vec() };
        assert_eq!(run(&format!("-U {text}")).user, Some(want.clone()), "{text}");
        assert_eq!(run(&format!("-SU{text}")).user, Some(want), "{text}");
    }
    for bad in [
        "33,5",
        ":3",
        "3:",
        "a:b",
        "3:x",
        "net,x",
        "net,",
        "-1",
        "4294967295",
        "1,2,3",
        "3a",
        "net:5",
        "0:1,2,3,4,5,6,7,8,9,10",
    ] {
        let e = refused(&V4HC, &format!("-U {bad}"));
        assert!(e.contains(&format!("-U {bad}: ")) && e.contains("uid[:gid[,gid]...]"), "{e}");
    }
    assert!(refused(&V4HC, "-U").contains("needs a user"));
}

#[test]
fn missing_and_bad_arguments() {
    for f in ["-d", "-p", "-i", "-P", "-t", "-vd"] {
        assert!(refused(&V4HC, f).contains("needs"), "{f}");
    }
    assert!(matches!(parse(&V4HC, ["-d", ""]), Err(e) if e.0.contains("needs the name of a driver")));
    for (f, range) in [
        ("-t 0", "1 to 64"),
        ("-t65", "1 to 64"),
        ("-t two", "1 to 64"),
        ("-t -1", "1 to 64"),
        ("-i x", "0 to 4294967295"),
        ("-i 4294967296", "0 to 4294967295"),
        ("-P 0", "1 to 63"),
        ("-P64", "1 to 63"),
    ] {
        assert!(refused(&V4HC, f).contains(range), "{f}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let word = std::ffi::OsStr::from_bytes(b"-d\xff");
    assert!(parse(&V4HC, [word]).unwrap_err().0.contains("not UTF-8"));
}

#[test]
fn help_and_version_win_over_what_follows() {
    let text = |v, w: &str| match parse(v, w.split_whitespace()) {
        Ok(Command::Print(t)) => t,
        other => panic!("{other:?}"),
    };
    let h = text(&V6HC, "-v --help --nonsense");
    assert!(h.starts_with("usage: io-pkt-v6-hc ") && h.contains("IPv6 later") && h.contains(" forward6"));
    assert!(!text(&V4, "--help").contains("ipsec"));
    assert!(text(&V4, "--version").starts_with("io-pkt-v4 "));
    for word in ["-d", "-i", "-P", "-p", "-S", "-t", "-v", "--foreground", "prefix=PATH", "somaxconn=N"] {
        assert!(h.contains(word), "{word}");
    }
    assert!(h.lines().all(|l| l.len() <= 110), "{h}");
}

proptest::proptest! {
    #[test]
    fn any_words_give_a_config_or_one_line(words: Vec<String>) {
        if let Err(e) = parse(&V4HC, words) {
            proptest::prop_assert!(!e.0.is_empty() && !e.0.contains(char::is_control));
        }
    }

    #[test]
    fn any_option_list_gives_a_config_or_one_line(list in "[a-z_0-9=,/.]{0,40}") {
        if let Err(e) = parse(&V6HC, ["-p", "tcpip", &list]) {
            proptest::prop_assert!(e.0.starts_with("-p tcpip"));
        }
    }
}

//! Command lines against a stack that answers from a script.

use super::*;
use crate::tool::fake::Fake;
use iopkt_base::Errno;
use iopkt_ctl::{AddrInfo, AddrState, IfCounters, IfKind, iff};
use proptest::prelude::*;

/// The reference's Ethernet interface (section 4.3).
pub(crate) fn wm0() -> Ifconf {
    let addr = |a: &str, prefix_len, broadcast: Option<&str>| AddrInfo {
        addr: a.parse().expect("address"),
        prefix_len,
        broadcast: broadcast.map(|b| b.parse().expect("address")),
        peer: None,
        state: AddrState::Valid,
    };
    Ifconf {
        name: "wm0".into(),
        alias: Some("en0".into()),
        index: 17,
        kind: IfKind::Ethernet,
        flags: 0x8843,
        mtu: 1500,
        metric: 0,
        caps_rx: 7,
        caps_tx: 0x3f,
        enabled_rx: 0,
        enabled_tx: 0,
        mac: [0x52, 0x54, 0, 0x5d, 0x43, 0xbb],
        link: LinkState::Up,
        speed_rx: 1_000_000_000,
        speed_tx: 1_000_000_000,
        media: true,
        media_words: Vec::new(),
        media_now: iopkt_ctl::IFM_ETHER,
        full_duplex: true,
        driver: "e1000".into(),
        addrs: vec![
            addr("192.168.56.101", 24, Some("192.168.56.255")),
            addr("fe80::5054:ff:fe5d:43bb", 64, None),
        ],
        lives: Vec::new(),
        counters: IfCounters { ipackets: 1, ibytes: 60, obytes: 3 << 20, ..Default::default() },
    }
}

fn go(fake: &mut Fake, line: &str) -> Outcome {
    let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    run(fake, &args)
}

fn one() -> Fake {
    Fake::with([Reply::Interfaces(vec![wm0()])])
}

#[test]
fn changes_are_asked_for() {
    let mut f = Fake::default();
    assert_eq!(go(&mut f, "ecm0 down"), Ok(0));
    assert_eq!(f.asked, [Request::SetFlags { name: "ecm0".into(), set: 0, clear: 1 }]);
}

#[test]
fn the_stacks_errors_name_the_interface() {
    for (errno, want) in [
        (Errno::ENXIO, "x0: Device not configured"),
        (Errno::EEXIST, "x0: File exists"),
        (Errno::EPERM, "x0: Operation not permitted"),
        (Errno::EACCES, "x0: Permission denied"),
    ] {
        for line in ["x0", "x0 up", "x0 create", "x0 10.1", "-s x0", "-z x0"] {
            assert_eq!(go(&mut Fake::with([Reply::err(errno)]), line), Err(Failure::new(want)), "{line}");
        }
    }
}

#[test]
fn usage_errors_do_not_reach_the_stack() {
    let mut f = Fake::default();
    for line in [
        "-x",
        "-a mtu 5",
        "-a ecm0",
        "ecm0 mtu",
        "-C -l",
        "-C ecm0",
        "-l -v",
        "-l ecm0",
        "-s",
        "-s ecm0 up",
        "-s -v ecm0",
        "-d ecm0",
        "-u ecm0 inet",
        "-v ecm0 up",
        "--nonsense",
    ] {
        let e = go(&mut f, line).expect_err(line);
        assert_eq!(e.code, 1, "{line}");
    }
    assert!(f.asked.is_empty(), "{:?}", f.asked);
}

#[test]
fn carrier_is_an_exit_code() {
    assert_eq!(go(&mut one(), "-s wm0"), Ok(0));
    for (link, want) in [(LinkState::Down, 1), (LinkState::Unknown, 0)] {
        let mut f = Fake::with([Reply::Interfaces(vec![Ifconf { link, ..wm0() }])]);
        assert_eq!(go(&mut f, "-s wm0"), Ok(want));
    }
}

#[test]
fn capabilities_start_from_what_is_enabled() {
    let answer = || Reply::Interfaces(vec![Ifconf { enabled_rx: 2, enabled_tx: 0x21, ..wm0() }]);
    let caps = |line: &str| {
        let mut f = Fake::with([answer()]);
        go(&mut f, line).map(|_| f.asked.pop().expect("asked"))
    };
    let want = |rx, tx| Ok(Request::SetCaps { name: "wm0".into(), rx, tx });
    assert_eq!(caps("wm0 ip4csum"), want(3, 0x21));
    assert_eq!(caps("wm0 udp4csum-tx -tso4"), want(2, 5));
    assert_eq!(caps("wm0 -ip4csum -tcp4csum -tcp6csum"), want(0, 0x20));
    assert_eq!(
        caps("wm0 tcp6csum").expect_err("only one way").message,
        "wm0: tcp6csum: the hardware cannot do that (capabilities rx=7<IP4CSUM,TCP4CSUM,UDP4CSUM> \
         tx=3f<IP4CSUM,TCP4CSUM,UDP4CSUM,TCP6CSUM,UDP6CSUM,TSO4>)"
    );
    assert_eq!(caps("wm0 tcp6csum-tx"), want(2, 0x29));
    assert!(caps("wm0 tso6").is_err());
}

#[test]
fn media_are_chosen_from_what_the_driver_offers() {
    let fdx = 0x26 | 0x0010_0000;
    let answer = || {
        Reply::Interfaces(vec![Ifconf {
            media_words: vec![0x20, 0x23, fdx, 0x1000_0026],
            media_now: 0x20,
            ..wm0()
        }])
    };
    let select = |line: &str| {
        let mut f = Fake::with([answer()]);
        go(&mut f, line).map(|_| f.asked)
    };
    let wants = |line: &str, media| {
        let asked = select(line).unwrap_or_else(|e| panic!("{line}: {}", e.message));
        assert_eq!(asked[1], Request::SetMedia { name: "wm0".into(), media }, "{line}");
    };
    wants("wm0 media 100baseTX mediaopt full-duplex", fdx);
    wants("wm0 mediaopt fdx media 100TX mode auto", fdx);
    wants("wm0 media UTP", 0x23);
    wants("wm0 media 100baseTX instance 1", 0x1000_0026);
    assert_eq!(select("wm0 media auto").map(|a| a.len()), Ok(1), "selected already");
    assert_eq!(
        select("wm0 media 1000baseT").expect_err("not offered").message,
        "wm0: media 1000baseT: the driver does not offer it; it offers: media autoselect; media 10baseT; \
         media 100baseTX mediaopt full-duplex; media 100baseTX instance 1"
    );
    let mut f = Fake::with([Reply::Interfaces(vec![Ifconf { media: false, ..wm0() }])]);
    assert_eq!(
        go(&mut f, "wm0 media auto").expect_err("no media").message,
        "wm0: the driver has no media to select"
    );
    let i = Ifconf { media_words: vec![0x20, fdx], media_now: fdx, ..wm0() };
    let x = Extra { media: true, ..Extra::default() };
    let b = show::block(&i, x);
    assert!(b.contains("\tmedia: Ethernet 100baseTX full-duplex (1000baseT full-duplex)\n"), "{b}");
    assert!(
        b.ends_with(
            "\tsupported Ethernet media:\n\t\tmedia autoselect\n\t\tmedia 100baseTX mediaopt full-duplex\n"
        ),
        "{b}"
    );
}

#[test]
fn what_is_created_is_there_before_it_is_asked_about() {
    let mut f = Fake::with([Reply::Names(vec!["lo1".into()]), Reply::Interfaces(vec![wm0()])]);
    assert_eq!(go(&mut f, "lo1 media auto 127.0.0.2 create up"), Ok(0));
    assert!(matches!(f.asked[0], Request::Create { .. }), "{:?}", f.asked);
    assert!(matches!(f.asked[1], Request::Interfaces { .. }));
    assert!(matches!(f.asked[2], Request::AddAddr { .. }));
    assert!(matches!(f.asked[3], Request::SetFlags { set: iff::UP, .. }));
}

#[test]
fn counters_that_were_zeroed_are_shown() {
    let later = Ifconf { counters: IfCounters { ipackets: 9, ..Default::default() }, ..wm0() };
    let mut f = Fake::with([Reply::Interfaces(vec![wm0()]), Reply::Interfaces(vec![later])]);
    assert_eq!(go(&mut f, "-z wm0"), Ok(0));
    assert_eq!(f.asked[1], Request::ZeroCounters { name: "wm0".into() });
}

#[test]
fn json_has_the_listings_words() {
    let x = Extra { inet: true, inet6: true, link: true, ..Extra::default() };
    let i = wm0();
    let v = serde_json::to_value(json::interface(&i, x)).expect("serialises");
    assert_eq!(v["flag_names"], serde_json::json!(["UP", "BROADCAST", "RUNNING", "SIMPLEX", "MULTICAST"]));
    assert_eq!(v["media"]["active"], "1000baseT full-duplex");
    assert_eq!(v["addresses"][0]["netmask"], "0xffffff00");
    assert_eq!(v["addresses"][1]["family"], "inet6");
    assert!(v["addresses"][1].get("netmask").is_none());
    assert_eq!((&v["status"], &v["address"]), (&"active".into(), &"52:54:00:5d:43:bb".into()));
    let v = serde_json::to_value(json::interface(&i, Extra { inet: true, ..Extra::default() }))
        .expect("serialises");
    assert_eq!((v["addresses"].as_array().map(Vec::len), v["address"].is_null()), (Some(1), true));
}

/// Words of the grammar, values, and what is neither.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "up",
        "down",
        "alias",
        "-alias",
        "delete",
        "netmask",
        "prefixlen",
        "broadcast",
        "arp",
        "-arp",
        "metric",
        "mtu",
        "media",
        "mediaopt",
        "-mediaopt",
        "mode",
        "instance",
        "link0",
        "-link2",
        "debug",
        "ip4csum",
        "-tcp4csum-rx",
        "tso4",
        "create",
        "destroy",
        "vlan",
        "inet",
        "inet6",
        "link",
        "10.1",
        "10.1/24",
        "255.255.0.0",
        "0xff000000",
        "24",
        "auto",
        "full-duplex",
        "fe80::1",
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(str::to_string),
        1 => "-?[a-z0-9./:]{0,8}",
        1 => "\\PC{0,4}",
    ]
}

proptest! {
    #[test]
    fn no_line_makes_it_panic_and_a_plan_is_in_order(words in prop::collection::vec(word(), 0..8)) {
        let Ok(p) = words::plan("ecm0", &words) else { return Ok(()) };
        let at = |f: &dyn Fn(&Request) -> bool| p.requests.iter().position(f);
        // Created before, flags after everything else, destroyed alone.
        prop_assert!(at(&|r| matches!(r, Request::Create { .. })).is_none_or(|i| i == 0), "create");
        prop_assert!(at(&|r| matches!(r, Request::SetFlags { .. })).is_none_or(|i| i + 1 == p.requests.len()), "flags");
        prop_assert!(at(&|r| matches!(r, Request::Destroy { .. })).is_none_or(|_| p.requests.len() == 1), "destroy");
        for r in &p.requests {
            if let Request::AddAddr { addr, .. } = r {
                let max = if addr.addr.is_ipv4() { 32 } else { 128 };
                prop_assert!(addr.prefix_len <= max);
            }
            if let Request::SetFlags { set, clear, .. } = r {
                prop_assert_eq!(set & clear, 0, "a bit is set or cleared");
                prop_assert_eq!((set | clear) & !iopkt_ctl::IFF_USER, 0);
            }
        }
    }
}

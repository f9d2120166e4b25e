//! What the small variant has and has not.

use iopkt_client::Session;
use iopkt_ctl::{Reply, Request};
use iopkt_sys::Root;
use std::process::{Command, Output};

fn run(root: &Root, words: &str) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_io-pkt-v4"));
    c.args(words.split_whitespace()).env("IO_PKT_ROOT", root.dir()).output().unwrap()
}

#[test]
fn it_runs_and_refuses_what_it_has_not() {
    let root = Root::at(std::env::temp_dir().join(format!("iopkt-v4-{}", std::process::id())));
    for (option, part) in [
        ("ipsec", "not in io-pkt-v4; use io-pkt-v4-hc or io-pkt-v6-hc"),
        ("pfil_ipsec", "not in io-pkt-v4; use io-pkt-v4-hc or io-pkt-v6-hc"),
        ("forward6", "not in io-pkt-v4; use io-pkt-v6-hc"),
    ] {
        let out = run(&root, &format!("-ptcpip {option}"));
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains(part), "{out:?}");
    }
    let out = run(&root, "-ptcpip mclbytes=4096,somaxconn=5000,pkt_cache=64");
    assert!(out.status.success(), "{out:?}");
    let s = Session::open_at(&root.path("/dev/socket")).unwrap();
    let Ok(Reply::Stack(info)) = s.ctl(&Request::Stack) else { panic!() };
    assert_eq!(info.variant, "io-pkt-v4");
    let limit = |n: &str| info.limits.iter().find(|l| l.0 == n).map(|l| l.1.clone()).unwrap();
    assert_eq!((limit("mclbytes").as_str(), limit("somaxconn").as_str()), ("4096", "5000"));
    // Small: an eighth of the packet memory of the full variants.
    assert_eq!(
        (limit("packet buffers").as_str(), limit("bytes in large buffers").as_str()),
        ("2048", "4194304")
    );
    assert_eq!(limit("sockets"), "4096");
    assert_eq!(s.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    while root.path("/dev/socket").exists() {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(root.dir()).unwrap();
}

#[test]
fn it_does_not_carry_ipv6() {
    let b = std::fs::read(env!("CARGO_BIN_EXE_io-pkt-v4")).unwrap();
    // Names of functions as the compiler writes them: the crate's behind its length.
    let has = |name: &[u8]| b.windows(name.len()).any(|w| w == name);
    assert!(has(b"10iopkt_inet") && !has(b"11iopkt_inet6"));
}

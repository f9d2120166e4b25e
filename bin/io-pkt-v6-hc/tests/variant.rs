//! What the IPv6 variant says as long as it has no IPv6.

use iopkt_client::Session;
use iopkt_ctl::{Reply, Request};
use iopkt_slog::Reader;
use iopkt_sys::Root;
use std::process::{Command, Output};

fn run(root: &Root, words: &str) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_io-pkt-v6-hc"));
    c.args(words.split_whitespace()).env("IO_PKT_ROOT", root.dir()).output().unwrap()
}

#[test]
fn it_says_that_ipv6_is_still_to_come() {
    let root = Root::at(std::env::temp_dir().join(format!("iopkt-v6-{}", std::process::id())));
    let said = |out: &Output| String::from_utf8_lossy(&out.stdout).contains("IPv6 is still to come");
    assert!(said(&run(&root, "--help")));
    let e = run(&root, "-p tcpip forward6");
    assert!(String::from_utf8_lossy(&e.stderr).contains("'forward6'"), "{e:?}");
    assert!(run(&root, "").status.success());
    let lines = Reader::open(&root).unwrap().read().unwrap().list;
    assert!(lines.iter().any(|l| l.text.contains("IPv6 is still to come")));
    let s = Session::open_at(&root.path("/dev/socket")).unwrap();
    for family in ["1", "2", "17", "24"] {
        Session::open_at(&root.path("/dev/socket").join(family)).unwrap();
    }
    // AF_INET6, SOCK_STREAM: refused, not half there.
    assert_eq!(s.socket(10, 1, 0, 0).unwrap_err().raw_os_error(), Some(97));
    assert_eq!(s.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    while root.path("/dev/socket").exists() {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(root.dir()).unwrap();
}

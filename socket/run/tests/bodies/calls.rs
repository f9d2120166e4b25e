//! Socket calls of real programs, by each way into a program.

use crate::support::{FakeStack, eventually, output};

const WAYS: [&[&str]; 4] = [&["--preload-only"], &["--seccomp-only"], &[], &["--front"]];

fn script() -> String {
    format!("{}/tests/bodies/sockets.py", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn python_makes_all_calls() {
    for way in WAYS {
        let s = FakeStack::start();
        let script = script();
        let mut args = way.to_vec();
        args.extend(["python3", &script, s.pace()]);
        let (out, err, status) = output(&mut s.run(&args));
        assert!(status.success() && out.ends_with("all good\n"), "{way:?}\n{out}\n{err}");
        // Waiting means waiting: each connect asks for its outcome about once.
        assert!(s.seen(iopkt_sockproto::Op::ConnectStatus) <= s.seen(iopkt_sockproto::Op::Connect));
        eventually("all sockets are closed", || s.open_sockets() == 0);
    }
}

//! The stack dies and comes back under programs that go on.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use support::FakeStack;

/// For [`support`].
const ON_IO_PKT: bool = true;

const PROGRAM: &str = "\
import errno, socket
def code(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
def talk():
    # A listener that waits for data: its connections are not joined past the stack (those outlive it).
    l = socket.socket(); l.setsockopt(6, socket.TCP_DEFER_ACCEPT, 600); l.bind(('127.0.0.1', 0)); l.listen()
    c = socket.create_connection(l.getsockname()); c.send(b'hi')
    p, _ = l.accept(); assert p.recv(9) == b'hi'
    return l, c, p
l, c, p = talk()
d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.bind(('127.0.0.1', 0))
print('ready', flush=True); input()
print(code(c.recv, 9), code(c.recv, 9), code(d.recvfrom, 9), code(socket.socket), code(l.accept), flush=True); input()
print(code(talk) != 'ENETDOWN', code(c.getpeername), code(d.sendto, b'x', ('127.0.0.1', 9)), flush=True)
";

#[test]
fn programs_outlive_the_stack() {
    for way in [&[][..], &["--seccomp-only"], &["--preload-only"], &["--front"]] {
        let mut s = FakeStack::start();
        let args = [way, &["python3", "-c", PROGRAM]].concat();
        let mut child = s.run(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut input = child.stdin.take().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        s.kill();
        input.write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "ECONNRESET b'' ECONNRESET ENETDOWN ENETDOWN", "{way:?}");
        s.restart();
        input.write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "True ENETDOWN ENETDOWN", "{way:?}");
        assert!(child.wait().unwrap().success());
    }
}

//! What a program may do through the supervisor, whose session with the stack is root's: no more than it could do itself.

use iopkt_tests::Lab;
use std::time::Duration;

const TRY: &str = r#"
import errno, fcntl, socket, struct
def attempt(what, f):
    try: f(); print(what, 'ok')
    except OSError as e: print(what, errno.errorcode[e.errno])
s = socket.socket()
attempt('port 80', lambda: s.bind(('127.0.0.1', 80)))
attempt('port 8080', lambda: socket.socket().bind(('127.0.0.1', 8080)))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt('mtu', lambda: fcntl.ioctl(s, 0x8922, struct.pack('16si20x', b'lo0', 1500)))
def netlink():
    n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    # RTM_NEWADDR of 127.9.9.9/32 on lo0, with NLM_F_ACK; the answer is an NLMSG_ERROR.
    n.send(struct.pack('IHHII', 32, 20, 0x405, 1, 0) + struct.pack('BBBBI', 2, 32, 0, 0, 1) + struct.pack('HH4B', 8, 2, 127, 9, 9, 9))
    e = -struct.unpack('i', n.recv(4096)[16:20])[0]
    if e: raise OSError(e, 'netlink')
attempt('netlink', netlink)
"#;

#[test]
fn who_gave_up_root_has_not_the_supervisors_rights() {
    let mut lab = Lab::new("rights");
    if lab.sh("id -u").trim() != "0" {
        eprintln!("SKIPPED: who_gave_up_root_has_not_the_supervisors_rights needs root");
        return;
    }
    std::fs::write(lab.work().join("try.py"), TRY).expect("write try.py");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(Duration::from_secs(60), "ifconfig lo0 | grep -q 'inet 127.0.0.1'");
    let all = lab.sh("io-pkt-run --seccomp-only /usr/bin/python3 try.py");
    assert_eq!(all.trim(), "port 80 ok\nport 8080 ok\nraw ok\nmtu ok\nnetlink ok");
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 -";
    // Root of a user namespace of its own is root of nothing of ours.
    let own = nobody.replace("/usr/bin", "unshare -Ur /usr/bin");
    for who in [nobody, own.as_str()] {
        let few = lab.sh(&format!("io-pkt-run --seccomp-only {who} < try.py"));
        assert_eq!(few.trim(), "port 80 EACCES\nport 8080 ok\nraw EPERM\nmtu EPERM\nnetlink EPERM", "{who}");
    }
}

//! Linux's kernel as the peer, over TAP in a namespace of the test's own.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, until};
use std::process::Command;
use std::time::{Duration, Instant};

/// A stack with devnp-tap, whose other end is the interface `k0` of a fresh namespace: 10.7.0.1 there, 10.7.0.2 here.
fn start(lab: &mut Lab, extra: &str) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v4-hc --foreground {extra} -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 tapk0");
    ns.exec("ip addr add 10.7.0.1/24 dev k0 && ip link set k0 up");
    lab.sh("ifconfig tapk0 10.7.0.2 netmask 255.255.255.0 && if_up -l -r 50 -m 100 tapk0");
    ns
}

#[test]
fn ping_arp_fragments_and_unreachables_both_ways() {
    let mut lab = Lab::new("kping");
    let ns = start(&mut lab, "");
    assert!(ns.exec("ping -c 3 -i 0.2 -W 2 10.7.0.2").contains(" 0% packet loss"));
    assert!(
        ns.exec("ping -c 2 -i 0.2 -W 2 -s 20000 10.7.0.2").contains(" 0% packet loss"),
        "reassembly and fragmentation"
    );
    assert!(lab.sh("ping -c 2 -i 0.2 -s 20000 10.7.0.1").contains("2 packets received"));
    assert!(ns.exec("ip neigh show dev k0").contains("10.7.0.2 lladdr"));
    assert!(lab.sh("arp -a").contains("(10.7.0.1) at "));
    // UDP to a closed port: the kernel's ICMP reaches a connected socket, ours reaches the kernel's.
    let probe = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(3)\n\
                 s.connect((sys.argv[1],9))\ns.send(b'x')\n\
                 try:\n s.recv(1)\nexcept ConnectionRefusedError:\n print('refused')\n";
    std::fs::write(lab.work().join("probe.py"), probe).expect("write probe.py");
    assert_eq!(lab.sh("io-pkt-run python3 probe.py 10.7.0.1").trim(), "refused");
    assert_eq!(ns.exec(&format!("python3 {}/probe.py 10.7.0.2", lab.work().display())).trim(), "refused");
}

#[test]
fn programs_of_both_kernels_meet() {
    let mut lab = Lab::new("kprog");
    let ns = start(&mut lab, "");
    lab.sh("head -c 3000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    let work = lab.work().display().to_string();
    // Our server, the kernel's client.
    lab.spawn("io-pkt-run python3 -m http.server 8000");
    let get = String::from(
        "curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://10.7.0.2:8000/blob | md5sum | cut -d' ' -f1",
    );
    assert_eq!(ns.exec(&get), want);
    // The kernel's server, our clients: dynamic, static.
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name, "busybox", "httpd", "-f", "-p", "10.7.0.1:80", "-h", &work]);
    let _server = iopkt_tests::Proc::start(c, &lab.work().join("httpd.out"));
    for client in
        ["curl -sS --retry 20 --retry-connrefused --retry-delay 1", "busybox wget -qO-", "wget -qO-"]
    {
        assert_eq!(
            lab.sh(&format!("io-pkt-run {client} http://10.7.0.1/blob | md5sum | cut -d' ' -f1")),
            want,
            "{client}"
        );
    }
    // iperf3 both ways, and a reverse one.
    lab.spawn("io-pkt-run iperf3 -s -p 5300");
    lab.wait(Duration::from_secs(60), "netstat -an | grep -q '5300.*LISTEN'");
    for how in ["-t 2", "-t 2 -R", "-t 2 --bidir", "-u -b 20M -t 2"] {
        // Its server closes its listener after each run and opens another: between the two it refuses.
        let run = || ns.exec(&format!("timeout 30 iperf3 -c 10.7.0.2 -p 5300 {how} -J"));
        let end = Instant::now() + Duration::from_secs(60);
        let mut out = run();
        while out.contains("Connection refused") && Instant::now() < end {
            out = run();
        }
        assert!(!out.contains("\"error\""), "iperf3 {how}: {out}");
    }
}

#[test]
fn half_close_reset_and_refusal_as_the_kernel_sees_them() {
    let mut lab = Lab::new("kedge");
    let ns = start(&mut lab, "");
    let server = "import socket,struct\nl=socket.socket();l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n\
                  l.bind(('10.7.0.2',7000));l.listen(8)\n\
                  while True:\n c,a=l.accept();cmd=c.recv(1)\n\
                  \x20if cmd==b'h':\n  n=0\n  while True:\n   d=c.recv(65536)\n   if not d: break\n   n+=len(d)\n  c.sendall(str(n).encode());c.close()\n\
                  \x20elif cmd==b'r':\n  c.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0));c.close()\n\
                  \x20else:\n  c.close()\n";
    std::fs::write(lab.work().join("server.py"), server).expect("write server.py");
    lab.spawn("io-pkt-run python3 server.py");
    lab.wait(Duration::from_secs(60), "netstat -an | grep -q '7000.*LISTEN'");
    let client = "import socket,sys\ns=socket.create_connection(('10.7.0.2',7000),5)\n\
                  if sys.argv[1]=='h':\n s.sendall(b'h'+b'x'*1000000);s.shutdown(socket.SHUT_WR)\n print(s.recv(100).decode())\n\
                  else:\n s.sendall(b'r')\n try:\n  print('eof' if not s.recv(1) else 'data')\n except ConnectionResetError:\n  print('reset')\n";
    let path = lab.work().join("client.py");
    std::fs::write(&path, client).expect("write client.py");
    assert_eq!(ns.exec(&format!("python3 {} h", path.display())).trim(), "1000000", "data after half-close");
    assert_eq!(ns.exec(&format!("python3 {} r", path.display())).trim(), "reset", "SO_LINGER 0");
    let r = Command::new("ip")
        .args(["netns", "exec", &ns.name, "curl", "-sS", "-m", "5", "http://10.7.0.2:7001/"])
        .status();
    assert_eq!(r.expect("curl runs").code(), Some(7), "a closed port refuses");
}

#[test]
fn kill_the_client_kill_the_stack_restart() {
    let mut lab = Lab::new("kkill");
    let ns = start(&mut lab, "");
    ns.exec("true");
    let sockets = |lab: &Lab| {
        lab.sh("netstat -an --json | grep -c '\"proto\"' || true").trim().parse::<u32>().unwrap_or(99)
    };
    let before = sockets(&lab);
    for _ in 0..5 {
        let i = lab.spawn("io-pkt-run python3 -m http.server 8100");
        lab.wait(Duration::from_secs(60), "netstat -an | grep -q '8100.*LISTEN'");
        lab.proc(i).signal(9);
        let gone = until(Duration::from_secs(60), || (sockets(&lab) == before).then_some(()));
        assert!(gone.is_some(), "a killed client left sockets:\n{}", lab.sh("netstat -an"));
    }
    // The stack dies: a client sees it, and a new stack takes over at once.
    let c = "import socket,sys,time\ns=socket.create_connection(('10.7.0.1',7777),5)\nprint('up',flush=True)\n\
             try:\n print('eof' if not s.recv(1) else 'data')\nexcept ConnectionResetError:\n print('reset')\n";
    std::fs::write(lab.work().join("c.py"), c).expect("write c.py");
    let mut nc = Command::new("ip");
    nc.args(["netns", "exec", &ns.name, "nc", "-l", "-k", "10.7.0.1", "7777"]);
    let _nc = iopkt_tests::Proc::start(nc, &lab.work().join("nc.out"));
    let i = lab.spawn("io-pkt-run python3 c.py");
    let up = until(Duration::from_secs(60), || lab.proc(i).output().contains("up").then_some(()));
    assert!(up.is_some(), "{}", lab.proc(i).output());
    lab.proc(0).signal(9);
    lab.proc(i).wait(Duration::from_secs(60)).expect("the client ends when its stack is killed");
    let said = lab.proc(i).output();
    assert!(said.contains("reset") || said.contains("eof"), "{said}");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 tapk0");
}

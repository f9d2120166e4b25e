//! One resolv.conf from several sources: routers and DHCPv6 at once, killed ones, a full disk, a file that must not be written; and
//! servers that are reached by a link-local address only.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc, until};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// io-pkt-v6-hc that listens to routers, tapk0 up; fe80::1 and 2001:db8::1 at the other end.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    ns.exec(
        "sysctl -qw net.ipv6.conf.k0.accept_dad=0 net.ipv6.conf.all.forwarding=1; \
         ip addr add fe80::1/64 dev k0 nodad && ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up",
    );
    lab.sh("sysctl -w net.inet6.ip6.accept_rtadv=1 && ifconfig tapk0 up");
    // An address that an advertisement makes may be good before it is.
    lab.wait(MINUTE, "ifconfig tapk0 | grep 'inet6 fe80' > a; grep -q prefixlen a && ! grep -q tentative a");
    ns
}

/// Advertisements, DHCPv6 and names from one dnsmasq.
fn dnsmasq(lab: &Lab, ns: &Netns, more: &[&str]) -> Proc {
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"]);
    c.args(["--user=root", "--log-facility=-", "--log-dhcp", "--log-queries", "--interface=k0"]);
    c.args(["--bind-dynamic", "--no-resolv", "--no-hosts", "--enable-ra", "--ra-param=k0,4,1800"]);
    c.arg(format!("--pid-file={}", lab.work().join("dnsmasq.pid").display()));
    c.arg(format!("--dhcp-leasefile={}", lab.work().join("leases").display()));
    c.args(["--address=/www.test/2001:db8::1", "--address=/www.test/10.1.2.3"]);
    c.args(more);
    Proc::start(c, &lab.work().join("dnsmasq.out"))
}

fn conf(lab: &Lab) -> String {
    std::fs::read_to_string(lab.root().join("etc/resolv.conf")).unwrap_or_default()
}

/// Waits until resolv.conf is as wanted.
#[track_caller]
fn wait(lab: &Lab, what: &str, good: impl Fn(&str) -> bool) {
    let ok = until(MINUTE, || good(&conf(lab)).then_some(()));
    assert!(ok.is_some(), "{what}: {}\n{}", conf(lab), lab.sh("ls -l $IO_PKT_ROOT/run/resolv; ndp -i tapk0"));
}

#[test]
fn routers_and_dhcp_keep_a_part_each() {
    let mut lab = Lab::new("v6resolv");
    let ns = start(&mut lab);
    // The same range makes the router say M; its own link-local address is the server that it advertises.
    let server = dnsmasq(
        &lab,
        &ns,
        &[
            "--dhcp-range=2001:db8::100,2001:db8::1ff,64,10m",
            "--dhcp-option=option6:dns-server,[2001:db8::53]",
            "--dhcp-option=option6:domain-search,dhcp.test",
        ],
    );
    let ra = lab.spawn("rtsold tapk0");
    let six = lab.spawn("dhcp6c tapk0");
    let has = |dhcp: bool, t: &str| t.contains(if dhcp { "dhcp6c on tapk0" } else { "rtsold on tapk0" });
    wait(&lab, "both", |t| has(true, t) && has(false, t));
    let text = conf(&lab);
    assert!(
        text.contains("search dhcp.test") && text.contains("nameserver 2001:db8::53\n"),
        "{text} {}",
        server.output()
    );
    // A second one of a kind is refused, and does no harm.
    let o = lab.sh_for(Duration::from_secs(5), "rtsold tapk0");
    let why = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(why.contains("a rtsold (pid "), "{why}");
    assert!(has(true, &conf(&lab)) && has(false, &conf(&lab)), "{}", conf(&lab));
    // One that ends takes its part along, one that is killed leaves it to the next.
    lab.proc(ra).signal(15);
    wait(&lab, "rtsold ended", |t| has(true, t) && !has(false, t));
    lab.proc(six).signal(9);
    assert!(lab.proc(six).wait(MINUTE).is_some());
    assert!(has(true, &conf(&lab)), "nobody was there to write it");
    let ra = lab.spawn("rtsold tapk0");
    wait(&lab, "dhcp6c killed", |t| !has(true, t) && has(false, t));
    lab.proc(ra).signal(9);
    assert!(lab.proc(ra).wait(MINUTE).is_some());
    // One after the other killed at any moment: never half a file, and in the end all is tidy.
    for n in 0..10 {
        let p = lab.spawn("rtsold tapk0");
        std::thread::sleep(Duration::from_millis(n * 7));
        lab.proc(p).signal(9);
        assert!(lab.proc(p).wait(MINUTE).is_some());
        let t = conf(&lab);
        assert!(t.is_empty() || t.starts_with("# made by io-pkt") && t.ends_with('\n'), "{t}");
    }
    let ra = lab.spawn("rtsold -d tapk0");
    let mut wrote = || lab.proc(ra).output().contains("names: ").then_some(());
    assert!(until(MINUTE, &mut wrote).is_some());
    assert!(has(false, &conf(&lab)), "{}", conf(&lab));
    lab.proc(ra).signal(15);
    wait(&lab, "nobody", str::is_empty);
    assert_eq!(lab.sh("cd $IO_PKT_ROOT && ls run/resolv etc"), "etc:\n\nrun/resolv:\nlock\n");
}

#[test]
fn what_cannot_be_written_is_told_and_hurts_nothing() {
    let mut lab = Lab::new("v6resolvfull");
    let ns = start(&mut lab);
    let _server = dnsmasq(
        &lab,
        &ns,
        &["--dhcp-range=2001:db8::,ra-stateless", "--dhcp-option=option6:dns-server,[2001:db8::53]"],
    );
    // A disk with room for nothing more, as this program alone sees it.
    let full = "mkdir -p $IO_PKT_ROOT/etc && timeout 50 unshare -m sh -c 'mount -t tmpfs -o size=8k none $IO_PKT_ROOT/etc && \
                echo old > $IO_PKT_ROOT/etc/resolv.conf; cat /dev/zero > $IO_PKT_ROOT/etc/fill 2> /dev/null; \
                dhcp6c -1 -i tapk0; cat $IO_PKT_ROOT/etc/resolv.conf; ls $IO_PKT_ROOT/etc'";
    let o = lab.sh_for(MINUTE, full);
    let (out, why) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(why.contains("No space left on device") && why.contains("make room"), "{why}");
    assert_eq!(out, "old\nfill\nresolv.conf\n", "{why}");
    let read_only = "timeout 50 unshare -m sh -c 'mount --bind $IO_PKT_ROOT/etc $IO_PKT_ROOT/etc && \
                     mount -o remount,bind,ro $IO_PKT_ROOT/etc && dhcp6c -1 -i tapk0'";
    let o = lab.sh_for(MINUTE, read_only);
    let why = String::from_utf8_lossy(&o.stderr);
    assert!(
        o.status.success()
            && why.contains("Read-only file system")
            && why.contains("leave name servers alone"),
        "{why}"
    );
    // With room it goes.
    lab.sh("timeout 50 dhcp6c -1 -i tapk0");
    assert!(conf(&lab).contains("nameserver 2001:db8::53\n"), "{}", conf(&lab));
}

#[test]
fn servers_of_a_link_are_asked_by_our_tools() {
    let mut lab = Lab::new("v6resolvll");
    let ns = start(&mut lab);
    let server = dnsmasq(&lab, &ns, &["--dhcp-range=2001:db8::,ra-only,64", "--listen-address=fe80::1"]);
    lab.sh(
        "mkdir -p $IO_PKT_ROOT/etc && printf 'nameserver fe80::1%%tapk0\\n' > $IO_PKT_ROOT/etc/resolv.conf",
    );
    lab.wait(MINUTE, "ifconfig tapk0 | grep autoconf > a; grep -q 2001:db8:: a && ! grep -q tentative a");
    let text = lab.sh("ping6 -c 1 www.test");
    assert!(text.contains("2001:db8::1") && text.contains(" 0.0% packet loss"), "{text} {}", server.output());
    assert!(server.output().contains("from fe80::"), "{}", server.output());
    // By number, and an interface that is not there.
    let n = lab.sh("ifconfig --json tapk0 | sed -n 's/.*\"index\": \\([0-9]*\\).*/\\1/p'");
    lab.sh(&format!("echo 'nameserver fe80::1%{}' > $IO_PKT_ROOT/etc/resolv.conf", n.trim()));
    lab.sh("ping6 -c 1 www.test");
    lab.sh("echo 'nameserver fe80::1%nope0' > $IO_PKT_ROOT/etc/resolv.conf");
    let (_, why) = lab.sh_fails("ping6 -c 1 www.test");
    assert!(why.contains("fe80::1%nope0") && why.contains("not configured"), "{why}");
}

/// A program that asks libc, or Go, for the addresses of a name.
const ASK_C: &str = "#include <stdio.h>\n#include <netdb.h>\n#include <arpa/inet.h>\n#include <netinet/in.h>\n\
int main(int n, char **v) { struct addrinfo h = { .ai_family = AF_INET6, .ai_socktype = SOCK_STREAM }, *r; char b[64];\n\
int e = getaddrinfo(v[1], 0, &h, &r); if (e) { puts(gai_strerror(e)); return 1; }\n\
puts(inet_ntop(AF_INET6, &((struct sockaddr_in6 *)r->ai_addr)->sin6_addr, b, sizeof b)); return n - 2; }\n";
const ASK_GO: &str = "package main\nimport (\"fmt\"; \"net\"; \"os\")\nfunc main() { l, e := net.LookupHost(os.Args[1]); fmt.Println(l, e) }\n";

#[test]
fn programs_ask_the_servers_of_the_stack() {
    let mut lab = Lab::new("v6resolvrun");
    let ns = start(&mut lab);
    // The only server of names is a link-local address, as a router told it.
    let server = dnsmasq(
        &lab,
        &ns,
        &["--dhcp-range=2001:db8::,ra-stateless", "--dhcp-option=option6:dns-server,[fe80::]"],
    );
    lab.spawn("rtsold tapk0");
    wait(&lab, "told by the router", |t| t.contains("nameserver fe80::") && t.contains("%tapk0\n"));
    lab.wait(MINUTE, "ifconfig tapk0 | grep autoconf > a; grep -q 2001:db8:: a && ! grep -q tentative a");
    std::fs::write(lab.work().join("ask.c"), ASK_C).expect("source");
    std::fs::write(lab.work().join("ask.go"), ASK_GO).expect("source");
    lab.sh("cc -o glibc ask.c && cc -static -o glibc-static ask.c 2> /dev/null; musl-gcc -static -o musl-static ask.c && musl-gcc -o musl ask.c && \
            CGO_ENABLED=0 GOCACHE=$PWD/cache GO111MODULE=off go build -o go ask.go");
    let all = |lab: &Lab, what: &str| {
        // The preload library is glibc's: musl's dynamic programs take the supervisor alone.
        for line in [
            "./glibc www.test",
            "--seccomp-only ./glibc www.test",
            "./glibc-static www.test",
            "--seccomp-only ./musl www.test",
            "./musl-static www.test",
            "./go www.test",
        ] {
            let out = lab.sh(&format!("io-pkt-run {line} || true"));
            assert!(out.contains("2001:db8::1"), "{what}, {line}: {out} {}", server.output());
        }
    };
    all(&lab, "by a link-local address");
    assert!(server.output().contains("from fe80::"), "{}", server.output());
    // A program that lives while servers change sees what there is: here the global address, told by hand.
    let line = "io-pkt-run sh -c 'grep -c fe80::.*%tapk0 /etc/resolv.conf; echo nameserver 2001:db8::1 > $IO_PKT_ROOT/etc/n; \
                mv $IO_PKT_ROOT/etc/n $IO_PKT_ROOT/etc/resolv.conf; cat /etc/resolv.conf; ./musl-static www.test'";
    assert_eq!(lab.sh(line), "1\nnameserver 2001:db8::1\n2001:db8::1\n");
    all(&lab, "by a global address");
    // The system's file is as it was, and seen on request.
    assert_eq!(lab.sh("io-pkt-run --system-names cat /etc/resolv.conf"), lab.sh("cat /etc/resolv.conf"));
    assert!(!lab.sh("cat /etc/resolv.conf").contains("2001:db8::1"));
    lab.sh("rm $IO_PKT_ROOT/etc/resolv.conf");
    assert_eq!(lab.sh("io-pkt-run cat /etc/resolv.conf"), lab.sh("cat /etc/resolv.conf"));
}

//! Routing sockets end to end: the tools, scripts of ifwatchd, and unmodified programs that ask for interfaces.

use iopkt_tests::{Lab, modem};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn route_as_a_user_calls_it() {
    let mut lab = Lab::new("route");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let monitor = lab.spawn("route -n monitor");
    // It listens when the first message is there.
    lab.wait(LONG, "ifconfig ecm0 metric 1; ifconfig ecm0 metric 0; grep -q RTM_IFINFO out*");
    assert_eq!(lab.sh("route add -net 192.168.7.0 10.0.0.1"), "add net 192.168.7.0: gateway 10.0.0.1\n");
    assert_eq!(lab.sh("route -n add default 10.0.0.1"), "add net default: gateway 10.0.0.1\n");
    assert_eq!(lab.sh("route add default 10.0.0.77"), "add net default: gateway 10.0.0.77\n");
    let (code, err) = lab.sh_fails("route add default 10.0.0.1");
    assert!(code == 1 && err.starts_with("route: net default: gateway 10.0.0.1: File exists"), "{err}");
    // The first one is used; which one is to go must be said.
    assert!(lab.sh("route -n get 8.8.8.8").contains("    gateway: 10.0.0.1\n"));
    assert_eq!(lab.sh("route -ns get 8.8.8.8"), "10.0.0.1\n");
    let (_, err) = lab.sh_fails("route delete default");
    assert!(err.contains("name the gateway"), "{err}");
    assert_eq!(lab.sh("route delete default 10.0.0.1"), "delete net default: gateway 10.0.0.1\n");
    assert_eq!(lab.sh("route -ns get 8.8.8.8"), "10.0.0.77\n");
    // A metric that is kept, locked; and one that is not.
    lab.sh("route add -host 10.9.9.9 10.0.0.1 -lock -mtu 1280");
    assert!(lab.sh("netstat -rn").lines().any(|l| l.starts_with("10.9.9.9") && l.contains("1280L")));
    assert!(lab.sh_fails("route add 10.9.9.8 10.0.0.1 -rtt 5").1.contains("-rtt"));
    assert_eq!(lab.sh("route change -host 10.9.9.9 10.0.0.78"), "change host 10.9.9.9: gateway 10.0.0.78\n");
    let flushed = lab.sh("route -n flush");
    let words: Vec<Vec<&str>> = flushed.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(
        words,
        [
            vec!["default", "10.0.0.77", "done"],
            vec!["10.9.9.9", "10.0.0.78", "done"],
            vec!["192.168.7/24", "10.0.0.1", "done"]
        ]
    );
    assert!(lab.sh_fails("route get 8.8.8.8").1.contains("not in table"));
    lab.wait(LONG, "grep -c RTM_DELETE out* | grep -q 4");
    let told = lab.proc(monitor).output();
    for line in [
        "got message of size ",
        "RTM_ADD: Add Route: pid ",
        "flags: <UP,GATEWAY,DONE,STATIC>",
        " 192.168.7.0 10.0.0.1 255.255.255.0 ecm0:",
        " default 10.0.0.77 default ecm0:",
        "RTM_CHANGE: Change Metrics, Flags or Gateway: pid ",
        "RTM_DELETE: Delete Route: pid ",
    ] {
        assert!(told.contains(line), "{line}:\n{told}");
    }
}

#[test]
fn tables_as_a_user_reads_them() {
    let mut lab = Lab::new("tables");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    assert_eq!(lab.sh("arp -s 10.0.0.9 2:0:0:0:0:9"), "");
    lab.sh("arp -s 10.0.0.50 2:0:0:0:0:50 pub; arp -s 10.0.0.51 2:0:0:0:0:51 pub pro");
    assert_eq!(lab.sh("arp -n 10.0.0.9"), "? (10.0.0.9) at 02:00:00:00:00:09 on ecm0 permanent static\n");
    let all = lab.sh("arp -an");
    assert!(
        all.contains("? (10.0.0.51) at 02:00:00:00:00:51 on ecm0 permanent static published (proxy only)\n"),
        "{all}"
    );
    assert_eq!(lab.sh("arp -d 10.0.0.9"), "10.0.0.9 (10.0.0.9) deleted\n");
    assert_eq!(lab.sh_fails("arp 10.0.0.9"), (1, "arp: 10.0.0.9 (10.0.0.9) -- no entry\n".into()));
    let gone = lab.sh("arp -n -d -a");
    assert!(gone.contains("? (10.0.0.50) deleted\n") && gone.contains("? (10.0.0.51) deleted\n"), "{gone}");
    assert_eq!(lab.sh("arp -an | grep -c perm || true"), "0\n");
    // A server of a program, by port and by program.
    lab.spawn("io-pkt-run python3 -m http.server 8000 --bind 127.0.0.1");
    lab.wait(LONG, "netstat -an | grep -q '127.0.0.1.8000 .*LISTEN'");
    let s = lab.sh("sockstat -4 -l -n -p 8000");
    let row: Vec<&str> = s.lines().nth(1).unwrap_or("").split_whitespace().collect();
    assert!(
        row.len() == 7 && row[1].ends_with(":python3") && row[4..] == ["tcp", "127.0.0.1.8000", "*.*"],
        "{s}"
    );
    let id = lab.sh("netstat -Aan | awk '/8000/ {print $1}'");
    let one = lab.sh(&format!("netstat -P {}", id.trim()));
    assert!(one.contains("state            LISTEN"), "{one}");
    assert!(lab.sh("netstat -i -d").lines().next().is_some_and(|l| l.ends_with("Drops")));
    assert!(lab.sh("timeout 3 netstat -w 1 -I ecm0 || true").lines().count() >= 3);
    assert!(lab.sh("netstat -g").contains("224.0.0.1"));
    assert!(lab.sh("netstat -p tcp").starts_with("tcp:\n"));
    assert_eq!(lab.sh("netstat -rn -F 3 | grep -c ecm0 || true"), "0\n");
    // Variables.
    assert_eq!(lab.sh("sysctl net.inet.ip.ttl"), "net.inet.ip.ttl = 64\n");
    assert_eq!(lab.sh("sysctl -w net.inet.ip.ttl=0x20"), "net.inet.ip.ttl: 64 -> 32\n");
    lab.sh("sysctl -e net.inet.udp > saved; sysctl -q -f saved");
    assert_eq!(lab.sh("sysctl -n net.inet.ip.ttl"), "32\n");
    assert!(lab.sh("sysctl -a").lines().count() > 40);
    let (_, err) = lab.sh_fails("sysctl -w net.inet.ip.forwarding=1");
    assert!(err.contains("read only"), "{err}");
    assert!(lab.sh("sysctl -n kernel.ostype").contains("Linux"), "the system's own");
}

#[test]
fn ifwatchd_runs_its_scripts() {
    let mut lab = Lab::new("ifwatchd");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    let script = |name: &str| {
        let path = lab.work().join(name);
        std::fs::write(
            &path,
            format!("#!/bin/sh\necho \"{name} $# $1 $2 $3 [$4] [$5]\" >> {}/events\n", lab.work().display()),
        )
        .expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a mode");
    };
    for name in ["arrive", "depart", "up", "down"] {
        script(name);
    }
    // In the background once it listens.
    lab.sh("ifwatchd -q -A ./arrive -D ./depart -u ./up -d ./down lo0 lo1 < /dev/null");
    lab.wait(LONG, "grep -q 'up 5 lo0' events");
    lab.sh(
        "ifconfig lo1 create; ifconfig lo1 10.1.0.1/24; ifconfig lo1 10.1.0.1 delete; ifconfig lo1 destroy",
    );
    lab.wait(LONG, "grep -q depart events");
    assert_eq!(
        lab.sh("cat events"),
        "up 5 lo0 /dev/null 9600 [127.0.0.1] []\narrive 5 lo1 /dev/null 9600 [] []\nup 5 lo1 /dev/null 9600 [10.1.0.1] []\n\
         down 5 lo1 /dev/null 9600 [10.1.0.1] []\ndepart 5 lo1 /dev/null 9600 [] []\n"
    );
}

#[test]
fn unmodified_programs_see_the_stacks_interfaces() {
    let mut lab = Lab::new("netlink");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    lab.sh("route add default 10.0.0.1");
    for way in ["io-pkt-run", "io-pkt-run --seccomp-only"] {
        let ip = |args: &str| lab.sh(&format!("{way} ip {args}"));
        let links = ip("-o link");
        assert!(links.contains(": lo0: <LOOPBACK") && links.contains(": ecm0: <BROADCAST"), "{links}");
        assert!(!links.contains("eth0"), "{links}");
        assert_eq!(ip("-o -6 addr"), "");
        let addrs = ip("-o -4 addr show dev ecm0");
        assert!(addrs.contains("inet 10.0.0.") && addrs.contains("scope global"), "{addrs}");
        let routes = ip("route");
        assert!(routes.contains("default via 10.0.0.1 dev ecm0"), "{routes}");
        let get = ip("route get 8.8.8.8");
        assert!(get.contains("8.8.8.8 via 10.0.0.1 dev ecm0 src 10.0.0."), "{get}");
        // By ioctl(2), and by netlink itself.
        ip("link set ecm0 mtu 1400");
        assert!(lab.sh("ifconfig ecm0").contains("mtu 1400"));
        ip("link set ecm0 mtu 1500");
        ip("route add 10.5.0.0/16 via 10.0.0.1");
        assert!(lab.sh("netstat -rn").contains("10.5/16            10.0.0.1"), "{}", lab.sh("netstat -rn"));
        ip("route del 10.5.0.0/16");
        let (_, err) = lab.sh_fails(&format!("{way} ip route add 10.5.0.0/16 via 10.0.0.1 table 7"));
        assert!(err.contains("one table of routes"), "{err}");
        let python = lab.sh(&format!(
            "{way} python3 -c 'import socket; print(socket.if_nameindex()); \
             print(socket.getaddrinfo(\"localhost\", 80, flags=socket.AI_ADDRCONFIG)[0][4])'"
        ));
        assert!(
            python.contains("'lo0')") && python.contains("'ecm0')") && python.contains("'127.0.0.1', 80"),
            "{python}"
        );
    }
    assert_eq!(lab.sh("io-pkt-run python3 -c 'import socket; print(socket.if_indextoname(socket.if_nametoindex(\"ecm0\")))'"), "ecm0\n");
    lab.spawn("io-pkt-run ip -o monitor link address");
    lab.wait(
        LONG,
        "ifconfig ecm0 10.0.0.99/24 alias; ifconfig ecm0 10.0.0.99 -alias; grep -q 10.0.0.99 out*",
    );
    // Go asks by netlink, too, and is static.
    std::fs::write(
        lab.work().join("ifs.go"),
        "package main\nimport (\"fmt\"; \"net\")\nfunc main() {\n l, err := net.Interfaces()\n if err != nil { panic(err) }\n for _, i := range l { a, err := i.Addrs(); fmt.Println(i.Name, a, err) }\n}\n",
    )
    .expect("a program");
    lab.sh_for(
        Duration::from_secs(300),
        "GOCACHE=$PWD/gocache GO111MODULE=off CGO_ENABLED=0 go build -o ifs ifs.go",
    );
    let go = lab.sh("io-pkt-run ./ifs");
    assert!(go.contains("lo0 [127.0.0.1/8] <nil>") && go.contains("ecm0 [10.0.0."), "{go}");
}

#[test]
fn a_c_program_reads_the_messages_of_the_header() {
    let mut lab = Lab::new("routeh");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../include");
    std::fs::write(lab.work().join("r.c"), PROGRAM).expect("a program");
    lab.sh(&format!("cc -Wall -Wextra -Werror -I{include} -o r r.c"));
    lab.spawn("io-pkt-run ./r");
    lab.wait(LONG, "grep -q ready out*");
    lab.sh("ifconfig lo1 create; ifconfig lo1 10.1.0.1/24");
    lab.wait(LONG, "grep -q end out*");
    let out = lab.sh("cat out*");
    for line in ["arrival lo1", "newaddr 10.1.0.1", "get 10.1.0.0 errno 0 done 1"] {
        assert!(out.contains(line), "{line}:\n{out}");
    }
}

/// Says what it hears, until a NEWADDR; then asks for a route.
const PROGRAM: &str = r#"
#include <iopkt/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
_Static_assert(sizeof(struct iopkt_rt_msghdr) == 120, "rt_msghdr");
_Static_assert(sizeof(struct iopkt_if_msghdr) == 152, "if_msghdr");
_Static_assert(sizeof(struct iopkt_ifa_msghdr) == 24, "ifa_msghdr");
_Static_assert(sizeof(struct iopkt_if_announcemsghdr) == 24, "if_announcemsghdr");

static void show(const uint8_t *a) { printf("%d.%d.%d.%d", a[0], a[1], a[2], a[3]); }

/* The address of one bit behind a header. */
static const uint8_t *find(const uint8_t *at, int32_t addrs, int32_t bit) {
    for (int32_t b = 1; b < bit; b <<= 1)
        if (addrs & b) at = IOPKT_RT_NEXT(at);
    return at + 4;
}

int main(void) {
    int s = socket(IOPKT_AF_ROUTE, SOCK_RAW, 0);
    if (s < 0) { perror("socket"); return 1; }
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint8_t b[2048];
        ssize_t n = read(s, b, sizeof b);
        if (n < 4 || b[2] != IOPKT_RTM_VERSION) { puts("nonsense"); return 1; }
        if (b[3] == IOPKT_RTM_IFANNOUNCE) {
            struct iopkt_if_announcemsghdr *h = (void *)b;
            printf("%s %s\n", h->ifan_what == IOPKT_IFAN_ARRIVAL ? "arrival" : "departure", h->ifan_name);
        } else if (b[3] == IOPKT_RTM_NEWADDR) {
            struct iopkt_ifa_msghdr *h = (void *)b;
            printf("newaddr ");
            show(find((uint8_t *)(h + 1), h->ifam_addrs, IOPKT_RTA_IFA));
            puts("");
            struct { struct iopkt_rt_msghdr h; struct iopkt_bsd_sockaddr_in dst; } q;
            memset(&q, 0, sizeof q);
            q.h.rtm_msglen = sizeof q;
            q.h.rtm_version = IOPKT_RTM_VERSION;
            q.h.rtm_type = IOPKT_RTM_GET;
            q.h.rtm_seq = 7;
            q.h.rtm_addrs = IOPKT_RTA_DST;
            q.h.rtm_flags = IOPKT_RTF_HOST;
            q.dst = (struct iopkt_bsd_sockaddr_in){ .sin_len = 16, .sin_family = IOPKT_BSD_AF_INET, .sin_addr = {10, 1, 0, 9} };
            if (write(s, &q, sizeof q) != sizeof q) { perror("write"); return 1; }
        } else if (b[3] == IOPKT_RTM_GET) {
            struct iopkt_rt_msghdr *h = (void *)b;
            if (h->rtm_seq != 7) continue;
            printf("get ");
            show(find((uint8_t *)(h + 1), h->rtm_addrs, IOPKT_RTA_DST));
            printf(" errno %d done %d\nend\n", h->rtm_errno, (h->rtm_flags & IOPKT_RTF_DONE) != 0);
            return 0;
        }
    }
}
"#;

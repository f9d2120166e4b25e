//! Routing sockets about IPv6, end to end: BSD's messages and netlink(7), with Linux's kernel and radvd on the other end of a TAP.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// A router with a preference, a prefix with lifetimes, and a more specific route.
const RADVD: &str =
    "interface k0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultPreference high;
  prefix 2001:db8:9::/64 { AdvValidLifetime 6000; AdvPreferredLifetime 3000; };
  route 2001:db8:1000::/48 { AdvRoutePreference low; AdvRouteLifetime 5000; }; };
";

/// io-pkt-v6-hc with devnp-tap, whose other end is `k0` of a fresh namespace: 2001:db8::1 there, 2001:db8::2 here.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(LONG, "if_up -p -r 1 tapk0");
    ns.exec("sysctl -qw net.ipv6.conf.k0.accept_dad=0; ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up");
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 && ifconfig tapk0 up");
    lab.wait(LONG, "ifconfig tapk0 | grep -q 'inet6 fe80.*%tapk0 prefixlen 64 scopeid'");
    lab.wait(LONG, "ifconfig tapk0 | grep inet6 > a; ! grep -q tentative a");
    ns
}

/// Lines of `text` hold one that has all `words`.
#[track_caller]
fn line(text: &str, words: &[&str]) {
    assert!(text.lines().any(|l| words.iter().all(|w| l.contains(w))), "{words:?}:\n{text}");
}

#[test]
fn bsd_messages_have_zones_and_tell_when_an_address_is_good() {
    let mut lab = Lab::new("route6");
    let _ns = start(&mut lab);
    let script = "#!/bin/sh\necho \"$0 $1 $4\" >> events\n";
    for name in ["up", "down"] {
        std::fs::write(lab.work().join(name), script).expect("a script");
    }
    lab.sh("chmod 755 up down; ifwatchd -q -i -u ./up -d ./down tapk0 < /dev/null");
    let monitor = lab.spawn("route -n monitor");
    lab.wait(LONG, "ifconfig tapk0 metric 1; ifconfig tapk0 metric 0; grep -q RTM_IFINFO out*");
    lab.sh("ifconfig tapk0 inet6 2001:db8:5::2 prefixlen 64");
    lab.wait(LONG, "grep -q 'up tapk0 2001:db8:5::2' events");
    lab.sh("route add -inet6 default fe80::1%tapk0; ifconfig tapk0 inet6 2001:db8:5::2 delete");
    lab.wait(LONG, "grep -q 'down tapk0 2001:db8:5::2' events; grep -q RTM_DELADDR out*");
    let told = lab.proc(monitor).output();
    line(&told, &["RTM_NEWADDR", "address flags: <tentative>"]);
    let good = told.lines().filter(|l| l.contains("RTM_NEWADDR") && !l.contains("tentative")).count();
    assert_eq!(good, 1, "{told}");
    line(&told, &[" default fe80::1%tapk0 default tapk0:"]);
    line(&told, &[" 2001:db8:5:: link#2 /64 tapk0:", " 2001:db8:5::2"]);
    line(&told, &["RTM_ADD", "<UP,GATEWAY,DONE,STATIC>"]);
    assert_eq!(lab.sh("grep -c 2001:db8:5::2 events"), "2\n");
    // What is our own is told with the zone of its interface, though it is reached by lo0.
    lab.sh("netstat -rn -f inet6 | grep -q '^fe80::.*%tapk0 .* lo0'");
}

#[test]
fn a_c_program_asks_for_a_route_by_its_zone() {
    let mut lab = Lab::new("route6h");
    let _ns = start(&mut lab);
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../include");
    std::fs::write(lab.work().join("r.c"), PROGRAM).expect("a program");
    lab.sh(&format!("cc -Wall -Wextra -Werror -I{include} -o r r.c"));
    for way in ["--preload-only", "--seccomp-only"] {
        assert_eq!(
            lab.sh(&format!("io-pkt-run {way} ./r")),
            "get fe80:2:: errno 0 index 2\nadd 2001:db8:77:: by fe80:2::9\ndelete 2001:db8:77:: by fe80:2::9\n",
            "{way}"
        );
    }
}

#[test]
fn ip_shows_what_routers_said_and_changes_what_root_asks() {
    let mut lab = Lab::new("netlink6");
    let ns = start(&mut lab);
    lab.sh("sysctl -w net.inet6.ip6.accept_rtadv=1 net.inet6.ip6.use_tempaddr=1");
    let monitor = lab.spawn("io-pkt-run ip monitor");
    lab.wait(LONG, "ifconfig tapk0 metric 1; ifconfig tapk0 metric 0; grep -q 'tapk0: <' out*");
    std::fs::write(lab.work().join("radvd.conf"), RADVD).expect("write radvd.conf");
    ns.exec("sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add 2001:db8:9::1/64 dev k0 nodad");
    let w = lab.work().display().to_string();
    lab.spawn(&format!("ip netns exec {} radvd -n -m stderr -C {w}/radvd.conf -p {w}/radvd.pid", ns.name));
    lab.wait(LONG, "ifconfig tapk0 | grep 2001:db8:9: > a; grep -q temporary a && ! grep -q tentative a");
    for way in ["--preload-only", "--seccomp-only"] {
        let ip = |args: &str| lab.sh(&format!("io-pkt-run {way} ip {args}"));
        let addrs = ip("-6 -o addr show dev tapk0");
        line(&addrs, &["2001:db8::2/64 scope global", "valid_lft forever"]);
        line(&addrs, &["2001:db8:9:", "scope global dynamic mngtmpaddr", "valid_lft 5", "preferred_lft 2"]);
        line(&addrs, &["2001:db8:9:", "scope global temporary dynamic", "valid_lft 5"]);
        line(&addrs, &["fe80::", "scope link", "valid_lft forever"]);
        let routes = ip("-6 route");
        line(&routes, &["default via fe80::", "dev tapk0 proto ra", "expires", "pref high"]);
        line(&routes, &["2001:db8:1000::/48 via fe80::", "proto ra", "expires 4", "pref low"]);
        line(&routes, &["2001:db8:9::/64 dev tapk0 proto kernel metric 256 expires 5"]);
        line(&routes, &["2001:db8::/64 dev tapk0 proto kernel metric 256 pref medium"]);
        line(&ip("-6 route show table local"), &["local fe80::", " dev tapk0 proto kernel"]);
        line(
            &ip("-6 route get 2001:db8:1::1"),
            &["2001:db8:1::1 via fe80::", "dev tapk0 src 2001:db8:9:", "pref high"],
        );
        line(&ip("-6 route get fe80::5 dev tapk0"), &["fe80::5 dev tapk0 src fe80::"]);
        line(&ip("-6 route get fibmatch 2001:db8:1000::5"), &["2001:db8:1000::/48 via", "proto ra"]);
        line(&ip("-6 rule"), &["32766:\tfrom all lookup main"]);
        lab.sh("ping6 -c 1 2001:db8::1");
        let neigh = ip("-6 neigh");
        line(&neigh, &["2001:db8::1 dev tapk0 lladdr", "REACHABLE"]);
        line(&neigh, &["fe80::", "dev tapk0 lladdr", "router"]);
        // Changes, seen by our own tools; their refusals say why.
        let fails = |args: &str, why: &str| {
            let (_, err) = lab.sh_fails(&format!("io-pkt-run {way} ip {args}"));
            assert!(err.contains(why), "{args}: {err}");
        };
        ip("-6 addr add 2001:db8:78::5/64 dev tapk0 nodad valid_lft 4000 preferred_lft 2000");
        line(&lab.sh("ifconfig -L tapk0"), &["2001:db8:78::5 prefixlen 64"]);
        line(
            &ip("-6 -o addr show to 2001:db8:78::/64"),
            &["scope global nodad dynamic", "valid_lft 3", "preferred_lft 1"],
        );
        fails("-6 addr add 2001:db8:78::5/64 dev tapk0", "address already assigned");
        ip("-6 addr del 2001:db8:78::5/64 dev tapk0");
        fails("-6 addr del 2001:db8:78::5/64 dev tapk0", "address not found");
        ip("-6 route add 2001:db8:a::/48 via 2001:db8::1");
        fails("-6 route add 2001:db8:a::/48 via 2001:db8::9", "File exists");
        ip("-6 route replace 2001:db8:a::/48 via 2001:db8::9 mtu 1300");
        line(&lab.sh("netstat -rn -f inet6"), &["2001:db8:a::/48", "2001:db8::9", "1300"]);
        ip("-6 route del 2001:db8:a::/48");
        fails("-6 route del 2001:db8:a::/48", "not in table");
        fails("-6 route add 2001:db8:a::/48 via 2001:db8:ffff::1 table 9", "one table");
        // Who made a route and what it costs is kept for who asks again: routing daemons know theirs by it.
        ip("-6 route add 2001:db8:c::/48 via 2001:db8::1 proto 77 metric 32");
        line(&ip("-6 route show proto 77"), &["2001:db8:c::/48 via 2001:db8::1", "metric 32"]);
        ip("-6 route del 2001:db8:c::/48");
        ip("-6 route add default via fe80::77 dev tapk0");
        line(&lab.sh("netstat -rn -f inet6"), &["default", "fe80::77%tapk0", "UGS"]);
        ip("-6 route del default via fe80::77 dev tapk0");
        ip("-6 route add unreachable 2001:db8:b::/48");
        fails("-6 route get 2001:db8:b::1", "No route to host");
        ip("-6 route del unreachable 2001:db8:b::/48");
        ip("-6 neigh add 2001:db8::77 lladdr 2:0:0:0:0:77 dev tapk0");
        line(&lab.sh("ndp -an"), &["2001:db8::77", "permanent"]);
        fails("-6 neigh add 2001:db8::77 lladdr 2:0:0:0:0:78 dev tapk0", "File exists");
        ip("-6 neigh del 2001:db8::77 dev tapk0");
        ip("-6 neigh add proxy 2001:db8::78 dev tapk0");
        line(&ip("-6 neigh show proxy"), &["2001:db8::78 dev tapk0"]);
        ip("-6 neigh del proxy 2001:db8::78 dev tapk0");
        ip("link set tapk0 mtu 1400");
        line(&lab.sh("ifconfig tapk0"), &["mtu 1400"]);
        ip("link set tapk0 mtu 1500");
    }
    lab.wait(LONG, "grep -q 'Deleted 2001:db8::77 dev tapk0' out*");
    let told = lab.proc(monitor).output();
    line(&told, &["2001:db8:9:", "scope global tentative dynamic mngtmpaddr"]);
    line(&told, &["2001:db8:9:", "scope global dynamic mngtmpaddr"]);
    line(&told, &["default via fe80::", "proto ra", "pref high"]);
    line(&told, &["2001:db8::77 dev tapk0 lladdr 02:00:00:00:00:77 PERMANENT"]);
    line(&told, &["Deleted 2001:db8:a::/48 via 2001:db8::9 dev tapk0"]);
    // Who is not root may look.
    lab.sh("chmod -R a+rX ..; chmod a+rwx $IO_PKT_ROOT/dev/socket/2");
    let nobody = "io-pkt-run --seccomp-only setpriv --reuid 65534 --regid 65534 --clear-groups";
    line(&lab.sh(&format!("{nobody} ip -6 route")), &["2001:db8::/64 dev tapk0"]);
    let (_, err) = lab.sh_fails(&format!("{nobody} ip -6 addr add 2001:db8:79::5/64 dev tapk0"));
    assert!(err.contains("Operation not permitted"), "{err}");
}

/// Asks for the route to fe80::5 of interface 2 with the zone inside the address, adds a route by a gateway whose zone is in
/// `sin6_scope_id`, and says what it is told.
const PROGRAM: &str = r#"
#include <iopkt/route.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


/* struct iopkt_bsd_sockaddr_in6 is 28 bytes, its place in a message 32. */
static uint8_t *put(uint8_t *at, const char *text, uint32_t scope, int embed) {
    struct iopkt_bsd_sockaddr_in6 a = {.sin6_len = 28, .sin6_family = IOPKT_BSD_AF_INET6};
    inet_pton(AF_INET6, text, a.sin6_addr);
    if (embed) a.sin6_addr[3] = scope;
    else a.sin6_scope_id = scope;
    memcpy(at, &a, sizeof a);
    return at + 32;
}

static void show(const uint8_t *sa) {
    char b[64];
    printf("%s", inet_ntop(AF_INET6, sa + 8, b, sizeof b));
}

static int ask(int s, int type, int seq, uint8_t *b, int32_t addrs, int32_t flags, uint8_t *end) {
    struct iopkt_rt_msghdr *h = (void *)b;
    memset(h, 0, sizeof *h);
    h->rtm_msglen = end - b;
    h->rtm_version = IOPKT_RTM_VERSION;
    h->rtm_type = type;
    h->rtm_seq = seq;
    h->rtm_addrs = addrs;
    h->rtm_flags = flags;
    if (write(s, b, end - b) != end - b) return -1;
    for (;;) {
        ssize_t n = read(s, b, 2048);
        if (n < (ssize_t)sizeof *h) return -1;
        if (h->rtm_seq == seq && h->rtm_pid == getpid()) return 0;
    }
}

int main(void) {
    static uint8_t b[2048];
    struct iopkt_rt_msghdr *h = (void *)b;
    uint8_t *first = b + sizeof *h;
    int s = socket(IOPKT_AF_ROUTE, SOCK_RAW, 0);
    if (s < 0) { perror("socket"); return 1; }
    uint8_t *end = put(first, "fe80::5", 2, 1);
    if (ask(s, IOPKT_RTM_GET, 1, b, IOPKT_RTA_DST, IOPKT_RTF_HOST, end)) { perror("get"); return 1; }
    printf("get ");
    show(first);
    printf(" errno %d index %d\n", h->rtm_errno, h->rtm_index);
    for (int type = IOPKT_RTM_ADD; type <= IOPKT_RTM_DELETE; type++) {
        memset(b, 0, sizeof b);
        end = put(put(put(first, "2001:db8:77::", 0, 0), "fe80::9", 2, 0), "ffff:ffff:ffff::", 0, 0);
        int32_t addrs = IOPKT_RTA_DST | IOPKT_RTA_GATEWAY | IOPKT_RTA_NETMASK;
        if (ask(s, type, 2 + type, b, addrs, IOPKT_RTF_UP | IOPKT_RTF_GATEWAY | IOPKT_RTF_STATIC, end)) { perror("change"); return 1; }
        if (h->rtm_errno) { printf("errno %d\n", h->rtm_errno); return 1; }
        printf(type == IOPKT_RTM_ADD ? "add " : "delete ");
        show(first);
        printf(" by ");
        show(first + 32);
        puts("");
    }
    return 0;
}
"#;

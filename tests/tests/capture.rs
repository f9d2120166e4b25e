//! What looks at frames, and what makes them: unmodified tcpdump, BPF devices, packet sockets, pcapng captures, TUN and TAP. Two
//! stacks, joined by a program that has the nodes of their tap0s open.

use iopkt_tests::{Lab, until};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn program(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs").join(name).display().to_string()
}

/// Waits until what process `i` has printed contains `text`.
#[track_caller]
fn says(lab: &mut Lab, i: usize, text: &str) {
    let found = until(LONG, || lab.proc(i).output().contains(text).then_some(()));
    assert!(found.is_some(), "no {text:?} in:\n{}\n--- log\n{}", lab.proc(i).output(), lab.log());
}

/// Waits until process `i` has ended well; returns what it has printed.
#[track_caller]
fn ends(lab: &mut Lab, i: usize) -> String {
    let status = lab.proc(i).wait(LONG);
    let out = lab.proc(i).output();
    assert!(status.is_some_and(|s| s.success()), "{status:?}\n{out}\n--- log\n{}", lab.log());
    out
}

/// Two stacks, 10.8.0.1 and (SOCK=/b) 10.8.0.2, and a wire between them.
fn two(name: &str) -> (Lab, usize) {
    let mut lab = Lab::new(name);
    lab.sh("io-pkt-v4-hc; io-pkt-v4-hc -i1 -ptcpip prefix=/b");
    for (sock, ip) in [("", "10.8.0.1"), ("/b", "10.8.0.2")] {
        lab.sh(&format!(
            "export SOCK={sock}; ifconfig tap0 create && ifconfig tap0 {ip} netmask 255.255.255.0"
        ));
    }
    let root = lab.root().display().to_string();
    let wire = lab.spawn(&format!("python3 {} {root}/dev/tap0 {root}/b/dev/tap0", program("wire.py")));
    says(&mut lab, wire, "joined");
    (lab, wire)
}

fn compile(lab: &Lab, name: &str) {
    let include = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../include");
    let (from, include) = (program(&format!("{name}.c")), include.display().to_string());
    lab.sh(&format!("cc -Wall -Wextra -Werror -Wno-unused-parameter -O1 -I{include} -o {name} {from}"));
}

#[test]
fn unmodified_tcpdump_captures_by_rings_of_both_kinds() {
    let (mut lab, _) = two("tcpdump");
    for ring in ["", "--immediate-mode"] {
        let t = lab.spawn(&format!("io-pkt-run tcpdump {ring} -l -n -e -i tap0 -c 4 icmp"));
        says(&mut lab, t, "listening on tap0");
        lab.sh("ping -c 2 10.8.0.2");
        let out = ends(&mut lab, t);
        assert_eq!(out.matches("ICMP echo request").count(), 2, "{out}");
        assert_eq!(out.matches("10.8.0.2 > 10.8.0.1: ICMP echo reply").count(), 2, "{out}");
        assert!(out.contains("link-type EN10MB") && out.contains("0 packets dropped by kernel"), "{out}");
    }
    // Into a file, with a short snap length; read back by another one.
    let t = lab.spawn("io-pkt-run tcpdump -Z root -U -n -i tap0 -s 60 -w f.pcap");
    says(&mut lab, t, "listening on tap0");
    lab.sh("arp -d 10.8.0.2; ping -c 1 -s 1000 10.8.0.2");
    lab.wait(LONG, "tcpdump -n -r f.pcap | grep -q 'echo reply'");
    lab.proc(t).signal(2);
    ends(&mut lab, t);
    let text = lab.sh("tcpdump -n -e -r f.pcap 2>/dev/null");
    assert!(text.contains("Request who-has 10.8.0.2") && text.contains("Reply 10.8.0.2 is-at"), "{text}");
    assert!(text.contains("length 1042: 10.8.0.1 > 10.8.0.2: ICMP echo request"), "{text}");
    // All interfaces at once, without link-level headers; loopback; an interface that is none.
    let t = lab.spawn("io-pkt-run tcpdump -l -n -i any -c 2 'icmp and host 127.0.0.1'");
    says(&mut lab, t, "listening on any");
    lab.sh("ping -c 1 10.8.0.2; ping -c 1 127.0.0.1");
    let out = ends(&mut lab, t);
    assert!(out.contains("LINUX_SLL2") && out.contains("127.0.0.1 > 127.0.0.1: ICMP echo reply"), "{out}");
    let t = lab.spawn("io-pkt-run tcpdump -l -n -i lo0 -c 2");
    says(&mut lab, t, "listening on lo0");
    lab.sh("ping -c 1 127.0.0.1");
    assert!(ends(&mut lab, t).contains("ICMP echo request"));
    let (_, err) = lab.sh_fails("io-pkt-run tcpdump -i none7");
    assert!(err.contains("none7"), "{err}");
}

#[test]
fn a_capture_ends_with_its_interface_and_leaves_nothing_behind() {
    let (mut lab, _) = two("tcpdump-end");
    let flags = |lab: &Lab| lab.sh("ifconfig tap0");
    // Into a file of ours: as root tcpdump gives its file to another user, which is not to happen to /dev/null.
    let t = lab.spawn("io-pkt-run tcpdump -n -i tap0 -w end.pcap");
    says(&mut lab, t, "listening on tap0");
    assert!(flags(&lab).contains("PROMISC"), "{}", flags(&lab));
    lab.proc(t).signal(9);
    assert!(lab.proc(t).wait(LONG).is_some());
    let quiet = until(LONG, || (!flags(&lab).contains("PROMISC")).then_some(()));
    assert!(quiet.is_some(), "{}", flags(&lab));
    let t = lab.spawn("io-pkt-run tcpdump -p -n -i tap0 -w end.pcap");
    says(&mut lab, t, "listening on tap0");
    assert!(!flags(&lab).contains("PROMISC"));
    lab.sh("ifconfig tap0 destroy");
    let status = lab.proc(t).wait(LONG);
    assert!(status.is_some_and(|s| !s.success()), "{status:?}: {}", lab.proc(t).output());
    assert!(lab.sh("ifconfig lo0").contains("127.0.0.1"), "the stack goes on");
}

#[test]
fn packet_sockets_of_programs_without_libpcap() {
    let (lab, _) = two("packet");
    for way in ["", "--seccomp-only"] {
        let out = lab.sh(&format!("arp -d -a; io-pkt-run {way} python3 {} tap0", program("packet.py")));
        assert!(out.contains("filtered"), "{way}: {out}");
    }
}

#[test]
fn bpf_devices_do_what_bpf_4_says() {
    let (mut lab, wire) = two("bpf");
    compile(&lab, "bpf");
    let b = lab.spawn("io-pkt-run ./bpf tap0 10.8.0.1 10.8.0.2");
    says(&mut lab, b, "ready");
    assert!(
        lab.sh("cat $IO_PKT_ROOT/dev/bpf").contains("io-pkt-run"),
        "there is a name for scripts to wait for"
    );
    lab.sh("ifconfig tap0 destroy");
    assert!(ends(&mut lab, b).ends_with("done\n"));
    ends(&mut lab, wire);
}

#[test]
fn stacks_joined_by_a_program_carry_everything() {
    let (mut lab, wire) = two("joined");
    let text = lab.sh("ping -c 3 10.8.0.2");
    assert!(text.contains("3 packets received"), "{text}");
    let server = lab.spawn("env SOCK=/b io-pkt-run python3 -u -m http.server --bind 10.8.0.2 8080");
    says(&mut lab, server, "Serving");
    lab.sh("head -c 2000000 /dev/urandom > blob; io-pkt-run curl -sS http://10.8.0.2:8080/blob | cmp - blob");
    let text = lab.sh("ifconfig tap0");
    assert!(text.contains("active") && text.contains("address: f2:0b:a4"), "{text}");
    // Without the wire there is no carrier.
    lab.proc(wire).signal(15);
    assert!(lab.proc(wire).wait(LONG).is_some());
    lab.wait(LONG, "ifconfig tap0 | grep -q 'no carrier'");
}

#[test]
fn tun_is_created_opened_and_destroyed() {
    let mut lab = Lab::new("tun");
    lab.sh("io-pkt-v4-hc");
    assert_eq!(lab.sh("ifconfig -C"), "lo tap tun\n");
    lab.sh("ifconfig tun0 create; ls $IO_PKT_ROOT/dev/tun0; waitfor /dev/tun0");
    let (_, err) = lab.sh_fails("ifconfig tun0 create");
    assert!(err.contains("exists"), "{err}");
    // A plain program, which knows nothing of io-pkt but where the node is.
    let root = lab.root().display().to_string();
    let echo = lab.spawn(&format!("python3 {} {root}/dev/tun0", program("echo.py")));
    says(&mut lab, echo, "open");
    lab.sh("ifconfig tun0 10.7.0.1 10.7.0.2 netmask 255.255.255.255");
    let text = lab.sh("ifconfig tun0; netstat -rn");
    assert!(text.contains("POINTOPOINT") && text.contains("inet 10.7.0.1 -> 10.7.0.2"), "{text}");
    assert!(lab.sh("ping -c 2 10.7.0.2").contains("2 packets received"));
    lab.sh("ifconfig tun0 destroy; ! test -e $IO_PKT_ROOT/dev/tun0");
    assert!(ends(&mut lab, echo).ends_with("gone\n"));

    compile(&lab, "tun");
    lab.sh("ifconfig tun0 create");
    let t = lab.spawn("io-pkt-run ./tun");
    says(&mut lab, t, "down");
    lab.sh("ifconfig tun0 10.7.0.1 10.7.0.2 netmask 255.255.255.255; touch up");
    says(&mut lab, t, "pings");
    assert!(lab.sh("ping -c 3 10.7.0.2").contains("3 packets received"));
    says(&mut lab, t, "tap");
    assert!(lab.sh("ifconfig tap0").contains("tap0"));
    lab.sh("rm up");
    says(&mut lab, t, "waiting");
    lab.wait(LONG, "! ifconfig tap0");
    lab.sh("ifconfig tun0 destroy");
    assert!(ends(&mut lab, t).ends_with("done\n"));
    let names = lab.sh("ls $IO_PKT_ROOT/dev");
    assert!(!names.contains("tun") && !names.contains("tap"), "{names}");
}

/// What the reader makes of a file.
fn read(lab: &Lab, file: &str) -> Value {
    let text = lab.sh(&format!("python3 {} {file}", program("pcapng.py")));
    if !lab.sh("command -v tshark || true").is_empty() {
        // Wireshark reads it too, and finds as many packets.
        let n = lab.sh(&format!("tshark -n -r {file} 2>/dev/null | wc -l"));
        let v: Value = serde_json::from_str(&text).expect("the reader prints JSON");
        assert_eq!(n.trim(), v["packets"].as_array().map_or(0, Vec::len).to_string());
    }
    serde_json::from_str(&text).expect("the reader prints JSON")
}

#[test]
fn pcapng_says_where_packets_went_and_why_they_were_dropped() {
    let (mut lab, _) = two("pcapng");
    let d = lab.spawn("io-pkt-dump -i tap0 -i lo0 -w f.pcapng --drops");
    says(&mut lab, d, "listening on tap0, lo0");
    lab.sh("ping -c 1 10.8.0.2; ping -c 1 127.0.0.1");
    // To a port that nobody listens on.
    let udp =
        "import socket;socket.socket(socket.AF_INET,socket.SOCK_DGRAM).sendto(b'nobody',('10.8.0.1',4242))";
    lab.sh(&format!("SOCK=/b io-pkt-run python3 -c \"{udp}\""));
    lab.wait(LONG, "netstat -s | grep -q '1 no socket for it'");
    lab.proc(d).signal(15);
    assert!(ends(&mut lab, d).contains(" 0 lost"), "{}", lab.proc(d).output());
    let v = read(&lab, "f.pcapng");
    assert!(v["application"].as_str().is_some_and(|a| a.starts_with("io-pkt-dump")));
    let names: Vec<_> =
        v["interfaces"].as_array().unwrap().iter().map(|i| (&i["name"], &i["link"])).collect();
    assert_eq!(format!("{names:?}"), r#"[(String("tap0"), Number(1)), (String("lo0"), Number(1))]"#);
    assert!(v["interfaces"][0]["mac"].as_str().is_some_and(|m| m.starts_with("f20ba4")));
    let packets = v["packets"].as_array().unwrap();
    let of = |interface: u64, part: &str| -> Vec<&Value> {
        let hit =
            |p: &&Value| p["interface"] == interface && p["data"].as_str().is_some_and(|d| d.contains(part));
        packets.iter().filter(hit).collect()
    };
    // Broadcast request sent, reply received; echo out and in; loopback once each.
    assert!(of(0, "08060001").iter().any(|p| p["flags"] == 2), "{v}");
    assert!(of(0, "08060001").iter().any(|p| p["flags"] == 5), "{v}");
    assert_eq!(of(1, "").len(), 2, "{v}");
    // As received; the ICMP error that quotes it was sent.
    let mut lost = of(0, "6e6f626f6479");
    lost.retain(|p| p["flags"] == 5);
    let comments = |p: &Value| p["comments"].clone();
    assert_eq!(
        lost.iter().map(|p| comments(p)).collect::<Vec<_>>(),
        [serde_json::json!(["dropped: no socket for it"])]
    );
    assert!(packets.iter().filter(|p| comments(p) != serde_json::json!([])).count() == 1, "{v}");
    let times: Vec<u64> = packets.iter().filter_map(|p| p["time"].as_u64()).collect();
    assert!(times.is_sorted() && times.iter().all(|t| *t > 1_600_000_000_000_000_000), "{times:?}");
    assert_eq!(v["statistics"].as_array().map(Vec::len), Some(2));
    assert_eq!(v["statistics"][1], serde_json::json!({"accepted": 2, "lost": 0, "written": 2}));
    // A filter, a snap length and a count, to standard output.
    let d = lab.spawn("sh -c 'io-pkt-dump -i tap0 -s 50 -c 2 -w - icmp > g.pcapng'");
    says(&mut lab, d, "listening");
    lab.sh("arp -d -a; ping -c 2 -s 200 10.8.0.2");
    ends(&mut lab, d);
    let v = read(&lab, "g.pcapng");
    let p = &v["packets"];
    assert_eq!(p.as_array().map(Vec::len), Some(2), "{v}");
    assert!(p[0]["length"] == 242 && p[0]["data"].as_str().is_some_and(|d| d.len() == 100), "{v}");
    // As programs that tcpdump has compiled.
    lab.sh("tcpdump -ddd -y EN10MB arp > prog");
    let d = lab.spawn("io-pkt-dump -i tap0 -F prog -c 2 -w h.pcapng");
    says(&mut lab, d, "listening");
    lab.sh("arp -d -a; ping -c 1 10.8.0.2");
    ends(&mut lab, d);
    assert_eq!(read(&lab, "h.pcapng")["packets"].as_array().map(Vec::len), Some(2));
    for (line, why) in [
        ("io-pkt-dump -i none9 -w x", "there are: lo0 tap0"),
        ("io-pkt-dump -i tap0 -w x 'frob 7'", "syntax error"),
        ("io-pkt-dump -i tap0 -w /nowhere/x", "/nowhere/x"),
        ("io-pkt-dump -Q up", "in, out or inout"),
    ] {
        let (_, err) = lab.sh_fails(line);
        assert!(err.contains(why), "{line}: {err}");
    }
    let json = lab.sh("io-pkt-dump -D --json");
    let v: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(v[1], serde_json::json!({"name": "tap0", "up": true, "link": "EN10MB"}));
}

#[test]
fn wireshark_can_call_it() {
    let (mut lab, _) = two("extcap");
    let list = lab.sh("io-pkt-dump --extcap-interfaces --extcap-version=4.0");
    assert!(list.starts_with("extcap {version="), "{list}");
    assert!(list.contains("interface {value=io-pkt-tap0}{display=io-pkt: tap0}"), "{list}");
    let dlts = lab.sh("io-pkt-dump --extcap-interface io-pkt-tap0 --extcap-dlts");
    assert_eq!(dlts, "dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
    let config = lab.sh("io-pkt-dump --extcap-interface io-pkt-tap0 --extcap-config");
    assert!(
        config.contains("{call=--drops}")
            && config.lines().all(|l| l.starts_with("arg ") || l.starts_with("value "))
    );
    let ask = |f: &str| {
        lab.sh(&format!("io-pkt-dump --extcap-interface io-pkt-tap0 --extcap-capture-filter '{f}'"))
    };
    assert_eq!(ask("icmp or arp"), "", "a good filter");
    assert!(ask("icmp or").contains("syntax error"));
    // Where no stack runs there are no interfaces, and no failure.
    assert!(!lab.sh("SOCK=/none io-pkt-dump --extcap-interfaces").contains("interface {"));
    lab.sh("mkfifo fifo");
    let r = lab.spawn("sh -c 'exec cat fifo > f.pcapng'");
    let d = lab.spawn(
        "io-pkt-dump --capture --extcap-interface io-pkt-tap0 --fifo fifo --drops -Q in -s 0 --extcap-capture-filter icmp",
    );
    says(&mut lab, d, "listening on tap0");
    lab.sh("ping -c 2 10.8.0.2");
    // Wireshark ends it so.
    lab.wait(LONG, "test $(stat -c %s f.pcapng) -gt 400");
    lab.proc(d).signal(15);
    ends(&mut lab, d);
    ends(&mut lab, r);
    let v = read(&lab, "f.pcapng");
    let p = v["packets"].as_array().unwrap();
    assert!(!p.is_empty() && p.iter().all(|p| p["flags"] == 5), "{v}");
}

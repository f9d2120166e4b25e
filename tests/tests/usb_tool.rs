//! The tool `usb` and io-usb's commands, as a person or script meets them.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn exit_codes_selection_json_and_other_stacks() {
    let mut lab = Lab::new("usbtool");
    let (code, why) = lab.sh_fails("usb");
    assert!(code == 1 && why.contains("no USB stack at /dev/usb") && why.contains("io-usb -d sim"), "{why}");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    lab.spawn(&format!("io-usb --foreground -d sim serial=first -d sim serial=second -l 127.0.0.1:{port}"));
    lab.wait(SOON, "test -S $IO_PKT_ROOT/dev/usb");
    let all = lab.sh("usb");
    assert!(all.starts_with("USB 1 (SIM) v1.11"), "{all}");
    assert_eq!(all.matches("Device Address             : ").count(), 2, "{all}");
    assert_eq!(all.lines().filter(|l| l.contains(" : ") && l.starts_with("Class")).count(), 2, "{all}");
    let one = lab.sh("usb -v -b 1 -d 3");
    assert!(one.contains("Serial Number              : second\n") && !one.contains("first"), "{one}");
    assert!(lab.sh("usb -vv").contains("Attributes     : Bulk/IN"));
    assert!(lab.sh("usb -vvv").contains("CDC Ethernet Networking: 0d 24 0f"));
    assert!(lab.sh("usb -t").contains("  +- 3 1d6b:0104 port 2, High speed, "));
    // What was asked for and is not there is a failure, also for scripts that read JSON.
    for (line, text) in [
        ("usb -b 7", "no device on bus 7"),
        ("usb -d 99", "no device at address 99"),
        ("usb -b 7 -d 2 -t", "no device at address 2 on bus 7"),
        ("usb -b seven", "not a number"),
        ("usb -x", "usage: usb"),
        ("usb word", "usage: usb"),
        ("usb -n /dev/none", "no USB stack at /dev/none"),
        ("usb -n 127.0.0.1:1", "127.0.0.1:1"),
    ] {
        let (code, why) = lab.sh_fails(line);
        assert!(code == 1 && why.contains(text), "{line}: {why}");
    }
    assert_eq!(lab.sh("usb --json -b 7; echo $?"), "[]\n1\n");
    let json = lab.sh("usb --json -d 2");
    assert!(json.contains("\"serial\": \"first\"") && json.contains("\"max_packet\": 512"), "{json}");
    // Any USB/IP server, by TCP.
    assert!(lab.sh(&format!("usb -v -n 127.0.0.1:{port}")).contains("Serial Number              : first"));
    // Nothing plugged in is no failure.
    lab.sh("io-usb -c unplug 1-1; io-usb -c unplug 1-2");
    assert_eq!(lab.sh("usb"), "no devices\n");
}

#[test]
fn another_user_is_not_let_in_unless_a_group_is() {
    let mut lab = Lab::new("usbwho");
    if !rustix::process::geteuid().is_root() {
        eprintln!("\n*** SKIPPED: only root can be another user ***\n");
        return;
    }
    lab.spawn("io-usb --foreground -d sim");
    lab.wait(SOON, "test -S $IO_PKT_ROOT/dev/usb");
    // Nothing of the path is in the way: it is the socket that refuses.
    lab.sh("chmod 755 $IO_PKT_ROOT $IO_PKT_ROOT/dev; d=$IO_PKT_ROOT; while [ $d != / ]; do chmod o+x $d; d=$(dirname $d); done");
    // The checkout may lie where only root can go.
    lab.sh("cp -L $(command -v iopkt-utils) usb; cp -L $(command -v io-usb) io-usb; chmod 755 . usb io-usb");
    let as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups env";
    let (_, why) = lab.sh_fails(&format!("{as_nobody} ./usb"));
    assert!(why.contains("Permission denied") && why.contains("-g GROUP"), "{why}");
    lab.sh("io-usb -c stop");
    lab.wait(SOON, "! test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-usb --foreground -d sim -g 65534");
    lab.wait(SOON, "test -S $IO_PKT_ROOT/dev/usb");
    lab.wait(SOON, &format!("{as_nobody} ./usb | grep -q 1d6b"));
    // It may use devices, and not break them.
    let (_, why) = lab.sh_fails(&format!("{as_nobody} ./io-usb -c unplug"));
    assert!(why.contains("only the user who runs io-usb"), "{why}");
}

#[test]
fn a_tap_that_has_to_be_made_is_said_aloud() {
    let mut lab = Lab::new("usbtap");
    let ns = Netns::new();
    ns.exec("ip tuntap add t0 mode tap");
    let there =
        lab.spawn(&format!("ip netns exec {} io-usb --foreground -d sim far=tap:t0 -n /dev/usb1", ns.name));
    lab.wait(SOON, "test -S $IO_PKT_ROOT/dev/usb1");
    let made = lab.spawn(&format!("ip netns exec {} io-usb --foreground -d sim far=tap:t1", ns.name));
    lab.wait(SOON, "test -S $IO_PKT_ROOT/dev/usb");
    assert!(lab.sh("io-usb -c list").contains("far side tap:t1 (made by io-usb)"));
    assert!(lab.sh("io-usb -n /dev/usb1 -c list").contains("far side tap:t0\n"));
    assert!(lab.proc(made).output().contains("there was no interface t1 here, so it was made"));
    assert!(!lab.proc(there).output().contains("was made"));
}

/// udev joins its own lists by `|` and matches as the shell does: the shell is asked.
#[test]
fn the_udev_rule_opens_network_functions_and_nothing_else() {
    let rules = include_str!("../../share/udev/60-io-pkt-usb.rules");
    let mut pattern = None;
    let mut labels = (Vec::new(), Vec::new());
    for l in rules.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        for token in l.split(", ") {
            let (key, value) = token.split_once(['=', '!', '+']).expect("a key and an operator");
            let value = value.trim_start_matches('=').trim_matches('"');
            match key {
                "ACTION" | "SUBSYSTEM" | "ENV{DEVTYPE}" => {}
                "GROUP" => assert_eq!(value, "plugdev"),
                "MODE" => assert_eq!(value, "0660"),
                "TAG" => assert_eq!(value, "uaccess"),
                "GOTO" => labels.0.push(value),
                "LABEL" => labels.1.push(value),
                "ENV{ID_USB_INTERFACES}" => pattern = Some(value),
                k => panic!("{k} in {l}"),
            }
        }
    }
    assert!(labels.0.iter().all(|g| labels.1.contains(g)));
    // What stands before 73-seat-late.rules may give out uaccess.
    let pattern = pattern.expect("a match of interfaces");
    let lab = Lab::new("udev");
    for (interfaces, opens) in [
        (":020600:0a0000:020201:", true),
        (":0202ff:0a0000:020600:", true),
        (":020d00:0a0001:", true),
        (":030101:", false),
        (":080650:", false),
        (":020201:0a0000:", false),
        (":e00101:", false),
        (":ff0206:", false),
    ] {
        let line = format!("case {interfaces} in {pattern}) echo opens ;; *) echo stays ;; esac");
        assert_eq!(lab.sh(&line).trim() == "opens", opens, "{interfaces}");
    }
}

//! The mirror is the header: a C program prints size and offset of everything, this side compares.

use iopkt_abi as abi;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

/// Lines "name size" or "name.field offset" of one struct, and the C expressions for the same.
macro_rules! table {
    ($rust:ident, $c:literal: $($field:ident),* $(,)?) => {{
        let mut ours = vec![(String::from($c), size_of::<abi::$rust>())];
        ours.extend([$((format!(concat!($c, ".", stringify!($field))), offset_of!(abi::$rust, $field))),*]);
        let mut c = format!("P(\"{0}\", sizeof(struct iopkt_{0}));\n", $c);
        $(let _ = writeln!(c, "P(\"{0}.{1}\", offsetof(struct iopkt_{0}, {1}));", $c, stringify!($field));)*
        (ours, c)
    }};
}

/// A constant of the header under its Rust name.
macro_rules! consts {
    ($($name:ident),* $(,)?) => {{
        let ours = vec![$((String::from(stringify!($name)), abi::$name as usize)),*];
        let mut c = String::new();
        $(let _ = writeln!(c, "P(\"{0}\", IOPKT_{0});", stringify!($name));)*
        (ours, c)
    }};
}

fn tables() -> Vec<(Vec<(String, usize)>, String)> {
    vec![
        table!(Head, "head": size, major, minor),
        table!(Object, "object": magic, head, kind, needs_minor, needs, name, prefix, version, description,
            options, reserved, driver, module),
        table!(Mbuf, "mbuf": next, pool, buf, cap, off, len, ifindex, flags, csum_start, csum_offset, gso_size,
            gso_type, priority),
        table!(Link, "link": head, state, full_duplex, speed_rx, speed_tx),
        table!(Filter, "filter": head, promisc, allmulti, ngroups, pad, groups),
        table!(Nicinfo, "nicinfo": head, cookie, put),
        table!(DeviceOps, "device_ops": head, bind, start, stop, transmit, fd, timer, wake, filter, set_mtu,
            set_caps, nicinfo, detach, quiesce, set_media, may_destroy, set_flags),
        table!(Device, "device": head, dev, ops, cookie, description, prefix, unit, link_type, mac, pad, mtu,
            mtu_max, flags, caps_rx, caps_tx, link, media),
        table!(Attached, "attached": head, port, ifindex, name),
        table!(Host, "host": head, log, now, stopping, random, root, wake, mbuf_alloc, mbuf_free, depart,
            fd_add, fd_mod, fd_del, timer, attach, why, resident, name_add, name_del, receive, tx_ready, link,
            count),
        table!(DriverOps, "driver_ops": head, load, fd, timer, wake, gone, unload),
        table!(Addr, "addr": family, prefix_len, state, flags, addr, broadcast, peer),
        table!(If, "if": head, ifindex, flags, mtu, link_type, link_state, mac, pad, name, alias, driver, naddrs,
            pad2, addrs),
        table!(ModuleHost, "module_host": head, host, interfaces, addr_add, addr_del, if_flags, listen, unlisten,
            output),
        table!(ModuleOps, "module_ops": head, load, fd, timer, wake, input, changed, unload),
        consts!(
            ABI_MAJOR,
            ABI_MINOR,
            KIND_DRIVER,
            KIND_MODULE,
            BATCH,
            M_BCAST,
            M_MCAST,
            M_CSUM_OK,
            M_CSUM_PARTIAL,
            M_LOOP,
            M_PROMISC,
            M_MASK,
            GSO_NONE,
            GSO_TCP4,
            GSO_TCP6,
            GSO_UDP,
            GSO_ECN,
            LOG_SHUTDOWN,
            LOG_CRITICAL,
            LOG_ERROR,
            LOG_WARNING,
            LOG_NOTICE,
            LOG_INFO,
            LOG_DEBUG1,
            LOG_DEBUG2,
            FD_READ,
            FD_WRITE,
            FD_ERROR,
            FD_HANGUP,
            NEVER,
            LINK_ETHER,
            LINK_RAWIP,
            LINK_UNKNOWN,
            LINK_DOWN,
            LINK_UP,
            CAP_IP4CSUM,
            CAP_TCP4CSUM,
            CAP_UDP4CSUM,
            CAP_TCP6CSUM,
            CAP_UDP6CSUM,
            CAP_TSO4,
            CAP_TSO6,
            CAP_LRO,
            CAP_USO4,
            CAP_USO6,
            DEV_MEDIA,
            DEV_NOMULTICAST,
            DEV_LEGACY,
            DEV_CAPSON,
            MEDIA_ETHER,
            MEDIA_AUTO,
            MEDIA_MANUAL,
            MEDIA_NONE,
            MEDIA_10_T,
            MEDIA_100_TX,
            MEDIA_1000_T,
            MEDIA_FDX,
            MEDIA_HDX,
            MEDIA_MAX,
            FLAG_DEBUG,
            FLAG_LINK0,
            FLAG_LINK1,
            FLAG_LINK2,
            ADDR_VALID,
            ADDR_TENTATIVE,
            ADDR_DUPLICATED,
            ADDR_BROADCAST,
            ADDR_PEER,
            ADDR_PRIMARY,
            IF_UP,
            IF_BROADCAST,
            IF_LOOPBACK,
            IF_POINTOPOINT,
            IF_RUNNING,
            IF_NOARP,
            IF_PROMISC,
            IF_ALLMULTI,
            IF_MULTICAST,
            CHANGED_ARRIVED,
            CHANGED_DEPARTED,
            CHANGED_STATE,
            CHANGED_ADDRS,
            UNIT_ANY,
            STAY_REMOVED,
            STAY_DESTROYED,
            COUNT_IERRORS,
            COUNT_IQDROPS,
            COUNT_OERRORS,
            COUNT_COLLISIONS
        ),
    ]
}

/// Fields of a struct of the header, so that one that the mirror forgot is seen.
fn fields_in_header(header: &str, name: &str) -> usize {
    let Some(body) = header.split(&format!("struct iopkt_{name} {{")).nth(1) else { return 0 };
    let body = body.split("\n};").next().unwrap_or("");
    let mut plain = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("/*") {
        plain.push_str(before);
        rest = after.split_once("*/").map_or("", |x| x.1);
    }
    plain.push_str(rest);
    plain
        .split(';')
        .filter(|d| !d.trim().is_empty())
        .map(|d| if d.contains('(') { 1 } else { d.matches(',').count() + 1 })
        .sum()
}

#[test]
fn the_mirror_is_the_header() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (mut ours, mut body) = (Vec::new(), String::new());
    for (o, c) in tables() {
        ours.extend(o);
        body.push_str(&c);
    }
    let src = dir.join("layout.c");
    let exe = dir.join(format!("layout-{}", std::process::id()));
    let text = format!(
        "#include <iopkt/module.h>\n#include <stdio.h>\n\
         #define P(n, v) printf(\"%s %llu\\n\", n, (unsigned long long)(v))\nint main(void)\n{{\n{body}return 0;\n}}\n"
    );
    std::fs::write(&src, text).unwrap();
    let cc = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(&include)
        .arg("-o")
        .args([&exe, &src])
        .output()
        .expect("a C compiler (cc)");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    let out = Command::new(&exe).output().unwrap();
    std::fs::remove_file(&exe).unwrap();
    let theirs: Vec<(String, usize)> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|l| l.split_once(' ').map(|(n, v)| (n.to_owned(), v.parse().unwrap())).unwrap())
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn no_field_of_the_header_is_forgotten() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include/iopkt");
    let header: String = ["abi.h", "mbuf.h", "driver.h", "module.h"]
        .iter()
        .map(|f| std::fs::read_to_string(include.join(f)).unwrap())
        .collect();
    for (ours, _) in tables() {
        let (name, _) = &ours[0];
        if ours[1].0.contains('.') {
            assert_eq!(ours.len() - 1, fields_in_header(&header, name), "fields of struct iopkt_{name}");
        }
    }
}

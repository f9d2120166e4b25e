//! -p tcpip options and flags whose effect is seen on the running process.

mod common;

use common::{Dir, Stack, build, text, until};
use iopkt_base::Errno;
use iopkt_client::{TcpListener, TcpStream, UdpSocket};
use iopkt_ctl::{Reply, Request};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;

fn limit(s: &Stack, name: &str) -> String {
    let Reply::Stack(info) = s.ctl(&Request::Stack) else { panic!() };
    info.limits.into_iter().find(|l| l.0 == name).unwrap_or_else(|| panic!("no limit {name}")).1
}

/// A counter of `netstat -m`.
fn counter(s: &Stack, what: &str) -> u64 {
    let Reply::Stats(st) = s.ctl(&Request::Stats) else { panic!() };
    st.counters.iter().find(|c| c.group == "mbuf" && c.text.contains(what)).unwrap().value
}

/// Sends `n` bytes through the stack and back to it.
fn transfer(s: &Stack, n: usize) {
    let session = s.session();
    let l = TcpListener::bind(&session, "127.0.0.1:0".parse().unwrap(), 5).unwrap();
    let mut c = TcpStream::connect(&session, l.local_addr().unwrap()).unwrap();
    let (mut a, _) = l.accept().unwrap();
    let data: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
    let mut got = Vec::new();
    std::thread::scope(|t| {
        t.spawn(|| {
            c.write_all(&data).unwrap();
            c.shutdown(std::net::Shutdown::Write).unwrap();
        });
        a.read_to_end(&mut got).unwrap();
    });
    assert!(got == data, "{} bytes of {n} came", got.len());
}

/// Threads by name: how many there are.
fn threads(s: &Stack, name: &str) -> usize {
    s.switches().iter().filter(|t| t.0 == name).count()
}

/// Scheduling policy and real-time priority of the thread of this name.
fn scheduling(s: &Stack, name: &str) -> Option<(u32, u32)> {
    for t in std::fs::read_dir(format!("/proc/{}/task", s.child.id())).unwrap().flatten() {
        let stat = std::fs::read_to_string(t.path().join("stat")).unwrap();
        let (head, tail) = stat.rsplit_once(')').unwrap();
        if head.ends_with(&format!("({name}")) {
            let f: Vec<&str> = tail.split_whitespace().collect();
            // proc(5): fields 40 and 41; the first of `tail` is the third.
            return Some((f[41 - 3].parse().unwrap(), f[40 - 3].parse().unwrap()));
        }
    }
    None // a thread names itself when it first runs
}

fn tries() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tries.c");
    build(&source, "devnp-tries.so").to_str().unwrap().to_owned()
}

#[test]
fn an_unknown_option_is_a_line_in_the_log_and_the_stack_goes_on() {
    let s = Stack::start("-ptcpip prefx=/a,somaxconn=5000,frobnicate=1");
    assert!(s.dir.logged("unknown option 'prefx'; did you mean 'prefix'?"));
    assert!(s.dir.logged("unknown option 'frobnicate'"));
    assert_eq!(limit(&s, "somaxconn"), "5000");
}

#[test]
fn out_of_threads_is_said_and_the_request_waits() {
    let s = Stack::start("-ptcpip threads_min=4,threads_max=5,threads_incr=1,stacksize=8192");
    until("the floor is there", || threads(&s, "pool") == 4);
    let object = tries();
    std::thread::scope(|t| {
        // Each of these blocks in its driver's load.
        let waiting: Vec<_> = (0..7).map(|_| t.spawn(|| s.load(&object, "wait"))).collect();
        until("it is said", || s.dir.logged("out of threads: all 5 are busy (threads_max=5 is the ceiling)"));
        until("as many as there may be", || threads(&s, "pool") == 5);
        // Everything that needs no thread goes on.
        transfer(&s, 10_000);
        std::fs::write(s.dir.0.join("go"), "").unwrap();
        for w in waiting {
            let r = w.join().unwrap();
            assert!(matches!(&r, Reply::Names(n) if n.len() == 1), "{r:?}");
        }
    });
    assert_eq!(s.wait_interfaces(8).len(), 8);
    let said = s.dir.log().iter().filter(|l| l.contains("out of threads")).count();
    assert_eq!(said, 1, "once");
}

#[test]
fn the_pool_has_its_defaults() {
    let s = Stack::start("");
    until("the floor is there", || threads(&s, "pool") == 15);
    for (name, value) in
        [("threads_min", "15"), ("threads_max", "200"), ("threads_incr", "25"), ("recv_ctxt", "65536")]
    {
        assert_eq!(limit(&s, name), value, "{name}");
    }
    assert!(limit(&s, "stacksize").starts_with("4096 "));
    assert_eq!(limit(&s, "pkt_typed_mem"), "sysram (heap)");
    // A packet thread for each processor, the stack on the first.
    assert_eq!(limit(&s, "packet threads"), iopkt_sys::process::cpus().to_string());
    assert!(s.dir.logged("Using pseudo random generator"));
    drop(s);
    let s = Stack::start("-ptcpip random");
    assert!(s.dir.logged("randomness from the kernel in every turn"));
    transfer(&s, 10_000);
}

/// Option lists that are in use, as they stand.
#[test]
fn field_scripts_work_as_they_stand() {
    for options in [
        "threads_max=300",
        "threads_max=1000",
        "stacksize=8192",
        "stacksize=48000,mclbytes=4096",
        "stacksize=8192,pagesize=65536,pkt_cache=1024,mbuf_cache=1024,pkt_typed_mem=/ram/dma",
        "stacksize=8192,prefix=/alt",
        "rx_pulse_prio=50",
    ] {
        let s = Stack::start(&format!("-ptcpip {options}"));
        transfer(&s, 50_000);
        assert!(!s.dir.logged("unknown option"), "{options}");
    }
}

#[test]
fn packet_memory_follows_pagesize_mclbytes_and_caches() {
    // A cluster and its header are 2048 + 64 bytes; memory is taken by the batch of 32, in whole pages.
    for (options, bytes, each) in [
        ("mclbytes=2048", 69_632, 2112),
        ("pagesize=65536", 131_072, 2112),
        ("pagesize=1048576,mclbytes=4096", 1_048_576, 4160),
    ] {
        let s = Stack::start(&format!("-t1 -ptcpip {options}"));
        transfer(&s, 100_000);
        assert_eq!(limit(&s, "bytes of packet buffers taken at a time"), bytes.to_string());
        let made = counter(&s, "clusters allocated");
        assert!(made > 0 && made.is_multiple_of(bytes / each), "{options}: {made}");
    }
    // What a thread keeps for itself: up to the cache's size and two batches of 32; without caching nothing.
    for (options, most) in
        [("pkt_cache=0", 64), ("mbuf_cache=1000,pkt_cache=10", 1064), ("cache=0,pkt_cache=1000", 0)]
    {
        let s = Stack::start(&format!("-t1 -ptcpip {options}"));
        let session = s.session();
        // Many buffers at once, then none: datagrams that wait in a socket, which is closed.
        let u = UdpSocket::bind(&session, "127.0.0.1:0".parse().unwrap()).unwrap();
        let to = u.local_addr().unwrap();
        for _ in 0..1500 {
            u.send_to(&[1; 100], to).unwrap();
        }
        until("they wait", || counter(&s, "clusters allocated") > 64 || most == 0);
        drop(u);
        until("they are free", || counter(&s, "in use or cached") <= most);
        if most > 1000 {
            assert!(counter(&s, "in use or cached") > 64, "{options}: it keeps them");
        }
    }
}

#[test]
fn packet_memory_lies_where_pkt_typed_mem_says() {
    let dir = Dir::new();
    std::fs::create_dir_all(&dir.0).unwrap();
    let file = dir.0.join("buffers");
    let name = file.to_str().unwrap().to_owned();
    for (object, mapped) in [
        ("memfd", "memfd:io-pkt"),
        ("ram/dma", "memfd:io-pkt"),
        ("/ram/dma", "memfd:io-pkt"),
        (&name, "buffers"),
    ] {
        let s = Stack::start(&format!("-t1 -ptcpip pkt_typed_mem={object}"));
        assert!(s.maps(mapped), "{object}");
        transfer(&s, 1_000_000);
        assert!(
            limit(&s, "pkt_typed_mem").starts_with(&format!("{object} (")),
            "{}",
            limit(&s, "pkt_typed_mem")
        );
    }
    // The file was made as large as all packet buffers are together, and something has been written to it.
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() >= 64 << 20 && bytes.iter().any(|b| *b != 0));
    // One that has a size limits: a stack with a mere megabyte still works. Strictly, large packets come from it too.
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let s = Stack::start(&format!("-t1 -ptcpip pkt_typed_mem={name},pagesize=16384,bigpage_strict"));
    transfer(&s, 1_000_000);
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    drop(s);
    for (object, says) in
        [("nosuch", "there is no such object; there are sysram, ram/dma"), ("/nonexistent/x", "No such file")]
    {
        let out = dir.run(&format!("-ptcpip pkt_typed_mem={object}"));
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stderr).contains(says), "{}", text(&out.stderr));
    }
    std::fs::write(&file, [0; 8192]).unwrap();
    let out = dir.run(&format!("-ptcpip pkt_typed_mem={name}"));
    assert!(text(&out.stderr).contains("smaller pagesize"), "{}", text(&out.stderr));
}

#[test]
fn a_hugetlbfs_directory_serves_when_there_are_huge_pages() {
    let free = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = free
        .lines()
        .find_map(|l| l.strip_prefix("HugePages_Free:"))
        .and_then(|n| n.trim().parse::<u64>().ok());
    if !Path::new("/dev/hugepages").is_dir() {
        eprintln!("*** SKIPPED: no /dev/hugepages here ***");
        return;
    }
    let d = Dir::new();
    if free.unwrap_or(0) < 40 {
        // None free: the start says what is missing.
        let out = d.run("-ptcpip pkt_typed_mem=/dev/hugepages");
        if out.status.code() == Some(1) {
            let e = text(&out.stderr);
            assert!(e.contains("/dev/hugepages"), "{e}");
        }
        eprintln!("*** SKIPPED: not enough free huge pages ***");
        return;
    }
    let s = Stack::start_in(d, "-t1 -ptcpip pkt_typed_mem=/dev/hugepages");
    assert!(limit(&s, "pkt_typed_mem").contains("huge pages"));
    transfer(&s, 1_000_000);
}

#[test]
fn small_receive_contexts_only_make_more_steps() {
    let s = Stack::start("-ptcpip recv_ctxt=2048");
    assert_eq!(limit(&s, "recv_ctxt"), "2048");
    transfer(&s, 500_000);
    // Datagrams larger than that pass, too.
    let session = s.session();
    let u = UdpSocket::bind(&session, "127.0.0.1:0".parse().unwrap()).unwrap();
    u.send_to(&[7; 30_000], u.local_addr().unwrap()).unwrap();
    let mut b = vec![0; 40_000];
    assert_eq!(u.recv_meta(&mut b).unwrap().0, 30_000);
}

#[test]
fn so_txprio_takes_so_txprio_enable() {
    const SO_TXPRIO: i32 = 0x100b;
    for (options, want) in [("", Err(Some(Errno::EOPNOTSUPP.0))), ("-ptcpip so_txprio_enable", Ok(()))] {
        let s = Stack::start(options);
        let u = UdpSocket::bind(&s.session(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let r = u.set_option(1, SO_TXPRIO, &5i32.to_ne_bytes());
        assert_eq!(r.map_err(|e| e.raw_os_error()), want, "{options}");
    }
}

#[test]
fn the_stack_may_have_a_thread_of_its_own() {
    let s = Stack::start("-D -t1 -d sample devices=2");
    s.wait_interfaces(3);
    until("they have their names", || {
        (threads(&s, "packet0"), threads(&s, "packet1"), threads(&s, "packet2")) == (1, 1, 0)
    });
    let placed: Vec<_> = s.dir.log().into_iter().filter(|l| l.contains("(packet thread ")).collect();
    assert_eq!(placed.len(), 2);
    assert!(placed.iter().all(|l| l.contains("(packet thread 1)")), "{placed:?}");
}

/// Whether this process may have real-time threads.
fn real_time() -> bool {
    std::thread::spawn(|| {
        matches!(iopkt_sys::process::set_priority(21), Ok(iopkt_sys::process::Priority::RealTime(_)))
    })
    .join()
    .unwrap()
}

#[test]
fn priorities_of_threads_and_interfaces() {
    if !real_time() {
        eprintln!(
            "*** SKIPPED: real-time priorities are not permitted here; what is said then is tested in privilege.rs ***"
        );
        return;
    }
    const RR: u32 = 2;
    // The stack's timers run on the first thread: it has the higher of the two. QNX 10 is where time sharing ends.
    let s = Stack::start("-t2 -P15 -ptcpip rx_pulse_prio=20,timer_pulse_prio=30");
    until("they have them", || {
        scheduling(&s, "packet0") == Some((RR, 20)) && scheduling(&s, "packet1") == Some((RR, 10))
    });
    until("so has the main thread", || scheduling(&s, "io-pkt-v4-hc") == Some((RR, 5)));
    drop(s);
    // An interface's own wins over rx_prio, and a thread each keeps them apart.
    let s = Stack::start("-t2 -ptcpip rx_prio=12 -d sample priority=20 -d sample priority=50");
    s.wait_interfaces(3);
    until("they have them", || {
        scheduling(&s, "packet0") == Some((RR, 10)) && scheduling(&s, "packet1") == Some((RR, 40))
    });
    assert!(!s.dir.logged("not honoured properly"));
    // With the interface goes its priority.
    let name = s.names()[2].clone();
    assert_eq!(s.ctl(&Request::Destroy { name }), Reply::Ok);
    until("it is back", || scheduling(&s, "packet1") == Some((RR, 2)));
    drop(s);
    // More of them than threads: said, and the higher one counts.
    let s = Stack::start("-t1 -d sample priority=20 -d sample priority=50");
    s.wait_interfaces(3);
    until("it is said", || s.dir.logged("more interfaces with priorities than packet threads"));
    until("the higher counts", || scheduling(&s, "packet0") == Some((RR, 40)));
}

fn set_hostname(name: &[u8]) -> std::io::Result<()> {
    // SAFETY: pointer and length are those of `name`.
    match unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn the_hosts_name_is_followed_when_asked() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("*** SKIPPED: needs user 0 for a name of its own ***");
        return;
    }
    use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
    for (options, follows) in [("", false), ("-ptcpip confstr_monitor", true)] {
        let dir = Dir::new();
        let mut c = dir.command(&format!("--foreground {options}"));
        // SAFETY: two system calls between fork and exec, nothing of ours is touched.
        unsafe {
            c.pre_exec(|| {
                rustix::thread::unshare_unsafe(UnshareFlags::NEWUTS)?;
                set_hostname(b"before")
            });
        }
        let s = Stack::adopt(c.spawn().unwrap(), dir);
        let name = || {
            let r = s.ctl(&Request::Sysctl { name: "kern.hostname".into(), value: None });
            let Reply::Sysctl(l) = r else { panic!("{r:?}") };
            l[0].1.clone()
        };
        assert_eq!(name(), "before");
        let rename = |to: &'static [u8]| {
            let uts = std::fs::File::open(format!("/proc/{}/ns/uts", s.child.id())).unwrap();
            let t = std::thread::spawn(move || {
                use std::os::fd::AsFd;
                let what = Some(LinkNameSpaceType::HostNameAndNISDomainName);
                move_into_link_name_space(uts.as_fd(), what).unwrap();
                set_hostname(to).unwrap();
            });
            t.join().unwrap();
        };
        rename(b"after");
        if follows {
            until("it is followed", || name() == "after");
            // The first may have been seen at the start still; from then on every change is told.
            rename(b"later");
            until("it is followed", || name() == "later");
            assert!(s.dir.logged("the host's name is now later"));
        } else {
            transfer(&s, 1000);
            assert_eq!(name(), "before", "read once, at the start");
        }
        // It is the host's: nobody sets it here.
        let r = s.ctl(&Request::Sysctl { name: "kern.hostname".into(), value: Some("x".into()) });
        assert!(
            matches!(&r, Reply::Err { errno: Errno::EPERM, why } if why.contains("confstr_monitor")),
            "{r:?}"
        );
    }
}

#[test]
fn aliases_of_interfaces_are_accepted_and_not_shown() {
    let s = Stack::start("-d sample name=fxp,devices=2");
    assert_eq!(s.wait_interfaces(3), ["lo0", "fxp0", "fxp1"]);
    s.up("en1");
    assert_eq!(s.ctl(&Request::SetMtu { name: "en1".into(), mtu: 1400 }), Reply::Ok);
    let Reply::Interfaces(l) = s.ctl(&Request::Interfaces { name: Some("en1".into()) }) else { panic!() };
    assert_eq!((l[0].name.as_str(), l[0].mtu), ("fxp1", 1400));
    let u = UdpSocket::bind(&s.session(), "0.0.0.0:0".parse().unwrap()).unwrap();
    u.set_option(1, 25, b"en0\0").unwrap();
    assert_eq!(u.option(1, 25, 16).unwrap(), b"fxp0\0");
    assert_eq!(s.ctl(&Request::Destroy { name: "en0".into() }), Reply::Ok);
    assert_eq!(s.names(), ["lo0", "fxp1"]);
    drop(s);
    let s = Stack::start("-ptcpip enmap -d sample name=fxp");
    s.wait_interfaces(2);
    let r = s.ctl(&Request::SetMtu { name: "en0".into(), mtu: 1400 });
    assert!(matches!(r, Reply::Err { errno: Errno::ENXIO, .. }), "{r:?}");
}

#[test]
fn the_stack_is_a_directory_with_a_name_for_each_family() {
    let s = Stack::start("-ptcpip prefix=/alt");
    let dir = s.dir.0.join("alt/dev/socket");
    let mut names: Vec<_> = dir.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1", "17", "2"]);
    for f in names {
        iopkt_client::Session::open_at(&dir.join(f)).unwrap();
    }
}

#[test]
fn it_does_not_carry_ipv6() {
    let b = std::fs::read(env!("CARGO_BIN_EXE_io-pkt-v4-hc")).unwrap();
    // Names of functions as the compiler writes them: the crate's behind its length.
    let has = |name: &[u8]| b.windows(name.len()).any(|w| w == name);
    assert!(has(b"10iopkt_inet") && !has(b"11iopkt_inet6"));
}

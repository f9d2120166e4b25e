//! Parts that come and go, by several at once.

use super::*;

struct Dir(Place, PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("iopkt-resolv-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Dir(Place { parts: dir.join("run/resolv"), conf: dir.join("etc/resolv.conf") }, dir)
    }

    fn conf(&self) -> String {
        fs::read_to_string(&self.0.conf).unwrap_or_default()
    }

    fn take(&self, ifname: &str, s: Source) -> Part {
        Part::take(&self.0, ifname, s).expect("part")
    }

    /// What is there besides resolv.conf.
    fn left(&self) -> Vec<String> {
        let list = |d: &str| fs::read_dir(self.1.join(d)).into_iter().flatten().flatten().collect::<Vec<_>>();
        let all = list("run/resolv").into_iter().chain(list("etc"));
        let mut l: Vec<String> = all.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        l.retain(|n| n != "lock" && n != "resolv.conf");
        l
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.1);
    }
}

fn told(servers: &[&str]) -> Told {
    Told { servers: servers.iter().map(|s| Entry::plain(*s)).collect(), domains: Vec::new() }
}

/// An owner that is killed: its locks go, its files stay.
fn kill(mut p: Part) {
    p.alive = None;
}

#[test]
fn sources_keep_their_parts_and_end_one_by_one() {
    let d = Dir::new("parts");
    let (mut ra, mut dhcp) = (d.take("ecm0", Source::Routers), d.take("ecm0", Source::Dhcp));
    ra.tell(told(&["fe80::1%ecm0"])).expect("written");
    dhcp.tell(told(&["10.0.0.1"])).expect("written");
    let text = d.conf();
    assert!(text.starts_with(MARK), "{text}");
    assert!(
        text.ends_with(
            "# from dhcp.client on ecm0, rtsold on ecm0\nnameserver 10.0.0.1\nnameserver fe80::1%ecm0\n"
        ),
        "{text}"
    );
    let why = Part::take(&d.0, "ecm0", Source::Routers).expect_err("there is one");
    assert!(why.contains("a rtsold (pid "), "{why}");
    drop(dhcp);
    assert!(d.conf().ends_with("# from rtsold on ecm0\nnameserver fe80::1%ecm0\n"));
    // Nothing to say is no end.
    ra.tell(Told::default()).expect("written");
    assert!(!d.0.conf.exists());
    ra.tell(told(&["fe80::2%ecm0"])).expect("written");
    drop(ra);
    assert!(!d.0.conf.exists());
    assert_eq!(d.left(), [] as [String; 0]);
}

#[test]
fn who_was_killed_is_cleaned_up_by_the_next_one() {
    let d = Dir::new("killed");
    let mut a = d.take("ecm0", Source::Dhcp);
    a.tell(told(&["10.0.0.1"])).expect("written");
    kill(a);
    assert!(d.conf().contains("10.0.0.1"));
    // Half a part, of one that was killed while it wrote to a file that is no part yet.
    fs::write(d.0.parts.join("ecm1.dhcp"), format!("boot {}\nnameserver 10.9.9.9\n", boot())).expect("file");
    let mut b = d.take("ecm2", Source::Dhcp6);
    b.tell(told(&["2001:db8::1"])).expect("written");
    assert!(d.conf().ends_with("# from dhcp6c on ecm2\nnameserver 2001:db8::1\n"), "{}", d.conf());
    drop(b);
    assert_eq!(d.left(), [] as [String; 0]);
}

#[test]
fn what_is_left_on_purpose_ends_with_its_time() {
    let d = Dir::new("kept");
    let mut a = d.take("ecm0", Source::Dhcp6);
    let mut t = told(&["2001:db8::1", "2001:db8::2"]);
    let now = seconds();
    (t.servers[0].until, t.servers[1].until) = (Some(now + 1000), Some(now));
    a.tell(t).expect("written");
    a.keep(Some(500)).expect("written");
    let mut b = d.take("ecm1", Source::Dhcp);
    b.tell(told(&["10.0.0.1"])).expect("written");
    assert!(d.conf().ends_with("nameserver 10.0.0.1\nnameserver 2001:db8::1\n"), "{}", d.conf());
    drop(b);
    assert!(d.conf().ends_with("# from dhcp6c on ecm0\nnameserver 2001:db8::1\n"), "{}", d.conf());
    // Of another boot: its seconds say nothing.
    let path = d.0.part("ecm0", Source::Dhcp6);
    let text = fs::read_to_string(&path).expect("part").replace(&boot(), "another");
    fs::write(&path, text).expect("file");
    drop(d.take("ecm1", Source::Dhcp));
    assert!(!d.0.conf.exists() && d.left().is_empty(), "{:?}", d.left());
}

#[test]
fn an_end_is_seen_by_who_lives() {
    let d = Dir::new("due");
    let mut a = d.take("ecm0", Source::Routers);
    let mut t = told(&["fe80::1%ecm0", "fe80::2%ecm0"]);
    t.servers[0].until = Some(seconds() + 1);
    a.tell(t).expect("written");
    assert!(d.conf().contains("fe80::1"));
    let end = Instant::now() + Duration::from_secs(60);
    while d.conf().contains("fe80::1") && Instant::now() < end {
        a.tick().expect("written");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(d.conf().ends_with("nameserver fe80::2%ecm0\n"), "{}", d.conf());
}

#[test]
fn a_person_s_file_comes_back() {
    let d = Dir::new("own");
    fs::create_dir_all(d.1.join("etc")).expect("dir");
    fs::write(&d.0.conf, "nameserver 10.1.1.1\noptions timeout:1\n").expect("file");
    let mut a = d.take("ecm0", Source::Dhcp);
    assert!(d.conf().starts_with("nameserver 10.1.1.1"), "nothing was said yet");
    for _ in 0..2 {
        a.tell(told(&["10.0.0.1"])).expect("written");
        assert!(d.conf().ends_with("nameserver 10.0.0.1\noptions timeout:1\n"), "{}", d.conf());
    }
    drop(a);
    assert_eq!(d.conf(), "nameserver 10.1.1.1\noptions timeout:1\n");
    assert_eq!(d.left(), [] as [String; 0]);
}

#[test]
fn many_at_once() {
    let d = Dir::new("many");
    std::thread::scope(|s| {
        for n in 0..8 {
            let d = &d;
            s.spawn(move || {
                for round in 0..20 {
                    let mut p = d.take(&format!("ecm{n}"), Source::Dhcp);
                    p.tell(told(&[&format!("10.0.{round}.{n}")])).expect("written");
                    assert!(d.conf().contains(&format!("nameserver 10.0.{round}.{n}\n")), "{}", d.conf());
                    if n % 2 == 0 { drop(p) } else { kill(p) }
                }
            });
        }
        // Whoever reads finds a whole file, at any moment.
        s.spawn(|| {
            for _ in 0..2000 {
                let t = d.conf();
                assert!(t.is_empty() || t.starts_with(MARK) && t.ends_with('\n'), "{t}");
            }
        });
    });
    drop(d.take("ecm9", Source::Routers));
    assert!(!d.0.conf.exists() && d.left().is_empty(), "{:?}", d.left());
}

#[test]
fn what_cannot_be_written_is_told() {
    let d = Dir::new("no");
    fs::create_dir_all(&d.1).expect("dir");
    fs::write(d.1.join("run"), "").expect("file");
    let why = Part::take(&d.0, "ecm0", Source::Dhcp).expect_err("no directory");
    assert!(why.contains("run/resolv: Not a directory"), "{why}");
    let why = Part::take(&d.0, "../x", Source::Dhcp).expect_err("no name");
    assert!(why.contains("no interface's name"), "{why}");
    assert!(
        text(Path::new("/x"), &io::Error::from_raw_os_error(libc::ENOSPC))
            .contains("/x: No space left on device")
    );
    assert!(text(Path::new("/x"), &io::Error::from_raw_os_error(libc::EACCES)).contains("run as the user"));
}

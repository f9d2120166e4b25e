//! `mount -T io-pkt[N]` and `umount`: load and unload drivers and modules of a running stack. Any other use
//! goes to the system's own tool of that name.

use crate::tool::{Failure, Outcome, Stack, ask, odd, print};
use iopkt_ctl::{Reply, Request};

/// Usage of mount.
pub const USAGE: &str = "usage: mount [-v] -T io-pkt[N] [-o option[,option...]] module [mountpoint]
  -T  type: io-pkt, with the instance number of io-pkt -i behind it; tcpip and io-net mean io-pkt
  -o  options for the module, what would follow -d or -p on the command line of io-pkt
  -v  print the interfaces that came of it
  module: file name (devnp-ecm.so, lsm-pf-v4.so) or full path
SOCK=/prefix selects the stack.
Every other type, and mount without a type, is the system's own mount.";

/// Usage of umount.
pub const UMOUNT_USAGE: &str = "usage: umount [-fv] /dev/io-net/interface | interface | module
Only legacy (devn-) drivers can be unmounted; for others: ifconfig IF destroy.
Everything else is the system's own umount.";

/// What a mount command line asks of a stack.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Instance number of the type, if any.
    pub instance: Option<u32>,
    /// Module.
    pub object: String,
    /// Option list.
    pub options: String,
    /// -v.
    pub verbose: bool,
}

/// Whether (and how) a mount command line is ours: it is when its type is one of ours.
///
/// # Errors
/// The type is ours, the rest is wrong.
pub fn parse(args: &[String]) -> Result<Option<Mount>, Failure> {
    let (mut m, mut ours) = (Mount::default(), None);
    let (mut opts, mut plain, mut others) = (Vec::<String>::new(), Vec::<String>::new(), None);
    let mut it = args.iter();
    while let Some(a) = it.next() {
        if a == "--" {
            plain.extend(it.by_ref().cloned());
        } else if a.starts_with("--") {
            others.get_or_insert(a.clone());
        } else if !a.starts_with('-') || a.len() < 2 {
            plain.push(a.clone());
        } else {
            flags(&a[1..], &mut it, &mut |c, v| {
                match c {
                    'T' | 't' => ours = kind(v.unwrap_or(""))?,
                    'o' => opts.push(v.unwrap_or("").to_string()),
                    'v' => m.verbose = true,
                    c => {
                        others.get_or_insert(format!("-{c}"));
                    }
                }
                Ok(())
            })?;
        }
    }
    let Some(instance) = ours else { return Ok(None) };
    if let Some(o) = others {
        return Err(Failure::usage(format!("{o}: means nothing for a module of io-pkt"), USAGE));
    }
    let [object, mountpoint @ ..] = plain.as_slice() else { return Err(Failure::usage("no module", USAGE)) };
    if mountpoint.len() > 1 {
        return Err(Failure::usage(format!("{}: not expected", mountpoint[1]), USAGE));
    }
    // A full path in the mount point's place is what old scripts have; the module is then the mount point.
    let object = mountpoint.first().filter(|_| object == "none").unwrap_or(object);
    // The stack has a working directory of its own: what is a path here must be a whole one there.
    m.object = if object.contains('/') {
        std::path::absolute(object).map_or_else(|_| object.clone(), |p| p.to_string_lossy().into_owned())
    } else {
        object.clone()
    };
    m.instance = instance;
    m.options = opts.join(",");
    Ok(Some(m))
}

/// Takes a flag with its value.
type Each<'a> = dyn FnMut(char, Option<&str>) -> Result<(), Failure> + 'a;

/// One word of flags: `-vTio-pkt`, `-T io-pkt`. A flag that lacks its value is left to the system's mount, as
/// is every word that does not name a type of ours.
fn flags(word: &str, rest: &mut std::slice::Iter<'_, String>, each: &mut Each<'_>) -> Result<(), Failure> {
    for (i, c) in word.char_indices() {
        if !"toT".contains(c) {
            each(c, None)?;
            continue;
        }
        let glued = &word[i + c.len_utf8()..];
        let v = if glued.is_empty() { rest.next().map(String::as_str) } else { Some(glued) };
        return each(c, v);
    }
    Ok(())
}

/// `io-pkt` → `Some(None)`, `io-pkt1` → `Some(Some(1))`, types of others `None`.
///
/// # Errors
/// It begins like ours, but what follows is no instance number.
fn kind(t: &str) -> Result<Option<Option<u32>>, Failure> {
    if ["tcpip", "io-net"].contains(&t) {
        return Ok(Some(None));
    }
    match t.strip_prefix("io-pkt") {
        None => Ok(None),
        Some("") => Ok(Some(None)),
        Some(n) => n.parse().map(|n| Some(Some(n))).map_err(|_| {
            let e =
                format!("-T {t}: unknown type; there are io-pkt and, for instance N of io-pkt -i, io-pktN");
            Failure::usage(e, USAGE)
        }),
    }
}

/// Loads the module.
///
/// # Errors
/// No stack, another instance there, the load failed.
pub fn mount(s: &mut dyn Stack, m: &Mount) -> Outcome {
    if let Reply::Stack(i) = ask(s, "stack", &Request::Stack)?
        && m.instance != i.instance
        && m.instance.is_some()
    {
        let n = i.instance.map_or("no instance number".to_string(), |n| format!("instance number {n}"));
        return Err(Failure::new(format!(
            "io-pkt{}: the stack here has {n}; SOCK selects another one",
            m.instance.unwrap_or(0)
        )));
    }
    let r = Request::Load { object: m.object.clone(), options: m.options.clone() };
    match ask(s, &m.object, &r)? {
        Reply::Names(n) if m.verbose => print(&format!("{}: {}\n", m.object, n.join(" "))),
        Reply::Names(_) | Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}

/// Whether an umount command line is ours: its one operand is `/dev/io-net/IF`, a module's file, or the name of
/// an interface (letters and a number) that is no file here, which would be a mount point.
pub fn parse_umount(args: &[String]) -> Option<String> {
    let (flags, operands): (Vec<&String>, Vec<&String>) = args.iter().partition(|a| a.starts_with('-'));
    let [what] = operands.as_slice() else { return None };
    if flags.iter().any(|f| f.len() < 2 || f[1..].chars().any(|c| !"fv".contains(c))) {
        return None;
    }
    let file = what.rsplit('/').next().unwrap_or(what);
    let module = file.ends_with(".so") && ["devn-", "devnp-", "lsm-"].iter().any(|p| file.starts_with(p));
    if let Some(i) = what.strip_prefix("/dev/io-net/") {
        return Some(i.to_string());
    }
    let interface = file.ends_with(|c: char| c.is_ascii_digit())
        && file.starts_with(|c: char| c.is_ascii_alphabetic())
        && file.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !what.contains('/')
        && std::fs::symlink_metadata(what).is_err();
    (module || interface).then(|| what.to_string())
}

/// Unloads a legacy driver.
///
/// # Errors
/// No stack, not a legacy driver.
pub fn umount(s: &mut dyn Stack, what: &str) -> Outcome {
    ask(s, what, &Request::Unload { what: what.into() })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use iopkt_base::Errno;
    use proptest::prelude::*;

    fn of(line: &str) -> Result<Option<Mount>, Failure> {
        parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    fn m(instance: Option<u32>, object: &str, options: &str) -> Result<Option<Mount>, Failure> {
        Ok(Some(Mount { instance, object: object.into(), options: options.into(), verbose: false }))
    }

    #[test]
    fn the_documented_lines() {
        assert_eq!(
            of("-Tio-pkt1 -o verbose,name=wan devnp-ecm.so"),
            m(Some(1), "devnp-ecm.so", "verbose,name=wan")
        );
        assert_eq!(of("-T io-pkt -o mac=12345678 devnp-bge.so"), m(None, "devnp-bge.so", "mac=12345678"));
        assert_eq!(of("-Tio-pkt1 /lib/dll/devnp-i82544.so"), m(Some(1), "/lib/dll/devnp-i82544.so", ""));
        assert_eq!(of("-T io-pkt -o a -ob x.so"), m(None, "x.so", "a,b"));
        let here = std::env::current_dir().expect("a directory").join("d/x.so");
        assert_eq!(of("-Tio-pkt d/x.so"), m(None, &here.to_string_lossy(), ""));
        assert_eq!(of("-Ttcpip x.so"), m(None, "x.so", ""));
        assert!(of("-vTio-pkt x.so").is_ok_and(|m| m.is_some_and(|m| m.verbose)));
    }

    #[test]
    fn others_are_the_systems() {
        for l in
            ["", "-t ext4 /dev/sda1 /mnt", "-a", "-T dos x", "--bind a b", "-t tmpfs -o size=1m io-pkt /mnt"]
        {
            assert_eq!(of(l), Ok(None), "{l}");
        }
        // A value that is missing is the system's to complain about.
        assert_eq!(of("-T"), Ok(None));
        assert_eq!(of("-o noexec --types ext4 -t"), Ok(None));
        assert!(of("-Tio-pkt").is_err() && of("-aTio-pkt x.so").is_err() && of("-Tio-pkt x a b").is_err());
        for l in ["-T io-pktx y", "-Tio-pkt-v4 y", "-tio-pkt99999999999 y"] {
            let e = of(l).expect_err(l);
            assert!(e.message.contains("unknown type; there are io-pkt"), "{}", e.message);
        }
        assert_eq!(parse_umount(&["/dev/io-net/en0".into()]).as_deref(), Some("en0"));
        let of = |l: &str| parse_umount(&l.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        assert_eq!(of("-v ecm0").as_deref(), Some("ecm0"));
        assert_eq!(of("/lib/dll/devn-x.so").as_deref(), Some("/lib/dll/devn-x.so"));
        for l in
            ["/mnt", "-a", "-l ecm0", "ecm0 ecm1", "mnt", "./ecm0", "/dev/sda1", "", "-R /mnt", "Cargo.toml"]
        {
            assert_eq!(of(l), None, "{l}");
        }
    }

    #[test]
    fn a_failed_load_says_why() {
        let mut f = Fake::with([Reply::Ok, Reply::why(Errno::ENOENT, "not found in /lib/dll")]);
        let e = mount(&mut f, &Mount { object: "devnp-x.so".into(), ..Mount::default() }).unwrap_err();
        assert_eq!(e.message, "devnp-x.so: No such file or directory (not found in /lib/dll)");
        // The stack's own line names the module as well; once is enough.
        let mut f = Fake::with([Reply::Ok, Reply::why(Errno::ENOEXEC, "/d/x.so: not an ELF file")]);
        let e = mount(&mut f, &Mount { object: "/d/x.so".into(), ..Mount::default() }).unwrap_err();
        assert_eq!(e.message, "/d/x.so: Exec format error (not an ELF file)");
    }

    proptest! {
        #[test]
        fn a_line_without_a_type_of_ours_is_never_ours(words in prop::collection::vec("(-[abfrtTov]?[a-z0-9,=]{0,8}|--[a-z]{1,8}|[a-z0-9/.]{0,8})", 0..6)) {
            let named = words.iter().any(|w| w.contains("io-pkt") || w.contains("io-net") || w.contains("tcpip"));
            prop_assert!(named || parse(&words) == Ok(None), "{words:?}");
            let _ = parse_umount(&words);
        }
    }
}

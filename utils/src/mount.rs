//! `mount -T io-pkt[N]` and `umount`: load and unload drivers and modules of a running stack. Any other use
//! goes to the system's own tool of that name.

use crate::tool::{Failure, Outcome, Stack, ask, odd, print};
use iopkt_ctl::{Reply, Request};

/// Usage of mount.
pub const USAGE: &str = "usage: mount -T io-pkt[N] [-v] [-o option[,option...]] module
  module: devnp-ecm.so, lsm-pf-v4.so, or a full path; types tcpip and io-net mean io-pkt
SOCK=/prefix selects the stack; N is the instance number of io-pkt -i.
Everything else is passed to the system's mount.";

/// Usage of umount.
pub const UMOUNT_USAGE: &str = "usage: umount interface
Only legacy (devn-) drivers can be unmounted; for others: ifconfig IF destroy.
Everything else is passed to the system's umount.";

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
    let mut opts: Vec<String> = Vec::new();
    let mut plain = Vec::new();
    let mut it = args.iter();
    while let Some(a) = it.next() {
        if a == "--help" {
            continue;
        }
        if !a.starts_with('-') || a.len() < 2 {
            plain.push(a.clone());
            continue;
        }
        let mut rest = &a[1..];
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            if "toT".contains(c) {
                let v = if rest.is_empty() { it.next().cloned() } else { Some(rest.to_string()) };
                let v =
                    v.ok_or_else(|| Failure::usage(format!("option requires an argument -- {c}"), USAGE))?;
                match c {
                    'T' | 't' => ours = kind(&v)?,
                    _ => opts.push(v),
                }
                break;
            }
            m.verbose |= c == 'v';
        }
    }
    let Some(instance) = ours else { return Ok(None) };
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

/// Whether an umount command line is ours: one operand that names an interface or `/dev/io-net/IF`.
pub fn parse_umount(args: &[String]) -> Option<String> {
    match args {
        [a] if a.starts_with("/dev/io-net/") => Some(a["/dev/io-net/".len()..].to_string()),
        [a] if !a.starts_with('-') && !a.contains('/') => Some(a.clone()),
        _ => None,
    }
}

/// Unloads a legacy driver.
///
/// # Errors
/// No stack, not a legacy driver.
pub fn umount(s: &mut dyn Stack, what: &str) -> Outcome {
    ask(s, what, &Request::Unload { what: what.into() })?;
    Ok(0)
}

/// Runs the system's own tool: the next of this name on PATH that is not this program.
pub fn system_tool(name: &str, args: &[String]) -> Failure {
    use std::os::unix::process::CommandExt;
    let me = std::env::current_exe().and_then(|p| p.canonicalize()).ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/bin", "/usr/bin", "/sbin", "/usr/sbin"].map(Into::into));
    for dir in dirs {
        let p = dir.join(name);
        match p.canonicalize() {
            Ok(c) if c.is_file() && Some(&c) != me.as_ref() => {
                let e = std::process::Command::new(&p).args(args).exec();
                return Failure { message: format!("{}: {e}", p.display()), code: 126 };
            }
            _ => {}
        }
    }
    Failure { message: format!("not a type of io-pkt, and no other {name} on PATH"), code: 127 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use iopkt_base::Errno;

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
        for l in ["", "-t ext4 /dev/sda1 /mnt", "-a", "-T dos x", "--bind a b"] {
            assert_eq!(of(l), Ok(None), "{l}");
        }
        assert!(of("-Tio-pkt").is_err() && of("-T").is_err());
        for l in ["-T io-pktx y", "-Tio-pkt-v4 y", "-tio-pkt99999999999 y"] {
            let e = of(l).expect_err(l);
            assert!(e.message.contains("unknown type; there are io-pkt"), "{}", e.message);
        }
        assert_eq!(parse_umount(&["/dev/io-net/en0".into()]).as_deref(), Some("en0"));
        assert_eq!(parse_umount(&["/mnt".into()]), None);
        assert_eq!(parse_umount(&["-a".into()]), None);
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
}

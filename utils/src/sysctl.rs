//! `sysctl`: shows and changes the stack's variables; names that are not io-pkt's are the system's sysctl's.

use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use iopkt_ctl::{ROOTS, Reply, Request, VARIABLES, shared_name, variable};
use std::fmt::Write;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: sysctl [-dne] [-x[x] | -r] [--json] name ...
       sysctl [-neq] [-x[x] | -r] -w name=value ...
       sysctl [-dne] [-x[x] | -r] [--json] -a | -A
       sysctl [-n] -M
       sysctl [-neq] -f file
A name may be a subtree (net.inet.ip). SOCK=/prefix selects the stack.";

/// How values are printed.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    describe: bool,
    value_only: bool,
    equals: bool,
    /// 0 decimal, 1 hexadecimal, 2 with all digits.
    hex: u8,
    raw: bool,
    quiet: bool,
}

/// Whether a name is a variable or a subtree of ours.
pub fn is_ours(name: &str) -> bool {
    let tree = |root: &str| format!("{name}.") == *root || name.starts_with(root);
    VARIABLES.iter().any(|v| v.name == name)
        || ROOTS.iter().any(|r| tree(r))
        || matches!(name, "net" | "net.inet" | "kern" | "qnx")
}

/// Whether a command line is for the system's sysctl: it names variables, and none of them is ours.
pub fn is_systems(args: &[String]) -> bool {
    match getopt::parse("aAdef:Mnqrwx", args) {
        // A flag that only the other one has.
        Err(_) => true,
        Ok(p) => {
            let name = |w: &String| w.split('=').next().unwrap_or("").trim().to_string();
            !p.rest.is_empty() && !p.rest.iter().any(|w| is_ours(&name(w)))
        }
    }
}

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such variable, not permitted, a value out of its range.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("aAdef:Mnqrwx", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let look = Look {
        describe: f.has('d'),
        value_only: f.has('n'),
        equals: f.has('e'),
        hex: f.flags.iter().filter(|x| x.0 == 'x').count().min(2) as u8,
        raw: f.has('r'),
        quiet: f.has('q'),
    };
    if look.raw && look.hex > 0 {
        return Err(Failure::usage("-r and -x exclude each other", USAGE));
    }
    if f.has('M') {
        return print(&tree(look.value_only));
    }
    if let Some(file) = f.value('f') {
        return from_file(s, file, look);
    }
    if f.has('w') || f.rest.iter().any(|w| w.contains('=')) {
        if f.rest.is_empty() {
            return Err(Failure::usage("-w needs name=value", USAGE));
        }
        let mut o = String::new();
        for w in &f.rest {
            o += &write_one(s, w, look)?;
        }
        return print(&o);
    }
    let all = f.has('a') || f.has('A');
    if !all && f.rest.is_empty() {
        return Err(Failure::usage("a name, -a, -A, -M or -f is needed", USAGE));
    }
    let mut list = Vec::new();
    if all {
        list = read(s, "")?;
    } else {
        for w in &f.rest {
            list.extend(named(s, w, look)?);
        }
    }
    if f.has('J') {
        let v: Vec<_> = list.iter().map(|(n, v)| serde_json::json!({ "name": n, "value": v })).collect();
        return print_json(&v);
    }
    if look.raw {
        use std::io::Write as _;
        let b: Vec<u8> = list.iter().flat_map(|(n, v)| raw(n, v)).collect();
        let mut out = std::io::stdout().lock();
        return out.write_all(&b).map(|()| 0).map_err(|e| Failure::new(format!("standard output: {e}")));
    }
    print(&list.iter().map(|(n, v)| line(n, v, look)).collect::<String>())
}

fn read(s: &mut dyn Stack, name: &str) -> Result<Vec<(String, String)>, Failure> {
    let what = if name.is_empty() { "variables" } else { name };
    match ask(s, what, &Request::Sysctl { name: name.into(), value: None })? {
        Reply::Sysctl(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

/// A variable, or all of a subtree.
fn named(s: &mut dyn Stack, w: &str, look: Look) -> Result<Vec<(String, String)>, Failure> {
    if variable(w).is_some() {
        return read(s, w);
    }
    let under = format!("{}.", w.trim_end_matches('.'));
    let l: Vec<_> = read(s, "")?.into_iter().filter(|(n, _)| n.starts_with(&under)).collect();
    if !l.is_empty() {
        return Ok(l);
    }
    match read(s, w) {
        Err(_) if look.quiet => Ok(Vec::new()),
        r => r,
    }
}

/// One line: `name = value`; with -n the value, with -e `name=value`, with -d what it is.
fn line(name: &str, value: &str, look: Look) -> String {
    if look.describe {
        let text = variable(name).map_or("(no description)", |v| v.text);
        return if look.value_only { format!("{text}\n") } else { format!("{name}: {text}\n") };
    }
    let v = shown(name, value, look);
    match (look.value_only, look.equals) {
        (true, _) => format!("{v}\n"),
        (false, true) => format!("{name}={v}\n"),
        (false, false) => format!("{name} = {v}\n"),
    }
}

/// -x shows numbers in hexadecimal, -xx with all digits of an int.
fn shown(name: &str, value: &str, look: Look) -> String {
    match value.parse::<i64>() {
        Ok(n) if look.hex > 0 && variable(name).is_none_or(|v| v.number) => {
            let n = n as u32;
            if look.hex == 2 { format!("0x{n:08x}") } else { format!("0x{n:x}") }
        }
        _ => value.to_string(),
    }
}

/// -r: the bytes as a program would get them: an int, or a text with its zero.
fn raw(name: &str, value: &str) -> Vec<u8> {
    match value.parse::<i64>() {
        Ok(n) if variable(name).is_none_or(|v| v.number) => (n as i32).to_ne_bytes().to_vec(),
        _ => [value.as_bytes(), &[0]].concat(),
    }
}

/// Writes one variable; the line that says so, `name: old -> new`.
fn write_one(s: &mut dyn Stack, w: &str, look: Look) -> Result<String, Failure> {
    let Some((name, value)) = w.split_once('=') else {
        return Err(Failure::usage(format!("{w}: no value; write {w}=VALUE"), USAGE));
    };
    let (name, value) = (name.trim(), value.trim());
    let old = match read(s, name)?.into_iter().find(|v| v.0 == name) {
        Some((_, v)) => v,
        None => return Err(Failure::new(format!("{name}: is a subtree, not a variable"))),
    };
    // C's notation: 0x10, 010.
    let number = variable(name).is_some_and(|v| v.number);
    let plain = if number { decimal(value).unwrap_or_else(|| value.into()) } else { value.to_string() };
    match ask(s, name, &Request::Sysctl { name: name.into(), value: Some(plain) })? {
        Reply::Ok => {}
        r => return Err(odd(&r)),
    }
    if look.quiet {
        return Ok(String::new());
    }
    // What it became: a value may be rounded. One that can only be written has none.
    let now = read(s, name).ok().and_then(|l| l.into_iter().next()).map_or_else(|| value.into(), |v| v.1);
    let (old, now) = (shown(name, &old, look), shown(name, &now, look));
    Ok(match (look.value_only, look.equals) {
        (true, _) => format!("{old} -> {now}\n"),
        (false, true) => format!("{name}={old} -> {now}\n"),
        (false, false) => format!("{name}: {old} -> {now}\n"),
    })
}

fn decimal(v: &str) -> Option<String> {
    let (sign, d) = v.strip_prefix('-').map_or(("", v), |d| ("-", d));
    let n = if let Some(h) = d.strip_prefix("0x").or_else(|| d.strip_prefix("0X")) {
        u64::from_str_radix(h, 16).ok()?
    } else if d.len() > 1 && d.starts_with('0') {
        u64::from_str_radix(d, 8).ok()?
    } else {
        return None;
    };
    Some(format!("{sign}{n}"))
}

/// Lines `name=value` of a file; `#` begins a comment. Every line is tried; the first failure is the exit code.
fn from_file(s: &mut dyn Stack, file: &str, look: Look) -> Outcome {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{file}: {e}")))?;
    let (mut o, mut bad) = (String::new(), None);
    for (n, l) in text.lines().enumerate() {
        let l = l.split('#').next().unwrap_or("").trim();
        if l.is_empty() {
            continue;
        }
        match write_one(s, l, look) {
            Ok(t) => o += &t,
            Err(e) => bad = Some(format!("{file}:{}: {}", n + 1, e.message)),
        }
    }
    print(&o)?;
    bad.map_or(Ok(0), |m| Err(Failure::new(m)))
}

/// -M: the names, with their types and whether they may be written.
fn tree(plain: bool) -> String {
    let mut o = String::new();
    let mut nodes: Vec<String> = Vec::new();
    // What both versions of IP share has a name in IPv6's tree, too.
    let twice = VARIABLES.iter().filter_map(|v| Some((shared_name(v.name)?, v)));
    for (name, v) in VARIABLES.iter().map(|v| (v.name.to_string(), v)).chain(twice) {
        for (at, _) in name.match_indices('.') {
            let node = &name[..at];
            if !nodes.iter().any(|n| n == node) {
                nodes.push(node.into());
                let _ = if plain { writeln!(o, "{node}") } else { writeln!(o, "{node}: CTLTYPE_NODE") };
            }
        }
        let ty = if v.number { "CTLTYPE_INT" } else { "CTLTYPE_STRING" };
        let mode = if v.writable { "READWRITE" } else { "READONLY" };
        let _ = if plain { writeln!(o, "{name}") } else { writeln!(o, "{name}: {ty}, {mode}") };
    }
    o
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;

    fn words(l: &str) -> Vec<String> {
        l.split_whitespace().map(str::to_string).collect()
    }

    fn one(v: &str) -> Reply {
        Reply::Sysctl(vec![("net.inet.ip.ttl".into(), v.into())])
    }

    #[test]
    fn forms_of_a_line() {
        let l = |look| line("net.inet.ip.ttl", "64", look);
        let d = Look::default();
        assert_eq!(l(d), "net.inet.ip.ttl = 64\n");
        assert_eq!(l(Look { equals: true, ..d }), "net.inet.ip.ttl=64\n");
        assert_eq!(l(Look { value_only: true, ..d }), "64\n");
        assert_eq!(l(Look { hex: 1, ..d }), "net.inet.ip.ttl = 0x40\n");
        assert_eq!(l(Look { hex: 2, value_only: true, ..d }), "0x00000040\n");
        assert_eq!(
            l(Look { describe: true, ..d }),
            "net.inet.ip.ttl: TTL of packets that the stack itself makes\n"
        );
        assert_eq!(raw("net.inet.ip.ttl", "64"), 64i32.to_ne_bytes());
        assert_eq!(raw("kern.hostname", "me"), b"me\0");
        assert_eq!(line("kern.hostname", "10", Look { hex: 1, ..d }), "kern.hostname = 10\n");
    }

    #[test]
    fn writing_says_what_was_and_is() {
        let mut f = Fake::with([one("64"), Reply::Ok, one("16")]);
        let t = write_one(&mut f, "net.inet.ip.ttl=0x10", Look::default());
        assert_eq!(t.ok().as_deref(), Some("net.inet.ip.ttl: 64 -> 16\n"));
        assert_eq!(f.asked[1], Request::Sysctl { name: "net.inet.ip.ttl".into(), value: Some("16".into()) });
        let mut f =
            Fake::with([one("64"), Reply::why(iopkt_base::Errno::EPERM, "net.inet.ip.ttl: read only (x)")]);
        let e = write_one(&mut f, "net.inet.ip.ttl=1", Look::default()).unwrap_err();
        assert!(
            e.message.starts_with("net.inet.ip.ttl: ") && e.message.contains("read only"),
            "{}",
            e.message
        );
    }

    #[test]
    fn whose_a_name_is() {
        for n in [
            "net.inet.ip.ttl",
            "net.inet",
            "net",
            "qnx.kern.droproot",
            "kern.somaxconn",
            "net.inet6.ip6.hlim",
        ] {
            assert!(is_ours(n), "{n}");
        }
        for n in ["net.ipv4.ip_forward", "kernel.ostype", "vm.swappiness", "netx", "net.core.somaxconn"] {
            assert!(!is_ours(n), "{n}");
        }
        assert!(is_systems(&words("-w net.ipv4.ip_forward=1")) && is_systems(&words("-p")));
        assert!(!is_systems(&words("-a")) && !is_systems(&words("net.inet.ip.ttl net.ipv4.x")));
    }

    #[test]
    fn lines_that_are_none() {
        for l in ["", "-w", "-w net.inet.ip.ttl", "-r -x -a", "-f"] {
            let mut f = Fake::default();
            assert!(run(&mut f, &words(l)).is_err() && f.asked.is_empty(), "{l}");
        }
    }

    #[test]
    fn the_tree_names_every_variable_once() {
        let t = tree(true);
        for v in VARIABLES {
            assert_eq!(t.lines().filter(|l| *l == v.name).count(), 1, "{}", v.name);
        }
        assert!(tree(false).contains("net.inet: CTLTYPE_NODE\n"));
        assert!(tree(false).contains("net.inet.ip.ttl: CTLTYPE_INT, READWRITE\n"));
    }
}

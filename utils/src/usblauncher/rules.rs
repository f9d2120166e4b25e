//! The rules file: which commands are run for which devices.
//!
//! A rule begins at the start of a line with `device` or `interface` and what it matches; its indented lines say
//! what to do. The first rule that matches takes the device, unless it says `continue`.
//!
//! ```text
//! # the vendor's own modem, whatever its classes say
//! device vendor=0x1d6b product=0x0104|0x0105
//!     insert mount -vTio-pkt -o busnum=$(busno),devnum=$(devno),path=$(stack),ign_remove devnp-ecm.so
//!     remove ifconfig $(ifname) destroy
//! interface class=0x02 subclass=0x0d
//!     insert ...
//! ```

use super::device::{Device, Interface};

/// Rules of who has no file: the two drivers for USB networks that io-pkt brings along.
pub const BUILT_IN: &str = "\
interface class=0x02 subclass=0x06
    insert mount -vTio-pkt -o busnum=$(busno),devnum=$(devno),path=$(stack),ign_remove devnp-ecm.so
    remove ifconfig $(ifname) destroy
interface class=0x02 subclass=0x0d
    insert mount -vTio-pkt -o busnum=$(busno),devnum=$(devno),path=$(stack),ign_remove devnp-ncm.so
    remove ifconfig $(ifname) destroy
";

/// Most bytes of a file.
const MAX_FILE: usize = 256 * 1024;
/// Variables of commands. `ifname` is known when an insert command has succeeded.
const VARIABLES: [&str; 13] = [
    "busno",
    "devno",
    "busnum",
    "devnum",
    "busid",
    "stack",
    "config",
    "iface",
    "vendor_id",
    "product_id",
    "device_class",
    "object",
    "ifname",
];

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The device descriptor.
    Device,
    /// Any interface of any configuration.
    Interface,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// One of these numbers.
    Numbers(Vec<u32>),
    /// A text with `*` and `?`.
    Glob(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Line in the file.
    pub line: usize,
    /// What it looks at.
    pub level: Level,
    tests: Vec<(&'static str, Value)>,
    /// Command for a device that came.
    pub insert: Option<String>,
    /// Command for one that went.
    pub remove: Option<String>,
    /// Further tries of an insert command that failed.
    pub retry: u32,
    /// Seconds that a command may take.
    pub timeout: u32,
    /// Rules that follow are looked at too.
    pub go_on: bool,
}

/// A rule that matched, and the interface by which it did (the device's first for device rules).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The rule.
    pub rule: Rule,
    /// The interface.
    pub interface: Option<Interface>,
}

/// Names that tests may use: numbers, then texts.
const NUMBERS: [&str; 9] =
    ["vendor", "product", "release", "class", "subclass", "protocol", "bus", "dev", "config"];
const TEXTS: [&str; 5] = ["stack", "busid", "manufacturer", "name", "serial"];

/// Reads a rules file.
///
/// # Errors
/// Line and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    if text.len() > MAX_FILE {
        return Err(format!("longer than {MAX_FILE} bytes"));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (n, raw) in text.lines().enumerate() {
        let line = n + 1;
        let named = |e: String| format!("line {line}: {e}");
        let body = raw.trim();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        if raw.starts_with(|c: char| c.is_ascii_whitespace()) {
            let rule = rules.last_mut().ok_or_else(|| named("an indented line before any rule".into()))?;
            action(rule, body).map_err(named)?;
        } else {
            rules.push(head(line, body).map_err(named)?);
        }
    }
    match rules.iter().find(|r| r.insert.is_none() && r.remove.is_none() && r.go_on) {
        Some(r) => Err(format!("line {}: a rule that does nothing and goes on", r.line)),
        None => Ok(rules),
    }
}

fn head(line: usize, body: &str) -> Result<Rule, String> {
    let words = words(body)?;
    let level = match words[0].as_str() {
        "device" => Level::Device,
        "interface" => Level::Interface,
        w => return Err(format!("\"{w}\": a rule begins with device or interface")),
    };
    let tests = words[1..].iter().map(|w| test(w)).collect::<Result<_, _>>()?;
    Ok(Rule { line, level, tests, insert: None, remove: None, retry: 5, timeout: 90, go_on: false })
}

fn test(word: &str) -> Result<(&'static str, Value), String> {
    let (name, v) = word.split_once('=').ok_or_else(|| format!("\"{word}\": NAME=VALUE is needed"))?;
    if let Some(n) = TEXTS.iter().find(|t| **t == name) {
        return Ok((n, Value::Glob(v.to_string())));
    }
    let known = || format!("\"{name}\": there are {} and {}", NUMBERS.join(", "), TEXTS.join(", "));
    let n = NUMBERS.iter().find(|t| **t == name).ok_or_else(known)?;
    let list = v.split('|').map(|x| number(x).ok_or_else(|| format!("{name}={x}: not a number")));
    Ok((n, Value::Numbers(list.collect::<Result<_, _>>()?)))
}

fn action(r: &mut Rule, body: &str) -> Result<(), String> {
    let (verb, rest) = body.split_once(char::is_whitespace).map_or((body, ""), |(v, r)| (v, r.trim()));
    let once = |slot: &mut Option<String>| {
        if rest.is_empty() {
            return Err(format!("{verb} needs a command"));
        }
        expand(rest, &|_| Some(String::new()))?;
        match slot.replace(rest.to_string()) {
            Some(_) => Err(format!("a second {verb}")),
            None => Ok(()),
        }
    };
    match verb {
        "insert" => once(&mut r.insert),
        "remove" => once(&mut r.remove),
        "retry" => set(&mut r.retry, rest, 0..=1000),
        "timeout" => set(&mut r.timeout, rest, 1..=86_400),
        "continue" if rest.is_empty() => {
            r.go_on = true;
            Ok(())
        }
        _ => Err(format!("\"{body}\": there are insert, remove, retry, timeout and continue")),
    }
}

fn set(slot: &mut u32, v: &str, range: std::ops::RangeInclusive<u32>) -> Result<(), String> {
    *slot = number(v)
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("\"{v}\": a number from {} to {} is needed", range.start(), range.end()))?;
    Ok(())
}

fn number(v: &str) -> Option<u32> {
    match v.strip_prefix("0x").or_else(|| v.strip_prefix("0X")) {
        Some(h) => u32::from_str_radix(h, 16).ok(),
        None => v.parse().ok(),
    }
}

/// Words separated by blanks; double quotes hold blanks together.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut out, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if any {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if any {
        out.push(word);
    }
    Ok(out)
}

/// Replaces `$(name)`; `$$` is a dollar.
///
/// # Errors
/// An unknown variable, or one that is not known yet (`get` gives `None`).
pub fn expand(command: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = command;
    while let Some(i) = rest.find('$') {
        out.push_str(&rest[..i]);
        let tail = &rest[i + 1..];
        if let Some(t) = tail.strip_prefix('$') {
            out.push('$');
            rest = t;
        } else if let Some((name, t)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
            if !VARIABLES.contains(&name) {
                return Err(format!("$({name}): no such variable; there are {}", VARIABLES.join(", ")));
            }
            out.push_str(&get(name).ok_or_else(|| format!("$({name}) is not known"))?);
            rest = t;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The rules that a device meets.
pub fn matching(rules: &[Rule], d: &Device) -> Vec<Hit> {
    let mut hits = Vec::new();
    for r in rules {
        let hit = match r.level {
            Level::Device => r.tests.iter().all(|t| holds(t, d, None)).then(|| d.interfaces.first().copied()),
            Level::Interface => {
                d.interfaces.iter().find(|i| r.tests.iter().all(|t| holds(t, d, Some(i)))).map(|i| Some(*i))
            }
        };
        let Some(interface) = hit else { continue };
        hits.push(Hit { rule: r.clone(), interface });
        if !r.go_on {
            break;
        }
    }
    hits
}

fn holds((name, value): &(&'static str, Value), d: &Device, at: Option<&Interface>) -> bool {
    let i = &d.info;
    let class = at.map_or(i.class, |a| a.class);
    match value {
        Value::Numbers(list) => list.contains(&match *name {
            "vendor" => i.vendor.into(),
            "product" => i.product.into(),
            "release" => i.release.into(),
            "class" => class[0].into(),
            "subclass" => class[1].into(),
            "protocol" => class[2].into(),
            "bus" => i.busnum,
            "dev" => i.devnum,
            _ => at.map_or(i.config, |a| a.config).into(),
        }),
        Value::Glob(g) => glob(
            g,
            match *name {
                "stack" => &d.stack,
                "busid" => &i.busid,
                "manufacturer" => &d.manufacturer,
                "name" => &d.product,
                _ => &d.serial,
            },
        ),
    }
}

/// Matches `*` (any text) and `?` (any character).
fn glob(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on after the last star, if what follows it does not fit here.
    let (mut i, mut j, mut back) = (0, 0, None);
    while j < t.len() {
        match p.get(i) {
            Some('*') => {
                back = Some((i + 1, j));
                i += 1;
            }
            Some(c) if *c == '?' || *c == t[j] => (i, j) = (i + 1, j + 1),
            _ => match back {
                Some((pi, tj)) => {
                    (i, j) = (pi, tj + 1);
                    back = Some((pi, tj + 1));
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_usbip::op::{Description, DeviceInfo};

    fn device() -> Device {
        let info = DeviceInfo {
            busid: "1-2.3".into(),
            busnum: 1,
            devnum: 7,
            vendor: 0x1d6b,
            product: 0x104,
            class: [0xef, 2, 1],
            config: 1,
            interfaces: vec![[2, 6, 0], [10, 0, 0], [2, 2, 1]],
            ..DeviceInfo::default()
        };
        let mut d = Device::new("/dev/usb", info, &Description::default()).expect("a good bus id");
        d.product = "Fast Modem 3".into();
        d
    }

    fn lines(text: &str) -> Vec<usize> {
        matching(&parse(text).expect("good rules"), &device()).iter().map(|h| h.rule.line).collect()
    }

    #[test]
    fn the_first_rule_that_matches_takes_the_device() {
        let t = "device vendor=1\n insert a\ninterface class=2 subclass=6\n insert b\ndevice\n insert c\n";
        assert_eq!(lines(t), [3]);
        assert_eq!(lines(&t.replace(" insert b\n", " insert b\n continue\n")), [3, 6]);
        assert_eq!(lines("interface class=2 subclass=0x0d\n insert x"), Vec::<usize>::new());
        assert_eq!(lines("device class=0xef vendor=5|0x1d6b bus=1 dev=7\n insert x"), [1]);
        assert_eq!(lines("device name=\"Fast M*\" busid=1-?.3\n insert x"), [1]);
        assert_eq!(lines("device name=Fast*4\n insert x"), Vec::<usize>::new());
        let hit = matching(&parse("interface class=2 protocol=1\n insert x").expect("good"), &device());
        assert_eq!(hit[0].interface.map(|i| i.number), Some(2));
    }

    #[test]
    fn the_built_in_rules_are_good() {
        let r = parse(BUILT_IN).expect("good");
        let hits = matching(&r, &device());
        assert!(
            hits.len() == 1 && hits[0].rule.insert.as_deref().is_some_and(|i| i.contains("devnp-ecm.so"))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, say) in [
            ("  insert x", "line 1: an indented line before any rule"),
            ("devices", "line 1: \"devices\": a rule begins with"),
            ("device\n insert", "line 2: insert needs a command"),
            ("device\n insert a\n insert b", "line 3: a second insert"),
            ("device vendor", "line 1: \"vendor\": NAME=VALUE"),
            ("device colour=1", "line 1: \"colour\": there are vendor"),
            ("device vendor=x", "line 1: vendor=x: not a number"),
            ("device name=\"a", "line 1: a quote is not closed"),
            ("device\n insert $(date)", "line 2: $(date): no such variable"),
            ("device\n retry many", "line 2: \"many\": a number from 0"),
            ("device\n do it", "line 2: \"do it\": there are insert"),
            ("device\n continue", "line 1: a rule that does nothing"),
        ] {
            let e = parse(text).unwrap_err();
            assert!(e.starts_with(say), "{text:?}: {e}");
        }
    }

    #[test]
    fn variables_are_replaced() {
        let get = |n: &str| (n == "busno").then(|| "0x01".to_string());
        assert_eq!(expand("a $(busno) $$HOME $x", &get).as_deref(), Ok("a 0x01 $HOME $x"));
        assert!(expand("$(ifname)", &get).unwrap_err().contains("not known"));
    }

    #[test]
    fn globs() {
        for (p, t, want) in [
            ("*", "", true),
            ("", "a", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("*aab", "aaaab", true),
            ("?", "", false),
        ] {
            assert_eq!(glob(p, t), want, "{p} {t}");
        }
    }
}

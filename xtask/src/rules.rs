//! `cargo xtask rules`: which requirements of the RFCs are claimed, where the code meets them, which test holds them.
//!
//! `docs/requirements/rfcNNNN.txt` has a line for each requirement: `ID | level | what | claim`. A comment at the
//! code and one at the test name it in brackets, the RFC's number and the ID. This module puts the two together; `cargo xtask check` fails
//! when a claim has no code or no test, and when a mark names what no list has.

use crate::sh;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is claimed of a requirement.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Claim {
    /// Done, in code and test.
    Yes,
    /// Known and not done; the reason stands in the list.
    No,
    /// Not ours to do (another layer's, or about something that does not exist here).
    NotApplicable,
}

/// A line of a list.
#[derive(Debug)]
struct Rule {
    level: String,
    what: String,
    claim: Claim,
    reason: String,
    code: Vec<Place>,
    tests: Vec<Place>,
}

/// A file below the root of the tree, and a line.
type Place = (PathBuf, usize);

/// `RFC9293 MUST-12`: the number, then the name in the list.
type Id = (u32, String);

/// The lists and what the tree says of them.
struct Matrix {
    rules: BTreeMap<Id, Rule>,
    faults: Vec<String>,
}

/// Prints the matrix: a line an RFC, `--all` a line a requirement, `--missing` what is claimed and not held, `--json`.
pub fn print(args: &[&str]) -> Result<(), String> {
    let m = Matrix::read(&sh::root())?;
    match args {
        [] => print!("{}", m.summary()),
        ["--all"] => print!("{}", m.rows(|_| true)),
        ["--missing"] => print!("{}", m.rows(|r| r.claim == Claim::No || r.unheld().is_some())),
        ["--json"] => print!("{}", m.json()),
        _ => return Err("usage: cargo xtask rules [--all | --missing | --json]".into()),
    }
    for f in &m.faults {
        eprintln!("{f}");
    }
    Ok(())
}

/// Fails when a claim is not held, a mark names nothing, or a list cannot be read.
pub fn check() -> Result<(), String> {
    let m = Matrix::read(&sh::root())?;
    let mut bad = m.faults;
    for (id, r) in &m.rules {
        if let Some(what) = r.unheld() {
            bad.push(format!("RFC {} {}: claimed, but no {what} has its mark: {}", id.0, id.1, r.what));
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(bad.join("\n")) }
}

impl Rule {
    fn unheld(&self) -> Option<&'static str> {
        match (self.claim, self.code.is_empty(), self.tests.is_empty()) {
            (Claim::Yes, true, true) => Some("code and no test"),
            (Claim::Yes, true, false) => Some("code"),
            (Claim::Yes, false, true) => Some("test"),
            _ => None,
        }
    }
}

impl Matrix {
    fn read(root: &Path) -> Result<Matrix, String> {
        let mut m = Matrix { rules: BTreeMap::new(), faults: Vec::new() };
        let dir = root.join("docs/requirements");
        for f in listed(&dir)? {
            let name = f.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let Some(rfc) = name.strip_prefix("rfc").and_then(|n| n.strip_suffix(".txt")?.parse().ok())
            else {
                continue;
            };
            let text = std::fs::read_to_string(&f).map_err(|e| format!("{}: {e}", f.display()))?;
            m.list(rfc, name, &text);
        }
        let mut files = Vec::new();
        walk(root, &mut files)?;
        for f in files {
            let Ok(text) = std::fs::read_to_string(&f) else { continue };
            m.marks(f.strip_prefix(root).unwrap_or(&f), &text);
        }
        Ok(m)
    }

    fn list(&mut self, rfc: u32, name: &str, text: &str) {
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let &[id, level, what, claim] = cells.as_slice() else {
                self.faults.push(format!("{name}:{}: not `ID | level | what | claim`", n + 1));
                continue;
            };
            let (word, reason) = claim.split_once(':').map_or((claim, ""), |(a, b)| (a, b.trim()));
            let claim = match (word, reason) {
                ("yes", _) => Claim::Yes,
                ("no", r) if !r.is_empty() => Claim::No,
                ("n/a", r) if !r.is_empty() => Claim::NotApplicable,
                _ => {
                    self.faults.push(format!("{name}:{}: claim is `yes`, `no: why` or `n/a: why`", n + 1));
                    continue;
                }
            };
            let (level, what, reason) = (level.to_string(), what.to_string(), reason.to_string());
            let rule = Rule { level, what, claim, reason, code: Vec::new(), tests: Vec::new() };
            if self.rules.insert((rfc, id.to_string()), rule).is_some() {
                self.faults.push(format!("{name}:{}: {id} stands there twice", n + 1));
            }
        }
    }

    fn marks(&mut self, file: &Path, text: &str) {
        let mut test = is_test(file);
        for (n, line) in text.lines().enumerate() {
            test |= line.trim_start().starts_with("mod tests {") || line.trim() == "#[cfg(test)]";
            for id in marks_of(line) {
                let place = (file.to_path_buf(), n + 1);
                match self.rules.get_mut(&id) {
                    Some(r) if test => r.tests.push(place),
                    Some(r) => r.code.push(place),
                    None => self.faults.push(format!(
                        "{}:{}: RFC {} {} is in no list",
                        place.0.display(),
                        place.1,
                        id.0,
                        id.1
                    )),
                }
            }
        }
    }

    fn summary(&self) -> String {
        let mut by: BTreeMap<u32, [usize; 6]> = BTreeMap::new();
        for ((rfc, _), r) in &self.rules {
            let c = by.entry(*rfc).or_default();
            c[0] += 1;
            c[1] += usize::from(r.claim == Claim::Yes);
            c[2] += usize::from(r.claim == Claim::Yes && !r.code.is_empty());
            c[3] += usize::from(r.claim == Claim::Yes && !r.tests.is_empty());
            c[4] += usize::from(r.claim == Claim::No);
            c[5] += usize::from(r.claim == Claim::NotApplicable);
        }
        let mut s = String::from("RFC   listed claimed  in code   tested not done not ours\n");
        let mut sum = [0; 6];
        for (rfc, c) in &by {
            line(&mut s, &rfc.to_string(), c);
            sum.iter_mut().zip(c).for_each(|(a, b)| *a += b);
        }
        line(&mut s, "all", &sum);
        s
    }

    fn rows(&self, want: impl Fn(&Rule) -> bool) -> String {
        let mut s = String::new();
        for ((rfc, id), r) in self.rules.iter().filter(|(_, r)| want(r)) {
            let state = match (r.claim, r.unheld()) {
                (Claim::Yes, None) => "done".to_string(),
                (Claim::Yes, Some(what)) => format!("NO {}", what.to_uppercase()),
                (Claim::No, _) => format!("not done: {}", r.reason),
                (Claim::NotApplicable, _) => format!("not ours: {}", r.reason),
            };
            let _ = writeln!(s, "RFC {rfc} {id} ({}) {}\n    {state}", r.level, r.what);
            for (kind, places) in [("code", &r.code), ("test", &r.tests)] {
                for (f, n) in places {
                    let _ = writeln!(s, "    {kind} {}:{n}", f.display());
                }
            }
        }
        s
    }

    fn json(&self) -> String {
        let rows: Vec<serde_json::Value> = self
            .rules
            .iter()
            .map(|((rfc, id), r)| {
                let at = |p: &Vec<Place>| {
                    p.iter().map(|(f, n)| format!("{}:{n}", f.display())).collect::<Vec<_>>()
                };
                serde_json::json!({
                    "rfc": rfc, "id": id, "level": r.level, "what": r.what, "reason": r.reason,
                    "claim": match r.claim { Claim::Yes => "yes", Claim::No => "no", Claim::NotApplicable => "n/a" },
                    "code": at(&r.code), "tests": at(&r.tests),
                })
            })
            .collect();
        format!("{:#}\n", serde_json::Value::Array(rows))
    }
}

fn line(s: &mut String, name: &str, c: &[usize; 6]) {
    let _ = writeln!(s, "{name:<5} {:>6} {:>7} {:>8} {:>8} {:>8} {:>8}", c[0], c[1], c[2], c[3], c[4], c[5]);
}

/// The marks in a line: a bracket, `RFC` and digits, a space, the ID, a bracket.
fn marks_of(line: &str) -> impl Iterator<Item = Id> {
    line.split("[RFC").skip(1).filter_map(|rest| {
        let (inner, _) = rest.split_once(']')?;
        let (rfc, id) = inner.split_once(' ')?;
        Some((rfc.parse().ok()?, id.to_string()))
    })
}

fn is_test(file: &Path) -> bool {
    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    file.components().any(|c| c.as_os_str() == "tests")
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
        || name.ends_with(".pkt")
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let read = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut v: Vec<PathBuf> = read.filter_map(|e| Some(e.ok()?.path())).collect();
    v.sort();
    Ok(v)
}

/// Sources that may carry marks; what is built, and xtask (which explains them), are left out.
fn walk(dir: &Path, out: &mut Vec<PathBuf>) -> Result<(), String> {
    for p in listed(dir)? {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if p.is_dir() {
            if !name.starts_with('.') && !["target", "docs", "xtask", "corpus"].contains(&name) {
                walk(&p, out)?;
            }
        } else if [".rs", ".pkt", ".c", ".py"].iter().any(|e| name.ends_with(e)) {
            out.push(p);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(list: &str, files: &[(&str, &str)]) -> Matrix {
        let mut m = Matrix { rules: BTreeMap::new(), faults: Vec::new() };
        m.list(793, "rfc793.txt", list);
        files.iter().for_each(|(f, t)| m.marks(Path::new(f), t));
        m
    }

    #[test]
    fn a_claim_needs_code_and_test() {
        let list = "A-1 | MUST | this | yes\nA-2 | MAY | that | no: nobody needs it\n";
        let code = ("core/a.rs", "// [RFC793 A-1]");
        let held = |files: &[(&str, &str)]| matrix(list, files).rules[&(793, "A-1".into())].unheld();
        assert_eq!(held(&[]), Some("code and no test"));
        assert_eq!(held(&[code]), Some("test"));
        assert_eq!(held(&[("core/tests/a.rs", "// [RFC793 A-1]")]), Some("code"));
        assert_eq!(held(&[code, ("x/a.pkt", "// see [RFC793 A-1] and more")]), None);
        assert_eq!(
            held(&[("core/a.rs", "// [RFC793 A-1]\n#[cfg(test)]\nmod tests {\n// [RFC793 A-1]")]),
            None
        );
        assert_eq!(matrix(list, &[]).rules[&(793, "A-2".into())].unheld(), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let m = matrix(
            "A | MUST | this\nB | MUST | x | perhaps\nC | MAY | x | no:\nD | MAY | x | yes\nD | MAY | y | yes",
            &[("a.rs", "ok\n// [RFC793 Z] [RFC1 2]")],
        );
        assert_eq!(m.faults.len(), 6, "{:?}", m.faults);
        assert!(m.faults[0].starts_with("rfc793.txt:1: "));
        assert!(m.faults[3].contains("twice"));
        assert_eq!(m.faults[4], "a.rs:2: RFC 793 Z is in no list");
    }

    #[test]
    fn several_marks_in_a_line() {
        let ids: Vec<Id> = marks_of("// [RFC8985 7.2a] text [RFC6298 5.4] [RFC] [RFCx 1]").collect();
        assert_eq!(ids, [(8985, "7.2a".to_string()), (6298, "5.4".to_string())]);
    }

    #[test]
    fn a_summary_counts() {
        let m = matrix("A | MUST | a | yes\nB | MUST | b | n/a: c\n", &[("a.rs", "[RFC793 A]")]);
        let text = m.summary();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["793", "2", "1", "1", "0", "0", "1"]);
    }
}

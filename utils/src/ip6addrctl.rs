//! `ip6addrctl`: the policy table of address selection (RFC 6724 section 2.1), as the BSDs have it.

use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use crate::{getopt, ndp};
use iopkt_ctl::{NdPolicy, NdReply, NdRequest, Reply, Request};
use std::fmt::Write;
use std::net::Ipv6Addr;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ip6addrctl [--json] [show]
       ip6addrctl add prefix precedence label
       ip6addrctl delete prefix
       ip6addrctl flush
       ip6addrctl install configfile
  a line of the file: prefix precedence label; what is behind a # is none
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, a stack without IPv6, what is no prefix, a row that is there already or is not, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let words: Vec<&str> = f.rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["show"] => show(s, f.has('J')),
        ["show", "--json"] => show(s, true),
        ["add", row @ ..] => change(s, NdRequest::AddPolicy(parse(row)?)),
        ["delete", p] => {
            let (prefix, prefix_len) = prefix(p)?;
            change(s, NdRequest::DeletePolicy { prefix, prefix_len })
        }
        ["flush"] => change(s, NdRequest::SetPolicies(Vec::new())),
        ["install", file] => change(s, NdRequest::SetPolicies(read(file)?)),
        ["delete" | "install", ..] => {
            Err(Failure::usage(format!("{}: one word is missing or too many", words[0]), USAGE))
        }
        [w, ..] => Err(Failure::usage(format!("{w}: not expected"), USAGE)),
    }
}

fn show(s: &mut dyn Stack, json: bool) -> Outcome {
    match ndp::nd(s, "policy table", NdRequest::Policies)? {
        NdReply::Policies(l) if json => print_json(&l),
        NdReply::Policies(l) => print(&table(&l)),
        r => Err(odd(&Reply::Nd(r))),
    }
}

fn table(list: &[NdPolicy]) -> String {
    let mut o = format!("{:<30} {:>5} {:>5} {:>8}\n", "Prefix", "Prec", "Label", "Use");
    for p in list {
        let net = format!("{}/{}", p.prefix, p.prefix_len);
        let _ = writeln!(o, "{net:<30} {:>5} {:>5} {:>8}", p.precedence, p.label, p.used);
    }
    o
}

fn change(s: &mut dyn Stack, r: NdRequest) -> Outcome {
    match ask(s, "policy table", &Request::Nd(r))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}

/// `prefix/length`; without a length all of an address.
fn prefix(w: &str) -> Result<(Ipv6Addr, u8), Failure> {
    let bad = || Failure::new(format!("{w}: no prefix of IPv6 (2001:db8::/32)"));
    let (a, len) = w.split_once('/').unwrap_or((w, "128"));
    let len = len.parse::<u8>().ok().filter(|n| *n <= 128).ok_or_else(bad)?;
    Ok((a.parse().map_err(|_| bad())?, len))
}

/// The words of a row.
fn parse(words: &[&str]) -> Result<NdPolicy, Failure> {
    let [net, precedence, label] = words else {
        return Err(Failure::usage("a row is: prefix precedence label", USAGE));
    };
    let number = |w: &str| w.parse::<u32>().map_err(|_| Failure::new(format!("{w}: no number from 0 on")));
    let (prefix, prefix_len) = prefix(net)?;
    Ok(NdPolicy { prefix, prefix_len, precedence: number(precedence)?, label: number(label)?, used: 0 })
}

/// The rows of a file; none of them is taken when one is wrong.
fn read(file: &str) -> Result<Vec<NdPolicy>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{file}: {e}")))?;
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let row = parse(&words).map_err(|e| {
            Failure::new(format!("{file}:{}: {}", n + 1, e.message.lines().next().unwrap_or("")))
        })?;
        out.push(row);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;

    fn row(prefix: &str, prefix_len: u8, precedence: u32, label: u32, used: u64) -> NdPolicy {
        NdPolicy { prefix: prefix.parse().expect("address"), prefix_len, precedence, label, used }
    }

    fn go(f: &mut Fake, l: &str) -> Outcome {
        run(f, &l.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_in_the_layout_of_the_bsds() {
        let want = "Prefix                          Prec Label      Use\n\
             ::1/128                           50     0        0\n\
             ::/0                              40     1    92422\n";
        assert_eq!(table(&[row("::1", 128, 50, 0, 0), row("::", 0, 40, 1, 92_422)]), want);
        let mut f = Fake::with([Reply::Nd(NdReply::Policies(Vec::new()))]);
        assert_eq!(go(&mut f, "show"), Ok(0));
        assert_eq!(f.asked, [Request::Nd(NdRequest::Policies)]);
    }

    #[test]
    fn words_become_orders() {
        let mut f = Fake::default();
        let del = NdRequest::DeletePolicy { prefix: "fd00::".parse().expect("address"), prefix_len: 8 };
        for (line, want) in [
            ("add 2001:db8::/32 60 9", NdRequest::AddPolicy(row("2001:db8::", 32, 60, 9, 0))),
            ("add ::1 60 9", NdRequest::AddPolicy(row("::1", 128, 60, 9, 0))),
            ("delete fd00::/8", del),
            ("flush", NdRequest::SetPolicies(Vec::new())),
        ] {
            assert_eq!(go(&mut f, line), Ok(0), "{line}");
            assert_eq!(f.asked.pop(), Some(Request::Nd(want)), "{line}");
        }
        for line in [
            "add ::/0 1",
            "add 10.0.0.0/8 1 1",
            "add ::/129 1 1",
            "add ::/0 x 1",
            "add ::/0 -1 1",
            "flush it",
            "delete",
            "show me",
        ] {
            assert!(go(&mut f, line).is_err(), "{line}");
        }
        assert!(f.asked.is_empty());
    }

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let file = std::env::temp_dir().join(format!("ip6addrctl-{}", std::process::id()));
        let name = file.to_str().expect("a path").to_string();
        std::fs::write(&file, "# mine\n::1/128 50 0 # loopback\n\n::/0\t40 1\n").expect("written");
        let mut f = Fake::default();
        assert_eq!(go(&mut f, &format!("install {name}")), Ok(0));
        let want = vec![row("::1", 128, 50, 0, 0), row("::", 0, 40, 1, 0)];
        assert_eq!(f.asked.pop(), Some(Request::Nd(NdRequest::SetPolicies(want))));
        std::fs::write(&file, "::1/128 50 0\n::/0 40\n").expect("written");
        let e = go(&mut f, &format!("install {name}")).expect_err("a bad line");
        assert!(e.message.contains(":2: "), "{e:?}");
        std::fs::remove_file(&file).expect("removed");
        assert!(go(&mut f, &format!("install {name}")).is_err() && f.asked.is_empty());
    }
}

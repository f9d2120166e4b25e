//! Filters: compiled by the system's tcpdump, whose language it is, or given as a program.

use crate::tool::Failure;
use std::process::Command;

/// Instructions of 8 bytes as they lie in memory.
pub type Insns = Vec<u8>;

fn push(out: &mut Insns, code: u16, jt: u8, jf: u8, k: u32) {
    out.extend(code.to_ne_bytes());
    out.extend([jt, jf]);
    out.extend(k.to_ne_bytes());
}

/// The program that takes the first `snap` bytes of everything.
pub fn everything(snap: u32) -> Insns {
    let mut out = Insns::new();
    push(&mut out, 0x06, 0, 0, snap);
    out
}

/// Reads what `tcpdump -ddd` prints: the number of instructions, and each as four decimal numbers.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Insns, String> {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let count: usize = lines.next().and_then(|l| l.parse().ok()).ok_or("no count in its first line")?;
    let mut out = Insns::new();
    for (n, l) in lines.by_ref().take(count).enumerate() {
        let v: Vec<u32> = l.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        let [code, jt, jf, k] = v[..] else { return Err(format!("instruction {n}: not four numbers: {l}")) };
        let small = |v: u32| u8::try_from(v).map_err(|_| format!("instruction {n}: {v} is too large"));
        let code = u16::try_from(code).map_err(|_| format!("instruction {n}: {code} is too large"))?;
        push(&mut out, code, small(jt)?, small(jf)?, k);
    }
    if out.len() != count * 8 || lines.next().is_some() {
        return Err(format!("{count} instructions were announced, others came"));
    }
    Ok(out)
}

/// Compiles an expression for a link type.
///
/// # Errors
/// What tcpdump says of the expression; that there is none.
pub fn compile(expression: &str, raw: bool, snap: u32) -> Result<Insns, Failure> {
    let link = if raw { "RAW" } else { "EN10MB" };
    let mut c = Command::new("tcpdump");
    c.args(["-ddd", "-y", link, "-s", &snap.to_string(), "--", expression])
        .stdin(std::process::Stdio::null());
    // Under io-pkt-run its calls are not for the stack.
    c.env_remove("LD_PRELOAD");
    let out = c.output().map_err(|e| {
        Failure::new(format!(
            "the filter \"{expression}\" is compiled by tcpdump, which cannot be run ({e}): install it, or give a compiled program with -F"
        ))
    })?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        let why = said.lines().last().unwrap_or("").trim_start_matches("tcpdump: ");
        return Err(Failure::new(format!("filter \"{expression}\": {why}")));
    }
    parse(&String::from_utf8_lossy(&out.stdout))
        .map_err(|e| Failure::new(format!("what tcpdump compiled: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_as_tcpdump_prints_them() {
        let p = parse("2\n40 0 0 12\n6 0 0 262144\n").unwrap();
        assert_eq!(p.len(), 16);
        assert_eq!(p[..2], 40u16.to_ne_bytes());
        assert_eq!(p[12..], 262_144u32.to_ne_bytes());
        for bad in ["", "x", "2\n6 0 0 0", "1\n6 0 0", "1\n6 0 0 0\n6 0 0 0", "1\n6 300 0 0"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! What a line from the modem is: an answer, the end of one, or something that nobody asked for.
//!
//! V.250 and TS 27.007 have no mark for that. The rule here: a line `+NAME: ...` (also `^`, `*`, `%`, `#`, `$`, `!`)
//! whose NAME does not stand in the command that is being answered is unsolicited; so are RING, and NO CARRIER
//! unless the command dials, answers or goes online. Final result codes end the answer.

/// Kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Empty,
    /// Part of the answer.
    Answer,
    /// The end of the answer.
    Final,
    /// Nobody asked for it.
    Unsolicited,
}

const FINAL: [&str; 9] = [
    "OK",
    "ERROR",
    "BUSY",
    "NO ANSWER",
    "NO DIALTONE",
    "NO DIAL TONE",
    "COMMAND NOT SUPPORT",
    "TOO MANY PARAMETERS",
    "ABORTED",
];

/// Judges a line while `command` (upper case; empty when none is under way) is being answered.
pub fn kind(line: &str, command: &str) -> Kind {
    let l = line.trim().to_ascii_uppercase();
    if l.is_empty() {
        return Kind::Empty;
    }
    if l == "NO CARRIER" {
        let online = ["ATD", "ATA", "ATO", "ATH"].iter().any(|c| command.starts_with(c));
        return if online { Kind::Final } else { Kind::Unsolicited };
    }
    // Numbers are the result codes of ATV0; 2 is RING.
    let number = ["0", "1", "3", "4", "6", "7", "8"].contains(&l.as_str());
    let error = l.starts_with("+CME ERROR") || l.starts_with("+CMS ERROR");
    if FINAL.contains(&l.as_str()) || error || number || l == "CONNECT" || l.starts_with("CONNECT ") {
        return if command.is_empty() { Kind::Unsolicited } else { Kind::Final };
    }
    if command.is_empty() || l == "RING" {
        return Kind::Unsolicited;
    }
    match name(&l) {
        Some(n) if !command.contains(n) => Kind::Unsolicited,
        _ => Kind::Answer,
    }
}

/// `+NAME` of a line `+NAME: ...`.
fn name(line: &str) -> Option<&str> {
    let (n, _) = line.split_once(':')?;
    let (mark, rest) = (n.chars().next()?, n.get(1..)?);
    let word = !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    (matches!(mark, '+' | '^' | '*' | '%' | '#' | '$' | '!') && word).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_judged_by_the_command() {
        for (line, command, want) in [
            ("OK", "AT", Kind::Final),
            ("+CME ERROR: 11", "AT+CPIN?", Kind::Final),
            ("+CREG: 0,1", "AT+CREG?", Kind::Answer),
            ("+CREG: 1", "AT+CSQ", Kind::Unsolicited),
            ("+CREG: 1", "", Kind::Unsolicited),
            ("^RSSI: 12", "AT+CREG?", Kind::Unsolicited),
            ("^SYSINFO: 2,3", "AT^SYSINFO", Kind::Answer),
            ("RING", "AT+CSQ", Kind::Unsolicited),
            ("NO CARRIER", "ATD*99#", Kind::Final),
            ("NO CARRIER", "AT+CSQ", Kind::Unsolicited),
            ("CONNECT 100000000", "ATD*99#", Kind::Final),
            ("Model: X", "ATI", Kind::Answer),
            ("0", "ATV0", Kind::Final),
            ("354000000000001", "AT+CGSN", Kind::Answer),
            ("  ", "AT", Kind::Empty),
            ("+CSQ: 24,99", "AT+CREG?;+CSQ", Kind::Answer),
        ] {
            assert_eq!(kind(line, command), want, "{line} of {command}");
        }
    }
}

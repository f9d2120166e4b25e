//! `%{ assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd }%`: statements about TCP_INFO, in a small part of Python's grammar.
//!
//! Statements stand on lines or behind semicolons; `assert EXPRESSION`, with or without a comma and a message behind it. Expressions have numbers,
//! names (fields of `struct tcp_info`, constants), `+ - * / % ( )`, chained comparisons, `not`, `and`, `or`. `print(...)` is ignored.

use crate::symbols;

/// Where a field is: name, offset, bytes.
const FIELDS: &[(&str, usize, usize)] = &[
    ("tcpi_state", 0, 1),
    ("tcpi_ca_state", 1, 1),
    ("tcpi_retransmits", 2, 1),
    ("tcpi_probes", 3, 1),
    ("tcpi_backoff", 4, 1),
    ("tcpi_options", 5, 1),
    ("tcpi_rto", 8, 4),
    ("tcpi_ato", 12, 4),
    ("tcpi_snd_mss", 16, 4),
    ("tcpi_rcv_mss", 20, 4),
    ("tcpi_unacked", 24, 4),
    ("tcpi_sacked", 28, 4),
    ("tcpi_lost", 32, 4),
    ("tcpi_retrans", 36, 4),
    ("tcpi_last_data_sent", 44, 4),
    ("tcpi_last_data_recv", 52, 4),
    ("tcpi_last_ack_recv", 56, 4),
    ("tcpi_pmtu", 60, 4),
    ("tcpi_rcv_ssthresh", 64, 4),
    ("tcpi_rtt", 68, 4),
    ("tcpi_rttvar", 72, 4),
    ("tcpi_snd_ssthresh", 76, 4),
    ("tcpi_snd_cwnd", 80, 4),
    ("tcpi_advmss", 84, 4),
    ("tcpi_reordering", 88, 4),
    ("tcpi_rcv_rtt", 92, 4),
    ("tcpi_rcv_space", 96, 4),
    ("tcpi_total_retrans", 100, 4),
    ("tcpi_pacing_rate", 104, 8),
    ("tcpi_max_pacing_rate", 112, 8),
    ("tcpi_bytes_acked", 120, 8),
    ("tcpi_bytes_received", 128, 8),
    ("tcpi_segs_out", 136, 4),
    ("tcpi_segs_in", 140, 4),
    ("tcpi_notsent_bytes", 144, 4),
    ("tcpi_min_rtt", 148, 4),
    ("tcpi_data_segs_in", 152, 4),
    ("tcpi_data_segs_out", 156, 4),
    ("tcpi_delivery_rate", 160, 8),
    ("tcpi_busy_time", 168, 8),
    ("tcpi_rwnd_limited", 176, 8),
    ("tcpi_sndbuf_limited", 184, 8),
    ("tcpi_delivered", 192, 4),
    ("tcpi_delivered_ce", 196, 4),
    ("tcpi_bytes_sent", 200, 8),
    ("tcpi_bytes_retrans", 208, 8),
    ("tcpi_dsack_dups", 216, 4),
    ("tcpi_reord_seen", 220, 4),
    ("tcpi_rcv_ooopack", 224, 4),
    ("tcpi_snd_wnd", 228, 4),
    ("tcpi_rcv_wnd", 232, 4),
];

/// Deepest nesting of brackets.
const DEPTH: u32 = 32;

fn field(info: &[u8], name: &str) -> Option<i64> {
    match name {
        "tcpi_snd_wscale" => return info.get(6).map(|b| i64::from(b & 15)),
        "tcpi_rcv_wscale" => return info.get(6).map(|b| i64::from(b >> 4)),
        _ => {}
    }
    let (_, at, n) = FIELDS.iter().find(|f| f.0 == name)?;
    let b = info.get(*at..at + n)?;
    let mut w = [0; 8];
    w[..*n].copy_from_slice(b);
    // Linux says "no limit" with all bits set.
    Some(i64::try_from(u64::from_ne_bytes(w)).unwrap_or(i64::MAX))
}

/// Carries the statements out; the first that does not hold, or is not understood, in words.
pub(crate) fn check(code: &str, info: &[u8]) -> Result<(), String> {
    let code = code.replace("\\\n", " ");
    for line in code.lines() {
        let mut words = split(line)?;
        if let Some(n) = words.iter().position(|w| w == "#") {
            words.truncate(n);
        }
        for words in words.split(|w| w == ";") {
            statement(words, info)?;
        }
    }
    Ok(())
}

fn statement(words: &[String], info: &[u8]) -> Result<(), String> {
    let s = words.join(" ");
    match words.first().map(String::as_str) {
        None | Some("print") => {}
        Some("assert") => {
            let mut e = Eval { words: &words[1..], at: 0, info, depth: 0 };
            if e.or()? == 0 {
                return Err(format!("{s}: it does not hold: {}", values(words, info)));
            }
            if !matches!(e.peek(), None | Some(",")) {
                return Err(format!("{s}: \"{}\" is not understood", e.peek().unwrap_or("")));
            }
        }
        Some(w) => return Err(format!("{w}: only assert is understood here")),
    }
    Ok(())
}

/// The fields that a statement names, with their values.
fn values(words: &[String], info: &[u8]) -> String {
    let mut v: Vec<String> =
        words.iter().filter_map(|w| Some(format!("{w} is {}", field(info, w)?))).collect();
    v.dedup();
    v.join(", ")
}

fn split(s: &str) -> Result<Vec<String>, String> {
    let mut v = Vec::new();
    let mut rest = s;
    while let Some(c) = rest.chars().next() {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let n = match c {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            c if name(c) => rest.find(|c| !name(c)).unwrap_or(rest.len()),
            '\'' | '"' => match rest[1..].find(c) {
                Some(n) => n + 2,
                None => return Err(format!("{s}: a text has no end")),
            },
            '=' | '!' | '<' | '>' if rest[1..].starts_with('=') => 2,
            c => c.len_utf8(),
        };
        v.push(rest[..n].to_string());
        rest = &rest[n..];
    }
    Ok(v)
}

struct Eval<'a> {
    words: &'a [String],
    at: usize,
    info: &'a [u8],
    depth: u32,
}

impl Eval<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn take(&mut self, w: &str) -> bool {
        let yes = self.peek() == Some(w);
        self.at += usize::from(yes);
        yes
    }

    fn or(&mut self) -> Result<i64, String> {
        let mut a = self.and()?;
        while self.take("or") {
            let b = self.and()?;
            a = i64::from(a != 0 || b != 0);
        }
        Ok(a)
    }

    fn and(&mut self) -> Result<i64, String> {
        let mut a = self.not()?;
        while self.take("and") {
            let b = self.not()?;
            a = i64::from(a != 0 && b != 0);
        }
        Ok(a)
    }

    fn not(&mut self) -> Result<i64, String> {
        let mut flip = false;
        while self.take("not") {
            flip = !flip;
        }
        let v = self.compare()?;
        Ok(if flip { i64::from(v == 0) } else { v })
    }

    /// `1 <= a <= 2` as Python has it.
    fn compare(&mut self) -> Result<i64, String> {
        let mut a = self.sum()?;
        let (mut holds, mut any) = (true, false);
        while let Some(op) = self.peek().filter(|o| ["==", "!=", "<", "<=", ">", ">="].contains(o)) {
            let op = op.to_string();
            self.at += 1;
            let b = self.sum()?;
            any = true;
            holds &= match op.as_str() {
                "==" => a == b,
                "!=" => a != b,
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                _ => a >= b,
            };
            a = b;
        }
        Ok(if any { i64::from(holds) } else { a })
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut a = self.product()?;
        loop {
            if self.take("+") {
                a = a.saturating_add(self.product()?);
            } else if self.take("-") {
                a = a.saturating_sub(self.product()?);
            } else if self.take("&") {
                a &= self.product()?;
            } else if self.take("|") {
                a |= self.product()?;
            } else {
                return Ok(a);
            }
        }
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut a = self.atom()?;
        loop {
            let op = match self.peek() {
                Some(o @ ("*" | "/" | "%")) => o.to_string(),
                _ => return Ok(a),
            };
            self.at += 1;
            let b = self.atom()?;
            a = match op.as_str() {
                "*" => Some(a.saturating_mul(b)),
                "/" => a.checked_div(b),
                _ => a.checked_rem(b),
            }
            .ok_or("division by zero")?;
        }
    }

    fn atom(&mut self) -> Result<i64, String> {
        if self.take("-") {
            return Ok(self.atom()?.saturating_neg());
        }
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEPTH {
                return Err("brackets are nested too deep".into());
            }
            let v = self.or()?;
            self.depth -= 1;
            return if self.take(")") { Ok(v) } else { Err("a bracket has no end".into()) };
        }
        let w = self.peek().ok_or("the expression has no end")?.to_string();
        self.at += 1;
        let n = crate::parse::int(&w).or_else(|| field(self.info, &w)).or_else(|| symbols::constant(&w));
        n.ok_or_else(|| format!("{w}: no field of tcp_info and no constant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_pythons() {
        let mut info = vec![0; 280];
        info[80] = 10;
        info[6] = 0x87;
        let yes = |c: &str| assert_eq!(check(c, &info), Ok(()), "{c}");
        yes("assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd");
        yes(
            "assert 9 < tcpi_snd_cwnd <= 10; assert not tcpi_lost\nassert tcpi_snd_wscale == 7 and tcpi_rcv_wscale == 8 # note",
        );
        yes("assert (1 + 2 * 3) % 4 == 3 or 0, 'cwnd=%d' % 3; print(1)");
        yes("assert tcpi_ca_state == TCP_CA_Open, \"state; or so\"");
        let no = check("assert tcpi_snd_cwnd > 10", &info).unwrap_err();
        assert!(no.contains("tcpi_snd_cwnd is 10"), "{no}");
        for bad in [
            "import os",
            "assert",
            "assert 1 ==",
            "assert (1",
            "assert 1 / 0",
            "assert cwnd == 1",
            "assert 1 2",
        ] {
            assert!(check(bad, &info).is_err(), "{bad}");
        }
    }
}

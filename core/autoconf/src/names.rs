//! Lists of domains as DNS writes names, without compression (RFC 8415 section 10).

use alloc::string::String;
use alloc::vec::Vec;

/// The names, up to the first that is none of a host's: nothing of it may reach a file or a terminal.
pub fn domains(mut b: &[u8], most: usize) -> Vec<String> {
    let mut out = Vec::new();
    while out.len() < most && b.first().is_some_and(|n| *n != 0) {
        let mut name = String::new();
        loop {
            let Some((n, rest)) = b.split_first() else { return out };
            let Some((label, rest)) = rest.split_at_checked(usize::from(*n)).filter(|_| *n < 64) else {
                return out;
            };
            b = rest;
            if label.is_empty() {
                break;
            }
            let good = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
            if !label.iter().all(good) || name.len() + label.len() > 253 {
                return out;
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|c| char::from(*c)));
        }
        out.push(name);
    }
    out
}

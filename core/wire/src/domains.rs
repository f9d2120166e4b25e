//! Lists of domains as DNS writes names, without compression (RFC 8415 section 10, RFC 8106 section 5.2).

use alloc::string::String;
use alloc::vec::Vec;

/// The names, at most so many, up to the first that is none of a host's: nothing of it may reach a file or a terminal. Zeros may stand
/// behind the last.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_up_to_the_first_that_is_none() {
        assert_eq!(
            domains(b"\x07example\x03com\0\x03lan\0\0\0\0\0", 9),
            [String::from("example.com"), "lan".into()]
        );
        assert_eq!(domains(b"\x03lan\0\x03a\nb\0", 9), ["lan"]);
        assert!(
            domains(b"\xc0\x01", 9).is_empty()
                && domains(b"\x05ab", 9).is_empty()
                && domains(b"", 9).is_empty()
        );
        assert!(domains(b"\x03lan", 9).is_empty(), "not ended");
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..300)) {
            for d in domains(&b, 300) {
                prop_assert!(!d.is_empty() && d.bytes().all(|c| c.is_ascii_graphic()));
            }
        }
    }
}

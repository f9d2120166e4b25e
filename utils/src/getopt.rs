//! getopt(3) as BSD tools use it: short flags, grouped or apart, values glued or apart, parsing ends at the
//! first operand (so that `ifconfig ecm0 -alias` keeps its words).

/// A parsed command line: flags in order, then operands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Flag letters with their values.
    pub flags: Vec<(char, Option<String>)>,
    /// What follows the flags.
    pub rest: Vec<String>,
}

impl Parsed {
    /// Whether `c` was given.
    pub fn has(&self, c: char) -> bool {
        self.flags.iter().any(|f| f.0 == c)
    }

    /// The last value given to `c`.
    pub fn value(&self, c: char) -> Option<&str> {
        self.flags.iter().rev().find(|f| f.0 == c).and_then(|f| f.1.as_deref())
    }
}

/// Parses `args` (without the program's name) by `spec`, getopt(3)'s notation: `"ab:"` is a flag and one with
/// a value. The long options `--help`, `--json` and `--version` come out as the letters `'?'`, `'J'` and `'V'`.
///
/// # Errors
/// A line for people when a flag is unknown or lacks its value.
pub fn parse(spec: &str, args: &[String]) -> Result<Parsed, String> {
    let mut p = Parsed::default();
    let mut it = args.iter();
    while let Some(a) = it.next() {
        match a.as_str() {
            "--" => break,
            "--help" => {
                p.flags.push(('?', None));
                continue;
            }
            "--json" => {
                p.flags.push(('J', None));
                continue;
            }
            "--version" => {
                p.flags.push(('V', None));
                continue;
            }
            s if s.starts_with("--") => return Err(format!("unknown option -- {s}")),
            s if s.len() < 2 || !s.starts_with('-') => {
                p.rest.push(a.clone());
                break;
            }
            _ => {}
        }
        let chars = a[1..].char_indices();
        for (i, c) in chars {
            let Some(at) = spec.find(c).filter(|_| c != ':') else {
                return Err(format!("unknown option -- {c}"));
            };
            if !spec[at + c.len_utf8()..].starts_with(':') {
                p.flags.push((c, None));
                continue;
            }
            let glued = &a[1 + i + c.len_utf8()..];
            let v = if glued.is_empty() { it.next().cloned() } else { Some(glued.to_string()) };
            p.flags.push((c, Some(v.ok_or_else(|| format!("option requires an argument -- {c}"))?)));
            break;
        }
    }
    p.rest.extend(it.cloned());
    Ok(p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn args(s: &str) -> Vec<String> {
        s.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn flags_group_and_values_glue() {
        let p = parse("apm:r:", &args("-ap -m200 -r 10 ecm0 -alias")).expect("good");
        assert!(p.has('a') && p.has('p') && !p.has('m'.to_ascii_uppercase()));
        assert_eq!((p.value('m'), p.value('r')), (Some("200"), Some("10")));
        assert_eq!(p.rest, args("ecm0 -alias"));
    }

    #[test]
    fn the_ends_are_clear() {
        assert_eq!(parse("a", &args("-- -a")).expect("good").rest, args("-a"));
        assert_eq!(parse("a", &args("-x")).unwrap_err(), "unknown option -- x");
        assert_eq!(parse("m:", &args("-m")).unwrap_err(), "option requires an argument -- m");
        assert_eq!(parse("a:", &args("-:")).unwrap_err(), "unknown option -- :");
        assert!(parse("", &args("--json")).expect("good").has('J'));
    }

    proptest! {
        #[test]
        fn no_word_is_lost(words in prop::collection::vec("(-[abm:]{0,3}|--|[a-z]{0,3}|\\PC{0,3})", 0..6)) {
            if let Ok(p) = parse("abm:", &words) {
                prop_assert!(p.rest.len() <= words.len() && words.ends_with(&p.rest));
                prop_assert!(p.flags.iter().all(|f| (f.0 == 'm') == f.1.is_some()));
            }
        }
    }
}

//! Snapshots: text files in the tree that a test compares with what it has computed.

use std::fmt::Write;
use std::path::PathBuf;

/// Compares `text` with `sim/snapshots/NAME.txt`; with `IO_PKT_BLESS=1` in the environment it is written there instead.
///
/// # Panics
/// They differ: the lines that do are in the message.
pub fn snapshot(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "snapshots", &format!("{name}.txt")].iter().collect();
    if std::env::var_os("IO_PKT_BLESS").is_some_and(|v| v == "1") {
        return std::fs::write(&path, text).expect("the snapshot is written");
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        old == text,
        "{} is not what it was; when the change is meant: IO_PKT_BLESS=1 cargo test -p iopkt-sim --test tables\n{}",
        path.display(),
        difference(&old, text)
    );
}

/// The lines that differ, old ones with `-`, new ones with `+`. A table's rows keep their places, so there is nothing to align.
fn difference(old: &str, new: &str) -> String {
    let (mut a, mut b) = (old.lines(), new.lines());
    let mut out = String::new();
    loop {
        match (a.next(), b.next()) {
            (None, None) => return out,
            (x, y) if x == y => {}
            (x, y) => {
                for (sign, line) in [('-', x), ('+', y)] {
                    if let Some(l) = line {
                        let _ = writeln!(out, "{sign} {l}");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_the_rows() {
        assert_eq!(difference("a\nb\nc\n", "a\nB\nc\nd\n"), "- b\n+ B\n+ d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}

//! The tables of what the manuals promise are complete, and the tests that they name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility");
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

struct Row {
    what: String,
    state: String,
    tests: Vec<String>,
}

/// The ids of `manual.txt`, by section.
fn promised() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in fs::read_to_string(format!("{TABLES}/manual.txt")).unwrap().lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_string();
        } else if !line.is_empty() && !line.starts_with('#') {
            let fresh = all.entry(section.clone()).or_default().insert(line.to_string());
            assert!(fresh, "manual.txt has {line} twice");
        }
    }
    all
}

/// The rows of a section's table, by id.
fn table(section: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let text =
        fs::read_to_string(format!("{TABLES}/{section}.md")).unwrap_or_else(|e| panic!("{section}.md: {e}"));
    for line in text.lines().filter(|l| l.starts_with("| ")).skip(2) {
        // A bar inside a cell is written `\|`.
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|c| c.trim().replace('\u{1}', "|")).collect();
        let [id, what, state, tests] = cells.as_slice() else {
            panic!("{section}.md: not four cells: {line}")
        };
        let tests =
            tests.replace('`', " ").split_whitespace().filter(|t| *t != "-").map(str::to_string).collect();
        let row = Row { what: what.clone(), state: state.clone(), tests };
        assert!(rows.insert(id.clone(), row).is_none(), "{section}.md has {id} twice");
    }
    rows
}

#[test]
fn every_promise_has_a_row_and_every_row_a_promise() {
    for (section, ids) in promised() {
        let rows: BTreeSet<String> = table(&section).into_keys().collect();
        let missing: Vec<_> = ids.difference(&rows).collect();
        let unknown: Vec<_> = rows.difference(&ids).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{section}.md: missing {missing:?}, unknown {unknown:?}"
        );
    }
}

#[test]
fn every_row_says_what_holds_and_what_shows_it() {
    let mut wrong = Vec::new();
    for section in promised().into_keys() {
        for (id, row) in table(&section) {
            let (word, why) = row.state.split_once(':').unwrap_or((&row.state, ""));
            let good = match word {
                "works" => !row.tests.is_empty(),
                "differs" | "refused" => !why.trim().is_empty() && !row.tests.is_empty(),
                "later" => true,
                _ => false,
            };
            if !good || row.what.is_empty() {
                wrong.push(format!("{section}.md: {id}: {}, tests {:?}", row.state, row.tests));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_is_named_exists() {
    let mut wrong = Vec::new();
    for section in promised().into_keys() {
        for (id, row) in table(&section) {
            for test in &row.tests {
                let exists = test.split_once("::").is_some_and(|(file, name)| {
                    let text = fs::read_to_string(Path::new(PROJECT).join(file)).unwrap_or_default();
                    let name = name.rsplit("::").next().unwrap_or_default();
                    text.contains(&format!("fn {name}(")) && text.contains("#[test]")
                        || text.contains("proptest!") && text.contains(&format!("fn {name}("))
                });
                if !exists {
                    wrong.push(format!("{section}.md: {id}: {test}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no such test:\n{}", wrong.join("\n"));
}

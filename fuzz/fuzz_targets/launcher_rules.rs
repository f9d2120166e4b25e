//! The rules file of usblauncher: what is read is bounded and said to be wrong with its line.
#![no_main]

use iopkt_utils::usblauncher::rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match rules::parse(text) {
        Ok(list) => {
            assert!(list.len() <= text.lines().count());
            for r in &list {
                for c in [&r.insert, &r.remove].into_iter().flatten() {
                    let _ = rules::expand(c, &|n| Some(n.to_string())).expect("checked when it was read");
                }
            }
        }
        Err(e) => assert!(!e.is_empty()),
    }
});

//! Parsers of what users and files say: whatever comes in, no panic, and what goes through is what was allowed.

mod common;

use common::Dir;
use iopkt_loader::{Info, Kind, OptionHelp, Takes, good_prefix, inspect, split_options};
use proptest::prelude::*;

fn info() -> Info {
    let o = |name: &str, takes, form: &str| OptionHelp {
        name: name.into(),
        takes,
        form: form.into(),
        help: String::new(),
    };
    Info {
        path: "/x/devnp-x.so".into(),
        kind: Kind::Driver,
        abi: (1, 0),
        name: "x".into(),
        prefix: "x".into(),
        version: String::new(),
        description: String::new(),
        options: vec![
            o("flag", Takes::Nothing, "flag"),
            o("value", Takes::Value, "value=N"),
            o("maybe", Takes::Maybe, "maybe[=N]"),
        ],
        raw_options: false,
    }
}

proptest! {
    #[test]
    fn any_option_list(list in ".{0,200}") {
        if let Err(e) = split_options(&list, &info()) {
            prop_assert!(e.text.starts_with("devnp-x.so: ") && !e.text.contains(char::is_control));
        }
    }

    #[test]
    fn likely_option_lists(words in prop::collection::vec(
        "(flag|value|maybe|name|unit|other)(=[a-z0-9=-]{0,12})?", 0..8))
    {
        let list = words.join(",");
        match split_options(&list, &info()) {
            Ok(o) => {
                prop_assert!(!list.contains("other"));
                for w in o.rest.split(',').filter(|w| !w.is_empty()) {
                    let name = w.split('=').next().unwrap();
                    prop_assert!(["flag", "value", "maybe"].contains(&name), "{}", w);
                    prop_assert!(words.iter().any(|x| x == w));
                }
                let kept = words.iter().filter(|w| !w.starts_with("name") && !w.starts_with("unit")).count();
                prop_assert_eq!(o.rest.split(',').filter(|w| !w.is_empty()).count(), kept);
                if let Some(n) = o.name {
                    prop_assert!(good_prefix(&n));
                }
            }
            Err(e) => prop_assert!(e.text.contains("option"), "{}", e),
        }
    }

    #[test]
    fn any_prefix(p in ".{0,20}") {
        if good_prefix(&p) {
            prop_assert!(p.len() <= 11 && p.is_ascii() && !p.contains(['/', '.', ' ']));
        }
    }

    #[test]
    fn any_file(head in prop::collection::vec(any::<u8>(), 0..300), elf in any::<bool>()) {
        let d = Dir::new("any-file");
        let p = d.0.join("any.so");
        let mut b = head;
        if elf && b.len() >= 64 {
            b[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
            b[16..20].copy_from_slice(&[3, 0, if cfg!(target_arch = "x86_64") { 62 } else { 183 }, 0]);
            b[54..56].copy_from_slice(&56u16.to_le_bytes());
            b[58..60].copy_from_slice(&64u16.to_le_bytes());
        }
        std::fs::write(&p, &b).unwrap();
        prop_assert!(inspect(&p).is_err());
    }
}

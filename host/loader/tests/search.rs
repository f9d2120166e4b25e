//! Which file a name means.

mod common;

use common::Dir;
use iopkt_base::Errno;
use iopkt_loader::{Found, Search};
use std::path::PathBuf;

fn touch(d: &Dir, names: &[&str]) -> Vec<PathBuf> {
    names
        .iter()
        .map(|n| {
            let p = d.0.join(n);
            std::fs::create_dir_all(p.parent().unwrap()).unwrap();
            std::fs::write(&p, "").unwrap();
            p
        })
        .collect()
}

#[test]
fn drivers_by_name() {
    let d = Dir::new("search");
    let f = touch(
        &d,
        &["a/devnp-x.so", "b/devnp-x.so", "b/devnp-y.so", "a/devn-y.so", "a/devn-z.so", "a/lsm-x.so"],
    );
    let s = Search::only([d.0.join("a"), d.0.join("b")]);
    let native = |path: &PathBuf| Found { path: path.clone(), legacy: None };
    assert_eq!(s.driver("x").unwrap(), native(&f[0]), "the first directory wins");
    assert_eq!(s.driver("y").unwrap(), native(&f[2]), "devnp- anywhere goes before devn-");
    assert_eq!(s.driver("devnp-y.so").unwrap(), native(&f[2]), "a file name");
    assert_eq!(s.driver(f[1].to_str().unwrap()).unwrap(), native(&f[1]), "a path");
    assert_eq!(s.module("x").unwrap(), native(&f[5]));
    assert_eq!(s.object("lsm-x.so").unwrap(), native(&f[5]));
    let legacy = ["z", "devn-z.so", f[4].to_str().unwrap()];
    for what in legacy {
        let e = s.driver(what).unwrap_err();
        assert!(e.text.contains("devn-z.so") && e.text.contains("no devnp-shim.so in"), "{e}");
        assert_eq!(e.errno, Errno::ENOENT);
    }
    let shim = touch(&d, &["b/devnp-shim.so"]).remove(0);
    for what in legacy {
        assert_eq!(s.driver(what).unwrap(), Found { path: shim.clone(), legacy: Some(f[4].clone()) });
    }
    assert_eq!(s.object("devn-y.so").unwrap().legacy.as_ref(), Some(&f[3]), "asked for by its whole name");
    let e = s.driver("nope").unwrap_err();
    assert_eq!(e.errno, Errno::ENOENT);
    assert!(
        e.text.contains("no devnp-nope.so in")
            && e.text.contains("/a, ")
            && e.text.contains("LD_LIBRARY_PATH"),
        "{e}"
    );
    assert!(s.module("nope").unwrap_err().text.contains("lsm-nope.so"));
    assert!(s.driver("./devnp-x.so").is_err(), "a path is not searched for");
}

#[test]
fn the_standard_places() {
    let s = Search::standard();
    let dirs: Vec<_> = s.dirs().iter().map(|d| d.display().to_string()).collect();
    assert!(dirs.ends_with(&["/usr/lib/io-pkt".into(), "/lib/dll".into()]), "{dirs:?}");
    let exe = std::env::current_exe().unwrap();
    let up = exe.parent().unwrap().parent().unwrap();
    assert!(dirs.contains(&up.join("lib").display().to_string()), "{dirs:?}");
    assert!(dirs.contains(&up.display().to_string()), "cargo's own directory: {dirs:?}");
}

#[test]
fn cargos_names_are_known_in_cargos_directories_only() {
    let d = Dir::new("cargo-names");
    let f = touch(&d, &["libdevnp_q.so"]);
    let s = Search::only([d.0.clone()]);
    assert!(s.driver("q").is_err());
    std::fs::create_dir(d.0.join(".fingerprint")).unwrap();
    assert_eq!(s.driver("q").unwrap().path, f[0]);
}

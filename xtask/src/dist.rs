//! Lays the product out, relocatable: everything finds everything else relative to its own file.

use crate::sh;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Programs that are built as they are.
const PROGRAMS: &[&str] =
    &["io-pkt-v4", "io-pkt-v4-hc", "io-pkt-v6-hc", "io-usb", "io-pkt-run", "iopkt-utils"];

/// Names under which `iopkt-utils` is called.
pub const TOOLS: &[&str] = include!("../../utils/src/names.in");

/// Shared objects: name in the build, name in the product.
const OBJECTS: &[(&str, &str)] = &[
    ("libdevnp_ecm.so", "devnp-ecm.so"),
    ("libdevnp_ncm.so", "devnp-ncm.so"),
    ("libdevnp_tap.so", "devnp-tap.so"),
    ("libdevnp_afp.so", "devnp-afp.so"),
    ("libdevnp_shim.so", "devnp-shim.so"),
    ("liblsm_autoip.so", "lsm-autoip.so"),
    ("libiopkt_preload.so", "libiopkt_preload.so"),
    ("libiopkt_packetdrill.so", "libiopkt_packetdrill.so"),
];

/// Builds and lays out; returns the directory.
pub fn run() -> Result<PathBuf, String> {
    let mut build = sh::cargo();
    build.args(["build", "--release"]);
    for p in PROGRAMS {
        build.args(["-p", p]);
    }
    for p in [
        "devnp-ecm",
        "devnp-ncm",
        "devnp-tap",
        "devnp-afp",
        "devnp-shim",
        "lsm-autoip",
        "iopkt-preload",
        "iopkt-packetdrill",
    ] {
        build.args(["-p", p]);
    }
    sh::run(&mut build)?;
    let (from, to) = (sh::target().join("release"), sh::target().join("dist"));
    let _ = fs::remove_dir_all(&to);
    for d in ["bin", "lib", "include", "man"] {
        fs::create_dir_all(to.join(d)).map_err(|e| format!("{}: {e}", to.join(d).display()))?;
    }
    for p in PROGRAMS {
        copy(&from.join(p), &to.join("bin").join(p))?;
    }
    for t in TOOLS {
        symlink("iopkt-utils", to.join("bin").join(t)).map_err(|e| format!("bin/{t}: {e}"))?;
    }
    for (a, b) in OBJECTS {
        copy(&from.join(a), &to.join("lib").join(b))?;
    }
    // The superset of devnp-ecm's options under its own name.
    symlink("devnp-ecm.so", to.join("lib/devnp-ecmplus.so")).map_err(|e| format!("devnp-ecmplus.so: {e}"))?;
    tree(&sh::root().join("include"), &to.join("include"))?;
    tree(&sh::root().join("share"), &to.join("share"))?;
    for page in list(&sh::root().join("man"))? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(section) = name.rsplit('.').next().filter(|s| s.len() == 1) {
            let dir = to.join("man").join(format!("man{section}"));
            fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            copy(&page, &dir.join(&name))?;
        }
    }
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(|_| ()).map_err(|e| format!("{} -> {}: {e}", from.display(), to.display()))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut v: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    v.sort();
    Ok(v)
}

fn tree(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|e| format!("{}: {e}", to.display()))?;
    for p in list(from)? {
        let t = to.join(p.file_name().unwrap_or_default());
        if p.is_dir() { tree(&p, &t)? } else { copy(&p, &t)? }
    }
    Ok(())
}

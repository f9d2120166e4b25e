//! The table of allowed edges between crates: arrows point down only.

use crate::sh;
use std::collections::BTreeMap;

/// Layers from the ground up; a crate may depend on crates of lower layers, and inside its own layer only as
/// the second table says.
const LAYERS: &[(&str, &[&str])] = &[
    ("words", &["iopkt-base"]),
    (
        "core",
        &[
            "iopkt-mbuf",
            "iopkt-wide",
            "iopkt-wire",
            "iopkt-bpf",
            "iopkt-tcp",
            "iopkt-ctl",
            "iopkt-stack",
            "iopkt-inet",
            "iopkt-inet6",
            "iopkt-autoconf",
        ],
    ),
    ("socket", &["iopkt-sockproto", "iopkt-sockserver", "iopkt-shim", "iopkt-world"]),
    ("plug", &["iopkt-abi", "iopkt-sdk"]),
    ("usb", &["iopkt-usbip", "iopkt-gadget", "iopkt-usbnet", "iopkt-linuxif"]),
    ("host", &["iopkt-sys", "iopkt-slog", "iopkt-loader", "iopkt-sockhost", "iopkt-runtime", "iopkt-client"]),
    (
        "programs",
        &[
            "io-pkt-v4",
            "io-pkt-v4-hc",
            "io-pkt-v6-hc",
            "io-usb",
            "io-pkt-run",
            "iopkt-preload",
            "iopkt-utils",
            "devnp-ecm",
            "devnp-ncm",
            "devnp-tap",
            "devnp-afp",
            "devnp-shim",
            "lsm-autoip",
            "iopkt-packetdrill",
            "iopkt-script",
        ],
    ),
    ("proof", &["iopkt-sim", "iopkt-tests", "iopkt-bench", "xtask"]),
];

/// Edges inside a layer, and the only ones that drivers and the preload library may have: a driver must not
/// know the stack, a foreign process must not carry it.
const INSIDE: &[(&str, &[&str])] = &[
    ("iopkt-wire", &["iopkt-wide"]),
    ("iopkt-tcp", &["iopkt-mbuf", "iopkt-wire"]),
    ("iopkt-stack", &["iopkt-mbuf", "iopkt-wire", "iopkt-bpf", "iopkt-tcp", "iopkt-ctl"]),
    ("iopkt-autoconf", &["iopkt-wire"]),
    ("iopkt-inet", &["iopkt-mbuf", "iopkt-wire", "iopkt-ctl", "iopkt-stack"]),
    ("iopkt-inet6", &["iopkt-mbuf", "iopkt-wire", "iopkt-ctl", "iopkt-stack"]),
    ("iopkt-sockserver", &["iopkt-sockproto"]),
    ("iopkt-shim", &["iopkt-sockproto"]),
    ("iopkt-sdk", &["iopkt-abi"]),
    ("iopkt-gadget", &["iopkt-usbip"]),
    ("iopkt-slog", &["iopkt-sys"]),
    // The laboratory of the tests: private roots, namespaces.
    ("iopkt-bench", &["iopkt-tests"]),
    ("iopkt-client", &["iopkt-sys"]),
    ("iopkt-loader", &["iopkt-sys"]),
    ("iopkt-sockhost", &["iopkt-sys"]),
    ("iopkt-runtime", &["iopkt-sys", "iopkt-slog", "iopkt-loader", "iopkt-sockhost"]),
];

const ONLY: &[(&str, &[&str])] = &[
    // What drivers of USB network functions share: as blind as they are.
    ("iopkt-usbnet", &["iopkt-sdk", "iopkt-abi", "iopkt-usbip"]),
    ("devnp-ecm", &["iopkt-sdk", "iopkt-abi", "iopkt-usbnet"]),
    ("devnp-ncm", &["iopkt-sdk", "iopkt-abi", "iopkt-usbnet"]),
    // The same of drivers of Linux interfaces.
    ("iopkt-linuxif", &["iopkt-sdk", "iopkt-abi"]),
    ("devnp-tap", &["iopkt-sdk", "iopkt-abi", "iopkt-linuxif"]),
    ("devnp-afp", &["iopkt-sdk", "iopkt-abi", "iopkt-linuxif"]),
    ("devnp-shim", &["iopkt-sdk"]),
    ("lsm-autoip", &["iopkt-sdk", "iopkt-base", "iopkt-wire", "iopkt-autoconf"]),
    ("iopkt-preload", &["iopkt-base", "iopkt-sockproto", "iopkt-shim"]),
    ("iopkt-abi", &[]),
    ("iopkt-sdk", &["iopkt-abi"]),
    ("iopkt-usbip", &[]),
    // What a variant is made of: a reviewer sees a new part here.
    ("io-pkt-v4", &["iopkt-runtime", "iopkt-stack", "iopkt-inet"]),
];

/// Crates of the workspace with their normal and build dependencies inside it.
pub fn graph() -> Result<BTreeMap<String, Vec<String>>, String> {
    let text = sh::output(sh::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let v: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let packages = v["packages"].as_array().ok_or("cargo metadata without packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut g = BTreeMap::new();
    for p in packages {
        let deps = p["dependencies"].as_array().into_iter().flatten();
        let inner = deps
            .filter(|d| d["kind"].as_str() != Some("dev"))
            .filter_map(|d| d["name"].as_str())
            .filter(|d| names.contains(d))
            .map(str::to_string);
        g.insert(p["name"].as_str().unwrap_or_default().to_string(), inner.collect());
    }
    Ok(g)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|l| l.1.contains(&name))
}

/// Every edge that the tables do not allow, as a line.
pub fn violations(g: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut bad = Vec::new();
    for (name, deps) in g {
        let Some(l) = layer(name) else {
            bad.push(format!("{name}: in no layer; give it one in xtask/src/edges.rs"));
            continue;
        };
        for d in deps {
            let only = ONLY.iter().find(|o| o.0 == name).map(|o| o.1);
            let inside = INSIDE.iter().any(|i| i.0 == name && i.1.contains(&d.as_str()));
            let ok =
                only.map_or_else(|| layer(d).is_some_and(|x| x < l) || inside, |o| o.contains(&d.as_str()));
            if !ok {
                bad.push(format!("{name} -> {d}: not an allowed edge (xtask/src/edges.rs)"));
            }
        }
    }
    bad
}

/// `cargo xtask edges`.
pub fn print() -> Result<(), String> {
    for (name, deps) in graph()? {
        println!("{name}: {}", deps.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn g(edges: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        edges.iter().map(|e| (e.0.to_string(), e.1.iter().map(|d| d.to_string()).collect())).collect()
    }

    #[test]
    fn arrows_point_down() {
        assert!(violations(&g(&[("iopkt-stack", &["iopkt-base", "iopkt-tcp"])])).is_empty());
        assert_eq!(violations(&g(&[("iopkt-tcp", &["iopkt-stack"])])).len(), 1, "sideways");
        assert_eq!(violations(&g(&[("iopkt-inet", &["iopkt-sys"])])).len(), 1, "up");
        assert_eq!(
            violations(&g(&[("devnp-ecm", &["iopkt-stack"])])).len(),
            1,
            "a driver that knows the stack"
        );
        assert_eq!(violations(&g(&[("stranger", &[])])).len(), 1, "a crate without a layer");
    }

    #[test]
    fn the_workspace_keeps_to_the_table() {
        assert_eq!(violations(&graph().expect("cargo metadata")), Vec::<String>::new());
    }
}

//! The unmodified programs that measure.

use crate::path::Path;
use serde_json::Value;
use std::path::Path as File;

/// Port of the echo server.
pub const ECHO: u16 = 7007;

/// Why something was not measured.
#[derive(Debug)]
pub struct Skip(pub String);

/// Skips unless this is root and the programs are there.
pub fn need(programs: &[&str]) -> Result<(), Skip> {
    if !rustix::process::geteuid().is_root() {
        return Err(Skip("needs root: it makes network namespaces".into()));
    }
    if !File::new("/dev/net/tun").exists() {
        return Err(Skip("needs /dev/net/tun (modprobe tun)".into()));
    }
    for p in programs {
        if find(p).is_none() {
            return Err(Skip(format!("needs the program {p} (on Debian: apt-get install {})", package(p))));
        }
    }
    Ok(())
}

fn package(program: &str) -> &str {
    match program {
        "ip" => "iproute2",
        "redis-server" | "redis-benchmark" => "redis",
        "taskset" => "util-linux",
        "ping" => "iputils-ping",
        other => other,
    }
}

/// Where a program lies. The system's own directories come first: a wrapper script of a version manager is not what
/// is to be measured.
pub fn find(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(Into::into).into_iter();
    let mut all = dirs.chain(std::env::split_paths(&path));
    all.find_map(|d| {
        let p: std::path::PathBuf = d.join(program);
        p.is_file().then(|| p.display().to_string())
    })
}

/// The system's ping: the one first on the laboratory's PATH is ours.
pub fn kernel_ping() -> String {
    find("ping").unwrap_or_else(|| "ping".into())
}

/// Writes the echo program and starts its server at the near end.
pub fn echo_server(p: &mut Path) -> String {
    let python = find("python3").unwrap_or_default();
    let file = p.file("echo.py", include_str!("echo.py"));
    let echo = format!("{python} -S {file}");
    let near = p.near_address();
    p.serve(&p.near_line(&format!("{echo} serve {near} {ECHO}")));
    let probe = p.far_line(&format!("{echo} bulk {near} {ECHO} 1000"));
    p.wait(&probe);
    echo
}

/// Random bytes there and back: what is measured must be right first.
pub fn verify(p: &Path, echo: &str, bytes: usize) {
    let out = p.run(&p.far_line(&format!("{echo} bulk {} {ECHO} {bytes}", p.near_address())));
    let v = json(&out, "the echo client");
    assert_eq!(v["bytes"].as_u64(), Some(bytes as u64), "{}: {out}", p.kind.name());
}

/// Output that must be JSON.
#[track_caller]
pub fn json(out: &str, who: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|e| panic!("{who} did not print JSON ({e}): {out}"))
}

/// A number that must be there.
#[track_caller]
pub fn number(v: &Value, pointer: &str) -> f64 {
    v.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer} in {v}"))
}

//! Running other programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// Where cargo builds to.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(root());
    c
}

/// Runs to the end; an error names the command and how it ended.
pub fn run(c: &mut Command) -> Result<(), String> {
    let text = show(c);
    eprintln!("+ {text}");
    match c.status() {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("{text}: {s}")),
        Err(e) => Err(format!("{text}: {e}")),
    }
}

/// Standard output of a command that must succeed.
pub fn output(c: &mut Command) -> Result<String, String> {
    let text = show(c);
    let o = c.stderr(Stdio::inherit()).output().map_err(|e| format!("{text}: {e}"))?;
    if !o.status.success() {
        return Err(format!("{text}: {}", o.status));
    }
    Ok(String::from_utf8_lossy(&o.stdout).into_owned())
}

/// Whether a program is on PATH.
pub fn have(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|d| d.join(program).is_file())
        || ["/usr/sbin", "/sbin"].iter().any(|d| std::path::Path::new(d).join(program).is_file())
}

fn show(c: &Command) -> String {
    let mut s = c.get_program().to_string_lossy().into_owned();
    if let Some(base) = s.rsplit('/').next() {
        s = base.to_string();
    }
    for a in c.get_args() {
        s += " ";
        s += &a.to_string_lossy();
    }
    s
}

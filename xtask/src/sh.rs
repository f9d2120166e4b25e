//! Running other programs.

use std::io::{Read as _, Write as _};
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

/// Runs to the end; what it prints goes on to our standard output and is returned, with whether it succeeded.
pub fn tee(c: &mut Command) -> Result<(bool, String), String> {
    let text = show(c);
    eprintln!("+ {text}");
    let fault = |e: std::io::Error| format!("{text}: {e}");
    let (mut reader, writer) = std::io::pipe().map_err(fault)?;
    // One pipe for both: the lines keep their order.
    c.stdout(writer.try_clone().map_err(fault)?).stderr(writer);
    let mut child = c.spawn().map_err(fault)?;
    // The command's copies of the pipe's end: without this the end would never be seen.
    c.stdout(Stdio::null()).stderr(Stdio::null());
    let (mut all, mut buf) = (Vec::new(), [0; 8192]);
    loop {
        let n = reader.read(&mut buf).map_err(fault)?;
        if n == 0 {
            break;
        }
        std::io::stdout().write_all(&buf[..n]).map_err(fault)?;
        all.extend_from_slice(&buf[..n]);
    }
    let ok = child.wait().map_err(fault)?.success();
    Ok((ok, String::from_utf8_lossy(&all).into_owned()))
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

//! `cargo xtask demo`: the main job on the simulated USB bus, as a person would type it.

use crate::{dist, sh};
use std::path::Path;
use std::process::Command;

/// What is typed, with a word about each.
const SCRIPT: &[(&str, &str)] = &[
    ("the USB stack manager, with a simulated modem plugged in", "io-usb -d sim &"),
    ("the network stack, with the CDC-ECM driver", "io-pkt-v4-hc -d ecm verbose -ptcpip &"),
    (
        "wait for the interface, give it an address (10.184 is 10.0.0.184)",
        "if_up -p ecm0 && ifconfig ecm0 10.184",
    ),
    ("", "ifconfig -a"),
    ("the far side answers", "ping -c 3 10.1"),
    ("an unmodified program on our stack", "io-pkt-run curl -s http://10.0.0.1/"),
    (
        "a megabyte through it, checked by its length",
        "io-pkt-run curl -s http://10.0.0.1/bytes/1048576 | wc -c",
    ),
    ("", "netstat -rn"),
    ("", "arp -a"),
    ("", "nicinfo ecm0"),
    ("", "usb -v"),
    (
        "the modem's AT port",
        "exec 3<>\"$IO_PKT_ROOT/dev/serecm0\"; printf 'ATI\\r' >&3; timeout 2 cat <&3; exec 3>&-",
    ),
    ("", "sloginfo | tail -n 12"),
    (
        "take it away: the driver's object is unmapped",
        "ifconfig ecm0 down && ifconfig ecm0 destroy && ifconfig -l",
    ),
];

/// Builds the product, runs the script in a private root, cleans up.
pub fn run() -> Result<(), String> {
    let dist = dist::run()?;
    let root = std::env::temp_dir().join(format!("io-pkt-demo-{}", std::process::id()));
    std::fs::create_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let r = script(&dist, &root);
    stop(&root);
    let _ = std::fs::remove_dir_all(&root);
    r
}

fn script(dist: &Path, root: &Path) -> Result<(), String> {
    if !sh::have("curl") {
        return Err(
            "the demo runs curl on the stack, and there is no curl here (apt-get install curl)".into()
        );
    }
    let mut path = vec![dist.join("bin")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).map_err(|e| e.to_string())?;
    for (what, line) in SCRIPT {
        if !what.is_empty() {
            println!("\n\x1b[2m# {what}\x1b[0m");
        }
        println!("\x1b[1m$ {}\x1b[0m", line);
        let s = Command::new("sh")
            .args(["-c", line])
            .env("PATH", &path)
            .env("IO_PKT_ROOT", root)
            // cargo points it at its own directories; the product finds its objects by itself.
            .env_remove("LD_LIBRARY_PATH")
            .status();
        if !s.as_ref().is_ok_and(|s| s.success()) {
            return Err(format!("`{line}` failed ({s:?}); the log says:\n{}", log(dist, root)));
        }
    }
    println!("\nThe same by hand: put {}/bin on PATH and type the lines above", dist.display());
    println!("(IO_PKT_ROOT, the directory under which all names lie, was {} here).", root.display());
    Ok(())
}

fn log(dist: &Path, root: &Path) -> String {
    sh::output(Command::new(dist.join("bin/sloginfo")).env("IO_PKT_ROOT", root)).unwrap_or_default()
}

/// Ends what the script put into the background: the processes that carry this root in their environment.
fn stop(root: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let mark = [b"IO_PKT_ROOT=", root.as_os_str().as_bytes(), b"\0"].concat();
    for e in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let env = std::fs::read(e.path().join("environ")).unwrap_or_default();
        if env.windows(mark.len()).any(|w| w == mark) {
            let _ = Command::new("kill").arg(e.file_name()).status();
        }
    }
}

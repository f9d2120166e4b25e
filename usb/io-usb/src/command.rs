//! `io-usb -c`: the other end of the control operation.

use iopkt_sys::{Root, unix};
use iopkt_usbip::op;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Sends `command` to the manager at `name` and prints its answer.
///
/// # Errors
/// Nobody serves there, or the command was refused, in words.
pub fn run(root: &Root, name: &str, command: &str) -> Result<(), String> {
    let path = root.path(name);
    let fd = unix::connect_to(&path, rustix::net::SocketType::STREAM)
        .map_err(|e| format!("{e}; is io-usb running (io-usb -d sim)?"))?;
    let mut s = UnixStream::from(fd);
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    s.set_read_timeout(Some(Duration::from_secs(10))).map_err(named)?;
    s.write_all(&op::request_control(command)).map_err(named)?;
    let mut got = Vec::new();
    let mut buf = [0; 4096];
    loop {
        if let Some((done, text, _)) =
            op::parse_control(&got).map_err(|e| format!("{}: {e}", path.display()))?
        {
            if !done {
                return Err(text);
            }
            if !text.is_empty() {
                writeln!(std::io::stdout(), "{text}").map_err(|e| format!("standard output: {e}"))?;
            }
            return Ok(());
        }
        match s.read(&mut buf).map_err(named)? {
            0 if got.is_empty() => {
                return Err(format!("{}: this USB/IP server takes no commands", path.display()));
            }
            0 => return Err(format!("{}: the answer breaks off", path.display())),
            n => got.extend_from_slice(&buf[..n]),
        }
    }
}

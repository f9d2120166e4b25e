//! The main job on the simulated bus: io-usb with a modem, io-pkt with devnp-ecm, an address.

use crate::Lab;
use std::time::Duration;

/// Starts io-usb (with these options after `-d sim`) and `variant` with the ECM driver, waits for `ecm0`, gives it
/// the documented address 10.0.0.184.
#[track_caller]
pub fn start(lab: &mut Lab, variant: &str, sim: &str) {
    lab.spawn(&format!("io-usb --foreground -d sim {sim}"));
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn(&format!("{variant} --foreground -d ecm verbose -ptcpip"));
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/socket/2");
    lab.sh("if_up -p -r 100 -m 100 ecm0 && ifconfig ecm0 10.184");
    lab.sh("if_up -l -r 100 -m 100 ecm0");
}

/// Starts a stack without any device: loopback only.
#[track_caller]
pub fn loopback(lab: &mut Lab, variant: &str) {
    lab.spawn(&format!("{variant} --foreground"));
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/socket/2");
}

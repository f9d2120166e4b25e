//! Linux's own ECM + ACM gadget, exported over USB/IP from a Debian kernel under QEMU, driven by devnp-ecm.

use iopkt_tests::guest;

#[test]
fn the_guest_boots_and_lists_its_gadget() {
    guest::with_guest(|mut g| {
        assert!(
            g.run("cat /sys/class/udc/*/state").contains("usbip")
                || g.run("ls /sys/class/udc").contains("usbip-vudc.0")
        );
    });
}

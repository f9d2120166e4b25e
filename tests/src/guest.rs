//! A Debian kernel under QEMU's TCG with Linux's own USB gadget, exported over USB/IP.
//!
//! The kernel comes from Debian's package (only the wanted files are unpacked), the rest of the guest is
//! busybox, the USB/IP tools and a script in `tests/guest`. TCG always: a /dev/kvm that exists need not work. The kernel is taken
//! out of its self-extracting wrapper first, because unpacking under TCG takes longer than booting.

use crate::lab::{built, until};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a guest is for.
#[derive(Clone, Copy)]
pub struct Kind {
    name: &'static str,
    init: &'static str,
    modules: &'static [&'static str],
    program: &'static str,
    /// It serves USB/IP on its port 3240.
    serves: bool,
    /// Programs and objects of ours that lie in its /opt: name in the build, name there.
    ours: &'static [(&'static str, &'static str)],
    /// More of QEMU's devices.
    devices: &'static [&'static str],
}

/// Linux's own gadgets, exported over USB/IP: one with ECM and ACM, one with NCM.
pub const GADGET: Kind = Kind {
    name: "gadget",
    init: "usbip-init",
    modules: &[
        "usbcore",
        "usbip-vudc",
        "libcomposite",
        "usb_f_ecm",
        "usb_f_ncm",
        "usb_f_acm",
        "virtio_pci",
        "virtio_net",
    ],
    program: "usbipd",
    serves: true,
    ours: &[],
    devices: &[],
};

/// A Linux USB host with its own class drivers, which attaches to a USB/IP server of ours.
pub const HOST: Kind = Kind {
    name: "host",
    init: "vhci-init",
    modules: &["usbcore", "vhci-hcd", "cdc_ether", "cdc_acm", "virtio_pci", "virtio_net"],
    program: "usbip",
    serves: false,
    ours: &[],
    devices: &[],
};

/// A Linux host with two of QEMU's own usb-net devices (full speed, 64-byte endpoints, RNDIS configuration first), its
/// drivers for them, usbip-host, and io-usb and io-pkt inside. Their networks are 10.7.0.0/24 and 10.8.0.0/24,
/// where 10.7.0.2 and 10.8.0.2 are this machine's loopback. Port 3241 of the guest is reached as
/// [`Guest::second`].
pub const USB_NET: Kind = Kind {
    name: "usbnet",
    init: "usbnet-init",
    modules: &["usbcore", "xhci_pci", "rndis_host", "cdc_ether", "usbip-host", "virtio_pci", "virtio_net"],
    program: "usbipd",
    serves: true,
    ours: &[
        ("io-usb", "bin/io-usb"),
        ("io-pkt-v4-hc", "bin/io-pkt-v4-hc"),
        ("io-pkt-run", "bin/io-pkt-run"),
        ("iopkt-utils", "bin/iopkt-utils"),
        ("libdevnp_ecm.so", "lib/devnp-ecm.so"),
        ("libiopkt_preload.so", "lib/libiopkt_preload.so"),
    ],
    devices: &[
        "-device qemu-xhci,id=x",
        "-netdev user,id=n1,net=10.7.0.0/24,ipv6=off",
        "-netdev user,id=n2,net=10.8.0.0/24,ipv6=off",
        "-device usb-net,bus=x.0,port=1,netdev=n1,id=un1,mac=52:54:00:07:00:15",
        "-device usb-net,bus=x.0,port=2,netdev=n2,id=un2,mac=52:54:00:08:00:15",
    ],
};

/// Why the tests with a guest cannot run here, or `None`. In CI that is a failure, elsewhere a loud skip.
pub fn missing() -> Option<String> {
    let need =
        ["qemu-system-x86_64", "busybox", "cpio", "modprobe", "usbipd", "usbip", "xz", "dpkg", "apt-get"];
    let have = |p: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
        dirs.any(|d| d.join(p).is_file())
    };
    let lacking: Vec<&str> = need.iter().filter(|p| !have(p)).copied().collect();
    (!lacking.is_empty()).then(|| format!("{} not installed", lacking.join(", ")))
}

/// Runs `f`, or says loudly that it did not, or fails where `CI` is set.
pub fn with_guest(kind: Kind, f: impl FnOnce(Guest)) {
    match missing() {
        None => f(Guest::boot(kind)),
        Some(why) if std::env::var_os("CI").is_some() => panic!("CI must run the tests with a guest: {why}"),
        Some(why) => eprintln!("\n*** SKIPPED: test with a Linux guest: {why} ***\n"),
    }
}

/// A running guest; ended when dropped.
pub struct Guest {
    qemu: Child,
    dir: PathBuf,
    console: BufReader<UnixStream>,
    /// Where its USB/IP server answers.
    pub addr: String,
    /// Where its port 3241 answers.
    pub second: String,
}

impl Guest {
    /// Builds the images if needed and boots: about three seconds on an idle machine.
    pub fn boot(kind: Kind) -> Guest {
        let (vmlinux, initrd) = images(kind);
        let dir = std::env::temp_dir().join(format!("iopkt-guest-{}-{}", kind.name, std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("make the guest's directory");
        let (port, second) = (free_port(), free_port());
        let con = dir.join("console");
        let mut c = Command::new("qemu-system-x86_64");
        c.args([
            "-accel",
            "tcg",
            "-M",
            "q35",
            "-cpu",
            "max",
            "-m",
            "512",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]);
        c.arg("-serial").arg(format!("unix:{},server=on,wait=off", con.display()));
        c.arg("-kernel").arg(vmlinux).arg("-initrd").arg(initrd);
        // TCG's timer may be late on a busy machine: that is no reason to find it broken and panic.
        // On a busy machine the kernel does not see enough ticks of its timer and gives up: it is told to believe in it.
        c.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"]);
        // One that serves is reached through a port of ours; one that attaches reaches our loopback as 10.0.2.2.
        let net = if kind.serves {
            format!("restrict=on,hostfwd=tcp:127.0.0.1:{port}-:3240,hostfwd=tcp:127.0.0.1:{second}-:3241")
        } else {
            "ipv6=off".into()
        };
        c.arg("-netdev").arg(format!("user,id=n0,{net}"));
        c.args(["-device", "virtio-net-pci,netdev=n0,romfile="]);
        c.args(kind.devices.iter().flat_map(|d| d.split(' ')));
        c.arg("-qmp").arg(format!("unix:{},server=on,wait=off", dir.join("qmp").display()));
        let log = fs::File::create(dir.join("qemu.log")).expect("log file");
        c.stdin(Stdio::null()).stdout(log.try_clone().expect("log handle")).stderr(log);
        let qemu = c.spawn().expect("qemu starts");
        let stream = until(Duration::from_secs(10), || UnixStream::connect(&con).ok()).unwrap_or_else(|| {
            panic!("QEMU gave no console: {}", fs::read_to_string(dir.join("qemu.log")).unwrap_or_default())
        });
        stream.set_read_timeout(Some(Duration::from_secs(90))).expect("time-out");
        let (addr, second) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{second}"));
        let mut g = Guest { qemu, dir, console: BufReader::new(stream), addr, second };
        g.read_until("GUEST: ready");
        if kind.serves {
            let up = until(Duration::from_secs(20), || g.device_list_answers().then_some(()));
            assert!(up.is_some(), "the guest's USB/IP server did not answer");
        }
        g
    }

    /// Reads console lines up to one with `mark`; returns what came before.
    fn read_until(&mut self, mark: &str) -> String {
        let mut all = String::new();
        loop {
            let mut l = Vec::new();
            let n = self.console.read_until(b'\n', &mut l).unwrap_or(0);
            let l = String::from_utf8_lossy(&l).into_owned();
            assert!(n > 0, "the guest's console ended or fell silent before {mark:?}:\n{all}");
            if l.contains(mark) {
                return all;
            }
            all += &l;
        }
    }

    /// Runs a shell line in the guest; returns what it printed.
    pub fn run(&mut self, line: &str) -> String {
        writeln!(self.console.get_mut(), "{line}").expect("console takes the line");
        self.read_until("GUEST: done")
    }

    /// Gives QEMU's monitor a command (QMP, as JSON without the braces around it) and waits for its end.
    ///
    /// # Panics
    /// When QEMU refuses it.
    #[track_caller]
    pub fn qmp(&mut self, command: &str) {
        let s = UnixStream::connect(self.dir.join("qmp")).expect("QEMU's monitor");
        s.set_read_timeout(Some(Duration::from_secs(90))).expect("time-out");
        let mut r = BufReader::new(s);
        for line in ["\"execute\":\"qmp_capabilities\"", command] {
            writeln!(r.get_mut(), "{{{line}}}").expect("the monitor takes a line");
            // The greeting and events come between.
            let mut answer = String::new();
            while !answer.contains("\"return\"") {
                answer.clear();
                let n = r.read_line(&mut answer).expect("the monitor answers");
                assert!(n > 0 && !answer.contains("\"error\""), "{command}: {answer}");
            }
        }
    }

    /// Asks for the device list as a stock client would (OP_REQ_DEVLIST).
    fn device_list_answers(&self) -> bool {
        use std::io::Read;
        let Ok(mut s) = TcpStream::connect(&self.addr) else { return false };
        let _ = s.set_read_timeout(Some(Duration::from_millis(500)));
        let mut b = [0; 12];
        s.write_all(&[1, 0x11, 0x80, 5, 0, 0, 0, 0]).is_ok() && s.read_exact(&mut b).is_ok() && b[11] > 0
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> u16 {
    let l = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    l.local_addr().expect("address").port()
}

fn sh(dir: &Path, line: &str) -> String {
    let o = Command::new("bash")
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(dir)
        .output()
        .expect("bash runs");
    assert!(o.status.success(), "`{line}`: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

/// Kernel and initramfs, made once per checkout and kept beside the build.
fn images(kind: Kind) -> (PathBuf, PathBuf) {
    let base = built().parent().map(Path::to_path_buf).unwrap_or_default().join("guest");
    fs::create_dir_all(&base).expect("make target/guest");
    let lock = fs::File::create(base.join("lock")).expect("lock file");
    lock.lock().expect("lock"); // two test programs must not build it at once
    if !base.join("vmlinux").exists() {
        kernel(&base);
    }
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest").join(kind.init);
    let newer = |a: &Path, b: &Path| {
        let t = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
        t(a) > t(b)
    };
    let initrd = base.join(format!("{}.gz", kind.name));
    let fresh = kind.ours.iter().any(|(from, _)| newer(&built().join(from), &initrd));
    if !initrd.exists() || newer(&init, &initrd) || fresh {
        initramfs(&base, &init, kind);
    }
    (base.join("vmlinux"), initrd)
}

/// The kernel package that the release's own linux-image-amd64 names, of what `apt-cache show` lists (newest first). One of
/// backports is another kernel, with other modules.
fn stable(show: &str) -> Option<String> {
    let named = |l: &str| {
        let p = l.strip_prefix("Depends: ")?.split([' ', ',']).next()?;
        p.starts_with("linux-image-").then(|| p.to_string())
    };
    let names = |s: &str| s.lines().find_map(named);
    let backported = |s: &str| s.lines().any(|l| l.starts_with("Version: ") && l.contains("~bpo"));
    show.split("\n\n").filter(|s| !backported(s)).find_map(names)
}

/// Unpacks the kernel package into `k/` and the kernel proper into `vmlinux`.
fn kernel(base: &Path) {
    let show = sh(
        base,
        "apt-cache show linux-image-amd64 || { apt-get update -q >/dev/null && apt-cache show linux-image-amd64; }",
    );
    let name = stable(&show).expect("linux-image-amd64 names a kernel package");
    sh(
        base,
        &format!(
            "ls {name}_*.deb >/dev/null 2>&1 || {{ apt-get update -q >/dev/null; apt-get download -q {name}; }}"
        ),
    );
    sh(
        base,
        &format!(
            "rm -rf k && mkdir k && dpkg -x {name}_*.deb k && depmod -b k $(ls k/lib/modules) && rm -f {name}_*.deb"
        ),
    );
    let image = fs::read_dir(base.join("k/boot"))
        .expect("k/boot")
        .flatten()
        .map(|e| e.path())
        .find(|p| p.to_string_lossy().contains("vmlinuz"))
        .expect("the package has a vmlinuz");
    let b = fs::read(image).expect("read vmlinuz");
    // x86 boot protocol: setup_sects at 0x1f1, payload_offset and payload_length at 0x248.
    let word = |at: usize| u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes")) as usize;
    let setup = (if b[0x1f1] == 0 { 4 } else { usize::from(b[0x1f1]) } + 1) * 512;
    let payload = &b[setup + word(0x248)..][..word(0x24c)];
    assert!(payload.starts_with(b"\xfd7zXZ\0"), "the kernel's payload is not xz");
    // The payload ends with the unpacked size, which xz takes for garbage: only the output counts.
    let mut xz = Command::new("xz")
        .args(["-dc", "--single-stream"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("xz");
    let mut input = xz.stdin.take().expect("pipe");
    let payload = payload.to_vec();
    let feed = std::thread::spawn(move || {
        let _ = input.write_all(&payload);
    });
    let out = xz.wait_with_output().expect("xz ends").stdout;
    feed.join().expect("feeder");
    assert!(out.starts_with(b"\x7fELF"), "the unpacked kernel is no ELF file");
    fs::write(base.join("vmlinux"), out).expect("write vmlinux");
}

/// busybox, the kind's program with its libraries, the modules in loading order, the init script.
fn initramfs(base: &Path, init: &Path, kind: Kind) {
    let script = r#"
r=$PWD/initrd; rm -rf $r; mkdir -p $r/{bin,sbin,dev,proc,sys,modules,tmp,etc,run,usr/bin,usr/sbin,lib,lib64}
cp "$(command -v busybox)" $r/bin/busybox
for a in $($r/bin/busybox --list); do [ $a = busybox ] || ln -s busybox $r/bin/$a; done
cp "$INIT" $r/init; chmod 755 $r/init
export PATH=$PATH:/usr/sbin:/sbin
v=$(ls k/lib/modules); : >$r/modules.order
for m in $MODULES; do
  modprobe -d $PWD/k -S $v --show-depends $m | while read -r what file _; do
    b=$(basename "$file"); [ "$what" = insmod ] && [ ! -e $r/modules/$b ] || continue
    cp "$file" $r/modules/$b; echo $b >>$r/modules.order
  done
done
p=$(readlink -f "$(command -v $PROGRAM)")
for f in $p $(ldd $p | grep -oE '/[^ ]+'); do mkdir -p $r$(dirname $f); cp -L $f $r$f; done
for o in $OURS; do
  f=$BUILT/${o%%:*}; t=$r/opt/${o#*:}; mkdir -p $(dirname $t); strip -o $t $f 2>/dev/null || cp $f $t
  for l in $(ldd $f | grep -oE '/[^ ]+'); do mkdir -p $r$(dirname $l); cp -L $l $r$l; done
done
[ $p = /usr/sbin/$PROGRAM ] || ln -sf $p $r/usr/sbin/$PROGRAM
(cd $r && find . | cpio -o -H newc --quiet | gzip -1) >initrd.new; mv initrd.new $NAME.gz; rm -rf $r
"#;
    let o = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("INIT", init)
        .env("MODULES", kind.modules.join(" "))
        .env("PROGRAM", kind.program)
        .env("NAME", kind.name)
        .env("BUILT", built())
        .env("OURS", kind.ours.iter().map(|(a, b)| format!("{a}:{b} ")).collect::<String>())
        .current_dir(base)
        .output()
        .expect("bash runs");
    assert!(o.status.success(), "initramfs: {}", String::from_utf8_lossy(&o.stderr));
}

#[cfg(test)]
mod tests {
    use super::stable;

    #[test]
    fn the_release_s_kernel_not_that_of_backports() {
        let one = |version, image| {
            format!(
                "Package: linux-image-amd64\nVersion: {version}\nDepends: {image} (= {version})\nSection: kernel\n\n"
            )
        };
        let (new, old) = ("linux-image-6.12.9+bpo-amd64", "linux-image-6.1.0-56-amd64");
        let show = one("6.12.9-1~bpo12+1", new)
            + &one("6.1.192-2", old)
            + &one("6.1.176-1", "linux-image-6.1.0-50-amd64");
        assert_eq!(stable(&show).as_deref(), Some(old));
        assert_eq!(stable(&one("6.12.9-1~bpo12+1", new)), None);
        assert_eq!(stable(""), None);
    }
}

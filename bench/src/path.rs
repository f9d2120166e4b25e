//! Ways between two programs: over our stack, and over the kernel alone.
//!
//! Each has a far end, which is always the kernel of a namespace (10.9.0.1), and a near end (10.9.0.2), which is our stack
//! or the kernel of a second namespace. So a measurement runs the same two command lines on each.

use crate::options::{Options, Pin};
use crate::programs;
use crate::{carrier, forward};
use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

/// Address of the kernel's end.
pub const FAR: &str = "10.9.0.1";
/// Address of the measured end.
pub const NEAR: &str = "10.9.0.2";
/// The same over IPv6.
const FAR6: &str = "fd00:9::1";
const NEAR6: &str = "fd00:9::2";

const LIMIT: Duration = Duration::from_secs(20);

/// What lies between the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two kernels, a veth pair.
    Veth,
    /// The same, nothing left to the interfaces: no TSO, GSO, GRO, checksums summed.
    VethPlain,
    /// Two kernels, a TAP each, a program that carries frames between them.
    KernelTap,
    /// Our stack with devnp-tap.
    Tap,
    /// Our stack with devnp-tap, which carries frames of the MTU, whole and summed.
    TapPlain,
    /// Our stack with devnp-afp on a veth pair.
    Afp,
    /// The same, the veth pair's offloads off.
    AfpPlain,
    /// gVisor's runsc on a veth pair, the program inside.
    Gvisor,
    /// A kernel behind slirp4netns.
    Slirp,
    /// smoltcp on a TAP.
    Smoltcp,
    /// Our stack with devnp-ecm, the simulated modem, a TAP behind it.
    Ecm,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Veth => "kernel, veth",
            Kind::VethPlain => "kernel, veth, no offload",
            Kind::Afp => "io-pkt, AF_PACKET",
            Kind::AfpPlain => "io-pkt, AF_PACKET, veth without offload",
            Kind::KernelTap => "kernel, TAP",
            Kind::Tap => "io-pkt, TAP",
            Kind::TapPlain => "io-pkt, TAP, no offload",
            Kind::Gvisor => "gVisor, veth",
            Kind::Slirp => "slirp4netns",
            Kind::Smoltcp => "smoltcp, TAP",
            Kind::Ecm => "io-pkt, ecm",
        }
    }

    pub fn ours(self) -> bool {
        matches!(self, Kind::Tap | Kind::TapPlain | Kind::Ecm | Kind::Afp | Kind::AfpPlain)
    }
}

/// A bad cable; see `carrier`.
#[derive(Clone, Copy, Debug)]
pub struct Cable {
    /// Each way.
    pub us: u64,
    /// In ten thousandths.
    pub loss: u64,
    /// Bits per second, 0 for no limit.
    pub rate: u64,
    pub queue: u64,
}

/// One way, set up; all of it goes with the value.
pub struct Path {
    pub kind: Kind,
    // Before the namespaces: processes end first.
    lab: Lab,
    far: Netns,
    near: Option<Netns>,
    /// The process in the middle: the stack, or what carries frames.
    pub middle: Option<i32>,
    /// io-usb.
    pub usb: Option<i32>,
    pin: Pin,
    /// Both ends have addresses of both families.
    dual: bool,
    /// The addresses that the ends are told are those of IPv6.
    pub six: bool,
}

impl Path {
    /// Sets a way up and waits until something has come through.
    pub fn new(kind: Kind, o: &Options) -> Path {
        Path::set_up(kind, o, false)
    }

    /// A way with both families: [`Kind::Tap`], [`Kind::TapPlain`] or [`Kind::Veth`].
    pub fn dual(kind: Kind, o: &Options) -> Path {
        let p = Path::set_up(kind, o, true);
        // Duplicate address detection takes a second.
        let far = &p.far.name;
        p.lab.wait(LIMIT, &format!("ip netns exec {far} {} -6 -c 1 -W 1 {NEAR6}", programs::kernel_ping()));
        p
    }

    fn set_up(kind: Kind, o: &Options, dual: bool) -> Path {
        let mut p = Path {
            kind,
            lab: Lab::new("bench"),
            far: Netns::new(),
            near: ((!kind.ours() && kind != Kind::Smoltcp) || matches!(kind, Kind::Afp | Kind::AfpPlain))
                .then(Netns::new),
            middle: None,
            usb: None,
            pin: o.pin,
            dual,
            six: false,
        };
        // The kernel would send router solicitations of its own.
        let sysctl = if dual {
            "sysctl -qw net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.accept_dad=0"
        } else {
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
        };
        for n in [Some(&p.far), p.near.as_ref()].into_iter().flatten() {
            n.exec(sysctl);
        }
        match kind {
            Kind::Veth | Kind::Gvisor | Kind::VethPlain => p.veth(),
            Kind::Afp | Kind::AfpPlain => p.afp(),
            Kind::Slirp => return p.slirp(),
            Kind::Smoltcp => p.smoltcp(),
            Kind::KernelTap => p.kernel_tap(),
            Kind::Tap => p.tap(""),
            Kind::TapPlain => p.tap(",nooffload"),
            Kind::Ecm => p.ecm(),
        }
        let far = &p.far.name;
        let there = match kind {
            // It answers no echo.
            Kind::Smoltcp => {
                let port = crate::smol_tap::SENDS;
                format!("ip netns exec {far} timeout 1 bash -c 'exec 3<>/dev/tcp/{NEAR}/{port}'")
            }
            _ => format!("ip netns exec {far} {} -c 1 -W 1 {NEAR}", programs::kernel_ping()),
        };
        p.lab.wait(LIMIT, &there);
        p
    }

    /// A way over a bad cable: our stack (its TAP, a bridge, the cable), or two kernels with the cable between.
    pub fn lossy(ours: bool, c: Cable, o: &Options) -> Path {
        let kind = if ours { Kind::Tap } else { Kind::KernelTap };
        let mut p = Path {
            kind,
            lab: Lab::new("bench"),
            far: Netns::new(),
            near: Some(Netns::new()),
            middle: None,
            usb: None,
            pin: o.pin,
            dual: false,
            six: false,
        };
        let (far, near) = (p.far.name.clone(), p.near_ns().name.clone());
        for n in [&p.far, p.near_ns()] {
            n.exec("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
            // Nothing learned in one run helps the next: our stack keeps no metrics either.
            n.exec("sysctl -qw net.ipv4.tcp_no_metrics_save=1");
        }
        let me = std::env::current_exe().expect("path of this program");
        let Cable { us, loss, rate, queue } = c;
        p.start(&format!(
            "{} {} {near}:near0 {far}:far0 {us} {loss} {rate} {queue} 1",
            me.display(),
            carrier::COMMAND
        ));
        for (n, i) in [(&far, "far0"), (&near, "near0")] {
            p.lab.wait(LIMIT, &format!("ip netns exec {n} ip link show {i}"));
        }
        if ours {
            let line = format!(
                "{} io-pkt-v4-hc --foreground -d tap ifname=ours0,netns=/run/netns/{near}",
                p.middle_pin()
            );
            p.middle = Some(p.start(&line));
            p.lab.wait(LIMIT, "if_up -p -r 1 tapk0");
            p.near_ns().exec(
                "ip link add br0 type bridge && ip link set ours0 master br0 && ip link set near0 master br0 && \
                 ip link set ours0 up && ip link set near0 up && ip link set br0 up",
            );
            p.far.exec(&format!("ip addr add {FAR}/24 dev far0 && ip link set far0 up"));
            p.address("tapk0");
        } else {
            p.up_kernels();
        }
        let ping = format!("ip netns exec {far} {} -c 1 -W 1 {NEAR}", programs::kernel_ping());
        p.lab.wait(LIMIT, &ping);
        p
    }

    fn near_ns(&self) -> &Netns {
        self.near.as_ref().expect("a way over the kernel has a second namespace")
    }

    fn veth(&mut self) {
        let near = self.near_ns().name.clone();
        self.far.exec(&format!("ip link add far0 type veth peer name near0 netns {near}"));
        if self.kind == Kind::VethPlain {
            self.no_offloads();
        }
        self.up_kernels();
    }

    /// Neither end of the veth pair cuts, joins or sums.
    fn no_offloads(&self) {
        for (n, i) in [(&self.far, "far0"), (self.near_ns(), "near0")] {
            n.exec(&format!("ethtool -K {i} tx off rx off tso off gso off gro off"));
        }
    }

    fn afp(&mut self) {
        let near = self.near_ns().name.clone();
        self.far.exec(&format!("ip link add far0 type veth peer name near0 netns {near}"));
        self.far.exec(&format!("ip addr add {FAR}/24 dev far0 && ip link set far0 up"));
        if self.kind == Kind::AfpPlain {
            self.no_offloads();
        }
        let line = format!(
            "{} io-pkt-v4-hc --foreground -d afp ifname=near0,up,netns=/run/netns/{near}",
            self.middle_pin()
        );
        self.middle = Some(self.start(&line));
        self.lab.wait(LIMIT, "if_up -p -r 1 afp0");
        self.address("afp0");
    }

    fn up_kernels(&self) {
        self.far.exec(&format!("ip addr add {FAR}/24 dev far0 && ip link set far0 up"));
        self.near_ns().exec(&format!("ip addr add {NEAR}/24 dev near0 && ip link set near0 up"));
        if self.dual {
            self.far.exec(&format!("ip addr add {FAR6}/64 dev far0 nodad"));
            self.near_ns().exec(&format!("ip addr add {NEAR6}/64 dev near0 nodad"));
        }
    }

    fn kernel_tap(&mut self) {
        let me = std::env::current_exe().expect("path of this program");
        let (far, near) = (self.far.name.clone(), self.near_ns().name.clone());
        let line =
            format!("{} {} {} {far}:far0 {near}:near0", self.middle_pin(), me.display(), forward::COMMAND);
        self.middle = Some(self.start(&line));
        for (n, i) in [(&far, "far0"), (&near, "near0")] {
            self.lab.wait(LIMIT, &format!("ip netns exec {n} ip link show {i}"));
        }
        self.up_kernels();
    }

    /// The kernel of the near end, behind slirp4netns, which connects from the far end.
    fn slirp(mut self) -> Path {
        let near = self.near_ns().name.clone();
        self.far.exec("ip link set lo up");
        let line = format!(
            "ip netns exec {} {} slirp4netns --configure --mtu=65520 --netns-type=path /run/netns/{near} tap0",
            self.far.name,
            self.middle_pin()
        );
        self.middle = Some(self.start(&line));
        self.lab.wait(LIMIT, &format!("ip -n {near} route | grep -q 10.0.2.2"));
        self
    }

    fn smoltcp(&mut self) {
        let me = std::env::current_exe().expect("path of this program");
        let far = self.far.name.clone();
        let line = format!(
            "{} {} {} {far}:far0 {NEAR} 65535",
            self.middle_pin(),
            me.display(),
            crate::smol_tap::STACK
        );
        self.middle = Some(self.start(&line));
        self.lab.wait(LIMIT, &format!("ip netns exec {far} ip link show far0"));
        self.far.exec(&format!("ip addr add {FAR}/24 dev far0 && ip link set far0 up"));
    }

    fn tap(&mut self, options: &str) {
        let variant = if self.dual { "io-pkt-v6-hc" } else { "io-pkt-v4-hc" };
        let line = format!(
            "{} {variant} --foreground -d tap ifname=far0,netns=/run/netns/{}{options}",
            self.middle_pin(),
            self.far.name
        );
        self.middle = Some(self.start(&line));
        self.lab.wait(LIMIT, "if_up -p -r 1 tapk0");
        self.far.exec(&format!("ip addr add {FAR}/24 dev far0 && ip link set far0 up"));
        self.address("tapk0");
        if self.dual {
            self.far.exec(&format!("ip addr add {FAR6}/64 dev far0 nodad"));
            self.lab.sh(&format!("ifconfig tapk0 inet6 {NEAR6} prefixlen 64"));
        }
    }

    fn ecm(&mut self) {
        let far = self.far.name.clone();
        let pin = self.pinned(1);
        let line = format!("ip netns exec {far} {pin} io-usb --foreground -d sim far=tap:far0");
        self.usb = Some(self.start(&line));
        self.lab.wait(LIMIT, "test -S $IO_PKT_ROOT/dev/usb");
        self.lab.wait(LIMIT, &format!("ip netns exec {far} ip link show far0"));
        self.far.exec(&format!("ip addr add {FAR}/24 dev far0 && ip link set far0 up"));
        let line = format!("{} io-pkt-v4-hc --foreground -d ecm", self.middle_pin());
        self.middle = Some(self.start(&line));
        self.lab.wait(LIMIT, "if_up -p -r 1 ecm0");
        self.address("ecm0");
    }

    fn address(&self, ifname: &str) {
        self.lab
            .sh(&format!("ifconfig {ifname} {NEAR} netmask 255.255.255.0 && if_up -l -r 50 -m 100 {ifname}"));
    }

    /// Starts a line whose words all exec the next one: the process id is the program's.
    fn start(&mut self, line: &str) -> i32 {
        let i = self.lab.spawn(line);
        self.lab.proc(i).pid()
    }

    fn pinned(&self, cpu: usize) -> String {
        self.pin.on(cpu)
    }

    /// What stands in the middle has CPU 0.
    fn middle_pin(&self) -> String {
        self.pinned(0)
    }

    /// The command line that runs `line` at the near end.
    pub fn near_line(&self, line: &str) -> String {
        match &self.near {
            // Nothing stands in the middle of a veth pair: its two programs get a CPU each.
            Some(n) if self.kind == Kind::Gvisor => self.in_gvisor(&n.name, line),
            Some(n) if !self.kind.ours() => {
                let veth = matches!(self.kind, Kind::Veth | Kind::VethPlain);
                let cpu = if veth { 0 } else { self.pin.near() };
                format!("ip netns exec {} {} {line}", n.name, self.pinned(cpu))
            }
            _ => format!("{} io-pkt-run {line}", self.pinned(self.pin.near())),
        }
    }

    /// The far end's address as the near end sees it.
    pub fn far_address(&self) -> &'static str {
        match (self.kind, self.six) {
            (Kind::Slirp, _) => "10.0.2.2",
            (_, true) => FAR6,
            (_, false) => FAR,
        }
    }

    /// The near end's address as the far end sees it.
    pub fn near_address(&self) -> &'static str {
        if self.six { NEAR6 } else { NEAR }
    }

    /// The command line that runs `line` in a sandbox on the near end's interface.
    ///
    /// runsc takes the addresses away from the interface that it uses, so each run gives them anew. It refuses the first network
    /// namespace of a machine, which it recognises by a file that newer kernels have in all of them: that is hidden.
    fn in_gvisor(&self, near: &str, line: &str) -> String {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let id = format!(
            "bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        );
        let dir = self.lab.work().join(&id);
        std::fs::create_dir_all(&dir).expect("make the bundle's directory");
        let mount =
            |at: &str, kind: &str| serde_json::json!({ "destination": at, "type": kind, "source": kind });
        let config = serde_json::json!({
            "ociVersion": "1.0.0",
            "process": {
                "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["/bin/sh", "-c", line],
                "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"],
            },
            "root": { "path": "/", "readonly": true },
            "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/tmp", "tmpfs")],
            "linux": { "namespaces": [
                { "type": "network", "path": format!("/run/netns/{near}") },
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ] },
        });
        std::fs::write(dir.join("config.json"), config.to_string()).expect("write the bundle");
        format!(
            "ip netns exec {near} sh -c 'ip addr replace {NEAR}/24 dev near0; mount -t tmpfs none /proc/sys/net/core; \
             exec {} runsc --ignore-cgroups --network=sandbox --root {} run --bundle {} {id}'",
            self.pinned(0),
            dir.join("state").display(),
            dir.display()
        )
    }

    /// The command line that runs `line` at the far end.
    pub fn far_line(&self, line: &str) -> String {
        format!("ip netns exec {} {} {line}", self.far.name, self.pinned(1))
    }

    /// Runs a command line to its end; it must succeed. Returns its output.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.lab.sh(line)
    }

    /// Starts a server; it ends with the way.
    pub fn serve(&mut self, line: &str) {
        self.lab.spawn(line);
    }

    /// Waits until a command line succeeds.
    #[track_caller]
    pub fn wait(&self, line: &str) {
        self.lab.wait(LIMIT, line);
    }

    /// Writes a file that both ends can read; returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let p = self.lab.work().join(name);
        std::fs::write(&p, text).expect("write into the lab");
        p.display().to_string()
    }
}

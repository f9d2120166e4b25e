//! What is done at one place of a bus: commands, one after the other, on a thread of the place's own.

use super::device::Device;
use super::object::Objects;
use super::rules::{self, Hit};
use iopkt_slog::{Severity, Sink};
use iopkt_sys::Waker;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Pause before an insert command that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// What of a command's output is kept.
const MAX_OUTPUT: usize = 64 * 1024;

/// Says to a running command that its device is gone.
#[derive(Debug)]
pub struct Stay {
    gone: AtomicBool,
    waker: Waker,
}

impl Stay {
    /// A device that is there.
    pub fn new() -> std::io::Result<Arc<Stay>> {
        Ok(Arc::new(Stay { gone: AtomicBool::new(false), waker: Waker::new()? }))
    }

    /// The device is gone.
    pub fn end(&self) {
        self.gone.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn over(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Waits until the device is gone, at most this long.
    fn wait(&self, d: Duration) {
        let mut fds = [PollFd::new(&self.waker, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&timespec(d)));
    }
}

/// A thing to do.
#[derive(Debug)]
pub enum Job {
    /// A device came: run the insert commands of the rules that it met.
    Insert(Arc<Device>, Vec<Hit>, Arc<Stay>),
    /// It went: run the remove commands of those that were inserted.
    Remove,
}

/// What places share.
#[derive(Clone)]
pub struct Shared {
    /// Where objects are published.
    pub objects: Objects,
    /// The log.
    pub sink: &'static Sink,
    /// PATH of commands.
    pub path: OsString,
    /// Name of the rules' file, for the log.
    pub rules: String,
}

/// Begins a thread for the place whose objects begin with `name`; it ends with the sender.
///
/// # Errors
/// No more threads.
pub fn begin(name: String, shared: Shared) -> std::io::Result<Sender<Job>> {
    let (tx, rx) = channel();
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        Place { name, shared, running: Vec::new() }.run(&rx);
    })?;
    Ok(tx)
}

struct Place {
    name: String,
    shared: Shared,
    /// What was inserted, oldest first.
    running: Vec<Running>,
}

/// An insert command that succeeded.
struct Running {
    device: Arc<Device>,
    hit: Hit,
    object: String,
    /// Interfaces that it named.
    names: Vec<String>,
}

/// How a command ended.
struct End {
    ok: bool,
    text: String,
    output: String,
}

impl Place {
    fn run(&mut self, rx: &Receiver<Job>) {
        while let Ok(job) = rx.recv() {
            match job {
                Job::Insert(d, hits, stay) => self.insert(&d, hits, &stay),
                Job::Remove => self.remove(),
            }
        }
    }

    fn say(&self, s: Severity, text: &str) {
        self.shared.sink.line(s, &format!("{}: {text}", self.name));
    }

    fn insert(&mut self, d: &Arc<Device>, hits: Vec<Hit>, stay: &Stay) {
        for (n, hit) in hits.into_iter().enumerate() {
            let suffix = if n == 0 { String::new() } else { format!("{n}") };
            let object = format!("{}-driver{suffix}", self.name);
            let mut r = Running { device: d.clone(), hit, object, names: Vec::new() };
            let Some(template) = r.hit.rule.insert.clone() else {
                self.running.push(r);
                continue;
            };
            let mut tries = 0;
            loop {
                let command = match self.command(&template, &r, None) {
                    Ok(c) => c,
                    Err(e) => return self.say(Severity::Error, &e),
                };
                self.publish(&r, &command, "starting", "");
                let end = self.execute(&command, &r, stay);
                if end.ok {
                    r.names = interfaces(&end.output);
                    self.say(Severity::Info, &format!("{command}: {}", said(&end, "done")));
                    self.publish(&r, &command, "running", &end.text);
                    self.running.push(r);
                    break;
                }
                if stay.over() {
                    self.shared.objects.withdraw(&r.object);
                    break;
                }
                tries += 1;
                if tries > r.hit.rule.retry {
                    self.say(Severity::Error, &format!("{command}: {}", said(&end, &end.text)));
                    self.publish(&r, &command, "failed", &end.text);
                    // Withdrawn with the device.
                    r.hit.rule.remove = None;
                    self.running.push(r);
                    break;
                }
                self.say(Severity::Notice, &format!("{command}: {}; again", said(&end, &end.text)));
                stay.wait(PAUSE);
            }
            if stay.over() {
                break;
            }
        }
    }

    fn remove(&mut self) {
        while let Some(r) = self.running.pop() {
            if let Some(template) = r.hit.rule.remove.clone() {
                let each = if template.contains("$(ifname)") { r.names.as_slice() } else { &[String::new()] };
                if each.is_empty() {
                    self.say(
                        Severity::Warning,
                        &format!("{template}: the insert command named no interface"),
                    );
                }
                for name in each {
                    match self.command(&template, &r, Some(name)) {
                        Ok(c) => self.run_remove(&c, &r),
                        Err(e) => self.say(Severity::Error, &e),
                    }
                }
            }
            self.shared.objects.withdraw(&r.object);
        }
    }

    fn run_remove(&self, command: &str, r: &Running) {
        let Ok(stay) = Stay::new() else { return };
        let end = self.execute(command, r, &stay);
        let severity = if end.ok { Severity::Info } else { Severity::Warning };
        self.say(severity, &format!("{command}: {}", said(&end, if end.ok { "done" } else { &end.text })));
    }

    /// The command with its variables filled in.
    fn command(&self, template: &str, r: &Running, ifname: Option<&str>) -> Result<String, String> {
        let i = &r.device.info;
        let at = r.hit.interface;
        rules::expand(template, &|name| {
            Some(match name {
                "busno" => format!("0x{:02x}", i.busnum),
                "devno" => format!("0x{:02x}", i.devnum),
                "busnum" => i.busnum.to_string(),
                "devnum" => i.devnum.to_string(),
                "busid" => i.busid.clone(),
                "stack" => quote(&r.device.stack),
                "config" => at.map_or(i.config, |a| a.config).to_string(),
                "iface" => format!("0x{:02x}", at.map_or(0, |a| a.number)),
                "vendor_id" => format!("0x{:04x}", i.vendor),
                "product_id" => format!("0x{:04x}", i.product),
                "device_class" => format!("0x{:02x}", i.class[0]),
                "object" => self.name.clone(),
                _ => return ifname.map(str::to_string),
            })
        })
        .map_err(|e| format!("{}:{}: {e}", self.shared.rules, r.hit.rule.line))
    }

    fn publish(&self, r: &Running, command: &str, state: &str, end: &str) {
        let i = &r.device.info;
        let iface = r.hit.interface.map_or(0, |a| a.number);
        let p = [
            ("device", self.name.clone()),
            ("rule", format!("{}:{}", self.shared.rules, r.hit.rule.line)),
            ("command", command.to_string()),
            ("args", format!("busno=0x{:02x},devno=0x{:02x},iface=0x{iface:02x}", i.busnum, i.devnum)),
            ("state", state.to_string()),
            ("end", end.to_string()),
            ("ifname", r.names.join(" ")),
        ];
        if let Err(e) = self.shared.objects.publish(&r.object, &p) {
            self.say(Severity::Error, &format!("cannot publish {}: {e}", r.object));
        }
    }

    /// Runs a command to its end, the end of its time or that of its device.
    fn execute(&self, command: &str, r: &Running, stay: &Stay) -> End {
        let fail = |text: String| End { ok: false, text, output: String::new() };
        let d = &r.device;
        let mut c = Command::new("/bin/sh");
        c.arg("-c").arg(command).env("PATH", &self.shared.path);
        // What the device says of itself is for the environment: in the command line it would be code.
        c.env("USB_MANUFACTURER", &d.manufacturer)
            .env("USB_PRODUCT", &d.product)
            .env("USB_SERIAL", &d.serial);
        c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = match c.spawn() {
            Ok(c) => c,
            Err(e) => return fail(format!("/bin/sh: {e}")),
        };
        follow(child, stay, Duration::from_secs(r.hit.rule.timeout.into()))
            .unwrap_or_else(|e| fail(e.to_string()))
    }
}

/// Reads a command's output until it ends; ends it when its time is over or its device is gone.
fn follow(mut child: Child, stay: &Stay, limit: Duration) -> std::io::Result<End> {
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut pipes = [child.stdout.take().map(pipe), child.stderr.take().map(pipe)];
    for p in pipes.iter().flatten() {
        rustix::io::ioctl_fionbio(p, true)?;
    }
    let mut output = [Vec::new(), Vec::new()];
    let (mut deadline, mut why) = (Instant::now() + limit, None::<&str>);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = {
            let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
            if why.is_none() {
                fds.push(PollFd::new(&stay.waker, PollFlags::IN));
            }
            fds.extend(pipes.iter().flatten().map(|p| PollFd::new(p, PollFlags::IN)));
            poll(&mut fds, Some(&timespec(left)))?;
            !fds[0].revents().is_empty()
        };
        for (p, out) in pipes.iter_mut().zip(&mut output) {
            if p.as_mut().is_some_and(|f| drain(f, out)) {
                *p = None;
            }
        }
        if ended {
            break;
        }
        let over = left.is_zero();
        if over || (why.is_none() && stay.over()) {
            let s = if why.is_some() { Signal::KILL } else { Signal::TERM };
            why.get_or_insert(if over { "took too long" } else { "its device is gone" });
            let _ = kill_process_group(pid, s);
            deadline = Instant::now() + Duration::from_secs(5);
        }
    }
    let status = child.wait()?;
    let [out, err] = output.map(|o| String::from_utf8_lossy(&o).trim().to_string());
    let text = match why {
        Some(w) => w.to_string(),
        None if !err.is_empty() && !status.success() => format!("{status}: {err}"),
        None => status.to_string(),
    };
    Ok(End { ok: status.success() && why.is_none(), text, output: out })
}

fn pipe(p: impl Into<std::os::fd::OwnedFd>) -> std::fs::File {
    p.into().into()
}

/// Takes what waits; true at the end of it.
fn drain(f: &mut std::fs::File, out: &mut Vec<u8>) -> bool {
    let mut b = [0; 4096];
    loop {
        match f.read(&mut b) {
            Ok(0) => return true,
            Ok(n) => out.extend_from_slice(&b[..n.min(MAX_OUTPUT.saturating_sub(out.len()))]),
            Err(e) => {
                return ![std::io::ErrorKind::WouldBlock, std::io::ErrorKind::Interrupted]
                    .contains(&e.kind());
            }
        }
    }
}

fn timespec(d: Duration) -> rustix::time::Timespec {
    rustix::time::Timespec { tv_sec: d.as_secs() as _, tv_nsec: d.subsec_nanos().into() }
}

fn said(e: &End, otherwise: &str) -> String {
    if e.output.is_empty() { otherwise.to_string() } else { e.output.replace('\n', "; ") }
}

/// Interfaces in what `mount -v` prints, `devnp-ecm.so: ecm0 ecm1`: the words behind the last colon of the last line.
fn interfaces(output: &str) -> Vec<String> {
    let last = output.lines().last().unwrap_or_default();
    let list = last.rsplit(':').next().unwrap_or_default();
    let plain = |w: &&str| {
        w.len() < 16
            && w.starts_with(|c: char| c.is_ascii_alphabetic())
            && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    list.split_whitespace().filter(plain).map(str::to_string).collect()
}

/// A word for the shell.
fn quote(w: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.:_-".contains(c);
    if w.chars().all(plain) { w.to_string() } else { format!("'{}'", w.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_what_mount_names() {
        assert_eq!(interfaces("devnp-ecm.so: ecm0 ecm1\n"), ["ecm0", "ecm1"]);
        assert_eq!(interfaces("loading\nwan3"), ["wan3"]);
        assert!(interfaces("x: $(reboot) a;b -rf").is_empty() && interfaces("").is_empty());
        assert_eq!(quote("/dev/usb"), "/dev/usb");
        assert_eq!(quote("a'b c"), "'a'\\''b c'");
    }

    fn sh(line: &str) -> Child {
        let mut c = Command::new("/bin/sh");
        c.arg("-c")
            .arg(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        c.spawn().expect("sh")
    }

    #[test]
    fn a_command_ends_by_itself_by_time_or_with_its_device() {
        let stay = Stay::new().expect("eventfd");
        let long = Duration::from_secs(600);
        let e = follow(sh("echo out; echo err >&2; exit 3"), &stay, long).expect("ran");
        assert!(!e.ok && e.output == "out" && e.text.contains("err"), "{}", e.text);
        assert!(follow(sh("true"), &stay, long).expect("ran").ok);
        // A child that keeps the pipe does not keep us.
        assert!(follow(sh("sleep 5 & exit 0"), &stay, long).expect("ran").ok);
        let e = follow(sh("sleep 600"), &stay, Duration::from_millis(50)).expect("ran");
        assert!(!e.ok && e.text == "took too long");
        stay.end();
        let e = follow(sh("sleep 600"), &stay, long).expect("ran");
        assert!(!e.ok && e.text == "its device is gone");
    }
}

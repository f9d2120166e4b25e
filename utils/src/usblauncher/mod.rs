//! `usblauncher`: runs commands when USB devices come and go, by rules, and publishes what is there.
//!
//! A thread for each USB stack says what is new ([`watch`]); this one matches devices with the rules, publishes
//! them ([`object`]), and has a thread for each place of a bus run the commands ([`port`]), one after the other, so
//! that what was done for a device that went is undone before its successor's turn.

pub mod device;
mod object;
mod port;
pub mod rules;
mod watch;

use crate::getopt;
use crate::tool::{Failure, Outcome, print};
use device::Device;
use iopkt_slog::{Severity, Writer, major};
use iopkt_sys::lock::LockFile;
use iopkt_sys::paths::Root;
use iopkt_sys::process::{self, Started};
use iopkt_sys::signal::{self, Signals};
use iopkt_sys::{Epoll, Interest, Waker};
use object::Objects;
use port::{Job, Shared, Stay};
use rules::Rule;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use watch::{Line, News};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: usblauncher [-bv] [-c file] [-m directory] [-n stack]...
       usblauncher -l | --json [-m directory]
  -b   stay in the foreground
  -c   rules (default /etc/usblauncher/rules.conf; without it devnp-ecm and devnp-ncm are mounted)
  -l   list what a running usblauncher publishes; --json: the same for programs
  -m   where devices are published (default /pps/qnx/device, under the root of io-pkt)
  -n   a USB stack: a name like /dev/usb (the default), or HOST:PORT; may be given several times
  -v   log to the console too; -vv more";

const RULES: &str = "/etc/usblauncher/rules.conf";
const OBJECTS: &str = "/pps/qnx/device";
/// Most places that are looked after; a USB stack that makes up more is not followed there.
const MAX_PLACES: usize = 1024;

struct Options {
    foreground: bool,
    verbose: usize,
    rules: Vec<Rule>,
    /// Where they are from.
    from: String,
    dir: PathBuf,
    stacks: Vec<String>,
}

/// Runs the tool.
///
/// # Errors
/// Usage, bad rules, another launcher there.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("bc:lm:n:v", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    if let Some(w) = f.rest.first() {
        return Err(Failure::usage(format!("{w}: not expected"), USAGE));
    }
    let root = Root::find();
    let dir = f.value('m').map_or_else(|| root.path(OBJECTS), |m| root.path(m));
    if f.has('l') || f.has('J') {
        return Objects::at(dir).list(f.has('J'));
    }
    let (from, text) = read_rules(f.value('c'))?;
    let rules = rules::parse(&text).map_err(|e| Failure::new(format!("{from}: {e}")))?;
    let mut stacks: Vec<String> = f.flags.iter().filter(|x| x.0 == 'n').filter_map(|x| x.1.clone()).collect();
    if stacks.is_empty() {
        stacks.push(iopkt_sys::paths::USB.into());
    }
    let verbose = f.flags.iter().filter(|x| x.0 == 'v').count();
    launch(&root, Options { foreground: f.has('b'), verbose, rules, from, dir, stacks })
}

fn read_rules(file: Option<&str>) -> Result<(String, String), Failure> {
    let path = file.unwrap_or(RULES);
    match std::fs::read_to_string(path) {
        Ok(t) => Ok((path.into(), t)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => {
            Ok(("built-in rules".into(), rules::BUILT_IN.into()))
        }
        Err(e) => Err(Failure::new(format!("{path}: {e}"))),
    }
}

fn launch(root: &Root, o: Options) -> Outcome {
    let fail = |e: std::io::Error| Failure::new(e.to_string());
    root.ensure().map_err(fail)?;
    // Signals first: a thread made later would not have them blocked.
    let signals = Signals::new(&[libc::SIGTERM, libc::SIGINT]).map_err(fail)?;
    signal::ignore(libc::SIGPIPE);
    let mut started = Started::nobody();
    if !o.foreground {
        signal::ignore(libc::SIGHUP);
        started = process::background().map_err(fail)?;
    }
    let r = begin(root, o, &signals, &mut started);
    if let Err(f) = &r {
        started.failed(f.code.clamp(1, 255) as u8);
    }
    r
}

fn begin(root: &Root, o: Options, signals: &Signals, started: &mut Started) -> Outcome {
    let fail = |e: std::io::Error| Failure::new(e.to_string());
    let objects = Objects::at(o.dir);
    std::fs::create_dir_all(objects.dir())
        .map_err(|e| Failure::new(format!("{}: {e}", objects.dir().display())))?;
    let _lock = LockFile::take(&objects.dir().join(".lock")).map_err(fail)?.map_err(|pid| {
        Failure::new(format!(
            "process {pid} publishes in {} already; -m names another place",
            objects.dir().display()
        ))
    })?;
    objects.begin().map_err(fail)?;
    let sink = iopkt_slog::init("usblauncher", major::USB, Writer::open(root).ok());
    if o.verbose > 0 {
        sink.console(Some(if o.verbose > 1 { Severity::Debug2 } else { Severity::Info }));
    }
    sink.line(Severity::Info, &format!("{} rules of {}", o.rules.len(), o.from));
    let shared = Shared { objects: objects.clone(), sink, path: search_path(), rules: o.from };
    let (tx, rx) = channel();
    let waker = Waker::new().map_err(fail)?;
    for (stack, name) in o.stacks.iter().enumerate() {
        let line = Line { stack, name: name.clone(), tx: tx.clone(), waker: waker.clone() };
        let spawned =
            std::thread::Builder::new().name(format!("watch {name}")).spawn(move || watch::run(&line));
        spawned.map_err(fail)?;
    }
    started.ok().map_err(fail)?;
    let r = Launcher {
        rules: o.rules,
        slugs: slugs(&o.stacks),
        stacks: o.stacks,
        shared,
        places: BTreeMap::new(),
    }
    .run(signals, &waker, &rx);
    objects.end();
    r.map(|()| 0).map_err(fail)
}

/// PATH of commands: where we were called, first, so that `mount` is io-pkt's.
fn search_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let me = std::env::args_os().next().map(PathBuf::from);
    let dir = me.as_deref().and_then(std::path::Path::parent).filter(|d| d.is_absolute());
    let all: Vec<PathBuf> = dir.map(PathBuf::from).into_iter().chain(std::env::split_paths(&path)).collect();
    std::env::join_paths(all).unwrap_or(path)
}

/// What the names of a stack's objects begin with: the last part of its name, with a number where two have the same.
fn slugs(stacks: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for s in stacks {
        let last = s.rsplit('/').next().unwrap_or(s);
        let word: String = last
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".:_".contains(c) { c } else { '_' })
            .collect();
        let word = word.trim_start_matches('.').to_string();
        let taken = |w: &String| out.contains(w);
        let free = if taken(&word) {
            (2..).map(|n| format!("{word}_{n}")).find(|w| !taken(w)).unwrap_or_default()
        } else {
            word
        };
        out.push(free);
    }
    out
}

/// A device at its place.
struct Place {
    jobs: Sender<Job>,
    device: Option<(Arc<Device>, Arc<Stay>)>,
    /// It is not listed any more.
    hidden: bool,
}

struct Launcher {
    rules: Vec<Rule>,
    stacks: Vec<String>,
    slugs: Vec<String>,
    shared: Shared,
    places: BTreeMap<(usize, String), Place>,
}

impl Launcher {
    fn run(&mut self, signals: &Signals, waker: &Waker, rx: &Receiver<(usize, News)>) -> std::io::Result<()> {
        let epoll = Epoll::new()?;
        epoll.add(signals, 0, Interest::READ)?;
        epoll.add(waker, 1, Interest::READ)?;
        let mut ready = Vec::new();
        loop {
            ready.clear();
            epoll.wait(&mut ready, 8, None)?;
            if let Some(s) = signals.next() {
                self.log(Severity::Info, &format!("signal {s}: ends; what was started goes on"));
                return Ok(());
            }
            waker.drain();
            while let Ok((stack, n)) = rx.try_recv() {
                self.news(stack, n);
            }
        }
    }

    fn log(&self, s: Severity, text: &str) {
        self.shared.sink.line(s, text);
    }

    fn news(&mut self, stack: usize, n: News) {
        let name = self.stacks.get(stack).cloned().unwrap_or_default();
        match n {
            News::Here => self.log(Severity::Info, &format!("{name}: here")),
            News::Added(d) => self.added(stack, d),
            News::Removed(d) => self.removed(&(stack, d.busid)),
            News::Hidden(d) => {
                // Whoever drives it has taken it from the list; if nobody does, it is gone.
                let key = (stack, d.busid);
                match self.places.get_mut(&key) {
                    Some(p)
                        if p.device
                            .as_ref()
                            .is_some_and(|(d, _)| !rules::matching(&self.rules, d).is_empty()) =>
                    {
                        p.hidden = true;
                    }
                    _ => self.removed(&key),
                }
            }
            News::Lost(why) => {
                let all: Vec<_> = self.places.keys().filter(|k| k.0 == stack).cloned().collect();
                let s = if all.is_empty() { Severity::Info } else { Severity::Warning };
                self.log(s, &format!("{name}: {why}"));
                all.iter().for_each(|k| self.removed(k));
            }
        }
    }

    fn object(&self, key: &(usize, String)) -> String {
        let slug = self.slugs.get(key.0).map_or("usb", String::as_str);
        format!("{slug}-{}", key.1)
    }

    fn added(&mut self, stack: usize, d: Device) {
        let key = (stack, d.info.busid.clone());
        let object = self.object(&key);
        if self.places.get(&key).and_then(|p| p.device.as_ref()).is_some() {
            // The list shows it again, or it was replaced between two looks.
            self.removed(&key);
        }
        let known = self.places.contains_key(&key);
        if !known && self.places.len() >= MAX_PLACES {
            return self.log(Severity::Warning, &format!("{object}: more than {MAX_PLACES} places, ignored"));
        }
        let (i, hits) = (&d.info, rules::matching(&self.rules, &d));
        let rule = hits.first().map_or("no rule".to_string(), |h| format!("rule of line {}", h.rule.line));
        self.log(
            Severity::Info,
            &format!("{object}: {:04x}:{:04x} {}, {rule}", i.vendor, i.product, d.product),
        );
        if let Err(e) = self.shared.objects.publish(&object, &d.properties()) {
            self.log(Severity::Error, &format!("cannot publish {object}: {e}"));
        }
        let made = || -> std::io::Result<_> {
            Ok((port::begin(object.clone(), self.shared.clone())?, Stay::new()?))
        };
        let stay = match known {
            true => Stay::new(),
            false => made().map(|(jobs, stay)| {
                self.places.insert(key.clone(), Place { jobs, device: None, hidden: false });
                stay
            }),
        };
        let (Ok(stay), Some(p)) = (stay, self.places.get_mut(&key)) else {
            return self.log(Severity::Error, &format!("{object}: no more threads or descriptors"));
        };
        let d = Arc::new(d);
        p.device = Some((d.clone(), stay.clone()));
        p.hidden = false;
        let _ = p.jobs.send(Job::Insert(d, hits, stay));
    }

    fn removed(&mut self, key: &(usize, String)) {
        let object = self.object(key);
        let Some(p) = self.places.get_mut(key) else { return };
        let Some((_, stay)) = p.device.take() else { return };
        stay.end();
        let _ = p.jobs.send(Job::Remove);
        let text = if p.hidden { "was in use and is back" } else { "removed" };
        self.shared.objects.withdraw(&object);
        self.log(Severity::Info, &format!("{object}: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_have_different_slugs() {
        let s = ["/dev/usb", "/alt/usb", "127.0.0.1:3240", "/dev/.x y"].map(str::to_string);
        assert_eq!(slugs(&s), ["usb", "usb_2", "127.0.0.1:3240", "x_y"]);
    }

    #[test]
    fn wrong_usage_is_said() {
        for line in ["-x", "extra", "-c /nonexistent/rules"] {
            let words: Vec<String> = line.split(' ').map(str::to_string).collect();
            assert!(run(&words).is_err(), "{line}");
        }
    }
}

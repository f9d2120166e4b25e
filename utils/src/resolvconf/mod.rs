//! One resolv.conf(5) for a stack, from all who hear of name servers: dhcp.client, dhcp6c, rtsold.
//!
//! Each source keeps a *part*, a small file of its own (`run/resolv/IF.SOURCE` below the stack's root and prefix), and locks it while it
//! lives. Whenever a part changes, its owner writes `etc/resolv.conf` anew from all parts that are good: DHCP's before those of
//! routers (RFC 8106 5.3.1), by interface. Under one lock, into a file beside it that then takes its name: nobody reads half of one,
//! and a full disk leaves the old one. A part ends with its owner, whatever ended it: what is not locked and was not left on purpose
//! is removed by the next one that writes. What was left on purpose (`-1`: the lease goes on without us) ends with its lifetimes, and
//! with the boot.
//!
//! A resolv.conf that a person wrote is put aside (`resolv.conf.own`) while there are parts, its `options` and `sortlist` lines
//! hold, and it comes back afterwards.

mod merge;

use iopkt_sys::clock;
use iopkt_sys::lock::LockFile;
use iopkt_sys::paths::Root;
pub use merge::{Entry, Told};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The first line of what we write, by which it is known from a person's.
const MARK: &str = "# made by io-pkt's tools; it is written anew when name servers come and go";
/// How long another one may write before we say that it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Seconds after which what could not be written is tried again.
const AGAIN: u64 = 30;

/// Who hears of name servers; the first is trusted most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// DHCP (RFC 2132).
    Dhcp,
    /// DHCPv6 (RFC 3646).
    Dhcp6,
    /// Router advertisements (RFC 8106).
    Routers,
}

impl Source {
    const ALL: [Source; 3] = [Source::Dhcp, Source::Dhcp6, Source::Routers];

    fn suffix(self) -> &'static str {
        match self {
            Source::Dhcp => "dhcp",
            Source::Dhcp6 => "dhcp6",
            Source::Routers => "ra",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Source::Dhcp => "dhcp.client",
            Source::Dhcp6 => "dhcp6c",
            Source::Routers => "rtsold",
        }
    }
}

/// Where the parts of a stack are, and its resolv.conf.
#[derive(Clone, Debug)]
pub struct Place {
    parts: PathBuf,
    conf: PathBuf,
}

impl Place {
    /// Of the stack that `IO_PKT_ROOT` and `SOCK` choose.
    pub fn find() -> Place {
        let (root, prefix) = (Root::find(), std::env::var_os("SOCK").unwrap_or_default());
        Place {
            parts: root.with_prefix(&prefix, "/run/resolv"),
            conf: root.with_prefix(&prefix, "/etc/resolv.conf"),
        }
    }

    fn part(&self, ifname: &str, source: Source) -> PathBuf {
        self.parts.join(format!("{ifname}.{}", source.suffix()))
    }

    /// The lock under which parts come and go.
    fn lock(&self) -> Result<LockFile, String> {
        fs::create_dir_all(&self.parts).map_err(|e| text(&self.parts, &e))?;
        let path = self.parts.join("lock");
        let end = Instant::now() + PATIENCE;
        loop {
            match LockFile::take(&path).map_err(|e| text(&path, &e))? {
                Ok(l) => return Ok(l),
                Err(pid) if Instant::now() >= end => {
                    return Err(format!("{}: process {pid} holds it, and does not go on", path.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// All parts that are good, the most trusted first. Those that nobody has any more are removed. Under the lock.
    fn parts(&self, now: u64) -> Result<Vec<(String, Told)>, String> {
        let mut found = Vec::new();
        for e in fs::read_dir(&self.parts).map_err(|e| text(&self.parts, &e))?.flatten() {
            let name = e.file_name().to_string_lossy().into_owned();
            let Some((ifname, suffix)) = name.rsplit_once('.') else { continue };
            let Some(source) = Source::ALL.into_iter().find(|s| s.suffix() == suffix) else { continue };
            let path = e.path();
            let part = fs::read_to_string(&path).ok().and_then(|t| read(&t));
            let owned = held(&path);
            match part {
                Some((kept, told)) if owned || kept && !told.is_over(now) => {
                    found.push((source, ifname.to_string(), told));
                }
                // Its owner writes it again: what is there is no part (another one's boot).
                None if owned => {}
                _ => remove(&path),
            }
        }
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(found.into_iter().map(|(s, i, t)| (format!("{} on {i}", s.tool()), t)).collect())
    }

    /// Writes resolv.conf anew; says when something in it ends. Under the lock.
    fn merge(&self) -> Result<Option<u64>, String> {
        let now = seconds();
        let parts = self.parts(now)?;
        self.put(&parts, now)?;
        Ok(parts.iter().filter_map(|p| p.1.next_end(now)).min())
    }

    fn put(&self, parts: &[(String, Told)], now: u64) -> Result<(), String> {
        let aside = self.conf.with_extension("conf.own");
        let there = fs::read(&self.conf).ok();
        let ours = there.as_ref().is_some_and(|t| t.starts_with(MARK.as_bytes()));
        let own = if ours { fs::read(&aside).ok() } else { there.clone() };
        let own = own.map(|t| String::from_utf8_lossy(&t).into_owned()).unwrap_or_default();
        let kept = |l: &&str| l.starts_with("options ") || l.starts_with("sortlist ");
        let options: Vec<String> = own.lines().filter(kept).map(str::to_string).collect();
        match merge::text(parts, &options, now) {
            Some(t) => {
                let t = format!("{MARK}\n{t}");
                if there.as_deref() == Some(t.as_bytes()) {
                    return Ok(());
                }
                if !ours && there.is_some() {
                    // A copy, so that there is one at any moment.
                    write(&aside, own.as_bytes())?;
                }
                write(&self.conf, t.as_bytes())
            }
            None if ours && aside.is_file() => {
                fs::rename(&aside, &self.conf).map_err(|e| text(&self.conf, &e))
            }
            None if ours => fs::remove_file(&self.conf).map_err(|e| text(&self.conf, &e)),
            None => Ok(()),
        }
    }
}

/// A source's part, while it lives; dropping it takes back what it said.
#[derive(Debug)]
pub struct Part {
    place: Place,
    path: PathBuf,
    /// Says that we live.
    alive: Option<LockFile>,
    told: Told,
    /// When something of anybody's ends, as far as is known.
    due: Option<u64>,
}

impl Part {
    /// The part of a source on an interface. Nothing is said by it yet; what an earlier owner left is gone.
    ///
    /// # Errors
    /// A line for people: another process has it; the directory cannot be made or written.
    pub fn take(place: &Place, ifname: &str, source: Source) -> Result<Part, String> {
        if ifname.contains('/') || ifname.starts_with('.') {
            return Err(format!("{ifname}: is no interface's name"));
        }
        let _lock = place.lock()?;
        let path = place.part(ifname, source);
        let alive = match LockFile::take(&alive(&path)).map_err(|e| text(&path, &e))? {
            Ok(l) => l,
            Err(pid) => {
                let tool = source.tool();
                return Err(format!(
                    "{ifname}: a {tool} (pid {pid}) keeps its name servers in {} already",
                    place.conf.display()
                ));
            }
        };
        let _ = fs::remove_file(&path);
        Ok(Part { place: place.clone(), path, alive: Some(alive), told: Told::default(), due: None })
    }

    /// Says what is known now, instead of what was said before.
    ///
    /// # Errors
    /// A line for people: the file, why it cannot be written and what holds instead.
    pub fn tell(&mut self, told: Told) -> Result<(), String> {
        self.told = told;
        self.write(false)
    }

    fn write(&mut self, kept: bool) -> Result<(), String> {
        let r = self.try_write(kept);
        self.due = r.as_ref().map_or_else(|_| Some(seconds() + AGAIN), |due| *due);
        r.map(drop)
    }

    fn try_write(&self, kept: bool) -> Result<Option<u64>, String> {
        let _lock = self.place.lock()?;
        if self.told == Told::default() {
            let _ = fs::remove_file(&self.path);
        } else {
            write(&self.path, form(kept, &self.told).as_bytes())?;
        }
        self.place.merge()
    }

    /// Time passes: what has ended goes, and what could not be written is tried again. Cheap when there is nothing of that.
    ///
    /// # Errors
    /// As [`Part::tell`].
    pub fn tick(&mut self) -> Result<(), String> {
        if self.due.is_none_or(|t| t > seconds()) {
            return Ok(());
        }
        self.write(false)
    }

    /// Leaves the part behind: it ends with its lifetimes, after `seconds` at the latest (`None`: with the boot).
    ///
    /// # Errors
    /// As [`Part::tell`].
    pub fn keep(mut self, seconds: Option<u64>) -> Result<(), String> {
        if let Some(n) = seconds {
            let last = self::seconds() + n;
            for e in self.told.servers.iter_mut().chain(&mut self.told.domains) {
                e.until = Some(e.until.map_or(last, |t| t.min(last)));
            }
        }
        let r = self.write(true);
        self.alive = None;
        r
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Ours until the part is gone.
        let Some(_alive) = self.alive.take() else { return };
        // At the end there is nobody to tell; the next one that writes does it again.
        if let Ok(_lock) = self.place.lock() {
            remove(&self.path);
            let _ = self.place.merge();
        }
    }
}

/// Seconds of this boot, also those in which the machine slept.
pub fn seconds() -> u64 {
    clock::boottime().as_nanos() / 1_000_000_000
}

fn alive(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".alive");
    name.into()
}

/// Whether a part's owner lives.
fn held(part: &Path) -> bool {
    let path = alive(part);
    path.exists() && matches!(LockFile::take(&path), Ok(Err(_)))
}

fn remove(part: &Path) {
    let _ = fs::remove_file(part);
    let _ = fs::remove_file(alive(part));
}

fn text(path: &Path, e: &io::Error) -> String {
    let what = match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; run as the user that io-pkt runs as, or leave name servers alone"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; what was there before still holds: make room",
        _ => "",
    };
    format!("{}: {e}{what}", path.display())
}

/// Puts a text under a name so that no reader sees half of it.
fn write(path: &Path, b: &[u8]) -> Result<(), String> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| text(dir, &e))?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // A link that somebody put there is not followed.
    let _ = fs::remove_file(&new);
    fs::write(&new, b).and_then(|()| fs::rename(&new, path)).map_err(|e| {
        let _ = fs::remove_file(&new);
        text(path, &e)
    })
}

/// This boot: seconds of another one say nothing.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
}

/// A part as a file: a line a thing, with its last second; `end` says that it is whole.
fn form(kept: bool, t: &Told) -> String {
    let mut o = format!("boot {}\n", boot());
    if kept {
        o += "kept\n";
    }
    for (kind, list) in [("nameserver", &t.servers), ("search", &t.domains)] {
        for e in list.iter().filter(|e| !e.what.contains(char::is_whitespace)).take(merge::MAX_KEPT) {
            let until = e.until.map_or(String::new(), |u| format!(" {u}"));
            o += &format!("{kind} {}{until}\n", e.what);
        }
    }
    o + "end\n"
}

/// Reads a part; `None` when it is none, is not whole, or is another boot's.
fn read(text: &str) -> Option<(bool, Told)> {
    let mut lines = text.lines();
    (lines.next()?.strip_prefix("boot ")? == boot()).then_some(())?;
    let (mut kept, mut told) = (false, Told::default());
    for l in lines {
        let mut w = l.split_whitespace();
        let kind = w.next()?;
        let list = match kind {
            "kept" => {
                kept = true;
                continue;
            }
            "end" => return Some((kept, told)),
            "nameserver" => &mut told.servers,
            "search" => &mut told.domains,
            _ => return None,
        };
        let what = w.next()?.to_string();
        let until = match w.next() {
            Some(n) => Some(n.parse().ok()?),
            None => None,
        };
        list.push(Entry { what, until });
    }
    None
}

#[cfg(test)]
mod tests;

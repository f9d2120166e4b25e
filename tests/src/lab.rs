//! A private place to run the product in.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Tools that are names of `iopkt-utils`.
const TOOLS: &[&str] = include!("../../utils/src/names.in");

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Polls until `f` gives something; `None` after `limit`.
pub fn until<T>(limit: Duration, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(v) = f() {
            return Some(v);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A private root, a `bin` directory with every program of the product under its name, and processes.
pub struct Lab {
    dir: PathBuf,
    procs: Vec<Proc>,
}

impl Lab {
    /// A fresh one; `name` shows in its path.
    pub fn new(name: &str) -> Lab {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("iopkt-{name}-{}-{n}", std::process::id()));
        let built = built();
        for d in ["bin", "lib", "root", "work"] {
            fs::create_dir_all(dir.join(d)).expect("make the lab's directories");
        }
        let link = |from: PathBuf, to: PathBuf| {
            assert!(
                from.exists(),
                "{} is not built; run `cargo xtask test` (or cargo build --workspace)",
                from.display()
            );
            std::os::unix::fs::symlink(from, to).expect("link a program into the lab");
        };
        for p in ["io-pkt-v4", "io-pkt-v4-hc", "io-pkt-v6-hc", "io-usb", "io-pkt-run", "iopkt-utils"] {
            link(built.join(p), dir.join("bin").join(p));
        }
        for t in TOOLS {
            link(built.join("iopkt-utils"), dir.join("bin").join(t));
        }
        for (so, name) in [
            ("libdevnp_ecm.so", "devnp-ecm.so"),
            ("libdevnp_ncm.so", "devnp-ncm.so"),
            ("libdevnp_tap.so", "devnp-tap.so"),
            ("libdevnp_afp.so", "devnp-afp.so"),
            ("libdevnp_shim.so", "devnp-shim.so"),
            ("liblsm_autoip.so", "lsm-autoip.so"),
            ("libiopkt_preload.so", "libiopkt_preload.so"),
        ] {
            link(built.join(so), dir.join("lib").join(name));
        }
        Lab { dir, procs: Vec::new() }
    }

    /// Directory for the test's own files.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// The root under which the stacks of this lab have their names.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where the product's shared objects lie.
    pub fn lib(&self) -> PathBuf {
        self.dir.join("lib")
    }

    /// A command with the lab's environment; the product's programs are first on PATH.
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Command {
        let mut c = Command::new(program);
        self.dress(&mut c);
        c
    }

    fn dress(&self, c: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = [self.dir.join("bin")].into_iter().chain(std::env::split_paths(&path));
        let all = all.chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
        c.env("PATH", std::env::join_paths(all).expect("PATH"))
            .env("IO_PKT_ROOT", self.root())
            .env("IO_PKT_PRELOAD", self.lib().join("libiopkt_preload.so"))
            .env("LD_LIBRARY_PATH", self.lib())
            .env_remove("SOCK")
            .current_dir(self.work())
            .stdin(Stdio::null());
    }

    /// Runs a shell line to its end (at most `limit`), as a user would type it.
    pub fn sh_for(&self, limit: Duration, line: &str) -> Output {
        let mut c = self.cmd("timeout");
        c.args(["-k", "2", &limit.as_secs().to_string(), "bash", "-c", line]);
        c.output().expect("bash and timeout run")
    }

    /// Runs a shell line that must succeed within a minute; returns its standard output.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        let o = self.sh_for(Duration::from_secs(60), line);
        let (out, err) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
        assert!(o.status.success(), "`{line}`: {}\n{out}\n{err}\n--- log\n{}", o.status, self.log());
        out.into_owned()
    }

    /// Runs a shell line that must fail; returns exit code and standard error.
    #[track_caller]
    pub fn sh_fails(&self, line: &str) -> (i32, String) {
        let o = self.sh_for(Duration::from_secs(60), line);
        assert!(!o.status.success(), "`{line}` succeeded: {}", String::from_utf8_lossy(&o.stdout));
        (o.status.code().unwrap_or(-1), String::from_utf8_lossy(&o.stderr).into_owned())
    }

    /// Starts a shell line in the background; it is ended with the lab. Returns its index for [`Lab::proc`].
    pub fn spawn(&mut self, line: &str) -> usize {
        let mut c = self.cmd("bash");
        c.args(["-c", &format!("exec {line}")]);
        self.procs.push(Proc::start(c, &self.work().join(format!("out{}", self.procs.len()))));
        self.procs.len() - 1
    }

    /// A process started by [`Lab::spawn`].
    pub fn proc(&mut self, i: usize) -> &mut Proc {
        &mut self.procs[i]
    }

    /// The log of the lab's stacks.
    pub fn log(&self) -> String {
        self.cmd("sloginfo")
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default()
    }

    /// Waits until a shell line succeeds.
    #[track_caller]
    pub fn wait(&self, limit: Duration, line: &str) {
        let ok = until(limit, || self.sh_for(limit, line).status.success().then_some(()));
        assert!(ok.is_some(), "`{line}` did not succeed within {limit:?}\n--- log\n{}", self.log());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.procs.clear();
        // What went to the background carries the lab's root in its environment.
        strays(&self.root()).into_iter().for_each(end);
        if std::thread::panicking() && std::env::var_os("IO_PKT_KEEP").is_some() {
            eprintln!("kept {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A process that is ended when it is dropped.
pub struct Proc {
    child: Child,
    out: PathBuf,
}

impl Proc {
    /// Starts `c` with its output in the file `out`.
    pub fn start(mut c: Command, out: &Path) -> Proc {
        let f = fs::File::create(out).expect("file for the output");
        // What stands before the test's own input must not reach it: nc would send it to its peer.
        c.stdin(Stdio::null());
        c.stdout(f.try_clone().expect("second handle")).stderr(f);
        let child = c.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", c.get_program()));
        Proc { child, out: out.to_path_buf() }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        let mut s = Vec::new();
        let _ = fs::File::open(&self.out).and_then(|mut f| f.read_to_end(&mut s));
        String::from_utf8_lossy(&s).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, sig: i32) {
        // SAFETY: kill(2) takes plain numbers; the child is ours and not yet reaped.
        unsafe { libc::kill(self.pid(), sig) };
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        until(limit, || self.child.try_wait().ok().flatten())
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            end(self.pid());
        }
        let _ = self.child.wait();
    }
}

/// Processes that were started with this root.
fn strays(root: &Path) -> Vec<i32> {
    use std::os::unix::ffi::OsStrExt;
    let mark = [b"IO_PKT_ROOT=", root.as_os_str().as_bytes(), b"\0"].concat();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let ours = |pid: &i32| {
        let env = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        *pid != std::process::id() as i32 && env.windows(mark.len()).any(|w| w == mark)
    };
    pids.filter(ours).collect()
}

/// SIGTERM, and SIGKILL to what is still there after two seconds.
fn end(pid: i32) {
    // SAFETY: kill(2) takes plain numbers.
    let gone = |sig| unsafe { libc::kill(pid, sig) } != 0;
    let zombie = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z "));
    if gone(libc::SIGTERM) || until(Duration::from_secs(2), || (gone(0) || zombie()).then_some(())).is_some()
    {
        return;
    }
    gone(libc::SIGKILL);
}

/// Where the programs under test were built: beside the test itself.
pub fn built() -> PathBuf {
    let me = std::env::current_exe().expect("path of the test");
    let dir = me.parent().expect("a program lies in a directory");
    // A test lies in target/PROFILE/deps, a program in target/PROFILE.
    if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_path_buf() } else { dir.to_path_buf() }
}

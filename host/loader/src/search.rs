//! Which file a name on the command line means.
//!
//! `-d X` is `devnp-X.so`; when there is none but a `devn-X.so`, that is a driver of the older io-net, for which
//! the shim (`devnp-shim.so`) is loaded. `-p X` is `lsm-X.so`. A name that ends in `.so` is that file, searched for; a name with
//! a slash is that file exactly. Searched are, in this order: `LD_LIBRARY_PATH` (not for set-id programs),
//! `../lib` beside the program, the program's own directory when it is one of cargo's, `/usr/lib/io-pkt`,
//! `/lib/dll`.

use crate::Error;
use iopkt_base::Errno;
use std::path::{Path, PathBuf};

/// The file to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The object.
    pub path: PathBuf,
    /// The driver for io-net that it is to load in turn, when it is the shim.
    pub legacy: Option<PathBuf>,
}

/// Protocols of QNX's manuals that are not part of this product (a module of that name is loaded all the same).
const ELSEWHERE: &[&str] = &["avb", "pf-v4", "pf-v6", "qnet", "slip"];

/// File name of the shim.
const SHIM: &str = "devnp-shim.so";

/// Where objects are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    dirs: Vec<PathBuf>,
}

impl Search {
    /// The rules above, for this process.
    pub fn standard() -> Search {
        let mut dirs: Vec<PathBuf> = Vec::new();
        let set_id = rustix::process::getuid() != rustix::process::geteuid()
            || rustix::process::getgid() != rustix::process::getegid();
        if let Some(list) = std::env::var_os("LD_LIBRARY_PATH").filter(|_| !set_id) {
            dirs.extend(std::env::split_paths(&list).filter(|d| !d.as_os_str().is_empty()));
        }
        if let Ok(exe) = std::env::current_exe()
            && let Some(dir) = exe.parent()
        {
            if let Some(up) = dir.parent() {
                dirs.push(up.join("lib"));
            }
            if let Some(d) = cargo_dir(dir) {
                dirs.extend([d.to_owned(), d.join("deps")]); // tests find their libraries in deps
            }
        }
        dirs.push("/usr/lib/io-pkt".into());
        dirs.push("/lib/dll".into());
        Search { dirs }
    }

    /// These directories only.
    pub fn only(dirs: impl IntoIterator<Item = PathBuf>) -> Search {
        Search { dirs: dirs.into_iter().collect() }
    }

    /// The directories, in order.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The file of driver `what` (the word after `-d`).
    ///
    /// # Errors
    /// ENOENT with the places looked at, for the driver or for the shim that it needs.
    pub fn driver(&self, what: &str) -> Result<Found, Error> {
        if what.contains('/') || what.ends_with(".so") {
            return self.object(what);
        }
        if let Some(path) = self.look(&format!("devnp-{what}.so")) {
            return Ok(Found { path, legacy: None });
        }
        if let Some(p) = self.look(&format!("devn-{what}.so")) {
            return self.legacy(p);
        }
        Err(self.missing(what, &format!("devnp-{what}.so")))
    }

    /// The file of stack module `what` (the word after `-p`).
    ///
    /// # Errors
    /// ENOENT with the places looked at.
    pub fn module(&self, what: &str) -> Result<Found, Error> {
        if what.contains('/') || what.ends_with(".so") {
            return self.object(what);
        }
        let file = format!("lsm-{what}.so");
        match self.look(&file) {
            Some(path) => Ok(Found { path, legacy: None }),
            None => {
                let e = self.missing(what, &file);
                let known = ELSEWHERE.contains(&what);
                let known = if known { "; this io-pkt comes without that module" } else { "" };
                Err(Error::new(e.errno, format!("{}{known}", e.text)))
            }
        }
    }

    /// A file by its name (searched for) or its path (`mount`'s last word).
    ///
    /// # Errors
    /// As [`Search::driver`].
    pub fn object(&self, what: &str) -> Result<Found, Error> {
        let path = self.file(what)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("devn-") {
            return self.legacy(path);
        }
        Ok(Found { path, legacy: None })
    }

    /// A file by its name or path, whatever it is.
    pub(crate) fn file(&self, what: &str) -> Result<PathBuf, Error> {
        Ok(if what.contains('/') {
            let p = PathBuf::from(what);
            if let Err(e) = std::fs::metadata(&p) {
                let errno = iopkt_sys::errno(&e);
                return Err(Error::new(errno, format!("{what}: {}; check the path", errno_text(&e))));
            }
            p
        } else {
            self.look(what).ok_or_else(|| self.missing(what, what))?
        })
    }

    fn legacy(&self, driver: PathBuf) -> Result<Found, Error> {
        match self.look(SHIM) {
            Some(path) => Ok(Found { path, legacy: Some(driver) }),
            None => {
                let why = format!("a devn- driver needs the shim, {SHIM}");
                let e = self.missing(&driver.display().to_string(), SHIM);
                Err(Error::new(e.errno, format!("{}; {why}", e.text)))
            }
        }
    }

    fn look(&self, file: &str) -> Option<PathBuf> {
        // cargo names the library of crate devnp-tap libdevnp_tap.so.
        let cargo = format!("lib{}", file.replace('-', "_"));
        for dir in &self.dirs {
            let p = dir.join(file);
            if p.is_file() {
                return Some(p);
            }
            let p = dir.join(&cargo);
            if cargo_dir(dir).is_some() && p.is_file() {
                return Some(p);
            }
        }
        None
    }

    fn missing(&self, what: &str, file: &str) -> Error {
        let dirs: Vec<String> = self.dirs.iter().map(|d| d.display().to_string()).collect();
        Error::new(
            Errno::ENOENT,
            format!("{what}: no {file} in {}; give a full path or set LD_LIBRARY_PATH", dirs.join(", ")),
        )
    }
}

/// The directory of cargo's products, when the program itself is one of them.
fn cargo_dir(dir: &Path) -> Option<&Path> {
    let dir = if dir.ends_with("deps") || dir.ends_with("examples") { dir.parent()? } else { dir };
    dir.join(".fingerprint").is_dir().then_some(dir)
}

/// The system's words for an I/O error, without Rust's "(os error N)".
pub(crate) fn errno_text(e: &std::io::Error) -> String {
    let s = e.to_string();
    s.split(" (os error").next().unwrap_or(&s).to_owned()
}

//! The published objects: a directory with a small file for each device, and one for each command that was run for
//! one. A file is a line with its name, then a line for each property: `name::value`.

use crate::tool::{Failure, Outcome, print, print_json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory of objects.
#[derive(Clone, Debug)]
pub struct Objects {
    dir: PathBuf,
}

impl Objects {
    /// Objects in `dir`.
    pub fn at(dir: PathBuf) -> Objects {
        Objects { dir }
    }

    /// Makes the directory and takes away what an earlier launcher left there.
    ///
    /// # Errors
    /// With the name of the directory.
    pub fn begin(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)
            .and_then(|()| self.names()?.iter().try_for_each(|n| fs::remove_file(self.dir.join(n))))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.dir.display())))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes an object; readers see the old one or the new one.
    ///
    /// # Errors
    /// What the system says.
    pub fn publish(&self, name: &str, properties: &[(&str, String)]) -> io::Result<()> {
        let mut text = format!("@{name}\n");
        for (k, v) in properties {
            text += &format!("{k}::{}\n", v.replace(['\n', '\r'], " "));
        }
        let new = self.dir.join(format!(".{name}"));
        fs::write(&new, text)?;
        fs::rename(&new, self.dir.join(name))
    }

    /// Takes an object away.
    pub fn withdraw(&self, name: &str) {
        let _ = fs::remove_file(self.dir.join(name));
    }

    /// Takes all away.
    pub fn end(&self) {
        self.names().unwrap_or_default().iter().for_each(|n| self.withdraw(n));
    }

    /// Names of the objects, sorted.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut v = Vec::new();
        for e in fs::read_dir(&self.dir)? {
            let e = e?;
            let name = e.file_name().to_string_lossy().into_owned();
            // What is no object of ours is not touched, not even in a directory that somebody chose badly.
            let ours = fs::read(e.path()).is_ok_and(|b| b.starts_with(format!("@{name}\n").as_bytes()));
            if e.file_type()?.is_file() && ours {
                v.push(name);
            }
        }
        v.sort();
        Ok(v)
    }

    /// `-l`, `--json`: prints what is published.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn list(&self, json: bool) -> Outcome {
        let fail = |e: io::Error| {
            let d = self.dir.display();
            Failure::new(format!("{d}: {e}; is usblauncher running?"))
        };
        let mut all = Vec::new();
        for n in self.names().map_err(fail)? {
            let Ok(text) = fs::read_to_string(self.dir.join(&n)) else { continue };
            all.push((n, text));
        }
        if !json {
            return print(&all.into_iter().map(|(_, t)| t).collect::<Vec<_>>().join("\n"));
        }
        let object = |(name, text): &(String, String)| {
            let mut m = serde_json::Map::new();
            m.insert("object".into(), name.as_str().into());
            for (k, v) in text.lines().skip(1).filter_map(|l| l.split_once("::")) {
                m.insert(k.into(), v.into());
            }
            m
        };
        print_json(&all.iter().map(object).collect::<Vec<_>>())
    }
}

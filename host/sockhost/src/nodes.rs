//! Names of device nodes, and memory shared with programs.

use iopkt_sockserver::RingId;
use iopkt_sys::shared::Shared;
use iopkt_sys::unix;
use rustix::net::SocketType;
use slab::Slab;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What stands in `/dev/bpf`, which is not opened as a file.
const BPF: &str = "BPF devices of io-pkt: programs open /dev/bpf under io-pkt-run.\n";

/// A name at which programs connect.
#[derive(Debug)]
pub(crate) struct Name {
    pub fd: OwnedFd,
    pub owner: u32,
    pub generation: u32,
    path: PathBuf,
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Both.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// `/dev` of the stack; `None`: it has no names.
    dir: Option<PathBuf>,
    pub names: Slab<Name>,
    rings: Slab<Shared>,
}

impl Nodes {
    /// Takes the directory, removes what an earlier process left there, and puts down what is always there.
    pub fn set_dir(&mut self, dir: PathBuf) -> io::Result<()> {
        for e in std::fs::read_dir(&dir)?.flatten() {
            let name = e.file_name();
            let unit = name.to_str().and_then(|n| n.strip_prefix("tun").or_else(|| n.strip_prefix("tap")));
            if unit.is_some_and(|u| !u.is_empty() && u.bytes().all(|b| b.is_ascii_digit())) {
                let _ = std::fs::remove_file(e.path());
            }
        }
        std::fs::write(dir.join("bpf"), BPF)?;
        self.dir = Some(dir);
        Ok(())
    }

    pub fn listen(&self, name: &str, owner: u32, generation: u32) -> io::Result<Name> {
        let Some(dir) = &self.dir else { return Err(io::Error::from_raw_os_error(libc_eopnotsupp())) };
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let fd = unix::listener(&path, SocketType::SEQPACKET, 8, 0o600)?;
        Ok(Name { fd, owner, generation, path })
    }

    pub fn ring(&mut self, len: usize) -> io::Result<RingId> {
        let r = Shared::new("io-pkt-ring", len)?;
        Ok(RingId(self.rings.insert(r) as u32))
    }

    pub fn shared(&self, r: RingId) -> Option<&Shared> {
        self.rings.get(r.0 as usize)
    }

    pub fn free(&mut self, r: RingId) {
        self.rings.try_remove(r.0 as usize);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Some(d) = &self.dir {
            let _ = std::fs::remove_file(d.join("bpf"));
        }
    }
}

fn libc_eopnotsupp() -> i32 {
    rustix::io::Errno::OPNOTSUPP.raw_os_error()
}

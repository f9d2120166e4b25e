//! What a driver's control thread, its handle and its devices share.

use crate::Error;
use crate::device::Gone;
use crate::host::{DriverId, Host};
use crate::info::Info;
use crate::inlet::Queue;
use crate::options::Options;
use crate::port::Port;
use iopkt_base::Errno;
use iopkt_mbuf::Pool;
use iopkt_sys::Root;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Dead ports that are kept before the oldest is used again: a driver may still name them.
const DEAD_PORTS: usize = 256;

/// A message to a control thread.
pub(crate) enum Msg {
    Gone { cookie: u64, why: Gone },
    Unload,
}

/// How far `load` has come.
pub(crate) enum Outcome {
    Running,
    Loaded,
    Failed(Error),
}

#[derive(Default)]
pub(crate) struct Ports {
    pub(crate) live: Vec<Arc<Port>>,
    /// Made but not bound.
    pub(crate) fresh: Vec<Arc<Port>>,
    pub(crate) dead: VecDeque<Arc<Port>>,
    /// A device has been attached, whether it is still there or not.
    pub(crate) ever: bool,
    /// The runtime has been told that the last device has gone.
    pub(crate) finished: bool,
    /// The control thread has made its last call into the driver.
    pub(crate) ended: bool,
}

/// What a driver's threads and devices share.
pub(crate) struct Core {
    pub(crate) id: DriverId,
    pub(crate) info: Info,
    pub(crate) options: Options,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) root: Root,
    pub(crate) root_c: CString,
    pub(crate) pool: Pool,
    pub(crate) stopping: AtomicBool,
    pub(crate) stay: AtomicU32,
    pub(crate) why: Mutex<String>,
    /// Buffers that the driver owns.
    pub(crate) out: AtomicIsize,
    /// Counts the driver's looks at `stopping`, and its lines.
    pub(crate) pulse: AtomicU64,
    /// What the stack has for a module.
    pub(crate) inlet: Queue,
    pub(crate) control: Mutex<Option<Arc<Port>>>,
    pub(crate) ports: Mutex<Ports>,
    /// Goes with `ports`.
    pub(crate) changed: Condvar,
    pub(crate) outcome: Mutex<Outcome>,
    /// Goes with `outcome`.
    pub(crate) loaded: Condvar,
    pub(crate) names: Mutex<BTreeMap<PathBuf, String>>,
    pub(crate) tx: Mutex<Sender<Msg>>,
    pub(crate) misuses: AtomicU64,
}

pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// A port for a device that is being attached.
    pub(crate) fn new_port(self: &Arc<Core>) -> Arc<Port> {
        let mut p = lock(&self.ports);
        let port = if p.dead.len() > DEAD_PORTS { p.dead.pop_front() } else { None };
        let port = port.unwrap_or_else(|| Arc::new(Port::new(Arc::downgrade(self), false, &self.info.name)));
        p.fresh.push(port.clone());
        port
    }

    pub(crate) fn live(&self, port: Arc<Port>) {
        let mut p = lock(&self.ports);
        p.fresh.retain(|f| !Arc::ptr_eq(f, &port));
        p.live.push(port);
        p.finished = false;
    }

    /// The runtime has made an interface for a device.
    pub(crate) fn attached(&self) {
        lock(&self.ports).ever = true;
    }

    /// A device has ended. `last` goes to the control thread, in one step with the change of the count, so
    /// that whoever sees no device left finds the message.
    pub(crate) fn retire(&self, port: Arc<Port>, last: Option<Msg>) {
        let mut p = lock(&self.ports);
        p.fresh.retain(|f| !Arc::ptr_eq(f, &port));
        p.live.retain(|f| !Arc::ptr_eq(f, &port));
        p.dead.push_back(port);
        if let Some(m) = last {
            let _ = lock(&self.tx).send(m);
        }
        drop(p);
        self.kick();
    }

    pub(crate) fn kick(&self) {
        if let Some(p) = &*lock(&self.control) {
            p.kick();
        }
    }

    /// Asks for the removal of all devices.
    pub(crate) fn depart_all(&self) {
        for p in &lock(&self.ports).live {
            p.departs.store(true, Ordering::Release);
            p.kick();
        }
    }

    /// No device is left; true once, although two may have gone before the control thread heard of the first.
    pub(crate) fn last_gone(&self) -> bool {
        let mut p = lock(&self.ports);
        p.live.is_empty() && p.fresh.is_empty() && !std::mem::replace(&mut p.finished, true)
    }

    pub(crate) fn devices(&self) -> usize {
        let p = lock(&self.ports);
        p.live.len() + p.fresh.len()
    }

    pub(crate) fn send(&self, m: Msg) {
        let _ = lock(&self.tx).send(m);
        self.kick();
    }

    /// Logs a driver's mistake; only the first ones, because a mistake on the packet path repeats.
    pub(crate) fn misuse(&self, port: &Port, what: &str) {
        if self.misuses.fetch_add(1, Ordering::Relaxed) < 10 {
            self.host.log(2, &port.label(), &format!("{what}: a fault of the driver {}", self.info.file()));
        }
    }

    pub(crate) fn name_add(&self, port: &Port, name: &str, target: &str) -> Result<(), Errno> {
        // Below the stack's prefix are only names of ours.
        let ours = name.strip_prefix(self.host.prefix()).is_some_and(|n| n.starts_with("/dev/io-net/"));
        if !(ours || name.starts_with("/dev/"))
            || name.contains("..")
            || name.ends_with('/')
            || target.is_empty()
        {
            return Err(Errno::EINVAL);
        }
        let io = |e: std::io::Error| iopkt_sys::errno(&e);
        let path = self.root.prepare(name).map_err(io)?;
        match std::fs::read_link(&path) {
            // Another stack on the same root has it: its target is there. A killed one's is not.
            Ok(old)
                if old.as_os_str() != target && old.exists() && !lock(&self.names).contains_key(&path) =>
            {
                return Err(Errno::EEXIST);
            }
            // Its own, which it may move about as it likes.
            Ok(old) if old.as_os_str() != target && !lock(&self.names).contains_key(&path) => {
                let text = format!("{} pointed to {}, now to {target}", path.display(), old.display());
                self.host.log(4, &port.label(), &text);
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return Err(Errno::EEXIST), // not a link: none of ours
        }
        // Made beside and moved over it, so that the name never fails to exist.
        let tmp = path.with_extension(format!("new{}-{}", std::process::id(), self.id.0));
        std::os::unix::fs::symlink(target, &tmp).map_err(io)?;
        if let Err(e) = std::fs::rename(&tmp, &path) {
            let _ = std::fs::remove_file(&tmp);
            return Err(io(e));
        }
        lock(&self.names).insert(path, target.to_owned());
        Ok(())
    }

    /// The last [`abi::Host::why`], taken.
    pub(crate) fn take_why(&self) -> String {
        std::mem::take(&mut *lock(&self.why))
    }

    /// The node of an interface of a driver for io-net.
    pub(crate) fn legacy_node(&self, legacy: bool, ifname: &str) -> Option<String> {
        legacy.then(|| format!("{}/dev/io-net/{ifname}", self.host.prefix()))
    }

    pub(crate) fn name_del(&self, name: &str) -> Result<(), Errno> {
        let path = self.root.path(name);
        let target = lock(&self.names).remove(&path).ok_or(Errno::ENOENT)?;
        remove_link(&path, &target);
        Ok(())
    }
}

/// Removes a name, unless somebody has made it point elsewhere meanwhile.
pub(crate) fn remove_link(path: &std::path::Path, target: &str) {
    if std::fs::read_link(path).is_ok_and(|t| t.as_os_str() == target) {
        let _ = std::fs::remove_file(path);
    }
}

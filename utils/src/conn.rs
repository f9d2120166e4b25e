//! The tools' session with a stack: the client crate, in the tools' terms.

use crate::tool::{Failure, Stack};
use iopkt_client::Session;
use iopkt_ctl::{Reply, Request};
use iopkt_sys::paths::{Root, instance_socket};
use std::io::ErrorKind;

/// An open session.
pub struct Conn(Session);

impl Conn {
    /// Opens a session with the stack that `IO_PKT_ROOT` and `SOCK` choose.
    ///
    /// # Errors
    /// A line for people: where no stack is, and how to start one.
    pub fn open() -> Result<Conn, String> {
        Session::open().map(Conn).map_err(|e| e.to_string())
    }

    /// Opens a session with the stack that answers mount requests of type `io-pktN`.
    ///
    /// # Errors
    /// A line for people: no such instance, and how to start one.
    pub fn open_instance(n: Option<u32>) -> Result<Conn, Failure> {
        let kind = n.map_or_else(|| "io-pkt".to_string(), |n| format!("io-pkt{n}"));
        let root = Root::find();
        let path = instance_socket(&root, &kind).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                let start = n.map_or_else(String::new, |n| format!(" -i{n} -ptcpip prefix=/alt{n}"));
                Failure::new(format!(
                    "no {kind} runs under {}; start one: io-pkt-v4-hc{start}",
                    root.dir().display()
                ))
            }
            _ => Failure::new(format!("{kind}: {e}")),
        })?;
        Session::open_at(&path).map(Conn).map_err(|e| Failure::new(e.to_string()))
    }

    /// The session, for sockets.
    pub fn session(&self) -> &Session {
        &self.0
    }
}

impl Stack for Conn {
    fn ask(&mut self, r: &Request) -> Result<Reply, String> {
        self.0.ctl(r).map_err(|e| format!("{}: {e}", self.0.path().display()))
    }
}

//! The supervisor's session to the stack, opened when first needed and again when the stack was restarted.

use iopkt_shim::path::Path;
use iopkt_shim::session::{Answer, Greeting, Rpc, Session, Trouble};
use iopkt_sockproto::Req;

use super::target::Errno;

/// The way to the stack.
pub struct Stack {
    path: Path,
    session: Option<Session>,
}

impl Stack {
    /// Does not connect yet.
    pub fn new(path: Path) -> Stack {
        Stack { path, session: None }
    }

    fn session(&mut self) -> Result<&mut Session, Errno> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.path, 0).map_err(|_| libc::ENETDOWN)?);
        }
        self.session.as_mut().ok_or(libc::ENETDOWN)
    }

    fn drop_session(&mut self) {
        if let Some(s) = self.session.take() {
            s.close();
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.drop_session();
    }
}

impl Rpc for Stack {
    fn rpc(
        &mut self,
        req: Req,
        pass: Option<i32>,
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> Result<Answer, Errno> {
        // A session that has become useless while nobody looked (the stack was restarted) gets one successor.
        for _ in 0..2 {
            match self.session()?.call(req, pass, payload, out) {
                Ok(a) => return Ok(a),
                Err(Trouble::NotSent(e)) => return Err(e),
                Err(Trouble::Lost(_)) => self.drop_session(),
            }
        }
        Err(libc::ENETDOWN)
    }

    fn greeting(&mut self) -> Result<Greeting, Errno> {
        self.session().map(|s| s.greeting)
    }
}

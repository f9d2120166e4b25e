//! What is done about a data path that is dead, step by step:
//!
//! 1. the data setting is selected anew, which resets toggles, halts and queues of its endpoints (the halts are
//!    cleared where there is only one setting);
//! 2. the port is reset and the device configured again (a USB/IP server understands SET_FEATURE(PORT_RESET) as
//!    that; one that does not stalls it, and setting the configuration does most of the same);
//! 3. the device has failed.
//!
//! A transfer that succeeds where there was trouble ends it: the next trouble begins with step 1.

use super::{Job, Machine, NEVER, TX_TIMEOUT, Tok, Up};
use iopkt_usbip::status;

/// Tries to select the data setting before that counts as trouble.
const SETTING_TRIES: u8 = 3;
/// Pause between them, nanoseconds.
const SETTING_PAUSE: u64 = 100_000_000;

/// How far we are.
#[derive(Default)]
pub(super) struct Recovery {
    step: u8,
    /// Where the trouble is.
    cause: Option<Tok>,
    resetting: bool,
    tries: u8,
    retry_at: Option<u64>,
}

impl Recovery {
    /// The device is being reset: nothing but that is submitted.
    pub(super) fn is_resetting(&self) -> bool {
        self.resetting
    }

    pub(super) fn deadline(&self) -> u64 {
        self.retry_at.unwrap_or(NEVER)
    }

    /// A transfer succeeded.
    pub(super) fn good(&mut self, tok: Tok) {
        if self.cause.is_some_and(|c| c == tok || c == Tok::Control) {
            *self = Recovery::default();
        }
    }
}

impl Machine {
    /// The data path is dead: the next step.
    pub(super) fn recover(&mut self, cause: Tok, why: &str, up: &mut dyn Up) {
        if !self.up || self.recovery.resetting {
            return;
        }
        let r = &mut self.recovery;
        r.step += 1;
        (r.cause, r.tries, r.retry_at) = (Some(cause), 0, None);
        match r.step {
            1 => {
                up.say(false, format!("{why}; selecting the data setting anew"));
                self.close_data();
                if self.set.ecm.has_alts {
                    self.jobs.retain(|j| !matches!(j, Job::Alt(_)));
                    self.jobs.push_back(Job::Alt(self.set.off()));
                } else {
                    (self.rx.halted, self.tx.halted) = (true, true);
                }
                self.open_data();
            }
            2 => {
                up.say(false, format!("{why}; resetting the device"));
                r.resetting = true;
                self.close_data();
                self.jobs.clear();
                self.jobs.extend([Job::Reset, Job::Configure]);
            }
            _ => up.failed(why.to_string()),
        }
    }

    /// The device was configured again after a reset.
    pub(super) fn configured(&mut self, st: i32, up: &mut dyn Up) {
        self.recovery.resetting = false;
        if st != status::OK {
            return up.failed(format!("SET_CONFIGURATION failed after a reset (status {st})"));
        }
        (self.rx.halted, self.tx.halted, self.note.halted, self.at_note.halted) =
            (false, false, false, false);
        self.at_halted.clear();
        self.open_serial();
        if self.up {
            self.open_data();
        }
    }

    /// SET_INTERFACE of the data interface ended.
    pub(super) fn setting_done(&mut self, alt: u8, st: i32, up: &mut dyn Up) {
        let ok = st == status::OK || st == status::EREMOTEIO;
        if alt != self.set.ecm.data_alt {
            // The halts went with the setting.
            (self.rx.halted, self.tx.halted) = (false, false);
        } else if ok && self.up {
            self.recovery.tries = 0;
            self.opened();
        } else if !ok && self.up {
            self.recovery.tries += 1;
            if self.recovery.tries < SETTING_TRIES {
                up.say(true, format!("SET_INTERFACE failed (status {st}); trying again"));
                self.recovery.retry_at = Some(self.now + SETTING_PAUSE);
            } else {
                self.recover(Tok::Control, &format!("SET_INTERFACE failed (status {st})"), up);
            }
        }
    }

    /// Tries the setting again.
    pub(super) fn recovery_due(&mut self, _up: &mut dyn Up) {
        if self.now >= self.recovery.deadline() {
            self.recovery.retry_at = None;
            if self.up && !self.open {
                self.want(Job::Alt(self.set.ecm.data_alt));
            }
        }
    }

    /// Frames that do not leave.
    pub(super) fn transmit_overdue(&mut self, up: &mut dyn Up) {
        if self.tx.out == 0 || self.now < self.tx.since.saturating_add(TX_TIMEOUT) {
            return;
        }
        let (n, s) = (self.tx.out, TX_TIMEOUT / 1_000_000_000);
        self.tx.since = self.now;
        if !self.up {
            return up.failed(format!("{n} transfers were neither done nor cancelled within {s} s"));
        }
        up.errors(0, n as u64);
        self.recover(Tok::Tx, &format!("transmit timed out: nothing sent for {s} s, {n} transfers wait"), up);
    }
}

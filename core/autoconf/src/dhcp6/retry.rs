//! When a message is sent again (RFC 8415 section 15, constants of 7.6).

use super::msg;
use iopkt_base::{Duration, Rng};

/// Where an exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Solicit,
    Request,
    Bound,
    Renew,
    Rebind,
    /// Is this the same link still? For addresses alone.
    Confirm,
    /// The same by a Rebind, which prefixes need (18.2.12).
    Check,
    Inform,
    Told,
    /// A release or decline waits for its reply.
    Giving(u8),
}

/// First time, most (zero: no bound), how often and how long in all (zero: for ever).
#[derive(Default)]
pub(super) struct Retry {
    pub first: Duration,
    pub most: Duration,
    pub count: u32,
    pub in_all: Duration,
}

impl State {
    pub fn retry(self, sol_max: Duration, inf_max: Duration) -> Retry {
        let s = Duration::from_secs;
        match self {
            State::Solicit => Retry { first: s(1), most: sol_max, ..Retry::default() },
            State::Request => Retry { first: s(1), most: s(30), count: 10, ..Retry::default() },
            State::Renew | State::Rebind => Retry { first: s(10), most: s(600), ..Retry::default() },
            State::Confirm | State::Check => {
                Retry { first: s(1), most: s(4), in_all: s(10), ..Retry::default() }
            }
            State::Giving(_) => Retry { first: s(1), count: 4, ..Retry::default() },
            _ => Retry { first: s(1), most: inf_max, ..Retry::default() },
        }
    }

    /// The message that is sent in this state.
    pub fn message(self) -> u8 {
        match self {
            State::Solicit => msg::SOLICIT,
            State::Request => msg::REQUEST,
            State::Renew => msg::RENEW,
            State::Rebind | State::Check => msg::REBIND,
            State::Confirm => msg::CONFIRM,
            State::Giving(kind) => kind,
            _ => msg::INFORM,
        }
    }

    /// Whether what was given holds.
    pub fn has_lease(self) -> bool {
        matches!(self, State::Bound | State::Renew | State::Rebind | State::Confirm | State::Check)
    }
}

impl Retry {
    /// RT after this sending: doubled, blurred by a tenth. The first of a Solicit is never shorter than its time, so that all servers are
    /// heard (18.2.1).
    pub fn following(&self, before: Duration, solicit: bool, rng: &mut Rng) -> Duration {
        let first = before == Duration::ZERO;
        let base = if first { self.first } else { before * 2 };
        let base = if self.most != Duration::ZERO && base > self.most { self.most } else { base };
        let tenth = (base.as_millis() / 10) as u32;
        if first && solicit {
            return base + Duration::from_millis(u64::from(1 + rng.below(tenth.max(1))));
        }
        let blur = Duration::from_millis(u64::from(rng.below(2 * tenth + 1)));
        base.saturating_sub(Duration::from_millis(tenth.into())) + blur
    }
}

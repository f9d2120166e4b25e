//! The part of the modem that the AT commands talk about: SIM, registration, packet data contexts, the call.
//!
//! The link of the Ethernet function is up while the modem is registered, attached, and has an active context.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use iopkt_base::Instant;

/// What the modem says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// +CGMI
    pub manufacturer: String,
    /// +CGMM
    pub model: String,
    /// +CGMR
    pub revision: String,
    /// +CGSN: 15 digits.
    pub imei: String,
    /// +CIMI
    pub imsi: String,
    /// +CCID
    pub iccid: String,
    /// Operator, long name.
    pub operator: String,
    /// Operator, short name.
    pub operator_short: String,
    /// Operator, numeric: MCC and MNC. 001-01 is the test network of TS 36.508.
    pub plmn: String,
    /// Own number (+CNUM).
    pub number: String,
    /// Address that +CGPADDR reports.
    pub address: String,
}

impl Default for Identity {
    fn default() -> Identity {
        Identity {
            manufacturer: "io-pkt".into(),
            model: "Simulated ECM modem".into(),
            revision: env!("CARGO_PKG_VERSION").into(),
            imei: "001010123456784".into(),
            imsi: "001010123456789".into(),
            iccid: "8900101012345678908".into(),
            operator: "Test Network".into(),
            operator_short: "Test".into(),
            plmn: "00101".into(),
            number: "+15550100".into(),
            address: "10.0.0.184".into(),
        }
    }
}

/// Registration state, as +CREG gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// 0: not registered, not searching.
    Off = 0,
    /// 1: registered, home network.
    Home = 1,
    /// 2: searching.
    Searching = 2,
}

/// A packet data context (+CGDCONT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Number, from 1.
    pub cid: u32,
    /// `IP`, `IPV6`, `IPV4V6`.
    pub kind: String,
    /// Access point name.
    pub apn: String,
    /// Whether it is active.
    pub active: bool,
}

/// Something that a terminal may be told unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsolicited {
    /// Registration changed.
    Registration(Registration),
    /// The data call ended, but not by the terminal's command.
    CallLost,
}

/// Highest context number.
pub const MAX_CID: u32 = 8;
/// Time from "radio on" to "registered".
pub const SEARCH: Duration = Duration::from_millis(500);
/// Wrong PINs before the SIM wants its PUK.
pub const PIN_TRIES: u8 = 3;

/// State of the radio.
#[derive(Debug)]
pub struct Radio {
    /// Who it is.
    pub identity: Identity,
    /// PIN of the SIM; `None` when it needs none.
    pin: Option<String>,
    unlocked: bool,
    tries: u8,
    fun: u8,
    registration: Registration,
    registers_at: Instant,
    /// +COPS mode: 0 automatic, 1 manual, 2 deregistered.
    pub cops_mode: u8,
    /// +COPS format: 0 long, 1 short, 2 numeric.
    pub cops_format: u8,
    attached: bool,
    contexts: Vec<Context>,
    /// Received signal strength as +CSQ gives it: 0 to 31, 99 unknown.
    pub signal: u8,
    /// The call is made without being asked for.
    auto: bool,
    /// What terminals are to be told.
    pub events: Vec<Unsolicited>,
    /// A restart of the modem was asked for (+CFUN=1,1).
    pub restart: bool,
}

impl Radio {
    /// A radio that was just switched on and is registered; with `auto` its data call is up.
    pub fn new(identity: Identity, pin: Option<String>, auto: bool) -> Radio {
        let unlocked = pin.is_none();
        let context = Context { cid: 1, kind: "IP".into(), apn: "internet".into(), active: auto && unlocked };
        Radio {
            identity,
            pin,
            unlocked,
            tries: 0,
            fun: 1,
            registration: if unlocked { Registration::Home } else { Registration::Off },
            registers_at: Instant::FAR,
            cops_mode: 0,
            cops_format: 0,
            attached: unlocked,
            contexts: alloc::vec![context],
            signal: 24,
            auto,
            events: Vec::new(),
            restart: false,
        }
    }

    /// Whether Ethernet frames pass.
    pub fn link(&self) -> bool {
        self.registration == Registration::Home && self.attached && self.contexts.iter().any(|c| c.active)
    }

    /// Registration state.
    pub fn registration(&self) -> Registration {
        self.registration
    }

    /// What the SIM waits for: `READY`, `SIM PIN`, `SIM PUK`.
    pub fn sim(&self) -> &'static str {
        match (self.unlocked, self.tries < PIN_TRIES) {
            (true, _) => "READY",
            (false, true) => "SIM PIN",
            (false, false) => "SIM PUK",
        }
    }

    /// Whether the SIM has been unlocked.
    pub fn is_unlocked(&self) -> bool {
        self.unlocked
    }

    /// Tries a PIN; whether it was right.
    pub fn enter_pin(&mut self, now: Instant, pin: &str) -> bool {
        if self.pin.as_deref() == Some(pin) && self.tries < PIN_TRIES {
            self.unlocked = true;
            self.tries = 0;
            self.search(now);
            return true;
        }
        self.tries = self.tries.saturating_add(1);
        false
    }

    /// Functionality level: 0 minimum, 1 full, 4 radio off.
    pub fn fun(&self) -> u8 {
        self.fun
    }

    /// Sets the functionality level.
    pub fn set_fun(&mut self, now: Instant, level: u8) {
        if level == self.fun {
            return;
        }
        self.fun = level;
        if level == 1 {
            self.search(now);
        } else {
            self.leave();
        }
    }

    /// Begins to look for a network, if it may.
    pub fn search(&mut self, now: Instant) {
        if self.fun == 1 && self.unlocked && self.cops_mode != 2 && self.registration != Registration::Home {
            self.set_registration(Registration::Searching);
            self.registers_at = now + SEARCH;
        }
    }

    /// Leaves the network.
    pub fn leave(&mut self) {
        self.registers_at = Instant::FAR;
        self.attached = false;
        self.hang_up(true);
        self.set_registration(Registration::Off);
    }

    fn set_registration(&mut self, r: Registration) {
        if self.registration != r {
            self.registration = r;
            self.events.push(Unsolicited::Registration(r));
        }
    }

    /// When [`Radio::tick`] is wanted.
    pub fn deadline(&self) -> Instant {
        self.registers_at
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if now < self.registers_at {
            return;
        }
        self.registers_at = Instant::FAR;
        self.set_registration(Registration::Home);
        self.attached = true;
        if self.auto {
            let first = self.contexts.first().map(|c| c.cid);
            first.map(|cid| self.activate(cid, true));
        }
    }

    /// Whether it is attached to the packet domain.
    pub fn attached(&self) -> bool {
        self.attached
    }

    /// Attaches to the packet domain or detaches; false without registration.
    pub fn set_attached(&mut self, on: bool) -> bool {
        if on && self.registration != Registration::Home {
            return false;
        }
        self.attached = on;
        if !on {
            self.hang_up(false);
        }
        true
    }

    /// The contexts, by number.
    pub fn contexts(&self) -> &[Context] {
        &self.contexts
    }

    /// Defines a context; false for a number that cannot be.
    pub fn define(&mut self, cid: u32, kind: String, apn: String) -> bool {
        if cid == 0 || cid > MAX_CID {
            return false;
        }
        let active = self.contexts.iter().any(|c| c.cid == cid && c.active);
        self.undefine(cid);
        self.contexts.push(Context { cid, kind, apn, active });
        self.contexts.sort_by_key(|c| c.cid);
        true
    }

    /// Removes a context.
    pub fn undefine(&mut self, cid: u32) {
        self.contexts.retain(|c| c.cid != cid);
    }

    /// Switches a context; false when it is not defined or there is no network.
    pub fn activate(&mut self, cid: u32, on: bool) -> bool {
        if on && !(self.attached && self.registration == Registration::Home) {
            return false;
        }
        match self.contexts.iter_mut().find(|c| c.cid == cid) {
            Some(c) => {
                c.active = on;
                true
            }
            None => false,
        }
    }

    /// Ends the data call; `lost` tells the terminals. Whether there was one.
    pub fn hang_up(&mut self, lost: bool) -> bool {
        let was = self.contexts.iter().any(|c| c.active);
        self.contexts.iter_mut().for_each(|c| c.active = false);
        if was && lost {
            self.events.push(Unsolicited::CallLost);
        }
        was
    }
}

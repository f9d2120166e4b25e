//! The commands: V.250 basic ones, and the table of extended ones (TS 27.007 unless another source is named).

use super::parse::{Command, Malformed, Op, Params};
use super::radio::{MAX_CID, Registration};
use super::{Outcome, Radio, Settings, Terminal};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::Instant;

/// Codes of +CME ERROR (TS 27.007, 9.2).
#[allow(missing_docs)]
pub mod cme {
    pub const NOT_ALLOWED: u16 = 3;
    pub const NOT_SUPPORTED: u16 = 4;
    pub const SIM_PIN: u16 = 11;
    pub const SIM_PUK: u16 = 12;
    pub const PASSWORD: u16 = 16;
    pub const INDEX: u16 = 21;
    pub const NO_NETWORK: u16 = 30;
    pub const INCORRECT: u16 = 50;
    pub const CONTEXT: u16 = 148;

    /// The code in words.
    pub fn text(code: u16) -> &'static str {
        match code {
            NOT_ALLOWED => "operation not allowed",
            NOT_SUPPORTED => "operation not supported",
            SIM_PIN => "SIM PIN required",
            SIM_PUK => "SIM PUK required",
            PASSWORD => "incorrect password",
            INDEX => "invalid index",
            NO_NETWORK => "no network service",
            INCORRECT => "Incorrect parameters",
            CONTEXT => "unspecified GPRS error",
            _ => "unknown",
        }
    }
}

/// What a command works on.
pub struct Cx<'a> {
    /// Time.
    pub now: Instant,
    /// Who typed it.
    pub terminal: &'a mut Terminal,
    /// The radio.
    pub radio: &'a mut Radio,
    /// Where answers go.
    pub out: &'a mut Vec<u8>,
}

impl Cx<'_> {
    fn say(&mut self, text: &str) {
        self.terminal.line_out(text, self.out);
    }

    fn set(&mut self) -> &mut Settings {
        &mut self.terminal.settings
    }
}

type Handler = fn(&mut Cx<'_>, Op<'_>) -> Result<Outcome, Malformed>;

/// The registration commands, in the order of [`Settings::reg`].
pub const REG_NAMES: [&str; 3] = ["+CREG", "+CGREG", "+CEREG"];

/// Every extended command.
const TABLE: &[(&str, Handler)] = &[
    ("+GMI", |c, op| identity(c, op, |r| r.identity.manufacturer.clone())),
    ("+GMM", |c, op| identity(c, op, |r| r.identity.model.clone())),
    ("+GMR", |c, op| identity(c, op, |r| r.identity.revision.clone())),
    ("+GSN", |c, op| identity(c, op, |r| r.identity.imei.clone())),
    ("+GCAP", |c, op| identity(c, op, |_| "+GCAP: +CGSM".into())),
    ("+CGMI", |c, op| identity(c, op, |r| r.identity.manufacturer.clone())),
    ("+CGMM", |c, op| identity(c, op, |r| r.identity.model.clone())),
    ("+CGMR", |c, op| identity(c, op, |r| r.identity.revision.clone())),
    ("+CGSN", cgsn),
    ("+CIMI", |c, op| sim_text(c, op, |r| r.identity.imsi.clone())),
    ("+CCID", |c, op| sim_text(c, op, |r| format!("+CCID: {}", r.identity.iccid))),
    ("+CNUM", |c, op| sim_text(c, op, |r| format!("+CNUM: ,\"{}\",145", r.identity.number))),
    ("+CPIN", cpin),
    ("+CREG", |c, op| creg(c, op, 0)),
    ("+CGREG", |c, op| creg(c, op, 1)),
    ("+CEREG", |c, op| creg(c, op, 2)),
    ("+COPS", cops),
    ("+CSQ", csq),
    ("+CGDCONT", cgdcont),
    ("+CGATT", cgatt),
    ("+CGACT", cgact),
    ("+CGPADDR", cgpaddr),
    ("+CFUN", cfun),
    ("+CMEE", cmee),
    ("+CPAS", cpas),
    ("+CLAC", clac),
];

/// Runs one command.
pub fn run(c: &mut Cx<'_>, command: &Command<'_>) -> Outcome {
    match *command {
        Command::Basic(letter, n) => basic(c, letter, n),
        Command::Amp(letter, n) => match (letter, n) {
            ('F', 0) => reset(c),
            ('C' | 'K' | 'S', 0..=3) | ('D', 0..=2) | ('W', 0 | 1) => Outcome::Ok,
            _ => Outcome::Error,
        },
        Command::SRead(n) => match c.set().s.get(n as usize).copied() {
            Some(v) => {
                c.say(&format!("{v:03}"));
                Outcome::Ok
            }
            None => Outcome::Error,
        },
        Command::SSet(n, v) => s_set(c, n, v),
        Command::Dial(number) => dial(c, number),
        Command::Extended(name, op) => match TABLE.iter().find(|(n, _)| *n == name) {
            Some((_, handler)) => handler(c, op).unwrap_or(Outcome::Error),
            None => Outcome::Cme(cme::NOT_SUPPORTED),
        },
    }
}

fn basic(c: &mut Cx<'_>, letter: char, n: u32) -> Outcome {
    match (letter, n) {
        ('E', 0 | 1) => c.set().echo = n == 1,
        ('V', 0 | 1) => c.set().verbose = n == 1,
        ('Q', 0 | 1) => c.set().quiet = n == 1,
        ('X', 0..=4) => c.set().x = n,
        ('Z', 0 | 1) => return reset(c),
        ('I', 0..=9) => return info(c, n),
        ('H', 0) => {
            c.radio.hang_up(false);
            c.terminal.dialled = false;
        }
        // Nobody calls this modem, and there is no online state to go back to.
        ('A' | 'O', _) => return Outcome::NoCarrier,
        ('L' | 'M', 0..=3) | ('P' | 'T', 0) => {}
        _ => return Outcome::Error,
    }
    Outcome::Ok
}

/// Z and &F: the settings of a new terminal.
fn reset(c: &mut Cx<'_>) -> Outcome {
    *c.set() = Settings::new(c.terminal.default_echo);
    Outcome::Ok
}

fn info(c: &mut Cx<'_>, n: u32) -> Outcome {
    let i = c.radio.identity.clone();
    match n {
        0 => {
            let lines = [
                format!("Manufacturer: {}", i.manufacturer),
                format!("Model: {}", i.model),
                format!("Revision: {}", i.revision),
                format!("IMEI: {}", i.imei),
                String::from("+GCAP: +CGSM"),
            ];
            c.say(&lines.join("\r\n"));
        }
        1 => c.say(&i.model),
        2 => c.say(&i.manufacturer),
        3 => c.say(&i.revision),
        _ => {}
    }
    Outcome::Ok
}

fn s_set(c: &mut Cx<'_>, n: u32, v: u32) -> Outcome {
    let max = match n {
        3..=5 => 127,
        0 | 6..=8 | 10 => 255,
        _ => return Outcome::Error,
    };
    match u8::try_from(v) {
        Ok(b) if v <= max => c.set().s[n as usize] = b,
        _ => return Outcome::Error,
    }
    Outcome::Ok
}

/// `*99#`, `*99*#`, `*99***CID#` (TS 27.007, 10.2.1.1): the packet data call. There is no voice.
fn dial(c: &mut Cx<'_>, number: &str) -> Outcome {
    if !c.radio.is_unlocked() {
        return Outcome::Cme(sim_error(c));
    }
    let n = number.trim_start_matches(['T', 'P']);
    let Some(code) = n.strip_prefix("*99").and_then(|n| n.strip_suffix('#')) else {
        return Outcome::NoCarrier;
    };
    let cid = match code.split('*').nth(3) {
        Some(d) => d.parse().ok(),
        None if code.is_empty() || code.starts_with('*') => c.radio.contexts().first().map(|x| x.cid),
        None => None,
    };
    match cid {
        Some(cid) if c.radio.activate(cid, true) => Outcome::Connect,
        _ => Outcome::NoCarrier,
    }
}

fn sim_error(c: &Cx<'_>) -> u16 {
    if c.radio.sim() == "SIM PUK" { cme::SIM_PUK } else { cme::SIM_PIN }
}

fn identity(c: &mut Cx<'_>, op: Op<'_>, text: fn(&Radio) -> String) -> Result<Outcome, Malformed> {
    match op {
        Op::Exec => {
            let t = text(c.radio);
            c.say(&t);
        }
        Op::Test => {}
        _ => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn sim_text(c: &mut Cx<'_>, op: Op<'_>, text: fn(&Radio) -> String) -> Result<Outcome, Malformed> {
    match op {
        Op::Exec | Op::Read if !c.radio.is_unlocked() => Ok(Outcome::Cme(sim_error(c))),
        Op::Read => identity(c, Op::Exec, text),
        op => identity(c, op, text),
    }
}

fn cgsn(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    let imei = c.radio.identity.imei.clone();
    match op {
        Op::Exec => c.say(&imei),
        Op::Test => c.say("+CGSN: (0-3)"),
        Op::Set(mut p) => match p.number(1)? {
            0 => c.say(&imei),
            1 => c.say(&format!("+CGSN: \"{imei}\"")),
            // 14 digits of IMEI and a software version; the version alone.
            2 => c.say(&format!("+CGSN: \"{}00\"", imei.get(..14).unwrap_or(&imei))),
            3 => c.say("+CGSN: \"00\""),
            _ => return Ok(Outcome::Error),
        },
        Op::Read => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cpin(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Read => {
            let sim = c.radio.sim();
            c.say(&format!("+CPIN: {sim}"));
        }
        Op::Test => {}
        Op::Set(mut p) => {
            // Terminals send the PIN as a string or as bare digits; a number would lose its zeros.
            let pin = match p.take()? {
                super::parse::Param::Text(t) => t,
                super::parse::Param::Number(n) => format!("{n:04}"),
                super::parse::Param::Empty => return Ok(Outcome::Error),
            };
            return Ok(match c.radio.sim() {
                "READY" => Outcome::Cme(cme::NOT_ALLOWED),
                "SIM PUK" => Outcome::Cme(cme::SIM_PUK),
                _ if c.radio.enter_pin(c.now, &pin) => Outcome::Ok,
                _ => Outcome::Cme(cme::PASSWORD),
            });
        }
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

/// Location, cell and technology (7: E-UTRAN) behind a registration state, when the terminal has asked for them.
pub fn cell(n: u32, r: Registration) -> &'static str {
    match (n, r) {
        (2, Registration::Home) => ",\"0001\",\"00000101\",7",
        _ => "",
    }
}

fn creg(c: &mut Cx<'_>, op: Op<'_>, which: usize) -> Result<Outcome, Malformed> {
    let name = REG_NAMES[which];
    match op {
        Op::Read => {
            let (n, r) = (c.set().reg[which], c.radio.registration());
            c.say(&format!("{name}: {n},{}{}", r as u8, cell(n, r)));
        }
        Op::Test => c.say(&format!("{name}: (0-2)")),
        Op::Set(p) => c.set().reg[which] = only_number(p, 0, 2)?,
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

/// The one parameter of a command: a number up to `max`.
fn only_number(mut p: Params<'_>, default: u32, max: u32) -> Result<u32, Malformed> {
    let n = p.number(default)?;
    if p.is_done() && n <= max { Ok(n) } else { Err(Malformed) }
}

fn cops(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    let id = c.radio.identity.clone();
    match op {
        Op::Read => {
            let mode = c.radio.cops_mode;
            let name = match c.radio.cops_format {
                0 => &id.operator,
                1 => &id.operator_short,
                _ => &id.plmn,
            };
            if c.radio.registration() == Registration::Home {
                c.say(&format!("+COPS: {mode},{},\"{name}\",7", c.radio.cops_format));
            } else {
                c.say(&format!("+COPS: {mode}"));
            }
        }
        Op::Test => {
            let now = if c.radio.registration() == Registration::Home { 2 } else { 1 };
            let (l, s, n) = (&id.operator, &id.operator_short, &id.plmn);
            c.say(&format!("+COPS: ({now},\"{l}\",\"{s}\",\"{n}\",7),,(0-4),(0-2)"));
        }
        Op::Set(mut p) => {
            let mode = p.number(0)?;
            let format = p.number(u32::from(c.radio.cops_format))?;
            let oper = p.text()?;
            let technology = p.number(7)?;
            if technology != 7 && mode == 1 {
                return Ok(Outcome::Cme(cme::NO_NETWORK)); // E-UTRAN is all there is
            }
            if mode > 4 || format > 2 || !p.is_done() {
                return Ok(Outcome::Error);
            }
            return Ok(cops_set(c, mode as u8, format as u8, oper));
        }
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cops_set(c: &mut Cx<'_>, mode: u8, format: u8, oper: Option<String>) -> Outcome {
    if mode != 3 && !c.radio.is_unlocked() {
        return Outcome::Cme(sim_error(c));
    }
    match mode {
        2 => {
            c.radio.cops_mode = 2;
            c.radio.leave();
            return Outcome::Ok;
        }
        3 => {
            c.radio.cops_format = format;
            return Outcome::Ok;
        }
        1 | 4 => {
            let Some(oper) = oper else { return Outcome::Error };
            let id = &c.radio.identity;
            let ours = [&id.operator, &id.operator_short, &id.plmn][usize::from(format)];
            if *ours != oper && mode == 1 {
                return Outcome::Cme(cme::NO_NETWORK);
            }
            c.radio.cops_format = format;
            c.radio.cops_mode = u8::from(*ours == oper);
        }
        _ => c.radio.cops_mode = 0,
    }
    c.radio.search(c.now);
    Outcome::Ok
}

fn csq(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Exec => {
            let known = c.radio.registration() == Registration::Home;
            let rssi = if known { c.radio.signal } else { 99 };
            c.say(&format!("+CSQ: {rssi},99"));
        }
        Op::Test => c.say("+CSQ: (0-31,99),(99)"),
        _ => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cgdcont(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Read => {
            let lines: Vec<String> = c
                .radio
                .contexts()
                .iter()
                .map(|x| format!("+CGDCONT: {},\"{}\",\"{}\",\"\",0,0", x.cid, x.kind, x.apn))
                .collect();
            if !lines.is_empty() {
                c.say(&lines.join("\r\n"));
            }
        }
        Op::Test => {
            let lines =
                ["IP", "IPV6", "IPV4V6"].map(|k| format!("+CGDCONT: (1-{MAX_CID}),\"{k}\",,,(0),(0)"));
            c.say(&lines.join("\r\n"));
        }
        Op::Set(mut p) => {
            let cid = p.number(0)?;
            if cid == 0 || cid > MAX_CID {
                return Ok(Outcome::Error);
            }
            if p.is_done() {
                c.radio.undefine(cid);
                return Ok(Outcome::Ok);
            }
            let kind = p.text()?.unwrap_or_else(|| "IP".into());
            let apn = p.text()?.unwrap_or_default();
            // An address and compressions may follow; this network sets addresses by DHCP and compresses nothing.
            let _address = p.text()?;
            let (data, header) = (p.number(0)?, p.number(0)?);
            let known = ["IP", "IPV6", "IPV4V6"].contains(&kind.as_str());
            if !known || data != 0 || header != 0 || !p.is_done() || apn.len() > 100 || apn.contains('"') {
                return Ok(Outcome::Error);
            }
            c.radio.define(cid, kind, apn);
        }
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cgatt(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Read => {
            let a = u8::from(c.radio.attached());
            c.say(&format!("+CGATT: {a}"));
        }
        Op::Test => c.say("+CGATT: (0,1)"),
        Op::Set(p) => {
            let on = only_number(p, 1, 1)? == 1;
            if !c.radio.set_attached(on) {
                return Ok(Outcome::Cme(cme::NO_NETWORK));
            }
        }
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

/// The context numbers that follow in `p`, or all that are defined.
fn cids(c: &Cx<'_>, mut p: Params<'_>) -> Result<Vec<u32>, Malformed> {
    if p.is_done() {
        return Ok(c.radio.contexts().iter().map(|x| x.cid).collect());
    }
    let mut v = Vec::new();
    while !p.is_done() {
        let n = p.number(0)?;
        if n == 0 || n > MAX_CID {
            return Err(Malformed);
        }
        v.push(n);
    }
    Ok(v)
}

fn cgact(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Read => {
            let x = c.radio.contexts().iter();
            let lines: Vec<_> = x.map(|x| format!("+CGACT: {},{}", x.cid, u8::from(x.active))).collect();
            if !lines.is_empty() {
                c.say(&lines.join("\r\n"));
            }
        }
        Op::Test => c.say("+CGACT: (0,1)"),
        Op::Set(mut p) => {
            let on = match p.number(1)? {
                n @ 0..=1 => n == 1,
                _ => return Ok(Outcome::Error),
            };
            for cid in cids(c, p)? {
                if !c.radio.activate(cid, on) {
                    return Ok(Outcome::Cme(if on { cme::CONTEXT } else { cme::INDEX }));
                }
            }
        }
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cgpaddr(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    let wanted = match op {
        Op::Exec => c.radio.contexts().iter().map(|x| x.cid).collect(),
        Op::Set(p) => cids(c, p)?,
        Op::Test => {
            let all: Vec<_> = c.radio.contexts().iter().map(|x| format!("{}", x.cid)).collect();
            c.say(&format!("+CGPADDR: ({})", all.join(",")));
            return Ok(Outcome::Ok);
        }
        Op::Read => return Ok(Outcome::Error),
    };
    let mut lines = Vec::new();
    for cid in wanted {
        match c.radio.contexts().iter().find(|x| x.cid == cid) {
            Some(x) if x.active => lines.push(format!("+CGPADDR: {cid},\"{}\"", c.radio.identity.address)),
            Some(_) => lines.push(format!("+CGPADDR: {cid}")),
            None => return Ok(Outcome::Cme(cme::INDEX)),
        }
    }
    if !lines.is_empty() {
        c.say(&lines.join("\r\n"));
    }
    Ok(Outcome::Ok)
}

fn cfun(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Read => {
            let f = c.radio.fun();
            c.say(&format!("+CFUN: {f}"));
        }
        Op::Test => c.say("+CFUN: (0,1,4),(0,1)"),
        Op::Set(mut p) => {
            let (level, reset) = (p.number(1)?, p.number(0)?);
            if !matches!(level, 0 | 1 | 4) || reset > 1 || !p.is_done() {
                return Ok(Outcome::Error);
            }
            if reset == 1 {
                c.radio.restart = true;
            } else {
                c.radio.set_fun(c.now, level as u8);
            }
        }
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cmee(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Read => {
            let n = c.set().cmee;
            c.say(&format!("+CMEE: {n}"));
        }
        Op::Test => c.say("+CMEE: (0-2)"),
        Op::Set(p) => c.set().cmee = only_number(p, 0, 2)?,
        Op::Exec => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn cpas(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Exec => {
            // 0 ready, 4 call in progress, 5 asleep.
            let n = if c.radio.fun() != 1 { 5 } else { 4 * u8::from(c.radio.link()) };
            c.say(&format!("+CPAS: {n}"));
        }
        Op::Test => c.say("+CPAS: (0,4,5)"),
        _ => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

fn clac(c: &mut Cx<'_>, op: Op<'_>) -> Result<Outcome, Malformed> {
    match op {
        Op::Exec => {
            let names: Vec<&str> = TABLE.iter().map(|(n, _)| *n).collect();
            c.say(&names.join("\r\n"));
        }
        Op::Test => {}
        _ => return Ok(Outcome::Error),
    }
    Ok(Outcome::Ok)
}

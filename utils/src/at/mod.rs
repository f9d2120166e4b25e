//! at: commands and chat scripts for the modem behind an AT port.

pub mod chat;
pub mod modems;

use crate::tool::{Failure, Outcome, print};
use chat::{Answer, Line, Tty, ask};
use iopkt_sys::paths::Root;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The usage lines.
pub const USAGE: &str = "\
usage: at [-d device] [-t seconds] [--json] identity
       at [-d device] [-t seconds] [--json] pin [PIN]
       at [-d device] [-t seconds] [--json] register
       at [-d device] [-t seconds] [--json] context [cid [[type] apn]]
       at [-d device] [-t seconds] [--json] call [on|off [cid]]
       at [-d device] [-t seconds] script file
       at [-d device] [-t seconds] monitor
       at [-d device] [-t seconds] AT...";

struct At<'a> {
    m: &'a mut dyn Line,
    wait: Duration,
    json: bool,
}

/// Runs the tool.
///
/// # Errors
/// Usage, no port, no answer, or what the modem refused.
pub fn run(args: &[String]) -> Outcome {
    let p = crate::getopt::parse("d:t:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if p.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let wait = match p.value('t') {
        None => 60,
        Some(t) => t
            .parse::<u64>()
            .ok()
            .filter(|n| (1..=3600).contains(n))
            .ok_or_else(|| Failure::usage(format!("-t {t}: give seconds from 1 to 3600"), USAGE))?,
    };
    if p.rest.is_empty() {
        return Err(Failure::usage("which command?", USAGE));
    }
    let path = device(p.value('d'))?;
    let mut tty = Tty::open(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    At { m: &mut tty, wait: Duration::from_secs(wait), json: p.has('J') }.command(&p.rest)
}

/// The port: as named (under the root, where it is there), or the first there is.
fn device(name: Option<&str>) -> Result<PathBuf, Failure> {
    let root = Root::find();
    if let Some(n) = name {
        let n = if n.contains('/') { n.to_string() } else { format!("/dev/{n}") };
        let below = root.path(&n);
        return Ok(if below.exists() { below } else { PathBuf::from(n) });
    }
    let dir = root.path("/dev");
    let names = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.file_name());
    let mut ports: Vec<String> = names
        .filter_map(|n| n.into_string().ok())
        .filter(|n| n.strip_prefix("ser").is_some_and(|n| n.starts_with("ecm") || n.starts_with("ncm")))
        .collect();
    ports.sort_by_key(|n| (n.len(), n.clone()));
    match ports.first() {
        Some(n) => Ok(dir.join(n)),
        None => Err(Failure::new(format!(
            "no AT port under {}; start the stack with a modem (io-pkt-v4-hc -d ecm), or name a port with -d",
            dir.display()
        ))),
    }
}

fn fields(v: &str) -> Vec<String> {
    v.split(',').map(|f| f.trim().trim_matches('"').to_string()).collect()
}

impl At<'_> {
    fn command(&mut self, words: &[String]) -> Outcome {
        let rest: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        match (words[0].as_str(), rest.as_slice()) {
            (w, _) if w.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("at")) => self.plain(words),
            ("monitor", []) => self.monitor(),
            ("script", [file]) => self.script(file),
            ("identity", []) => self.quiet()?.identity(),
            ("pin", []) => self.quiet()?.pin(None),
            ("pin", [pin]) => self.quiet()?.pin(Some(pin)),
            ("register", []) => self.quiet()?.register(),
            ("context", []) => self.quiet()?.contexts(),
            ("context", [cid]) => self.quiet()?.define(cid, None),
            ("context", [cid, apn]) => self.quiet()?.define(cid, Some(("IP", apn))),
            ("context", [cid, kind, apn]) => self.quiet()?.define(cid, Some((kind, apn))),
            ("call", []) => self.quiet()?.status(),
            ("call", [what @ ("on" | "off")]) => self.quiet()?.call(*what == "on", "1"),
            ("call", [what @ ("on" | "off"), cid]) => self.quiet()?.call(*what == "on", cid),
            (w, _) => {
                Err(Failure::usage(format!("{w}: no such command, or other words than it takes"), USAGE))
            }
        }
    }

    fn ask(&mut self, command: &str) -> Result<Answer, Failure> {
        ask(self.m, command, self.wait).map_err(Failure::new)
    }

    /// As [`At::ask`]; a refusal is a failure.
    fn must(&mut self, command: &str) -> Result<Answer, Failure> {
        let a = self.ask(command)?;
        if a.ok() { Ok(a) } else { Err(Failure::new(format!("{command}: {}", a.result))) }
    }

    /// No echo, errors in words: for the scripts.
    fn quiet(&mut self) -> Result<&mut Self, Failure> {
        self.ask("ATE0")?;
        self.ask("AT+CMEE=2")?;
        Ok(self)
    }

    fn show(&self, list: &[(&str, String)]) -> Outcome {
        if self.json {
            let m: Map<String, Value> =
                list.iter().map(|(k, v)| (k.to_lowercase().replace(' ', "_"), json!(v))).collect();
            return print(&format!("{}\n", Value::Object(m)));
        }
        print(&list.iter().map(|(k, v)| format!("{k:<15}: {v}\n")).collect::<String>())
    }

    fn plain(&mut self, lines: &[String]) -> Outcome {
        let mut code = 0;
        for l in lines {
            let a = self.ask(l)?;
            print(&a.lines.iter().chain([&a.result]).map(|l| format!("{l}\n")).collect::<String>())?;
            code = code.max(i32::from(!a.ok()));
        }
        Ok(code)
    }

    fn monitor(&mut self) -> Outcome {
        loop {
            if let Some(l) =
                self.m.line(Duration::from_secs(3600)).map_err(|e| Failure::new(e.to_string()))?
            {
                print(&format!("{l}\n"))?;
            }
        }
    }

    /// A chat script: a line is a command that must succeed; `-` before it: or not; `wait TEXT` waits for a line
    /// that contains TEXT, `sleep N` for N seconds; `#` begins a comment.
    fn script(&mut self, file: &str) -> Outcome {
        let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{file}: {e}")))?;
        for (i, l) in text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())) {
            let at = |f: Failure| Failure::new(format!("{file}:{i}: {}", f.message));
            if l.is_empty() || l.starts_with('#') {
                continue;
            }
            if let Some(t) = l.strip_prefix("wait ") {
                self.wait_for(t.trim()).map_err(at)?;
            } else if let Some(n) = l.strip_prefix("sleep ").and_then(|n| n.trim().parse::<u64>().ok()) {
                std::thread::sleep(Duration::from_secs(n.min(3600)));
            } else {
                let (must, command) = l.strip_prefix('-').map_or((true, l), |c| (false, c.trim()));
                let a = if must { self.must(command) } else { self.ask(command) }.map_err(at)?;
                print(&a.lines.iter().map(|l| format!("{l}\n")).collect::<String>())?;
            }
        }
        Ok(0)
    }

    fn wait_for(&mut self, text: &str) -> Result<(), Failure> {
        let end = Instant::now() + self.wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.m.line(left).map_err(|e| Failure::new(e.to_string()))? {
                Some(l) if l.contains(text) => return Ok(()),
                Some(_) => {}
                None => return Err(Failure::new(format!("no \"{text}\" within {} s", self.wait.as_secs()))),
            }
        }
    }

    fn identity(&mut self) -> Outcome {
        let mut list = Vec::new();
        for (name, command) in [
            ("Manufacturer", "AT+CGMI"),
            ("Model", "AT+CGMM"),
            ("Revision", "AT+CGMR"),
            ("IMEI", "AT+CGSN"),
            ("IMSI", "AT+CIMI"),
            ("ICCID", "AT+CCID"),
        ] {
            let a = self.ask(command)?;
            // The SIM's own may be locked; the rest is worth showing.
            let v = if a.ok() { a.first() } else { format!("({})", a.result) };
            list.push((name, v.split_once(": ").map_or(v.clone(), |s| s.1.to_string())));
        }
        self.show(&list)
    }

    fn sim(&mut self) -> Result<String, Failure> {
        let a = self.must("AT+CPIN?")?;
        Ok(a.value("+CPIN").unwrap_or_default().to_string())
    }

    fn pin(&mut self, pin: Option<&str>) -> Outcome {
        if let Some(p) = pin {
            if !(4..=8).contains(&p.len()) || !p.bytes().all(|c| c.is_ascii_digit()) {
                return Err(Failure::usage("a PIN has 4 to 8 digits", USAGE));
            }
            match self.sim()?.as_str() {
                "READY" => {}
                // One try too many locks the SIM: only where a PIN is what it wants.
                "SIM PIN" => drop(self.must(&format!("AT+CPIN=\"{p}\""))?),
                other => return Err(Failure::new(format!("the SIM wants {other}, not its PIN"))),
            }
        }
        let sim = self.sim()?;
        self.show(&[("SIM", sim)])
    }

    /// Waits until the modem is registered.
    fn register(&mut self) -> Outcome {
        let end = Instant::now() + self.wait;
        let state = loop {
            let mut best = None;
            for name in ["+CEREG", "+CGREG", "+CREG"] {
                let a = self.ask(&format!("AT{name}?"))?;
                let f = fields(a.value(name).unwrap_or_default());
                best = best.or(f.get(1).filter(|s| ["1", "5"].contains(&s.as_str())).cloned());
            }
            match best {
                Some(s) => break s,
                None if Instant::now() >= end => {
                    let sim = self.sim()?;
                    let s = self.wait.as_secs();
                    return Err(Failure::new(format!(
                        "not registered within {s} s (SIM: {sim}); see at pin"
                    )));
                }
                None => std::thread::sleep(Duration::from_millis(250)),
            }
        };
        let operator = self.ask("AT+COPS?")?;
        let operator =
            fields(operator.value("+COPS").unwrap_or_default()).get(2).cloned().unwrap_or_default();
        let csq = self.ask("AT+CSQ")?;
        let rssi = fields(csq.value("+CSQ").unwrap_or_default()).first().cloned().unwrap_or_default();
        let signal = match rssi.parse::<i32>() {
            Ok(n @ 0..=31) => format!("{} dBm", 2 * n - 113),
            _ => "unknown".into(),
        };
        let state = if state == "5" { "roaming" } else { "home" };
        self.show(&[("Registration", state.into()), ("Operator", operator), ("Signal", signal)])
    }

    /// The contexts: number, type, access point, whether active, address.
    fn list(&mut self) -> Result<Vec<[String; 5]>, Failure> {
        let (defined, active) = (self.must("AT+CGDCONT?")?, self.ask("AT+CGACT?")?);
        let value = |l: &String, n: &str| l.strip_prefix(n).map(|v| fields(v.trim_start_matches(':')));
        let mut out = Vec::new();
        for f in defined.lines.iter().filter_map(|l| value(l, "+CGDCONT")) {
            let get = |i: usize| f.get(i).cloned().unwrap_or_default();
            let cid = get(0);
            let on = active.lines.iter().filter_map(|l| value(l, "+CGACT"));
            let on = on.into_iter().any(|a| a.first() == Some(&cid) && a.get(1).is_some_and(|s| s == "1"));
            let address = if on {
                self.ask(&format!("AT+CGPADDR={cid}"))?
            } else {
                Answer { lines: vec![], result: String::new() }
            };
            let address =
                fields(address.value("+CGPADDR").unwrap_or_default()).get(1).cloned().unwrap_or_default();
            out.push([cid, get(1), get(2), if on { "yes" } else { "no" }.to_string(), address]);
        }
        Ok(out)
    }

    fn contexts(&mut self) -> Outcome {
        let list = self.list()?;
        if self.json {
            let all: Vec<Value> = list
                .iter()
                .map(|[cid, kind, apn, on, a]| {
                    json!({"cid": cid.parse::<u32>().ok(), "type": kind, "apn": apn, "active": on == "yes", "address": a})
                })
                .collect();
            return print(&format!("{}\n", Value::Array(all)));
        }
        let mut t = format!("{:<4} {:<7} {:<24} {:<7} {}\n", "CID", "Type", "APN", "Active", "Address");
        for [cid, kind, apn, on, a] in list {
            t.push_str(format!("{cid:<4} {kind:<7} {apn:<24} {on:<7} {a}").trim_end());
            t.push('\n');
        }
        print(&t)
    }

    fn cid(cid: &str) -> Result<u32, Failure> {
        let n = cid.parse::<u32>().ok().filter(|n| (1..=255).contains(n));
        n.ok_or_else(|| Failure::usage(format!("{cid}: a context has a number from 1 on"), USAGE))
    }

    fn define(&mut self, cid: &str, what: Option<(&str, &str)>) -> Outcome {
        let n = Self::cid(cid)?;
        match what {
            None => self.must(&format!("AT+CGDCONT={n}"))?, // undefines it
            Some((kind, apn)) if !apn.contains(['"', ',', '\r', '\n']) => {
                self.must(&format!("AT+CGDCONT={n},\"{}\",\"{apn}\"", kind.to_uppercase()))?
            }
            Some((_, apn)) => {
                return Err(Failure::usage(format!("{apn}: no name of an access point"), USAGE));
            }
        };
        self.contexts()
    }

    fn status(&mut self) -> Outcome {
        let list = self.list()?;
        let on: Vec<String> = list.iter().filter(|c| c[3] == "yes").map(|c| c[0].clone()).collect();
        let state = if on.is_empty() { "off" } else { "on" };
        self.show(&[("Data call", state.into()), ("Contexts", on.join(" "))])
    }

    /// Makes the data call or ends it, in the maker's way, else in the common one.
    fn call(&mut self, on: bool, cid: &str) -> Outcome {
        let n = Self::cid(cid)?.to_string();
        let f = modems::family(&self.must("AT+CGMI")?.first());
        let pick = |f: modems::Family| if on { f.on } else { f.off };
        for c in pick(f) {
            let a = self.ask(&c.replace("{cid}", &n))?;
            if !a.ok() && f != modems::COMMON {
                for c in pick(modems::COMMON) {
                    self.must(&c.replace("{cid}", &n))?;
                }
                break;
            } else if !a.ok() {
                return Err(Failure::new(format!("{c}: {}; see at register", a.result)));
            }
        }
        self.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A modem that answers by a table.
    struct Fake {
        table: Vec<(&'static str, &'static str)>,
        asked: Vec<String>,
        lines: VecDeque<String>,
    }

    impl Line for Fake {
        fn send(&mut self, text: &str) -> std::io::Result<()> {
            self.asked.push(text.into());
            let a = self.table.iter().find(|t| t.0 == text).map_or("ERROR", |t| t.1);
            self.lines.extend(a.split('|').map(str::to_string));
            Ok(())
        }
        fn line(&mut self, _: Duration) -> std::io::Result<Option<String>> {
            Ok(self.lines.pop_front())
        }
    }

    fn with(table: &[(&'static str, &'static str)], words: &str) -> (Outcome, Vec<String>) {
        let table = [&[("ATE0", "OK"), ("AT+CMEE=2", "OK")], table].concat();
        let mut f = Fake { table, asked: Vec::new(), lines: VecDeque::new() };
        let words: Vec<String> = words.split(' ').map(str::to_string).collect();
        let r = At { m: &mut f, wait: Duration::from_secs(1), json: false }.command(&words);
        (r, f.asked)
    }

    #[test]
    fn the_maker_s_way_and_the_common_one() {
        let list = [("AT+CGDCONT?", "OK"), ("AT+CGACT?", "OK")];
        let t = [&list[..], &[("AT+CGMI", "huawei|OK"), ("AT^NDISDUP=2,1", "OK")]].concat();
        let (r, asked) = with(&t, "call on 2");
        assert!(r == Ok(0) && asked.contains(&"AT^NDISDUP=2,1".into()), "{asked:?}");
        let t = [&list[..], &[("AT+CGMI", "ZTE|OK"), ("AT+CGATT=1", "OK"), ("AT+CGACT=1,1", "OK")]].concat();
        let (r, asked) = with(&t, "call on");
        assert!(
            r == Ok(0) && asked.contains(&"AT+ZGACT=1,1".into()) && asked.contains(&"AT+CGACT=1,1".into())
        );
        let (r, _) = with(&[("AT+CGMI", "X|OK")], "call on");
        assert!(r.unwrap_err().message.contains("AT+CGATT=1: ERROR"));
    }

    #[test]
    fn a_pin_is_only_tried_where_one_is_wanted() {
        let (r, asked) = with(&[("AT+CPIN?", "+CPIN: SIM PUK|OK")], "pin 1234");
        assert!(r.unwrap_err().message.contains("SIM PUK") && !asked.iter().any(|a| a.contains("CPIN=")));
        let (r, asked) = with(&[("AT+CPIN?", "+CPIN: READY|OK")], "pin 1234");
        assert!(r == Ok(0) && !asked.iter().any(|a| a.contains("CPIN=")));
        assert!(with(&[], "pin 12x4").0.unwrap_err().message.contains("4 to 8 digits"));
    }

    #[test]
    fn words_are_checked() {
        for w in ["nonsense", "call maybe", "context 0 internet", "context 1 a\"b", "identity x"] {
            assert!(with(&[], w).0.is_err(), "{w}");
        }
        assert_eq!(with(&[("AT+X", "+X: 1|OK")], "AT+X AT+Y").0, Ok(1), "one was refused");
        let (r, _) = with(&[], "pin");
        assert!(r.unwrap_err().message.contains("AT+CPIN?: ERROR"));
    }
}

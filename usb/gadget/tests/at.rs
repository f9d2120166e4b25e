//! AT commands: grammar, answers, both ways in.

mod common;

use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_gadget::Event;
use iopkt_gadget::at::{Identity, Radio, Terminal};
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::modem::descriptors::*;
use iopkt_usbip::cdc::{self, Notification};
use iopkt_usbip::setup::Setup;
use proptest::prelude::*;

struct Desk {
    t: Terminal,
    r: Radio,
    now: Instant,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            t: Terminal::new(false),
            r: Radio::new(Identity::default(), None, true),
            now: Instant::from_millis(1),
        }
    }

    fn with_pin(pin: &str) -> Desk {
        Desk { r: Radio::new(Identity::default(), Some(pin.into()), true), ..Desk::new() }
    }

    /// Types bytes as they are.
    fn raw(&mut self, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        self.t.input(self.now, bytes, &mut self.r, &mut out);
        String::from_utf8_lossy(&out).into()
    }

    /// Types a line; the lines of the answer, joined by `|`.
    fn say(&mut self, line: &str) -> String {
        let a = self.raw(format!("{line}\r").as_bytes());
        a.split("\r\n").filter(|l| !l.is_empty()).collect::<Vec<_>>().join("|")
    }
}

#[test]
fn a_table_of_commands() {
    let id = Identity::default();
    let (man, model, rev) = (&id.manufacturer, &id.model, &id.revision);
    let table: &[(&str, String)] = &[
        ("AT", "OK".into()),
        ("at", "OK".into()),
        ("aT", "OK".into()),
        ("A", String::new()),
        ("xyzAT", "OK".into()),
        ("AT  E0  V1", "OK".into()),
        ("ATE", "OK".into()),
        ("ATE2", "ERROR".into()),
        (
            "ATI",
            format!("Manufacturer: {man}|Model: {model}|Revision: {rev}|IMEI: {}|+GCAP: +CGSM|OK", id.imei),
        ),
        ("ATI3", format!("{rev}|OK")),
        ("ATI99", "ERROR".into()),
        ("AT+CGMI", format!("{man}|OK")),
        ("AT+CGMM", format!("{model}|OK")),
        ("AT+CGMR", format!("{rev}|OK")),
        ("AT+CGSN", format!("{}|OK", id.imei)),
        ("AT+CGSN=1", format!("+CGSN: \"{}\"|OK", id.imei)),
        ("AT+CGSN=9", "ERROR".into()),
        ("AT+CIMI", format!("{}|OK", id.imsi)),
        ("AT+CCID", format!("+CCID: {}|OK", id.iccid)),
        ("AT+CPIN?", "+CPIN: READY|OK".into()),
        ("AT+CPIN=\"1234\"", "ERROR".into()),
        ("AT+CREG?", "+CREG: 0,1|OK".into()),
        ("AT+CGREG?", "+CGREG: 0,1|OK".into()),
        ("AT+CEREG?", "+CEREG: 0,1|OK".into()),
        ("AT+CEREG=2;+CEREG?", "+CEREG: 2,1,\"0001\",\"00000101\",7|OK".into()),
        ("AT+CREG=3", "ERROR".into()),
        ("AT+CREG=?", "+CREG: (0-2)|OK".into()),
        ("AT+COPS?", "+COPS: 0,0,\"Test Network\",7|OK".into()),
        ("AT+COPS=3,2;+COPS?", "+COPS: 0,2,\"00101\",7|OK".into()),
        ("AT+COPS=?", "+COPS: (2,\"Test Network\",\"Test\",\"00101\",7),,(0-4),(0-2)|OK".into()),
        ("AT+CSQ", "+CSQ: 24,99|OK".into()),
        ("AT+CGDCONT?", "+CGDCONT: 1,\"IP\",\"internet\",\"\",0,0|OK".into()),
        ("AT+CGDCONT=2,\"IP\",\"lab\"", "OK".into()),
        ("AT+CGDCONT=2,\"x25\"", "ERROR".into()),
        ("AT+CGDCONT=9,\"IP\"", "ERROR".into()),
        ("AT+CGDCONT=1,\"IP", "ERROR".into()),
        ("AT+CGATT?", "+CGATT: 1|OK".into()),
        ("AT+CGACT?", "+CGACT: 1,1|OK".into()),
        ("AT+CGPADDR=1", "+CGPADDR: 1,\"10.0.0.184\"|OK".into()),
        ("AT+CFUN?", "+CFUN: 1|OK".into()),
        ("AT+CMEE?", "+CMEE: 0|OK".into()),
        ("AT+CPAS", "+CPAS: 4|OK".into()),
        ("AT+NONSENSE", "ERROR".into()),
        ("AT+CMEE=1;+NONSENSE", "+CME ERROR: 4".into()),
        ("AT+CMEE=2;+NONSENSE", "+CME ERROR: operation not supported".into()),
        ("AT+CMEE=2;+CGDCONT=99", "+CME ERROR: Incorrect parameters".into()),
        ("ATS3?", "013|OK".into()),
        ("ATS7=30S7?", "030|OK".into()),
        ("ATS99?", "ERROR".into()),
        ("ATS3=200", "ERROR".into()),
        ("AT&F&C1&D2", "OK".into()),
        ("AT&Q5", "ERROR".into()),
        ("ATH", "OK".into()),
        ("ATA", "NO CARRIER".into()),
        ("ATD5551234;", "NO CARRIER".into()),
        ("ATD*99#", "CONNECT".into()),
        ("ATDT*99***1#", "CONNECT".into()),
        ("ATD*99***7#", "NO CARRIER".into()),
        ("ATX1D*99#", "CONNECT 100000000".into()),
        ("ATQ1", String::new()),
        // Several in a line, one result; the first error ends the line.
        ("ATE0V1+CSQ;+CGATT?;+CREG=1", "+CSQ: 24,99|+CGATT: 1|OK".into()),
        ("AT+CSQ;+BAD;+CGATT?", "+CSQ: 24,99|ERROR".into()),
        ("AT+CSQ+CGATT?", "ERROR".into()),
        ("AT+", "ERROR".into()),
        ("AT;", "ERROR".into()),
        ("AT1", "ERROR".into()),
        ("AT+CSQ?=", "ERROR".into()),
    ];
    for (line, want) in table {
        assert_eq!(Desk::new().say(line), *want, "{line}");
    }
}

#[test]
fn framing_by_v_and_echo_by_e() {
    let mut d = Desk::new();
    assert_eq!(d.raw(b"AT\r"), "\r\nOK\r\n");
    assert_eq!(d.raw(b"AT+CSQ\r"), "\r\n+CSQ: 24,99\r\n\r\nOK\r\n");
    assert_eq!(d.raw(b"ATV0\r"), "0\r");
    assert_eq!(d.raw(b"AT+CSQ\r"), "+CSQ: 24,99\r\n0\r");
    assert_eq!(d.raw(b"AT?\r"), "4\r");
    assert_eq!(d.raw(b"ATZ\r"), "\r\nOK\r\n");
    assert_eq!(d.raw(b"ATE1\r"), "\r\nOK\r\n");
    assert_eq!(d.raw(b"AT\r\n"), "AT\r\r\nOK\r\n", "the line feed behind the end is not echoed");
    assert_eq!(d.raw(b"A/"), "A/\r\nOK\r\n", "repeats at once");
    assert_eq!(d.raw(b"ATX\x08\r"), "ATX\x08\r\r\nOK\r\n", "backspace");
}

#[test]
fn lines_that_never_end() {
    let mut d = Desk::new();
    assert_eq!(d.raw(&[b'A'; 100]), "");
    assert_eq!(d.raw(format!("AT{}\r", "E0".repeat(5000)).as_bytes()), "\r\nERROR\r\n");
    assert_eq!(d.say("AT"), "OK");
}

#[test]
fn a_sim_that_wants_its_pin() {
    let mut d = Desk::with_pin("0123");
    assert_eq!(d.say("AT+CMEE=1"), "OK");
    assert_eq!(d.say("AT+CPIN?"), "+CPIN: SIM PIN|OK");
    assert_eq!(d.say("AT+CIMI"), "+CME ERROR: 11");
    assert_eq!(d.say("ATD*99#"), "+CME ERROR: 11");
    assert_eq!(d.say("AT+CREG?"), "+CREG: 0,0|OK");
    assert_eq!(d.say("AT+CPIN=\"9999\""), "+CME ERROR: 16");
    assert_eq!(d.say("AT+CPIN=0123"), "OK");
    assert_eq!(d.say("AT+CREG?"), "+CREG: 0,2|OK");
    d.r.tick(d.r.deadline());
    assert_eq!(d.say("AT+CREG?"), "+CREG: 0,1|OK");
    assert!(d.r.link());
    let mut d = Desk::with_pin("0123");
    for _ in 0..3 {
        assert_eq!(d.say("AT+CPIN=\"9999\""), "ERROR");
    }
    assert_eq!(d.say("AT+CPIN?"), "+CPIN: SIM PUK|OK");
    assert_eq!(d.say("AT+CMEE=1;+CPIN=\"0123\""), "+CME ERROR: 12");
}

#[test]
fn contexts_and_the_call() {
    let mut d = Desk::new();
    assert!(d.r.link());
    assert_eq!(d.say("AT+CGACT=0,1;+CGACT?"), "+CGACT: 1,0|OK");
    assert!(!d.r.link());
    assert_eq!(d.say("AT+CGDCONT=2,\"IP\",\"lab\";+CGACT=1,2"), "OK");
    assert!(d.r.link());
    assert_eq!(d.say("AT+CGPADDR"), "+CGPADDR: 1|+CGPADDR: 2,\"10.0.0.184\"|OK");
    assert_eq!(d.say("AT+CGDCONT=2;+CGDCONT?"), "+CGDCONT: 1,\"IP\",\"internet\",\"\",0,0|OK");
    assert!(!d.r.link(), "an undefined context carries nothing");
    assert_eq!(d.say("AT+CGACT=1,5"), "ERROR");
    assert_eq!(d.say("AT+CGATT=0"), "OK");
    assert_eq!(d.say("ATD*99#"), "NO CARRIER");
    assert_eq!(d.say("AT+CGATT=1"), "OK");
    assert_eq!(d.say("ATD*99#"), "CONNECT");
    assert!(d.r.link());
}

#[test]
fn unsolicited_codes_go_to_who_asked_for_them() {
    let mut h = Host::up(ModemConfig::default());
    h.at("ATE0D*99#\r");
    assert_eq!(h.at("AT+CREG=1;+CEREG=2\r"), "\r\nOK\r\n");
    let a = h.at("AT+CFUN=4\r");
    assert_eq!(a, "\r\nOK\r\n\r\nNO CARRIER\r\n\r\n+CREG: 0\r\n\r\n+CEREG: 0\r\n");
    assert_eq!(h.notes(), [Notification::NetworkConnection(false)]);
    let a = h.at("AT+CFUN=1\r");
    assert_eq!(a, "\r\nOK\r\n\r\n+CREG: 2\r\n\r\n+CEREG: 2\r\n");
    h.wait(Duration::from_secs(1));
    assert_eq!(h.heard(), "\r\n+CREG: 1\r\n\r\n+CEREG: 1,\"0001\",\"00000101\",7\r\n");
    assert_eq!(h.notes()[0], Notification::NetworkConnection(true));
}

#[test]
fn a_modem_restarts_itself() {
    let mut h = Host::up(ModemConfig::default());
    assert_eq!(h.at("ATE0\r"), "ATE0\r\r\nOK\r\n");
    h.at("AT+CFUN=1,1\r");
    assert_eq!(h.out.events, [Event::Restart]);
}

#[test]
fn encapsulated_commands() {
    let mut h = Host::up(ModemConfig::default());
    let get = |n| cdc::get_encapsulated(ECM_CONTROL, n);
    assert_eq!(h.ok(get(64), &[]), b"", "nothing was said");
    h.ok(cdc::send_encapsulated(ECM_CONTROL, 7), b"AT+CSQ\r");
    assert_eq!(h.notes(), [Notification::ResponseAvailable]);
    assert_eq!(h.ok(get(10), &[]), b"\r\n+CSQ: 24");
    assert_eq!(h.notes(), [Notification::ResponseAvailable], "there is more");
    assert_eq!(h.ok(get(4096), &[]), b",99\r\n\r\nOK\r\n");
    assert!(h.notes().is_empty());
    // A line in two pieces, two answers before anybody looks.
    h.ok(cdc::send_encapsulated(ECM_CONTROL, 1), b"A");
    assert!(h.notes().is_empty());
    h.ok(cdc::send_encapsulated(ECM_CONTROL, 2), b"T\r");
    h.ok(cdc::send_encapsulated(ECM_CONTROL, 3), b"AT\r");
    assert_eq!(h.notes(), [Notification::ResponseAvailable]);
    assert_eq!(h.ok(get(4096), &[]), b"\r\nOK\r\n\r\nOK\r\n");
    // Terminals have settings of their own, the radio is one.
    h.ok(cdc::send_encapsulated(ECM_CONTROL, 5), b"ATV0\r");
    assert_eq!(h.ok(get(64), &[]), b"0\r");
    assert_eq!(h.at("AT\r"), "AT\r\r\nOK\r\n");
    h.ok(cdc::send_encapsulated(ECM_CONTROL, 4), b"ATH\r");
    h.ok(get(64), &[]);
    assert!(h.notes().contains(&Notification::NetworkConnection(false)));
}

#[test]
fn answers_that_nobody_fetches_are_bounded() {
    let mut h = Host::up(ModemConfig::default());
    for _ in 0..2000 {
        h.ok(cdc::send_encapsulated(ECM_CONTROL, 8), b"AT+CLAC\r");
    }
    let mut total = 0;
    loop {
        let n = h.ok(cdc::get_encapsulated(ECM_CONTROL, 4096), &[]).len();
        if n == 0 {
            break;
        }
        total += n;
    }
    assert!((60_000..=65_536).contains(&total), "{total}");
}

#[test]
fn the_serial_line() {
    let mut h = Host::up(ModemConfig::default());
    let coding = cdc::line_coding(9600);
    h.ok(cdc::set_line_coding(ACM_CONTROL), &coding);
    let get = Setup { request_type: 0xa1, request: 0x21, value: 0, index: 2, length: 7 };
    assert_eq!(h.ok(get, &[]), coding);
    h.stalls(Setup { length: 3, ..cdc::set_line_coding(ACM_CONTROL) }, &coding[..3]);
    h.ok(cdc::set_control_line_state(ACM_CONTROL, true, true), &[]);
    let state = h.drain(ACM_NOTIFY, 10);
    let carrier_and_dsr = Notification::SerialState(3);
    assert_eq!(Notification::parse(&state.concat()), Some((2, carrier_and_dsr)));
}

proptest! {
    /// No line of any bytes upsets the interpreter, and whatever was typed, a good line is answered afterwards.
    #[test]
    fn garbage_is_harmless(lines in proptest::collection::vec("[ -~\\x00-\\x1f]{0,80}", 0..8), at in any::<bool>()) {
        let mut d = Desk::new();
        for l in lines {
            let l = if at { format!("AT{l}\r") } else { l };
            d.raw(l.as_bytes());
        }
        d.raw(b"\r\rAT&F\r");
        // S3 to S5 may have been set to anything before.
        let mut fresh = Desk { r: d.r, ..Desk::new() };
        prop_assert_eq!(fresh.say("AT"), "OK");
    }

    #[test]
    fn extended_garbage_is_harmless(name in "[+^*$%][A-Z0-9]{0,8}", tail in "[=?,;\"0-9A-Z\\\\ ]{0,30}") {
        let mut d = Desk::new();
        let answer = d.say(&format!("AT{name}{tail}"));
        prop_assert!(answer.ends_with("OK") || answer.ends_with("ERROR") || answer.contains("CME ERROR") || answer.ends_with("CARRIER") || answer.starts_with("CONNECT"), "{}", answer);
    }

    #[test]
    fn every_command_survives_every_parameter(i in 0usize..40, tail in "(=\\?|\\?|=[0-9,\"a-z]{0,20})?") {
        let mut d = Desk::new();
        let names = d.say("AT+CLAC");
        let names: Vec<&str> = names.split('|').filter(|n| n.starts_with('+')).collect();
        let answer = d.say(&format!("AT{}{tail}", names[i % names.len()]));
        prop_assert!(answer.ends_with("OK") || answer.ends_with("ERROR"), "{}", answer);
    }
}

//! One modem, several programs, without I/O.
//!
//! A program that has the AT port open is an *opener*. The rules:
//!
//! - A line that nobody asked for goes to every opener.
//! - A command belongs to who wrote it. Until its final result code comes, what the modem says goes to that opener
//!   alone, byte by byte, but for unsolicited lines in between, which everybody gets, as whole lines. Commands of
//!   others wait their turn; nobody waits longer than [`TURN`] for a command that never ends.
//! - When the asker closes the port before its answer has come, the answer goes to everybody.
//! - Nobody has it open: lines are kept (the last `bufsz=` bytes) for the next who opens it.
//! - While there is one opener, its bytes pass as they are, in both directions.
//!
//! Memory is bounded by `bufsz=` for each opener and direction. An opener that does not read loses its oldest
//! lines as soon as another one could read them; while it is alone the modem is held back instead.

use super::lines::{Kind, kind};
use std::collections::VecDeque;

/// How long a command without final result keeps others waiting, nanoseconds: as long as the longest search for
/// networks takes.
pub const TURN: u64 = 180_000_000_000;

/// Stands for openers that have gone and left commands.
const NOBODY: u64 = u64::MAX;
/// Most of those.
const MAX_ORPHANS: usize = 16;

/// Longest line that is looked at.
const MAX_LINE: usize = 512;

#[derive(Debug)]
struct Opener {
    id: u64,
    /// From the program.
    input: VecDeque<u8>,
    /// To the program.
    output: VecDeque<u8>,
}

#[derive(Debug)]
struct Turn {
    /// Who asked; `None` when it has closed the port.
    who: Option<u64>,
    /// The command, upper case.
    command: String,
    /// Its line is with the modem.
    sent: bool,
    since: u64,
}

/// The port's state.
#[derive(Debug)]
pub struct Mux {
    size: usize,
    openers: Vec<Opener>,
    /// For whoever opens the port next.
    kept: VecDeque<u8>,
    turn: Option<Turn>,
    /// The modem's line under way.
    line: Vec<u8>,
    /// The modem waits for text (`> `).
    prompted: bool,
    /// Whose answer has just ended by a carriage return: the line feed behind it is his.
    ended: Option<u64>,
    /// Lines that an opener did not read in time.
    pub lost: u64,
}

impl Mux {
    /// A port with `size` bytes for each direction of each opener.
    pub fn new(size: usize) -> Mux {
        Mux {
            size,
            openers: Vec::new(),
            kept: VecDeque::new(),
            turn: None,
            line: Vec::new(),
            prompted: false,
            ended: None,
            lost: 0,
        }
    }

    /// A program opened the port: it gets what was kept.
    pub fn open(&mut self, id: u64) {
        let output = std::mem::take(&mut self.kept);
        self.openers.push(Opener { id, input: VecDeque::new(), output });
    }

    /// It closed it.
    pub fn close(&mut self, id: u64) {
        let Some(i) = self.openers.iter().position(|o| o.id == id) else { return };
        let o = self.openers.remove(i);
        if let Some(t) = self.turn.as_mut().filter(|t| t.who == Some(id)) {
            t.who = None;
            if !t.sent {
                self.turn = None;
            }
        }
        // What it wrote before it closed is still a command: it is passed on behalf of nobody.
        let lines = o.input.iter().any(|b| *b == b'\r' || *b == b'\n');
        let orphans = self.openers.len() - self.openers();
        if lines && orphans < MAX_ORPHANS {
            self.openers.push(Opener { id: NOBODY, input: o.input, output: VecDeque::new() });
        }
    }

    /// How many openers there are.
    pub fn openers(&self) -> usize {
        self.openers.iter().filter(|o| o.id != NOBODY).count()
    }

    /// How many bytes of this opener would be taken now.
    pub fn room(&self, id: u64) -> usize {
        self.openers.iter().find(|o| o.id == id).map_or(0, |o| self.size.saturating_sub(o.input.len()))
    }

    /// An opener wrote (at most [`Mux::room`]).
    pub fn typed(&mut self, id: u64, bytes: &[u8]) {
        if let Some(o) = self.openers.iter_mut().find(|o| o.id == id) {
            o.input.extend(bytes);
        }
    }

    /// Takes up to `max` bytes for the modem.
    pub fn for_modem(&mut self, max: usize, now: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < max {
            let Some(i) = self.next() else { break };
            let Some(b) = self.openers[i].input.pop_front() else { break };
            out.push(b);
            self.passed(i, b, now);
        }
        self.openers.retain(|o| o.id != NOBODY || !o.input.is_empty());
        out
    }

    /// Whose byte is next.
    fn next(&self) -> Option<usize> {
        let waits = |o: &Opener| !o.input.is_empty();
        match &self.turn {
            // Alone with the modem: everything passes as it comes.
            _ if self.openers.len() == 1 => Some(0).filter(|i| waits(&self.openers[*i])),
            None => self.openers.iter().position(waits),
            Some(t) if !t.sent || self.prompted => {
                let id = t.who.unwrap_or(NOBODY);
                self.openers.iter().position(|o| o.id == id && waits(o))
            }
            Some(_) => None,
        }
    }

    /// A byte of opener `i` went to the modem.
    fn passed(&mut self, i: usize, b: u8, now: u64) {
        let id = self.openers[i].id;
        let who = Some(id).filter(|i| *i != NOBODY);
        let ends = b == b'\r' || b == b'\n';
        if self.prompted {
            self.prompted &= b != 0x1a && b != 0x1b; // text ends by Ctrl-Z, or is given up by Escape
            return;
        }
        match &mut self.turn {
            Some(t) if !t.sent => {
                if ends {
                    t.sent = true;
                    // The next one gets its turn first after this.
                    if i + 1 < self.openers.len() {
                        let o = self.openers.remove(i);
                        self.openers.push(o);
                    }
                } else if t.command.len() < MAX_LINE {
                    t.command.push(char::from(b).to_ascii_uppercase());
                }
            }
            _ if ends => {}
            t => {
                *t = Some(Turn {
                    who,
                    command: char::from(b).to_ascii_uppercase().to_string(),
                    sent: false,
                    since: now,
                })
            }
        }
        if let Some(t) = &mut self.turn {
            t.since = now;
        }
    }

    /// How many bytes of the modem are taken now: as many as the one who reads fastest has room for.
    pub fn modem_room(&self) -> usize {
        let real = self.openers.iter().filter(|o| o.id != NOBODY);
        real.map(|o| self.size.saturating_sub(o.output.len())).max().unwrap_or(self.size)
    }

    /// The modem said something (at most [`Mux::modem_room`]).
    pub fn from_modem(&mut self, bytes: &[u8], now: u64) {
        for &b in bytes {
            if let Some(id) = self.ended.take().filter(|_| b == b'\n') {
                self.give(id, b"\n");
                continue;
            }
            let asker = self.turn.as_ref().filter(|t| t.sent).map(|t| t.who);
            match asker {
                Some(Some(id)) => self.give(id, &[b]),
                _ => self.give_all(&[b], None),
            }
            if b == b'\r' || b == b'\n' {
                self.end_of_line(now);
            } else if self.line.len() < MAX_LINE {
                self.line.push(b);
                self.prompted |= asker.is_some() && self.line == b"> ";
            }
        }
        self.trim();
    }

    fn end_of_line(&mut self, now: u64) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        let Some(t) = self.turn.as_mut().filter(|t| t.sent) else { return };
        t.since = now;
        match kind(&line, &t.command) {
            Kind::Final => (self.ended, self.turn, self.prompted) = (t.who, None, false),
            Kind::Unsolicited => {
                let who = t.who;
                // The asker has it already; an asker that has gone leaves everything to everybody.
                if who.is_some() {
                    self.give_all(format!("\r\n{}\r\n", line.trim()).as_bytes(), who);
                }
            }
            Kind::Answer | Kind::Empty => {}
        }
    }

    fn give(&mut self, id: u64, bytes: &[u8]) {
        if let Some(o) = self.openers.iter_mut().find(|o| o.id == id) {
            o.output.extend(bytes);
        }
    }

    fn give_all(&mut self, bytes: &[u8], but: Option<u64>) {
        if self.openers() == 0 {
            self.kept.extend(bytes);
        }
        for o in self.openers.iter_mut().filter(|o| o.id != NOBODY && Some(o.id) != but) {
            o.output.extend(bytes);
        }
    }

    /// Keeps buffers within their size: the oldest lines go.
    fn trim(&mut self) {
        let (size, mut lost) = (self.size, 0);
        for q in self.openers.iter_mut().map(|o| &mut o.output).chain([&mut self.kept]) {
            while q.len() > size {
                let line = q.iter().position(|b| *b == b'\n').map_or(q.len(), |i| i + 1);
                // An empty line belongs to the one behind it.
                let blank = q.iter().take(line).all(|b| *b == b'\r' || *b == b'\n');
                q.drain(..line);
                lost += u64::from(!blank);
            }
        }
        self.lost += lost;
    }

    /// What waits for an opener.
    pub fn output(&self, id: u64) -> &[u8] {
        self.openers.iter().find(|o| o.id == id).map_or(&[], |o| o.output.as_slices().0)
    }

    /// The first `n` bytes of that were written.
    pub fn written(&mut self, id: u64, n: usize) {
        if let Some(o) = self.openers.iter_mut().find(|o| o.id == id) {
            o.output.drain(..n.min(o.output.len()));
        }
    }

    /// When [`Mux::tick`] is wanted: only while somebody waits for another's command.
    pub fn deadline(&self) -> u64 {
        let owner = self.turn.as_ref().map(|t| t.who.unwrap_or(NOBODY));
        let waits =
            self.openers.len() > 1 && self.openers.iter().any(|o| Some(o.id) != owner && !o.input.is_empty());
        match &self.turn {
            Some(t) if waits => t.since.saturating_add(TURN),
            _ => u64::MAX,
        }
    }

    /// Ends a turn that takes too long.
    pub fn tick(&mut self, now: u64) {
        if now >= self.deadline() {
            (self.turn, self.prompted) = (None, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(m: &mut Mux, id: u64) -> String {
        let mut t = Vec::new();
        while !m.output(id).is_empty() {
            let part = m.output(id).to_vec();
            m.written(id, part.len());
            t.extend(part);
        }
        String::from_utf8(t).expect("ASCII")
    }

    fn two() -> Mux {
        let mut m = Mux::new(256);
        m.open(1);
        m.open(2);
        m
    }

    #[test]
    fn answers_go_to_who_asked_and_unsolicited_lines_to_all() {
        let mut m = two();
        m.typed(1, b"AT+CSQ\r");
        assert_eq!(m.for_modem(100, 0), b"AT+CSQ\r");
        m.from_modem(b"\r\n+CSQ: 24,99\r\n\r\n+CREG: 1\r\n\r\nOK\r\n", 1);
        assert_eq!(said(&mut m, 1), "\r\n+CSQ: 24,99\r\n\r\n+CREG: 1\r\n\r\nOK\r\n");
        assert_eq!(said(&mut m, 2), "\r\n+CREG: 1\r\n");
        m.from_modem(b"\r\nRING\r\n", 2);
        assert_eq!((said(&mut m, 1), said(&mut m, 2)), ("\r\nRING\r\n".into(), "\r\nRING\r\n".into()));
    }

    #[test]
    fn commands_wait_their_turn_and_take_turns() {
        let mut m = two();
        m.typed(1, b"AT+A\rAT+B\r");
        m.typed(2, b"AT+C\r");
        assert_eq!(m.for_modem(100, 0), b"AT+A\r");
        assert!(m.for_modem(100, 0).is_empty());
        m.from_modem(b"\r\nOK\r\n", 1);
        assert_eq!(m.for_modem(100, 1), b"AT+C\r", "the other one's turn");
        m.from_modem(b"\r\nERROR\r\n", 2);
        assert_eq!(m.for_modem(100, 2), b"AT+B\r");
        m.from_modem(b"\r\nOK\r\n", 3);
        assert_eq!(said(&mut m, 1), "\r\nOK\r\n\r\nOK\r\n");
        assert_eq!(said(&mut m, 2), "\r\nERROR\r\n");
    }

    #[test]
    fn a_command_without_end_does_not_block_others_for_ever() {
        let mut m = two();
        m.typed(1, b"ATQ1\r");
        m.for_modem(100, 10);
        assert_eq!(m.deadline(), u64::MAX, "nobody waits");
        m.typed(2, b"AT\r");
        assert!(m.for_modem(100, 10).is_empty());
        assert_eq!(m.deadline(), 10 + TURN);
        m.tick(10 + TURN);
        assert_eq!(m.for_modem(100, 10 + TURN), b"AT\r");
    }

    #[test]
    fn one_alone_is_transparent() {
        let mut m = Mux::new(64);
        m.open(1);
        m.typed(1, b"AT+CMGS=12\rtext\x1aATI\r");
        assert_eq!(m.for_modem(100, 0), b"AT+CMGS=12\rtext\x1aATI\r");
        m.from_modem(b"\x00\xff> ", 0);
        assert_eq!(m.output(1), b"\x00\xff> ");
    }

    #[test]
    fn text_after_a_prompt_is_the_asker_s() {
        let mut m = two();
        m.typed(1, b"AT+CMGS=5\r");
        m.for_modem(100, 0);
        m.typed(1, b"hello\x1a");
        m.typed(2, b"AT\r");
        assert!(m.for_modem(100, 0).is_empty());
        m.from_modem(b"\r\n> ", 0);
        assert_eq!(m.for_modem(100, 0), b"hello\x1a");
        m.from_modem(b"\r\n+CMGS: 7\r\n\r\nOK\r\n", 0);
        assert_eq!(m.for_modem(100, 0), b"AT\r");
        assert!(said(&mut m, 1).ends_with("+CMGS: 7\r\n\r\nOK\r\n"));
    }

    #[test]
    fn who_asked_and_left_leaves_the_answer_to_the_others() {
        let mut m = two();
        m.typed(1, b"ATI\r");
        m.for_modem(100, 0);
        m.close(1);
        m.from_modem(b"\r\nModel\r\n\r\nOK\r\n", 0);
        assert_eq!(said(&mut m, 2), "\r\nModel\r\n\r\nOK\r\n");
        // echo AT > /dev/serecm0; cat /dev/serecm0
        m.close(2);
        m.open(3);
        m.typed(3, b"ATI\r");
        m.close(3);
        assert_eq!(m.for_modem(100, 0), b"ATI\r", "what was written before the close counts");
        m.from_modem(b"\r\nModel\r\n\r\nOK\r\n", 0);
        m.open(4);
        assert_eq!(said(&mut m, 4), "\r\nModel\r\n\r\nOK\r\n", "kept for the next");
    }

    #[test]
    fn who_does_not_read_loses_lines_not_bytes_and_holds_nobody_back() {
        let mut m = two();
        for i in 0..100 {
            m.from_modem(format!("\r\n+NEWS: {i:03}\r\n").as_bytes(), i);
            assert!(said(&mut m, 1).contains(&format!("+NEWS: {i:03}")), "the reader gets all");
            assert!(m.modem_room() > 0);
        }
        let rest = said(&mut m, 2);
        assert!(rest.len() <= 256 && rest.ends_with("+NEWS: 099\r\n"), "{rest:?}");
        assert!(rest.lines().all(|l| l.is_empty() || l.len() == 10), "whole lines: {rest:?}");
        assert!(m.lost > 0);
        // Alone it holds the modem back, and loses nothing.
        m.close(1);
        let lost = m.lost;
        let mut given = 0;
        while m.modem_room() >= 14 {
            m.from_modem(b"\r\n+NEWS: 777\r\n", 0);
            given += 1;
        }
        assert_eq!((said(&mut m, 2).matches("777").count(), m.lost), (given, lost));
    }

    #[test]
    fn nobody_there_keeps_the_last_lines() {
        let mut m = Mux::new(100);
        for i in 0..1000 {
            assert!(m.modem_room() >= 14);
            m.from_modem(format!("\r\n+NEWS: {i:03}\r\n").as_bytes(), 0);
        }
        m.open(1);
        let t = said(&mut m, 1);
        assert!(t.len() <= 100 && t.ends_with("+NEWS: 999\r\n") && t.matches("NEWS").count() >= 6, "{t:?}");
    }

    #[test]
    fn anything_in_any_order_stays_bounded() {
        let mut r = iopkt_base::Rng::new(5);
        let mut m = Mux::new(80);
        let mut live: Vec<u64> = Vec::new();
        for now in 0..50_000u64 {
            match r.below(7) {
                0 if live.len() < 5 => {
                    m.open(now);
                    live.push(now);
                }
                1 if !live.is_empty() => m.close(live.swap_remove(r.below(live.len() as u32) as usize)),
                2 | 3 if !live.is_empty() => {
                    let id = live[r.below(live.len() as u32) as usize];
                    let b: Vec<u8> =
                        (0..r.below(30)).map(|_| b"AT+C\r\n> \x1a?"[r.below(10) as usize]).collect();
                    m.typed(id, &b[..b.len().min(m.room(id))]);
                }
                4 => drop(m.for_modem(r.below(40) as usize, now)),
                5 => {
                    let b: Vec<u8> =
                        (0..r.below(30)).map(|_| b"OK\r\n+CREG: 1> "[r.below(13) as usize]).collect();
                    m.from_modem(&b[..b.len().min(m.modem_room())], now);
                }
                _ => {
                    for id in &live {
                        let n = m.output(*id).len().min(r.below(50) as usize);
                        m.written(*id, n);
                    }
                    m.tick(now);
                }
            }
            assert!(m.openers.len() <= 80 && m.kept.len() <= 80 && m.line.len() <= MAX_LINE);
            assert!(live.iter().all(|id| m.output(*id).len() <= 80));
        }
    }
}

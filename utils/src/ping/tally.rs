//! What was counted, and BSD's summary of it.

/// Counts and times.
#[derive(Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Requests that got an answer.
    pub received: u64,
    /// Answers to a request that had one.
    pub duplicates: u64,
    /// Requests that could not be sent, and ICMP errors about requests.
    pub errors: u64,
    /// Requests that the stack refused to send.
    pub unsent: u64,
    /// Round trips in ms.
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    pub(super) squares: f64,
}

impl Tally {
    /// Counts the time of an answer that was just counted.
    pub fn round_trip(&mut self, ms: f64) {
        self.min = if self.received == 1 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.sum += ms;
        self.squares += ms * ms;
    }

    fn loss(&self) -> String {
        let lost = self.sent - self.received.min(self.sent);
        let v = if self.sent == 0 { 0.0 } else { 100.0 * lost as f64 / self.sent as f64 };
        // 33.3, but 0 and 100.
        let s = format!("{v:.1}");
        s.strip_suffix(".0").map_or(s.clone(), str::to_string)
    }

    fn times(&self) -> (f64, f64) {
        let n = self.received as f64;
        let avg = self.sum / n;
        (avg, (self.squares / n - avg * avg).max(0.0).sqrt())
    }

    /// The summary at the end.
    pub fn summary(&self, name: &str, timed: bool) -> String {
        let mut o = format!(
            "\n----{name} PING Statistics----\n{} packets transmitted, {} packets received, ",
            self.sent, self.received
        );
        if self.duplicates > 0 {
            o += &format!("+{} duplicates, ", self.duplicates);
        }
        if self.errors > 0 {
            o += &format!("+{} errors, ", self.errors);
        }
        o += &format!("{}% packet loss\n", self.loss());
        if timed && self.received > 0 {
            let (avg, dev) = self.times();
            o += &format!(
                "round-trip min/avg/max/stddev = {:.3}/{avg:.3}/{:.3}/{dev:.3} ms\n",
                self.min, self.max
            );
        }
        o
    }

    /// The summary at the end, in ping6's words.
    pub fn summary6(&self, name: &str, timed: bool) -> String {
        let lost = self.sent - self.received.min(self.sent);
        let loss = if self.sent == 0 { 0.0 } else { 100.0 * lost as f64 / self.sent as f64 };
        let mut o = format!(
            "\n--- {name} ping6 statistics ---\n{} packets transmitted, {} packets received, ",
            self.sent, self.received
        );
        if self.duplicates > 0 {
            o += &format!("+{} duplicates, ", self.duplicates);
        }
        o += &format!("{loss:.1}% packet loss\n");
        if timed && self.received > 0 {
            let (avg, dev) = self.times();
            let (min, max) = (self.min, self.max);
            o += &format!("round-trip min/avg/max/std-dev = {min:.3}/{avg:.3}/{max:.3}/{dev:.3} ms\n");
        }
        o
    }

    /// One line for SIGQUIT.
    pub fn line(&self, timed: bool) -> String {
        let mut o = format!("{}/{} packets, {}% loss", self.received, self.sent, self.loss());
        if timed && self.received > 0 {
            o += &format!(", min/avg/max = {:.3}/{:.3}/{:.3} ms", self.min, self.times().0, self.max);
        }
        o
    }
}

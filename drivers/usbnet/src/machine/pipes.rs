//! Pipes: what is kept outstanding on each endpoint, and how a stalled one is used again.

use super::{Job, Machine, Tok};

/// One bulk pipe.
#[derive(Default)]
pub(super) struct Pipe {
    /// URBs outstanding.
    pub(super) out: usize,
    /// Stalled: nothing is submitted until the halt is cleared.
    pub(super) halted: bool,
    /// Errors in a row.
    pub(super) errors: u32,
}

impl Machine {
    /// A stalled pipe that has run dry gets its halt cleared.
    pub(super) fn recover(&mut self) {
        for (pipe, ep) in [(&self.rx, self.set.ecm.bulk_in.addr), (&self.tx, self.set.ecm.bulk_out.addr)] {
            let job = Job::ClearHalt(ep);
            if pipe.halted && pipe.out == 0 && !self.jobs.contains(&job) && self.busy.as_ref() != Some(&job) {
                self.jobs.push_back(job);
            }
        }
    }

    /// Keeps a URB on each notification endpoint.
    pub(super) fn listen(&mut self) {
        for (out, ep, tok) in [
            (&mut self.note_out, self.set.ecm.notify, Tok::Note),
            (&mut self.at_note_out, self.set.acm.and_then(|a| a.notify), Tok::AtNote),
        ] {
            if let Some(ep) = ep.filter(|_| !*out) {
                // Longer than the longest notification (16 bytes), in whole packets.
                let len = 16usize.next_multiple_of(usize::from(ep.max_packet()).max(1));
                *out = self.client.submit_in(&ep, tok as u32, len).is_ok();
            }
        }
    }

    pub(super) fn pump_at(&mut self) {
        if let Some(a) = self.set.acm {
            while let Some(len) = self.at.wants_in() {
                if self.client.submit_in(&a.bulk_in, Tok::AtIn as u32, len).is_err() {
                    break;
                }
                self.at.in_submitted();
            }
            if let Some(bytes) = self.at.wants_out()
                && self.client.submit_out(&a.bulk_out, Tok::AtOut as u32, bytes, 0).is_ok()
            {
                self.at.out_submitted();
            }
        } else if !self.jobs.iter().any(|j| matches!(j, Job::Command(_)))
            && let Some(line) = self.at.command()
        {
            // One at a time: what the modem does not take stays in the terminal's bounded buffer.
            self.jobs.push_back(Job::Command(line));
        }
    }
}

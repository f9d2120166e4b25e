//! Control requests: one at a time, in order, bounded, each for a limited time.

use super::{Machine, Tok, Up, ntb};
use iopkt_usbip::cdc::{self, filter};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::status;

/// Most control requests that wait. A device that announces and stalls without end, or never completes a
/// request, costs no more than this.
pub(super) const MAX_JOBS: usize = 32;
/// Refusals after which the packet filter is not set any more.
const MAX_REFUSALS: u8 = 3;

/// A control request that waits or is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Select an alternate setting of the data interface.
    Alt(u8),
    /// SET_ETHERNET_PACKET_FILTER.
    Filter(u16),
    /// SET_ETHERNET_MULTICAST_FILTERS with these addresses.
    Groups(Vec<u8>),
    /// SET_ETHERNET_POWER_MANAGEMENT_PATTERN_FILTER: wake up for frames to our address, or not.
    Power(bool),
    /// GET_ETHERNET_STATISTIC.
    Statistic(u16),
    /// CLEAR_FEATURE(ENDPOINT_HALT).
    ClearHalt(u8),
    /// SEND_ENCAPSULATED_COMMAND with an AT command.
    Command(Vec<u8>),
    /// GET_ENCAPSULATED_RESPONSE.
    Response,
    /// SET_LINE_CODING of the serial function.
    LineCoding,
    /// SET_CONTROL_LINE_STATE of the serial function.
    LineState,
    /// Port reset.
    Reset,
    /// SET_CONFIGURATION.
    Configure,
    /// Part of the negotiation of an NCM function.
    Ntb(ntb::Step),
}

impl Job {
    fn name(&self) -> &'static str {
        match self {
            Job::Alt(_) => "SET_INTERFACE",
            Job::Filter(_) => "SET_ETHERNET_PACKET_FILTER",
            Job::Groups(_) => "SET_ETHERNET_MULTICAST_FILTERS",
            Job::Power(_) => "SET_ETHERNET_POWER_MANAGEMENT_PATTERN_FILTER",
            Job::Statistic(_) => "GET_ETHERNET_STATISTIC",
            Job::ClearHalt(_) => "CLEAR_FEATURE(ENDPOINT_HALT)",
            Job::Command(_) => "SEND_ENCAPSULATED_COMMAND",
            Job::Response => "GET_ENCAPSULATED_RESPONSE",
            Job::LineCoding => "SET_LINE_CODING",
            Job::LineState => "SET_CONTROL_LINE_STATE",
            Job::Reset => "port reset",
            Job::Configure => "SET_CONFIGURATION",
            Job::Ntb(_) => "request of the NCM negotiation",
        }
    }
}

impl Machine {
    /// Queues a control request that does not add up: what one of its kind that still waits will do is not
    /// asked for twice.
    pub(super) fn want(&mut self, job: Job) {
        match &job {
            Job::Filter(_) if self.set.no_filter => return,
            Job::Filter(_) => self.jobs.retain(|j| !matches!(j, Job::Filter(_))),
            Job::Power(_) => self.jobs.retain(|j| !matches!(j, Job::Power(_))),
            Job::ClearHalt(_) if self.busy.as_ref() == Some(&job) => return,
            _ if self.jobs.contains(&job) => return,
            _ => {}
        }
        self.jobs.push_back(job);
    }

    /// Gives the device the list of groups.
    pub(super) fn want_groups(&mut self) {
        self.jobs.retain(|j| !matches!(j, Job::Groups(_)));
        self.jobs.push_back(Job::Groups(self.multicast.list()));
    }

    /// The device has a response to fetch. One that announces them without end has no AT channel that works: at
    /// most `ctrlrxurb=` are believed.
    pub(super) fn want_response(&mut self) {
        self.responses = (self.responses + 1).min(self.set.responses);
    }

    /// Submits the next request when none is under way.
    pub(super) fn next_job(&mut self) {
        if self.responses > 0 && self.at.response_len() > 0 && !self.jobs.contains(&Job::Response) {
            self.jobs.push_back(Job::Response);
        }
        while self.busy.is_none() {
            let idle = if self.recovery.is_resetting() { None } else { self.statistics.next() };
            let Some(job) = self.jobs.pop_front().or_else(|| idle.map(Job::Statistic)) else { break };
            if self.submit_job(&job).is_err() {
                if !matches!(job, Job::Statistic(_)) {
                    self.jobs.push_front(job);
                }
                break;
            }
            if job == Job::Response {
                self.responses = self.responses.saturating_sub(1);
            }
            self.busy = Some(job);
            self.busy_until = self.now.saturating_add(self.set.control_timeout);
            self.busy_cancelled = false;
        }
    }

    /// Cancels a request that takes too long; gives the device up when that is not answered either.
    pub(super) fn control_overdue(&mut self, up: &mut dyn Up) {
        let Some(job) = self.busy.as_ref().filter(|_| self.now >= self.busy_until) else { return };
        let ms = self.set.control_timeout / 1_000_000;
        if self.busy_cancelled {
            self.busy_until = super::NEVER;
            return up.failed(format!("{} neither answered nor cancelled within {ms} ms", job.name()));
        }
        up.say(false, format!("{} not answered within {ms} ms, cancelled", job.name()));
        self.client.unlink(|t, _, _| t == Tok::Control as u32);
        self.busy_cancelled = true;
        self.busy_until = self.now.saturating_add(self.set.control_timeout);
    }

    pub(super) fn job_done(&mut self, job: Option<Job>, st: i32, data: &[u8], up: &mut dyn Up) {
        let Some(job) = job else { return };
        let ok = st == status::OK || st == status::EREMOTEIO;
        match job {
            Job::Alt(alt) => self.setting_done(alt, st, up),
            Job::Filter(bits) if !ok => self.filter_refused(bits, st, up),
            Job::Groups(_) if !ok => {
                up.say(false, format!("multicast filter refused (status {st}); taking all multicast"));
                self.set.mc_filters = 0;
                self.bits = (self.bits & !filter::MULTICAST) | filter::ALL_MULTICAST;
                self.want(Job::Filter(self.bits));
            }
            Job::Power(_) if !ok => {
                up.say(true, format!("wake-up pattern refused (status {st}); going on without"));
                self.set.power_filters = 0;
            }
            Job::Statistic(n) => {
                let value = data.first_chunk().filter(|_| ok).map(|b| u32::from_le_bytes(*b));
                self.statistics.answer(n, value, self.now);
                if self.busy_cancelled {
                    self.statistics.abandon();
                }
            }
            Job::ClearHalt(ep) => self.halt_cleared(ep),
            Job::Command(_) if !ok => {
                up.say(true, format!("encapsulated command refused (status {st})"));
                self.at.refuse();
            }
            Job::Response if ok => self.at.response(data),
            Job::Reset if !ok => up.say(true, format!("port reset refused (status {st})")),
            Job::Configure => self.configured(st, up),
            Job::Ntb(step) => self.step_done(step, ok, up),
            _ => {}
        }
    }

    /// Met in the field: devices that stall the filter requests and receive what they like.
    fn filter_refused(&mut self, bits: u16, st: i32, up: &mut dyn Up) {
        up.say(false, format!("packet filter {bits:#x} refused (status {st}); going on without"));
        self.refusals += 1;
        if self.refusals >= MAX_REFUSALS && !self.set.no_filter {
            self.set.no_filter = true;
            up.say(false, "the packet filter is not set any more (as with disable_set_packet_filter)".into());
        }
    }

    fn submit_job(&mut self, job: &Job) -> Result<(), iopkt_usbip::client::Full> {
        let f = &self.set.ecm;
        let acm = self.set.acm.map_or(0, |a| a.control);
        let (pattern, coding);
        let (setup, data): (Setup, &[u8]) = match job {
            Job::Alt(alt) => (Setup::set_interface(f.data, *alt), &[]),
            Job::Filter(bits) => (cdc::set_packet_filter(f.control, *bits), &[]),
            Job::Groups(list) => (cdc::set_multicast_filters(f.control, (list.len() / 6) as u16), list),
            Job::Power(true) => {
                pattern = cdc::power_pattern(&self.set.mac);
                (cdc::set_power_filter(f.control, 0, pattern.len() as u16), &pattern)
            }
            Job::Power(false) => (cdc::set_power_filter(f.control, 0, 0), &[]),
            Job::Statistic(n) => (cdc::get_statistic(f.control, *n), &[]),
            Job::ClearHalt(ep) => (Setup::clear_halt(*ep), &[]),
            Job::Command(line) => (cdc::send_encapsulated(f.control, line.len() as u16), line),
            Job::Response => {
                let n = self.at.response_len().clamp(1, self.set.response_len);
                (cdc::get_encapsulated(f.control, n), &[])
            }
            Job::LineCoding => {
                coding = cdc::line_coding(115_200);
                (cdc::set_line_coding(acm), &coding)
            }
            Job::LineState => (cdc::set_control_line_state(acm, true, true), &[]),
            Job::Reset => (Setup::port_reset(), &[]),
            Job::Configure => (Setup::set_configuration(f.config), &[]),
            Job::Ntb(step) => return self.submit_step(*step),
        };
        self.client.control(Tok::Control as u32, setup, data)
    }
}

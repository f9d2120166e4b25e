//! Control requests: one at a time, in order, bounded.

use super::{Machine, Tok, Up, ntb};
use iopkt_usbip::cdc::{self, filter};
use iopkt_usbip::setup::Setup;
use iopkt_usbip::status;

/// Most control requests that wait. A device that announces and stalls without end, or never completes a
/// request, costs no more than this.
pub(super) const MAX_JOBS: usize = 32;
/// Most [`Job::Response`]s among them; a device that announces more responses has no AT channel that works.
const MAX_RESPONSES: usize = 16;
/// A control request that waits or is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Select an alternate setting of the data interface.
    Alt(u8),
    /// SET_ETHERNET_PACKET_FILTER.
    Filter(u16),
    /// SET_ETHERNET_MULTICAST_FILTERS with these addresses.
    Groups(Vec<u8>),
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
    /// Part of the negotiation of an NCM function.
    Ntb(ntb::Step),
}

impl Machine {
    pub(super) fn job_done(&mut self, job: Option<Job>, st: i32, data: &[u8], up: &mut dyn Up) {
        let Some(job) = job else { return };
        let ok = st == status::OK || st == status::EREMOTEIO;
        match job {
            Job::Alt(alt) => {
                self.open = ok && self.up && alt == self.set.ecm.data_alt;
                if let Some(n) = self.ntb.as_mut().filter(|_| self.open) {
                    n.opened();
                }
                if !ok {
                    up.failed(format!("SET_INTERFACE failed (status {st})"));
                }
                if alt != self.set.ecm.data_alt {
                    // The halts went with the setting.
                    (self.rx.halted, self.tx.halted) = (false, false);
                }
            }
            // Met in the field: devices that stall the filter requests and receive what they like.
            Job::Filter(bits) if !ok => {
                up.say(false, format!("packet filter {bits:#x} refused (status {st}); going on without"))
            }
            Job::Groups(_) if !ok => {
                up.say(false, format!("multicast filter refused (status {st}); taking all multicast"));
                self.set.mc_filters = 0;
                self.bits = (self.bits & !filter::MULTICAST) | filter::ALL_MULTICAST;
                self.want(Job::Filter(self.bits));
            }
            Job::ClearHalt(ep) => {
                if ep == self.set.ecm.bulk_in.addr {
                    self.rx.halted = false;
                } else if ep == self.set.ecm.bulk_out.addr {
                    self.tx.halted = false;
                }
            }
            Job::Command(_) if !ok => {
                up.say(true, format!("encapsulated command refused (status {st})"));
                self.at.refuse();
            }
            Job::Response if ok => self.at.response(data),
            Job::Ntb(step) => self.step_done(step, ok, up),
            _ => {}
        }
    }

    /// Queues a control request that does not add up: what one of its kind that still waits will do is not
    /// asked for twice.
    pub(super) fn want(&mut self, job: Job) {
        match &job {
            Job::Filter(_) => self.jobs.retain(|j| !matches!(j, Job::Filter(_))),
            Job::Response if self.jobs.iter().filter(|j| **j == Job::Response).count() >= MAX_RESPONSES => {
                return;
            }
            Job::Response => {}
            _ if self.jobs.contains(&job) => return,
            _ => {}
        }
        self.jobs.push_back(job);
    }
    pub(super) fn submit_job(&mut self, job: &Job) -> Result<(), iopkt_usbip::client::Full> {
        let f = &self.set.ecm;
        let (setup, data): (Setup, &[u8]) = match job {
            Job::Alt(alt) => (Setup::set_interface(f.data, *alt), &[]),
            Job::Filter(bits) => (cdc::set_packet_filter(f.control, *bits), &[]),
            Job::Groups(list) => (cdc::set_multicast_filters(f.control, (list.len() / 6) as u16), list),
            Job::ClearHalt(ep) => (Setup::clear_halt(*ep), &[]),
            Job::Command(line) => (cdc::send_encapsulated(f.control, line.len() as u16), line),
            Job::Response => (cdc::get_encapsulated(f.control, self.at.response_len()), &[]),
            Job::LineCoding => {
                let c = self.set.acm.map_or(0, |a| a.control);
                return self.client.control(
                    Tok::Control as u32,
                    cdc::set_line_coding(c),
                    &cdc::line_coding(115_200),
                );
            }
            Job::LineState => {
                let c = self.set.acm.map_or(0, |a| a.control);
                (cdc::set_control_line_state(c, true, true), &[])
            }
            Job::Ntb(step) => return self.submit_step(*step),
        };
        self.client.control(Tok::Control as u32, setup, data)
    }
}

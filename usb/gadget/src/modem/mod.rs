//! The modem: Ethernet function, AT port, and the radio behind both.
//!
//! The Ethernet function carries one frame in each bulk transfer. Its link is the data call: NETWORK_CONNECTION
//! and CONNECTION_SPEED_CHANGE tell the host when it comes and goes. AT commands come in by the serial function
//! or as encapsulated commands; answers to the latter wait until the host, told by RESPONSE_AVAILABLE, fetches
//! them.

mod blocks;
pub mod descriptors;
mod ethernet;
mod odd;

pub use blocks::{BlockCounters, NcmConfig};
pub use ethernet::Counters;
pub use odd::Odd;

use crate::at::{Identity, Radio, Terminal};
use crate::device::{Answer, Function, Io};
use crate::faults::{Fault, LinkFaults, Remark};
use crate::{Device, Event, Outside};
use alloc::string::String;
use alloc::vec::Vec;
use descriptors::{ACM_CONTROL, ACM_IN, ACM_NOTIFY, ECM_CONTROL, ECM_DATA, ECM_NOTIFY, strings};
use ethernet::Ethernet;
use iopkt_base::Instant;
use iopkt_usbip::cdc::{Notification, req};
use iopkt_usbip::desc;
use iopkt_usbip::setup::{Setup, rt};

/// Most bytes of encapsulated answers that wait to be fetched.
const MAX_RESPONSE: usize = 65_536;

/// What kind of modem it is.
#[derive(Clone, Debug)]
pub struct ModemConfig {
    /// `idVendor`; the default is that of Linux's gadgets.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// MAC address that the host's interface gets.
    pub mac: [u8; 6],
    /// Serial number string.
    pub serial: String,
    /// What AT commands say.
    pub identity: Identity,
    /// PIN of the SIM, if it needs one.
    pub pin: Option<String>,
    /// The data call is up from the start, and again after each registration.
    pub auto_call: bool,
    /// Bits per second towards the host, as notified.
    pub down: u32,
    /// Bits per second from the host, as notified.
    pub up: u32,
    /// Seed of what is random (faults of the link).
    pub seed: u64,
    /// The Ethernet function is an NCM one.
    pub ncm: Option<NcmConfig>,
    /// What is wrong with it.
    pub odd: Vec<Odd>,
}

impl Default for ModemConfig {
    fn default() -> ModemConfig {
        ModemConfig {
            vendor: 0x1d6b,
            product: 0x0104,
            mac: [0x02, 0x50, 0xf4, 0x00, 0x00, 0x01],
            serial: "000000000001".into(),
            identity: Identity::default(),
            pin: None,
            auto_call: true,
            down: 100_000_000,
            up: 50_000_000,
            seed: 1,
            ncm: None,
            odd: Vec::new(),
        }
    }
}

/// The modem. [`Modem::device`] puts it on a bus.
#[derive(Debug)]
pub struct Modem {
    cfg: ModemConfig,
    config: Vec<u8>,
    radio: Radio,
    ethernet: Ethernet,
    acm: Terminal,
    encapsulated: Terminal,
    response: Vec<u8>,
    /// RESPONSE_AVAILABLE was sent for what waits in `response`.
    announced: bool,
    line_coding: [u8; 7],
    /// Link state that the host was told last.
    told: Option<bool>,
    scratch: Vec<u8>,
}

impl Modem {
    /// A modem that was just switched on.
    pub fn new(cfg: ModemConfig) -> Modem {
        Modem {
            config: odd::spoil(descriptors::config(cfg.ncm.as_ref()), &cfg.odd),
            radio: Radio::new(cfg.identity.clone(), cfg.pin.clone(), cfg.auto_call),
            ethernet: Ethernet::new(cfg.mac, cfg.seed, cfg.ncm, &cfg.odd),
            acm: Terminal::new(true),
            // Nobody sees himself type there: an echo would only mix with the answers.
            encapsulated: Terminal::new(false),
            response: Vec::new(),
            announced: false,
            line_coding: iopkt_usbip::cdc::line_coding(115_200),
            told: None,
            scratch: Vec::new(),
            cfg,
        }
    }

    /// A device with this modem in it.
    pub fn device(cfg: ModemConfig) -> Device<Modem> {
        let no_zlp = cfg.odd.contains(&Odd::NoZlp);
        let mut d = Device::new(Modem::new(cfg));
        d.set_no_zlp(no_zlp);
        d
    }

    fn is(&self, o: Odd) -> bool {
        self.cfg.odd.contains(&o)
    }

    /// The radio.
    pub fn radio(&self) -> &Radio {
        &self.radio
    }

    /// Counters of the Ethernet function.
    pub fn counters(&self) -> Counters {
        self.ethernet.counters
    }

    /// Counters of the blocks of an NCM function.
    pub fn block_counters(&self) -> Option<BlockCounters> {
        self.ethernet.block_counters()
    }

    /// Whether it holds a pattern of frames to wake up for.
    pub fn wakes_up(&self) -> bool {
        self.ethernet.power.iter().any(Option::is_some)
    }

    /// MAC address of the host's interface.
    pub fn mac(&self) -> [u8; 6] {
        self.cfg.mac
    }

    /// Whether frames pass: the call is up and the host has selected the data setting.
    pub fn is_carrying(&self) -> bool {
        self.radio.link() && self.ethernet.is_on()
    }

    /// Chances on the link in force: towards the host, from the host.
    pub fn link_faults(&self) -> LinkFaults {
        self.ethernet.link_faults()
    }

    /// A frame from the far side. It is lost when the link is down, the host's filter does not want it, or the
    /// host does not fetch what is queued.
    pub fn frame(&mut self, io: &mut Io<'_>, frame: &[u8]) {
        if self.radio.link() {
            self.ethernet.down_to_host(io, frame);
        }
    }

    /// Changes the radio from outside (signal, loss of the network) and tells everybody.
    pub fn with_radio<R>(&mut self, io: &mut Io<'_>, f: impl FnOnce(&mut Radio) -> R) -> R {
        let r = f(&mut self.radio);
        self.sync(io);
        r
    }

    /// After anything that may have changed the radio: tells terminals and host.
    fn sync(&mut self, io: &mut Io<'_>) {
        for e in core::mem::take(&mut self.radio.events) {
            self.scratch.clear();
            self.acm.unsolicited(e, &mut self.scratch);
            if !self.scratch.is_empty() {
                io.send(ACM_IN, &self.scratch);
            }
            self.encapsulated.unsolicited(e, &mut self.response);
        }
        let link = self.radio.link();
        if self.told.is_some_and(|t| t != link) {
            self.tell_link(io, link);
            self.tell_line(io);
        }
        self.announce(io);
        if core::mem::take(&mut self.radio.restart) {
            io.out.event(Event::Restart);
        }
    }

    fn tell_link(&mut self, io: &mut Io<'_>, link: bool) {
        self.told = Some(link);
        if self.is(Odd::Mute) {
            return;
        }
        let interface = self.told_interface();
        for _ in 0..if self.is(Odd::Twice) { 2 } else { 1 } {
            notify(io, ECM_NOTIFY, interface, Notification::NetworkConnection(link));
        }
        if link {
            self.tell_speed(io);
        }
    }

    fn told_interface(&self) -> u8 {
        if self.is(Odd::WrongIndex) { ECM_DATA } else { ECM_CONTROL }
    }

    fn tell_speed(&mut self, io: &mut Io<'_>) {
        let n = Notification::SpeedChange { down: self.cfg.down, up: self.cfg.up };
        let (bytes, len) = n.to_bytes(self.told_interface());
        // Two messages where the endpoint has packets of eight bytes, as Linux's driver expects of those.
        for part in bytes[..len].chunks(if self.is(Odd::SmallNotify) { 8 } else { 16 }) {
            io.send(ECM_NOTIFY, part);
        }
    }

    /// Carrier detect follows the call; data set ready is always on.
    fn tell_line(&mut self, io: &mut Io<'_>) {
        let n = Notification::SerialState(0x02 | u16::from(self.radio.link()));
        notify(io, ACM_NOTIFY, ACM_CONTROL, n);
    }

    fn announce(&mut self, io: &mut Io<'_>) {
        if !self.response.is_empty() && !self.announced {
            self.announced = notify(io, ECM_NOTIFY, ECM_CONTROL, Notification::ResponseAvailable);
        }
    }

    fn command(&mut self, io: &mut Io<'_>, data: &[u8]) {
        self.encapsulated.input(io.now, data, &mut self.radio, &mut self.response);
        // Who never fetches loses the oldest.
        let excess = self.response.len().saturating_sub(MAX_RESPONSE);
        self.response.drain(..excess);
        self.sync(io);
    }

    fn fetch(&mut self, io: &mut Io<'_>, length: usize) -> Vec<u8> {
        let n = length.min(self.response.len());
        let part = self.response.drain(..n).collect();
        self.announced = false;
        self.announce(io);
        part
    }
}

fn notify(io: &mut Io<'_>, ep: u8, interface: u8, n: Notification) -> bool {
    let (bytes, len) = n.to_bytes(interface);
    io.send(ep, &bytes[..len])
}

impl Function for Modem {
    fn device(&self) -> desc::Device {
        descriptors::device(self.cfg.vendor, self.cfg.product)
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn string(&self, index: u8) -> Option<String> {
        Some(match index {
            strings::MANUFACTURER => self.cfg.identity.manufacturer.clone(),
            strings::PRODUCT => self.cfg.identity.model.clone(),
            strings::SERIAL => self.cfg.serial.clone(),
            strings::CONFIG if self.cfg.ncm.is_some() => "CDC NCM + ACM".into(),
            strings::CONFIG => "CDC ECM + ACM".into(),
            strings::MAC => odd::mac_text(&self.cfg.odd, &self.cfg.mac)?,
            strings::ECM if self.cfg.ncm.is_some() => "CDC Network Control Model (NCM)".into(),
            strings::ECM => "CDC Ethernet Control Model (ECM)".into(),
            strings::ECM_DATA => "CDC Ethernet Data".into(),
            strings::ACM => "AT port (ACM)".into(),
            _ => return None,
        })
    }

    fn control(&mut self, io: &mut Io<'_>, s: &Setup, data: &[u8]) -> Answer {
        if s.kind() != rt::CLASS || s.recipient() != rt::INTERFACE {
            return Answer::Stall;
        }
        match (s.index as u8, s.request, s.is_in()) {
            (ECM_CONTROL, req::SEND_ENCAPSULATED_COMMAND, false) => {
                self.command(io, data);
                Answer::Done
            }
            (ECM_CONTROL, req::GET_ENCAPSULATED_RESPONSE, true) => {
                Answer::Data(self.fetch(io, usize::from(s.length)))
            }
            (ECM_CONTROL, ..) => self.ethernet.control(s, data),
            (ACM_CONTROL, req::SET_LINE_CODING, false) => match data.try_into() {
                Ok(coding) => {
                    self.line_coding = coding;
                    Answer::Done
                }
                Err(_) => Answer::Stall,
            },
            (ACM_CONTROL, req::GET_LINE_CODING, true) => Answer::Data(self.line_coding.to_vec()),
            (ACM_CONTROL, req::SET_CONTROL_LINE_STATE, false) => {
                self.tell_line(io);
                Answer::Done
            }
            _ => Answer::Stall,
        }
    }

    fn selected(&mut self, io: &mut Io<'_>, interface: u8, alt: u8) {
        if interface == ECM_DATA {
            let on = alt == 1 || self.is(Odd::OneSetting);
            self.ethernet.select(on);
            self.ethernet.opened(io);
            // As Linux's gadget does: the state is told whenever the host looks anew.
            let link = self.radio.link() && on;
            self.tell_link(io, link);
            self.told = Some(self.radio.link());
        }
    }

    fn received(&mut self, io: &mut Io<'_>, ep: u8, data: &[u8]) {
        if ep == descriptors::ECM_OUT {
            let link = self.radio.link();
            self.ethernet.up_from_host(io, data, link);
            return;
        }
        self.scratch.clear();
        let mut out = core::mem::take(&mut self.scratch);
        self.acm.input(io.now, data, &mut self.radio, &mut out);
        if !out.is_empty() {
            io.send(ACM_IN, &out);
        }
        self.scratch = out;
        self.sync(io);
    }

    fn oversized(&mut self, _: &mut Io<'_>, ep: u8) {
        if ep == descriptors::ECM_OUT {
            self.ethernet.counters.from_host_errors += 1;
        }
    }

    fn reset(&mut self) {
        self.ethernet.select(false);
        self.told = None;
        self.announced = false;
        self.response.clear();
    }

    fn tick(&mut self, io: &mut Io<'_>) {
        self.radio.tick(io.now);
        self.ethernet.tick(io);
        self.sync(io);
    }

    fn deadline(&self) -> Instant {
        self.radio.deadline().min(self.ethernet.deadline())
    }

    fn remark(&mut self, io: &mut Io<'_>, what: Remark) {
        let n = match what {
            Remark::Connect => Notification::NetworkConnection(true),
            Remark::Disconnect => Notification::NetworkConnection(false),
            Remark::Speed => return self.tell_speed(io),
            Remark::Response => Notification::ResponseAvailable,
            Remark::Unknown => Notification::Other(0x7f),
            Remark::Garbage => {
                io.send(ECM_NOTIFY, &[0xff, 0, 1, 2, 3]);
                return;
            }
        };
        notify(io, ECM_NOTIFY, ECM_CONTROL, n);
    }

    fn fault(&mut self, f: &Fault) -> bool {
        self.ethernet.fault(f)
    }
}

impl Device<Modem> {
    /// A frame from the far side.
    pub fn frame(&mut self, now: Instant, frame: &[u8], out: &mut dyn Outside) {
        self.with(now, out, |m, io| m.frame(io, frame));
    }

    /// How many more frames it would queue for the host now.
    pub fn frame_room(&mut self, now: Instant) -> usize {
        self.with(now, &mut crate::Nobody, |m, io| m.ethernet.room(io))
    }
}

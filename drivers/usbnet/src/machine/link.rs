//! The link: what notifications say, and what is made of silence.

use super::{LINK_GRACE, Machine, NEVER, Up};
use iopkt_usbip::cdc::Notification;

/// What is known of the link.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    connected: bool,
    /// A NETWORK_CONNECTION has come since the data interface was opened.
    heard: bool,
    /// When the data interface was opened.
    opened: u64,
    speed: (u64, u64),
    told: Option<(bool, u64, u64)>,
}

impl Machine {
    /// A notification of the Ethernet function.
    pub(super) fn notified(&mut self, n: Notification) {
        let c = &mut self.carrier;
        match n {
            Notification::NetworkConnection(on) => (c.connected, c.heard) = (on, true),
            Notification::SpeedChange { down, up } => {
                c.speed = (u64::from(down), u64::from(up));
                // Unpaired: a speed is only told of a link that is up.
                c.connected |= !c.heard && down > 0;
            }
            Notification::ResponseAvailable => self.want_response(),
            Notification::SerialState(_) | Notification::Other(_) => {}
        }
    }

    /// The data interface works from now on.
    pub(super) fn opened(&mut self) {
        self.open = true;
        self.carrier.opened = self.now;
        self.tx.since = self.now;
        (self.rx.errors, self.tx.errors) = (0, 0);
        if let Some(n) = &mut self.ntb {
            n.opened();
        }
    }

    /// A frame came: a link that was never talked about is up.
    pub(super) fn frame_seen(&mut self) {
        self.carrier.connected |= !self.carrier.heard;
    }

    /// When the device's silence about its link is taken as "up".
    pub(super) fn silence_ends(&self) -> u64 {
        let c = &self.carrier;
        if self.open && self.listens() && !c.heard && !c.connected {
            c.opened.saturating_add(LINK_GRACE)
        } else {
            NEVER
        }
    }

    pub(super) fn silence_overdue(&mut self, up: &mut dyn Up) {
        if self.now >= self.silence_ends() {
            self.carrier.connected = true;
            up.say(true, "no word about the link: taking it as up".into());
        }
    }

    fn listens(&self) -> bool {
        self.set.ecm.notify.is_some() && !self.note.dead
    }

    pub(super) fn tell_link(&mut self, up: &mut dyn Up) {
        let on = self.alive && self.open && (self.carrier.connected || !self.listens());
        let now = (on, self.carrier.speed.0, self.carrier.speed.1);
        if self.carrier.told != Some(now) {
            if on && self.carrier.told.is_none_or(|t| !t.0) {
                self.statistics.refresh();
            }
            self.carrier.told = Some(now);
            up.link(now.0, now.1, now.2);
        }
    }
}

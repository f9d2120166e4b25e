//! lsm-autoip: an address of 169.254/16 for an interface that nobody configures (RFC 3927).
//!
//! The machine is [`iopkt_autoconf::linklocal`]; this is its place in the stack: the interface's ARP packets in and out, the
//! link's state, an address that is added beside those that are there, the log.

use std::net::Ipv4Addr;
use std::time::Duration;

use iopkt_autoconf::linklocal::{self, Action, Config, LinkLocal};
use iopkt_base::Instant;
use iopkt_sdk::{Addr, Changed, Fail, Interface, Mbuf, Module, Options, Stack, errno, iopkt_module};
use iopkt_wire::{arp, ethernet};

struct AutoIp {
    machine: LinkLocal,
    interface: Interface,
    debug: bool,
}

fn refuse(text: impl Into<String>) -> Fail {
    Fail::new(errno::EINVAL, text.into())
}

/// `ip=`: the address to begin with.
fn first(options: &Options) -> Result<Option<Ipv4Addr>, Fail> {
    let Some(text) = options.get("ip") else { return Ok(None) };
    match text.parse::<Ipv4Addr>() {
        Ok(a) if (linklocal::FIRST..=linklocal::LAST).contains(&a) => Ok(Some(a)),
        _ => Err(refuse(format!(
            "option ip={text}: give an address from {} to {}",
            linklocal::FIRST,
            linklocal::LAST
        ))),
    }
}

impl AutoIp {
    /// Gives the machine something and does what it says; sets the timer.
    fn drive(&mut self, stack: &Stack<'_>, f: impl FnOnce(&mut LinkLocal, Instant, &mut Vec<Action>)) {
        let mut actions = Vec::new();
        f(&mut self.machine, Instant::from_nanos(stack.now()), &mut actions);
        for a in actions {
            self.act(stack, a);
        }
        let at = self.machine.deadline();
        stack.timer((at != Instant::FAR).then(|| at.as_nanos()));
    }

    fn act(&mut self, stack: &Stack<'_>, action: Action) {
        let name = &self.interface.name;
        let mac = |m: [u8; 6]| m.map(|b| format!("{b:02x}")).join(":");
        match action {
            Action::Send(p) => {
                if self.debug {
                    let what = if p.spa.is_unspecified() { "asks for" } else { "announces" };
                    stack.info(&format!("{name} {what} {}", p.tpa));
                }
                if let Err(e) = stack.send(self.interface.index, &p.broadcast()) {
                    stack.warn(&format!("{name}: sending: {e}"));
                }
            }
            Action::Assign(a) => {
                match stack.add_addr(self.interface.index, &Addr::new(a, linklocal::PREFIX_LEN)) {
                    Ok(()) => stack.info(&format!("{name} has {a}")),
                    Err(e) => stack.warn(&format!("{name}: {a} cannot be set: {e}")),
                }
            }
            Action::Remove(a) => match stack.del_addr(self.interface.index, a.into()) {
                Ok(()) => stack.info(&format!("{name} no longer has {a}")),
                Err(e) => stack.warn(&format!("{name}: {a} cannot be taken away: {e}")),
            },
            Action::Conflict(a, who) => stack.warn(&format!("{name}: {a} is used by {}", mac(who))),
            Action::Defended(a, who) => stack.warn(&format!("{name}: {a} is ours, said to {}", mac(who))),
        }
    }
}

impl Module for AutoIp {
    fn load(stack: &Stack<'_>, options: &Options) -> Result<AutoIp, Fail> {
        let name = options.get("if").unwrap_or("en0");
        let delay = options.number("delay", 1..=8000u32)?;
        let first = first(options)?;
        for word in ["force", "old"] {
            if options.has(word) {
                return Err(refuse(format!(
                    "option {word}: not in this build; addresses are chosen as RFC 3927 says"
                )));
            }
        }
        let interface = stack.interface(name).map_err(|f| {
            Fail::new(f.errno, format!("if={name}: {f}; load the driver first, or name another with if="))
        })?;
        if !interface.ether {
            return Err(refuse(format!("if={name}: not an Ethernet interface")));
        }
        let config = Config {
            mac: interface.mac,
            first,
            abandon: options.has("abandon"),
            announce_wait: delay.map_or(linklocal::ANNOUNCE_WAIT, |ms| Duration::from_millis(ms.into())),
        };
        // The same address after a restart, another one for another adapter (RFC 3927 2.1).
        let seed = interface.mac.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let mut m = AutoIp { machine: LinkLocal::new(config, seed), interface, debug: options.has("debug") };
        stack.listen(m.interface.index, ethernet::TYPE_ARP)?;
        stack.set_flags(m.interface.index, iopkt_sdk::IF_UP, 0)?;
        let up = stack.interface(&m.interface.name)?.usable();
        m.drive(stack, |m, now, out| m.link(now, up, &mut |a| out.push(a)));
        Ok(m)
    }

    fn timer(&mut self, stack: &Stack<'_>, _now: u64) {
        self.drive(stack, |m, now, out| m.tick(now, &mut |a| out.push(a)));
    }

    fn input(&mut self, stack: &Stack<'_>, frame: Mbuf) {
        if let Some(p) = frame.as_slice().get(ethernet::HEADER_LEN..).and_then(arp::Packet::parse) {
            self.drive(stack, |m, now, out| m.receive(now, &p, &mut |a| out.push(a)));
        }
    }

    fn changed(&mut self, stack: &Stack<'_>, ifindex: u32, what: Changed) {
        if ifindex != self.interface.index {
            return;
        }
        if what.departed {
            stack.info(&format!("{} is gone", self.interface.name));
            return stack.finish();
        }
        if let Ok(i) = stack.interface(&self.interface.name) {
            self.drive(stack, |m, now, out| m.link(now, i.usable(), &mut |a| out.push(a)));
        }
    }

    fn unload(&mut self, stack: &Stack<'_>) {
        self.drive(stack, |m, now, out| m.link(now, false, &mut |a| out.push(a)));
    }
}

iopkt_module! {
    module: AutoIp,
    name: "autoip",
    version: "1.0",
    description: "IPv4 link-local addresses (RFC 3927)",
    options: [
        "if=IF" => "interface (en0)",
        "ip=ADDR" => "address to try first",
        "delay=MS" => "silence after the last probe that makes the address ours, 1 to 8000 (2000)",
        "abandon" => "give the address up at the first conflict instead of defending it",
        "debug" => "log what is sent",
        "force" => "not in this build",
        "old" => "not in this build",
    ],
}

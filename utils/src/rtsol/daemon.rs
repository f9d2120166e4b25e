//! `rtsold`: what routers tell of names, kept in resolv.conf; scripts when DHCPv6 is wanted. Interfaces may come and go.

use super::{Scripts, adverts, be_a_host, call, flags, interfaces, solicit};
use crate::addr::zoned;
use crate::getopt;
use crate::ndp::nd;
use crate::resolvconf::{Entry, Part, Place, Source, Told, seconds};
use crate::tool::{Failure, Outcome, Stack, print};
use iopkt_ctl::{NdReply, NdRequest};
use std::collections::BTreeMap;

/// Usage of rtsold, as `--help` prints it.
pub const USAGE: &str = "usage: rtsold [-aDdFf1m] [-M script] [-O script] [-p pidfile] [-R script] [interface ...]
  -a  all Ethernet interfaces that are up   -1  end when every interface has heard a router
  -d, -D  say what is done   -f  (always so) stay in the foreground   -m  (always so) watch the link
  -F  make the stack a host: forwarding off, advertisements believed   -p  write the process's number there
  -M, -O  run script with the interface's name when a router begins to say that addresses, or other things, are to be had by DHCPv6
  -R  hand name servers to script (as resolvconf(8) takes them), and leave etc/resolv.conf alone
Asks for routers, and keeps its part of etc/resolv.conf under the stack's root as they tell it (RFC 8106).
SOCK=/prefix selects the stack.";

/// Seconds by which two lifetimes may differ and be the same one, asked for at two moments.
const BLUR: u64 = 2;

/// What the daemon does to the world.
pub trait World {
    /// A moment; false ends the daemon.
    fn pause(&mut self) -> bool;
    /// Name servers of an interface are these now.
    ///
    /// # Errors
    /// A line for people.
    fn names(&mut self, ifname: &str, told: Told) -> Result<(), String>;
    /// Runs a script.
    fn call(&mut self, script: &str, args: &[&str], text: &str);
    /// The end; what was said stays for its time.
    fn leave(&mut self);
}

/// What routers of an interface tell of names.
///
/// # Errors
/// As [`nd`].
pub fn told(s: &mut dyn Stack, ifname: &str) -> Result<Told, Failure> {
    let NdReply::Dns(list) = nd(s, "names", NdRequest::Dns)? else {
        return Err(Failure::new("unexpected answer"));
    };
    let now = seconds();
    let mut t = Told::default();
    for d in list.into_iter().filter(|d| d.ifname == ifname) {
        let until = d.expires.map(|n| now + u64::from(n));
        if let Some(a) = d.server {
            t.servers.push(Entry { what: zoned(a.into(), Some(ifname)), until });
        }
        t.domains.extend(d.domain.map(|what| Entry { what, until }));
    }
    Ok(t)
}

/// The same as resolvconf(8) takes it.
pub fn plain(t: &Told) -> String {
    let mut o = String::new();
    if !t.domains.is_empty() {
        let all: Vec<&str> = t.domains.iter().map(|d| d.what.as_str()).collect();
        o += &format!("search {}\n", all.join(" "));
    }
    for e in &t.servers {
        o += &format!("nameserver {}\n", e.what);
    }
    o
}

fn same(a: &Told, b: &Told) -> bool {
    let list = |a: &[Entry], b: &[Entry]| {
        let until = |x: &Entry, y: &Entry| match (x.until, y.until) {
            (Some(x), Some(y)) => x.abs_diff(y) <= BLUR,
            (x, y) => x == y,
        };
        a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.what == y.what && until(x, y))
    };
    list(&a.servers, &b.servers) && list(&a.domains, &b.domains)
}

/// One interface.
struct Link {
    name: String,
    /// Advertisements when it was asked for; `None`: it is not there.
    before: Option<u64>,
    heard: bool,
    told: Told,
    /// The flags that were said last: M, O.
    flags: (bool, bool),
}

impl Link {
    /// One look. `count`: its advertisements, if it is there.
    fn look(
        &mut self,
        s: &mut dyn Stack,
        w: &mut dyn World,
        o: &Scripts,
        talk: bool,
        count: Option<u64>,
    ) -> Result<(), Failure> {
        let say = |what: &str, name: &str| {
            if talk {
                eprintln!("rtsold: {name}: {what}");
            }
        };
        match (self.before, count) {
            (Some(_), None) => {
                say("it is gone", &self.name);
                (self.heard, self.flags) = (false, (false, false));
            }
            (None, Some(_)) => {
                say("it is there", &self.name);
                // One that is down still is asked for by the stack when it comes up.
                let _ = solicit(s, &self.name);
            }
            (Some(before), Some(n)) if n != before && !self.heard => {
                say("a router answered", &self.name);
                self.heard = true;
            }
            _ => {}
        }
        if self.before.is_none() || count.is_none() {
            self.before = count;
        }
        let now = if count.is_some() { told(s, &self.name)? } else { Told::default() };
        if !same(&now, &self.told) {
            self.tell(w, o, now.clone());
            say(&format!("names: {}", plain(&now).trim_end().replace('\n', ", ")), &self.name);
            self.told = now;
        }
        if count.is_some() && (o.managed.is_some() || o.other.is_some()) {
            let f = flags(s, &self.name)?;
            let before = std::mem::replace(&mut self.flags, f);
            // M's once M begins; O's once O begins and there is no M (rtsold(8)).
            let due = o.of_flags(f.0 && !before.0, f.1 && !before.1 && !f.0);
            if let Some(x) = due {
                w.call(x, &[&self.name], "");
            }
        }
        Ok(())
    }

    fn tell(&self, w: &mut dyn World, o: &Scripts, now: Told) {
        let Some(script) = &o.names else {
            if let Err(e) = w.names(&self.name, now) {
                eprintln!("rtsold: {e}");
            }
            return;
        };
        let who = format!("{}:slaac", self.name);
        let what = if now == Told::default() { "-d" } else { "-a" };
        w.call(script, &[what, &who], &plain(&now));
    }
}

fn counts(s: &mut dyn Stack) -> Result<BTreeMap<String, u64>, Failure> {
    match nd(s, "interfaces", NdRequest::Interfaces { name: None })? {
        NdReply::Interfaces(l) => Ok(l.into_iter().map(|i| (i.ifname, i.adverts)).collect()),
        _ => Err(Failure::new("unexpected answer")),
    }
}

/// Runs `rtsold` until the world says no.
///
/// # Errors
/// Usage, no stack, an interface that does not listen to routers at the beginning, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String], w: &mut dyn World) -> Outcome {
    let f = getopt::parse("aDdFf1mM:O:p:R:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let scripts = Scripts::of(&f, USAGE)?;
    if f.has('F') {
        be_a_host(s)?;
    }
    let names = interfaces(s, f.has('a'), &f.rest, USAGE)?;
    let talk = f.has('d') || f.has('D');
    let mut links = Vec::new();
    for name in names {
        let before = Some(adverts(s, &name)?);
        solicit(s, &name)?;
        links.push(Link { name, before, heard: false, told: Told::default(), flags: (false, false) });
    }
    if let Some(p) = f.value('p') {
        std::fs::write(p, format!("{}\n", std::process::id()))
            .map_err(|e| Failure::new(format!("{p}: {e}")))?;
    }
    let r = rounds(s, w, &mut links, (&scripts, talk, f.has('1')));
    if let Some(p) = f.value('p') {
        let _ = std::fs::remove_file(p);
    }
    r
}

fn rounds(s: &mut dyn Stack, w: &mut dyn World, links: &mut [Link], o: (&Scripts, bool, bool)) -> Outcome {
    let (scripts, talk, once) = o;
    loop {
        let counts = counts(s)?;
        for l in links.iter_mut() {
            let n = counts.get(&l.name).copied();
            l.look(s, w, scripts, talk, n)?;
        }
        if once && links.iter().all(|l| l.heard) {
            w.leave();
            return Ok(0);
        }
        if !w.pause() {
            return Ok(0);
        }
    }
}

/// The world of a real one.
pub struct Real<'a> {
    /// Sleeps a moment; false ends the daemon.
    pub pause: &'a mut dyn FnMut() -> bool,
    /// Our parts, by interface.
    pub parts: BTreeMap<String, Part>,
}

impl World for Real<'_> {
    fn pause(&mut self) -> bool {
        for p in self.parts.values_mut() {
            if let Err(e) = p.tick() {
                eprintln!("rtsold: {e}");
            }
        }
        (self.pause)()
    }

    fn names(&mut self, ifname: &str, told: Told) -> Result<(), String> {
        if let Some(p) = self.parts.get_mut(ifname) {
            return p.tell(told);
        }
        let part = Part::take(&Place::find(), ifname, Source::Routers)?;
        self.parts.entry(ifname.into()).or_insert(part).tell(told)
    }

    fn call(&mut self, script: &str, args: &[&str], text: &str) {
        call("rtsold", script, args, text);
    }

    fn leave(&mut self) {
        for (_, p) in std::mem::take(&mut self.parts) {
            if let Err(e) = p.keep(None) {
                eprintln!("rtsold: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use iopkt_ctl::{NdDns, NdIface, NdRouter, Reply};

    fn state(adverts: u64) -> Reply {
        Reply::Nd(NdReply::Interfaces(vec![NdIface { adverts, ..iface() }]))
    }

    fn iface() -> NdIface {
        NdIface {
            ifname: "ecm0".into(),
            link_mtu: 1500,
            max_mtu: 1500,
            hop_limit: 64,
            base_reachable: 30_000,
            reachable: 30_000,
            retrans: 1000,
            flags: 3,
            adverts: 0,
        }
    }

    fn dns(server: Option<&str>, domain: Option<&str>) -> NdDns {
        NdDns {
            ifname: "ecm0".into(),
            router: "fe80::1".parse().expect("address"),
            server: server.map(|s| s.parse().expect("address")),
            domain: domain.map(str::to_string),
            expires: Some(100),
        }
    }

    fn names(l: Vec<NdDns>) -> Reply {
        Reply::Nd(NdReply::Dns(l))
    }

    #[derive(Default)]
    struct Seen {
        rounds: usize,
        said: Vec<String>,
        left: bool,
    }

    impl World for Seen {
        fn pause(&mut self) -> bool {
            self.rounds -= 1;
            self.rounds > 0
        }
        fn names(&mut self, ifname: &str, told: Told) -> Result<(), String> {
            self.said.push(format!("{ifname} {}", plain(&told)));
            Ok(())
        }
        fn call(&mut self, script: &str, args: &[&str], text: &str) {
            self.said.push(format!("{script} {} {text}", args.join(" ")));
        }
        fn leave(&mut self) {
            self.left = true;
        }
    }

    fn words(s: &str) -> Vec<String> {
        s.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn what_routers_tell_is_told_once() {
        let told = || {
            names(vec![dns(Some("2001:db8::53"), None), dns(Some("fe80::53"), None), dns(None, Some("lan"))])
        };
        let mut f = Fake::with([state(0), Reply::Ok, state(0), told(), state(1), told()]);
        let mut w = Seen { rounds: 9, ..Seen::default() };
        assert_eq!(run(&mut f, &words("-1 ecm0"), &mut w), Ok(0));
        assert_eq!(w.said, ["ecm0 search lan\nnameserver 2001:db8::53\nnameserver fe80::53%ecm0\n"]);
        assert!(w.left);
    }

    #[test]
    fn an_interface_goes_and_comes() {
        let none = || Reply::Nd(NdReply::Interfaces(Vec::new()));
        let told = || names(vec![dns(Some("2001:db8::53"), None)]);
        let answers = [
            state(0),
            Reply::Ok,
            state(1),
            told(),
            none(),
            none(),
            state(0),
            Reply::Ok,
            names(vec![]),
            state(1),
            told(),
        ];
        let mut f = Fake::with(answers);
        let mut w = Seen { rounds: 5, ..Seen::default() };
        assert_eq!(run(&mut f, &words("ecm0"), &mut w), Ok(0));
        let n = "ecm0 nameserver 2001:db8::53\n";
        assert_eq!(w.said, [n, "ecm0 ", n]);
        assert!(!w.left);
    }

    #[test]
    fn scripts_hear_of_dhcp_and_names() {
        let router = |managed, other| {
            Reply::Nd(NdReply::Routers(vec![NdRouter {
                addr: "fe80::1".parse().expect("address"),
                ifname: "ecm0".into(),
                managed,
                other,
                preference: "medium".into(),
                expires: None,
            }]))
        };
        let one = || names(vec![dns(Some("fe80::53"), None)]);
        let mut answers = vec![state(0), Reply::Ok];
        for (m, o) in [(false, true), (false, true), (true, true), (true, true), (false, true)] {
            answers.extend([state(1), one(), router(m, o)]);
        }
        answers.extend([state(1), names(vec![]), router(false, true)]);
        let mut w = Seen { rounds: 6, ..Seen::default() };
        assert_eq!(run(&mut Fake::with(answers), &words("-O /o -M /m -R /r ecm0"), &mut w), Ok(0));
        assert_eq!(
            w.said,
            ["/r -a ecm0:slaac nameserver fe80::53%ecm0\n", "/o ecm0 ", "/m ecm0 ", "/r -d ecm0:slaac "]
        );
        let e = run(&mut Fake::default(), &words("-O o ecm0"), &mut w).unwrap_err();
        assert!(e.message.contains("the whole path"), "{}", e.message);
    }
}

//! What a lease does to the stack: address, routes, MTU, resolv.conf, the script. And how it is undone.

use super::{Options, place};
use crate::addr::mask_of;
use crate::conn::Conn;
use crate::resolvconf::{Entry, Part, Place, Source, Told};
use crate::tool::{Failure, Stack, ask};
use iopkt_autoconf::dhcp::{Lease, Route};
use iopkt_base::Instant;
use iopkt_ctl::{AddrInfo, AddrState, Ifconf, Reply, Request, RouteInfo, rtf};
use iopkt_slog::{Severity, Sink};
use iopkt_sys::clock;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

/// The script, below the stack's root.
const SCRIPT: &str = "/etc/dhcp/dhcp-up";

/// A lease in use.
pub struct Applied {
    name: String,
    lease: Lease,
    routes: Vec<RouteInfo>,
    /// The MTU before.
    mtu: Option<u32>,
    /// Our part of resolv.conf.
    names: Option<Part>,
}

fn address(l: &Lease) -> AddrInfo {
    AddrInfo {
        addr: l.addr.into(),
        prefix_len: l.prefix_len,
        broadcast: l.broadcast.map(IpAddr::V4),
        peer: None,
        state: AddrState::Valid,
    }
}

fn route(name: &str, r: &Route) -> RouteInfo {
    let via = !r.gateway.is_unspecified();
    let host = if r.prefix_len == 32 { rtf::HOST } else { 0 };
    RouteInfo {
        gateway: via.then_some(IpAddr::V4(r.gateway)),
        ifname: (!via).then(|| name.into()),
        flags: rtf::STATIC | host | if via { rtf::GATEWAY } else { 0 },
        ..RouteInfo::to(r.to.into(), r.prefix_len)
    }
}

impl Applied {
    /// Sets everything. Only the address must succeed.
    ///
    /// # Errors
    /// The stack refuses the address, or has ended.
    pub fn bind(
        o: &Options,
        conn: &mut Conn,
        i: &Ifconf,
        l: &Lease,
        sink: &Sink,
    ) -> Result<Applied, Failure> {
        let name = i.name.clone();
        let add = Request::AddAddr { name: name.clone(), addr: address(l), replace: !o.alias };
        ask(conn, &format!("{name}: {}", l.addr), &add)?;
        let mut a = Applied { name, lease: l.clone(), routes: Vec::new(), mtu: None, names: None };
        if let Some(mtu) = l.mtu.map(u32::from).filter(|m| *m < i.mtu) {
            match ask(conn, &a.name, &Request::SetMtu { name: a.name.clone(), mtu }) {
                Ok(_) => a.mtu = Some(i.mtu),
                Err(e) => sink.line(Severity::Warning, &format!("MTU {mtu}: {}", e.message)),
            }
        }
        a.set_routes(o, conn, sink);
        a.resolv(o, sink);
        a.script(o, "BOUND", sink);
        Ok(a)
    }

    fn set_routes(&mut self, o: &Options, conn: &mut Conn, sink: &Sink) {
        if o.no_routes {
            return;
        }
        for r in &self.lease.routes {
            let r = route(&self.name, r);
            match conn.ask(&Request::AddRoute(r.clone())) {
                Ok(Reply::Ok) => self.routes.push(r),
                Ok(Reply::Err { errno, why }) => {
                    sink.line(
                        Severity::Warning,
                        &format!("route to {}/{}: {errno} {why}", r.dst, r.prefix_len),
                    );
                }
                Ok(r) => sink.line(Severity::Warning, &format!("route: {r:?}")),
                Err(e) => sink.line(Severity::Warning, &format!("route: {e}")),
            }
        }
    }

    /// The lease goes on, with the values that it has now.
    ///
    /// # Errors
    /// The stack has ended.
    pub fn renew(&mut self, o: &Options, conn: &mut Conn, l: &Lease, sink: &Sink) -> Result<(), Failure> {
        let old = std::mem::replace(&mut self.lease, l.clone());
        if old.routes != l.routes {
            self.drop_routes(conn, sink);
            self.set_routes(o, conn, sink);
        }
        if (&old.dns, &old.domain) != (&l.dns, &l.domain) {
            self.resolv(o, sink);
        }
        self.script(o, "RENEW", sink);
        Ok(())
    }

    fn drop_routes(&mut self, conn: &mut Conn, sink: &Sink) {
        for r in self.routes.drain(..) {
            if let Err(e) = conn.ask(&Request::DelRoute(r)) {
                sink.line(Severity::Warning, &format!("route: {e}"));
            }
        }
    }

    /// Takes everything back; what is gone already is no error.
    pub fn remove(mut self, o: &Options, conn: &mut Conn, why: &str, sink: &Sink) {
        self.drop_routes(conn, sink);
        let del = Request::DelAddr { name: self.name.clone(), addr: Some(self.lease.addr.into()) };
        if let Err(e) = conn.ask(&del) {
            sink.line(Severity::Warning, &format!("{}: {e}", self.lease.addr));
        }
        if let Some(mtu) = self.mtu {
            let _ = conn.ask(&Request::SetMtu { name: self.name.clone(), mtu });
        }
        self.names = None;
        self.script(o, why, sink);
    }

    /// Our part of resolv.conf(5) of this stack.
    fn resolv(&mut self, o: &Options, sink: &Sink) {
        if o.no_resolv || (self.lease.dns.is_empty() && self.names.is_none()) {
            return;
        }
        if let Err(e) = self.tell(o) {
            sink.line(Severity::Warning, &e);
        }
    }

    fn tell(&mut self, o: &Options) -> Result<(), String> {
        let l = &self.lease;
        let domain = l.domain.as_ref().filter(|_| !o.no_domain && !l.dns.is_empty());
        let told = Told {
            servers: l.dns.iter().map(|s| Entry::plain(s.to_string())).collect(),
            domains: domain.map(|d| Entry::plain(d.as_str())).into_iter().collect(),
        };
        let part = match self.names.take() {
            Some(p) => p,
            None => Part::take(&Place::find(), &self.name, Source::Dhcp)?,
        };
        self.names.insert(part).tell(told)
    }

    /// The end, and everything stays as it is.
    pub fn leave(self, sink: &Sink) {
        let left = self.lease.end.since(clock::monotonic()).as_secs();
        let left = (self.lease.end != Instant::FAR).then_some(left);
        if let Some(Err(e)) = self.names.map(|p| p.keep(left)) {
            sink.line(Severity::Warning, &e);
        }
    }

    /// The script hears of it: interface and event as arguments, the values in its environment, as other clients name them.
    fn script(&self, o: &Options, event: &str, sink: &Sink) {
        let path = place(SCRIPT);
        if !path.is_file() {
            return;
        }
        let l = &self.lease;
        let list = |a: &[Ipv4Addr]| a.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" ");
        let routers: Vec<_> = l.routes.iter().filter(|r| r.prefix_len == 0).map(|r| r.gateway).collect();
        let mut c = Command::new(&path);
        c.args([&self.name, event]).stdin(Stdio::null());
        c.env("interface", &self.name)
            .env("reason", event)
            .env("new_ip_address", l.addr.to_string())
            .env("new_subnet_mask", Ipv4Addr::from(mask_of(l.prefix_len)).to_string())
            .env("new_routers", list(&routers))
            .env("new_domain_name_servers", list(&l.dns))
            .env("new_domain_name", l.domain.as_deref().unwrap_or_default())
            .env("new_dhcp_server_identifier", l.server.to_string());
        if let Some(n) = l.host_name.as_ref().filter(|_| !o.no_host_name) {
            c.env("new_host_name", n);
        }
        match c.status() {
            Ok(s) if s.success() => {}
            Ok(s) => sink.line(Severity::Warning, &format!("{}: {s}", path.display())),
            Err(e) => sink.line(Severity::Warning, &format!("{}: {e}", path.display())),
        }
    }
}

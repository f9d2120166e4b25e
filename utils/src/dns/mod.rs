//! Names by DNS, asked through the stack itself: a stub resolver (RFC 1035 section 7) over io-pkt's own UDP, and TCP for
//! answers that do not fit. Not done: EDNS, DNSSEC, caching.

mod conf;
mod wire;

pub use conf::{Conf, Server};
use iopkt_client::{Session, TcpStream, UdpSocket};
use iopkt_ctl::{NdReply, NdRequest, Reply, Request};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};
use wire::Answer;

/// How questions travel.
pub trait Exchange {
    /// Asks by UDP and waits for a message from that server; `None` when the time is over. `good` says whether a
    /// message is the answer; others are passed over.
    ///
    /// # Errors
    /// The server cannot be reached.
    fn udp(
        &mut self,
        server: &Server,
        question: &[u8],
        wait: Duration,
        good: &dyn Fn(&[u8]) -> bool,
    ) -> io::Result<Option<Vec<u8>>>;

    /// Asks by TCP.
    ///
    /// # Errors
    /// As [`Exchange::udp`], and the time is over.
    fn tcp(&mut self, server: &Server, question: &[u8], wait: Duration) -> io::Result<Vec<u8>>;

    /// A number for the next question that nobody can guess.
    fn id(&mut self) -> u16;

    /// The addresses in the order in which they should be tried (RFC 6724 section 6), as the stack has it; as they are without a stack.
    fn order(&mut self, list: Vec<Ipv6Addr>) -> Vec<Ipv6Addr> {
        list
    }
}

/// Why there is no address.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// resolv.conf names no server.
    NoServer(String),
    /// The name does not exist.
    Unknown,
    /// It exists, without an address of the family.
    NoAddress,
    /// No server answered: what the last one met.
    NoAnswer(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoServer(path) => write!(f, "not in /etc/hosts, and {path} names no name server"),
            Error::Unknown => f.write_str("Unknown host"),
            Error::NoAddress => f.write_str("No address associated with name"),
            Error::NoAnswer(why) => write!(f, "Host name lookup failure: {why}"),
        }
    }
}

/// The IPv4 addresses of a name.
///
/// # Errors
/// See [`Error`].
pub fn addresses(x: &mut dyn Exchange, c: &Conf, name: &str) -> Result<Vec<Ipv4Addr>, Error> {
    find(x, c, name, wire::A, |a| if let Answer::Found(l, ..) = a { l } else { Vec::new() })
}

/// The IPv6 addresses of a name.
///
/// # Errors
/// See [`Error`].
pub fn addresses6(x: &mut dyn Exchange, c: &Conf, name: &str) -> Result<Vec<Ipv6Addr>, Error> {
    find(x, c, name, wire::AAAA, |a| if let Answer::Found(_, _, l) = a { l } else { Vec::new() })
}

fn find<T>(
    x: &mut dyn Exchange,
    c: &Conf,
    name: &str,
    ty: u16,
    list: impl Fn(Answer) -> Vec<T>,
) -> Result<Vec<T>, Error> {
    if c.servers.is_empty() {
        return Err(Error::NoServer(c.path.display().to_string()));
    }
    let mut best = Error::Unknown;
    for full in c.candidates(name) {
        // Who does not answer for one domain will not for the next.
        let got = ask(x, c, &full, ty)?;
        let found = matches!(got, Answer::Found(..));
        let l = list(got);
        if !l.is_empty() {
            return Ok(l);
        }
        if found {
            best = Error::NoAddress;
        }
    }
    Err(best)
}

/// The name of an address, if DNS knows one.
///
/// # Errors
/// No server answered.
pub fn name_of(x: &mut dyn Exchange, c: &Conf, a: IpAddr) -> Result<Option<String>, Error> {
    match ask(x, c, &reverse(a), wire::PTR)? {
        Answer::Found(_, name, _) => Ok(name.filter(|n| !n.is_empty())),
        _ => Ok(None),
    }
}

/// The domain name that stands for an address (RFC 1035 3.5, RFC 3596 2.5).
fn reverse(a: IpAddr) -> String {
    match a {
        IpAddr::V4(a) => {
            let [p, q, r, s] = a.octets();
            format!("{s}.{r}.{q}.{p}.in-addr.arpa")
        }
        IpAddr::V6(a) => {
            let digits = format!("{:032x}", a.to_bits());
            digits.chars().rev().map(|c| format!("{c}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// Asks the servers in turn until one knows.
fn ask(x: &mut dyn Exchange, c: &Conf, name: &str, ty: u16) -> Result<Answer, Error> {
    let mut last = "no answer".to_string();
    for _ in 0..c.attempts {
        for server in &c.servers {
            let Some(q) = wire::question(x.id(), name, ty) else { return Ok(Answer::NoName) };
            let good = |m: &[u8]| wire::answer(&q, m).is_some();
            let mut got = x.udp(server, &q, c.timeout, &good);
            if let Ok(Some(m)) = &got
                && wire::answer(&q, m) == Some(Answer::Truncated)
            {
                got = x.tcp(server, &q, c.timeout).map(Some);
            }
            match got.map(|m| m.and_then(|m| wire::answer(&q, &m))) {
                Ok(Some(a @ (Answer::Found(..) | Answer::NoName))) => return Ok(a),
                Ok(Some(Answer::Refused(code))) => last = format!("{server} refuses (code {code})"),
                Ok(Some(Answer::Truncated)) => last = format!("{server}: the answer is cut off"),
                Ok(None) => last = format!("{server} does not answer"),
                Err(e) => last = format!("{server}: {}", text_of(&e)),
            }
        }
    }
    Err(Error::NoAnswer(last))
}

/// BSD's words for an error of a socket.
pub fn text_of(e: &io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |n| iopkt_base::Errno(n).text().to_string())
}

/// The same for an interface that was named: Linux's ENODEV for one that is not there is BSD's ENXIO.
pub fn text_of_if(e: &io::Error) -> String {
    if e.raw_os_error() == Some(libc::ENODEV) {
        iopkt_base::Errno::ENXIO.text().to_string()
    } else {
        text_of(e)
    }
}

/// [`Exchange`] over a session's sockets.
pub struct Net<'a>(pub &'a Session);

impl Net<'_> {
    /// Where a server is asked; the zone's name becomes the interface's number of this moment.
    fn address(&self, server: &Server) -> io::Result<SocketAddr> {
        let (IpAddr::V6(a), Some(zone)) = (server.addr, server.zone.as_deref()) else {
            return Ok(SocketAddr::new(server.addr, 53));
        };
        let scope = match zone.parse::<u32>() {
            Ok(n) => n,
            Err(_) => crate::ping6::scope(self.0, a, Some(zone)).map_err(io::Error::other)?,
        };
        Ok(SocketAddrV6::new(a, 53, 0, scope).into())
    }
}

impl Exchange for Net<'_> {
    fn udp(
        &mut self,
        server: &Server,
        question: &[u8],
        wait: Duration,
        good: &dyn Fn(&[u8]) -> bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let to = self.address(server)?;
        let any = match server.addr {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let s = UdpSocket::bind(self.0, SocketAddr::new(any, 0))?;
        // Connected: only this server is heard, and a port that nobody has is told.
        s.connect(Some(to))?;
        s.send(question)?;
        let (end, mut buf) = (Instant::now() + wait, vec![0; 65_536]);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            s.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match s.recv_meta(&mut buf) {
                Ok((n, _)) if good(&buf[..n]) => return Ok(Some(buf[..n].to_vec())),
                Ok(_) => {}
                Err(e) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&e.kind()) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn tcp(&mut self, server: &Server, question: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
        let mut s = TcpStream::connect_timeout(self.0, self.address(server)?, wait)?;
        s.set_read_timeout(Some(wait))?;
        let mut m = (question.len() as u16).to_be_bytes().to_vec();
        m.extend_from_slice(question);
        s.write_all(&m)?;
        let mut len = [0; 2];
        s.read_exact(&mut len)?;
        let mut m = vec![0; usize::from(u16::from_be_bytes(len))];
        s.read_exact(&mut m)?;
        Ok(m)
    }

    fn order(&mut self, list: Vec<Ipv6Addr>) -> Vec<Ipv6Addr> {
        if list.len() < 2 {
            return list;
        }
        let r = NdRequest::Order(list.iter().map(|a| IpAddr::V6(*a)).collect());
        match self.0.ctl(&Request::Nd(r)) {
            Ok(Reply::Nd(NdReply::Order(l))) => {
                l.into_iter().filter_map(|a| if let IpAddr::V6(a) = a { Some(a) } else { None }).collect()
            }
            _ => list,
        }
    }

    fn id(&mut self) -> u16 {
        // Without randomness the source port is all that protects; the stack chooses it at random.
        iopkt_sys::random::u64().map_or(1, |n| n as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::wire::tests::reply;
    use super::*;

    /// What a server does with a question.
    type Does = fn(&[u8]) -> Option<Vec<u8>>;

    /// Servers by address.
    struct Far {
        answers: Vec<(IpAddr, Does)>,
        asked: Vec<(IpAddr, bool)>,
    }

    impl Exchange for Far {
        fn udp(
            &mut self,
            server: &Server,
            q: &[u8],
            _: Duration,
            good: &dyn Fn(&[u8]) -> bool,
        ) -> io::Result<Option<Vec<u8>>> {
            self.asked.push((server.addr, false));
            let f = self.answers.iter().find(|a| a.0 == server.addr).expect("a server of ours").1;
            Ok(f(q).filter(|m| good(m)))
        }
        fn tcp(&mut self, server: &Server, q: &[u8], _: Duration) -> io::Result<Vec<u8>> {
            self.asked.push((server.addr, true));
            Ok(reply(q, 0, &[(None, wire::A, vec![10, 0, 0, 9])]))
        }
        fn id(&mut self) -> u16 {
            77
        }
    }

    fn far(answers: &[Does]) -> (Far, Conf) {
        let answers: Vec<(IpAddr, Does)> =
            answers.iter().enumerate().map(|(i, f)| (Ipv4Addr::new(10, 0, 0, i as u8).into(), *f)).collect();
        let mut c = Conf::parse("/r/resolv.conf".into(), "search a.test");
        c.servers = answers.iter().map(|a| a.0.into()).collect();
        (Far { answers, asked: Vec::new() }, c)
    }

    #[test]
    fn addresses_of_ipv6_and_their_servers() {
        let (mut x, mut c) = far(&[|q| Some(reply(q, 0, &[(None, wire::AAAA, vec![0x20; 16])]))]);
        let server: IpAddr = "2001:db8::53".parse().expect("address");
        x.answers[0].0 = server;
        c.servers = vec![server.into()];
        assert_eq!(addresses6(&mut x, &c, "www."), Ok(vec![Ipv6Addr::from([0x20; 16])]));
        assert_eq!(x.asked, [(server, false)]);
        assert_eq!(addresses(&mut x, &c, "www."), Err(Error::NoAddress));
    }

    #[test]
    fn the_next_server_is_asked_when_one_fails() {
        let (mut x, c) =
            far(&[|_| None, |q| Some(reply(q, 2, &[])), |q| Some(reply(q, 0, &[(None, 1, vec![1; 4])]))]);
        assert_eq!(addresses(&mut x, &c, "www"), Ok(vec![Ipv4Addr::from([1; 4])]));
        assert_eq!(x.asked.len(), 3);
        let (mut x, c) = far(&[|_| None]);
        assert_eq!(addresses(&mut x, &c, "www"), Err(Error::NoAnswer("10.0.0.0 does not answer".into())));
        assert_eq!(x.asked.len(), 2, "two rounds, and not again for the next domain");
    }

    #[test]
    fn names_that_are_not_there() {
        let (mut x, c) = far(&[|q| Some(reply(q, 3, &[]))]);
        assert_eq!(addresses(&mut x, &c, "www"), Err(Error::Unknown));
        assert_eq!(x.asked.len(), 2, "with the domain, and as it stands");
        let (mut x, c) = far(&[|q| Some(reply(q, 0, &[]))]);
        assert_eq!(addresses(&mut x, &c, "www."), Err(Error::NoAddress));
        assert_eq!(name_of(&mut x, &c, Ipv4Addr::LOCALHOST.into()), Ok(None));
        assert_eq!(reverse([10, 1, 2, 3].into()), "3.2.1.10.in-addr.arpa");
        let six = reverse("2001:db8::1".parse().expect("address"));
        assert!(six.starts_with("1.0.0.0.") && six.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"), "{six}");
        let (mut x, mut c) = far(&[]);
        c.servers.clear();
        let e = addresses(&mut x, &c, "www").expect_err("no server").to_string();
        assert_eq!(e, "not in /etc/hosts, and /r/resolv.conf names no name server");
    }

    #[test]
    fn what_does_not_fit_comes_by_tcp() {
        let (mut x, c) = far(&[|q| Some(reply(q, 0x200, &[]))]);
        assert_eq!(addresses(&mut x, &c, "www."), Ok(vec![Ipv4Addr::new(10, 0, 0, 9)]));
        assert_eq!(x.asked, [(IpAddr::from([10, 0, 0, 0]), false), (IpAddr::from([10, 0, 0, 0]), true)]);
    }
}

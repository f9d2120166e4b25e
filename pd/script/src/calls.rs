//! System calls of a script: arguments to calls of the world, answers to what the script expects.

use crate::ast::Expr;
use crate::ends::Variant;
use iopkt_base::{Errno, Result};
use iopkt_world::{Answer, Call, Pending, World, encode_name};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Port of both sides where a script says `...`.
pub(crate) const PORT: u16 = 8080;

/// What became of a call.
pub(crate) enum Made {
    /// It returned.
    Done(Result<Answer>),
    /// It waits.
    Blocks(Box<Pending>),
}

/// The descriptors of a script, and the names that it gives things.
#[derive(Debug, Default)]
pub(crate) struct Files {
    map: HashMap<i64, i32>,
    variant: Variant,
}

/// The script makes no sense; said in words.
type Meant<T> = std::result::Result<T, String>;

fn int(e: Option<&Expr>, what: &str) -> Meant<i64> {
    match e {
        Some(Expr::Int(n)) => Ok(*n),
        Some(Expr::Name(n)) => Err(format!("{n} is no known constant ({what})")),
        Some(_) => Err(format!("{what} is a number")),
        None => Err(format!("{what} is missing")),
    }
}

fn small(e: Option<&Expr>, what: &str) -> Meant<i32> {
    let n = int(e, what)?;
    // Constants with the highest bit are written without a sign.
    i32::try_from(n)
        .or_else(|_| u32::try_from(n).map(|n| n as i32))
        .map_err(|_| format!("{what}: {n} is too large"))
}

fn member<'a>(s: &'a [(String, Expr)], name: &str) -> Option<&'a Expr> {
    s.iter().find(|m| m.0 == name).map(|m| &m.1)
}

/// A socket address: `...`, or `{sa_family = AF_INET, sin_port = htons(1), sin_addr = inet_addr("1.2.3.4")}`.
fn name(e: Option<&Expr>, default: IpAddr) -> Meant<Vec<u8>> {
    match e {
        Some(Expr::Ellipsis) => Ok(encode_name((default, PORT).into())),
        Some(Expr::Struct(s)) => {
            let family = int(member(s, "sa_family"), "sa_family")?;
            if family != 2 {
                return Ok((family as u16).to_ne_bytes().iter().copied().chain([0; 14]).collect());
            }
            let port = match member(s, "sin_port") {
                Some(Expr::Call(f, a)) if f == "htons" => int(a.first(), "a port")?,
                e => int(e, "sin_port")?,
            };
            let addr = match member(s, "sin_addr") {
                Some(Expr::Call(f, a)) if f == "inet_addr" => match a.first() {
                    Some(Expr::Text(t)) => {
                        t.parse::<Ipv4Addr>().map_err(|_| format!("{t} is no address"))?.into()
                    }
                    _ => return Err("inet_addr(\"1.2.3.4\")".into()),
                },
                Some(Expr::Ellipsis) | None => default,
                _ => return Err("sin_addr = inet_addr(\"1.2.3.4\")".into()),
            };
            let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
            Ok(encode_name(SocketAddr::new(addr, port)))
        }
        _ => Err("a socket address is ... or {sa_family = AF_INET, ...}".into()),
    }
}

/// Bytes of an iovec list: `[{..., 40}, {..., 60}]`.
fn iovec(e: Option<&Expr>) -> Meant<usize> {
    let Some(Expr::List(l)) = e else { return Err("an iovec is a list: [{..., 40}]".into()) };
    l.iter()
        .map(|io| match io {
            Expr::Struct(s) => len(s.get(1).map(|m| &m.1)),
            _ => Err("an iovec is {..., bytes}".into()),
        })
        .sum()
}

fn len(e: Option<&Expr>) -> Meant<usize> {
    let n = int(e, "a length")?;
    usize::try_from(n).ok().filter(|n| *n <= 1 << 26).ok_or(format!("a length of {n}"))
}

/// The value of an option: `[1]`, `"cubic"`, `{onoff=1, linger=0}`, `{tv_sec=1, tv_usec=0}`, `...`.
fn value(e: Option<&Expr>, n: usize) -> Meant<Vec<u8>> {
    let word = |v: i64| v.to_ne_bytes()[..4].to_vec();
    let mut b = match e {
        Some(Expr::List(l)) => {
            let mut b = Vec::new();
            for v in l {
                match v {
                    Expr::Struct(_) | Expr::Text(_) => b.extend(value(Some(v), n)?),
                    v => b.extend(word(int(Some(v), "a value")?)),
                }
            }
            b
        }
        Some(Expr::Text(t)) => t.as_bytes().to_vec(),
        Some(Expr::Struct(s)) if member(s, "onoff").is_some() => {
            let mut b = word(int(member(s, "onoff"), "onoff")?);
            b.extend(word(int(member(s, "linger"), "linger")?));
            b
        }
        Some(Expr::Struct(s)) if member(s, "tv_sec").is_some() => {
            let mut b = int(member(s, "tv_sec"), "tv_sec")?.to_ne_bytes().to_vec();
            b.extend(int(member(s, "tv_usec"), "tv_usec")?.to_ne_bytes());
            b
        }
        Some(Expr::Ellipsis) => vec![0; n],
        _ => return Err("a value is [number], \"text\" or {onoff=1, linger=0}".into()),
    };
    b.resize(n, 0);
    Ok(b)
}

fn bare(ret: i32) -> Answer {
    Answer { ret: ret.into(), ..Answer::default() }
}

impl Files {
    pub fn new(variant: Variant) -> Files {
        Files { variant, ..Files::default() }
    }

    /// The stack's address, or the peer's, as sockets have it.
    fn end(&self, peer: bool) -> IpAddr {
        let e = self.variant.ends();
        self.variant.socket_address(if peer { e.remote } else { e.local })
    }

    fn fd(&self, e: Option<&Expr>) -> Meant<i32> {
        let n = int(e, "a descriptor")?;
        // One that the script never made is one that is not open.
        Ok(self.map.get(&n).copied().unwrap_or(-1))
    }

    /// A call made a descriptor: the script's number is its result.
    pub fn made(&mut self, script: i64, live: i64) {
        self.map.insert(script, live as i32);
    }

    /// Makes a call.
    pub fn call(&self, w: &mut World, call: &str, a: &[Expr]) -> Meant<Made> {
        if let Some(c) = self.waiting(call, a)? {
            let mut p = w.begin(c);
            return Ok(match w.attempt(&mut p) {
                Some(r) => Made::Done(r),
                None => Made::Blocks(Box::new(p)),
            });
        }
        let fd = |n: usize| self.fd(a.get(n));
        let arg = |n: usize| small(a.get(n), "an argument");
        let r = match call {
            "socket" => {
                let domain = if a.first() == Some(&Expr::Ellipsis) { self.variant.domain() } else { arg(0)? };
                w.socket(None, domain, arg(1)?, arg(2)?).map(bare)
            }
            "bind" => w.bind(fd(0)?, &name(a.get(1), self.end(false))?).map(bare),
            "listen" => w.listen(fd(0)?, arg(1)?).map(bare),
            "close" => w.close(fd(0)?).map(bare),
            "shutdown" => w.shutdown(fd(0)?, arg(1)?).map(bare),
            "fcntl" => {
                w.fcntl(fd(0)?, arg(1)?, a.get(2).map_or(Ok(0), |e| int(Some(e), "a flag"))?).map(bare)
            }
            "epoll_create" => w.epoll_create(None, arg(0)?).map(bare),
            "epoll_ctl" => {
                let (events, data) = epoll_event(a.get(3))?;
                w.epoll_ctl(fd(0)?, arg(1)?, fd(2)?, events, data).map(bare)
            }
            "setsockopt" => {
                let n = len(a.get(4))?;
                w.setsockopt(fd(0)?, arg(1)?, arg(2)?, &value(a.get(3), n)?).map(bare)
            }
            "getsockopt" => {
                let room = match a.get(4) {
                    Some(Expr::List(l)) => len(l.first())?,
                    e => len(e)?,
                };
                w.getsockopt(fd(0)?, arg(1)?, arg(2)?, room).map(|data| Answer { data, ..Answer::default() })
            }
            "ioctl" => w
                .ioctl(fd(0)?, int(a.get(1), "a request")? as u64, 0)
                .map(|v| Answer { data: v.unwrap_or(0).to_ne_bytes().to_vec(), ..Answer::default() }),
            _ => return Err(format!("{call}: that call is not known here")),
        };
        Ok(Made::Done(r))
    }

    /// Calls that may wait.
    fn waiting(&self, call: &str, a: &[Expr]) -> Meant<Option<Call>> {
        let fd = self.fd(a.first());
        let flags = |n: usize| small(a.get(n), "flags");
        let recv = |len, flags| fd.clone().map(|fd| Call::Recv { fd, len, flags, room: 0 });
        let send = |n: usize, flags, name| {
            fd.clone().map(|fd| Call::Send { fd, data: vec![0; n], flags, name, control: Vec::new() })
        };
        Ok(Some(match call {
            "accept" => Call::Accept { fd: fd?, flags: 0 },
            "connect" => Call::Connect { fd: fd?, name: name(a.get(1), self.end(true))? },
            "read" => recv(len(a.get(2))?, 0)?,
            "readv" => recv(iovec(a.get(1))?, 0)?,
            "recv" | "recvfrom" => recv(len(a.get(2))?, flags(3)?)?,
            "write" => send(len(a.get(2))?, 0, None)?,
            "writev" => send(iovec(a.get(1))?, 0, None)?,
            "send" => send(len(a.get(2))?, flags(3)?, None)?,
            "sendto" => {
                let to = a.get(4).map(|_| name(a.get(4), self.end(true))).transpose()?;
                send(len(a.get(2))?, flags(3)?, to)?
            }
            "sendmsg" | "recvmsg" => {
                let Some(Expr::Struct(m)) = a.get(1) else {
                    return Err("a message is {msg_iov(1)=[...]}".into());
                };
                let n = iovec(member(m, "msg_iov"))?;
                if call == "recvmsg" {
                    recv(n, flags(2)?)?
                } else {
                    let to = member(m, "msg_name").map(|e| name(Some(e), self.end(true))).transpose()?;
                    send(n, flags(2)?, to)?
                }
            }
            "poll" => {
                let Some(Expr::List(l)) = a.first() else {
                    return Err("poll([{fd=3, events=POLLIN}], ...)".into());
                };
                let one = |e: &Expr| match e {
                    Expr::Struct(s) => {
                        Ok((self.fd(member(s, "fd"))?, small(member(s, "events"), "events")? as i16))
                    }
                    _ => Err("a pollfd is {fd=3, events=POLLIN, revents=POLLIN}".to_string()),
                };
                Call::Poll { fds: l.iter().map(one).collect::<Meant<_>>()?, timeout: flags(2)? }
            }
            "epoll_wait" => {
                Call::EpollWait { fd: fd?, max: len(a.get(2))?, timeout: small(a.get(3), "a time-out")? }
            }
            _ => return Ok(None),
        }))
    }
}

fn epoll_event(e: Option<&Expr>) -> Meant<(u32, u64)> {
    match e {
        Some(Expr::Struct(s)) => {
            let data = ["fd", "u32", "u64", "ptr"].iter().find_map(|n| member(s, n));
            Ok((
                small(member(s, "events"), "events")? as u32,
                data.map_or(Ok(0), |e| int(Some(e), "data"))? as u64,
            ))
        }
        Some(Expr::Int(0)) | None => Ok((0, 0)),
        _ => Err("an epoll_event is {events=EPOLLIN, fd=3}".into()),
    }
}

/// Whether a call gave what the script says; the difference in words.
pub(crate) fn verify(
    call: &str,
    args: &[Expr],
    want: &Expr,
    errno: Option<&str>,
    got: &Result<Answer>,
) -> std::result::Result<(), String> {
    let makes_fd = matches!(call, "socket" | "accept" | "epoll_create");
    let expected = match want {
        Expr::Ellipsis => None,
        e => Some(int(Some(e), "the result")?),
    };
    let show = |e: &Errno| format!("-1 {} ({})", e.name(), e.text());
    match (got, expected) {
        (Err(e), Some(-1)) => {
            let w =
                errno.map(|n| crate::symbols::errno(n).ok_or(format!("{n}: no such errno"))).transpose()?;
            if w.is_some_and(|w| w != *e) {
                return Err(format!("expected errno {}, got {}", errno.unwrap_or(""), show(e)));
            }
            return Ok(());
        }
        (Err(e), w) => return Err(format!("expected {}, got {}", w.unwrap_or(0), show(e))),
        (Ok(a), Some(w)) if w < 0 || (!makes_fd && a.ret != w) => {
            return Err(format!(
                "expected {w}{}, got {}",
                errno.map_or(String::new(), |e| format!(" {e}")),
                a.ret
            ));
        }
        (Ok(_), _) => {}
    }
    let Ok(a) = got else { return Ok(()) };
    match call {
        "getsockopt" => same_value(args.get(3), &a.data),
        "ioctl" => same_value(args.get(2), &a.data),
        "poll" => revents(args.first(), a),
        "epoll_wait" if a.ret > 0 => events(args.get(1), a),
        _ => Ok(()),
    }
}

fn same_value(want: Option<&Expr>, got: &[u8]) -> std::result::Result<(), String> {
    if matches!(want, Some(Expr::Ellipsis) | None) {
        return Ok(());
    }
    // `[...]`: any number.
    if let Some(Expr::List(l)) = want
        && l.first() == Some(&Expr::Ellipsis)
    {
        return Ok(());
    }
    let w = value(want, got.len())?;
    if w == got {
        return Ok(());
    }
    let number = |b: &[u8]| b.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
    Err(match want {
        Some(Expr::Text(t)) => format!("expected the value {t:?}, got {:?}", String::from_utf8_lossy(got)),
        _ => format!("expected the value {}, got {}", number(&w), number(got)),
    })
}

fn revents(want: Option<&Expr>, a: &Answer) -> std::result::Result<(), String> {
    let Some(Expr::List(l)) = want else { return Ok(()) };
    for (n, (e, got)) in l.iter().zip(&a.ready).enumerate() {
        if let Expr::Struct(s) = e
            && let Some(w) = member(s, "revents")
            && small(Some(w), "revents")? as u32 != got.0
        {
            return Err(format!("pollfd {n}: expected revents {w:?}, got {:#x}", got.0));
        }
    }
    Ok(())
}

fn events(want: Option<&Expr>, a: &Answer) -> std::result::Result<(), String> {
    let list = match want {
        Some(Expr::List(l)) => l.clone(),
        Some(e @ Expr::Struct(_)) => vec![e.clone()],
        _ => return Ok(()),
    };
    for (n, e) in list.iter().enumerate().take(a.ret as usize) {
        let w = epoll_event(Some(e))?;
        match a.ready.get(n) {
            Some(g) if *g == w => {}
            g => return Err(format!("event {n}: expected events {:#x} data {}, got {g:x?}", w.0, w.1)),
        }
    }
    Ok(())
}

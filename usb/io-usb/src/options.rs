//! The command line, and the options of `-d sim`.

use crate::far::FarSpec;
use crate::usbfs::Filter;
use iopkt_gadget::faults::LinkFaults;
use iopkt_gadget::modem::{ModemConfig, NcmConfig, Odd};
use std::net::SocketAddr;
use std::time::Duration;

/// What the process shall do.
#[derive(Debug)]
pub enum Invocation {
    /// Print the help and end.
    Help,
    /// Print the version and end.
    Version,
    /// Be the USB stack manager.
    Serve(Serve),
    /// Tell the running manager something (`-c`).
    Control {
        /// Documented name of its socket.
        name: String,
        /// The command, words joined by blanks.
        command: String,
    },
}

/// Options of the manager.
#[derive(Debug)]
pub struct Serve {
    /// Documented name of the socket, by default /dev/usb.
    pub name: String,
    /// TCP addresses to listen on too.
    pub listen: Vec<SocketAddr>,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Log to the console too; more for more.
    pub verbose: u8,
    /// Simulated devices.
    pub devices: Vec<SimDevice>,
    /// `-d usbfs`: which devices of this machine.
    pub usbfs: Vec<Filter>,
    /// `-d usbip`: HOST:PORT of other servers.
    pub remotes: Vec<String>,
    /// Retries of an import (`-r`).
    pub retries: u32,
    /// Time-out of control transfers (`-T`).
    pub timeout: Duration,
    /// QNX priority of the loop (`-P`), when given.
    pub priority: Option<u8>,
    /// QNX priority of enumeration (`-E`, `-e`), when given.
    pub enumeration: Option<u8>,
    /// Group that may use the socket (`-g`).
    pub group: Option<String>,
}

/// One `-d sim`.
#[derive(Debug)]
pub struct SimDevice {
    /// What the modem is.
    pub modem: ModemConfig,
    /// What is on the other side of its network.
    pub far: FarSpec,
    /// Faults of its link from the start.
    pub link: LinkFaults,
    /// Whether it is plugged in from the start.
    pub plugged: bool,
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Invocation, String> {
    use lexopt::prelude::*;
    let mut p = lexopt::Parser::from_args(args);
    let mut s = Serve {
        name: iopkt_sys::paths::USB.into(),
        listen: Vec::new(),
        foreground: false,
        verbose: 0,
        devices: Vec::new(),
        usbfs: Vec::new(),
        remotes: Vec::new(),
        retries: 3,
        timeout: Duration::from_millis(2000),
        priority: None,
        enumeration: None,
        group: None,
    };
    let mut command = None;
    let text = |v: std::ffi::OsString| v.into_string().map_err(|v| format!("{v:?} is not text"));
    while let Some(arg) = p.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Invocation::Help),
            Short('V') | Long("version") => return Ok(Invocation::Version),
            Short('f') | Long("foreground") => s.foreground = true,
            Short('v') | Long("verbose") => s.verbose = s.verbose.saturating_add(1),
            Short('n') => s.name = text(p.value().map_err(|e| e.to_string())?)?,
            Short('l') | Long("listen") => {
                let v = text(p.value().map_err(|e| e.to_string())?)?;
                s.listen.push(v.parse().map_err(|_| {
                    format!("-l {v}: not an address and port, such as 127.0.0.1:3240 or [::1]:3240")
                })?);
            }
            Short('d') => {
                let bus = text(p.value().map_err(|e| e.to_string())?)?;
                // QNX: the options are the next word, separated by commas; "-d sim,opts" is taken too.
                let (bus, mut opts) = match bus.split_once(',') {
                    Some((b, o)) => (b.to_owned(), o.to_owned()),
                    None => (bus, String::new()),
                };
                if let Some(raw) = p.try_raw_args()
                    && opts.is_empty()
                    && let Some(next) = raw.peek().and_then(|n| n.to_str())
                    && !next.starts_with('-')
                {
                    opts = next.to_owned();
                    raw_skip(&mut p);
                }
                s.bus(&bus, &opts).map_err(|e| format!("-d {bus} {opts}: {e}"))?;
            }
            Short('r') => s.retries = within("-r", &text(p.value().map_err(|e| e.to_string())?)?, 0..=100)?,
            Short('T') => {
                let ms = within("-T", &text(p.value().map_err(|e| e.to_string())?)?, 1..=60_000)?;
                s.timeout = Duration::from_millis(u64::from(ms));
            }
            Short('P') => {
                s.priority = Some(within("-P", &text(p.value().map_err(|e| e.to_string())?)?, 1..=63)? as u8);
            }
            Short('E' | 'e') => {
                let v = within("-E", &text(p.value().map_err(|e| e.to_string())?)?, 1..=63)?;
                s.enumeration = Some(v as u8);
            }
            Short('g') => s.group = Some(text(p.value().map_err(|e| e.to_string())?)?),
            Short('c') => {
                let mut words = vec![text(p.value().map_err(|e| e.to_string())?)?];
                for w in p.raw_args().map_err(|e| e.to_string())? {
                    words.push(text(w)?);
                }
                command = Some(words.join(" "));
            }
            Value(v) => {
                let v = text(v)?;
                return match v.strip_prefix("path=") {
                    Some(name) if !name.is_empty() => {
                        s.name = name.to_owned();
                        continue;
                    }
                    _ => Err(format!("{v}: no option; try io-usb --help")),
                };
            }
            other => return Err(format!("{}; try io-usb --help", other.unexpected())),
        }
    }
    if let Some(command) = command {
        return Ok(Invocation::Control { name: s.name, command });
    }
    if s.devices.is_empty() && s.usbfs.is_empty() && s.remotes.is_empty() {
        return Err("no bus: name one with -d, such as io-usb -d sim; try io-usb --help".into());
    }
    Ok(Invocation::Serve(s))
}

impl Serve {
    /// One `-d`.
    fn bus(&mut self, bus: &str, opts: &str) -> Result<(), String> {
        match bus {
            "sim" => self.devices.push(sim(opts, self.devices.len())?),
            "usbfs" => self.usbfs.push(usbfs(opts)?),
            "usbip" => self.remotes.push(usbip(opts)?),
            _ => return Err("no such bus; there are sim, usbfs and usbip".into()),
        }
        Ok(())
    }
}

/// Reads the options of `-d usbfs`.
///
/// # Errors
/// What is wrong, in words.
pub fn usbfs(opts: &str) -> Result<Filter, String> {
    let mut f = Filter::default();
    for o in opts.split(',').filter(|o| !o.is_empty()) {
        match o.split_once('=') {
            Some(("vid", v)) => f.vendor = Some(hex16(v)?),
            Some(("did" | "pid", v)) => f.product = Some(hex16(v)?),
            Some(("busno" | "busnum", v)) => f.bus = Some(byte(v)?),
            Some(("devno" | "devnum", v)) => f.address = Some(byte(v)?),
            Some(("busid", v)) if !v.is_empty() => f.busid = Some(v.into()),
            None if o == "keep" => f.keep = true,
            _ => {
                return Err(format!("unknown option \"{o}\"; there are vid= did= busno= devno= busid= keep"));
            }
        }
    }
    Ok(f)
}

/// Reads the options of `-d usbip`: `host=HOST:PORT`, or only `HOST:PORT`; the port may be left away.
///
/// # Errors
/// What is wrong, in words.
pub fn usbip(opts: &str) -> Result<String, String> {
    let mut host = None;
    for o in opts.split(',').filter(|o| !o.is_empty()) {
        match o.split_once('=') {
            Some(("host", v)) if !v.is_empty() => host = Some(v),
            None => host = Some(o),
            _ => return Err(format!("unknown option \"{o}\"; there is host=HOST:PORT")),
        }
    }
    let host = host.ok_or("it needs host=HOST:PORT")?;
    // An IPv6 address stands in brackets when a port follows.
    let (name, port) = match host.rsplit_once(':') {
        Some((n, p)) if !n.contains(':') || n.ends_with(']') => (n, Some(p)),
        _ => (host, None),
    };
    let port = match port {
        None => USBIP_PORT,
        Some(p) => p.parse().map_err(|_| format!("{p} is no port number"))?,
    };
    if name.is_empty() {
        return Err("it needs host=HOST:PORT".into());
    }
    match name.contains(':') && !name.starts_with('[') {
        true => Ok(format!("[{name}]:{port}")),
        false => Ok(format!("{name}:{port}")),
    }
}

/// Port of USB/IP servers.
const USBIP_PORT: u16 = 3240;

fn byte(v: &str) -> Result<u8, String> {
    let n = v.strip_prefix("0x").map_or_else(|| v.parse().ok(), |h| u8::from_str_radix(h, 16).ok());
    n.ok_or_else(|| format!("{v}: not a number from 0 to 255"))
}

fn within(name: &str, v: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    let n = v.parse().ok().filter(|n| range.contains(n));
    n.ok_or_else(|| format!("{name} {v}: not a number from {} to {}", range.start(), range.end()))
}

fn raw_skip(p: &mut lexopt::Parser) {
    if let Some(mut raw) = p.try_raw_args() {
        raw.next();
    }
}

/// Reads the options of one simulated device, separated by commas; `index` counts the devices.
///
/// # Errors
/// What is wrong, in words.
pub fn sim(opts: &str, index: usize) -> Result<SimDevice, String> {
    let n = index as u64 + 1;
    let mut modem = ModemConfig { serial: format!("{n:012}"), seed: n, ..ModemConfig::default() };
    let low = (n as u32).to_be_bytes();
    modem.mac = [0x02, 0x50, low[0], low[1], low[2], low[3]];
    let mut d = SimDevice { modem, far: FarSpec::host(index), link: LinkFaults::default(), plugged: true };
    for o in opts.split(',').filter(|o| !o.is_empty()) {
        let (name, value) = o.split_once('=').map_or((o, None), |(n, v)| (n, Some(v)));
        let need = || value.filter(|v| !v.is_empty()).ok_or(format!("{name} needs a value"));
        match name {
            "mac" => {
                let hex: String = need()?.chars().filter(|c| *c != ':').collect();
                d.modem.mac = iopkt_usbip::cdc::parse_mac(&hex)
                    .ok_or("mac= needs 12 hexadecimal digits of a unicast address")?;
            }
            "vid" => d.modem.vendor = hex16(need()?)?,
            "did" | "pid" => d.modem.product = hex16(need()?)?,
            "serial" => d.modem.serial = need()?.into(),
            "imei" => d.modem.identity.imei = digits(need()?, 15..=15)?,
            "imsi" => d.modem.identity.imsi = digits(need()?, 6..=15)?,
            "operator" => d.modem.identity.operator = need()?.replace('"', ""),
            "pin" => d.modem.pin = Some(digits(need()?, 4..=8)?),
            "call" => {
                d.modem.auto_call = match need()? {
                    "auto" => true,
                    "manual" => false,
                    v => return Err(format!("call={v}: it is auto or manual")),
                }
            }
            "down" => d.modem.down = number(name, need()?)?,
            "up" => d.modem.up = number(name, need()?)?,
            "seed" => d.modem.seed = number(name, need()?)?,
            "far" => d.far.set_kind(need()?)?,
            "addr" => d.far.set_addr(need()?)?,
            "lease" => d.far.set_lease(need()?)?,
            "loss" => d.link.drop = percent(name, need()?)?,
            "dup" => d.link.dup = percent(name, need()?)?,
            "reorder" => d.link.reorder = percent(name, need()?)?,
            "corrupt" => d.link.corrupt = percent(name, need()?)?,
            "delay" => {
                d.link.delay = Duration::from_millis(u64::from(number::<u32>(name, need()?)?.min(60_000)))
            }
            "unplugged" if value.is_none() => d.plugged = false,
            "odd" => d.modem.odd.extend(Odd::parse(need()?)?),
            "ncm" if value.is_none() => {
                d.modem.ncm = Some(NcmConfig::default());
                d.modem.identity.model = "Simulated NCM modem".into();
            }
            _ => return Err(format!("unknown option \"{o}\"; see io-usb --help")),
        }
    }
    if let Some(lease) = d.far.lease() {
        d.modem.identity.address = lease.to_string();
    }
    Ok(d)
}

fn number<T: std::str::FromStr>(name: &str, v: &str) -> Result<T, String> {
    v.parse().map_err(|_| format!("{name}={v}: not a number that fits"))
}

fn hex16(v: &str) -> Result<u16, String> {
    let h = v.strip_prefix("0x").unwrap_or(v);
    u16::from_str_radix(h, 16).map_err(|_| format!("{v}: not a hexadecimal number of 16 bits"))
}

fn digits(v: &str, len: std::ops::RangeInclusive<usize>) -> Result<String, String> {
    if v.bytes().all(|c| c.is_ascii_digit()) && len.contains(&v.len()) {
        return Ok(v.into());
    }
    Err(format!("{v}: needs {} to {} digits", len.start(), len.end()))
}

fn percent(name: &str, v: &str) -> Result<f64, String> {
    match v.trim_end_matches('%').parse::<f64>() {
        Ok(p) if (0.0..=100.0).contains(&p) => Ok(p / 100.0),
        _ => Err(format!("{name}={v}: not a percentage from 0 to 100")),
    }
}

/// What --help prints.
pub const HELP: &str = "\
io-usb - the USB stack manager

usage: io-usb -d bus [opts] [-d bus [opts]]... [-n name] [-l addr:port]... [-g group]
              [-r retries] [-T ms] [-P prio] [-E prio] [-fv]
       io-usb [-n name] -c command [args]

Serves USB/IP on <root>/dev/usb, where devnp-ecm.so and usb look for it. <root> is $IO_PKT_ROOT, else
/run/io-pkt for root, else $XDG_RUNTIME_DIR/io-pkt, else /tmp/io-pkt-<uid>. Goes to the background when it is
ready; \"io-usb ... &\" does too. SIGTERM ends it in good order.

  -d sim [opts]    a simulated modem; several make several devices on one bus
  -d usbfs [opts]  the devices of this machine; taken from the kernel's drivers when a client imports one, given
                   back when it goes
  -d usbip host=HOST[:PORT]
                   the devices of another USB/IP server: an io-usb, or Linux's usbipd
  -n name, path=name
                   serve on <root><name> instead of <root>/dev/usb
  -g group         the group may use the socket too (mode 0660); without it only its owner and root
  -l addr:port     listen on TCP too (no authentication: use 127.0.0.1), for usbip(8) and Linux's vhci-hcd
  -r retries       of an import that finds its device busy or its server silent (default 3)
  -T ms            time-out of control transfers of real devices, and of remote servers (default 2000)
  -P prio          priority of the loop, 1 to 63, 10 is ordinary (default: as started; QNX has 21)
  -E prio, -e prio priority of threads that enumerate and open devices (default: as started)
  -c command ...   tell the running io-usb: see below
  -f, --foreground stay in the foreground
  -v               log to the console too; -vv in more detail
  -h, --help       this text
  -V, --version    the version

opts of sim, separated by commas:
  mac=M            MAC address of the host's interface, 12 hexadecimal digits
  vid=X did=X serial=S
                   identity on the bus (defaults 1d6b, 0104)
  imei=N imsi=N operator=S
                   what AT commands say
  pin=N            the SIM wants this PIN first
  call=auto|manual the data call is up from the start (default), or made by ATD*99# or AT+CGACT
  down=N up=N      notified speed in bits per second
  far=host         the network behind the modem: a built-in host that answers ARP, ping, DHCP, DNS and HTTP
  far=tap:IF       ... or the Linux TAP interface IF of this network namespace
  far=socket:PATH  ... or frames over a Unix socket, connected to: stream with a 4-byte big-endian length before
                   each frame (as QEMU's -netdev stream has it), or seqpacket with a frame a message
  far=listen:PATH  ... or the same, stream, listened on
  far=none         ... or nobody
  addr=A/N         address of the built-in host (default 10.0.0.1/8)
  lease=A          address that it gives away by DHCP (default 10.0.0.184)
  loss=P dup=P reorder=P corrupt=P delay=MS seed=N
                   faults of the link between modem and network, percent and milliseconds
  unplugged        not plugged in at the start
  odd=WORD+WORD... what is wrong with it, as with devices in the field: mac-short, no-union, mute, ... (odd=? lists)
  ncm              its Ethernet function is CDC-NCM (for devnp-ncm.so) instead of CDC-ECM

opts of usbfs, separated by commas, all must match; several -d usbfs add up:
  vid=X did=X busno=N devno=N busid=N-N.N
                   only these devices, by the numbers of Linux; without any, all
  keep             leave devices to kernel drivers that have them: importing one is refused

commands of -c (BUSID may be left away when there is one simulated device; all but list, rescan and stop are for
simulated ones):
  list             devices, who uses them, counters
  rescan           looks at this machine's devices again
  plug [BUSID], unplug [BUSID], replug [BUSID]
  fault [BUSID] F  one of the faults below
  signal [BUSID] N signal strength, 0 to 31 or 99
  network [BUSID] lost|back
                   the radio loses the network, or finds it
  at [BUSID] LINE  runs an AT command line in the modem and prints the answer
  stop             ends io-usb
faults:
";

//! From the command line to a running stack, and back.

use crate::cmdline::{self, Command, Config, EXIT_USAGE, Variant};
use crate::control::{Control, End};
use crate::env::{Env, Peer};
use crate::lanes::Lanes;
use crate::limits::Size;
use crate::msg::ToPacket;
use crate::names::Names;
use crate::packet::Packet;
use crate::privilege::{self, Identity, Privilege};
use crate::stack::Stack;
use crate::workers::Workers;
use crate::{crash, limits};
use iopkt_base::{Duration, Instant};
use iopkt_ctl::StackInfo;
use iopkt_mbuf::Pool;
use iopkt_slog::{Severity, Writer, major};
use iopkt_stack::{Domain, Shard};
use iopkt_sys::process::{self, Priority, Started};
use iopkt_sys::signal::{self, Signals};
use iopkt_sys::{Epoll, Root, Waker, clock, random};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Stack of a packet thread, on which drivers run too, before what `stacksize` adds.
const PACKET_STACK: usize = 2 << 20;

/// What a variant is made of: its `main` is this list.
#[derive(Clone, Copy)]
pub struct Composition {
    /// Name and features.
    pub variant: Variant,
    /// Makes the protocol families, in the order in which they are asked.
    pub domains: fn() -> Vec<Box<dyn Domain>>,
    /// How much memory it takes at most.
    pub size: Size,
}

/// What is known of the stack as a whole.
#[derive(Clone)]
pub(crate) struct Facts {
    pub variant: Variant,
    pub instance: Option<u32>,
    pub prefix: String,
    pub threads: usize,
    pub limits: Vec<(String, String)>,
    pub since: Instant,
}

impl Facts {
    pub(crate) fn info(&self) -> StackInfo {
        StackInfo {
            variant: self.variant.name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            instance: self.instance,
            prefix: self.prefix.clone(),
            uptime: clock::monotonic().since(self.since).as_secs(),
            threads: self.threads as u32,
            limits: self.limits.clone(),
        }
    }
}

/// The whole program.
pub fn main(c: &Composition) -> ExitCode {
    let say = |text: &str| {
        // A closed standard error is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{}: {text}", c.variant.name);
    };
    let cfg = match cmdline::parse(&c.variant, std::env::args_os().skip(1)) {
        Ok(Command::Run(cfg)) => *cfg,
        Ok(Command::Print(text)) => {
            return match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        Err(e) => {
            say(&e.0);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let mut started = Started::nobody();
    if !cfg.foreground {
        match process::background() {
            Ok(s) => started = s,
            Err(e) => {
                say(&format!("cannot go to the background: {e}"));
                return ExitCode::FAILURE;
            }
        }
    }
    match run(c, &cfg, started) {
        Ok(End::Good) => ExitCode::SUCCESS,
        Ok(End::Failed) => ExitCode::FAILURE,
        Err((text, mut started)) => {
            say(&text);
            started.failed(1);
            ExitCode::FAILURE
        }
    }
}

type Failed = (String, Started);

fn run(c: &Composition, cfg: &Config, started: Started) -> Result<End, Failed> {
    let root = Root::find();
    let sink = match Writer::open(&root) {
        Ok(w) => iopkt_slog::init(c.variant.name, major::NETWORK, Some(w)),
        Err(e) => {
            let sink = iopkt_slog::init(c.variant.name, major::NETWORK, None);
            sink.line(Severity::Warning, &format!("no log: {e}; its lines come here"));
            sink
        }
    };
    if cfg.verbose {
        sink.console(Some(Severity::Warning));
    }
    std::panic::set_hook(Box::new(move |p| {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        sink.line(Severity::Critical, &format!("a fault of io-pkt, please report it: thread {name}: {p}"));
    }));
    signal::ignore(libc::SIGPIPE);
    signal::ignore(libc::SIGHUP);
    let ready = Signals::new(&[libc::SIGTERM, libc::SIGINT])
        .map_err(|e| format!("signals: {e}"))
        .and_then(|signals| Ok((signals, Names::take(&root, &cfg.tcpip.prefix, cfg.instance)?)));
    let failed = |text: String| {
        sink.console(None); // the caller says it there
        sink.line(Severity::Error, &text);
        text
    };
    let (signals, (names, note)) = match ready {
        Ok(r) => r,
        Err(text) => return Err((failed(text), started)),
    };
    if let Some(n) = note {
        sink.line(Severity::Notice, &n);
    }
    if !cfg.no_crash_handler
        && let Err(e) = crash::install(Some(sink))
    {
        sink.line(Severity::Warning, &format!("no handler for crashes: {e}"));
    }
    let files = limits::raise_files();
    limits::heap(&cfg.tcpip);
    // With -D the stack's thread comes on top of those for layer 2.
    let threads =
        cfg.threads.unwrap_or_else(process::cpus).min(cmdline::MAX_THREADS) + usize::from(cfg.stack_thread);
    let (pool, memory) = match limits::memory(&cfg.tcpip, limits::pool(&cfg.tcpip, c.size)) {
        Ok(p) => p,
        Err(text) => return Err((failed(text), started)),
    };
    let user = match cfg.user.as_ref().map(Identity::find).transpose() {
        Ok(u) => u,
        Err(text) => return Err((failed(text), started)),
    };
    let stack_cfg = limits::stack(&cfg.tcpip, c.size, files);
    let mut limits = limits::report(&cfg.tcpip, &memory, &pool, &stack_cfg, threads, files);
    limits.push(("confined by".into(), privilege::confine(cfg, &root, sink)));
    let facts = Facts {
        variant: c.variant,
        instance: cfg.instance,
        prefix: cfg.tcpip.prefix.clone(),
        threads,
        limits,
        since: clock::monotonic(),
    };
    greet(sink, cfg, &facts);
    let names = Arc::new(names);
    let privilege = Privilege { user, names: names.clone(), confined: !cfg.no_confine, dropped: 0 };
    let mut running = match Running::start(c, cfg, root, pool, stack_cfg, sink, &names, threads) {
        Ok(r) => r,
        Err(text) => return Err((failed(text), started)),
    };
    if let Some(p) = cfg.priority {
        priority(sink, "main thread", p);
    }
    let control = running.control(facts, signals, started, cfg, privilege);
    let end = match control {
        Ok(c) => c.run(),
        Err(e) => {
            sink.line(Severity::Critical, &format!("control thread: {e}"));
            End::Failed
        }
    };
    drop(names);
    running.stop();
    crash::quiesce_all();
    sink.line(Severity::Info, "ended");
    Ok(end)
}

/// The lines of every start.
fn greet(sink: &iopkt_slog::Sink, cfg: &Config, facts: &Facts) {
    sink.line(Severity::Info, "tcpip starting");
    for text in &cfg.tcpip.unknown {
        sink.line(Severity::Warning, text);
    }
    if cfg.tcpip.random {
        sink.line(Severity::Info, "randomness from the kernel in every turn (random)");
    } else {
        sink.line(
            Severity::Info,
            "Using pseudo random generator, seeded from the kernel; see the \"random\" option",
        );
    }
    if !facts.variant.note.is_empty() {
        sink.line(Severity::Notice, facts.variant.note);
    }
    for (name, value) in &facts.limits {
        let text = format!("limit {name}: {value}");
        sink.line(Severity::Debug1, &text);
        if cfg.verbose {
            let _ = writeln!(std::io::stderr(), "{}: {text}", facts.variant.name);
        }
    }
}

pub(crate) fn priority(sink: &iopkt_slog::Sink, who: &str, p: u8) {
    match process::set_priority(p) {
        Ok(Priority::RealTime(n)) => {
            sink.line(Severity::Info, &format!("{who}: priority {p}: real time, round robin {n}"));
        }
        Ok(Priority::Nice(n)) => sink.line(
            if p > 10 { Severity::Warning } else { Severity::Info },
            &format!(
                "{who}: priority {p}: nice value {n}{}",
                if p > 10 { " (no right to real time)" } else { "" }
            ),
        ),
        Err(e) => sink.line(
            Severity::Warning,
            &format!("{who}: priority {p} is not permitted ({e}); it stays as it is"),
        ),
    }
}

/// The threads of a started stack.
struct Running {
    env: Arc<Env>,
    loader: iopkt_loader::Env,
    inbox: Option<std::sync::mpsc::Receiver<crate::msg::ToControl>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    #[allow(clippy::too_many_arguments)] // everything that was made on the way here, once
    fn start(
        c: &Composition,
        cfg: &Config,
        root: Root,
        pool: Pool,
        stack_cfg: iopkt_stack::Config,
        sink: &'static iopkt_slog::Sink,
        names: &Names,
        threads: usize,
    ) -> Result<Running, String> {
        let io = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
        let (control, inbox) = channel();
        let (mut packet, mut inboxes) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (tx, rx) = channel();
            let epoll = Arc::new(Epoll::new().map_err(io("epoll"))?);
            packet.push(Peer { inbox: tx, waker: Waker::new().map_err(io("eventfd"))?, epoll });
            inboxes.push(rx);
        }
        let env = Arc::new(Env {
            sink,
            control,
            control_waker: Waker::new().map_err(io("eventfd"))?,
            packet,
            lanes: Lanes::new(threads, usize::from(cfg.stack_thread)),
            workers: Workers::new(limits::workers(&cfg.tcpip), sink).map_err(io("cannot make a thread"))?,
            busy_poll: Default::default(),
            prefix: cfg.tcpip.prefix.clone(),
        });

        let mut key = [0; 16];
        random::fill(&mut key).map_err(io("randomness from the kernel"))?;
        let seed = random::u64().map_err(io("randomness from the kernel"))?;
        let cache = pool.cache(limits::keep(&cfg.tcpip));
        let mut shard = Shard::new(clock::monotonic(), stack_cfg, seed, key, cache, (c.domains)());
        if cfg.tcpip.forward6 {
            let (name, value) = ("net.inet6.ip6.forwarding".into(), Some("1".into()));
            shard.ctl(&iopkt_ctl::Request::Sysctl { name, value });
        }
        let listener = names.listen(c.variant.v6)?;
        let recv = limits::recv(&cfg.tcpip);
        let mut stack = Stack::new(shard, listener, &env.packet[0].epoll, cfg.tcpip.random, threads, recv)
            .map_err(io("socket server"))?;
        if let Some(dev) = names.dir.parent() {
            stack.nodes_in(&env, dev.to_path_buf());
        }
        let mut stack = Some(Box::new(stack));
        let mut running = Running {
            env: env.clone(),
            loader: iopkt_loader::Env { root, pool, search: iopkt_loader::Search::standard() },
            inbox: Some(inbox),
            threads: Vec::new(),
        };
        for (n, inbox) in inboxes.into_iter().enumerate() {
            // The stack's timers run on the first.
            let timers = cfg.tcpip.timer_prio.filter(|_| n == 0);
            let base = cfg.tcpip.rx_prio.max(timers);
            let p = Packet::new(n, env.clone(), inbox, stack.take(), base).map_err(io("epoll"))?;
            let name = format!("packet{n}");
            let size = PACKET_STACK + cfg.tcpip.stacksize.unwrap_or(cmdline::tcpip::STACKSIZE);
            let spawned = std::thread::Builder::new().name(name).stack_size(size).spawn(move || p.run());
            running.threads.push(spawned.map_err(io("cannot make a packet thread"))?);
        }
        Ok(running)
    }

    fn control(
        &mut self,
        facts: Facts,
        signals: Signals,
        started: Started,
        cfg: &Config,
        privilege: Privilege,
    ) -> std::io::Result<Control> {
        let inbox = self.inbox.take().ok_or(std::io::ErrorKind::NotFound)?;
        Control::new(
            self.env.clone(),
            self.loader.clone(),
            facts,
            inbox,
            signals,
            started,
            cfg.loads(),
            cfg.tcpip.confstr_monitor,
            privilege,
        )
    }

    /// Ends the packet threads; the shard and all pairs to programs go with the first.
    fn stop(&mut self) {
        for n in (0..self.threads.len()).rev() {
            self.env.tell_packet(n, ToPacket::Quit);
        }
        let give_up = clock::monotonic() + Duration::from_secs(2);
        for t in self.threads.drain(..) {
            // A driver that does not return from a call keeps its thread: the process ends all the same.
            while !t.is_finished() && clock::monotonic() < give_up {
                std::thread::sleep(Duration::from_millis(1));
            }
            if t.is_finished() {
                let _ = t.join();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

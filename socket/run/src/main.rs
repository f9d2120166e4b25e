//! io-pkt-run: runs unmodified programs on the stack.
//!
//! Three processes at most: the program, whose process is the one that was started wherever the kernel lets a stranger
//! look after it; the supervisor, which answers its socket calls (`supervise`); and, where only an ancestor may do that,
//! a front that stays in the started process and mirrors the program (`front`).
//!
//! There is no Rust runtime around `main`: it would change SIGPIPE, which the program inherits.
#![cfg_attr(not(test), no_main)]

mod args;
mod filter;
mod front;
mod launch;
mod names;
mod os;
mod program;
mod supervise;

use std::io::Write;

use args::{Args, Command, Ways};
use program::Kind;

/// `sysexits.h`.
const EX_USAGE: i32 = 64;
const EX_UNAVAILABLE: i32 = 69;
const EX_OSERR: i32 = 71;

/// Why nothing was run: the exit status and the message.
struct Failure(i32, String);

/// The C entry point.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    let Err(Failure(status, message)) = start();
    if status == 0 {
        let _ = std::io::stdout().write_all(message.as_bytes());
    } else {
        os::say(&message);
    }
    status
}

/// Does everything up to becoming the program; returns only if that failed.
fn start() -> Result<std::convert::Infallible, Failure> {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(args)) => args,
        Ok(Command::Help) => return Err(Failure(0, args::HELP.into())),
        Ok(Command::Version) => {
            return Err(Failure(0, format!("io-pkt-run {}\n", env!("CARGO_PKG_VERSION"))));
        }
        Err(e) => return Err(Failure(EX_USAGE, format!("{e}; io-pkt-run --help lists the options"))),
    };
    let path = program::find(&args.program, std::env::var_os("PATH")).map_err(|m| {
        let why = if m.status() == 127 { "not found" } else { "not an executable file" };
        Failure(m.status(), format!("{}: {why}", args.program.display()))
    })?;
    let kind = program::inspect(&path);
    if kind == Kind::Foreign {
        return Err(Failure(
            126,
            format!(
                "{}: made for another machine; only 64-bit programs of this one can be run",
                path.display()
            ),
        ));
    }
    let socket = find_stack()?;
    let seccomp = launch::seccomp_possible();
    let supervised = args.ways.seccomp() && seccomp.is_ok();
    let plan = launch::Plan::new(&args, path, socket, supervised)?;
    if let Err(why) = &seccomp {
        if args.ways == Ways::Seccomp || kind == Kind::Static {
            return Err(Failure(EX_OSERR, format!("this program needs the supervisor, and {why}")));
        }
        if args.ways == Ways::Both {
            os::say(&format!("{why}; going on with the preload library alone"));
        }
    }
    if !supervised {
        if kind == Kind::Static {
            return Err(Failure(
                EX_OSERR,
                format!("{}: a static program cannot be reached with --preload-only", plan.path.display()),
            ));
        }
        return Err(plan.exec());
    }
    report(&args, &plan, &kind);
    if args.front || !launch::strangers_may_look() {
        Err(front::run(&plan))
    } else {
        Err(launch::in_place(&plan))
    }
}

/// The stack's socket, if a stack answers there.
fn find_stack() -> Result<iopkt_shim::path::Path, Failure> {
    use iopkt_shim::path::Unusable;
    let path = iopkt_shim::path::from_env(false).map_err(|e| {
        let why = match e {
            Unusable::TooLong => {
                "the path of dev/socket is longer than 107 bytes; choose a shorter $IO_PKT_ROOT or $SOCK"
            }
            Unusable::NotOurs => {
                "the directory /tmp/io-pkt-<uid> is not yours alone; set $IO_PKT_ROOT or $XDG_RUNTIME_DIR"
            }
        };
        Failure(EX_UNAVAILABLE, why.into())
    })?;
    supervise::probe(&path).map_err(|e| {
        let sock = std::env::var("SOCK").unwrap_or_default();
        let start = if sock.is_empty() {
            "io-pkt-v4 &".to_string()
        } else {
            format!("io-pkt-v4 -ptcpip prefix={sock} &")
        };
        Failure(
            EX_UNAVAILABLE,
            format!("no io-pkt answers on {}: {e}; start one: {start}", os::show(path.bytes())),
        )
    })?;
    Ok(path)
}

/// `-v`: what will be done.
fn report(args: &Args, plan: &launch::Plan, kind: &Kind) {
    if args.verbose {
        let way = match args.ways {
            Ways::Seccomp => "the supervisor",
            _ => "the preload library and the supervisor",
        };
        os::say(&format!(
            "{} ({kind:?}) on {} through {way}",
            plan.path.display(),
            os::show(plan.socket.bytes())
        ));
    }
}

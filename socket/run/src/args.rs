//! The command line.

use std::ffi::OsString;

/// What `--help` prints.
pub const HELP: &str = "\
usage: io-pkt-run [OPTION]... PROGRAM [ARGUMENT]...

Runs an unmodified program on the io-pkt that $SOCK names (default: none, the io-pkt without prefix=).
Its IPv4, IPv6 and packet sockets are io-pkt's, and so are /dev/bpf, /dev/tunN and /dev/tapN; all others stay the kernel's.

  -v               say what is done, and each call that the supervisor answers, on standard error
  --preload-only   only the preload library: dynamic programs, without calls from inside libc (host names)
  --seccomp-only   only the supervisor: slower, but the program's environment stays as it is
  --front          stay the program's parent and pass signals on, also where it is not needed
                   (it is where Yama's ptrace_scope is 1 and you are not root)
  --system-names   the program's /etc/resolv.conf is the system's, also where the stack has one (and you are root)
  --help           print this
  --version        print the version

environment:
  SOCK             prefix of the io-pkt to use, as its prefix= option named it
  IO_PKT_ROOT      directory that holds dev/socket (default: /run/io-pkt as root, else $XDG_RUNTIME_DIR/io-pkt)
  IO_PKT_PRELOAD   the preload library, if it is not in ../lib beside the program

exit status: the program's own; 69 if no io-pkt answers, 71 if the kernel refuses what is needed, 64 on wrong usage,
126 if the program cannot be executed, 127 if it is not found. A program ended by a signal ends io-pkt-run by the same signal.
";

/// Which ways into the program are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// The preload library for what it catches, the supervisor for the rest.
    Both,
    /// No supervisor.
    Preload,
    /// No preload library.
    Seccomp,
}

impl Ways {
    /// Whether the preload library is used.
    pub fn preload(self) -> bool {
        self != Ways::Seccomp
    }

    /// Whether the supervisor is used.
    pub fn seccomp(self) -> bool {
        self != Ways::Preload
    }
}

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// `-v`.
    pub verbose: bool,
    /// `--front`.
    pub front: bool,
    /// `--system-names`.
    pub system_names: bool,
    /// `--preload-only`, `--seccomp-only`.
    pub ways: Ways,
    /// The program as it was named.
    pub program: OsString,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run a program.
    Run(Args),
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// Parses the arguments behind the program's own name. The error is a message for standard error.
pub fn parse<I>(args: I) -> Result<Command, String>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    use lexopt::Arg::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_args(args);
    let (mut verbose, mut front, mut preload, mut seccomp) = (false, false, false, false);
    let mut system_names = false;
    let program = loop {
        match parser.next().map_err(|e| e.to_string())? {
            Some(Short('v')) => verbose = true,
            Some(Short('h') | Long("help")) => return Ok(Command::Help),
            Some(Short('V') | Long("version")) => return Ok(Command::Version),
            Some(Long("preload-only")) => preload = true,
            Some(Long("seccomp-only")) => seccomp = true,
            Some(Long("front")) => front = true,
            Some(Long("system-names")) => system_names = true,
            Some(Value(v)) => break v,
            Some(other) => return Err(other.unexpected().to_string()),
            None => return Err("no program given".into()),
        }
    };
    let args = parser.raw_args().map_err(|e| e.to_string())?.collect();
    let ways = match (preload, seccomp) {
        (true, true) => return Err("--preload-only and --seccomp-only exclude each other".into()),
        (true, false) => Ways::Preload,
        (false, true) => Ways::Seccomp,
        (false, false) => Ways::Both,
    };
    Ok(Command::Run(Args { verbose, front, system_names, ways, program, args }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Args {
        match parse(args).unwrap() {
            Command::Run(a) => a,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_end_at_the_program() {
        let a = run(&["-v", "curl", "-v", "--help", "--", "x"]);
        assert!(a.verbose);
        assert_eq!(a.program, "curl");
        assert_eq!(a.args, ["-v", "--help", "--", "x"]);
    }

    #[test]
    fn two_dashes_end_the_options() {
        let a = run(&["--seccomp-only", "--", "-odd", "1"]);
        assert_eq!((a.ways, a.program.to_str().unwrap()), (Ways::Seccomp, "-odd"));
        assert_eq!(a.args, ["1"]);
    }

    #[test]
    fn wrong_usage_is_named() {
        assert!(parse(["--preload-only", "--seccomp-only", "x"]).unwrap_err().contains("exclude"));
        assert!(parse(["--frobnicate", "x"]).unwrap_err().contains("frobnicate"));
        assert!(parse(["-v"]).unwrap_err().contains("no program"));
        assert_eq!(parse(["--help"]), Ok(Command::Help));
    }
}

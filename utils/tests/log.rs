//! slogger and sloginfo as they are called.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Log(PathBuf);

impl Log {
    fn new(name: &str) -> Log {
        let d = std::env::temp_dir().join(format!("iopkt-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&d);
        std::fs::create_dir_all(&d).unwrap();
        for tool in ["slogger", "sloginfo"] {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_iopkt-utils"), d.join(tool)).unwrap();
        }
        Log(d)
    }

    fn tool(&self, name: &str, args: &[&str]) -> Command {
        let mut c = Command::new(self.0.join(name));
        c.args(args).env("IO_PKT_ROOT", self.0.join("root")).env_remove("SOCK");
        c
    }

    fn run(&self, name: &str, args: &[&str]) -> (String, String, i32) {
        let o = self.tool(name, args).output().unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (text(&o.stdout), text(&o.stderr), o.status.code().unwrap_or(-1))
    }

    /// The log's lines without their times.
    fn lines(&self, args: &[&str]) -> Vec<String> {
        let (out, err, code) = self.run("sloginfo", args);
        assert_eq!((err.as_str(), code), ("", 0));
        let mut lines = out.lines();
        assert_eq!(lines.next(), Some("Time             Sev Major Minor Args"));
        lines.map(|l| l[17..].split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn lines_are_written_and_chosen() {
    let l = Log::new("lines");
    let (_, err, code) = l.run("sloginfo", &[]);
    assert!(code == 1 && err.contains("nothing has been logged yet"), "{err}");
    assert_eq!(l.run("slogger", &["hello", "log"]), (String::new(), String::new(), 0));
    l.run("slogger", &["-p", "2", "-m", "12", "-n", "7", "it broke"]);
    l.run("slogger", &["-p7", "--", "-detail"]);
    assert_eq!(l.lines(&[]), ["5 14 0 hello log", "2 12 7 it broke", "7 14 0 -detail"]);
    assert_eq!(l.lines(&["-s", "2"]), ["2 12 7 it broke"]);
    assert_eq!(l.lines(&["-m", "14"]), ["5 14 0 hello log", "7 14 0 -detail"]);
    assert_eq!(l.run("sloginfo", &["-c"]).2, 0);
    assert_eq!(l.lines(&[]), [""; 0]);
    // With -t the clock has milliseconds, in line and header.
    l.run("slogger", &["x"]);
    let (out, ..) = l.run("sloginfo", &["-t"]);
    let (head, line) = out.split_once('\n').unwrap();
    assert_eq!(head.find("Args"), line.find("x\n"), "{out}");
    assert_eq!(line.as_bytes()[15], b'.', "{out}");
}

#[test]
fn the_size_is_set_and_said() {
    let l = Log::new("size");
    assert_eq!(l.run("slogger", &["-v"]).0, "slogger: the log holds 262144 bytes\n");
    for i in 0..200 {
        assert_eq!(l.run("slogger", &[&format!("number {i}")]).2, 0);
    }
    assert_eq!(l.run("slogger", &["-v", "-s", "4k"]).0, "slogger: the log holds 4096 bytes\n");
    let lines = l.lines(&[]);
    assert!(lines.len() > 50 && lines.len() < 90, "{}", lines.len());
    assert_eq!(lines.last().unwrap(), "5 14 0 number 199");
    let (_, err, code) = l.run("slogger", &["-s", "1k"]);
    assert!(code == 1 && err.contains("4096 to 16777216 are possible"), "{err}");
    let (_, err, code) = l.run("slogger", &["-s", "lots"]);
    assert!(code != 0 && err.contains("-s lots: bad value"), "{err}");
}

#[test]
fn a_follower_sees_lines_as_they_come() {
    let l = Log::new("follow");
    l.run("slogger", &["first"]);
    let mut follower = l.tool("sloginfo", &["-w", "-s5"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("Time"));
    assert!(lines.next().unwrap().ends_with("first"));
    l.run("slogger", &["-p6", "too", "fine"]);
    l.run("slogger", &["second"]);
    assert!(lines.next().unwrap().ends_with("second"));
    // Also over a change of its size.
    l.run("slogger", &["-s", "64k", "third"]);
    assert!(lines.next().unwrap().ends_with("third"));
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let l = Log::new("place");
    std::fs::write(l.0.join("root"), "a file where the root should be").unwrap();
    let (_, err, code) = l.run("slogger", &["x"]);
    assert!(code == 1 && err.contains("slogger: ") && err.contains("root"), "{err}");
}

//! What a program sends before it ends arrives, however it ends and whatever it left unread.

use iopkt_tests::Lab;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn rounds() -> u32 {
    if std::env::var_os("IO_PKT_LONG").is_some() { 500 } else { 25 }
}

fn speak(name: &str, kind: &str, how: &str) {
    let mut lab = Lab::new(name);
    std::fs::write(lab.work().join("last_words.py"), include_str!("last_words.py")).expect("script");
    lab.spawn("io-pkt-v6-hc --foreground");
    lab.wait(MINUTE, "ifconfig lo0");
    let n = rounds();
    for family in [4, 6] {
        let line = format!("io-pkt-run python3 last_words.py {family} {kind} {how} {n}");
        let o = lab.sh_for(Duration::from_secs(280), &line);
        let (out, why) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
        assert_eq!(out, format!("all of {}\n", n * 4), "{line}: {why}");
    }
}

#[test]
fn of_a_program_that_exits() {
    speak("lastexit", "udp", "exit");
    speak("lastexitraw", "raw", "exit");
}

#[test]
fn of_a_program_that_is_killed() {
    speak("lastkill", "udp", "kill");
    speak("lastkillraw", "raw", "kill");
}

#[test]
fn of_a_program_that_left_something_unread() {
    speak("lastunread", "udp", "exit-unread");
    speak("lastunreadkill", "udp", "kill-unread");
}

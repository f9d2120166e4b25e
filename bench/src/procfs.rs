//! What the kernel says of a process: proc(5).

use std::fs;

/// Nanoseconds of CPU of all threads (`/proc/PID/task/TID/schedstat`).
pub fn cpu_ns(pid: i32) -> u64 {
    tasks(pid).map(|t| first_number(&read(&format!("{t}/schedstat")))).sum()
}

/// Times that all threads were switched out, by themselves or not.
pub fn switches(pid: i32) -> u64 {
    tasks(pid)
        .map(|t| {
            let s = read(&format!("{t}/status"));
            let lines = s.lines().filter(|l| l.contains("ctxt_switches"));
            lines.map(|l| first_number(l.split_once(':').map_or("", |x| x.1))).sum::<u64>()
        })
        .sum()
}

/// A value of `/proc/PID/smaps_rollup`, in KiB.
pub fn smaps_kib(pid: i32, key: &str) -> f64 {
    let s = read(&format!("/proc/{pid}/smaps_rollup"));
    let line = s.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    first_number(line.unwrap_or("")) as f64
}

fn tasks(pid: i32) -> impl Iterator<Item = String> {
    let dir = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    dir.map(|e| e.path().display().to_string())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn first_number(s: &str) -> u64 {
    s.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_cpu() {
        let me = std::process::id() as i32;
        let before = cpu_ns(me);
        let mut x = 0u64;
        while cpu_ns(me) == before {
            x = std::hint::black_box(x + 1);
        }
        assert!(smaps_kib(me, "Rss") > 100.0);
    }
}

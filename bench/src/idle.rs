//! What a stack costs that has nothing to do.

use crate::options::Options;
use crate::path::{Kind, Path};
use crate::procfs;
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};
use std::time::Duration;

pub fn measure(o: &Options) -> Result<Table, Skip> {
    programs::need(&["ip", "python3", "taskset"])?;
    let seconds = o.seconds.max(10);
    let mut paths: Vec<Path> = [Kind::Tap, Kind::Ecm].map(|k| Path::new(k, o)).into();
    let mut watched = Vec::new();
    for p in &mut paths {
        // A listening socket and a connection that has ended are there too.
        let echo = programs::echo_server(p);
        programs::verify(p, &echo, 100_000);
        watched.push((format!("{} stack", p.kind.name()), p.middle));
        if p.usb.is_some() {
            watched.push(("io-usb".to_string(), p.usb));
        }
    }
    // Timers of the connection and of ARP run out.
    std::thread::sleep(Duration::from_secs(5));
    let look = |pid: &Option<i32>| pid.map_or((0, 0), |p| (procfs::cpu_ns(p), procfs::switches(p)));
    let before: Vec<_> = watched.iter().map(|w| look(&w.1)).collect();
    std::thread::sleep(Duration::from_secs(seconds));
    let mut rows = Vec::new();
    for ((name, pid), (cpu, sw)) in watched.iter().zip(before) {
        let (cpu_now, sw_now) = look(pid);
        assert!(cpu_now > 0, "{name} has ended");
        let us = (cpu_now - cpu) as f64 / 1e3 / seconds as f64;
        rows.push(Row::alone(name.clone(), Stat::new(vec![us])).note(format!("{} wake-ups", sw_now - sw)));
    }
    Ok(Table {
        title: "CPU of an idle stack".into(),
        unit: "µs per second",
        better: Better::Lower,
        conditions: vec![format!(
            "{seconds} s, one interface up with an address, a TCP and a UDP server waiting, no traffic; the kernel's count \
             (schedstat), all threads"
        )],
        rows,
    })
}
